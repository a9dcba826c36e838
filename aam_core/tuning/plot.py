"""The figure of each trial, and the best so far."""

from __future__ import annotations

import pandas as pd

from aam_core.files.writing import replacing
from aam_core.plots import BLUE, GREY, RED, STYLE
from aam_core.tuning.trial import Task

NAMES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "auc": "AUC", "f1": "F1"}
"""Figures that are not called as in the logs."""


def history(frame: pd.DataFrame, task: Task, path=None):
    """Figure over trials, with the best so far.

    Parameters
    ----------
    frame : DataFrame
        As `table` returns, with a complete trial at least.
    task : Task
    path : path, optional
        PNG, SVG or PDF to write.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    more = task.direction == "maximize"
    done, pruned = (frame[frame["state"] == state] for state in ("complete", "pruned"))
    best = done["value"].cummax() if more else done["value"].cummin()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        low, high = _limits(frame["value"].dropna(), more)
        axes.set_ylim(low, high)
        axes.step(
            [*done["number"], frame["number"].max()],
            [*best, best.iloc[-1]],
            where="post",
            color=RED,
            lw=2,
            label="Best so far",
        )
        _points(axes, done, "Complete", {"facecolors": BLUE, "edgecolors": BLUE})
        _points(axes, pruned, "Pruned", {"facecolors": "white", "edgecolors": GREY})
        if not frame["value"].dropna().between(low, high).all():
            axes.scatter([], [], marker="v" if more else "^", color=GREY, label="Off the scale")
        axes.set_xlim(frame["number"].min() - 0.5, frame["number"].max() + 0.5)
        axes.set_xlabel("Trial")
        name = NAMES.get(task.metric, task.metric.replace("_", " "))
        axes.set_ylabel(f"Validation {name} ({'higher' if more else 'lower'} is better)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.legend(
            frameon=False, fontsize=11, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0)
        )
        if path is not None:
            with replacing(path) as temporary:
                figure.savefig(temporary)
        return figure


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


def _limits(values: pd.Series, more: bool) -> tuple[float, float]:
    """Of the axis: every value but those that are far worse than most."""
    middle, spread = values.median(), values.quantile(0.75) - values.quantile(0.25)
    low, high = values.min(), values.max()
    if more:
        low = max(low, min(middle - 2 * spread, values.quantile(0.25)))
    else:
        high = min(high, max(middle + 2 * spread, values.quantile(0.75)))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - margin, high + margin
