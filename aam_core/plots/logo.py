"""Sequence logos: letters as high as what they stand for, along the bases of like ASVs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, GREEN, GREY, ORANGE, RED, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_letters", "information", "logo", "mean_by_letter"]

COLOUR_OF = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": RED}
"""Colours of the bases; ambiguous ones are grey."""

PER_ROW = 50
"""Bases side by side: at a column's width each is 1.5 mm wide."""


def logo(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str = "Attribution",
    units: str | None = None,
    title: str | None = None,
    per_row: int = PER_ROW,
) -> Figure:
    """Conservation, attribution and attention along the bases of ASVs, aligned from their start.

    Amplicons start at the same primer, so that positions of ASVs of other lengths are those from
    the start; what is beyond the end of an ASV is averaged over the others.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each base of each ASV; columns ``feature-id``, ``position`` (from 1), ``base``,
        ``attribution`` and ``attention``, as `aam_core.base_attributions` returns them.
    path : path, optional
        File to write.
    label, units : str
        What is attributed, and its unit.
    title : str, optional
    per_row : int
        Bases side by side.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is nothing to draw, or the path's suffix is not one of `SUFFIXES`.
    """
    if not len(table):
        raise InputError("Nothing to draw: no base of any ASV.")
    bits, mean = information(table), mean_by_letter(table, "attribution")
    attention = 100 * table.groupby("position")["attention"].mean()
    length = int(table["position"].max())
    rows = -(-length // per_row)
    number = table["feature-id"].nunique()
    with style():
        figure, grid = new_figure(
            7.0, 3.4 * rows + 0.5, rows=3 * rows, heights=[0.9, 1.2, 0.5] * rows
        )
        for row in range(rows):
            span = (row * per_row + 0.5, (row + 1) * per_row + 0.5)
            above, middle, below = grid[3 * row : 3 * row + 3]
            draw_letters(above, bits, span)
            above.set_ylim(0, 2)
            draw_letters(middle, mean, span)
            middle.set_ylim(_limits(mean))
            middle.axhline(0, color=GREY, lw=0.5)
            below.bar(attention.index, attention, width=0.9, color=GREY)
            below.set_ylim(0, 1.1 * float(attention.max()))
            for axes in (above, middle, below):
                axes.set_xlim(span)
                axes.tick_params(labelbottom=axes is below)
                axes.set_xticks([place for place in range(10, length + 1, 10) if place < span[1]])
                axes.set_xlim(span)
        first = grid[:3]
        first[0].set_ylabel("Bits")
        first[1].set_ylabel(f"{plain(label)}\n({plain(units)})" if units else plain(label))
        first[2].set_ylabel("Att. (%)")
        grid[-1].set_xlabel("Position (bases from the start)")
        figure.align_ylabels(grid)
        what = f"{number:,} ASV{'s' * (number > 1)}"
        figure.suptitle(f"{plain(title)} ({what})" if title else what)
        return save(figure, path)


def information(table: pd.DataFrame) -> pd.DataFrame:
    """Heights of the letters of a logo of conservation, in bits.

    The frequency of a letter times the information of its position, 2 bits less the entropy
    (Schneider & Stephens 1990, Nucleic Acids Res. 18:6097), without their correction of few
    sequences. Ambiguous letters are not counted.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``position`` and ``base``.

    Returns
    -------
    DataFrame
        ``[positions, 4]``, by ``position``; columns A, C, G and T.
    """
    counts = pd.crosstab(table["position"], table["base"]).reindex(
        columns=list(COLOUR_OF), fill_value=0
    )
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    entropy = -(share * np.log2(share.where(share > 0, 1.0))).sum(axis=1)
    return share.mul(2 - entropy, axis=0)


def mean_by_letter(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over ASVs of a column, divided among the letters that they have at a position.

    Returns
    -------
    DataFrame
        By ``position``, a column per letter; a row sums to the mean over ASVs that are as long.
    """
    sums = table.pivot_table(index="position", columns="base", values=column, aggfunc="sum")
    return sums.fillna(0.0).div(table.groupby("position").size(), axis=0)


def draw_letters(axes: Axes, heights: pd.DataFrame, span: tuple[float, float]) -> None:
    """Stack letters at their positions: positive ones upward, the largest at the top.

    Parameters
    ----------
    heights : DataFrame
        By position, a column per letter.
    span : tuple of float
        Positions to draw.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch

    patches, colours = [], []
    for position, row in heights.loc[
        (heights.index > span[0]) & (heights.index < span[1])
    ].iterrows():
        for sign in (1, -1):
            level = 0.0
            own = row[sign * row > 0]
            for letter, height in own.loc[own.abs().sort_values().index].items():
                patches.append(PathPatch(_placed(str(letter), float(position), level, height)))
                colours.append(COLOUR_OF.get(str(letter), GREY))
                level += height
    axes.add_collection(PatchCollection(patches, facecolors=colours, linewidths=0))


@functools.cache
def _outline(letter: str):
    """Path of a letter in a box of width and height 1, centred at 0 and standing at 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath(
        (0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold")
    )
    box = path.get_extents()
    move = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
    return path.transformed(move.scale(0.92 / box.width, 1 / box.height))


def _placed(letter: str, position: float, level: float, height: float):
    from matplotlib.transforms import Affine2D

    # A letter of negative height hangs below the line, upright.
    bottom = level if height > 0 else level + height
    return _outline(letter).transformed(
        Affine2D().scale(1, abs(height)).translate(position, bottom)
    )


def _limits(heights: pd.DataFrame) -> tuple[float, float]:
    high = float(heights.clip(lower=0).sum(axis=1).max())
    low = float(heights.clip(upper=0).sum(axis=1).min())
    margin = 0.05 * (high - low) or 1.0
    return (low - margin if low < 0 else 0.0), (high + margin if high > 0 else 0.0)
