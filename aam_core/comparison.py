"""The methods that a cross-validation scores, side by side: predictions, metrics, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.config.fields import names_in
from aam_core.ensemble.calibration import coverage_report
from aam_core.ensemble.conformal import labels
from aam_core.ensemble.intervals import COVERAGE
from aam_core.errors import InputError, first_five
from aam_core.statistics import (
    CONFIDENCE,
    Predictions,
    compare_methods,
    draws_of,
    predictions_of,
)
from aam_core.tasks import task_named
from aam_core.tasks.prediction_columns import BOUNDS, ColumnKind, is_of_method, named

if TYPE_CHECKING:
    from aam_core.fold_fits import FoldPredictions, TargetInputs

__all__ = [
    "LABELS",
    "check_class_names",
    "comparison_table",
    "labels_of",
    "long_table",
    "losses_by_group",
    "metrics_of",
    "metrics_of_table",
    "metric_names",
    "predictions_table",
    "together_by_method",
]

LABELS = {
    "aam": "AAM",
    "network": "AAM's networks alone",
    "random_forest": "random forest",
    "extra_trees": "extra trees on log abundances",
    "linear": "linear model on CLR",
    "dummy": "constant",
    "reads": "random forest on the number of reads alone",
}
"""What is scored, by its key in the metrics; all but the first are `prediction_columns.METHODS`."""

_LABELS_OF_TASK = {
    "regression": {"linear": "ridge regression on CLR", "dummy": "median"},
    "classification": {"linear": "logistic regression on CLR", "dummy": "most common class"},
}
"""Labels that depend on the task."""

_OWN_COLUMNS = ("sample-id", "repeat", "fold", "group", "actual", "method", "prediction")
"""Columns of `long_table` that have a fixed name, and its index."""

_REFERENCE = "random_forest"
"""What the others are compared with."""


def labels_of(task: str) -> dict[str, str]:
    """`LABELS` of a task."""
    return LABELS | _LABELS_OF_TASK.get(task, {})


def comparison_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The methods of a cross-validation side by side.

    Parameters
    ----------
    metrics : mapping
        Those of a `CrossValidation`.

    Returns
    -------
    DataFrame
        A row a method (index ``method``); of each metric its value, ``_low`` and ``_high`` of the
        interval, and of the difference from the random forest ``_difference``, ``_difference_low``
        and ``_difference_high``; how many ``groups`` it does ``better`` in, and ``p``.
    """
    compared = metrics["comparison"]["methods"]
    rows = {}
    for method, more in compared.items():
        row: dict[str, Any] = {}
        for name, value in metrics[method].items():
            row[name] = value
            row |= _ends(f"{name}_", more["interval"].get(name))
        for name, value in more.get("difference", {}).items():
            row[f"{name}_difference"] = value
            row |= _ends(f"{name}_difference_", more["difference_interval"][name])
        row["groups"] = metrics["comparison"]["groups"]
        rows[method] = row | {key: more[key] for key in ("better", "p") if key in more}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis("method")


def check_class_names(column: str, classes: Sequence[str]) -> None:
    """Refuse classes whose probabilities would replace another column of `long_table`.

    Or that would be taken for those of another method, where methods stand side by side.

    Parameters
    ----------
    column : str
        The metadata column.
    classes : sequence of str

    Raises
    ------
    InputError
    """
    taken = [name for name in classes if is_of_method(name) or name in _OWN_COLUMNS]
    if taken:
        raise InputError(
            f"Column {column!r} has classes that are columns of a cross-validation's "
            f"predictions: {first_five(taken)}. Give them other names."
        )


def long_table(
    predictions: pd.DataFrame,
    methods: Sequence[str],
    classes: Sequence[str] = (),
    groups: pd.Series | None = None,
) -> pd.DataFrame:
    """Predictions of all methods of a cross-validation, one below the other.

    Parameters
    ----------
    predictions : DataFrame
        Those of a `CrossValidation`: methods side by side.
    methods : sequence of str
        Of `LABELS`; those without a column are not in the result.
    classes : sequence of str
        Whose probabilities to keep.
    groups : Series, optional
        By sample id.

    Returns
    -------
    DataFrame
        Index ``sample-id``; ``repeat``, ``fold``, ``group`` (the sample itself without groups),
        ``actual``, ``method``, ``prediction``, and the probability of each class, or the bounds of
        AAM's interval.
    """
    parts = []
    for method in methods:
        first = "prediction" if method == "aam" else method
        if first not in predictions:
            continue
        prefix = "" if method == "aam" else f"{method}_"
        names = pd.Index(predictions.index)
        part = {
            "repeat": predictions.get("repeat", 1),
            "fold": predictions["fold"],
            "group": names if groups is None else groups.loc[names].astype(str).to_numpy(),
            "actual": predictions["actual"],
            "method": method,
            "prediction": predictions[first],
            **{name: predictions[f"{prefix}{name}"] for name in classes},
        }
        if method == "aam" and not len(classes) and set(BOUNDS) <= set(predictions):
            part |= {name: predictions[name] for name in BOUNDS}
        parts.append(pd.DataFrame(part, index=names))
    return pd.concat(parts).rename_axis("sample-id")


