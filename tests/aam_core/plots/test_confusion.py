from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from aam_core import plots
from aam_core.plots.style import contrast


def test_confusion_shows_counts_and_shares(classes, texts):
    axes = plots.confusion(classes, label="site").axes[0]
    assert texts(axes) == [
        "2\n67%",
        "1\n33%",
        "0\n0%",
        "0\n0%",
        "1\n100%",
        "0\n0%",
        "1\n100%",
        "0\n0%",
        "0\n0%",
    ]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.get_yticklabels()[0].get_text() == "a\n(n = 3)"
    assert axes.get_title() == "60.0% of 5 samples right"
    assert axes.get_ylabel() == "Actual site"


def test_confusion_keeps_the_order_of_classes_and_shows_absent_ones(classes, texts):
    axes = plots.confusion(classes, classes=["c", "b", "a", "z"], title="Folds").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["c", "b", "a", "z"]
    assert len(texts(axes)) == 16
    assert axes.get_title().startswith("Folds\n")


@pytest.mark.parametrize("number", [plots.MANY_CLASSES, plots.MANY_CLASSES + 1, 40, 300])
def test_confusion_of_many_classes_stays_readable(number, texts):
    names = [f"body site {place:03d}" for place in range(number)]
    figure = plots.confusion(pd.DataFrame({"actual": names, "prediction": names}))
    axes, bar = figure.axes
    few = number <= plots.MANY_CLASSES
    assert len(texts(axes)) == (number**2 if few else 0)
    assert max(figure.get_size_inches()) < 17
    figure.draw_without_rendering()
    assert bar.get_window_extent().height / figure.dpi < 5 or few
    for labels, side in ((axes.get_xticklabels(), "width"), (axes.get_yticklabels(), "height")):
        shown = [label.get_text().split(" (")[0].split("\n")[0] for label in labels]
        assert set(shown) <= set(names) and shown[0] == names[0]
        assert len(shown) == number or number == 300
        assert all(label.get_fontsize() >= 5.5 for label in labels)
        if not few:  # upright names beside each other, and none on another
            boxes = [label.get_window_extent() for label in labels]
            pitch = getattr(axes.get_window_extent(), side) / len(shown)
            assert max(getattr(box, side) for box in boxes) <= 1.05 * pitch


def test_text_of_cells_is_legible():
    table = pd.DataFrame(
        {"actual": ["a"] * 20, "prediction": ["a"] * 9 + ["b"] * 6 + ["c"] * 4 + ["d"]}
    )
    axes = plots.confusion(table).axes[0]
    image = axes.images[0]
    for text in axes.texts:
        column, row = text.get_position()
        colour = image.cmap(image.norm(image.get_array()[int(row), int(column)]))
        assert contrast(colour, to_rgb(text.get_color())) >= 4.5
