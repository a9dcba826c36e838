"""Numbers of a report from a table of predictions: by group, by class, by part of the samples.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aam_core.ensemble.calibration import coverage_report
from aam_core.tasks.metrics import roc_auc
from aam_core.tasks.prediction_columns import BOUNDS

__all__ = [
    "by_class",
    "by_group",
    "calibration",
    "cell_examples",
    "confusion_counts",
    "coverage_by",
    "errors_of",
    "saved_coverage",
    "shares_of",
]

_STEPS = 10
"""Steps of probabilities, of equal width."""

_EXAMPLES = 3
"""Samples that are named of a cell of the confusion matrix."""


def errors_of(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """What is wrong with each prediction.

    Parameters
    ----------
    table : DataFrame
        ``actual``, ``prediction`` and, of classes, a column of probabilities each.
    classes : sequence of str
        () of a regression.

    Returns
    -------
    DataFrame
        ``residual`` (prediction less actual) and ``error`` (its absolute value) of numbers; of
        classes ``error`` is 1 less the probability of the actual class, or 0 or 1 where there are
        no probabilities, and ``right`` whether the class is predicted.
    """
    if not classes:
        residual = table["prediction"].astype(float) - table["actual"].astype(float)
        return pd.DataFrame({"residual": residual, "error": residual.abs()})
    right = table["prediction"].astype(str) == table["actual"].astype(str)
    names = [name for name in classes if name in table]
    if len(names) < 2:
        return pd.DataFrame({"error": 1.0 - right, "right": right})
    place = pd.Index(names).get_indexer(table["actual"].astype(str))
    values = table[names].to_numpy(np.float64)
    own = np.where(place >= 0, values[np.arange(len(table)), np.maximum(place, 0)], 0.0)
    return pd.DataFrame({"error": 1.0 - own, "right": right}, index=table.index)


def by_group(samples: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Errors of each group, the greatest first.

    Parameters
    ----------
    samples : DataFrame
        As of `errors_of`.
    groups : Series
        Of the same samples, in the same order.

    Returns
    -------
    DataFrame
        Index ``group``: ``samples``, mean ``error``, and of numbers the mean ``residual`` and the
        ``rmse``, of classes the ``accuracy``.
    """
    parts = samples.groupby(groups.astype(str).to_numpy())
    frame = pd.DataFrame({"samples": parts.size(), "error": parts["error"].mean()})
    if "residual" in samples:
        frame["residual"] = parts["residual"].mean()
        frame["rmse"] = parts["residual"].apply(lambda part: float(np.sqrt((part**2).mean())))
    else:
        frame["accuracy"] = parts["right"].mean()
    return frame.rename_axis("group").sort_values("error", ascending=False, kind="stable")


def coverage_by(table: pd.DataFrame, groups: pd.Series | None) -> pd.DataFrame:
    """Coverage and mean width of intervals: overall, by fifth of the prediction, by group.

    Returns
    -------
    DataFrame
        Index ``part``; ``by`` ('all', 'fifth', 'group'), ``samples``, ``coverage``, ``width``;
        empty where the table has no bounds.
    """
    names = ["by", "samples", "coverage", "width"]
    if not set(BOUNDS) <= set(table) or table[list(BOUNDS)].isna().all(axis=None):
        return pd.DataFrame(columns=names).rename_axis("part")
    table = table.dropna(subset=list(BOUNDS))
    actual = table["actual"].to_numpy(np.float64)
    named = None if groups is None else groups.loc[table.index].astype(str).tolist()
    report = coverage_report(actual, table, named)
    inside = (table["lower"] <= actual) & (actual <= table["upper"])
    width = float((table["upper"] - table["lower"]).mean())
    rows = [("all", "all", len(table), float(inside.mean()), width)]
    rows += _fifths(report["quintiles"])
    for name, it in report.get("groups", {}).items():
        rows.append((name, "group", it["samples"], it["coverage"], it["width"]))
    return pd.DataFrame(rows, columns=["part", *names]).set_index("part")


def _fifths(quintiles: Sequence[dict]) -> list[tuple]:
    return [
        (f"≤ {it['greatest_prediction']:.4g}", "fifth", it["samples"], it["coverage"], it["width"])
        for it in quintiles
    ]


