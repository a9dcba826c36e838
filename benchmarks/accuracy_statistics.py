"""Figures of cross-validated predictions, with intervals and tests over subjects.

The samples of a subject resemble one another, so that subjects are what is drawn again, and what
is tested. Letters: N samples, C classes, R cross-validations of the same samples that differ in
their seed.
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

COVER = 0.95
"""Share of the draws within an interval."""

FIGURES = {"regression": ("mae", "r2"), "classification": ("auc", "accuracy")}
"""What is shown of a task; the first of them, its headline, has the interval."""


@dataclass(frozen=True)
class Numbers:
    """What a method predicted of a numeric target.

    Attributes
    ----------
    actual, predicted : [N] float
    """

    actual: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, predictions: pd.DataFrame, method: str) -> Numbers:
        """As `scored` takes them."""
        columns = predictions["actual"], predictions[_first(method)]
        return cls(*(column.to_numpy(np.float64) for column in columns))

    @property
    def losses(self) -> np.ndarray:
        """[N] absolute errors."""
        return np.abs(self.predicted - self.actual)

    def figures(self, rows=slice(None)) -> dict[str, float]:
        """mae, r2 of some of the samples."""
        seen = RegressionMetrics()
        seen.update(self.actual[rows], self.predicted[rows])
        return _named(seen.compute(), "regression")


@dataclass(frozen=True)
class Chances:
    """What a method predicted of a target of classes.

    Attributes
    ----------
    actual, predicted : [N] int
        Places of the classes.
    chances : [N, C] float
        Probabilities.
    """

    actual: np.ndarray
    predicted: np.ndarray
    chances: np.ndarray

    @classmethod
    def of(cls, predictions: pd.DataFrame, method: str) -> Chances:
        """As `scored` takes them; a class that no fold could learn has chance 0."""
        classes = sorted(set(predictions["actual"]))
        place = {name: i for i, name in enumerate(classes)}
        names = classes if method == "aam" else [f"{method}_{name}" for name in classes]
        return cls(
            actual=predictions["actual"].map(place).to_numpy(np.int64),
            predicted=predictions[_first(method)].map(place).to_numpy(np.int64),
            chances=predictions[names].to_numpy(np.float64),
        )

    @property
    def losses(self) -> np.ndarray:
        """[N] Brier scores: squared differences from the truth, summed over the classes.

        (Brier GW 1950, Monthly Weather Review 78: 1-3.) The logarithmic loss would be infinite
        wherever every tree of a forest is wrong.
        """
        truth = np.eye(self.chances.shape[1])[self.actual]
        return ((self.chances - truth) ** 2).sum(axis=1)

    def figures(self, rows=slice(None)) -> dict[str, float]:
        """auc, accuracy of some of the samples; auc is NaN where they are all of one class."""
        seen = ClassificationMetrics(self.chances.shape[1])
        seen.update(self.actual[rows], self.predicted[rows], self.chances[rows])
        return _named(seen.compute(), "classification")


def _first(method: str) -> str:
    """The column of a method's predictions."""
    return "prediction" if method == "aam" else method


Scored = Numbers | Chances

SCORED = {"regression": Numbers, "classification": Chances}
"""By the name of the task."""


@dataclass(frozen=True)
class Comparison:
    """A method beside another on the same samples, over subjects.

    Attributes
    ----------
    value, difference : float
        Headline figure of the first, and that less the other's.
    interval, difference_interval : (float, float)
        What the bootstrap gives of the two.
    better, subjects : int
        Subjects of less mean loss by the first, of all.
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


def scored(predictions: pd.DataFrame, method: str, task: str) -> Scored:
    """Predictions of a method, of the table that `aam_core.cross_validate` returns.

    Parameters
    ----------
    predictions : DataFrame
        ``actual``, and of each method ``{method}`` and ``{method}_{class}``; those of 'aam' are
        ``prediction`` and ``{class}``.
    method : str
    task : {'regression', 'classification'}
    """
    return SCORED[task].of(predictions, method)


def mean_figures(runs: Sequence[Scored], rows=slice(None)) -> dict[str, float]:
    """Figures of each cross-validation, averaged over them."""
    found = [run.figures(rows) for run in runs]
    return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


def compare(
    ours: Sequence[Scored], theirs: Sequence[Scored], subjects, task: str, seed: int = 0
) -> Comparison:
    """Compare two methods on the same samples of the same cross-validations.

    Parameters
    ----------
    ours, theirs : sequence of Numbers or Chances
        R of each.
    subjects : [N]
        Whom each sample is of.
    task : {'regression', 'classification'}
    seed : int
        Of the bootstrap.
    """
    name = FIGURES[task][0]

    def pair(rows):
        mine, other = (mean_figures(runs, rows)[name] for runs in (ours, theirs))
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
    figure: Callable[[np.ndarray], np.ndarray], subjects, *, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of figures when subjects are drawn anew, each with all its samples.

    Parameters
    ----------
    figure : callable
        From rows (a subject's may come several times) to K figures; a draw of which one is NaN
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
    found = []
    for _ in range(draws):
        chosen = rng.integers(len(rows_of), size=len(rows_of))
        found.append(figure(np.concatenate([rows_of[code] for code in chosen])))
    tail = (1 - COVER) / 2
    low, high = np.nanquantile(np.array(found), (tail, 1 - tail), axis=0)
    return low, high


def paired_test(ours, theirs, subjects) -> tuple[int, float]:
    """Subjects of less mean loss by the first, and p of the two-sided Wilcoxon signed-rank test.

    Parameters
    ----------
    ours, theirs : [N] float
        Losses of the same samples. Subjects whose means are the same, but for rounding, count for
        neither, as Wilcoxon had it (1945, Biometrics Bulletin 1: 80-83); where all are, p is 1.
    subjects : [N]
    """
    means = pd.DataFrame({"ours": ours, "theirs": theirs}).groupby(np.asarray(subjects)).mean()
    means = means[~np.isclose(means["ours"], means["theirs"], rtol=1e-6)]
    difference = (means["ours"] - means["theirs"]).to_numpy()
    p = float(wilcoxon(difference).pvalue) if len(difference) else 1.0
    return int((difference < 0).sum()), p


def _named(figures: dict[str, float], task: str) -> dict[str, float]:
    return {name: figures[name] for name in FIGURES[task]}
