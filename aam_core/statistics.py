"""Metrics of cross-validated predictions, with intervals and tests over groups of samples.

The samples of a group (a subject) are not independent, so that the bootstrap and the test are over
groups. Letters: N samples, C classes, R cross-validations of the same samples with different seeds,
M methods, K metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from aam_core.errors import lookup
from aam_core.log import logger
from aam_core.tasks.metrics import METRICS, ClassificationMetrics, RegressionMetrics

__all__ = [
    "CONFIDENCE",
    "DRAWS",
    "Classes",
    "Comparison",
    "Numbers",
    "Predictions",
    "benjamini_hochberg",
    "bootstrap",
    "compare",
    "compare_methods",
    "draw",
    "draws_of",
    "mean_metrics",
    "paired_test",
    "predictions_of",
    "scored",
]

DRAWS = 2000
"""Bootstrap draws of the groups, where there are not too many samples."""

_FEWEST_DRAWS = 200
"""Least number of draws: five of them are then beyond each end of an interval."""

_VALUES = 4e7
"""Predicted values of all draws beyond which there are fewer draws: they take about 20 s."""

CONFIDENCE = 0.95
"""Share of the draws within an interval."""


@dataclass(frozen=True)
class Numbers:
    """Predictions of a numeric target by a method.

    Attributes
    ----------
    actual, predicted : [N] float
    """

    actual: np.ndarray
    predicted: np.ndarray

    main: ClassVar[str] = "mae"
    """The metric of the mean of the losses."""

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, method: str, classes: Sequence[str] | None = None
    ) -> Numbers:
        """From the table of `predictions_of`; there are no classes."""
        columns = predictions["actual"], predictions[_first(method)]
        return cls(*(column.to_numpy(np.float64) for column in columns))

    @property
    def losses(self) -> np.ndarray:
        """[N] absolute errors."""
        return np.abs(self.predicted - self.actual)

    def metrics(
        self, rows: Any = slice(None), names: Iterable[str] | None = None
    ) -> dict[str, float]:
        """Metrics of some of the samples; all of `RegressionMetrics`, or those of these names."""
        names = None if names is None else tuple(names)
        accumulator = RegressionMetrics(ranks=names is None or "spearman" in names)
        accumulator.update(self.actual[rows], self.predicted[rows])
        return accumulator.compute(names)


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

    main: ClassVar[str] = "auc"
    """What methods are compared by; the losses tell it for each sample."""

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, method: str, classes: Sequence[str] | None = None
    ) -> Classes:
        """From the table of `predictions_of`; by default the classes are the actual ones."""
        predicted = predictions[_first(method)]
        classes = sorted(set(predictions["actual"])) if classes is None else list(classes)
        place = {name: i for i, name in enumerate(classes)}
        names = classes if method == "aam" else [f"{method}_{name}" for name in classes]
        return cls(
            actual=predictions["actual"].map(place).to_numpy(np.int64),
            predicted=predicted.map(place).to_numpy(np.int64),
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

    def metrics(
        self, rows: Any = slice(None), names: Iterable[str] | None = None
    ) -> dict[str, float]:
        """Metrics of some of the samples; all of `ClassificationMetrics`, or those of these names.

        auc is NaN where all are of one class.
        """
        accumulator = ClassificationMetrics(self.probabilities.shape[1])
        accumulator.update(self.actual[rows], self.predicted[rows], self.probabilities[rows])
        return accumulator.compute(names)


def _first(method: str) -> str:
    """The column of a method's predictions."""
    return "prediction" if method == "aam" else method


Predictions = Numbers | Classes

