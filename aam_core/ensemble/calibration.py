"""How sure an ensemble is: intervals and prediction sets, fitted to its out-of-fold predictions.

Letters: N held-out samples, T outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core.config.fields import names_in
from aam_core.ensemble.conformal import FEW_IN_GROUP, PredictionSets, held_out_sets, labels
from aam_core.ensemble.intervals import (
    COVERAGE,
    Interval,
    evidence,
    held_out_bounds,
    quintiles,
    with_quantiles,
)
from aam_core.ensemble.probabilities import Calibrator, choose_calibration, cross_fitted
from aam_core.tasks.prediction_columns import BOUNDS

if TYPE_CHECKING:
    from aam_core.ensemble.assemble import Ensemble, Trained

__all__ = ["Calibration", "calibrate", "coverage_report", "interval_in_words", "pooled_groups"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What predictions are made sure with.

    Attributes
    ----------
    intervals : tuple of Interval
        One of each target of a regression.
    predictions : ndarray or None
        ``[N, T]`` of the ensemble, out of fold; of classes calibrated by what the other folds tell.
    sets : PredictionSets or None
        Of a classification.
    calibrator : Calibrator or None
        Of the probabilities of a classification; None where they stay as they are.
    bounds : ndarray or None
        ``[N, T, 2]`` of the held-out samples, each by what the other folds tell; None with a single
        fold, and of classes.
    groups : list of str or None
        Group of each held-out sample, where intervals are calibrated by group.
    report : dict
        Of a classification: how often the sets of held-out samples, each by what the other folds
        tell, hold the class, and how many classes they have in the mean.
    """

    predictions: np.ndarray | None = None
    intervals: tuple[Interval, ...] = ()
    sets: PredictionSets | None = None
    calibrator: Calibrator | None = None
    bounds: np.ndarray | None = None
    groups: list[str] | None = None
    report: dict[str, Any] = field(default_factory=dict)


def calibrate(trained: Trained, ensemble: Ensemble) -> Calibration:
    """Intervals or prediction sets from the predictions of held-out samples, of which some are."""
    task, settings = trained.task, trained.config.ensemble
    split, predictions = trained.split, ensemble.out_of_fold["model"]
    held_out = trained.study.select(split.val)
    by, groups = names_in(settings.interval_by), None
    if by:
        assert held_out.metadata is not None, "checked before the training"
        groups = labels(held_out.metadata, by)
    truth = task.forest_target(trained.values.loc[split.val])
    if task.classes:
        folds = np.array(split.folds)
        options = predictions, truth, folds, task.blend_loss, settings.calibration
        calibrator = choose_calibration(*options)
        if calibrator is not None:
            predictions = cross_fitted(type(calibrator), predictions, truth, folds)
        sets = PredictionSets.fit(predictions, truth, by, groups)
        chosen = held_out_sets(predictions, truth, folds, COVERAGE, by, groups)
        report = {} if chosen is None else _sets_report(chosen, truth)
        return Calibration(predictions, (), sets, calibrator, None, groups, report)
    by_networks, by_forest = (ensemble.out_of_fold.get(name) for name in ("network", "forest"))
    difficulty = evidence(held_out.counts, predictions, by_networks, by_forest, ensemble.spread)
    if ensemble.quantiles is not None:
        # Without a forest the networks are the model.
        networks = predictions if by_networks is None else by_networks
        difficulty = [with_quantiles(difficulty[0], ensemble.quantiles, networks[:, 0])]
    intervals, bounds = [], np.full((*predictions.shape, 2), np.nan)
    actual, folds = truth.reshape(predictions.shape), np.array(split.folds)
    for target, known in enumerate(difficulty):
        residuals = actual[:, target] - predictions[:, target]
        rows = np.isfinite(residuals)  # of several targets some samples lack this one
        names = None if groups is None else np.asarray(groups, object)[rows].tolist()
        given = residuals[rows], known.of(rows), folds[rows]
        # One value for all leaves no deviation to divide by.
        unit = float(np.std(actual[rows, target])) or 1.0
        common: dict[str, Any] = {"unit": unit, "method": settings.interval, "by": by}
        intervals.append(Interval.fit(*given, groups=names, **common))
        inside = held_out_bounds(*given, groups=names, **common)
        if inside is not None:
            bounds[rows, target] = inside
    single = len(set(split.folds)) < 2
    bounds = None if single else bounds
    return Calibration(predictions, tuple(intervals), bounds=bounds, groups=groups)


def _sets_report(chosen: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of sets [N, C] and the places [N] of the classes."""
    return {
        "nominal_coverage": COVERAGE,
        "coverage": float(chosen[np.arange(len(truth)), truth].mean()),
        "size": float(chosen.sum(axis=1).mean()),
    }


def coverage_report(
    actual: np.ndarray,
    table: pd.DataFrame,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Coverage and mean width by fifth of the predictions, and by group.

    Parameters
    ----------
    actual : ndarray
        [N] in units.
    table : DataFrame
        Of the N samples in the same order: ``prediction``, ``lower``, ``upper``.
    groups : sequence of str, optional
        [N] group of each sample.

    Returns
    -------
    dict
        ``quintiles``, a list by rising prediction, and ``groups`` by name: how many ``samples``,
        their ``coverage`` and the mean ``width``.
    """
    predictions, *bounds = (table[name].to_numpy() for name in ("prediction", *BOUNDS))
    within = (bounds[0] <= actual) & (actual <= bounds[1])
    width = bounds[1] - bounds[0]

    def of(rows: np.ndarray) -> dict[str, Any]:
        return {
            "samples": int(rows.sum()),
            "coverage": float(within[rows].mean()),
            "width": float(width[rows].mean()),
        }

    fifths = quintiles(predictions)
    report: dict[str, Any] = {
        # Equal predictions may leave a fifth empty.
        "quintiles": [
            {"greatest_prediction": float(predictions[fifths == k].max()), **of(fifths == k)}
            for k in np.unique(fifths)
        ]
    }
    if groups is not None:
        names = np.asarray(groups, dtype=object)
        report["groups"] = {name: of(names == name) for name in sorted(set(groups))}
    return report


def interval_in_words(metrics: dict[str, Any], method: str) -> str:
    """A sentence on the intervals of a fit, from its metrics."""
    interval, scored = metrics["interval"], metrics["model"]
    text = f"{interval['nominal_coverage']:.0%} prediction interval: "
    if "width" not in scored:
        return text + f"± {interval['half_width']:.4g}"
    text += f"± {scored['width'] / 2:.4g} in the mean"
    if method == "constant":
        text = text.removesuffix(" in the mean")
    else:
        text += f" (± {interval['half_width']:.4g} if alike for all samples)"
    fifths = [part["coverage"] for part in interval.get("quintiles", ())]
    text += f"; coverage of held-out folds {scored['coverage']:.0%}"
    if fifths:
        text += f", {min(fifths):.0%} to {max(fifths):.0%} by fifth of the predictions"
    return text


def pooled_groups(groups: Sequence[str], by: Sequence[str]) -> str:
    """A line on groups that have too few held-out samples for scores of their own; or none."""
    names, sizes = np.unique(np.asarray(groups, dtype=str), return_counts=True)
    few = names[sizes < FEW_IN_GROUP]
    if not len(few):
        return ""
    return (
        f"{len(few)} of {len(names)} groups of {', '.join(by)} have fewer than {FEW_IN_GROUP} "
        f"held-out samples ({', '.join(few[:5])}{', ...' if len(few) > 5 else ''}): their "
        "intervals are those of all samples together, as those of groups that are new"
    )
