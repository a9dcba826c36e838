"""The baselines to compare AAM with: scikit-learn's forests and linear models, and less than these.

They have nothing to do with the ensemble's forest (`aam_core.ensemble`), which is part of a model.
To add one: a function here, an entry of `BASELINES`, its label in `comparison.LABELS`, and its name
in `prediction_columns.METHODS`. Letters: N samples, F features (ASVs and covariates), T outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags, hstack

from aam_core.data.covariates import Covariates, fit_covariates
from aam_core.data.splits import cross_fitting_split
from aam_core.data.study import Study
from aam_core.errors import InputError, lookup
from aam_core.tasks import Task, task_named

__all__ = ["BASELINES", "baseline_forest", "predict_baseline", "relative_abundances"]

_TREES = 200
"""Trees of a forest."""

_SMALL = 1e-4
"""Deviation of a target below which a forest reads it in deviations: scikit-learn's trees end at
nodes with a variance below 2.2e-16, whatever the units. Others stay as they are, for rounding would
decide otherwise between splits that are equally good."""

_SHARE = 1e-4
"""Abundance below which the logarithm of `_log_abundances` is nearly linear."""

_READS = 0.5
"""Added to each count before the centred log-ratio, which has no logarithm of 0."""

_PREVALENCE = 0.01
"""Share of the training samples (two at least) that an ASV must be in to be in the log-ratio."""

_PENALTIES = tuple(float(power) for power in np.logspace(-5, 0, 11))
"""L2 penalties that are tried, over the sum of the squared features."""

_INNER = 5
"""Folds by which a penalty is chosen."""

_DENSE = 2**27
"""Most numbers of a dense matrix, which trees read in half the time."""


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a baseline learns from, and what it predicts.

    Attributes
    ----------
    task : Task
        Fitted to the training samples.
    study : Study
    train, test : list of str
    truth : [N] ndarray
        Of the training samples, as `Task.forest_target` returns it.
    values, groups : Series or None
        Target and groups of the training samples.
    covariates : Covariates or None
        Fitted to the training samples.
    seed, threads : int
    """

    task: Task
    study: Study
    train: list[str]
    test: list[str]
    truth: np.ndarray
    values: pd.Series
    groups: pd.Series | None
    covariates: Covariates | None
    seed: int
    threads: int

    def sides(self, features: Callable[[csr_matrix], csr_matrix]) -> list[csr_matrix]:
        """Features of the training and the test samples, from their counts; then covariates."""
        result = []
        for ids in (self.train, self.test):
            study = self.study.select(ids)
            matrix = features(study.counts)
            if self.covariates is not None:
                columns = csr_matrix(self.covariates.matrix(study.metadata))
                matrix = hstack([matrix, columns], format="csr")
            result.append(matrix)
        return result


def baseline_forest(
    study: Study,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    values: pd.Series,
    task: str = "regression",
    seed: int = 0,
    covariates: Sequence[str] = (),
) -> pd.DataFrame:
    """Predictions of a random forest on relative abundances; as `predict_baseline`."""
    sides = (train_ids, test_ids, values)
    return predict_baseline(
        "random_forest", study, *sides, task=task, seed=seed, covariates=covariates
    )


