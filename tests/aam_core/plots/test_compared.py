"""Methods side by side are drawn with and without intervals, for any names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError

NAMES = ["AAM", "random forest", "$x^2$ " * 9]


def test_each_method_has_a_point_and_an_interval(tmp_path):
    table = pd.DataFrame(
        {"value": [3.0, 4.0, 5.0], "low": [2.0, 3.5, np.nan], "high": [4.0, 4.5, np.nan]}, NAMES
    )
    path = tmp_path / "methods.pdf"
    figure = plots.methods(table, path, label="MAE (days)", reference="random forest")
    (axes,) = figure.axes
    assert [float(points.get_offsets()[0][0]) for points in axes.collections] == [3.0, 4.0, 5.0]
    assert len(axes.lines) == 3  # two intervals, and the value of the reference
    assert path.read_bytes().startswith(b"%PDF")
    with pytest.raises(InputError, match="no method has the metric"):
        plots.methods(table.assign(value=np.nan), label="MAE")


def test_groups_are_divided_by_the_better_method():
    table = pd.DataFrame({"samples": [1, 5, 9], "AAM": [1.0, 2.0, 3.0], "forest": [2.0, 1.0, 4.0]})
    figure = plots.paired(table, first="AAM", second="forest", label="mean absolute error")
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["AAM is better: 2", "forest is better: 1"]
    assert sum(len(points.get_offsets()) for points in axes.collections) == 3
    tied = plots.paired(table.assign(forest=3.0), first="AAM", second="forest", label="error")
    texts = [text.get_text() for text in tied.axes[0].get_legend().get_texts()]
    assert texts == ["AAM is better: 2", "forest is better: 0", "equal: 1"]
    with pytest.raises(InputError, match="no group"):
        plots.paired(table.assign(AAM=np.nan), first="AAM", second="forest", label="error")
