"""The page of a classification: confusion matrix, curves, calibration, misclassified samples."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.columns import natural_order
from aam_core.errors import first_five
from aam_core.reporting.class_scores import ClassScores, class_scores
from aam_core.reporting.scores import by_class, calibration, confusion_counts
from aam_core.tasks.prediction_columns import PREDICTION_SET
from q2_aam.pages import rendering
from q2_aam.pages.shown import (
    Shown,
    baseline_facts,
    blend_facts,
    chart,
    held_out_fact,
    metric_fact,
    worded,
    written_metrics,
)

__all__ = ["write_classification_page"]

_MISCLASSIFIED = 20
"""Misclassified samples that the page lists: those of which the model was surest. A TSV has all."""

_NOTES = {
    "accuracy": "Accuracy: share of the samples whose class is predicted. Balanced accuracy: mean "
    "over the classes of the recall, the share of a class that is predicted so; guessing among C "
    "classes gives 1/C.",
    "auc": "Area under the ROC curve: probability that a sample of the class has a higher "
    "probability of it than one of another class, mean over the classes; guessing gives 0.5. "
    "Average precision: mean precision over the recall; guessing gives the share of the class.",
}

_CAPTIONS = {
    "confusion_matrix": "Confusion matrix (samples by actual, rows, and predicted class)",
    "class_curves": "ROC and precision-recall curves",
    "calibration_curve": "Calibration",
    "predictions": "Predicted and actual class of every sample",
    "misclassified": "Misclassified samples",
    "classes": "Metrics of each class",
    "metrics": "Metrics with intervals",
    "roc": "ROC curves with intervals",
    "precision_recall": "Precision-recall curves with intervals",
    "calibration": "Calibration: probabilities against frequencies",
    "metadata": "Metadata of these samples",
}

_METRICS = {
    "accuracy": "Accuracy",
    "accuracy_of_most_common": "Accuracy of the most common class",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "Area under the ROC curve",
    "f1": "F1, mean over the classes",
    "brier": "Brier score (0 is best)",
    "ece": "Calibration error (0 is best)",
}

_WRONG = ("actual", "prediction", "probability", "actual_probability", PREDICTION_SET, "group")


def write_classification_page(output_dir: str, it: Shown) -> None:
    """Write the page of `confusion_matrix`."""
    shares = it.probabilities
    named = set() if shares is None else {str(name) for name in shares}
    classes = natural_order({*it.table["actual"], *it.table["prediction"], *named})
    _add_probabilities(it.table, shares)
    # Probabilities stay apart: a class may be called 'actual'.
    scored = it.table[["actual", "prediction"]]
    scores = class_scores(scored, classes, it.codes, probabilities=shares)
    scores.metrics.loc["accuracy_of_most_common"] = [_most_common(it), np.nan, np.nan]
    metrics = scores.metrics.loc[[name for name in _METRICS if name in scores.metrics.index]]
    counts = confusion_counts(it.table, classes)
    frame = by_class(scored, classes, shares)
    frame = frame.drop(columns="auc").join(scores.areas.drop(columns="share"))
    wrong = it.table[~it.table["right"]]
    if shares is not None:
        wrong = wrong.sort_values("probability", ascending=False, kind="stable")
    steps = calibration(scored, classes, shares)
    sets = _sets_in_words(it)
    context = {
        "title": f"Predicted against actual {it.truth}",
        "facts": _facts(it, metrics, len(classes)),
        "warnings": it.warnings,
        "notes": [_NOTES["accuracy"], *_notes_of_probabilities(it, named), *it.notes],
        "pictures": _draw(output_dir, it, classes, scores, steps),
        "captions": _CAPTIONS,
        "has_curves": len(scores.areas) > 0,
        "classes": classes,
        "metrics_rows": rendering.rows(_worded_metrics(metrics)),
        "classes_rows": rendering.rows(_worded_classes(frame)),
        "wrong_rows": rendering.rows(_worded_samples(wrong, sets), _MISCLASSIFIED),
        "wrong_count": len(wrong),
        "count": f"{len(it.table):,}",
        "over": it.over,
    }
    # A set without a class is null in the embedded table.
    data, spec = chart(it, classes=classes, label=it.truth, sets=sets)
    data |= {
        "confusion_matrix": counts,
        "classes": frame,
        "metrics": written_metrics(it, metrics),
        "misclassified": wrong,
    }
    charts = {"confusion_matrix": spec}
    if len(scores.areas):
        data |= {
            "roc": scores.roc,
            "precision_recall": scores.precision_recall,
            "calibration": steps,
        }
        charts |= {
            name: {"data": {"name": name}} for name in ("roc", "precision_recall", "calibration")
        }
    rendering.render("confusion_matrix", output_dir, context, data=data, charts=charts)


def _notes_of_probabilities(it: Shown, named: set[str]) -> list[str]:
    """What areas are, and which classes have no probabilities."""
    if it.probabilities is None:
        return []
    actual = it.table["actual"].astype(str)
    without = natural_order(set(actual) - named)
    if not without:
        return [_NOTES["auc"]]
    count = int(actual.isin(without).sum())
    return [
        _NOTES["auc"],
        f"{len(without)} of the actual classes have no probabilities ({first_five(without)}), "
        f"that is {count:,} of {len(actual):,} samples: they count with 0, an area of 0.5, and "
        "have no curve.",
    ]


def _add_probabilities(table: pd.DataFrame, shares: pd.DataFrame | None) -> None:
    """Whether a sample is right, and what its predicted and its actual class have."""
    table.insert(2, "right", table["prediction"].astype(str) == table["actual"].astype(str))
    if shares is None:
        return
    values = shares.to_numpy(np.float64)
    for place, (name, column) in enumerate(
        (("probability", "prediction"), ("actual_probability", "actual")), start=3
    ):
        at = shares.columns.get_indexer(table[column].astype(str))
        own = np.where(at >= 0, values[np.arange(len(table)), np.maximum(at, 0)], 0.0)
        table.insert(place, name, own)


def _most_common(it: Shown) -> float:
    return float(it.table["actual"].value_counts(normalize=True).max())


def _facts(it: Shown, metrics: pd.DataFrame, classes: int) -> list[tuple[str, str, str]]:
    """What a reader must see first."""
    facts = [
        ("Samples", f"{len(it.table):,}", f"of {classes} classes of {it.truth}"),
        held_out_fact(it),
        metric_fact(it, "Accuracy", metrics.loc["accuracy"], _percent),
        metric_fact(it, "Balanced accuracy", metrics.loc["balanced_accuracy"], _percent),
    ]
    if "auc" in metrics.index:
        facts.append(metric_fact(it, "Area under the ROC curve", metrics.loc["auc"], _number))
        facts += baseline_facts(it, "auc", "classification", _number, "area")
    common = _percent(metrics.loc["accuracy_of_most_common", "value"])
    facts.append(("Baseline: the most common class", common, "accuracy of predicting it always"))
    return [*facts, *_sets_fact(it), *blend_facts(it)]


def _sets_fact(it: Shown) -> list[tuple[str, str, str]]:
    """How many prediction sets hold the actual class."""
    if PREDICTION_SET not in it.table:
        return []
    classes = set(it.about.get("classes") or ())
    texts = it.table[PREDICTION_SET].fillna("").astype(str)
    read = [_classes_of(text, classes) for text in texts]
    sets = [names for names in read if names is not None]
    if len(sets) < len(read):
        return []
    share = np.mean([name in names for name, names in zip(it.table["actual"], sets, strict=True)])
    size = np.mean([len(names) for names in sets])
    confidence = it.about.get("confidence")
    title = f"{confidence:.0%} prediction set" if confidence else "Prediction set"
    return [(title, f"holds {share:.1%}", f"of the actual classes; {size:.2g} classes in the mean")]


def _classes_of(text: str, classes: set[str]) -> list[str] | None:
    """The classes that a set joins by '|'; None where several readings, or none, fit.

    A class may hold a '|' itself.
    """
    parts = text.split("|") if text else []
    # Readings of the first parts, of each number: two of them are enough to tell it is not one.
    readings: list[list[list[str]]] = [[[]]]
    for end in range(1, len(parts) + 1):
        those = [
            [*before, name]
            for start in range(end)
            if (name := "|".join(parts[start:end])) in classes
            for before in readings[start]
        ]
        readings.append(those[:2])
    return readings[-1][0] if len(readings[-1]) == 1 else None


def _sets_in_words(it: Shown) -> dict[str, str]:
    """What the page shows of each set; one that cannot be read stays as it is."""
    if PREDICTION_SET not in it.table:
        return {}
    classes, words = set(it.about.get("classes") or ()), {}
    for text in it.table[PREDICTION_SET].fillna("").astype(str).unique():
        names = _classes_of(text, classes)
        words[text] = text if names is None else " or ".join(names) or "no class"
    return words


def _draw(
    output_dir: str, it: Shown, classes: Sequence[str], scores: ClassScores, steps: pd.DataFrame
) -> dict[str, list[str]]:
    """The static pictures: their suffixes."""
    matrix = functools.partial(plots.confusion, it.table, classes=classes, label=it.truth)
    drawn = {"confusion_matrix": rendering.draw(output_dir, "confusion_matrix", matrix)}
    if len(scores.areas):
        curves = functools.partial(
            plots.class_curves, scores.roc, scores.precision_recall, scores.areas
        )
        drawn["class_curves"] = rendering.draw(output_dir, "class_curves", curves)
        steps_drawn = functools.partial(plots.reliability, steps)
        drawn["calibration_curve"] = rendering.draw(output_dir, "calibration_curve", steps_drawn)
    return drawn


def _worded_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.rename(index=_METRICS).rename_axis("Metric").rename(columns=str.capitalize)


def _worded_samples(wrong: pd.DataFrame, sets: Mapping[str, str]) -> pd.DataFrame:
    """What the page shows of misclassified samples."""
    if PREDICTION_SET in wrong:
        shown = wrong[PREDICTION_SET].fillna("").astype(str).map(sets)
        wrong = wrong.assign(**{PREDICTION_SET: shown})
    return worded(wrong, _WRONG)


def _worded_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the classes, an area and its interval in one cell."""
    shown: dict[str, Any] = {
        "Samples": frame["samples"],
        "Predicted": frame["predicted"],
        "Recall": frame["recall"].map(_percent),
        "Precision": frame["precision"].map(_percent),
        "F1": frame["f1"].map(_number),
    }
    for name, title in (("auc", "ROC AUC"), ("average_precision", "Average precision")):
        if frame[name].notna().any():
            bounds = zip(frame[name], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
            shown[f"{title} (95% interval)"] = [_spanned(*row) for row in bounds]
    return pd.DataFrame(shown, index=frame.index).rename_axis("Class")


def _spanned(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "not defined"
    return f"{value:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(low) else f"{value:.3f}"


def _number(value: float, unit: str = "") -> str:
    return f"{value:.3f}{unit}" if np.isfinite(value) else "not defined"


def _percent(value: float, unit: str = "") -> str:
    return f"{value:.1%}{unit}" if np.isfinite(value) else "not defined"
