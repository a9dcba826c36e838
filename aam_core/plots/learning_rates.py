"""The loss over learning rates, of a range test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, PALE, RED, new_figure, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["learning_rates"]


def learning_rates(
    table: pd.DataFrame, suggestion: float, path: str | Path | None = None
) -> Figure:
    """Loss against the learning rate of a range test, and the rate that it suggests.

    Where the loss grows beyond what it was before the suggestion, the plot is cut.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a step; columns ``lr``, ``loss`` and ``smoothed``. Steps whose loss is not finite are
        dropped.
    suggestion : float
        A learning rate.
    path : path, optional
        File to write.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If no step has a finite loss.
    """
    table = table[["lr", "loss", "smoothed"]].astype(float).sort_values("lr")
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        raise InputError("Nothing to draw: the loss is finite at no learning rate.")
    losses = table[["loss", "smoothed"]].to_numpy()
    with style():
        figure, (axes,) = new_figure(7.0, 4.6)
        axes.plot(table["lr"], table["loss"], color=BLUE, alpha=0.45, lw=0.9, label="Loss")
        axes.plot(table["lr"], table["smoothed"], color=BLUE, lw=2.4, label="Smoothed")
        mark = f"Suggested: {suggestion:.2g}"
        axes.axvline(suggestion, color=RED, lw=1.8, ls="--", label=mark, zorder=3)
        low, high = losses.min(), losses[table["lr"] <= suggestion].max(initial=-np.inf)
        if low < high:
            margin = 0.15 * (high - low)
            axes.set_ylim(low - margin, min(losses.max(), high + 2 * margin) + margin)
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        axes.legend(loc="lower left", framealpha=PALE["alpha"], edgecolor="none", fontsize=11)
        return save(figure, path)
