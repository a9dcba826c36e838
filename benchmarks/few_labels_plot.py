"""The plot of the benchmark of few labels: errors relative to a fit from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from few_labels_draws import ALL, SIZES
from few_labels_tables import LABELS, LEAST, Results, compared, log_ratios, of_corpus

from aam_core.plots.over_sizes import draw_over_sizes
from aam_core.plots.style import GREY, new_figure, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "points"]

PANELS = {
    "other methods": ("forest", "extra", "linear"),
    "AAM": ("pretrained", "like", "shuffled", "scratch/forest"),
}

_BANDS = ("pretrained", "forest", "linear")
"""Methods whose bootstrap interval is drawn: of all it would hide the curves."""


def points(results: Results, method: str) -> pd.DataFrame:
    """Columns ``size``, ``value``, ``low`` and ``high``: the ratio, where enough studies have it.

    Without all labels, which are as many as each study has.
    """
    rows = []
    for size in (size for size in SIZES if size != ALL):
        logs = log_ratios(results, method, [size])
        if len(logs) >= LEAST:
            it = compared(logs)
            rows.append((float(size), it.ratio, it.low, it.high))
    return pd.DataFrame(rows, columns=["size", "value", "low", "high"])


def draw(results: Results, path: Path) -> None:
    """Write the plot: a panel of other methods, and one of AAM with an encoder and of its parts.

    A method has a curve where two numbers of labels have enough studies; nothing is written where
    none has.
    """
    results = of_corpus(results)
    curves = {
        title: {method: points(results, method) for method in methods}
        for title, methods in PANELS.items()
    }
    panels = {
        title: {method: curve for method, curve in each.items() if len(curve) >= 2}
        for title, each in curves.items()
    }
    panels = {title: each for title, each in panels.items() if each}
    if not panels:
        return
    with style():
        figure, grid = new_figure(4.1 * len(panels), 4.4, columns=len(panels))
        for axes, (title, each) in zip(grid, panels.items(), strict=True):
            _panel(axes, each)
            axes.set_title(title)
            axes.sharey(grid[0])
        grid[0].set_ylabel("error relative to AAM from scratch")
        save(figure, path)


def _panel(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    axes.axhline(1, color=GREY, lw=1.2, ls="--")
    shown = {
        LABELS[method].replace("**", ""): curve
        if method in _BANDS
        else curve.drop(columns=["low", "high"])
        for method, curve in curves.items()
    }
    draw_over_sizes(axes, shown, xlabel="labelled samples")
    axes.legend(frameon=False, fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.2))
