"""Charts of a comparison: Vega-Lite specifications, and static pictures."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.plots.style import BLUE, GREY, RED
from q2_aam.pages import rendering

__all__ = ["REFERENCE", "differences_chart", "metrics_chart", "paired_chart", "pictures_of"]

REFERENCE = "random_forest"
"""The method that the comparison table has differences from."""


def _choice(name: str, options: list[str], first: str, label: str) -> dict[str, Any]:
    """A parameter of a chart that the reader chooses from a list."""
    bind = {"input": "select", "options": options, "name": f"{label}: "}
    return {"name": name, "value": first, "bind": bind}


def _by_metric(metrics: pd.DataFrame, main: str, value: str) -> dict[str, Any]:
    """A point and a line for each method, of the metric that the reader chooses."""
    first = str(metrics.loc[metrics["metric"] == main, "label"].iloc[0])
    low, high = ("low", "high") if value == "value" else (f"{value}_low", f"{value}_high")
    chosen = metrics[np.isfinite(metrics[value])]
    order = list(dict.fromkeys(metrics["method"]))
    # A label of several lines is an array.
    lines = json.dumps({name: textwrap.wrap(name, 24) for name in order})
    y = {
        "field": "method",
        "type": "nominal",
        "sort": order,
        "title": None,
        "axis": {"labelLimit": 220, "labelExpr": f"{lines}[datum.label]"},
    }
    shown = [
        {"field": "method", "title": "method"},
        *(
            {"field": name, "title": title, **rendering.NUMBER}
            for name, title in ((value, value), (low, "from"), (high, "to"))
        ),
    ]
    x = {"field": value, "type": "quantitative", "title": None, "scale": {"zero": False}}
    ours = {"condition": {"test": "datum.method === 'AAM'", "value": BLUE}, "value": GREY}
    return {
        "data": {"name": "metrics"},
        "width": "container",
        "height": 34 * chosen["method"].nunique(),
        "params": [_choice("shown", list(dict.fromkeys(chosen["label"])), first, "Metric")],
        "transform": [{"filter": f"datum.label === shown && isValid(datum.{value})"}],
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "x": {**x, "field": low},
                    "x2": {"field": high},
                    "color": ours,
                    "tooltip": shown,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {"x": x, "color": ours, "tooltip": shown},
            },
        ],
    }


def metrics_chart(metrics: pd.DataFrame, main: str) -> dict[str, Any]:
    return _by_metric(metrics, main, "value")


def differences_chart(metrics: pd.DataFrame, main: str) -> dict[str, Any]:
    spec = _by_metric(metrics, main, "difference")
    zero = {
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": GREY, "tooltip": None},
        "encoding": {"x": {"datum": 0, "type": "quantitative"}, "y": None},
    }
    return {**spec, "layer": [zero, *spec["layer"]]}


def paired_chart(paired: pd.DataFrame, loss: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The mean loss of each group by AAM against another method, which the reader chooses."""
    names = list(dict.fromkeys(paired["method"]))
    first = labels[REFERENCE] if labels[REFERENCE] in names else names[0]
    highest = paired.groupby("method")[["other", "AAM"]].max().max(axis=1)
    ends = {name: float(f"{1.05 * highest[name]:.3g}") or 1.0 for name in names}
    end = {"expr": f"{json.dumps(ends)}[other_method]"}
    scale = {"domainMin": 0, "domainMax": end, "nice": False}
    better = (
        "datum.AAM === datum.other ? 'equal' : "
        "datum.AAM < datum.other ? 'AAM is better' : 'the other is better'"
    )
    sides = {"AAM is better": BLUE, "the other is better": RED}
    if (paired["AAM"] == paired["other"]).any():
        sides["equal"] = GREY
    return {
        "height": 420,
        "width": "container",
        "params": [_choice("other_method", names, first, "Other method")],
        "layer": [
            {
                "data": {"values": [{"at": 0.0}, {"at": max(ends.values())}]},
                "mark": {"type": "line", "strokeDash": [4, 4], "color": GREY, "clip": True},
                "encoding": {
                    "x": {"field": "at", "type": "quantitative"},
                    "y": {"field": "at", "type": "quantitative"},
                },
            },
            {
                "data": {"name": "paired_errors"},
                "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
                "transform": [
                    {"filter": "datum.method === other_method"},
                    {"calculate": better, "as": "which"},
                ],
                "mark": {"type": "point", "filled": True, "opacity": 0.8},
                "encoding": {
                    "x": {
                        "field": "other",
                        "type": "quantitative",
                        "title": f"{loss}, other method",
                        "scale": scale,
                    },
                    "y": {
                        "field": "AAM",
                        "type": "quantitative",
                        "title": f"{loss}, AAM",
                        "scale": scale,
                    },
                    "size": {
                        "field": "samples",
                        "type": "quantitative",
                        "scale": {"range": [30, 200]},
                        "legend": None,
                    },
                    "color": {
                        "field": "which",
                        "type": "nominal",
                        "title": None,
                        "scale": {"domain": list(sides), "range": list(sides.values())},
                        "legend": {"orient": "top"},
                    },
                    "tooltip": [
                        {"field": "group", "title": "group"},
                        {"field": "samples", "type": "quantitative"},
                        {"field": "AAM", **rendering.NUMBER},
                        {"field": "other", **rendering.NUMBER},
                    ],
                },
            },
        ],
    }


def pictures_of(output_dir, metrics, losses, labels, what) -> dict[str, list[str]]:
    """The static pictures: file name without suffix -> suffixes."""
    main, loss, reference = what
    of_main = metrics[metrics["metric"] == main].set_index("method")
    label, other = str(of_main["label"].iloc[0]), reference and labels[reference]
    names = [name for name in losses.columns if name not in ("samples", "aam")]
    drawn = {
        "methods": partial(plots.methods, of_main, label=label, reference=other),
    }
    if names:
        second = reference if reference in names else names[0]
        table = losses[["samples", "aam", second]].set_axis(
            ["samples", "AAM", labels[second]], axis=1
        )
        drawn["paired"] = partial(
            plots.paired, table, first="AAM", second=labels[second], label=loss
        )
    return {stem: rendering.draw(output_dir, stem, plot) for stem, plot in drawn.items()}