_BY_TASK: dict[str, type[Numbers] | type[Classes]] = {
    "regression": Numbers,
    "classification": Classes,
}
"""Class of the predictions, by the name of the task."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on the same samples, over subjects (or other groups).

    Attributes
    ----------
    value, difference : float
        The main metric of the first method, and its difference from that of the second.
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


def predictions_of(
    predictions: pd.DataFrame, method: str, task: str, classes: Sequence[str] | None = None
) -> Predictions:
    """Predictions of a method, from the table that `aam_core.cross_validate` returns.

    Parameters
    ----------
    predictions : DataFrame
        ``actual``, and of each method ``{method}`` and ``{method}_{class}``; those of 'aam' are
        ``prediction`` and ``{class}``.
    method : str
    task : {'regression', 'classification'}
    classes : sequence of str, optional
        All that have a column; those of ``actual`` where not given.
    """
    return lookup(_BY_TASK, task, "task").of(predictions, method, classes)


def mean_metrics(
    runs: Sequence[Predictions], rows: Any = slice(None), names: Iterable[str] | None = None
) -> dict[str, float]:
    """Metrics of each cross-validation, averaged over them."""
    by_run = [run.metrics(rows, names) for run in runs]
    return {name: float(np.mean([metrics[name] for metrics in by_run])) for name in by_run[0]}


def compare(
    ours: Sequence[Predictions],
    theirs: Sequence[Predictions],
    subjects,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the same samples of the same cross-validations.

    Parameters
    ----------
    ours, theirs : sequence of Numbers or Classes
        R of each.
    subjects : [N]
        Subject of each sample.
    seed : int
        Of the bootstrap.
    """
    name = ours[0].main

    def pair(rows):
        mine, other = (mean_metrics(runs, rows, [name])[name] for runs in (ours, theirs))
        return np.array([mine, mine - other])

    value, difference = pair(slice(None))
    low, high = bootstrap(pair, subjects, seed=seed)
    mine, other = (np.mean([run.losses for run in runs], axis=0) for runs in (ours, theirs))
    better, p = paired_test(mine, other, subjects)
    return Comparison(
        value=float(value),
        interval=(float(low[0]), float(high[0])),
        difference=float(difference),
        difference_interval=(float(low[1]), float(high[1])),
        better=better,
        subjects=len(np.unique(subjects)),
        p=p,
    )


