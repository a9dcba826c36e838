"""How the linear model of a forest, and that of the baselines, is fitted, by scikit-learn.

Ridge and logistic regression on the centred log-ratio (Aitchison J 1982, J. R. Stat. Soc. B 44:
139-177). Half a read is added to each count; inputs of less than 1 % of the samples are dropped;
all features, covariates too, have mean 0 and deviation 1 in the samples that are learned from. The
L2 penalty is that with the least error in held-out folds.
Letters: as in `aam_core.ensemble.linear`; R features of a fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.blending import stable_weights
from aam_core.ensemble.forest import columns_of, encode_covariates, summed_counts
from aam_core.ensemble.linear import LinearModel, linked
from aam_core.tasks import Task

__all__ = [
    "MOST_SAMPLES",
    "PENALTIES",
    "TRIED",
    "Beside",
    "Design",
    "design_of",
    "fit_linear",
    "linear_share",
    "units_of",
]

PENALTIES = tuple(float(power) for power in np.logspace(-5, 0, 11))
"""L2 penalties that are tried, over the sum of the squared features."""

_READS = 0.5
"""Added to each count before the centred log-ratio, which has no logarithm of 0."""

_PREVALENCE = 0.01
"""Share of the samples (two at least) that an input must be in to be in the log-ratio."""

_NEVER = -1e6
"""Score of a class that was not seen, whose probability is then 0."""

TRIED = PENALTIES[::2]
"""Tried beside trees: errors between them differ little, and all would take twice as long."""

_PROVED = 150
"""Held-out samples from which a linear model must be better than the trees by a standard error: on
34 folds of public studies errors were 0.4 % lower with it than by the loss alone. Of fewer samples
hardly any model is so much better, and by the loss alone errors were lower: by 0.9 % with 50 (18
fits), by 0.6 % with 100 of the held-out samples of 25 folds to choose by."""

MOST_SAMPLES = 3_000
"""Training samples up to which a linear model is tried: beyond, it would take as long as trees."""


@dataclass(frozen=True, eq=False)
class Design:
    """Standardized log-ratios of samples, in their principal axes where they are fewer than these.

    An L2 penalty is the same there. Of many more features than samples, as many axes remain as
    samples: a fit takes moments.

    Attributes
    ----------
    features : ndarray
        ``[N, R]`` float64.
    axes : ndarray or None
        ``[standardized, R]`` that the features are along; None: they are the standardized ones.
    columns : ndarray
        ``[P]`` inputs of the log-ratio.
    mean, deviation : ndarray
        ``[P + V]`` that log-ratios and covariates are standardized by.
    varies : ndarray
        ``[P + V]`` bool: those that are not constant; others are no features.
    """

    features: np.ndarray
    axes: np.ndarray | None
    columns: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    varies: np.ndarray

    def unfolded(
        self,
        coefficients: np.ndarray,
        intercept: np.ndarray,
        penalty: float,
        ends: tuple[float, float] | None,
    ) -> LinearModel:
        """The `LinearModel` of coefficients ``[R, T]`` and intercept ``[T]`` of the features."""
        along = coefficients if self.axes is None else self.axes @ coefficients
        each = np.zeros((len(self.mean), along.shape[1]))
        each[self.varies] = along / self.deviation[self.varies, None]
        intercept = intercept - self.mean @ each
        count = len(self.columns)
        if count:
            each[:count] -= each[:count].mean(axis=0)
        return LinearModel(self.columns, each, intercept, _READS, penalty, ends)


def design_of(counts: sparse.csr_matrix, extra: np.ndarray, learned: np.ndarray) -> Design:
    """Features of samples.

    Parameters
    ----------
    counts : csr_matrix
        ``[N, W]`` reads.
    extra : ndarray
        ``[N, V]`` inputs of covariates.
    learned : ndarray
        ``[N]`` bool: samples that choose inputs, mean, deviation and axes.
    """
    prevalent = counts[learned].getnnz(axis=0) >= max(2, _PREVALENCE * learned.sum())
    columns = np.flatnonzero(prevalent)
    logs = counts[:, columns].astype(np.float32).toarray()
    logs += np.float32(_READS)
    np.log(logs, out=logs)
    logs -= logs.mean(axis=1, keepdims=True) if logs.size else 0
    features = np.hstack([logs, extra.astype(np.float32)])
    mean = features[learned].mean(axis=0, dtype=np.float64)
    deviation = features[learned].std(axis=0)
    varies = deviation > 1e-5  # more than what rounding leaves of a constant
    features = features[:, varies]
    features -= mean[varies].astype(np.float32)
    features /= deviation[varies]
    features, axes = _rotated(features, learned)
    return Design(features, axes, columns, mean, deviation.astype(np.float64), varies)


def _rotated(features: np.ndarray, learned: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Features in the principal axes of the learned samples, float64; and these axes."""
    train = features[learned]
    if train.shape[1] <= train.shape[0]:
        return features.astype(np.float64), None
    values, vectors = np.linalg.eigh((train @ train.T).astype(np.float64))
    kept = values > values.max() * 1e-6  # beyond the rounding of float32
    across = vectors[:, kept] / np.sqrt(values[kept])
    rotated = (features @ train.T).astype(np.float64) @ across
    return rotated, train.T.astype(np.float64) @ across


