"""The metric of each trial of a search, and the best so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core.plots.style import BLUE, GREY, RED, named_metric, new_figure, save, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["trials"]


def trials(
    table: pd.DataFrame,
    metric: str,
    greater_is_better: bool,
    path: str | Path | None = None,
) -> Figure:
    """Metric over trials, with the best so far.

    Parameters
    ----------
    table : DataFrame
        A row a trial; columns ``number``, ``value`` and ``state``: 'complete', of one trial at
        least, or 'pruned'.
    metric : str
        Name of the metric of the validation samples, as in the logs.
    greater_is_better : bool
    path : path, optional
        File to write.

    Returns
    -------
    Figure
    """
    from matplotlib.ticker import MaxNLocator

    complete, pruned = (table[table["state"] == state] for state in ("complete", "pruned"))
    best = complete["value"].cummax() if greater_is_better else complete["value"].cummin()
    with style():
        figure, (axes,) = new_figure(7.2, 4.6)
        low, high = _limits(table["value"].dropna(), greater_is_better)
        axes.set_ylim(low, high)
        axes.step(
            [*complete["number"], table["number"].max()],
            [*best, best.iloc[-1]],
            where="post",
            color=RED,
            lw=2,
            label="Best so far",
        )
        _points(axes, complete, "Complete", {"facecolors": BLUE, "edgecolors": BLUE})
        _points(axes, pruned, "Pruned", {"facecolors": "white", "edgecolors": GREY})
        if not table["value"].dropna().between(low, high).all():
            marker = "v" if greater_is_better else "^"
            axes.scatter([], [], marker=marker, color=GREY, label="Off the scale")
        axes.set_xlim(table["number"].min() - 0.5, table["number"].max() + 0.5)
        axes.set_xlabel("Trial")
        name = named_metric(metric)
        better = "higher" if greater_is_better else "lower"
        axes.set_ylabel(f"Validation {name} ({better} is better)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.legend(
            frameon=False, fontsize=11, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0)
        )
        return save(figure, path)


def _points(axes, part: pd.DataFrame, label: str, look: dict) -> None:
    """A dot a trial; those off the scale are triangles at its edge."""
    low, high = axes.get_ylim()
    above, below = part["value"] > high, part["value"] < low
    for some, marker in ((above, "^"), (below, "v"), (~(above | below), "o")):
        if some.any():
            axes.scatter(
                part["number"][some],
                part["value"][some].clip(low, high),
                s=36,
                marker=marker,
                label=label if marker == "o" else None,
                zorder=3,
                clip_on=False,
                **look,
            )


def _limits(values: pd.Series, greater_is_better: bool) -> tuple[float, float]:
    """Of the axis: every value but those that are far worse than most."""
    middle, spread = values.median(), values.quantile(0.75) - values.quantile(0.25)
    low, high = values.min(), values.max()
    if greater_is_better:
        low = max(low, min(middle - 2 * spread, values.quantile(0.25)))
    else:
        high = min(high, max(middle + 2 * spread, values.quantile(0.75)))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - margin, high + margin
