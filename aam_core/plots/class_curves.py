"""ROC and precision-recall curves of classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, COLOURS, GREY, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_curves"]

_COLOURED = 6
"""Classes up to which each has a colour and a band; more cannot be told apart."""


def class_curves(
    roc: pd.DataFrame,
    precision_recall: pd.DataFrame,
    areas: pd.DataFrame,
    path: str | Path | None = None,
) -> Figure:
    """Each class against the others, with pointwise intervals; of many classes also their mean.

    Parameters
    ----------
    roc, precision_recall : DataFrame
        Of `aam_core.reporting.class_scores.ClassScores`.
    areas : DataFrame
        Index ``class``: ``auc`` and ``average_precision``.
    path : path, optional
        File to write.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is no curve.
    """
    if not len(areas):
        raise InputError("Nothing to draw: no class has probabilities, and samples of two classes.")
    with style():
        figure, axes = new_figure(9.6, 5.0, columns=2)
        ends = [0, 1]
        axes[0].plot(ends, ends, color=GREY, lw=1.2, ls="--", zorder=1)
        _draw(axes[0], roc, "false_positive_rate", "true_positive_rate", areas["auc"], "AUC")
        name = "average_precision"
        _draw(axes[1], precision_recall, "recall", "precision", areas[name], "AP")
        axes[0].set_xlabel("False positive rate")
        axes[0].set_ylabel("True positive rate (recall)")
        axes[1].set_xlabel("Recall")
        axes[1].set_ylabel("Precision")
        for each, place in zip(axes, ("lower right", "lower left"), strict=True):
            each.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            each.set_aspect("equal")
            each.grid(alpha=0.25)
            each.legend(frameon=False, fontsize=10, loc=place)
        return save(figure, path)


def _draw(axes, table, x, y, areas, short):
    if len(areas) > _COLOURED:
        for _, part in table.groupby("class", sort=False):
            axes.plot(part[x], part[y], color=GREY, lw=0.8, alpha=0.35, zorder=2)
        mean = table.groupby(x)[y].mean()
        label = f"mean of {len(areas)} classes ({short} {areas.mean():.2f})"
        axes.plot(mean.index, mean, color=BLUE, lw=2.2, label=label, zorder=4)
        return
    for colour, (name, area) in zip(COLOURS, areas.items(), strict=False):
        part = table[table["class"] == name]
        label = f"{plain(name, 20)} ({short} {area:.2f})"
        axes.plot(part[x], part[y], color=colour, lw=1.8, label=label, zorder=3)
        axes.fill_between(part[x], part["low"], part["high"], color=colour, alpha=0.15, lw=0)
