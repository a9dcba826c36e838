from __future__ import annotations

import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError

TABLE = pd.DataFrame(
    {
        "importance": [3.0, 2.0, 1.0, 0.0],
        "importance_sd": [0.5, 0.5, 2.0, 0.0],
        "direction": ["raises", "lowers", "none", "none"],
        "q": [0.01, 0.2, 0.3, 1.0],
        "taxon": ["d__Bacteria; g__Blautia; s__", "", "d__Bacteria", ""],
    },
    index=["asv1", "clade-10-1", "asv3", "asv4"],
)


def test_bars_have_names_directions_and_stars(tmp_path):
    figure = plots.importance(TABLE, tmp_path / "bars.svg", error="error", units="days")
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["g__Blautia asv1", "clade-10-1", "d__Bacteria asv3"]
    assert axes.get_xlabel() == "Rise of the error (days)"
    assert [text.get_text() for text in axes.texts] == ["*"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["raises the prediction", "lowers it", "no direction", "* q < 0.05"]
    assert "g__Blautia" in (tmp_path / "bars.svg").read_text()  # text stays text


def test_bars_of_classes_have_a_colour_for_each():
    table = TABLE.assign(direction=["b", "a", "b", "none"])
    figure = plots.importance(table)
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "* q < 0.05"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[2] != colours[1]


def test_long_ids_are_cut_and_groups_have_their_size():
    table = TABLE.assign(asvs=[30, 4, 5, 6], taxon="").set_axis(["A" * 150, "g__B", "c", "d"])
    labels = [text.get_text() for text in plots.importance(table).axes[0].get_yticklabels()]
    assert labels == ["A" * 11 + "… (30)", "g__B (4)", "c (5)"]


def test_there_must_be_an_importance():
    with pytest.raises(InputError, match="no importance is above 0"):
        plots.importance(TABLE.assign(importance=0.0))


def test_a_deletion_curve_has_three_lines():
    columns = ("importance", "abundance", "random", "random_low", "random_high")
    table = pd.DataFrame(
        {name: [1.0, 2.0, 3.0] for name in columns}, index=pd.Index([0, 1, 10], name="removed")
    )
    (axes,) = plots.deletion_curve(table, error="log loss").axes
    assert len(axes.lines) == 3 and axes.get_ylabel() == "Log loss"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "10"]
