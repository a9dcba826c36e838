"""Samples on the first two axes of an ordination, coloured by a metadata column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, infer_task, missing_ids, to_floats
from aam_core.plots.style import COLOURS, GREY, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ordination"]

_MARKERS = "osD^vPX"
"""A second way to tell classes apart, beside their colours."""

_SHOWN = len(COLOURS) - 1
"""Classes with a colour of their own; the rest share the last one."""

_LEGEND = 24
"""Characters of a class in the legend."""


def ordination(
    coordinates: pd.DataFrame,
    explained: Sequence[float] | np.ndarray,
    path: str | Path | None = None,
    *,
    colours: pd.Series | None = None,
    units: str | None = None,
    title: str | None = None,
) -> Figure:
    """Samples on the first two principal coordinates.

    Parameters
    ----------
    coordinates : DataFrame
        Index: sample ids; the first two columns are drawn.
    explained : sequence of float
        Share of the inertia on each axis.
    path : path, optional
        File to write.
    colours : Series, optional
        A metadata column by sample id: numbers are a colour scale, text classes with a legend, of
        which the six largest have a colour of their own. Samples without a value are rings.
    units : str, optional
        Of the numbers.
    title : str, optional

    Returns
    -------
    Figure
    """
    x, y = (coordinates.iloc[:, i].to_numpy() for i in (0, 1))
    with style():
        figure, (axes,) = new_figure(6.4, 5.2)
        if colours is None:
            _points(axes, x, y, color=COLOURS[0])
        else:
            values = colours.reindex(coordinates.index)
            blank = values.index.isin(missing_ids(values))
            if blank.any():
                _points(axes, x[blank], y[blank], facecolors="none", edgecolors=GREY, label="blank")
            there = values[~blank]
            numbers = len(there) and infer_task(there) == "regression"
            draw = _by_number if numbers else _by_class
            draw(axes, x[~blank], y[~blank], there, _named(colours.name, units if numbers else ""))
        for name, share, label in zip("xy", explained, coordinates.columns, strict=False):
            getattr(axes, f"set_{name}label")(f"{label} ({share:.1%} explained)")
        # One scale for both: a distance on paper is one.
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        if title:
            axes.set_title(plain(title))
        return save(figure, path)


def _named(name: object, units: str | None) -> str:
    text = plain("" if name is None else name).replace("_", " ")
    return f"{text} ({plain(units)})" if units else text


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, **look: Any):
    size = 34 if len(x) <= 300 else 18 if len(x) <= 3000 else 6
    look = {"alpha": 0.75, "linewidths": 0.8 if "edgecolors" in look else 0, **look}
    return axes.scatter(x, y, s=size, **look)


def _by_number(axes: Axes, x: np.ndarray, y: np.ndarray, values: pd.Series, name: str) -> None:
    numbers = to_floats(values)
    # Scales end where 2 of 100 samples are beyond: one outlier would make all others one colour.
    low, high = np.nanquantile(numbers, [0.01, 0.99])
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    ends = bool(np.nanmin(numbers) < low), bool(np.nanmax(numbers) > high)
    points = _points(axes, x, y, c=numbers, cmap="viridis", vmin=low, vmax=high)
    bar = axes.figure.colorbar(points, ax=axes, extend=beyond.get(ends, "both"), pad=0.03)
    bar.set_label(name)
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)


def _by_class(axes: Axes, x: np.ndarray, y: np.ndarray, values: pd.Series, name: str) -> None:
    names = as_classes(values).to_numpy(object)
    sizes = pd.Series(names).value_counts()
    # By size, then by name: the order of equal counts is that of no pandas.
    order = sorted(sizes.index, key=lambda it: (-sizes[it], it))
    shown = order if len(order) <= len(COLOURS) else order[:_SHOWN]
    for label, colour, marker in zip(sorted(shown), COLOURS, _MARKERS, strict=False):
        here = names == label
        text = f"{plain(label, _LEGEND)} ({here.sum()})"
        _points(axes, x[here], y[here], color=colour, marker=marker, label=text)
    if len(shown) < len(order):
        rest = ~np.isin(names, shown)
        text = f"{len(order) - len(shown)} others ({rest.sum()})"
        _points(axes, x[rest], y[rest], color=GREY, marker=_MARKERS[-1], label=text)
    axes.legend(
        title=name,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=11,
        title_fontsize=12,
        alignment="left",
    )
