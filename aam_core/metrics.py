"""Streaming metrics: fed batch by batch, merged over processes, in numpy alone.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

NAN = float("nan")


@dataclass
class Regression:
    """R2, mean absolute error and root mean squared error, in the target's units.

    The variance is merged from centred sums, so that a large mean costs no precision (Chan TF,
    Golub GH, LeVeque RJ 1983, The American Statistician 37: 242-247).
    """

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0
    """Sum of squared deviations of the actual values from their mean."""
    absolute: float = 0.0
    squared: float = 0.0

    def update(self, actual, predicted) -> None:
        """Add samples: two [N] arrays."""
        actual, predicted = _pair(actual, predicted, np.float64)
        if not len(actual):
            return
        error = predicted - actual
        mean = float(actual.mean())
        self.merge(
            Regression(
                len(actual),
                mean,
                float(((actual - mean) ** 2).sum()),
                float(np.abs(error).sum()),
                float((error**2).sum()),
            )
        )

    def merge(self, other: Regression) -> None:
        """Take in what another accumulator has seen."""
        count = self.count + other.count
        if not count:
            return
        shift = other.mean - self.mean
        self.spread += other.spread + shift**2 * self.count * other.count / count
        self.mean += shift * other.count / count
        self.absolute += other.absolute
        self.squared += other.squared
        self.count = count

    def compute(self) -> dict[str, float]:
        """r2, mae, rmse; NaN without samples, and r2 NaN where the actual values are all one."""
        if not self.count:
            return {"r2": NAN, "mae": NAN, "rmse": NAN}
        # a constant column leaves rounding errors, not a spread
        varies = self.spread > self.count * (1e-12 * self.mean) ** 2
        return {
            "r2": 1.0 - self.squared / self.spread if varies else NAN,
            "mae": self.absolute / self.count,
            "rmse": (self.squared / self.count) ** 0.5,
        }


@dataclass
class Classification:
    """Accuracy, macro F1 and area under the ROC curve of C classes.

    The area needs every sample's probabilities, which are kept: [N, C].
    """

    classes: int
    confusion: np.ndarray = field(init=False)
    """[C, C] samples by actual and predicted class."""
    scored: list[tuple[np.ndarray, np.ndarray]] = field(init=False, default_factory=list)
    """Chunks of (actual [n], probabilities [n, C])."""

    def __post_init__(self):
        self.confusion = np.zeros((self.classes, self.classes), dtype=np.int64)

    def update(self, actual, predicted, probabilities=None) -> None:
        """Add samples: class places [N], [N], and probabilities [N, C] if there are any."""
        actual, predicted = _pair(actual, predicted, np.int64)
        np.add.at(self.confusion, (actual, predicted), 1)
        if probabilities is not None and len(actual):
            probabilities = np.asarray(probabilities, dtype=np.float64)
            assert probabilities.shape == (len(actual), self.classes), probabilities.shape
            self.scored.append((actual, probabilities))

    def merge(self, other: Classification) -> None:
        """Take in what another accumulator has seen."""
        assert self.classes == other.classes, (self.classes, other.classes)
        self.confusion += other.confusion
        self.scored += other.scored

    def compute(self) -> dict[str, float]:
        """accuracy, auc, f1; auc is NaN without probabilities or with one actual class.

        auc: of two classes, that of the second; of more, the mean over the classes that occur of
        each against the rest. f1: the mean over the classes that occur or are predicted.
        """
        hit = np.diag(self.confusion)
        seen = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        f1 = 2 * hit[seen > 0] / seen[seen > 0]
        total = self.confusion.sum()
        return {
            "accuracy": float(hit.sum() / total) if total else NAN,
            "auc": self._auc(),
            "f1": float(f1.mean()) if total else NAN,
        }

    def _auc(self) -> float:
        if not self.scored:
            return NAN
        actual = np.concatenate([a for a, _ in self.scored])
        scores = np.concatenate([p for _, p in self.scored])
        occurring = np.unique(actual)
        if len(occurring) < 2:
            return NAN
        if self.classes == 2:
            return roc_auc(actual == 1, scores[:, 1])
        return float(np.mean([roc_auc(actual == c, scores[:, c]) for c in occurring]))


def roc_auc(positive, score) -> float:
    """Area under the ROC curve, from ranks (Mann-Whitney U); ties count half.

    Parameters
    ----------
    positive : [N] bool
        Both values must occur.
    score : [N] float
    """
    positive = np.asarray(positive, dtype=bool)
    _, place, size = np.unique(np.asarray(score), return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[place]
    ours = int(positive.sum())
    others = len(positive) - ours
    assert ours and others, (ours, others)
    return float((rank[positive].sum() - ours * (ours + 1) / 2) / (ours * others))


def regression_metrics(actual: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """r2, mae and rmse of two [N] sequences in the same order."""
    metrics = Regression()
    metrics.update(actual, predicted)
    return metrics.compute()


def classification_metrics(
    actual: Sequence[str], predicted: Sequence[str], probabilities: pd.DataFrame | None = None
) -> dict[str, float]:
    """accuracy, auc and f1 of two [N] sequences of class names in the same order.

    Parameters
    ----------
    probabilities : pandas.DataFrame, optional
        N rows in the same order, a column per class the model knows. An actual class that the
        model does not know counts with probability 0.
    """
    actual, predicted = list(actual), list(predicted)
    known = [] if probabilities is None else list(probabilities.columns)
    classes = sorted({*actual, *predicted, *known})
    place = {name: i for i, name in enumerate(classes)}
    metrics = Classification(len(classes))
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
