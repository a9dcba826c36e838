"""The baselines to compare AAM with: scikit-learn's forests and linear models, and less than these.

The forests have nothing to do with the ensemble's (`aam_core.ensemble`), which is part of a model;
the linear model is fitted by the same code as the ensemble's.
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
from aam_core.ensemble.linear_training import design_of, fit_linear
from aam_core.errors import InputError, lookup
from aam_core.tasks import Task, task_named

__all__ = [
    "BASELINES",
    "WITHOUT_COVARIATES",
    "baseline_forest",
    "predict_baseline",
    "relative_abundances",
]

_TREES = 200
"""Trees of a forest."""

_SMALL = 1e-4
"""Deviation of a target below which a forest reads it in deviations: scikit-learn's trees end at
nodes with a variance below 2.2e-16, whatever the units. Others stay as they are, for rounding would
decide otherwise between splits that are equally good."""

_SHARE = 1e-4
"""Abundance below which the logarithm of `_log_abundances` is nearly linear."""

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
    """Ridge or logistic regression on the centred log-ratio: `aam_core.ensemble.linear_training`.

    As the linear model that may be part of an ensemble; the penalty is chosen in inner folds.
    """
    sides = []
    for ids in (problem.train, problem.test):
        study = problem.study.select(ids)
        known = problem.covariates
        extra = np.zeros((len(ids), 0)) if known is None else known.matrix(study.metadata)
        sides.append((study.counts, extra))
    (counts, extra), test = sides
    design = design_of(counts, extra, np.ones(len(problem.train), bool))
    model, _ = fit_linear(problem.task, design, problem.truth, _inner_folds(problem))
    return model.predict(*test)


def _inner_folds(problem: _Problem) -> np.ndarray:
    """``[N]`` fold of each training sample; all -1 where no folds can be made."""
    strata = problem.task.strata(problem.values)
    options: dict[str, Any] = {"fraction": 1 / _INNER, "seed": problem.seed, "strata": strata}
    for groups in (problem.groups, None):
        try:
            split = cross_fitting_split(problem.train, _INNER, groups=groups, **options)
        except InputError:  # one group, or a class in one: by samples
            continue
        fold = dict(zip(split.val, split.folds, strict=True))
        return np.array([fold.get(name, -1) for name in problem.train])
    return np.full(len(problem.train), -1)


BASELINES: dict[str, Callable[[_Problem], np.ndarray]] = {
    "random_forest": _random_forest,
    "extra_trees": _extra_trees,
    "linear": _linear,
    "dummy": _dummy,
    "reads": _reads,
}
"""By name, in the order of tables."""

WITHOUT_COVARIATES = ("dummy", "reads")
"""Those that read no covariates."""