def metrics_of_table(
    by_method: pd.DataFrame,
    task: str,
    target: str,
    classes: Sequence[str] = (),
    group_by: str | None = None,
) -> dict[str, Any]:
    """Metrics of all methods, with the comparison, from their predictions alone.

    They are those of the cross-validation that made the predictions: folds that were fitted apart
    from each other are compared by this.

    Parameters
    ----------
    by_method : DataFrame
        As `long_table` returns it, of all folds and repeats.
    task : {'regression', 'classification'}
    target : str
        The metadata column.
    classes : sequence of str
    group_by : str, optional
        Column of the groups.

    Returns
    -------
    dict
        Metrics by method, and ``comparison``: what `comparison_table` takes.
    """
    kind = task_named(task)
    schema = {"prediction": ColumnKind.PREDICTION, **dict.fromkeys(classes, ColumnKind.PROBABILITY)}
    methods = list(dict.fromkeys(by_method["method"]))
    columns = [*schema, *(name for name in BOUNDS if name in by_method and name not in classes)]
    order: pd.Index | None = None
    scores: list[dict[str, dict[str, float]]] = []
    runs: dict[str, list[Predictions]] = {method: [] for method in methods}
    for _, repeat in by_method.groupby("repeat"):
        scores.append({})
        for method in methods:
            part = repeat[repeat["method"] == method]
            order = part.index if order is None else order
            part = part.loc[order]
            frame = _with_all_bounds(part[columns].dropna(axis="columns", how="all"))
            scores[-1][method] = kind.compare(frame, part["actual"], schema)[1]
            runs[method].append(predictions_of(part, "aam", task, classes))
    means = scores[0] if len(scores) == 1 else _over_repeats(scores, np.mean)
    groups = by_method["group"][by_method["method"] == methods[0]]
    groups = groups[~groups.index.duplicated()].loc[order]
    return {**means, "comparison": _compared(runs, groups, target, group_by, len(classes))}


def losses_by_group(by_method: pd.DataFrame, task: str, classes: Sequence[str]) -> pd.DataFrame:
    """Mean loss of each method in each group of samples: what the paired tests compare.

    Parameters
    ----------
    by_method : DataFrame
        As `long_table` returns it.
    task : {'regression', 'classification'}
    classes : sequence of str

    Returns
    -------
    DataFrame
        Index ``group``; ``samples``, and a column a method: the mean absolute error, or the mean
        Brier score.
    """
    columns = {}
    for method, part in by_method.groupby("method", sort=False):
        # Named as those of AAM, whose columns have no prefix.
        losses = predictions_of(part, "aam", task, classes).losses
        columns[str(method)] = pd.Series(losses).groupby(part["group"].to_numpy()).mean()
    samples = by_method.reset_index().groupby("group")["sample-id"].nunique()
    table = pd.DataFrame({"samples": samples, **columns})
    return table.loc[:, ["samples", *columns]].rename_axis("group")


def metric_names(comparison: pd.DataFrame) -> list[str]:
    """Columns of a `comparison_table` that are metrics themselves, in its order."""
    others, ends = ("groups", "better", "p"), ("_low", "_high", "_difference")
    return [name for name in comparison if name not in others and not name.endswith(ends)]


def _ends(prefix: str, interval: Sequence[float] | None) -> dict[str, float]:
    return {} if interval is None else {f"{prefix}low": interval[0], f"{prefix}high": interval[1]}


def together_by_method(
    inputs: TargetInputs, predicted: Sequence[FoldPredictions], repeat: int
) -> dict[str, pd.DataFrame]:
    """The predictions of a repeat by each method."""
    of_repeat = [
        each.frames
        for each, (fold, *_) in zip(predicted, inputs.folds, strict=True)
        if fold.repeat == repeat
    ]
    return {m: _joined([frames[m] for frames in of_repeat], inputs) for m in of_repeat[0]}


def _joined(frames: list[pd.DataFrame], inputs: TargetInputs) -> pd.DataFrame:
    """The folds' predictions as one table in the order of the samples."""
    table = pd.concat(frames)
    tested = set(table.index)
    table = table.loc[[name for name in inputs.values.index if name in tested]]
    columns = inputs.task.columns(interval=True)
    # Where a class was not among the training samples of a fold, its probability there is 0.
    absent = dict.fromkeys(named(columns, ColumnKind.PROBABILITY), 0.0)
    names = [name for name in columns if name in table or name in absent]
    return _with_all_bounds(table.reindex(columns=names).fillna(absent).rename_axis("sample-id"))


