from __future__ import annotations

import pandas as pd
import pytest

from aam_core import plots


@pytest.fixture
def frame():
    states = ["complete", "failed", "complete", "pruned", "complete", "interrupted", "complete"]
    values = [3.0, None, 2.0, 900.0, 2.0, None, 2.5]
    return pd.DataFrame({"number": range(7), "state": states, "value": values})


@pytest.mark.parametrize("metric, best", [("mae", [3, 2, 2, 2]), ("accuracy", [3, 3, 3, 3])])
def test_plot_shows_the_best_so_far(frame, tmp_path, metric, best):
    figure = plots.trials(frame, metric, metric == "accuracy", tmp_path / "trials.png")
    assert (tmp_path / "trials.png").stat().st_size > 5000
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    assert list(line.get_ydata())[:4] == best
    assert list(line.get_xdata()) == [0, 2, 4, 6, 6]
    name = {"mae": "MAE (lower", "accuracy": "accuracy (higher"}[metric]
    assert axes.get_ylabel() == f"Validation {name} is better)"


def test_plot_is_not_squeezed_by_a_value_far_off(frame):
    (axes,) = plots.trials(frame, "mae", False).axes
    assert axes.get_ylim()[1] < 10
    assert "Off the scale" in [text.get_text() for text in axes.get_legend().get_texts()]
    drawn = [tuple(point) for dots in axes.collections for point in dots.get_offsets()]
    assert (3, axes.get_ylim()[1]) in drawn  # at the edge
    near = frame.assign(value=frame["value"].clip(upper=4))
    (axes,) = plots.trials(near, "mae", False).axes
    assert "Off the scale" not in [text.get_text() for text in axes.get_legend().get_texts()]


def test_plot_of_one_trial(frame):
    (axes,) = plots.trials(frame[:1], "mae", False).axes
    low, high = axes.get_ylim()
    assert low < 3 < high
