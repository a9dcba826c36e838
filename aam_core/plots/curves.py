"""Training curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core.errors import InputError
from aam_core.plots.style import COLOURS, named_metric, new_figure, plain, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "drawn_columns"]

_IN_UNITS = ("mae", "rmse", "width")
"""Metrics that have the unit of the target."""

_SIDES = {"train": 0, "val": 1}
"""Start of the names of the logs -> place of its colour."""


def drawn_columns(history: pd.DataFrame) -> pd.DataFrame:
    """A history without what is not drawn: steps, summaries of predictions, weighted losses."""
    left = [name for name in history if "/prediction_" not in name and name != "step"]
    return history[[name for name in left if not name.endswith("_weighted")]]


def curves(
    log: pd.DataFrame,
    path: str | Path | None = None,
    *,
    x: str = "step",
    units: str | None = None,
    title: str | None = None,
) -> Figure:
    """Training curves: a panel per quantity, a curve per name.

    Parameters
    ----------
    log : pandas.DataFrame
        A row an entry of ``metrics.jsonl``: the column ``x``, and a numeric column per name;
        blanks are skipped. 'train/total_loss' and 'val/total_loss' share a panel.
    path : path, optional
        File to write.
    x : str
        Column of the horizontal axis, such as 'step' or 'epoch'.
    units : str, optional
        Unit of the target, which its errors have.
    title : str, optional

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is no column ``x`` or nothing to draw.
    """
    from matplotlib.ticker import MaxNLocator

    if x not in log.columns:
        raise InputError(
            f"The training log has no column {x!r}; there are: {', '.join(log.columns)}."
        )
    panels: dict[str, list[str]] = {}
    for name in log.select_dtypes("number").columns:
        if name not in (x, "step", "epoch", "time") and log[name].notna().any():
            panels.setdefault(str(name).rsplit("/", 1)[-1], []).append(name)
    if not panels:
        raise InputError("The training log has no numbers to draw.")
    wide = min(2, len(panels))
    high = -(-len(panels) // wide)
    with style():
        figure, grid = new_figure(3.6 * wide, 2.8 * high, rows=high, columns=wide)
        for axes, (panel, names) in zip(grid, panels.items(), strict=False):
            for place, name in enumerate(names):
                # As on the page: a validation has its colour also where it is alone.
                place = _SIDES.get(str(name).partition("/")[0], place)
                colour = COLOURS[place % len(COLOURS)]
                drawn = log[[x, name]].dropna().sort_values(x)
                dots = "o" if len(drawn) <= 30 else None
                axes.plot(
                    drawn[x],
                    drawn[name],
                    color=colour,
                    lw=1.8,
                    marker=dots,
                    ms=4,
                    label=plain(str(name).rsplit("/", 1)[0] if "/" in str(name) else panel),
                )
            named = plain(named_metric(panel))
            axes.set_title(f"{named} ({plain(units)})" if units and panel in _IN_UNITS else named)
            axes.set_xlabel(plain(x))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(alpha=0.25)
            if len(names) > 1 or "/" in str(names[0]):
                axes.legend(frameon=False, fontsize=11)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if title:
            figure.suptitle(plain(title))
        return save(figure, path)
