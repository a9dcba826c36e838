"""Metrics and curves of classes with intervals over groups: ROC, precision against recall.

Letters: N samples, C classes, K metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.reporting.scores import shares_of
from aam_core.statistics import CONFIDENCE, draws_of
from aam_core.tasks.metrics import ClassificationMetrics, classification_metrics

__all__ = ["ClassScores", "class_scores"]

_GRID = np.linspace(0.0, 1.0, 101)
"""Rates at which curves are told."""

_CURVES = 10_000
"""Curves of all draws beyond which there are fewer draws, 200 at least: they take some seconds."""

_WEIGHTED = ("accuracy", "balanced_accuracy", "f1", "brier")
"""Metrics that are computed of weighted samples."""

_BOUNDS = ("value", "low", "high")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Metrics and curves of classes, with bootstrap intervals over groups.

    Attributes
    ----------
    metrics : DataFrame
        Index ``metric``; ``value``, ``low``, ``high``.
    areas : DataFrame
        Index ``class``; ``auc`` (area under the ROC curve) and ``average_precision``, each with
        ``_low`` and ``_high``, and ``share`` of the samples, which is the average precision of
        guessing. Empty without probabilities.
    roc : DataFrame
        ``class``, ``false_positive_rate``, ``true_positive_rate``, ``low``, ``high``.
    precision_recall : DataFrame
        ``class``, ``recall``, ``precision``, ``low``, ``high``.
    """

    metrics: pd.DataFrame
    areas: pd.DataFrame
    roc: pd.DataFrame
    precision_recall: pd.DataFrame


