from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError


@pytest.fixture
def swept():
    """A range test: the loss falls, and explodes at high rates."""
    lr = np.geomspace(1e-6, 1.0, 100)
    smooth = 3 - 1.8 / (1 + (2e-3 / lr) ** 1.2) + (lr / 0.05) ** 3
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    return pd.DataFrame({"lr": lr, "loss": smooth + noise, "smoothed": smooth})


def test_learning_rates_mark_the_suggestion(swept, tmp_path):
    axes = plots.learning_rates(swept.iloc[::-1], 1.5e-3, tmp_path / "lr.png").axes[0]
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "Learning rate"
    raw, smoothed, mark = axes.lines
    assert np.asarray(raw.get_xydata()) == pytest.approx(swept[["lr", "loss"]].to_numpy())
    assert np.asarray(smoothed.get_xydata()) == pytest.approx(swept[["lr", "smoothed"]].to_numpy())
    assert raw.get_linewidth() < smoothed.get_linewidth()
    assert set(mark.get_xdata()) == {1.5e-3} and mark.get_label() == "Suggested: 0.0015"


def test_learning_rates_show_the_fall_and_not_the_explosion(swept):
    low, high = plots.learning_rates(swept, 1.5e-3).axes[0].get_ylim()
    before = swept[swept["lr"] <= 1.5e-3]
    assert high < 6 < swept["loss"].max() and before["loss"].max() < high
    assert low < swept[["loss", "smoothed"]].to_numpy().min()
    falling = swept[swept["lr"] < 0.02]  # nothing to cut
    assert plots.learning_rates(falling, 0.01).axes[0].get_ylim()[1] > falling["loss"].max()


def test_learning_rates_without_a_finite_loss_are_dropped(swept):
    swept.loc[90:, "loss"] = np.inf
    swept.loc[80:89, "smoothed"] = np.nan
    assert len(plots.learning_rates(swept, 1e-3).axes[0].lines[0].get_xdata()) == 80
    plots.learning_rates(swept.head(1), 1e-9)
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.learning_rates(swept.tail(20), 1e-3)
