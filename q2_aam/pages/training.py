"""What the page of a training shows: facts, and a chart of each loss and metric by epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.log import duration
from aam_core.model import Model
from aam_core.plots.style import COLOURS, named_metric
from q2_aam.pages.rendering import NUMBER

__all__ = ["chart", "facts_of", "name_of", "points", "unit_of"]

_SIDES = {"train": "training", "val": "validation"}
"""Start of the names of the logs -> what they are of."""

_WHY = {"total_loss": "of the least validation loss", "none": "the last"}
"""``train.best_metric`` -> which epoch's weights are kept; else that of the best such metric."""

_IN_UNITS = ("mae", "rmse", "width")
"""Metrics that have the unit of the target."""


def name_of(model: Model) -> str:
    """Kind of the model, and the columns that it predicts."""
    columns = [one.task.column for one in model.each if one.target is not None]
    return model.kind + (f" of {', '.join(columns)}" if columns else "")


def unit_of(model: Model) -> str:
    """Unit of the target, where there is one target, and it is known."""
    columns = [one.task.column for one in model.each if one.target is not None]
    return model.unit_of(columns[0]) if len(columns) == 1 else ""


def points(history: pd.DataFrame) -> pd.DataFrame:
    """The history, a row a point: ``epoch``, ``quantity``, ``samples``, ``value``."""
    shown = plots.drawn_columns(history)
    pairs = [(f"{side}/target_loss", f"{side}/total_loss") for side in _SIDES]
    pairs = [pair for pair in pairs if set(pair) <= set(shown)]
    if all(np.allclose(shown[one], shown[other], equal_nan=True) for one, other in pairs):
        shown = shown.drop(columns=[one for one, _ in pairs])  # the target is all that is learned
    long = shown.melt("epoch", var_name="name").dropna(subset="value")
    side = long["name"].str.split("/").str[0]
    table = pd.DataFrame(
        {
            "epoch": long["epoch"],
            "quantity": long["name"].str.partition("/")[2],
            "samples": side.map(_SIDES).fillna(side),
            "value": long["value"],
        }
    )
    # What is minimized comes first, then in the order of the logs.
    return table.sort_values("quantity", key=lambda it: it != "total_loss", kind="stable")


def chart(quantity: str, units: str, kept: int | None) -> dict:
    """Chart of a quantity: training beside validation, and the epoch whose weights were kept."""
    words = named_metric(quantity)
    axis = f"{words} ({units})" if units and quantity in _IN_UNITS else words
    line = {
        "mark": {"type": "line", "point": {"size": 28}, "strokeWidth": 2},
        "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
        "encoding": {
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": axis,
                "scale": {"zero": False},
            },
            "color": {
                "field": "samples",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(_SIDES.values()), "range": list(COLOURS[:2])},
                "legend": {"orient": "top"},
            },
            "tooltip": [
                {"field": "epoch", "type": "quantitative"},
                {"field": "samples", "type": "nominal"},
                {"field": "value", **NUMBER, "title": axis},
            ],
        },
    }
    layers = [line]
    if kept is not None:
        rule = {"type": "rule", "strokeDash": [4, 4], "color": "#595959"}
        layers.append({"mark": rule, "encoding": {"x": {"datum": kept}}})
    return {
        "data": {"name": "curves"},
        "transform": [{"filter": {"field": "quantity", "equal": quantity}}],
        "width": "container",
        "height": 220,
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1}},
        },
        "layer": layers,
    }


def facts_of(model: Model, history: pd.DataFrame, kept: int | None) -> list[tuple[str, str, str]]:
    """What stands at the top of the page of a training."""
    last, train = history.iloc[-1], model.config.train
    remark, seconds = f"{int(last['step']):,} steps", model.run.get("seconds", {})
    if "total" in seconds:
        remark += f", {duration(seconds['total'])} on {model.run.get('device', '?')}"
    facts = [("Trained", f"{len(history)} epochs", remark)]
    if kept is not None:
        why = _WHY.get(train.best_metric, f"of the best validation {train.best_metric}")
        facts.append(("Weights kept", f"epoch {kept}", why))
    at = history[history["epoch"] == kept] if kept is not None else history.tail(1)
    for side, words in _SIDES.items():
        values = at.get(f"{side}/total_loss", pd.Series(dtype=float)).dropna()
        if len(values):
            facts.append((f"Loss, {words} samples", f"{values.iloc[-1]:.4g}", "at that epoch"))
    facts.append(
        ("Samples", f"{len(model.train_samples):,}", f"{len(model.val_samples):,} of validation")
    )
    return facts