def draws_of(samples: int, methods: int, repeats: int = 1, classes: int = 1) -> int:
    """How many bootstrap draws a comparison can take, of so many values: 200 to 2,000.

    >>> draws_of(900, methods=6), draws_of(20_000, methods=6, classes=3)
    (2000, 200)
    """
    size = max(1, samples * methods * repeats * max(1, classes))
    return int(max(_FEWEST_DRAWS, min(DRAWS, _VALUES // size)))


def compare_methods(
    runs: Mapping[str, Sequence[Predictions]],
    groups,
    reference: str | None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    target: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Intervals of the metrics of several methods, and their differences from one of them.

    All methods are scored on the same draws: the differences are paired.

    Parameters
    ----------
    runs : mapping of str to sequence of Numbers or Classes
        By method: R of each, of the same samples.
    groups : [N]
        Group of each sample; each sample is its own where they are not grouped.
    reference : str or None
        Method that the others are compared with.
    draws, seed : int
        Of the bootstrap.
    target : str, optional
        Its name, for the line that says what is drawn.

    Returns
    -------
    dict
        By method: ``interval``, of each metric (low, high); and of all but the reference
        ``difference``, ``difference_interval``, ``better`` (groups with a lower mean loss: absolute
        errors, or Brier scores) and ``p`` (`paired_test`). An interval is None where no draw has
        the metric, and where there is one group: all draws would be the same.
    """
    methods = list(runs)
    names = list(mean_metrics(runs[methods[0]]))

    def score(rows):
        scores = [list(mean_metrics(runs[method], rows).values()) for method in methods]
        return np.array(scores).ravel()

    shape = len(methods), len(names)
    values = score(slice(None)).reshape(shape)
    if len(np.unique(groups)) < 2:
        logger.warning("All samples are of one group: metrics have no intervals")
        drawn = np.full((1, *shape), np.nan)
    else:
        what = "metrics" if target is None else f"metrics of {target}"
        many = f"{len(methods)} method{'s' * (len(methods) != 1)}"
        sizes = draws, len(np.unique(groups)), many
        logger.info("Intervals of %s: %d draws of %d groups, %s", what, *sizes)
        drawn = draw(score, groups, draws=draws, seed=seed).reshape(-1, *shape)
    losses = {m: np.mean([run.losses for run in each], axis=0) for m, each in runs.items()}
    result: dict[str, dict[str, Any]] = {}
    for place, method in enumerate(methods):
        result[method] = {"interval": _intervals(names, drawn[:, place])}
        if reference is None or method == reference:
            continue
        other = methods.index(reference)
        better, p = paired_test(losses[method], losses[reference], groups)
        result[method] |= {
            "difference": dict(zip(names, (values[place] - values[other]).tolist(), strict=True)),
            "difference_interval": _intervals(names, drawn[:, place] - drawn[:, other]),
            "better": better,
            "p": p,
        }
    return result


def bootstrap(
    metric: Callable[[np.ndarray], np.ndarray], subjects, *, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of metrics when subjects are resampled, each with all its samples.

    (Efron B 1979, The Annals of Statistics 7: 1-26.)

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
    return _interval(draw(metric, subjects, draws=draws, seed=seed))


def scored(
    predictions: Predictions, groups, *, names: Iterable[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Metrics of predictions with bootstrap intervals over groups.

    Parameters
    ----------
    predictions : Numbers or Classes
    groups : [N]
        Group of each sample; each sample is its own where they are not grouped.
    names : iterable of str, optional
        Some of the metrics; all where not given.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Index ``metric``; ``value``, ``low``, ``high``: NaN where a metric is not defined, and the
        bounds where there is one group.
    """
    values = pd.Series(predictions.metrics(names=names), dtype=float)
    frame = pd.DataFrame({"value": values, "low": np.nan, "high": np.nan}).rename_axis("metric")
    wanted = [name for name, value in values.items() if METRICS[name].bounded and value == value]
    if not wanted or len(np.unique(groups)) < 2:
        return frame
    draws = draws_of(len(groups), methods=len(wanted))

    def metrics(rows):
        return np.array(list(predictions.metrics(rows, wanted).values()))

    drawn = draw(metrics, groups, draws=draws, seed=seed)
    kept = ~np.isnan(drawn).all(axis=0)  # an AUC of two samples has no draw with both classes
    named = [name for name, keep in zip(wanted, kept, strict=True) if keep]
    if named:
        frame.loc[named, ["low", "high"]] = np.array(_interval(drawn[:, kept])).T
    return frame


def draw(
    metric: Callable[[np.ndarray], np.ndarray], subjects, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """``[draws, K]`` metrics when subjects are resampled; parameters as in `bootstrap`."""
    _, codes = np.unique(np.asarray(subjects), return_inverse=True)
    ends = np.cumsum(np.bincount(codes))[:-1]
    rows_of = np.split(np.argsort(codes, kind="stable"), ends)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        chosen = rng.integers(len(rows_of), size=len(rows_of))
        drawn.append(metric(np.concatenate([rows_of[code] for code in chosen])))
    return np.array(drawn)


def _interval(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles ``[K]`` of ``[draws, K]`` metrics."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail), axis=0)
    return low, high


def _intervals(names: Sequence[str], drawn: np.ndarray) -> dict[str, list[float] | None]:
    """By the name of each of K metrics, of ``[draws, K]``: [low, high]."""
    result: dict[str, list[float] | None] = {}
    for place, name in enumerate(names):
        column = drawn[:, [place]]
        defined = METRICS[name].bounded and not np.isnan(column).all()
        result[name] = [float(end[0]) for end in _interval(column)] if defined else None
    return result


def paired_test(ours, theirs, subjects) -> tuple[int, float]:
    """Subjects with a lower mean loss by the first, and p of the Wilcoxon signed-rank test.

    Parameters
    ----------
    ours, theirs : [N] float
        Losses of the same samples. Subjects whose means are equal up to rounding are dropped, as by
        Wilcoxon (1945, Biometrics Bulletin 1: 80-83); where all are, p is 1.
    subjects : [N]
    """
    from scipy.stats import wilcoxon

    means = pd.DataFrame({"ours": ours, "theirs": theirs}).groupby(np.asarray(subjects)).mean()
    means = means[~np.isclose(means["ours"], means["theirs"], rtol=1e-6, atol=0.0)]
    difference = (means["ours"] - means["theirs"]).to_numpy()
    p = float(wilcoxon(difference).pvalue) if len(difference) else 1.0
    return int((difference < 0).sum()), p


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """``[M]`` false discovery rates (q) of M tests from their p; NaN stays, and is no test.

    (Benjamini Y, Hochberg Y 1995, Journal of the Royal Statistical Society B 57: 289-300.)

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.02])).round(3).tolist()
    [0.03, 0.04, nan, 0.03]
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
