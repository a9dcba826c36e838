from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots


@pytest.fixture
def coordinates():
    values = np.random.default_rng(0).normal(size=(40, 3))
    return pd.DataFrame(values, [f"s{i}" for i in range(40)], ["PC1", "PC2", "PC3"])


def draw(coordinates, values=None, **options):
    colours = None if values is None else pd.Series(values, coordinates.index, name="day_of_life")
    return plots.ordination(coordinates, [0.5, 0.25, 0.1], colours=colours, **options)


def test_axes_say_what_they_explain(coordinates):
    axes = draw(coordinates, title="Samples").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "PC1 (50.0% explained)",
        "PC2 (25.0% explained)",
    )
    assert axes.get_title() == "Samples" and axes.get_aspect() == 1
    points = np.asarray(axes.collections[0].get_offsets())
    assert points == pytest.approx(coordinates[["PC1", "PC2"]].to_numpy())


def test_numbers_are_a_scale_and_blanks_are_rings(coordinates):
    values = [None, *map(str, range(39))]
    axes, bar = draw(coordinates, values, units="days").axes
    rings, points = axes.collections
    assert len(rings.get_offsets()) == 1 and not len(rings.get_facecolors())
    assert np.asarray(points.get_array()).tolist() == list(range(39))
    assert bar.get_ylabel() == "day of life (days)"


def test_many_classes_share_the_last_colour(coordinates):
    (axes,) = draw(coordinates, [f"class {min(i, 30 - i % 9)}" for i in range(40)]).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 7 and labels[-1].split(" ")[1] == "others"
    assert sum(len(part.get_offsets()) for part in axes.collections) == 40


def test_text_of_a_pdf_and_an_svg_is_text(coordinates, tmp_path):
    for suffix in ("pdf", "svg"):
        plots.ordination(coordinates, [0.5, 0.25], tmp_path / f"pcoa.{suffix}")
    assert "PC1 (50.0% explained)</text>" in (tmp_path / "pcoa.svg").read_text()
    pdf = (tmp_path / "pcoa.pdf").read_bytes()
    assert b"/Type3" not in pdf and b"/FontFile2" in pdf  # Type 42
