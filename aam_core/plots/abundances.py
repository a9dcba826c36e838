"""Abundance of features in groups of samples, as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["abundance_map"]

_SIZES = {"font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8}


def abundance_map(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str = "",
    title: str | None = None,
) -> Figure:
    """Mean relative abundances on a scale of powers of ten; what no sample has is blank.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of features, columns of groups of samples: mean relative abundances.
    path : path, optional
        File to write.
    label : str
        What the samples are grouped by.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If all abundances are 0, or the path's suffix is not one of `SUFFIXES`.
    """
    import matplotlib
    from matplotlib.colors import LogNorm

    values = table.to_numpy(float)
    if not (values > 0).any():
        raise InputError("Nothing to draw: no sample has any of these features.")
    shown = np.ma.masked_less_equal(values, 0)
    with style(), matplotlib.rc_context(_SIZES):
        figure, (axes,) = new_figure(2.6 + 0.34 * len(table.columns), 1.2 + 0.17 * len(table))
        image = axes.imshow(
            shown,
            aspect="auto",
            interpolation="nearest",
            cmap="viridis",
            norm=LogNorm(float(shown.min()), max(float(shown.max()), 1.001 * float(shown.min()))),
        )
        axes.set_facecolor("#eeeeee")
        axes.set_yticks(range(len(table)), [plain(name, 32) for name in table.index])
        axes.set_xticks(range(len(table.columns)), [plain(name, 24) for name in table.columns])
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=40)
        for text in axes.get_xticklabels():
            text.set_ha("right")
            text.set_rotation_mode("anchor")
        axes.set_xlabel(plain(label))
        figure.colorbar(image, ax=axes, label="Mean relative abundance")
        if title:
            axes.set_title(plain(title))
        return save(figure, path)
