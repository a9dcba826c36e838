"""Curves over the number of samples, groups or reads, with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import COLOURS, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_over_sizes", "over_sizes"]

_SIZE = 4.8, 3.7

_ROW = 0.22
"""Inches of a row of the legend, which stands above: within, it would cover curves."""


def over_sizes(
    curves: Mapping[str, pd.DataFrame],
    path: str | Path | None = None,
    *,
    xlabel: str,
    ylabel: str,
    dashed: Sequence[str] = (),
    log_y: bool = False,
) -> Figure:
    """Values over sizes, a curve a name, on a logarithmic axis of sizes.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        By name: columns ``size`` and ``value``, and ``low`` and ``high`` of a band, if there is
        one.
    path : path, optional
    xlabel, ylabel : str
    dashed : sequence of str
        Names of curves that are extrapolated: without points.
    log_y : bool
        Whether values have a logarithmic axis, too; those of 0 are then not drawn.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if not any(len(curve) for curve in curves.values()):
        raise InputError("Nothing to draw: there are no sizes.")
    with style():
        width, height = _SIZE
        several = len(curves) > 1
        figure, (axes,) = new_figure(width, height + several * _ROW * len(curves))
        draw_over_sizes(axes, curves, xlabel=xlabel, ylabel=ylabel, dashed=dashed, log_y=log_y)
        if several:  # above the exponent of the axis
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1.06), "borderaxespad": 0.0}
            axes.legend(frameon=False, fontsize=11, **above)
        return save(figure, path)


def draw_over_sizes(
    axes: Axes,
    curves: Mapping[str, pd.DataFrame],
    *,
    xlabel: str,
    ylabel: str = "",
    dashed: Sequence[str] = (),
    log_y: bool = False,
) -> None:
    """Draw the curves of `over_sizes` on axes of a figure, without a legend."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    measured = [name for name in curves if name not in dashed]
    sizes = np.unique(np.concatenate([curves[name]["size"] for name in curves]))
    for name, curve in curves.items():
        is_measured = name in measured
        # An extrapolation has the colour of its curve, whose name its own begins with.
        base = next((i for i, it in enumerate(measured) if name.startswith(it)), 0)
        colour = COLOURS[base % len(COLOURS)]
        drawn = curve[curve["value"] > 0] if log_y else curve
        if {"low", "high"} <= set(drawn.columns):
            band = drawn.dropna(subset=["low", "high"])
            alpha = 0.2 if is_measured else 0.1
            axes.fill_between(
                band["size"], band["low"], band["high"], color=colour, alpha=alpha, lw=0
            )
        how = {"marker": "o", "ms": 5} if is_measured else {"ls": "--"}
        axes.plot(drawn["size"], drawn["value"], color=colour, lw=1.8, label=plain(name, 40), **how)
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    elif not any((curve["value"] != 0).any() for curve in curves.values()):
        axes.set_ylim(bottom=0)  # a scale around 0 would have negative values
    ticks = _apart(sizes)
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(plain(xlabel))
    axes.set_ylabel(plain(ylabel))
    axes.grid(alpha=0.25)


def _apart(sizes: np.ndarray, most: int = 6) -> np.ndarray:
    """Sizes whose labels do not overlap on a logarithmic axis."""
    least = np.log(sizes[-1] / sizes[0]) / most if len(sizes) > 1 else 0.0
    kept = [sizes[-1]]
    for size in sizes[-2::-1]:
        if np.log(kept[-1] / size) >= least:
            kept.append(size)
    return np.array(kept[::-1])
