"""Importances of ASVs or clades as bars, and the error without the most important ASVs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    RED,
    new_figure,
    plain,
    save,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deletion_curve", "importance"]

_SIZES = {"font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "legend.fontsize": 7}
"""Of text, at the width of a column (85 mm) in which these are drawn."""

_WIDTH = 3.35
"""Inches: 85 mm."""

_LABEL = 24
"""Characters of a name."""

_ID = 12
"""Characters of an id, which may be a digest or a sequence."""

_SEVERAL = 7
"""Classes that have a colour of their own."""


def importance(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    error: str = "error",
    units: str | None = None,
    title: str | None = None,
    most: int = 10,
) -> Figure:
    """The most important ASVs or groups, with the standard deviation over repeats.

    Parameters
    ----------
    table : pandas.DataFrame
        By id, most important first: ``importance``, ``importance_sd``, ``direction`` ('raises',
        'lowers' or 'none', else a class) and ``q``, below 0.05 of which there is a star; ``taxon``
        where it is known.
    path : path, optional
        File to write.
    error : str
        Name of the error that rises.
    units : str, optional
        Its unit.
    title : str, optional
    most : int
        Rows.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the path's suffix is not one of `SUFFIXES`, or no importance is above 0.
    """
    shown = table[table["importance"] > 0].head(most)
    if not len(shown):
        raise InputError("Nothing to draw: no importance is above 0.")
    import matplotlib

    with style(), matplotlib.rc_context(_SIZES):
        figure, (axes,) = new_figure(_WIDTH, 0.6 + 0.21 * len(shown))
        colours = _colours(shown["direction"])
        places = np.arange(len(shown))
        values = shown["importance"].to_numpy()
        spread = shown["importance_sd"].fillna(0).to_numpy()
        axes.barh(
            places,
            values,
            xerr=[np.minimum(spread, values), spread],
            color=[colours[it] for it in shown["direction"]],
            error_kw={"elinewidth": 0.8, "ecolor": GREY},
            height=0.7,
        )
        end = (values + spread).max()
        for place, value, q in zip(places, values + spread, shown["q"], strict=True):
            if q < 0.05:
                axes.text(value + 0.02 * end, place, "*", va="center", ha="left")
        axes.set_yticks(places, _labels(shown))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.1 * end)
        unit = f" ({plain(units)})" if units else ""
        axes.set_xlabel(f"Rise of the {error}{unit}")
        if "asvs" in shown:
            axes.set_ylabel("Group (number of ASVs)")
        _legend(figure, colours, bool((shown["q"] < 0.05).any()))
        if title:
            axes.set_title(plain(title))
        return save(figure, path)


def _labels(table: pd.DataFrame) -> list[str]:
    """Last known name of the taxon and the start of the id, and of groups the number of ASVs."""
    labels = []
    sizes = table.get("asvs", [None] * len(table))
    taxa = table.get("taxon", [""] * len(table))
    for name, taxon, size in zip(table.index, taxa, sizes, strict=True):
        parts = [part.strip() for part in str(taxon).split(";")]
        known = [part for part in parts if part[3:] or (part and part[1:3] != "__")]
        # Of groups the id is a lineage, or the number of a clade or cluster.
        last = str(name).split(";")[-1].strip()
        short = last if len(last) <= _ID else f"{last[: _ID - 1]}…"
        text = plain(last, _LABEL) if known and known[-1] == last else plain(short)
        if known and known[-1] != last:
            text = f"{plain(known[-1], _LABEL - _ID)} {text}"
        labels.append(text if size is None else f"{text} ({size})")
    return labels


def _colours(directions: pd.Series) -> dict[str, str]:
    """A colour of each direction, in the order of the legend."""
    numeric = {"raises": BLUE, "lowers": RED, "none": GREY}
    names = list(dict.fromkeys(directions))
    if set(names) <= set(numeric):
        return {name: numeric[name] for name in numeric if name in names}
    classes = sorted(set(names) - {"none"})
    palette = [colour for colour in COLOURS if colour != GREY][: _SEVERAL - 1]
    by_class = {name: palette[i] if i < len(palette) else GREY for i, name in enumerate(classes)}
    return by_class | ({"none": GREY} if "none" in names else {})


def _legend(figure, colours: dict[str, str], starred: bool) -> None:
    from matplotlib.patches import Patch

    words = {"raises": "raises the prediction", "lowers": "lowers it", "none": "no direction"}
    handles = [
        Patch(color=colour, label=plain(words.get(name, name), 24))
        for name, colour in colours.items()
    ]
    title = None if set(colours) <= set(words) else "Makes likelier"
    if starred:
        handles.append(Patch(alpha=0, label="* q < 0.05"))
    figure.legend(
        handles=handles,
        title=title,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncol=3,
        frameon=False,
        handlelength=1,
        columnspacing=1,
    )


def deletion_curve(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    error: str = "error",
    units: str | None = None,
    title: str | None = None,
) -> Figure:
    """The error after ASVs are removed by importance, by abundance and at random.

    Parameters
    ----------
    table : pandas.DataFrame
        Index ``removed``; ``importance``, ``abundance``, ``random``, ``random_low`` and
        ``random_high``.
    path, error, units, title
        As in `importance`.

    Returns
    -------
    Figure
    """
    import matplotlib

    with style(), matplotlib.rc_context(_SIZES):
        figure, (axes,) = new_figure(_WIDTH, 2.6)
        removed = table.index.to_numpy()
        axes.fill_between(
            removed, table["random_low"], table["random_high"], color=GREY, alpha=0.25, lw=0
        )
        lines = {
            "importance": ("the most important first", BLUE, "o"),
            "abundance": ("the most abundant first", ORANGE, "s"),
            "random": ("at random (range of ten)", GREY, "^"),
        }
        for name, (label, colour, marker) in lines.items():
            axes.plot(removed, table[name], color=colour, marker=marker, ms=3, lw=1.2, label=label)
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        ticks = [it for it in removed if it == 0 or str(it).strip("0") == "1"]
        axes.set_xticks(ticks, [f"{it:,}" for it in ticks])
        axes.minorticks_off()
        axes.set_xlim(0, removed[-1] * 1.1)
        axes.set_xlabel("ASVs removed from all samples")
        unit = f" ({plain(units)})" if units else ""
        axes.set_ylabel(f"{error[:1].upper()}{error[1:]}{unit}")
        axes.legend(loc="upper left", frameon=False, title="Removed")
        if title:
            axes.set_title(plain(title))
        return save(figure, path)