def fit_linear(
    task: Task,
    design: Design,
    y: np.ndarray,
    folds: np.ndarray,
    *,
    learned: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    penalties: Sequence[float] = PENALTIES,
    ends: tuple[float, float] | None = None,
) -> tuple[LinearModel, np.ndarray]:
    """The model with the best penalty, and its predictions out of fold.

    Parameters
    ----------
    task : Task
    design : Design
    y : ndarray
        ``[N]`` true values, as ``task.forest_target`` gives them, or standardized.
    folds : ndarray of int
        ``[N]`` fold of each sample; -1 where a sample is never held out. Without a fold a penalty
        from the middle is taken.
    learned : ndarray, optional
        ``[N]`` bool: samples that the model learns from; all where not given.
    weights : ndarray, optional
        ``[N]`` what each sample counts.
    penalties : sequence of float
        The weakest first, from which the fits of classes take least time.
    ends : tuple of float, optional
        Least and greatest value that the model predicts.

    Returns
    -------
    LinearModel
    ndarray
        ``[N, T]`` predictions, NaN where the fold is -1. No fold chooses the penalty by which it
        is predicted, unless it is the only one.
    """
    learned = np.ones(len(y), bool) if learned is None else learned
    size = float((design.features[learned] ** 2).sum())

    def path(given, penalties):
        counted = None if weights is None else weights[given]
        each = [penalty * size for penalty in penalties]
        return _path(task, design.features[given], y[given], each, counted)

    each = np.unique(folds[folds >= 0])
    predicted = np.full((len(penalties), len(y), task.forest_outputs), np.nan)
    errors = np.zeros((len(penalties), len(each)))
    for place, fold in enumerate(each):
        out = folds == fold
        for row, (coefficients, intercept) in enumerate(path(~out, penalties)):
            scores = design.features[out] @ coefficients + intercept
            predicted[row, out] = linked(scores, ends)
            errors[row, place] = task.blend_loss(predicted[row, out], y[out])
    total = errors.sum(axis=1)
    chosen = np.full((len(y), task.forest_outputs), np.nan)
    for place, fold in enumerate(each):
        others = total - errors[:, place] if len(each) > 1 else total
        chosen[folds == fold] = predicted[others.argmin(), folds == fold]
    best = int(total.argmin()) if total.any() else len(penalties) // 2
    ((coefficients, intercept),) = path(learned, [penalties[best]])
    return design.unfolded(coefficients, intercept, penalties[best], ends), chosen