def class_scores(
    table: pd.DataFrame,
    classes: Sequence[str],
    groups: Sequence | None = None,
    *,
    probabilities: pd.DataFrame | None = None,
    seed: int = 0,
) -> ClassScores:
    """Metrics, and each class's ROC and precision-recall curve against the other classes.

    Percentile intervals are over draws of the groups, each with all its samples (Efron B 1979, The
    Annals of Statistics 7: 1-26), pointwise for curves. The average precision is the sum of the
    precisions weighted by the rise in recall, without interpolation (as scikit-learn's). A class
    without probabilities counts with 0 in the metrics, as of `classification_metrics`, and has no
    curve.

    Parameters
    ----------
    table : DataFrame
        ``actual``, ``prediction`` and, where there are any, a column of probabilities a class.
    classes : sequence of str
        All that occur, in order.
    groups : [N], optional
        Group of each sample; each is its own where they are not given.
    probabilities : DataFrame, optional
        Of the same samples, a column a class, where they are not in ``table``: there a class may
        not be called as another column.
    seed : int
        Of the bootstrap.
    """
    known = shares_of(table, classes, probabilities)
    names = list(known)
    actual = pd.Index(classes).get_indexer(table["actual"].astype(str))
    predicted = pd.Index(classes).get_indexer(table["prediction"].astype(str))
    shares = known.reindex(columns=list(classes), fill_value=0.0).to_numpy(np.float64)
    truth = (actual[:, None] == np.arange(len(classes))).astype(float)
    brier = ((shares - truth) ** 2).sum(axis=1) if names else None
    curves = [
        _Curve(name, shares[:, place], truth[:, place] > 0)
        for place, name in enumerate(classes)
        if names and 0 < truth[:, place].sum() < len(table)
    ]
    cells = actual * len(classes) + predicted

    def metrics(weights: np.ndarray) -> list[float]:
        """As of `classification_metrics`, of samples that count several times or not at all."""
        seen = ClassificationMetrics(len(classes))
        counts = np.bincount(cells, weights, minlength=len(classes) ** 2)
        seen.confusion = counts.reshape(len(classes), -1)
        if brier is not None:
            seen.brier, seen.probable = float(brier @ weights), int(weights.sum())
        return list(seen.compute(_WEIGHTED).values())

    each = [metrics(np.ones(len(table)))]
    for curve in curves:
        curve.add(np.ones(len(table)))
    _, codes = np.unique(np.arange(len(table)) if groups is None else groups, return_inverse=True)
    rng, count = np.random.default_rng(seed), int(codes.max()) + 1
    many = min(draws_of(len(table), 1, classes=len(names)), max(200, _CURVES // max(1, len(names))))
    for _ in range(many if count > 1 else 0):
        weights = np.bincount(rng.integers(count, size=count), minlength=count)[codes].astype(float)
        each.append(metrics(weights))
        for curve in curves:
            curve.add(weights)
    return _as_scores(table, known, curves, np.array(each))


class _Curve:
    """ROC and precision-recall curve of a class, at `_GRID`, of one draw after the other."""

    def __init__(self, name: str, scores: np.ndarray, ours: np.ndarray):
        self.name, self.ours = name, ours
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of ties
        self.areas: list[tuple[float, float]] = []
        self.roc: list[np.ndarray] = []
        self.precision: list[np.ndarray] = []

    def add(self, weights: np.ndarray) -> None:
        """Of samples that count so many times; a draw without a sample of either side is NaN."""
        weights, ours = weights[self.order], self.ours[self.order]
        right = np.cumsum(weights * ours)[self.ends]
        wrong = np.cumsum(weights * ~ours)[self.ends]
        if not right[-1] or not wrong[-1]:
            self.areas.append((np.nan, np.nan))
            self.roc.append(np.full(len(_GRID), np.nan))
            self.precision.append(np.full(len(_GRID), np.nan))
            return
        drawn = right + wrong > 0
        true = np.append(0.0, right[drawn] / right[-1])
        false = np.append(0.0, wrong[drawn] / wrong[-1])
        precision = right[drawn] / (right + wrong)[drawn]
        area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
        self.areas.append((area, float((np.diff(true) * precision).sum())))
        # The last of several points of one rate: np.interp leaves open which it takes.
        after = np.searchsorted(false, _GRID, side="right").clip(1, len(false) - 1)
        step = false[after] - false[after - 1]
        part = np.where(step > 0, (_GRID - false[after - 1]) / np.where(step > 0, step, 1), 1.0)
        self.roc.append(true[after - 1] + part.clip(0, 1) * (true[after] - true[after - 1]))
        reached = np.searchsorted(true[1:], _GRID - 1e-12).clip(0, len(precision) - 1)
        self.precision.append(precision[reached])


def _as_scores(table, known: pd.DataFrame, curves, metrics: np.ndarray) -> ClassScores:
    frame = pd.DataFrame(_bounds(metrics), index=pd.Index(_WEIGHTED, name="metric"))
    areas: list[tuple] = []
    roc: list[pd.DataFrame] = []
    precision_recall: list[pd.DataFrame] = []
    for curve in (curve for curve in curves if curve.name in known):
        low, high = (_bounds(np.array(curve.areas))[key] for key in ("low", "high"))
        own = curve.areas[0]
        share = float(curve.ours.mean())
        areas.append((curve.name, share, own[0], low[0], high[0], own[1], low[1], high[1]))
        for rows, drawn in ((roc, curve.roc), (precision_recall, curve.precision)):
            bounds = _bounds(np.array(drawn))
            rows.append(pd.DataFrame({"class": curve.name, "rate": _GRID, **bounds}))
    if len(known.columns):
        given = classification_metrics(table["actual"], table["prediction"], known)
        # Of the same areas as its bounds, not of `given`: of two classes that takes one alone.
        auc = _bounds(_mean_areas(curves)) if curves else dict.fromkeys(_BOUNDS, [np.nan])
        frame.loc["auc"] = [auc[key][0] for key in _BOUNDS]
        frame.loc["ece"] = [given["ece"], np.nan, np.nan]
    else:
        frame = frame.drop("brier")
    columns = ["auc", "auc_low", "auc_high"]
    columns += ["average_precision", "average_precision_low", "average_precision_high"]
    tables = [
        pd.concat(rows) if rows else pd.DataFrame(columns=["class", "rate", "value", "low", "high"])
        for rows in (roc, precision_recall)
    ]
    return ClassScores(
        frame,
        pd.DataFrame(areas, columns=["class", "share", *columns]).set_index("class"),
        tables[0].rename(columns={"rate": "false_positive_rate", "value": "true_positive_rate"}),
        tables[1].rename(columns={"rate": "recall", "value": "precision"}),
    )


def _mean_areas(curves: Sequence[_Curve]) -> np.ndarray:
    """[draws, 1] mean area over the classes; of two classes one is as the other."""
    areas = np.array([[area for area, _ in curve.areas] for curve in curves])
    known = ~np.isnan(areas)
    totals, counts = np.where(known, areas, 0.0).sum(axis=0), known.sum(axis=0)
    return np.where(counts, totals / np.maximum(counts, 1), np.nan)[:, None]


def _bounds(drawn: np.ndarray) -> dict[str, np.ndarray]:
    """``value``, ``low`` and ``high`` [K] of [1 + draws, K]: the first row is of the samples."""
    bounds = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(drawn[1:]).all(axis=0)
    if len(drawn) > 1 and known.any():
        tail = (1 - CONFIDENCE) / 2
        bounds[:, known] = np.nanquantile(drawn[1:, known], (tail, 1 - tail), axis=0)
    return {"value": drawn[0], "low": bounds[0], "high": bounds[1]}
