"""Predicted age against true age, beside the band of controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import COLOURS, GREY, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["maturity"]

_MOST_GROUPS = 6
"""Groups beside the controls that have a colour of their own."""


def maturity(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str = "age",
    control: str = "control",
) -> Figure:
    """Predicted ages, over the median of the controls of that age and one sd around it.

    Parameters
    ----------
    table : DataFrame
        As `aam_core.maturity.maturity` returns it, and ``group``, the name of each sample's group.
    path : path, optional
        File to write.
    label : str
        Of the age, with its unit.
    control : str
        Group of the controls.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are no samples.
    """
    if not len(table):
        raise InputError("Nothing to draw: there are no samples.")
    band = table.dropna(subset="control_sd").drop_duplicates("bin").sort_values("bin")
    middle = table.groupby("bin")["age"].mean().reindex(band["bin"]).to_numpy()
    others = [name for name in dict.fromkeys(table["group"]) if name != control]
    with style():
        figure, (axes,) = new_figure(6.8, 5.2)
        low, high = (band["control_median"] + side * band["control_sd"] for side in (-1, 1))
        axes.fill_between(middle, low, high, color=GREY, alpha=0.2, lw=0, zorder=1)
        axes.plot(
            middle, band["control_median"], color=GREY, lw=2, zorder=2, label="median of controls"
        )
        names = [control, *others[:_MOST_GROUPS]]
        for name, colour in zip(names, (GREY, *COLOURS), strict=False):
            part = table[table["group"] == name]
            axes.scatter(
                part["age"],
                part["predicted"],
                s=14,
                color=colour,
                alpha=0.6,
                linewidths=0,
                zorder=3,
                label=f"{plain(name, 24)} (n = {len(part):,})",
            )
        limits = np.array([table[["age", "predicted"]].min(), table[["age", "predicted"]].max()])
        axes.set_xlim(*_margin(limits[:, 0]))
        axes.set_ylim(*_margin(limits[:, 1]))
        axes.set_xlabel(f"True {plain(label)}")
        axes.set_ylabel(f"Predicted {plain(label)}")
        axes.legend(frameon=False, fontsize=10, loc="upper left")
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        return save(figure, path)


def _margin(ends: np.ndarray) -> tuple[float, float]:
    gap = 0.04 * (ends[1] - ends[0]) or 1.0
    return float(ends[0] - gap), float(ends[1] + gap)
