"""What a reviewer must see first: samples, how they were held out, metrics, baseline, blend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aam_core.comparison import labels_of
from aam_core.ensemble.blending import forest_in_words, parts_in_words, weights_in_words
from aam_core.reporting.inputs import Predicted
from aam_core.reporting.page import cell
from aam_core.statistics import compare_methods, draws_of, predictions_of
from aam_core.tasks.metrics import METRICS
from aam_core.tasks.prediction_columns import METHODS

__all__ = ["facts_of", "metric_names", "metrics_table", "notes_of", "saved_comparison"]

_NAMES = {
    "r2": "R²",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "spearman": "Spearman's correlation",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "Area under the ROC curve",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Calibration error",
}

_IN_UNITS = ("mae", "rmse")

_FIRST = {"regression": ("mae", "r2"), "classification": ("auc", "balanced_accuracy")}
"""Metrics of the facts, by task."""


def metric_names(units: str) -> dict[str, str]:
    """Metrics as the page names them, with the unit of those that have one."""
    unit = f" ({units})" if units else ""
    return {key: name + unit * (key in _IN_UNITS) for key, name in _NAMES.items()}


def metrics_table(given: Predicted) -> pd.DataFrame:
    """Metrics of AAM and of what it is compared with, with bootstrap intervals.

    Returns
    -------
    DataFrame
        Index ``method``; ``metric``, ``value``, ``low``, ``high``, ``samples``, ``groups``; of a
        cross-validation with a random forest also ``difference`` from it, and ``p`` of the main
        metric.
    """
    table, task, classes = given.table, given.task.name, tuple(given.classes)
    methods = ["aam", *(name for name in METHODS if name in table)]
    # Predictions of classes without probabilities have none of a method to compare by, either.
    if classes:
        methods = [name for name in methods if _has_probabilities(table, name, classes)]
    if not methods:
        return _without_probabilities(given)
    groups = table.index if given.groups is None else given.groups
    names = np.asarray(groups, dtype=object).astype(str)
    runs = {name: [predictions_of(table, name, task, classes)] for name in methods}
    reference = "random_forest" if "random_forest" in methods else None
    saved = saved_comparison(given)
    if saved is None or not set(methods) <= set(saved["methods"]):
        draws = draws_of(len(table), len(methods), 1, len(classes))
        compared, size = compare_methods(runs, names, reference, draws=draws), len(np.unique(names))
    else:
        compared, size = saved["methods"], saved["groups"]
    labels, rows = labels_of(task), []
    main = runs["aam"][0].main
    for method in methods:
        more = compared[method]
        for metric, value in runs[method][0].metrics().items():
            low, high = more["interval"].get(metric) or (np.nan, np.nan)
            difference = more.get("difference", {}).get(metric, np.nan)
            p = more.get("p", np.nan) if metric == main else np.nan
            sizes = len(table), size
            rows.append((labels[method], metric, value, low, high, difference, p, *sizes))
    columns = ["method", "metric", "value", "low", "high", "difference", "p", "samples", "groups"]
    frame = pd.DataFrame(rows, columns=columns).set_index("method").dropna(axis=1, how="all")
    # All of AAM, then the main metric of all methods: the page shows the first rows.
    last = (frame.index != labels["aam"]) * (1 + (frame["metric"] != main).to_numpy())
    return frame.iloc[np.argsort(last, kind="stable")]


def saved_comparison(given: Predicted) -> dict[str, Any] | None:
    """What a cross-validation saved of these samples, if they are grouped as there."""
    saved = given.metrics.get("comparison", {})
    whole = len(given.table) == given.metrics.get("held_out", {}).get("samples")
    once = "repeats" not in given.metrics.get("held_out", {})
    alike = given.groups is None or given.groups.name == saved.get("group_by")
    usable = alike and "methods" in saved
    return saved if usable and whole and once else None


def _saved_group(given: Predicted) -> str | None:
    """The column that the saved intervals are over."""
    saved = saved_comparison(given)
    return None if saved is None else saved.get("group_by")


def _has_probabilities(table: pd.DataFrame, method: str, classes: tuple[str, ...]) -> bool:
    start = "" if method == "aam" else f"{method}_"
    return all(f"{start}{name}" in table for name in classes)


def _without_probabilities(given: Predicted) -> pd.DataFrame:
    table = given.table
    schema = None
    _, metrics = given.task.compare(table, table["actual"], schema)
    rows = [
        ("AAM", metric, value, len(table))
        for metric, value in metrics.items()
        if np.isfinite(value)
    ]
    return pd.DataFrame(rows, columns=["method", "metric", "value", "samples"]).set_index("method")


def facts_of(given: Predicted, metrics: pd.DataFrame, units: str) -> list[tuple[str, str, str]]:
    """(label, value, remark) of the boxes at the top."""
    table = given.table
    facts = [("Samples", f"{len(table):,}", _held_out(given))]
    own = metrics.loc[["AAM"]].set_index("metric")
    unit = f" {units}" if units else ""
    for name in _FIRST[given.task.name]:
        if name in own.index:
            row = own.loc[name]
            of = unit if name in _IN_UNITS else ""
            remark = ""
            if "low" in row and np.isfinite(row["low"]):
                alone = given.groups is None and not _saved_group(given)
                over = "samples" if alone else f"{int(row['groups']):,} groups"
                span = f"{cell(float(row['low']))} to {cell(float(row['high']))}"
                remark = f"95% interval {span}{of}, bootstrap of {over}"
            facts.append((_NAMES[name], f"{cell(float(row['value']))}{of}", remark))
    facts += _baseline(given, metrics, unit)
    facts += _blend(given)
    return facts


def _held_out(given: Predicted) -> str:
    counts = given.metrics.get("held_out", {})
    if not given.out_of_fold:
        return "some of them were trained on: their errors are too small"
    folds = given.table["fold"].nunique() if "fold" in given.table else counts.get("folds", 0)
    in_folds = f" in {folds} folds" if folds > 1 else ""
    if given.groups is not None:
        number = given.groups.astype(str).nunique()
        return f"{number:,} groups of {given.groups.name}{in_folds}"
    if counts.get("groups"):
        return f"held out by {counts['groups']} groups{in_folds}"
    if not given.metrics:
        return "how they were held out is not known here"
    return f"held out{in_folds} without groups"


def _baseline(given: Predicted, metrics: pd.DataFrame, unit: str) -> list[tuple[str, str, str]]:
    """A random forest where there is one, else what needs no microbes."""
    labels, task = labels_of(given.task.name), given.task.name
    main = _FIRST[task][0]
    of = unit if main in _IN_UNITS else ""
    for method in ("random_forest", "dummy"):
        rows = metrics[metrics.index == labels[method]]
        if not len(rows):
            continue
        row = rows.set_index("metric").loc[main]
        remark = f"{_NAMES[main][0].lower()}{_NAMES[main][1:]} on the same samples"
        ours = metrics.loc[["AAM"]].set_index("metric").loc[main]
        if "difference" in ours and np.isfinite(ours["difference"]):
            remark += f"; AAM {ours['difference']:+.4g}{of}, p {ours['p']:.2g}"
        return [(f"Baseline: {labels[method]}", f"{cell(float(row['value']))}{of}", remark)]
    alone = given.metrics.get("forest", {})
    if main in alone and "per_fold" not in given.metrics:
        remark = f"{_NAMES[main][0].lower()}{_NAMES[main][1:]} on the same folds"
        name = f"Baseline: its {forest_in_words(_linear_share(given.metrics))} alone"
        return [(name, f"{cell(alone[main])}{of}", remark)]
    if task == "regression":
        actual = given.table["actual"].astype(float)
        error = float((actual - actual.median()).abs().mean())
        remark = "mean absolute error; 'aam cross-validate' has a random forest"
        return [("Baseline: the median", f"{cell(error)}{of}", remark)]
    share = float(given.table["actual"].value_counts(normalize=True).iloc[0])
    remark = "accuracy; 'aam cross-validate' has a random forest"
    return [("Baseline: most common class", cell(share), remark)]


def _blend(given: Predicted) -> list[tuple[str, str, str]]:
    metrics, remark = given.metrics, "shares of the prediction"
    linear = _linear_share(metrics)
    if "network_weight" in metrics and "per_fold" in metrics:
        weight, zero = metrics["network_weight"]["mean"], metrics["network_weight"]["zero"]
        remark += f", in the mean over {len(metrics['per_fold'])} folds"
        if zero:
            remark += f"; the networks have none in {zero} of them"
        return [("Blend", parts_in_words(weight, linear), remark)]
    shares = metrics.get("weights", {})
    if "network" not in shares:
        return []
    return [("Blend", parts_in_words(shares["network"], linear), remark)]


def _linear_share(metrics: Mapping[str, Any]) -> float:
    """What the linear model has of the part that is not the networks'."""
    return metrics.get("network_weight", metrics).get("linear_share", 0.0)