def _with_all_bounds(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions without the bounds of intervals where some samples have none.

    Of several targets a fold may hold out no value of one, by which its intervals are calibrated.
    """
    bounds = [name for name in BOUNDS if name in predictions]
    gaps = bool(bounds) and bool(predictions[bounds].isna().to_numpy().any())
    return predictions.drop(columns=bounds) if gaps else predictions


def predictions_table(
    together: dict[str, pd.DataFrame], inputs: TargetInputs, repeat: int
) -> pd.DataFrame:
    """The predictions of all methods side by side, behind the fold and the actual value."""
    table = together["aam"].copy()
    folds = (fold for fold, *_ in inputs.folds if fold.repeat == repeat)
    number = {name: fold.number for fold in folds for name in fold.test}
    table.insert(0, "fold", [number[name] for name in table.index])
    table.insert(1, "actual", inputs.task.read(inputs.values.loc[table.index]))
    for method in (name for name in together if name != "aam"):
        columns = together[method].add_prefix(f"{method}_")
        table = table.join(columns.rename(columns={f"{method}_prediction": method}))
    return table


def metrics_of(
    inputs: TargetInputs,
    predicted: Sequence[FoldPredictions],
    together: Sequence[dict[str, pd.DataFrame]],
    tables: Sequence[pd.DataFrame],
    compare: bool = True,
) -> dict[str, Any]:
    """The metrics of all folds together, of each repeat and of each fold; compared or not."""
    tested = list(tables[0].index)
    scores = [inputs.scores(frames) for frames in together]
    held_out = inputs.count_held_out(tested) | {"folds": len(inputs.folds) // len(tables)}
    means, more = scores[0], {}
    if len(tables) > 1:
        held_out["repeats"] = len(tables)
        means, spread = (_over_repeats(scores, how) for how in (np.mean, _deviation))
        per_repeat = [{"repeat": n, **each} for n, each in enumerate(scores, start=1)]
        more = {"spread": spread, "per_repeat": per_repeat}
    weights = [each.network_weight for each in predicted]
    interval = _interval(inputs, together[0]["aam"], inputs.config)
    return {
        "held_out": held_out,
        **means,
        **interval,
        **more,
        "network_weight": {
            "mean": float(np.mean(weights)),
            "zero": weights.count(0.0),
            **_linear_share(weights, [each.linear_share for each in predicted]),
        },
        **({"comparison": _compare(inputs, tables, list(means))} if compare else {}),
        "per_fold": [
            {
                **({"repeat": fold.repeat} if len(tables) > 1 else {}),
                "fold": fold.number,
                "held_out": inputs.count_held_out(fold.test),
                **inputs.scores(each.frames),
                "network_weight": each.network_weight,
            }
            for (fold, *_), each in zip(inputs.folds, predicted, strict=True)
        ],
    }


def _linear_share(weights: Sequence[float], shares: Sequence[float]) -> dict[str, float]:
    """What linear models have of all that is not the networks'; no key where there are none."""
    rest = [1 - weight for weight in weights]
    if not any(shares) or not any(rest):
        return {}
    # Rounded: sums of tenths would be written with noise in their last digits.
    return {"linear_share": round(float(np.average(shares, weights=rest)), 4)}


def _over_repeats(scores: Sequence[dict], how) -> dict[str, dict[str, float]]:
    """``how`` of each metric, that all repeats have, of each method over the repeats."""
    return {
        method: {
            name: float(how([each[method][name] for each in scores]))
            for name in metrics
            if all(name in each[method] for each in scores)
        }
        for method, metrics in scores[0].items()
    }


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))


def _compare(
    inputs: TargetInputs, tables: Sequence[pd.DataFrame], methods: Sequence[str]
) -> dict[str, Any]:
    """Intervals of the methods' metrics, and differences from the random forest."""
    task, tested = inputs.task, tables[0].index
    runs = {
        method: [predictions_of(table, method, task.name, task.classes) for table in tables]
        for method in methods
    }
    groups = tested if inputs.groups is None else inputs.groups.loc[tested].astype(str)
    group_by = None if inputs.groups is None else str(inputs.groups.name)
    return _compared(runs, groups, task.column, group_by, len(task.classes))


def _compared(
    runs: Mapping[str, Sequence[Predictions]],
    groups: Any,
    target: str,
    group_by: str | None,
    classes: int,
) -> dict[str, Any]:
    groups = np.asarray(groups, dtype=object).astype(str)
    reference = _REFERENCE if _REFERENCE in runs else None
    draws = draws_of(len(groups), len(runs), len(next(iter(runs.values()))), classes)
    return {
        "groups": len(np.unique(groups)),
        "group_by": group_by,
        "target": target,
        "reference": reference,
        "confidence": CONFIDENCE,
        "draws": draws,
        "methods": compare_methods(runs, groups, reference, draws=draws, target=target),
    }


def _interval(inputs: TargetInputs, predictions: pd.DataFrame, config: Config) -> dict[str, Any]:
    """What the coverage of a regression is of, by fifth of the predictions and by group."""
    if not inputs.task.has_interval:
        return {}
    report: dict[str, Any] = {"nominal_coverage": COVERAGE}
    if set(BOUNDS) <= set(predictions):
        by, metadata = names_in(config.ensemble.interval_by), inputs.study.metadata
        assert metadata is not None or not by
        actual = inputs.task.forest_target(inputs.values.loc[predictions.index])
        groups = None
        if metadata is not None and by:
            groups = labels(metadata.loc[predictions.index], by)
        report |= coverage_report(actual, predictions, groups)
    return {"interval": report}
