"""Scores of held-out samples: what intervals and prediction sets are calibrated by.

Split conformal prediction: the score of a new sample, such as the absolute residual, is at most the
``ceil((n + 1) c)``-th smallest of n scores with probability c, where it is exchangeable with the
samples that they are of (Lei et al. 2018, J. Am. Stat. Assoc. 113:1094). Letters: N samples, C
classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes
from aam_core.errors import first_five

__all__ = ["FEW_IN_GROUP", "PredictionSets", "Scores", "all_numbers", "held_out_sets", "labels"]

FEW_IN_GROUP = 30
"""Held-out samples of a group below which its scores are pooled with those of all."""

_MOST_SCORES = 2000
"""Scores that are saved at most: of more, evenly spaced ones in their order."""


@dataclass(frozen=True)
class Scores:
    """Scores of held-out samples, of all and of the groups that have enough.

    Attributes
    ----------
    values : tuple of float
        Ascending; evenly spaced ones where there were more than 2,000.
    count : int
        How many there were.
    by : tuple of str
        Metadata columns that make the groups; () without groups.
    groups : dict
        Values and count of each group of at least 30 samples (Vovk 2012, JMLR W&CP 25:475:
        conditional conformal prediction by category).
    """

    values: tuple[float, ...]
    count: int
    by: tuple[str, ...] = ()
    groups: dict[str, tuple[tuple[float, ...], int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scores: np.ndarray, by: Sequence[str] = (), groups: Sequence[str] | None = None
    ) -> Scores:
        """From the scores of held-out samples, and the group of each."""
        whole = _thinned(scores)
        if groups is None:
            return cls(*whole)
        names = np.asarray(groups, dtype=object)
        sizes = pd.Series(names).value_counts()
        enough = sorted(name for name, size in sizes.items() if size >= FEW_IN_GROUP)
        each = {str(name): _thinned(scores[names == name]) for name in enough}
        return cls(*whole, tuple(by), each)

    def quantile(self, coverage: float, group: str | None = None) -> float:
        """What the score of a new sample is at most, with this probability.

        Of all samples where the group has too few for such a coverage; the largest score where
        these are too few as well.
        """
        values, count = self.groups.get(str(group), (self.values, self.count))
        if not _tells(count, coverage):
            values, count = self.values, self.count
        place = min(count, math.ceil((count + 1) * coverage)) - 1
        places = np.round(np.linspace(0, count - 1, len(values)))
        # Of thinned scores the next one that is saved: never too small.
        return values[min(int(np.searchsorted(places, place)), len(values) - 1)]

    def shortage(self, coverage: float) -> str:
        """A sentence where the held-out samples are too few for this coverage; or none.

        Of all; else of some groups, for which `quantile` takes all.
        """
        if _tells(self.count, coverage):
            few = [name for name, (_, count) in self.groups.items() if not _tells(count, coverage)]
            if not few:
                return ""
            return (
                f"{len(few)} of {len(self.groups)} groups of {', '.join(self.by)} have too few "
                f"held-out samples for a confidence of {coverage:g} ({first_five(few)}): their "
                "intervals or sets are those of all samples together"
            )
        return (
            f"{self.count} held-out samples are too few for a confidence of {coverage:g}, which "
            f"takes {math.ceil(round(coverage / (1 - coverage), 6))}: what is predicted with it "
            "may hold less often"
        )

    def quantiles(self, coverage: float, size: int, groups: Sequence[str] | None) -> np.ndarray:
        """[N] `quantile` of each sample, of its group where it has one."""
        if not self.groups or groups is None:
            return np.full(size, self.quantile(coverage))
        by_group = {name: self.quantile(coverage, name) for name in set(groups)}
        return np.array([by_group[name] for name in groups])

    def pooled(self, metadata: pd.DataFrame) -> str:
        """A line on samples to predict whose group has no scores of its own; empty without any."""
        names = [name for name in labels(metadata, self.by) if name not in self.groups]
        if not names:
            return ""
        return (
            f"{len(names)} of {len(metadata)} samples are of groups of {', '.join(self.by)} that "
            f"had fewer than {FEW_IN_GROUP} held-out samples, or none "
            f"({first_five(sorted(set(names)))}): their intervals or sets are those of all samples "
            "together"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values: dict[str, Any] = {"values": list(self.values), "count": self.count}
        if self.by:
            each = {k: {"values": list(v), "count": n} for k, (v, n) in self.groups.items()}
            values |= {"by": list(self.by), "groups": each}
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Scores:
        """The inverse of `to_dict`; `ValueError` where these are no such values."""
        if not isinstance(values, dict) or not set(values) <= {"values", "count", "by", "groups"}:
            raise ValueError
        by, groups = values.get("by", []), values.get("groups", {})
        if not isinstance(groups, dict) or not _texts(by) or bool(by) != ("by" in values):
            raise ValueError
        each = {name: _saved_scores(part) for name, part in groups.items()}
        return cls(*_saved_scores(values), tuple(by), each)


@dataclass(frozen=True)
class PredictionSets:
    """Which classes a sample may be of, with a probability that is asked for.

    The score of a sample is 1 minus the probability of its class; a class is in the set where its
    own would be at most as large as those of held-out samples (Sadinle, Lei, Wasserman 2019, J. Am.
    Stat. Assoc. 114:223: the smallest sets of that coverage).

    Attributes
    ----------
    scores : Scores
    """

    scores: Scores

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        truth: np.ndarray,
        by: Sequence[str] = (),
        groups: Sequence[str] | None = None,
    ) -> PredictionSets:
        """From out-of-fold probabilities [N, C] and the places [N] of the classes."""
        return cls(Scores.of(1.0 - probabilities[np.arange(len(truth)), truth], by, groups))

    def members(
        self, probabilities: np.ndarray, confidence: float, groups: Sequence[str] | None = None
    ) -> np.ndarray:
        """[N, C] bool: which classes are in the set of each sample; the likeliest always is."""
        most = self.scores.quantiles(confidence, len(probabilities), groups)
        # As the scores were computed: of equal probabilities the comparison is then exact.
        chosen = 1.0 - probabilities <= most[:, None]
        chosen[np.arange(len(chosen)), probabilities.argmax(1)] = True
        return chosen


def held_out_sets(
    probabilities: np.ndarray,
    truth: np.ndarray,
    folds: np.ndarray,
    confidence: float,
    by: Sequence[str] = (),
    groups: Sequence[str] | None = None,
) -> np.ndarray | None:
    """[N, C] sets of held-out samples by the scores of the other folds, to count how often they
    hold the class; None where there is a single fold."""
    if len(np.unique(folds)) < 2:
        return None
    chosen = np.zeros(probabilities.shape, bool)
    names = None if groups is None else np.asarray(groups, dtype=object)
    for fold in np.unique(folds):
        test = folds == fold
        rest, here = (None, None) if names is None else (names[~test], names[test])
        sets = PredictionSets.fit(probabilities[~test], truth[~test], by, rest)
        chosen[test] = sets.members(probabilities[test], confidence, here)
    return chosen


def labels(metadata: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """The group of each sample: its values in these metadata columns, joined.

    As names of classes: the same whether a data frame has them as text or as numbers.
    """
    names = [as_classes(metadata[name]) for name in columns]
    return [", ".join(row) for row in zip(*names, strict=True)]


def _tells(count: int, coverage: float) -> bool:
    """Whether one of so many scores is a bound of that coverage."""
    return math.ceil((count + 1) * coverage) <= count


def _thinned(scores: np.ndarray) -> tuple[tuple[float, ...], int]:
    ordered = np.sort(scores)
    if len(ordered) > _MOST_SCORES:
        places = np.round(np.linspace(0, len(ordered) - 1, _MOST_SCORES)).astype(np.int64)
        ordered = ordered[places]
    return tuple(ordered.tolist()), len(scores)


def _saved_scores(part: Any) -> tuple[tuple[float, ...], int]:
    """Values and count; `ValueError` where these are not ascending numbers."""
    if not isinstance(part, dict):
        raise ValueError
    values, count = part.get("values"), part.get("count")
    if not isinstance(values, list) or not values or not all_numbers(values):
        raise ValueError
    if type(count) is not int or count < len(values) or sorted(values) != values:
        raise ValueError
    return tuple(values), count


def all_numbers(values: Iterable[Any]) -> bool:
    """Whether all values are finite numbers."""
    return all(type(value) is float and math.isfinite(value) for value in values)


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
