"""Methods of a cross-validation side by side: metrics with intervals, and paired errors."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, GREY, RED, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["methods", "paired"]


def methods(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str,
    reference: str | None = None,
) -> Figure:
    """A metric of each method, with its interval.

    Parameters
    ----------
    table : DataFrame
        Index: the methods, from the top; ``value``, ``low`` and ``high`` (NaN where there is no
        interval).
    path : path, optional
        File to write.
    label : str
        Of the metric, with its unit.
    reference : str, optional
        Method at whose value a line is drawn.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If no method has a value.
    """
    table = table[np.isfinite(table["value"].astype(float))]
    if not len(table):
        raise InputError("Nothing to draw: no method has the metric.")
    places = np.arange(len(table))[::-1]
    with style():
        figure, (axes,) = new_figure(7.2, 1.2 + 0.42 * len(table))
        if reference in table.index:
            axes.axvline(table.loc[reference, "value"], color=GREY, lw=1, ls="--", zorder=1)
        for place, (_, row) in zip(places, table.iterrows(), strict=True):
            colour = BLUE if place == places[0] else GREY
            if np.isfinite([row["low"], row["high"]]).all():
                axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=2, zorder=2)
            axes.scatter([row["value"]], [place], s=46, color=colour, zorder=3)
        axes.set_yticks(places, [textwrap.fill(plain(name), 28) for name in table.index])
        axes.set_ylim(-0.6, len(table) - 0.4)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
        return save(figure, path)


def paired(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    first: str,
    second: str,
    label: str,
) -> Figure:
    """The mean error of each group by two methods: below the line the first is better.

    Parameters
    ----------
    table : DataFrame
        A row a group; ``samples``, and a column for each of the two methods.
    path : path, optional
        File to write.
    first, second : str
        Columns, which are the labels of the methods, too.
    label : str
        What the errors are, with their unit.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If no group has both.
    """
    both = table[["samples", first, second]].dropna()
    if not len(both):
        raise InputError("Nothing to draw: no group has errors of both methods.")
    high = float(both[[first, second]].to_numpy().max()) * 1.06 or 1.0
    better, worse = both[first] < both[second], both[first] > both[second]
    sides = [
        (better, BLUE, "o", f"{plain(first)} is better"),
        (worse, RED, "^", f"{plain(second)} is better"),
        (~better & ~worse, GREY, "s", "equal"),
    ]
    with style():
        figure, (axes,) = new_figure(5.4, 5.4)
        axes.plot([0, high], [0, high], color=GREY, lw=1, ls="--", zorder=1)
        sizes = 18 + 60 * np.sqrt(both["samples"] / both["samples"].max())
        for side, colour, marker, words in sides:
            part = both[side]
            if words == "equal" and not len(part):
                continue
            axes.scatter(
                part[second],
                part[first],
                s=sizes[side],
                color=colour,
                marker=marker,
                alpha=0.75,
                linewidths=0,
                label=f"{words}: {len(part)}",
            )
        axes.set_xlim(0, high)
        axes.set_ylim(0, high)
        axes.set_aspect("equal")
        axes.set_xlabel(textwrap.fill(f"{label}, {plain(second)}", 44))
        axes.set_ylabel(textwrap.fill(f"{label}, {plain(first)}", 44))
        axes.legend(frameon=False, fontsize=11, loc="upper left")
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        return save(figure, path)