def predict_baseline(
    name: str,
    study: Study,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    values: pd.Series,
    *,
    task: str = "regression",
    seed: int = 0,
    covariates: Sequence[str] = (),
    groups: pd.Series | None = None,
    threads: int = 0,
) -> pd.DataFrame:
    """Predictions of a baseline that is fitted to the training samples alone.

    Parameters
    ----------
    name : str
        Key of `BASELINES`.
    study : Study
    train_ids, test_ids : sequence of str
    values : Series
        Metadata column by sample id; only the training samples are read.
    task : {'regression', 'classification'}
    seed : int
    covariates : sequence of str
        Metadata columns that it reads too, so that a model with covariates meets its equal.
    groups : Series, optional
        By sample id: a penalty is chosen by folds of whole groups.
    threads : int
        Of a forest; 0 for one a core.

    Returns
    -------
    DataFrame
        Index ``sample-id`` in the order of test_ids; ``prediction``, and of a classification a
        column of probabilities per class.

    Raises
    ------
    InputError
        If the target is unusable, or has one value only among the training samples; or there is no
        such baseline.
    """
    fit = lookup(BASELINES, name, "baseline")
    train, test = list(train_ids), list(test_ids)
    train_values = values.loc[train]
    fitted = task_named(task).fit(train_values)
    problem = _Problem(
        task=fitted,
        study=study,
        train=train,
        test=test,
        truth=fitted.forest_target(train_values),
        values=train_values,
        groups=None if groups is None else groups.reindex(train),
        covariates=fit_covariates(study.metadata, covariates, train),
        seed=seed,
        threads=threads,
    )
    return fitted.frame(test, fit(problem))


