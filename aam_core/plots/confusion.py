"""The confusion matrix of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.plots.style import legible, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MANY_CLASSES", "confusion"]

MANY_CLASSES = 15
"""Classes above which the cells of a confusion matrix hold no text."""


def confusion(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    label: str = "class",
    title: str | None = None,
) -> Figure:
    """Confusion matrix: each cell gives the count and its share of the actual class.

    Of more than `MANY_CLASSES` classes the colours alone show the shares.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``actual`` and ``prediction``, class names.
    path : path, optional
        File to write.
    classes : sequence of str, optional
        Order of the classes; sorted as text where not given.
    label : str
        Name of what is predicted.
    title : str, optional

    Returns
    -------
    Figure
    """
    from matplotlib.ticker import PercentFormatter

    if classes is None:
        classes = sorted({*table["actual"], *table["prediction"]})
    counts = pd.crosstab(table["actual"], table["prediction"])
    counts = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    crowded = len(classes) > MANY_CLASSES
    size = min(14.0, 3.0 + 0.3 * len(classes)) if crowded else max(4.6, 1.0 + 0.95 * len(classes))
    with style():
        figure, (axes,) = new_figure(size + 1.6, size)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if not crowded:
            _fill_cells(axes, image, counts, share)
        _name_classes(axes, classes, counts.sum(axis=1), crowded, size)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel(f"Predicted {plain(label)}")
        axes.set_ylabel(f"Actual {plain(label)}")
        right = np.trace(counts) / max(counts.sum(), 1)
        summary = f"{right:.1%} of {counts.sum():,} samples right"
        axes.set_title(f"{plain(title)}\n{summary}" if title else summary)
        shrink = min(0.8, 4 / size)  # the bar of a large figure is no longer than that of a small
        bar = figure.colorbar(image, ax=axes, shrink=shrink, format=PercentFormatter(1))
        bar.set_label("Share of the actual class")
        bar.outline.set_visible(False)
        return save(figure, path)


def _fill_cells(axes, image, counts, share):
    font = 12 if len(counts) <= 6 else 9 if len(counts) <= 12 else 7
    for (row, column), value in np.ndenumerate(share):
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}\n{value:.0%}",
            ha="center",
            va="center",
            fontsize=font,
            color=legible(image.cmap(image.norm(value))),
        )


def _name_classes(axes, classes, totals, crowded: bool, size: float):
    """Class names at both axes; where they are too many to be read, every second, third, ..."""
    names = [plain(name, 24) for name in classes]
    between = "\n"
    step, font = 1, None
    if crowded:
        room = 72 * 0.7 * size / len(names)  # points from one class to the next
        step = int(np.ceil(7 / room))
        font, between = min(11.0, 0.85 * room * step), " "
    slant = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 8 else {}
    if crowded:
        slant = {"rotation": 90}
    rows = [f"{name}{between}(n = {n:,})" for name, n in zip(names, totals, strict=True)]
    places = range(0, len(names), step)
    axes.set_xticks(places, names[::step], fontsize=font, **slant)
    axes.set_yticks(places, rows[::step], fontsize=font)
