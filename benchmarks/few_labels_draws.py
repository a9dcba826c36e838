"""Studies and draws of the benchmark of few labels.

A study is a table of the corpus, or one of the two that nothing was chosen on. A third of its
groups (persons, animals) is the test side, the same for every method and number of labels; the
labelled samples are drawn from the rest.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy_corpus_studies import SOURCES, Loaded
from accuracy_studies import AGE, SUBJECT, ecam, ibd

from aam_core.data.splits import make_folds
from aam_core.data.study import Study
from aam_core.tasks import task_named

__all__ = [
    "ALL",
    "FINAL",
    "NAMES",
    "QUICK",
    "SIZES",
    "THIRDS",
    "Draw",
    "Problem",
    "label",
    "problem",
    "tables",
    "task_of",
    "tested_with",
    "third",
]

NAMES = (
    *("mice-age", "parkinson", "helicobacter", "ms-age", "infants-months", "hypoxia-mice-age"),
    *("colombia-age", "fish-fed", "frogs-mass", "fat-mice-age", "cheese-ph", "hiv"),
    *("zimbabwe-hiv", "polyps-age", "parkinson-rbd", "acne-ph", "china-group", "agp-age"),
    *("captive", "mackerel-sea"),
)
"""Of the targets of `SOURCES`: the first of each table, but for the pooled studies, and for one of
two tables of a cohort (`tanzania-age` has participants of the cohort of `colombia-age`)."""

QUICK = tuple(
    name
    for name in NAMES
    if name not in {"helicobacter", "colombia-age", "zimbabwe-hiv", "captive", "mackerel-sea"}
)
"""Without the five that have most ASVs, whose fits take longest."""

FINAL = ("ecam", "ibd")
"""Measured once, at the end; no setting is chosen by them."""

ALL = "all"
SIZES = ("25", "50", "100", "200", ALL)
"""Labelled samples, as the results name them."""

_SIBLINGS = {"colombia-age": ("micb475-tanz-col-export-feature-table",)}
"""Tables of the same cohort, beside those that share samples or a repository with it: the samples
that these two shared were dropped from the second."""

THIRDS = 3
"""Encoders, each pretrained without the studies that it is tested on."""

MOST_TEST = 300
"""Test samples at most: more cost time, and no study has so many that more would tell more."""

SEED = 0
"""Of the test side."""


@dataclass(frozen=True)
class Draw:
    """Labelled samples and test samples of a study.

    Attributes
    ----------
    loaded : Loaded
    task : {'regression', 'classification'}
    train, test : list of str
    seed : int
        Of every fit to this draw: its number.
    """

    loaded: Loaded
    task: str
    train: list[str]
    test: list[str]
    seed: int

    @property
    def groups(self) -> pd.Series | None:
        """Of the labelled samples."""
        return None if self.loaded.groups is None else self.loaded.groups.loc[self.train]

    @property
    def study(self) -> Study:
        """The labelled samples."""
        return self.loaded.study.select(self.train)

    @property
    def values(self) -> pd.Series:
        """Target of the labelled samples."""
        return self.loaded.values.loc[self.train]


@dataclass(frozen=True)
class Problem:
    """A study with its test side.

    Attributes
    ----------
    loaded : Loaded
    task : {'regression', 'classification'}
    rest, test : list of str
        Samples that may be labelled, and those that are predicted.
    """

    loaded: Loaded
    task: str
    rest: list[str]
    test: list[str]

    @classmethod
    def of(cls, loaded: Loaded, task: str) -> Problem:
        """With about a third of the groups as test side; of classes, a third of each."""
        values = loaded.values
        options = {"groups": loaded.groups, "strata": task_named(task).strata(values)}
        rest, test = make_folds(list(values.index), folds=THIRDS, seed=SEED, **options)[0]
        if len(test) > MOST_TEST:
            drawn = np.random.default_rng(SEED).choice(len(test), MOST_TEST, replace=False)
            test = [test[place] for place in np.sort(drawn)]
        return cls(loaded, task, rest, test)

    def has(self, size: str) -> bool:
        """Whether so many samples can be labelled, and not nearly all of them are."""
        return size == ALL or int(size) <= 0.9 * len(self.rest)

    def draw(self, size: str, number: int) -> Draw:
        """A draw of so many labelled samples; of one number, the larger hold the smaller.

        Samples are drawn, not groups: labels are what is scarce, and whole groups would make 25
        labels those of one or two animals. Of classes each draw has the shares of the whole, so
        that 25 labels have all of them.
        """
        kept = len(self.rest) if size == ALL else int(size)
        train = set(self._order(number)[:kept])
        in_order = [name for name in self.rest if name in train]
        return Draw(self.loaded, self.task, in_order, self.test, seed=number)

    def _order(self, number: int) -> list[str]:
        """The samples that may be labelled, in the order in which they are."""
        rng = np.random.default_rng([SEED, number])
        mixed = pd.Series(list(rng.permutation(self.rest)))
        if self.task == "regression":
            return mixed.tolist()
        classes = self.loaded.values.loc[mixed].to_numpy()
        rank = mixed.groupby(classes).cumcount()
        size = mixed.groupby(classes).transform("size")
        place = (rank + 0.5) / size + rng.uniform(0, 1e-6, len(mixed))
        return mixed.iloc[np.argsort(place.to_numpy(), kind="stable")].tolist()


def _ecam(data: Path) -> Loaded:
    study = ecam(data)
    return Loaded(study, study.metadata[AGE].astype(float), study.metadata[SUBJECT])


def _ibd(data: Path) -> Loaded:
    study = ibd(data)
    return Loaded(study, study.metadata["ibd"].astype(str), study.metadata[SUBJECT])


_FINAL = {
    "ecam": ("`ecam`, children: day of life", _ecam, "regression"),
    "ibd": ("`ibd`: Crohn's or control", _ibd, "classification"),
}
"""Label, loader and task."""


def label(name: str) -> str:
    """The study and its target, for tables."""
    return _FINAL[name][0] if name in _FINAL else SOURCES[name].label


def task_of(name: str) -> str:
    """'regression' or 'classification'."""
    return _FINAL[name][2] if name in _FINAL else SOURCES[name].task


@functools.cache
def problem(name: str, data: Path) -> Problem:
    """A study with its test side, from the folder of the public studies."""
    loaded = _FINAL[name][1](data) if name in _FINAL else SOURCES[name].load(data / "corpus")
    return Problem.of(loaded, task_of(name))


def tables(name: str) -> list[str]:
    """Tables of the corpus that no encoder may know that is tested on a study of it."""
    table = SOURCES[name].table
    assert isinstance(table, str), "a pooled study"
    return [table, *_SIBLINGS.get(name, ())]


def tested_with(name: str) -> list[str]:
    """Tables of all studies that are tested with the same encoder as a study.

    None of the final studies, which are not in the corpus: theirs is of the whole of it.
    """
    if name in FINAL:
        return []
    return [table for other in NAMES if third(other) == third(name) for table in tables(other)]


def third(name: str) -> int:
    """Number of the encoder that a study is tested with: dealt in the order of `NAMES`."""
    return NAMES.index(name) % THIRDS
