"""Attention by ASV, beside abundance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, ORANGE, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_BARS", "attention"]

MOST_BARS = 20
"""ASVs that are drawn at most."""


def attention(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Mean share of attention of the ASVs with most of it, beside their mean share of the reads.

    Parameters
    ----------
    table : pandas.DataFrame
        Index of ASVs, by falling attention; columns ``attention`` and ``reads``, shares, as
        ``features`` of `aam_core.AttentionShares`.
    path : path, optional
        File to write.
    names : mapping, optional
        Names to draw, such as taxa, of some ASVs.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is nothing to draw, or the path's suffix is not one of `SUFFIXES`.
    """
    if not len(table):
        raise InputError("Nothing to draw: there is no ASV.")
    drawn = 100 * table[["attention", "reads"]].head(MOST_BARS)
    places = np.arange(len(drawn))
    texts = [plain((names or {}).get(str(name)) or name, 28) for name in drawn.index]
    with style():
        figure, (axes,) = new_figure(7.0, 1.4 + 0.3 * len(drawn))
        axes.barh(places, drawn["attention"], height=0.7, color=BLUE, label="Attention")
        axes.scatter(
            drawn["reads"], places, color=ORANGE, edgecolors="black", s=36, zorder=3, label="Reads"
        )
        axes.set_yticks(places, texts, fontsize=11)
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("Mean share of a sample (%)")
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=11, loc="lower right")
        if title:
            axes.set_title(plain(title))
        return save(figure, path)
