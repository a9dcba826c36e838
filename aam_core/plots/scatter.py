"""Predicted against true numbers: of samples, or of pairs of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, GREY, PALE, RED, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CROWDED", "distances", "scatter"]

CROWDED = 5000
"""Points above which a scatter is drawn as a density."""


def scatter(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str = "value",
    units: str | None = None,
    title: str | None = None,
) -> Figure:
    """Predicted against actual, with R2 and MAE, the fit line and the 1:1 line.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``actual`` and ``prediction``, in one unit; rows lacking either are dropped.
        More than `CROWDED` rows are drawn as a density.
    path : path, optional
        File to write.
    label : str
        Name of what is predicted.
    units : str, optional
        Its unit, such as 'days'.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the path's suffix is not one of `SUFFIXES`, or no row has both values.
    """
    table = _points(table)
    low, high = table.to_numpy().min(), table.to_numpy().max()
    margin = 0.04 * (high - low) or 1.0
    with style():
        figure, (axes,) = new_figure(6.4, 6.4)
        _square(axes, low - margin, high + margin)
        _draw_points(figure, axes, table, "samples")
        _lines(axes, table)
        _note(axes, table, "samples", units=units)
        named = f"{plain(label)} ({plain(units)})" if units else plain(label)
        return _finish(figure, axes, path, f"Actual {named}", f"Predicted {named}", title)


def distances(
    table: pd.DataFrame,
    path: str | Path | None = None,
    *,
    label: str = "UniFrac",
    title: str | None = None,
) -> Figure:
    """Predicted against true distances of sample pairs, as a density where they are many.

    Parameters
    ----------
    table : pandas.DataFrame
        A row a pair; columns ``actual`` and ``prediction``, which are not negative.
    path, label, title
        As in `scatter`.

    Returns
    -------
    Figure
    """
    table = _points(table)
    with style():
        figure, (axes,) = new_figure(6.4, 6.4)
        highest = max(1.0, float(table.to_numpy().max()))
        _square(axes, -0.02 * highest, 1.02 * highest)
        _draw_points(figure, axes, table, "pairs")
        _lines(axes, table)
        _note(axes, table, "pairs")
        return _finish(
            figure, axes, path, f"True {plain(label)}", f"Predicted {plain(label)}", title
        )


def _points(table) -> pd.DataFrame:
    table = table[["actual", "prediction"]].astype(float).dropna()
    if not len(table):
        raise InputError("Nothing to draw: no row has both an actual value and a prediction.")
    return table


def _draw_points(figure, axes, table, what):
    from matplotlib.ticker import StrMethodFormatter

    if len(table) <= CROWDED:
        size = 30 if len(table) <= 1000 else 12
        axes.scatter(
            table["actual"],
            table["prediction"],
            s=size,
            color=BLUE,
            alpha=0.55,
            linewidths=0,
            zorder=2,
        )
        return
    extent = (*axes.get_xlim(), *axes.get_ylim())
    image = axes.hexbin(
        table["actual"],
        table["prediction"],
        gridsize=70,
        bins="log",
        mincnt=1,
        extent=extent,
        cmap="viridis",
        linewidths=0.1,
        zorder=2,
    )
    bar = figure.colorbar(
        image, cax=axes.inset_axes([1.03, 0.0, 0.04, 1.0]), format=StrMethodFormatter("{x:,.0f}")
    )
    bar.set_label(f"{what.capitalize()} in a cell")
    bar.outline.set_visible(False)


def _lines(axes, table):
    from matplotlib.patheffects import withStroke

    crowded = len(table) > CROWDED  # lines stand out from a density by a white edge
    halo = [withStroke(linewidth=3.6, foreground="white", alpha=0.8)] if crowded else None
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color=GREY, lw=1.3, ls="--", label="1:1", zorder=3, path_effects=halo)
    if table["actual"].nunique() > 1:
        slope, start = np.polyfit(table["actual"], table["prediction"], 1)
        within = np.array([table["actual"].min(), table["actual"].max()])
        axes.plot(
            within,
            start + slope * within,
            color=RED,
            lw=2.2,
            label="Fit",
            zorder=4,
            path_effects=halo,
        )


def _note(axes, table, what, units=None):
    r2, mae = _r2_and_mae(table)
    unit = f" {plain(units)}" if units else ""
    axes.text(
        0.03,
        0.97,
        f"R² = {r2:.3f}\nMAE = {_readable(mae)}{unit}\nn = {len(table):,} {what}",
        transform=axes.transAxes,
        va="top",
        ha="left",
        zorder=5,
        bbox=PALE,
    )


def _r2_and_mae(table) -> tuple[float, float]:
    """R2 is NaN where the actual values are all one."""
    actual, error = table["actual"], table["prediction"] - table["actual"]
    spread = ((actual - actual.mean()) ** 2).sum()
    r2 = 1 - (error**2).sum() / spread if actual.nunique() > 1 else np.nan
    return float(r2), float(error.abs().mean())


def _readable(value: float) -> str:
    """Three digits, and never an exponent for what people read as a plain number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _square(axes, low, high):
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _finish(figure, axes, path, xlabel, ylabel, title):
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(loc="lower right", framealpha=PALE["alpha"], edgecolor="none", fontsize=11)
    if title:
        axes.set_title(plain(title))
    return save(figure, path)