def _path(task, features, y, penalties, weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Coefficients ``[R, T]`` and intercept ``[T]`` of each penalty, by scikit-learn."""
    before = None
    for penalty in penalties:
        if not task.classes and not features.shape[1]:
            yield np.zeros((0, 1)), np.average(y, weights=weights).reshape(1)
            continue
        if not task.classes:
            estimator = task.baseline("linear", penalty=penalty)
            estimator.fit(features, y, sample_weight=weights)
            yield estimator.coef_.reshape(-1, 1), np.reshape(estimator.intercept_, 1)
            continue
        coefficients = np.zeros((features.shape[1], len(task.classes)))
        intercept = np.full(len(task.classes), _NEVER)
        seen = np.unique(y)
        intercept[seen] = 0.0
        if len(seen) > 1 and features.shape[1]:
            estimator = task.baseline("linear", penalty=penalty, warm_start=before is not None)
            if before is not None:  # from the fit before: half of the time
                estimator.coef_, estimator.intercept_ = before.coef_, before.intercept_
            before = estimator.fit(features, y, sample_weight=weights)
            # Of two classes there is one score: of the second, beside 0.
            rows = estimator.classes_[1:] if len(seen) == 2 else estimator.classes_
            coefficients[:, rows], intercept[rows] = estimator.coef_.T, estimator.intercept_
        yield coefficients, intercept


@dataclass(frozen=True, eq=False)
class Beside:
    """The linear model beside the trees.

    Attributes
    ----------
    model : LinearModel
        Of values in units of the trees, trained on the training samples.
    sequences : list of str
        Of the inputs that it counts.
    out_of_fold : ndarray
        ``[N, T]`` predictions of the validation samples.
    """

    model: LinearModel
    sequences: list[str]
    out_of_fold: np.ndarray

    @classmethod
    def fit(
        cls,
        study: Study,
        split: Split,
        values: pd.Series,
        task: Task,
        covariates: Covariates | None,
        weights: np.ndarray | None,
        penalties: Sequence[float] = TRIED,
    ) -> Beside:
        """By the folds of the split: whole groups, where it has any.

        Inputs are chosen and standardized by all training samples, which takes no label. Where the
        split has one fold, this chooses the penalty, too.

        Parameters
        ----------
        study : Study
            With sequences. The order of its features does not matter.
        split : Split
        values : Series
            Target by sample id.
        task : Task
        covariates : Covariates or None
        weights : ndarray or None
            ``[samples of the study]`` what each sample counts.
        penalties : sequence of float
        """
        fold = dict(zip(split.val, split.folds, strict=True))
        position = {name: i for i, name in enumerate(study.sample_ids)}
        # Validation samples first, as out of fold.
        ids = [*split.val, *(name for name in split.train if name not in fold)]
        samples = np.array([position[name] for name in ids], np.int64)
        folds = np.array([fold.get(name, -1) for name in ids])
        trained = set(split.train)
        learned = np.array([name in trained for name in ids])
        y, units, ends = task.forest_target(values.loc[ids]), (0.0, 1.0), (0.0, 1.0)
        if not task.classes:
            units = units_of(y[learned])
            y = (y - units[0]) / units[1]
            # As trees do: nothing tells that a line goes on beyond.
            ends = float(y[learned].min()), float(y[learned].max())
        assert study.sequences is not None
        sequences = sorted(set(study.sequences))
        counts = summed_counts(study.counts, samples, columns_of(study, sequences), len(sequences))
        extra = encode_covariates(study, covariates, samples)
        model, predicted = fit_linear(
            task,
            design_of(counts, extra, learned),
            y,
            folds,
            learned=learned,
            weights=None if weights is None else weights[samples],
            penalties=penalties,
            ends=ends,
        )
        return cls(model, sequences, units[0] + units[1] * predicted[: len(split.val)])


def linear_share(predictions: Sequence[np.ndarray], y: np.ndarray, task: Task) -> float:
    """Share of the linear model beside the trees, in [0, 1].

    From `_PROVED` samples on it has one where it errs less than the trees by more than chance:
    `best_weights` has the rule, whose ``prior`` the trees are.

    Parameters
    ----------
    predictions : sequence of ndarray
        ``[N, T]`` out of fold: of the networks, the trees and the linear model.
    y, task
        As in `aam_core.ensemble.blending.stable_weights`.
    """
    known = np.isfinite(np.hstack(predictions)).all(axis=1)
    proved = known.sum() >= _PROVED
    _, trees, linear = stable_weights(predictions, y, task, prior=1 if proved else None)
    if not trees + linear:  # the networks alone are best
        trees, linear = stable_weights(predictions[1:], y, task, prior=0 if proved else None)
    return round(linear / (trees + linear), 4)


def units_of(y: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of values; of one value 1, by which can be divided."""
    return float(y.mean()), float(y.std()) or 1.0
