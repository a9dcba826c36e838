"""Metrics of cross-validated predictions, with intervals and tests over subjects.

The samples of a subject are not independent, so that the bootstrap and the test are over subjects.
Letters: N samples, C classes, R cross-validations of the same samples with different seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from aam_core.tasks.metrics import ClassificationMetrics, RegressionMetrics

DRAWS = 2000
"""Bootstrap draws of the subjects."""

COVERAGE = 0.95
"""Share of the draws within an interval."""

METRICS = {"regression": ("mae", "r2"), "classification": ("auc", "accuracy")}
"""Metrics of a task in the tables; the first one has the interval."""


@dataclass(frozen=True)
class Numbers:
    """Predictions of a numeric target by a method.

    Attributes
    ----------
    actual, predicted : [N] float
    """

    actual: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, predictions: pd.DataFrame, method: str) -> Numbers:
        """From the table of `predictions_of`."""
        columns = predictions["actual"], predictions[_first(method)]
        return cls(*(column.to_numpy(np.float64) for column in columns))

    @property
    def losses(self) -> np.ndarray:
        """[N] absolute errors."""
        return np.abs(self.predicted - self.actual)

    def metrics(self, rows=slice(None)) -> dict[str, float]:
        """mae and r2 of some of the samples."""
        accumulator = RegressionMetrics()
        accumulator.update(self.actual[rows], self.predicted[rows])
        return _named(accumulator.compute(), "regression")


@dataclass(frozen=True)
class Classes:
    """Predictions of classes by a method.

    Attributes
    ----------
    actual, predicted : [N] int
        Places of the classes.
    probabilities : [N, C] float
        Probabilities.
    """

    actual: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, predictions: pd.DataFrame, method: str) -> Classes:
        """From the table of `predictions_of`; a class of no training fold has probability 0."""
        classes = sorted(set(predictions["actual"]))
        place = {name: i for i, name in enumerate(classes)}
        names = classes if method == "aam" else [f"{method}_{name}" for name in classes]
        return cls(
            actual=predictions["actual"].map(place).to_numpy(np.int64),
            predicted=predictions[_first(method)].map(place).to_numpy(np.int64),
            probabilities=predictions[names].to_numpy(np.float64),
        )

    @property
    def losses(self) -> np.ndarray:
        """[N] Brier scores: squared differences from the truth, summed over the classes.

        (Brier GW 1950, Monthly Weather Review 78: 1-3.) The logarithmic loss would be infinite
        wherever every tree of a forest is wrong.
        """
        truth = np.eye(self.probabilities.shape[1])[self.actual]
        return ((self.probabilities - truth) ** 2).sum(axis=1)

    def metrics(self, rows=slice(None)) -> dict[str, float]:
        """auc and accuracy of some of the samples; auc is NaN where all are of one class."""
        accumulator = ClassificationMetrics(self.probabilities.shape[1])
        accumulator.update(self.actual[rows], self.predicted[rows], self.probabilities[rows])
        return _named(accumulator.compute(), "classification")


def _first(method: str) -> str:
    """The column of a method's predictions."""
    return "prediction" if method == "aam" else method


Predictions = Numbers | Classes

_BY_TASK = {"regression": Numbers, "classification": Classes}
"""Class of the predictions, by the name of the task."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on the same samples, over subjects.

    Attributes
    ----------
    value, difference : float
        The first metric of the first method, and its difference from that of the second.
    interval, difference_interval : (float, float)
        Bootstrap intervals of the two.
    better, subjects : int
        Number of subjects with a lower mean loss by the first method, and of all subjects.
    p : float
        Two-sided Wilcoxon signed-rank test of the subjects' mean losses.
    """

    value: float
    interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    better: int
    subjects: int
    p: float


def predictions_of(predictions: pd.DataFrame, method: str, task: str) -> Predictions:
    """Predictions of a method, from the table that `aam_core.cross_validate` returns.

    Parameters
    ----------
    predictions : DataFrame
        ``actual``, and of each method ``{method}`` and ``{method}_{class}``; those of 'aam' are
        ``prediction`` and ``{class}``.
    method : str
    task : {'regression', 'classification'}
    """
    return _BY_TASK[task].of(predictions, method)


def mean_metrics(runs: Sequence[Predictions], rows=slice(None)) -> dict[str, float]:
    """Metrics of each cross-validation, averaged over them."""
    by_run = [run.metrics(rows) for run in runs]
    return {name: float(np.mean([metrics[name] for metrics in by_run])) for name in by_run[0]}


def compare(
    ours: Sequence[Predictions],
    theirs: Sequence[Predictions],
    subjects,
    task: str,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the same samples of the same cross-validations.

    Parameters
    ----------
    ours, theirs : sequence of Numbers or Classes
        R of each.
    subjects : [N]
        Subject of each sample.
    task : {'regression', 'classification'}
    seed : int
        Of the bootstrap.
    """
    name = METRICS[task][0]

    def pair(rows):
        mine, other = (mean_metrics(runs, rows)[name] for runs in (ours, theirs))
        return np.array([mine, mine - other])

    value, difference = pair(slice(None))
    low, high = bootstrap(pair, subjects, seed=seed)
    losses = [np.mean([run.losses for run in runs], axis=0) for runs in (ours, theirs)]
    better, p = paired_test(*losses, subjects)
    return Comparison(
        value=float(value),
        interval=(float(low[0]), float(high[0])),
        difference=float(difference),
        difference_interval=(float(low[1]), float(high[1])),
        better=better,
        subjects=len(np.unique(subjects)),
        p=p,
    )


def bootstrap(
    metric: Callable[[np.ndarray], np.ndarray], subjects, *, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of metrics when subjects are resampled, each with all its samples.

    Parameters
    ----------
    metric : callable
        From rows (a subject's may come several times) to K metrics; a draw of which one is NaN
        does not count for it.
    subjects : [N]

    Returns
    -------
    (low, high)
        [K] each.
    """
    _, codes = np.unique(np.asarray(subjects), return_inverse=True)
    rows_of = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        chosen = rng.integers(len(rows_of), size=len(rows_of))
        drawn.append(metric(np.concatenate([rows_of[code] for code in chosen])))
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(np.array(drawn), (tail, 1 - tail), axis=0)
    return low, high


def paired_test(ours, theirs, subjects) -> tuple[int, float]:
    """Subjects with a lower mean loss by the first, and p of the Wilcoxon signed-rank test.

    Parameters
    ----------
    ours, theirs : [N] float
        Losses of the same samples. Subjects whose means are equal up to rounding are dropped, as by
        Wilcoxon (1945, Biometrics Bulletin 1: 80-83); where all are, p is 1.
    subjects : [N]
    """
    means = pd.DataFrame({"ours": ours, "theirs": theirs}).groupby(np.asarray(subjects)).mean()
    means = means[~np.isclose(means["ours"], means["theirs"], rtol=1e-6)]
    difference = (means["ours"] - means["theirs"]).to_numpy()
    p = float(wilcoxon(difference).pvalue) if len(difference) else 1.0
    return int((difference < 0).sum()), p


def _named(metrics: dict[str, float], task: str) -> dict[str, float]:
    return {name: metrics[name] for name in METRICS[task]}
