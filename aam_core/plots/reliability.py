"""Whether stated probabilities hold: of classes, and of intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, COLOURS, GREY, RED, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_CLASSES", "coverage", "reliability"]

_SIZE = 4.4, 3.5

MOST_CLASSES = 6
"""Classes that are drawn, the most frequent ones: more lines cannot be told apart."""


def reliability(table: pd.DataFrame, path: str | Path | None = None) -> Figure:
    """Frequencies of classes against their predicted probabilities, of the most frequent ones.

    Parameters
    ----------
    table : DataFrame
        A row a class and step of its probabilities: ``class``, ``probability`` (mean),
        ``frequency`` and ``samples``, to which the area of a point is in proportion.
    path : path, optional

    Returns
    -------
    Figure
    """
    if not len(table):
        raise InputError("Nothing to draw: there are no probabilities.")
    sizes = (table["frequency"] * table["samples"]).groupby(table["class"]).sum()
    names = sizes.sort_values(ascending=False).index[:MOST_CLASSES]
    with style():
        figure, (axes,) = new_figure(_SIZE[0], 3.8 + 0.25 * min(len(names), 3))
        axes.plot([0, 1], [0, 1], color=GREY, lw=1.2, ls="--", zorder=1)
        for place, name in enumerate(names):
            part = table[table["class"] == name].sort_values("probability")
            colour = COLOURS[place]
            axes.plot(
                part["probability"],
                part["frequency"],
                color=colour,
                lw=1.8,
                label=plain(name, 20),
                zorder=2,
            )
            area = 12 + 100 * part["samples"] / table["samples"].max()
            axes.scatter(
                part["probability"],
                part["frequency"],
                s=area,
                color=colour,
                alpha=0.8,
                linewidths=0,
                zorder=3,
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.set_xlabel("Predicted probability")
        axes.set_ylabel("Share of samples")
        axes.grid(alpha=0.25)
        # Beside the axes: lines may be anywhere in them.
        columns = 1 if len(names) < 3 else 2
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
        axes.legend(frameon=False, fontsize=11, ncol=columns, **below)
        return save(figure, path)


def coverage(
    table: pd.DataFrame, nominal: float | None, path: str | Path | None = None, *, xlabel: str
) -> Figure:
    """Coverage of intervals in parts of the samples, with the range of a binomial.

    Parameters
    ----------
    table : DataFrame
        Index: names of the parts; columns ``coverage`` and ``samples``.
    nominal : float or None
        Share that the intervals should hold, where it is known.
    path : path, optional
    xlabel : str
        What the parts are.

    Returns
    -------
    Figure
    """
    if not len(table):
        raise InputError("Nothing to draw: there is no coverage.")
    shown = table.head(20)
    places = np.arange(len(shown))
    with style():
        figure, (axes,) = new_figure(_SIZE[0], _SIZE[1])
        least = float(shown["coverage"].min())
        if nominal is not None:
            spread = 1.96 * np.sqrt(nominal * (1 - nominal) / shown["samples"].to_numpy())
            low, high = (np.clip(nominal + sign * spread, 0, 1) for sign in (-1, 1))
            axes.vlines(places, low, high, color=GREY, alpha=0.35, lw=9, zorder=1)
            axes.axhline(nominal, color=RED, lw=1.6, ls="--", zorder=2)
            least = min(least, nominal - 0.25)
        axes.scatter(places, shown["coverage"], s=40, color=BLUE, zorder=3)
        texts = [plain(name, 16) for name in shown.index]
        slant = {"rotation": 40, "ha": "right"} if max(map(len, texts)) > 6 else {}
        axes.set_xticks(places, texts, **slant)
        axes.set_ylim(least - 0.05, 1.02)
        axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_xlabel(plain(xlabel))
        axes.set_ylabel("Share within the interval")
        axes.grid(alpha=0.25, axis="y")
        return save(figure, path)