def relative_abundances(counts: csr_matrix) -> csr_matrix:
    """``[N, F]`` reads -> shares of each sample's reads; a sample without reads stays 0.

    >>> relative_abundances(csr_matrix([[1, 3], [0, 0]])).toarray().tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    reads = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return (diags(1.0 / np.maximum(reads, 1.0)) @ counts).tocsr()


def _log_abundances(counts: csr_matrix) -> csr_matrix:
    """``[N, F]`` log(1 + share / 0.0001), which leaves 0 where it is."""
    shares = relative_abundances(counts)
    shares.data = np.log1p(shares.data / _SHARE)
    return shares


def _forest(name: str, features: Callable, problem: _Problem, **settings) -> np.ndarray:
    """What a forest predicts, ``[N, T]``."""
    train, test = problem.sides(features)
    estimator = problem.task.baseline(
        name,
        n_estimators=_TREES,
        random_state=problem.seed,
        n_jobs=problem.threads or -1,
        **settings,
    )
    mean, deviation = _units(problem)
    estimator.fit(train, (problem.truth - mean) / deviation if deviation else problem.truth)
    # Threads add up the trees in the order in which they end, which changes the last digit.
    estimator.set_params(n_jobs=1)
    predictions = problem.task.baseline_predictions(estimator, test)
    return predictions * deviation + mean if deviation else predictions


def _units(problem: _Problem) -> tuple[float, float]:
    """Mean and deviation by which a forest reads a target; 0 where it reads it as it is."""
    if problem.task.classes or problem.truth.std() >= _SMALL:
        return 0.0, 0.0
    return float(problem.truth.mean()), float(problem.truth.std())


def _random_forest(problem: _Problem) -> np.ndarray:
    return _forest("random_forest", relative_abundances, problem)


def _extra_trees(problem: _Problem) -> np.ndarray:
    """On log abundances; each split of a regression tries three tenths of the features.

    (Geurts P, Ernst D, Wehenkel L 2006, Machine Learning 63: 3-42.)
    """

    def features(counts):
        matrix = _log_abundances(counts)
        return matrix.toarray().astype(np.float32) if np.prod(matrix.shape) <= _DENSE else matrix

    if problem.covariates is not None:
        features = _log_abundances
    return _forest("extra_trees", features, problem)


def _reads(problem: _Problem) -> np.ndarray:
    """A random forest on the number of reads: what the depth of sequencing alone predicts."""
    alone = replace(problem, covariates=None)
    return _forest("random_forest", lambda counts: csr_matrix(counts.sum(axis=1)), alone)


def _dummy(problem: _Problem) -> np.ndarray:
    """The median, or the most common class and the shares of all, of the training samples."""
    train, test = (np.zeros((len(ids), 1)) for ids in (problem.train, problem.test))
    estimator = problem.task.baseline("dummy").fit(train, problem.truth)
    return problem.task.baseline_predictions(estimator, test)


def _linear(problem: _Problem) -> np.ndarray:
    """Ridge or logistic regression on the centred log-ratio.

    (Aitchison J 1982, J. R. Stat. Soc. B 44: 139-177.) Half a read is added to each count; ASVs in
    less than 1 % of the training samples are dropped; all features, covariates too, have mean 0 and
    deviation 1 in these. The L2 penalty is that of `_PENALTIES` with the least error in inner
    folds.
    """
    train, test = _rotated(*_log_ratios(problem))
    size = float((train**2).sum())

    def fit(given, truth, inputs, penalty):
        """Predictions ``[n, T]`` of ``inputs`` by a fit to some of the training samples."""
        estimator = problem.task.baseline("linear", penalty=penalty * size)
        return problem.task.baseline_predictions(estimator.fit(given, truth), inputs)

    errors = np.zeros(len(_PENALTIES))
    for out in _inner_folds(problem):
        if np.unique(problem.truth[~out], axis=0).shape[0] < 2:
            continue
        sides = train[~out], problem.truth[~out], train[out]
        for place, penalty in enumerate(_PENALTIES):
            predicted = fit(*sides, penalty)
            errors[place] += problem.task.blend_loss(predicted, problem.truth[out])
    # Without inner folds, a penalty from the middle.
    best = int(errors.argmin()) if errors.any() else len(_PENALTIES) // 2
    return fit(train, problem.truth, test, _PENALTIES[best])


def _log_ratios(problem: _Problem) -> list[np.ndarray]:
    """Standardized features of training and test samples, ``[N, F]`` float32 each."""
    position = {name: i for i, name in enumerate(problem.study.sample_ids)}
    rows = [[position[name] for name in ids] for ids in (problem.train, problem.test)]
    counts = [problem.study.counts[each] for each in rows]
    prevalent = counts[0].getnnz(axis=0) >= max(2, _PREVALENCE * len(rows[0]))
    sides = []
    for each, ids in zip(counts, (problem.train, problem.test), strict=True):
        logs = each[:, np.flatnonzero(prevalent)].astype(np.float32).toarray()
        logs += np.float32(_READS)
        np.log(logs, out=logs)
        logs -= logs.mean(axis=1, keepdims=True) if logs.size else 0
        if problem.covariates is not None:
            metadata = problem.study.select(ids).metadata
            logs = np.hstack([logs, problem.covariates.matrix(metadata)])
        sides.append(logs)
    mean = sides[0].mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = sides[0].std(axis=0)
    varies = deviation > 1e-5  # more than what rounding leaves of a constant
    for place, side in enumerate(sides):
        sides[place] = side[:, varies]
        sides[place] -= mean[varies]
        sides[place] /= deviation[varies]
    return sides


def _rotated(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in the principal axes of the training samples: an L2 penalty is the same there.

    Of many more features than samples, as many axes remain as samples: a fit takes moments. What
    remains is float64.
    """
    if train.shape[1] <= train.shape[0]:
        return train.astype(np.float64), test.astype(np.float64)
    values, vectors = np.linalg.eigh((train @ train.T).astype(np.float64))
    kept = values > values.max() * 1e-6  # beyond the rounding of float32
    scale = np.sqrt(values[kept])
    products = (test @ train.T).astype(np.float64)
    return vectors[:, kept] * scale, products @ vectors[:, kept] / scale


def _inner_folds(problem: _Problem) -> list[np.ndarray]:
    """``[N]`` bool a fold: the training samples that it holds out; none where none can be made."""
    strata = problem.task.strata(problem.values)
    options: dict[str, Any] = {"fraction": 1 / _INNER, "seed": problem.seed, "strata": strata}
    for groups in (problem.groups, None):
        try:
            split = cross_fitting_split(problem.train, _INNER, groups=groups, **options)
        except InputError:  # one group, or a class in one: by samples
            continue
        return list(split.held_out(problem.train, max(split.folds) + 1))
    return []


BASELINES: dict[str, Callable[[_Problem], np.ndarray]] = {
    "random_forest": _random_forest,
    "extra_trees": _extra_trees,
    "linear": _linear,
    "dummy": _dummy,
    "reads": _reads,
}
"""By name, in the order of tables."""
