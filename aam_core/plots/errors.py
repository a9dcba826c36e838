"""Errors of predictions against a number, by category, and by group."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import BLUE, GREY, RED, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DRAWN", "errors_against", "errors_by_category", "errors_by_group", "running_median"]

DRAWN = 1500
"""Points of a figure: of more samples so many are drawn, chosen at random. Lines are of all."""

_MOST_GROUPS = 30
"""Groups of a figure; those of the greatest errors."""

_MOST_CATEGORIES = 12

_SIZE = 4.4, 3.5
"""Inches: a letter of 12 points has 9 at the width of a column, 85 mm."""


def errors_against(
    x: Sequence[float],
    y: Sequence[float],
    path: str | Path | None = None,
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Errors against a number, with their running median and the quartiles round it.

    Parameters
    ----------
    x, y : [N]
        Samples that lack either are not drawn.
    path : path, optional
        File to write.
    xlabel, ylabel : str
        With their units.
    log : bool
        Whether x has a logarithmic axis; what is not above 0 is then not drawn.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If nothing can be drawn.
    """
    points = np.asarray([x, y], np.float64)
    kept = np.isfinite(points).all(axis=0)
    if log:
        kept &= points[0] > 0
    across, up = points[:, kept]
    if not len(across):
        raise InputError("Nothing to draw: no sample has both numbers.")
    with style():
        figure, (axes,) = new_figure(*_SIZE)
        rows = _drawn(len(across))
        size = 14 if len(rows) <= 500 else 7
        axes.scatter(across[rows], up[rows], s=size, color=BLUE, alpha=0.45, linewidths=0, zorder=2)
        if (up < 0).any():
            axes.axhline(0, color=GREY, lw=1, ls="--", zorder=1)
        middle = running_median(across, up)
        if len(middle) > 1:
            axes.fill_between(
                middle["x"], middle["low"], middle["high"], color=RED, alpha=0.2, lw=0, zorder=3
            )
            axes.plot(middle["x"], middle["median"], color=RED, lw=2.2, zorder=4)
        if log:
            _log_scale(axes, float(across.min()), float(across.max()))
        axes.set_xlabel(_wrapped(xlabel))
        axes.set_ylabel(_wrapped(ylabel))
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        return save(figure, path)


def running_median(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Medians and quartiles of y in stretches of x of about as many samples each.

    Returns
    -------
    DataFrame
        A row a stretch, of 3 to 15: the median ``x``, and ``median``, ``low`` and ``high``
        (quartiles) of y; and ``samples``. Samples of equal x are in one stretch.
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    parts = int(np.clip(len(x) // 15, 3, 15))
    edges = np.searchsorted(x, np.quantile(x, np.arange(1, parts) / parts))
    rows = []
    for piece in np.split(np.arange(len(x)), np.unique(edges)):
        if len(piece):
            low, median, high = np.quantile(y[piece], (0.25, 0.5, 0.75))
            rows.append((np.median(x[piece]), median, low, high, len(piece)))
    return pd.DataFrame(rows, columns=["x", "median", "low", "high", "samples"])


def errors_by_category(
    categories: Sequence[str | None],
    y: Sequence[float],
    path: str | Path | None = None,
    *,
    label: str,
    ylabel: str,
) -> Figure:
    """Errors by category, as boxes over points, with the number of samples.

    Of more than 12 categories the most frequent are drawn; parameters and errors as
    `errors_against`.
    """
    frame = pd.DataFrame({"category": list(categories), "y": np.asarray(y, np.float64)}).dropna()
    if not len(frame):
        raise InputError("Nothing to draw: no sample has both a category and a number.")
    names = list(frame["category"].value_counts().index[:_MOST_CATEGORIES])
    values = [frame["y"][frame["category"] == name].to_numpy() for name in names]
    order = np.argsort([np.median(part) for part in values], kind="stable")
    names, values = [names[i] for i in order], [values[i] for i in order]
    rng = np.random.default_rng(0)
    with style():
        height = max(_SIZE[1] * 0.6, 0.9 + 0.42 * len(names))
        figure, (axes,) = new_figure(_SIZE[0], height)
        for place, part in enumerate(values):
            rows = _drawn(len(part), DRAWN // len(values))
            jitter = rng.uniform(-0.25, 0.25, len(rows))
            axes.scatter(
                part[rows], place + jitter, s=8, color=BLUE, alpha=0.35, linewidths=0, zorder=2
            )
        boxes = axes.boxplot(
            values, positions=range(len(values)), widths=0.6, showfliers=False, zorder=3, vert=False
        )
        for line in (*boxes["boxes"], *boxes["whiskers"], *boxes["caps"]):
            line.set_color(GREY)
        for line in boxes["medians"]:
            line.set(color=RED, linewidth=2.2)
        if (frame["y"] < 0).any():
            axes.axvline(0, color=GREY, lw=1, ls="--", zorder=1)
        texts = [
            f"{plain(name, 22)} (n = {len(part):,})"
            for name, part in zip(names, values, strict=True)
        ]
        axes.set_yticks(range(len(names)), texts)
        axes.set_xlabel(_wrapped(ylabel))
        axes.set_title(plain(label, 44))
        axes.grid(alpha=0.25, axis="x")
        axes.set_axisbelow(True)
        return save(figure, path)


def errors_by_group(
    table: pd.DataFrame, path: str | Path | None = None, *, label: str, xlabel: str
) -> Figure:
    """The mean error of each group; of more than 30, of those with the greatest errors.

    Parameters
    ----------
    table : DataFrame
        Index: names; columns ``error`` and ``samples``.
    path : path, optional
    label : str
        What the groups are.
    xlabel : str
        What the error is, with its units.

    Returns
    -------
    Figure
    """
    if not len(table):
        raise InputError("Nothing to draw: there are no groups.")
    shown = table.sort_values("error", ascending=False).head(_MOST_GROUPS)[::-1]
    mean = float(np.average(table["error"], weights=table["samples"]))
    with style():
        figure, (axes,) = new_figure(_SIZE[0], max(2.4, 1.2 + 0.25 * len(shown)))
        places = np.arange(len(shown))
        axes.hlines(places, 0, shown["error"], color=BLUE, lw=1.4, alpha=0.5)
        axes.scatter(shown["error"], places, s=28, color=BLUE, zorder=3)
        axes.axvline(mean, color=RED, lw=1.6, ls="--", label="All samples")
        texts = [
            f"{plain(name, 18)} (n = {n:,})"
            for name, n in zip(shown.index, shown["samples"], strict=True)
        ]
        axes.set_yticks(places, texts, fontsize=11)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel(_wrapped(xlabel))
        more = len(table) - len(shown)
        rest = f"\n{more:,} groups of smaller errors not drawn" if more else ""
        axes.set_title(f"{plain(label, 40)}{rest}")
        axes.grid(alpha=0.25, axis="x")
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=11, loc="lower right")
        return save(figure, path)


def _log_scale(axes, low: float, high: float) -> None:
    """A logarithmic axis with the numbers themselves: several also where it spans one decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    within = (1.0, 2.0, 5.0) if high < 100 * low else (1.0, 3.0)
    axes.xaxis.set_major_locator(LogLocator(subs=within if high < 1000 * low else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _drawn(count: int, most: int = DRAWN) -> np.ndarray:
    """Places of the points that are drawn: all, or so many of them at random, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, max(1, most), replace=False))


def _wrapped(text: str, width: int = 34) -> str:
    """A label on two lines where it is long: a column's width holds about so many letters."""
    return "\n".join(textwrap.wrap(plain(text), width)[:3])