def saved_coverage(metrics: dict) -> pd.DataFrame:
    """As `coverage_by`, of what a fit has saved of its held-out samples."""
    interval, scored = metrics.get("interval", {}), metrics.get("model", {})
    rows = []
    if "coverage" in scored:
        samples = metrics["held_out"]["samples"]
        rows = [("all", "all", samples, scored["coverage"], scored["width"])]
    rows += _fifths(interval.get("quintiles", ()))
    for name, it in interval.get("groups", {}).items():
        rows.append((name, "group", it["samples"], it["coverage"], it["width"]))
    names = ["part", "by", "samples", "coverage", "width"]
    return pd.DataFrame(rows, columns=names).set_index("part")


def confusion_counts(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Samples by actual (rows) and predicted class."""
    actual, predicted = table["actual"].astype(str), table["prediction"].astype(str)
    counts = pd.crosstab(actual, predicted).reindex(
        index=list(classes), columns=list(classes), fill_value=0
    )
    return counts.rename_axis(index="actual", columns=None)


def cell_examples(table: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Samples of each cell of the confusion matrix, those of the greatest error first.

    Returns
    -------
    DataFrame
        Index ``actual``; ``predicted``, ``samples``, ``share`` of the actual class, ``examples``.
    """
    frame = pd.DataFrame(
        {
            "actual": table["actual"].astype(str),
            "predicted": table["prediction"].astype(str),
            "error": samples["error"],
        }
    )
    sizes = frame["actual"].value_counts()
    rows = []
    for (actual, predicted), part in frame.groupby(["actual", "predicted"]):
        first = part.sort_values("error", ascending=False, kind="stable").index[:_EXAMPLES]
        share = len(part) / sizes[actual]
        rows.append((actual, predicted, len(part), share, ", ".join(map(str, first))))
    names = ["actual", "predicted", "samples", "share", "examples"]
    cells = pd.DataFrame(rows, columns=names)
    wrong = cells["actual"] != cells["predicted"]
    order = cells.assign(wrong=wrong).sort_values(["wrong", "samples"], ascending=False)
    return order.drop(columns="wrong").set_index("actual")


def shares_of(
    table: pd.DataFrame, classes: Sequence[str], probabilities: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The probabilities of a table, a column a class that has some; or those given apart.

    A class may be called as another column of the table (``actual``): then they must be apart.
    """
    whole = table if probabilities is None else probabilities
    return whole[[name for name in classes if name in whole]]


def by_class(
    table: pd.DataFrame, classes: Sequence[str], probabilities: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Metrics of each class against the others; probabilities as of `shares_of`.

    Returns
    -------
    DataFrame
        Index ``class``: ``samples``, ``predicted``, ``precision``, ``recall``, ``f1`` and, of
        probabilities, ``auc`` (NaN of a class that all samples, or none, are of).
    """
    rows, shares = [], shares_of(table, classes, probabilities)
    actual, predicted = table["actual"].astype(str), table["prediction"].astype(str)
    for name in classes:
        ours, said = (actual == name).to_numpy(), (predicted == name).to_numpy()
        both = int((ours & said).sum())
        precision = both / said.sum() if said.any() else np.nan
        recall = both / ours.sum() if ours.any() else np.nan
        total = ours.sum() + said.sum()
        auc = np.nan
        if name in shares and ours.any() and not ours.all():
            auc = roc_auc(ours, shares[name].to_numpy(np.float64))
        f1 = 2 * both / total if total else np.nan
        rows.append((name, int(ours.sum()), int(said.sum()), precision, recall, f1, auc))
    names = ["class", "samples", "predicted", "precision", "recall", "f1", "auc"]
    return pd.DataFrame(rows, columns=names).set_index("class")


def calibration(
    table: pd.DataFrame, classes: Sequence[str], probabilities: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Probabilities (as of `shares_of`) against frequencies, by class and step of probability.

    Returns
    -------
    DataFrame
        ``class``, ``step`` (its lower end), ``samples``, mean ``probability``, ``frequency``.
    """
    actual, rows = table["actual"].astype(str).to_numpy(), []
    for name, column in shares_of(table, classes, probabilities).items():
        values = column.to_numpy(np.float64)
        steps = np.clip((values * _STEPS).astype(int), 0, _STEPS - 1)
        for step in np.unique(steps):
            part = steps == step
            share = float((actual[part] == name).mean())
            rows.append((name, step / _STEPS, int(part.sum()), float(values[part].mean()), share))
    return pd.DataFrame(rows, columns=["class", "step", "samples", "probability", "frequency"])
