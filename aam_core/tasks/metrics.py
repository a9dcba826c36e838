"""Metrics, and what accumulates them: batch by batch, merged over processes in any order.

In numpy and scipy. To add a metric: a function of an accumulator, and an entry of `METRICS`; where
each epoch is to have it, its name in the ``metrics`` of a task, too. A sum that it needs is a field
of the accumulator.

Letters: N samples, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd

from aam_core.errors import InputError

__all__ = [
    "BINS",
    "METRICS",
    "Accumulator",
    "ClassificationMetrics",
    "Metric",
    "RegressionMetrics",
    "Reservoir",
    "classification_metrics",
    "greater_is_better",
    "merged",
    "metric_named",
    "regression_metrics",
    "roc_auc",
]

_NAN = float("nan")

BINS = 4096
"""Bins of a class's scores: enough for the area under the curve to the third digit."""

_STEPS = 10
"""Steps of a class's probabilities, of equal width, that are compared with frequencies."""

_ONE = 2**30
"""What a probability of 1 counts as among whole numbers, whose sums are exact in any order."""

_WIDEST = 32.0
"""Log odds that the bins reach to on both sides; what lies beyond counts as tied."""


class Accumulator(Protocol):
    """What takes in samples, and has metrics of all of them."""

    def merge(self, other: Any) -> None:
        """Take in what another accumulator has seen."""

    def compute(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """Metrics by name, all or some of them."""


class _Mergeable(Protocol):
    def merge(self, other: Any) -> None: ...


_Merged = TypeVar("_Merged", bound=_Mergeable)


def merged(parts: Iterable[_Merged]) -> _Merged:
    """One accumulator of what all of these have seen, which stay as they are.

    Parameters
    ----------
    parts : iterable of RegressionMetrics, ClassificationMetrics or Reservoir
        At least one, all of a kind: those of the processes that shared the samples.
    """
    first, *others = parts
    whole = copy.deepcopy(first)
    for part in others:
        whole.merge(part)
    return whole


@dataclass
class RegressionMetrics:
    """R2, mean absolute error, root mean squared error, in the target's units, and Spearman's rho.

    The variance is merged from centred sums, so that a large mean costs no precision (Chan TF,
    Golub GH, LeVeque RJ 1983, The American Statistician 37: 242-247).

    With ``ranks`` every sample's values are kept, of which Spearman's rho needs the ranks; without,
    memory does not grow with the samples, and rho is NaN.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0
    """Sum of squared deviations of the actual values from their mean."""
    absolute: float = 0.0
    squared: float = 0.0
    ranks: bool = False
    scored: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Chunks of (actual [n], predicted [n]); none without ranks."""

    def update(self, actual, predicted) -> None:
        """Add samples: two [N] arrays."""
        actual, predicted = _pair(actual, predicted, np.float64)
        if not len(actual):
            return
        error = predicted - actual
        mean = float(actual.mean())
        self.merge(
            RegressionMetrics(
                len(actual),
                mean,
                float(((actual - mean) ** 2).sum()),
                float(np.abs(error).sum()),
                float((error**2).sum()),
                self.ranks,
                [(actual, predicted)] if self.ranks else [],
            )
        )

    def merge(self, other: RegressionMetrics) -> None:
        """Take in what another accumulator has seen."""
        assert self.ranks == other.ranks, (self.ranks, other.ranks)
        self.scored += other.scored
        count = self.count + other.count
        if not count:
            return
        shift = other.mean - self.mean
        self.spread += other.spread + shift**2 * self.count * other.count / count
        self.mean += shift * other.count / count
        self.absolute += other.absolute
        self.squared += other.squared
        self.count = count

    def compute(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """r2, mae, rmse, spearman, all or some; NaN without samples.

        r2 is NaN where the actual values are all one; spearman where either are, or without ranks.
        """
        return _compute(self, names)


@dataclass
class ClassificationMetrics:
    """Accuracy, balanced accuracy, macro F1, area under the ROC curve, Brier score of C classes.

    Parameters
    ----------
    classes : int
        How many there are.
    bins : int, optional
        Count each class's probabilities in so many bins, of equal width in log odds, so that
        those near 0 and 1 are resolved; within a bin they count as tied. Without it the area is
        exact, and every sample's probabilities are kept: [N, C].
    """

    classes: int
    bins: int | None = None
    confusion: np.ndarray = field(init=False)
    """[C, C] samples by actual and predicted class."""
    scored: list[tuple[np.ndarray, np.ndarray]] = field(init=False, default_factory=list)
    """Chunks of (actual [n], probabilities [n, C]); none with bins."""
    histogram: np.ndarray = field(init=False)
    """[C, 2, bins] samples by class, whether they are of it, and its probability."""
    brier: float = field(init=False, default=0.0)
    """Sum of the squared differences of the probabilities from the truth."""
    probable: int = field(init=False, default=0)
    """Samples with probabilities."""
    reliability: np.ndarray = field(init=False)
    """[C, 2, _STEPS] sum of a class's probabilities, times _ONE, and its samples, by step."""

    def __post_init__(self):
        self.confusion = np.zeros((self.classes, self.classes), dtype=np.int64)
        self.histogram = np.zeros((self.classes, 2, self.bins or 0), dtype=np.int64)
        self.reliability = np.zeros((self.classes, 2, _STEPS), dtype=np.int64)

    def update(self, actual, predicted, probabilities=None) -> None:
        """Add samples: class places [N], [N], and probabilities [N, C] if there are any."""
        actual, predicted = _pair(actual, predicted, np.int64)
        np.add.at(self.confusion, (actual, predicted), 1)
        if probabilities is not None and len(actual):
            probabilities = np.asarray(probabilities, dtype=np.float64)
            assert probabilities.shape == (len(actual), self.classes), probabilities.shape
            self.brier += float(((probabilities - np.eye(self.classes)[actual]) ** 2).sum())
            self.probable += len(actual)
            every = np.arange(self.classes)
            ours = (actual[:, None] == every).astype(np.int64)
            step = np.clip(probabilities * _STEPS, 0, _STEPS - 1).astype(np.int64)
            for side, values in enumerate((np.rint(probabilities * _ONE), ours)):
                np.add.at(self.reliability, (every, side, step), values.astype(np.int64))
            if self.bins is None:
                self.scored.append((actual, probabilities))
                return
            np.add.at(self.histogram, (every, ours, _bin(probabilities, self.bins)), 1)

    def merge(self, other: ClassificationMetrics) -> None:
        """Take in what another accumulator has seen."""
        assert self.classes == other.classes, (self.classes, other.classes)
        assert self.bins == other.bins, (self.bins, other.bins)
        self.confusion += other.confusion
        self.scored += other.scored
        self.histogram += other.histogram
        self.brier += other.brier
        self.probable += other.probable
        self.reliability += other.reliability

    def compute(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """accuracy, balanced_accuracy, auc, f1, brier, ece, all or some of them.

        auc, brier and ece are NaN without probabilities, auc also with one actual class.
        """
        return _compute(self, names)


@dataclass
class Reservoir:
    """A uniform random sample of rows, for plots.

    The rows kept are those whose keys have the smallest hashes (Cohen E, Kaplan H 2007,
    Summarizing data using bottom-k sketches, PODC): the same ones in whatever order, batches or
    processes they come.

    Parameters
    ----------
    size : int
        Most rows kept.
    """

    size: int = 1000
    kept: tuple[np.ndarray, ...] = field(init=False, default=())
    """Hashes [n] uint64, keys [n] int64, and the columns; nothing before the first update."""

    def update(self, keys, *columns) -> None:
        """Add rows.

        Parameters
        ----------
        keys : [n] int
            Identity of each row, which comes once: a sample's position i; i * N + j of a pair.
        *columns : [n]
            Arrays of the rows' values, as many at every call.
        """
        keys = np.array(keys, dtype=np.int64)
        assert keys.ndim == 1 and all(len(c) == len(keys) for c in columns), keys.shape
        self._take((_hash(keys), keys, *(np.array(column) for column in columns)))

    def merge(self, other: Reservoir) -> None:
        """Take in what another reservoir has kept."""
        assert self.size == other.size, (self.size, other.size)
        if other.kept:
            self._take(other.kept)

    def rows(self) -> tuple[np.ndarray, ...]:
        """The columns of what was kept, in order of the keys; () before any update."""
        if not self.kept:
            return ()
        _, keys, *columns = self.kept
        order = np.argsort(keys)
        return tuple(column[order] for column in columns)

    def _take(self, rows):
        if self.kept:
            rows = tuple(np.concatenate(pair) for pair in zip(self.kept, rows, strict=True))
        if len(rows[0]) > self.size:
            kept = np.argpartition(rows[0], self.size - 1)[: self.size]
            rows = tuple(column[kept] for column in rows)
        self.kept = rows


def _r2(seen: RegressionMetrics) -> float:
    # a constant column leaves rounding errors, not a spread
    varies = seen.count and seen.spread > seen.count * (1e-12 * seen.mean) ** 2
    return 1.0 - seen.squared / seen.spread if varies else _NAN


def _mae(seen: RegressionMetrics) -> float:
    return seen.absolute / seen.count if seen.count else _NAN


def _rmse(seen: RegressionMetrics) -> float:
    return (seen.squared / seen.count) ** 0.5 if seen.count else _NAN


def _spearman(seen: RegressionMetrics) -> float:
    """Correlation of the ranks, of which tied values share the mean (Spearman C 1904, The American
    Journal of Psychology 15: 72-101)."""
    from scipy.stats import rankdata

    if not seen.scored:
        return _NAN
    ranks = [
        rankdata(np.concatenate(values)) - (seen.count + 1) / 2
        for values in zip(*seen.scored, strict=True)
    ]
    length = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / length) if length else _NAN


def _accuracy(seen: ClassificationMetrics) -> float:
    total = seen.confusion.sum()
    return float(np.diag(seen.confusion).sum() / total) if total else _NAN


def _balanced_accuracy(seen: ClassificationMetrics) -> float:
    """Mean recall of the classes that occur."""
    occurrences = seen.confusion.sum(axis=1)
    counted = occurrences > 0
    recall = np.diag(seen.confusion)[counted] / occurrences[counted]
    return float(recall.mean()) if counted.any() else _NAN


def _brier(seen: ClassificationMetrics) -> float:
    """Summed over the classes: 0 to 2, of two classes twice that of one of them (Brier GW 1950,
    Monthly Weather Review 78: 1-3)."""
    return seen.brier / seen.probable if seen.probable else _NAN


def _ece(seen: ClassificationMetrics) -> float:
    """Mean over the classes of the calibration error: how far, in the mean over samples, their
    probabilities are from frequencies, in ten steps (Kull et al. 2019, NeurIPS 32: classwise)."""
    if not seen.probable:
        return _NAN
    differences = np.abs(seen.reliability[:, 0] / _ONE - seen.reliability[:, 1])
    return float(differences.sum(axis=1).mean() / seen.probable)


def _f1(seen: ClassificationMetrics) -> float:
    """Mean over the classes that occur or are predicted."""
    occurrences = seen.confusion.sum(axis=0) + seen.confusion.sum(axis=1)
    counted = occurrences > 0
    f1 = 2 * np.diag(seen.confusion)[counted] / occurrences[counted]
    return float(f1.mean()) if counted.any() else _NAN


def _auc(seen: ClassificationMetrics) -> float:
    """Of two classes, that of the second; of more, the mean over the classes that occur of each
    against the rest."""
    if seen.bins is not None:
        others, ours = seen.histogram[:, 0], seen.histogram[:, 1]
        counted = _counted(seen, np.flatnonzero(ours.any(axis=1)))
        areas = [_area(ours[c], others[c]) for c in counted]
    elif seen.scored:
        actual = np.concatenate([a for a, _ in seen.scored])
        scores = np.concatenate([p for _, p in seen.scored])
        counted = _counted(seen, np.unique(actual))
        areas = [roc_auc(actual == c, scores[:, c]) for c in counted]
    else:
        areas = []
    return float(np.mean(areas)) if areas else _NAN


def _counted(seen: ClassificationMetrics, occurring: np.ndarray) -> list[int]:
    """The classes whose areas count: none, unless there are others to tell them from."""
    if len(occurring) < 2:
        return []
    return [1] if seen.classes == 2 else occurring.tolist()


class Metric(NamedTuple):
    """A number that tells how good predictions are."""

    accumulator: type
    """Whose metric it is: `RegressionMetrics` or `ClassificationMetrics`."""
    greater_is_better: bool
    function: Callable[[Any], float]
    """Of such an accumulator; NaN where it is not defined."""
    bounded: bool = True
    """Whether it has a bootstrap interval: the calibration error is larger in draws of the samples
    than in these, so that an interval of draws may not hold it."""


METRICS = {
    "r2": Metric(RegressionMetrics, True, _r2),
    "mae": Metric(RegressionMetrics, False, _mae),
    "rmse": Metric(RegressionMetrics, False, _rmse),
    "spearman": Metric(RegressionMetrics, True, _spearman),
    "accuracy": Metric(ClassificationMetrics, True, _accuracy),
    "balanced_accuracy": Metric(ClassificationMetrics, True, _balanced_accuracy),
    "auc": Metric(ClassificationMetrics, True, _auc),
    "f1": Metric(ClassificationMetrics, True, _f1),
    "brier": Metric(ClassificationMetrics, False, _brier),
    "ece": Metric(ClassificationMetrics, False, _ece, bounded=False),
}
"""By name, in the order of ``metrics.json``. A task's ``metrics`` are those of each epoch."""


def _compute(
    accumulator: RegressionMetrics | ClassificationMetrics, names: Iterable[str] | None
) -> dict[str, float]:
    """Metrics of an accumulator by name, in the order of `METRICS`."""
    wanted = METRICS if names is None else set(names)
    return {
        name: metric.function(accumulator)
        for name, metric in METRICS.items()
        if metric.accumulator is type(accumulator) and name in wanted
    }


def metric_named(name: str) -> Metric:
    """The metric of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in METRICS:
        raise InputError(f"The metric must be one of {', '.join(METRICS)}, not {name!r}.")
    return METRICS[name]


def greater_is_better(name: str) -> bool:
    """Whether more is better of what a log holds: ``auc``, ``distance_r2`` or ``target_loss``.

    >>> greater_is_better("distance_r2"), greater_is_better("total_loss")
    (True, False)
    """
    if name.removesuffix("_weighted").endswith("loss"):
        return False
    if name in METRICS:
        return METRICS[name].greater_is_better
    return metric_named(name.rpartition("_")[2]).greater_is_better


def roc_auc(positive, score) -> float:
    """Area under the ROC curve; ties count half.

    Parameters
    ----------
    positive : [N] bool
        Both values must occur.
    score : [N] float
    """
    positive = np.asarray(positive, dtype=bool)
    values, place = np.unique(np.asarray(score), return_inverse=True)
    ours = np.bincount(place[positive], minlength=len(values))
    return _area(ours, np.bincount(place, minlength=len(values)) - ours)


def regression_metrics(actual: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """r2, mae, rmse and spearman of two [N] sequences in the same order."""
    metrics = RegressionMetrics(ranks=True)
    metrics.update(actual, predicted)
    return metrics.compute()


def classification_metrics(
    actual: Sequence[str], predicted: Sequence[str], probabilities: pd.DataFrame | None = None
) -> dict[str, float]:
    """accuracy, balanced_accuracy, auc, f1, brier and ece of two [N] sequences of class names.

    Parameters
    ----------
    probabilities : pandas.DataFrame, optional
        N rows in the same order, a column per class the model knows. An actual class that the
        model does not know counts with probability 0.
    """
    actual, predicted = list(actual), list(predicted)
    scored = [] if probabilities is None else list(probabilities.columns)
    classes = sorted({*actual, *predicted, *scored})
    place = {name: i for i, name in enumerate(classes)}
    metrics = ClassificationMetrics(len(classes))
    metrics.update(
        [place[name] for name in actual],
        [place[name] for name in predicted],
        None if probabilities is None else probabilities.reindex(columns=classes, fill_value=0.0),
    )
    return metrics.compute()


def _pair(first, second, dtype) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=dtype), np.asarray(second, dtype=dtype)
    assert first.shape == second.shape and first.ndim == 1, (first.shape, second.shape)
    return first, second


def _area(ours: np.ndarray, others: np.ndarray) -> float:
    """Area under the ROC curve from counts by rising score: Mann-Whitney U over its greatest."""
    pairs = int(ours.sum()) * int(others.sum())
    assert pairs, (ours.sum(), others.sum())
    below = np.cumsum(others) - others / 2
    return float((ours * below).sum() / pairs)


def _bin(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Place of each probability among bins of equal width in log odds; NaN comes last."""
    # Rounding may take a probability beyond 1, of which the log odds are NaN.
    clipped = np.clip(probabilities, 0.0, 1.0)
    with np.errstate(divide="ignore"):  # log 0
        odds = np.log(clipped) - np.log1p(-clipped)
    scaled = np.clip(np.where(np.isnan(odds), np.inf, odds) / _WIDEST, -1.0, 1.0)
    # The upper end belongs to the last bin: without it the place would be one beyond.
    return np.minimum((scaled + 1) * (bins / 2), bins - 1).astype(np.int64)


def _hash(keys: np.ndarray) -> np.ndarray:
    """[n] uint64, another for every key: SplitMix64 (Steele, Lea, Flood 2014, OOPSLA)."""
    # Products wrap around at 2**64, as SplitMix64 has it.
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