def notes_of(given: Predicted, units: str) -> list[str]:
    """Sentences below the facts."""
    lines = []
    if not given.task.text_values:
        unit = units or "the units of the metadata column"
        lines.append(f"Actual and predicted values are in {unit}; residual = predicted - actual.")
    else:
        lines.append("The error of a sample is 1 less the probability of its actual class.")
    saved = saved_comparison(given)
    if saved is not None and given.groups is None and saved.get("group_by"):
        lines.append(
            f"Intervals of metrics are over the {saved['groups']} groups of {saved['group_by']}; "
            "tests below, if any, are over samples (--metadata with that column changes that)."
        )
    elif given.groups is None and given.metrics.get("held_out", {}).get("groups"):
        lines.append(
            f"Samples were held out by {given.metrics['held_out']['groups']} groups, whose column "
            "is not named here (--group-by): intervals and tests are over samples, and too narrow."
        )
    elif given.groups is None:
        lines.append(
            "Intervals and tests are over samples. Where several are of one subject, name its "
            "column (--group-by)."
        )
    if not given.out_of_fold:
        lines.append("Some samples were trained on: what this page says is too good.")
    shares = given.metrics.get("weights", {})
    if shares:
        samples = given.metrics.get("held_out", {}).get("samples", len(given.table))
        linear = _linear_share(given.metrics)
        lines += [_sentence(line) for line in weights_in_words(shares, samples, linear)]
    unit = f" {units}" if units else ""
    for name, part in _parts(given.metrics).items():
        text = ", ".join(
            f"{_NAMES[key]} {cell(value)}" + unit * (key in _IN_UNITS)
            for key, value in part.items()
            if key in METRICS
        )
        lines.append(f"{name}: {text}.")
    return lines


def _parts(metrics: Mapping[str, Any]) -> dict[str, dict]:
    if "per_fold" in metrics or "weights" not in metrics:
        return {}
    forest_name = forest_in_words(_linear_share(metrics))
    names = {"network": "The networks alone", "forest": f"The {forest_name} alone"}
    return {names[key]: metrics[key] for key in names if key in metrics}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
