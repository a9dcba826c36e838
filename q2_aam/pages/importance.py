"""The page of importances: bars, abundances by the target, and what moved each prediction."""

from __future__ import annotations

import functools

import pandas as pd

from aam_core import plots
from aam_core.explanation.result import Explanation
from aam_core.reporting.page import cell
from q2_aam.pages import rendering
from q2_aam.pages.heatmap import abundance_chart
from q2_aam.pages.importance_charts import (
    DIRECTIONS,
    FALSE,
    MOST,
    SAMPLES,
    bars,
    by_division,
    contributions,
    labelled,
    moved,
)

__all__ = ["write_importance"]

_COLUMNS = (
    *("importance", "importance_sd", "p", "q", "direction", "effect", "prevalence", "abundance"),
    *("asvs", "taxon"),
)
"""Columns of the tables on the page; the TSVs have all."""


def write_importance(
    output_dir: str,
    explanation: Explanation,
    abundances: pd.DataFrame | None,
    *,
    column: str = "",
    count: int = 25,
    units: str = "",
    title: str = "",
) -> None:
    """Write the page into ``output_dir``.

    Parameters
    ----------
    output_dir : str
    explanation : Explanation
    abundances : DataFrame or None
        As of `q2_aam.pages.heatmap.abundances_by_group`, of all features.
    column : str
        What the samples are grouped by in ``abundances``.
    count : int
        Features that are drawn.
    units : str
        Of the target.
    title : str
    """
    of = f" ({units})" if units and explanation.error != "log loss" else ""
    axis = f"Rise of the {explanation.error}{of}"
    features = labelled(explanation.importance).head(count)
    charts: dict[str, dict] = {"features": bars("top_features", axis, features)}
    data = {
        "importance": explanation.importance,
        "groups": explanation.groups,
        "deletion": explanation.deletion,
        "top_features": features,
    }
    pictures = _pictures(output_dir, explanation, units, count)
    if len(explanation.groups):
        data["top_groups"] = by_division(explanation.groups)
        charts["groups"] = bars("top_groups", axis, data["top_groups"], "Division")
    if abundances is not None:
        label = column + of if column == explanation.target else column
        data["abundances"], charts["abundances"], draw = abundance_chart(
            abundances, features["label"], label
        )
        pictures["abundances"] = rendering.draw(output_dir, "abundances", draw)
    if explanation.contributions is not None and explanation.samples is not None:
        data["contributions"] = explanation.contributions
        data["samples"] = explanation.samples
        shown = moved(explanation)
        data["shown_contributions"] = shown
        charts["contributions"] = contributions(shown, explanation, units)
    internal = {"top_features", "top_groups", "shown_contributions"}
    warnings, notes = _notes(explanation)
    context = {
        "title": title or f"Features that predict {explanation.target}",
        "lead": f"By how much the {explanation.error} of the predictions rises when the abundance "
        "of a feature, or of a group of features, is permuted among samples.",
        "facts": _facts(explanation, units),
        "warnings": warnings,
        "notes": notes,
        "pictures": pictures,
        "captions": _CAPTIONS,
        "tables": [name for name in data if name not in internal],
        "features": rendering.rows(_for_page(explanation.importance), count),
        "groups": rendering.rows(_for_page(explanation.groups), MOST),
        "counts": {"features": len(explanation.importance), "groups": len(explanation.groups)},
        "column": column,
        "shown_samples": 0
        if explanation.samples is None
        else min(SAMPLES, len(explanation.samples)),
        "samples": explanation.counts.get("samples", 0),
        "classes": not set(explanation.importance["direction"]) <= set(DIRECTIONS),
    }
    rendering.render("importance", output_dir, context, data=data, charts=charts)


_CAPTIONS = {
    "importance": "Importance of each feature",
    "groups": "Importance of groups of features",
    "deletion": "Error without the most important features",
    "abundances": "Abundances by the metadata column",
    "contributions": "What each feature adds to the prediction of a sample",
    "samples": "Predictions and sums of contributions",
    "figure-importance": "Importance of features",
    "figure-groups": "Importance of groups of features",
    "figure-deletion": "Error without the most important features",
}


def _pictures(
    output_dir: str, explanation: Explanation, units: str, count: int
) -> dict[str, list[str]]:
    words = {"error": explanation.error}
    if units and explanation.error != "log loss":
        words["units"] = units
    drawn = {}
    for name in ("importance", "groups"):
        table = getattr(explanation, name)
        if (table["importance"] > 0).any():
            draw = functools.partial(plots.importance, table, most=min(count, 25), **words)
            drawn[f"figure-{name}"] = rendering.draw(output_dir, f"figure-{name}", draw)
    draw = functools.partial(plots.deletion_curve, explanation.deletion, **words)
    drawn["figure-deletion"] = rendering.draw(output_dir, "figure-deletion", draw)
    return drawn


def _facts(explanation: Explanation, units: str) -> list[tuple[str, str, str]]:
    counts, importance, groups = explanation.counts, explanation.importance, explanation.groups
    which = "of the fit, out of fold" if counts.get("out_of_fold") else "new to the model"
    if not counts.get("training_samples_known", True):
        which = "whether they are new to the model is not known"
    grouped = counts.get("groups", 0)
    if grouped and grouped != counts.get("samples"):
        which += f"; {grouped:,} groups"
    unit = f" {units}" if units and explanation.error != "log loss" else ""
    facts = [("Samples", f"{counts.get('samples', 0):,}", which)]
    if "mean_error" in counts:
        error = f"{cell(float(counts['mean_error']))}{unit}"
        facts.append((explanation.error.capitalize(), error, "of these predictions"))
    for table, name in ((importance, "Features"), (groups, "Groups of features")):
        if len(table):
            least = cell(float(table["q"].min()))
            facts.append(
                (
                    f"{name} with q < {FALSE}",
                    f"{int((table['q'] < FALSE).sum()):,} of {len(table):,}",
                    f"the least q is {least}",
                )
            )
    return facts


def _notes(explanation: Explanation) -> tuple[list[str], list[str]]:
    """What a reader must see first, and the other notes."""
    first: list[str] = []
    rest: list[str] = []
    for line in explanation.notes:
        text = line[:1].upper() + line[1:]
        text = text if text.endswith(".") else f"{text}."
        must = "are of the fit" in line or "was trained on" in line or line.startswith("no p is")
        (first if must else rest).append(text)
    return first, rest


def _for_page(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[[name for name in _COLUMNS if name in table]]
    return shown.rename(columns=lambda name: name.replace("_", " "))
