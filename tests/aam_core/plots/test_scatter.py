from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError
from aam_core.tasks.metrics import regression_metrics


def test_scatter_says_how_good_it_is(numbers, texts):
    figure = plots.scatter(numbers, label="day_of_life", units="days", title="Held out")
    axes = figure.axes[0]
    metrics = regression_metrics(numbers["actual"], numbers["prediction"])
    assert texts(axes) == [
        f"R² = {metrics['r2']:.3f}\nMAE = {metrics['mae']:.1f} days\nn = 60 samples"
    ]
    assert axes.get_xlabel() == "Actual day_of_life (days)"
    assert axes.get_ylabel() == "Predicted day_of_life (days)"
    assert axes.get_title() == "Held out"


def test_scatter_has_equal_axes_a_one_to_one_line_and_a_fit(numbers):
    axes = plots.scatter(numbers).axes[0]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_aspect() == 1
    low, high = axes.get_xlim()
    assert low < numbers.to_numpy().min() and high > numbers.to_numpy().max()
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert (lines["1:1"][:, 0] == lines["1:1"][:, 1]).all()
    (x0, y0), (x1, y1) = lines["Fit"]
    slope = np.polyfit(numbers["actual"], numbers["prediction"], 1)[0]
    assert (y1 - y0) / (x1 - x0) == pytest.approx(slope)


def test_points_are_those_of_the_table(numbers):
    points = plots.scatter(numbers).axes[0].collections[0].get_offsets()
    assert np.asarray(points) == pytest.approx(numbers.to_numpy())


def test_rows_without_both_values_are_dropped(numbers, texts):
    numbers.loc[3, "prediction"] = np.nan
    assert "n = 59" in texts(plots.scatter(numbers).axes[0])[0]
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.scatter(numbers.assign(actual=np.nan))


def test_a_crowd_is_drawn_as_a_density(texts):
    actual = np.random.default_rng(0).random(plots.CROWDED + 1)
    table = pd.DataFrame({"actual": actual, "prediction": actual})
    axes = plots.distances(table, label="unweighted UniFrac").axes[0]
    counted = axes.collections[0].get_array()
    assert counted.sum() == len(table)
    assert axes.get_xlabel() == "True unweighted UniFrac"
    assert "n = 5,001 pairs" in texts(axes)[0]


def test_a_single_value_can_be_drawn(texts):
    table = pd.DataFrame({"actual": [5.0, 5.0], "prediction": [5.0, 5.0]})
    axes = plots.scatter(table).axes[0]
    assert axes.get_xlim()[0] < 5 < axes.get_xlim()[1]
    assert "R² = nan" in texts(axes)[0]
