"""Charts of importances: Vega-Lite specifications, and the tables that they read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aam_core.data.columns import natural_order
from aam_core.explanation.result import Explanation
from aam_core.plots.style import BLUE, GREY, RED
from q2_aam.pages import rendering

__all__ = [
    "DIRECTIONS",
    "FALSE",
    "MOST",
    "ROW",
    "SAMPLES",
    "bars",
    "by_division",
    "contributions",
    "labelled",
    "labels_of",
    "moved",
]

DIRECTIONS = {"raises": BLUE, "lowers": RED, "none": GREY}
"""Direction of a feature for a number -> its colour; of classes it is one of these."""

FALSE = 0.05
"""Share of false discoveries, below which a q is marked."""

MOST = 15
"""Groups of features of each division, and contributions of each sample, that are drawn."""

ROW = 19
"""Pixels of a row."""

SAMPLES = 300
"""Samples whose contributions the page can show: those furthest from their references."""


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With what a chart draws: a label that occurs once, and the ends of the spread."""
    spread = table["importance_sd"].fillna(0)
    return table.assign(
        label=labels_of(table),
        low=table["importance"] - spread,
        high=table["importance"] + spread,
        star=np.where(table["q"] < FALSE, "*", ""),
    ).drop(columns=["members"], errors="ignore")


def labels_of(table: pd.DataFrame) -> list[str]:
    """Last known name of the taxon and the start of the id; of a taxon its last name."""
    labels: list[str] = []
    for name, taxon in zip(table.index, table.get("taxon", [""] * len(table)), strict=True):
        own = str(name).split(";")[-1].strip()
        short = own if len(own) <= 14 else f"{own[:9]}…"
        known = [it.strip() for it in str(taxon).split(";") if len(it.strip()) > 3]
        label = short if not known or known[-1] == own else f"{known[-1][:28]} {short}"
        label = own[:40] if known and known[-1] == own else label
        labels.append(label if label not in labels else str(name))
    return labels


def by_division(groups: pd.DataFrame) -> pd.DataFrame:
    """The most important groups of all divisions together, and of each by itself."""
    divided = groups["kind"].isin(["clade", "cluster"])
    ids = pd.Series(groups.index, index=groups.index).astype(str)
    division = ids.str.rsplit("-", n=1).str[0].where(divided, groups["kind"])
    parts = [labelled(groups.head(MOST)).assign(division="all")]
    for name in dict.fromkeys(division):
        part = groups[division == name].head(MOST)
        parts.append(labelled(part).assign(division=name))
    return pd.concat(parts)


def bars(table: str, axis: str, rows: pd.DataFrame, choice: str = "") -> dict[str, Any]:
    """Bars with the spread over repeats; of several divisions, one is chosen."""
    directions = list(dict.fromkeys(rows["direction"]))
    scale = {}
    if set(directions) <= set(DIRECTIONS):
        names = [name for name in DIRECTIONS if name in directions]
        scale = {"scale": {"domain": names, "range": [DIRECTIONS[name] for name in names]}}
        legend = "The feature ... the prediction"
    else:
        names = [*natural_order(it for it in directions if it != "none"), "none"]
        scale = {"scale": {"domain": [name for name in names if name in directions]}}
        legend = "Makes likelier"
    tips = [
        *(rows.index.name, "taxon", "kind", "asvs", "importance", "importance_sd", "p", "q"),
        *("direction", "effect", "prevalence", "abundance"),
    ]
    tips += [name for name in rows if str(name).startswith("effect_")]
    fields = [
        {"field": rendering.field(name), "title": name.replace("_", " "), **_format(rows, name)}
        for name in tips
        if name in rows or name == rows.index.name
    ]
    y: dict[str, Any] = {"field": "label", "type": "nominal", "sort": None, "title": None}
    y["axis"] = {"labelLimit": 230}
    colour = {"field": "direction", "type": "nominal", **scale}
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.7}},
        "encoding": {
            "x": {"field": "importance", "type": "quantitative", "title": axis},
            "color": {**colour, "legend": {"title": legend, "orient": "top"}},
            "tooltip": fields,
        },
    }
    rule = {
        "mark": {"type": "rule", "color": "#333333"},
        "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
    }
    star = {
        "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 15, "baseline": "middle"},
        "encoding": {
            "x": {"field": "high", "type": "quantitative"},
            "text": {"field": "star", "type": "nominal"},
        },
    }
    most = int(rows["division"].value_counts().max()) if choice else len(rows)
    spec: dict[str, Any] = {
        "data": {"name": table},
        "width": "container",
        "height": ROW * most,
        "encoding": {"y": y},
        "layer": [bar, rule, star],
    }
    if choice:
        options = list(dict.fromkeys(rows["division"]))
        bind = {"input": "select", "options": options, "name": f"{choice} "}
        spec["params"] = [{"name": "division_shown", "value": options[0], "bind": bind}]
        spec["transform"] = [{"filter": "datum.division == division_shown"}]
    return spec


def _format(rows: pd.DataFrame, name: str) -> dict[str, str]:
    numeric = name in rows and pd.api.types.is_numeric_dtype(rows[name])
    return rendering.NUMBER if numeric else {"type": "nominal"}


def moved(explanation: Explanation) -> pd.DataFrame:
    """The fifteen greatest contributions of each sample that the page shows."""
    assert explanation.samples is not None and explanation.contributions is not None
    size = explanation.samples["contributions"].abs().sort_values(ascending=False, kind="stable")
    kept = explanation.contributions[
        explanation.contributions["sample-id"].isin(size.index[:SAMPLES])
    ]
    kept = kept[kept.groupby("sample-id").cumcount() < MOST]
    label = pd.Series(labels_of(explanation.importance), index=explanation.importance.index)
    names = kept["feature-id"].map(label).fillna(kept["feature-id"])
    return kept.assign(
        label=names,
        low=kept["contribution"] - kept["se"],
        high=kept["contribution"] + kept["se"],
        moves=np.where(kept["contribution"] >= 0, "up", "down"),
    )


def contributions(table: pd.DataFrame, explanation: Explanation, units: str) -> dict[str, Any]:
    assert explanation.samples is not None
    shown = set(table["sample-id"])
    options = [name for name in explanation.samples.index if name in shown]
    most = int(table["sample-id"].value_counts().max())
    of = "probability" if "class" in explanation.samples else units or "units of the target"
    return {
        "data": {"name": "shown_contributions"},
        "width": "container",
        "height": ROW * most,
        "params": [
            {
                "name": "sample_shown",
                "value": options[0],
                "bind": {"input": "select", "options": options, "name": "Sample "},
            }
        ],
        "transform": [{"filter": "datum['sample-id'] == sample_shown"}],
        "encoding": {
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": {"labelLimit": 230},
            }
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}},
                "encoding": {
                    "x": {
                        "field": "contribution",
                        "type": "quantitative",
                        "title": f"Contribution to the prediction ({of})",
                    },
                    "color": {
                        "field": "moves",
                        "type": "nominal",
                        "scale": {"domain": ["up", "down"], "range": [BLUE, RED]},
                        "legend": None,
                    },
                    "tooltip": [
                        {"field": "feature-id", "type": "nominal"},
                        *(
                            {"field": name, **rendering.NUMBER}
                            for name in ("contribution", "se", "abundance")
                        ),
                    ],
                },
            },
            {
                "mark": {"type": "rule", "color": "#333333"},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative"},
                    "x2": {"field": "high"},
                },
            },
        ],
    }
