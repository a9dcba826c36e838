"""The folds of a cross-validation: made at random, by a column, or read from a file.

A fold is one training and one tested side. Where the folds repeat, each repeat tests the same
samples. A sample that no fold tests is trained on in all of them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aam_core.data.columns import as_numbers, label_codes
from aam_core.data.metadata import matches
from aam_core.data.splits import Split, aligned, make_folds
from aam_core.errors import InputError, first_five
from aam_core.files.reading import as_text, read_bytes

__all__ = [
    "Division",
    "Fold",
    "folds_table",
    "fold_numbers",
    "quantile_strata",
    "read_folds",
    "split_table",
    "where_split",
]

_FOLDS = 5


class Fold(NamedTuple):
    """One fold: repeat and number from 1, and its two sides in the order of the samples."""

    repeat: int
    number: int
    train: list[str]
    test: list[str]


@dataclass(frozen=True, eq=False)
class Division:
    """How a cross-validation divides the samples: one way of four.

    Attributes
    ----------
    folds : int or None
        So many folds, 5 where nothing else is given.
    fold_by : Series or None
        A fold for each value of a column, by sample id: leave one group out.
    test_where : sequence of str
        One fold, which tests the samples with any of these ``"column=value"``.
    folds_file : path or None
        A table as `folds_table` makes it.
    repeat : int
        How often all is done, each time with another seed.
    """

    folds: int | None = None
    fold_by: pd.Series | None = None
    test_where: Sequence[str] = ()
    folds_file: str | os.PathLike[str] | None = None
    repeat: int = 1

    def check(self) -> None:
        """Raise `InputError` where two ways are given."""
        ways = {
            "folds": self.folds is not None,
            "fold_by": self.fold_by is not None,
            "test_where": bool(self.test_where),
            "folds_file": self.folds_file is not None,
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} divide the samples in two ways: give one.")
        if self.repeat < 1:
            raise InputError(f"repeat must be at least 1, not {self.repeat}.")

    @property
    def stratified(self) -> int:
        """Number of folds that strata are dealt to; the other ways have none to deal."""
        others = self.fold_by is not None or self.test_where or self.folds_file is not None
        return 2 if others else _FOLDS if self.folds is None else self.folds

    def make(
        self,
        samples: list[str],
        metadata: pd.DataFrame | None,
        seed: int,
        groups: pd.Series | None = None,
        strata: pd.Series | None = None,
        classes: bool = True,
    ) -> list[Fold]:
        """The folds of all repeats.

        Parameters
        ----------
        samples : list of str
        metadata : DataFrame or None
            Their rows.
        seed : int
            Of the first repeat; that of the next is one more.
        groups, strata : Series, optional
            As in `make_folds`.
        classes : bool
            Whether the strata are classes, each of which needs two samples (or groups).

        Raises
        ------
        InputError
            If a side is empty, samples of a group are on both sides of a fold, or as `make_folds`.
        """
        self.check()
        if self.folds_file is not None:
            folds = _by_number(samples, read_folds(self.folds_file, samples), self.folds_file)
            if self.repeat > 1:
                if max(fold.repeat for fold in folds) > 1:
                    raise InputError(f"{self.folds_file} has repeats of its own: drop repeat.")
                folds = _repeated([fold[2:] for fold in folds], self.repeat)
        elif self.fold_by is not None:
            folds = _repeated(_by_column(samples, self.fold_by), self.repeat)
        elif self.test_where:
            folds = _repeated([where_split(samples, metadata, self.test_where)], self.repeat)
        else:
            options: dict[str, Any] = {
                "groups": groups,
                "strata": strata,
                "lone_classes": not classes,
            }
            count = _FOLDS if self.folds is None else self.folds
            return [
                Fold(repeat + 1, number, *sides)
                for repeat in range(self.repeat)
                for number, sides in enumerate(
                    # Without strata, scikit-learn's folds of groups depend on no seed.
                    make_folds(
                        samples, folds=count, seed=seed + repeat, shuffle=repeat > 0, **options
                    ),
                    start=1,
                )
            ]
        _check_groups(folds, groups)
        return folds


def folds_table(folds: Iterable[Fold]) -> pd.DataFrame:
    """Index ``sample-id``; ``repeat`` and ``fold`` in which each sample is tested.

    A sample that is trained on in all folds is not in it.
    """
    rows = [(name, fold.repeat, fold.number) for fold in folds for name in fold.test]
    return pd.DataFrame(rows, columns=["sample-id", "repeat", "fold"]).set_index("sample-id")


def split_table(split: Split) -> pd.DataFrame:
    """The folds of a fit, as `folds_table` has those of a cross-validation."""
    table = pd.DataFrame({"repeat": 1, "fold": [fold + 1 for fold in split.folds]}, split.val)
    return table.rename_axis("sample-id")


def read_folds(path: str | os.PathLike[str], samples: Sequence[str]) -> pd.DataFrame:
    """Read a table with the fold of each sample, as `folds_table` makes it.

    Parameters
    ----------
    path : path
        A TSV with the columns ``sample-id`` and ``fold``, and ``repeat`` where folds repeat; others
        are not read.
    samples : sequence of str
        Those of the study, some of which may have no fold.

    Returns
    -------
    DataFrame
        Columns ``sample-id``, ``repeat`` and ``fold``, both from 1.

    Raises
    ------
    InputError
        If the file is no such table; a sample is not of the study, or has two folds in a repeat;
        a fold is no whole number from 1; or repeats test other samples.
    """
    text = as_text(read_bytes(path, "folds"), path)
    try:
        table = pd.read_csv(io.StringIO(text), sep="\t", dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        raise InputError(f"{path} is not a table of folds: {str(error)[:200]}.") from None
    absent = [name for name in ("sample-id", "fold") if name not in table]
    if absent or not len(table):
        what = f"there is no column {absent[0]!r}" if absent else "it has no samples"
        raise InputError(f"{path} is not a table of folds (sample-id, repeat, fold): {what}.")
    if "repeat" not in table:
        table["repeat"] = "1"
    for name in ("repeat", "fold"):
        wrong = table.loc[~table[name].str.fullmatch(r"0*[1-9][0-9]{0,5}"), "sample-id"]
        if len(wrong):
            raise InputError(
                f"{path}: {name} is no whole number from 1 for {len(wrong)} samples: "
                f"{first_five(wrong)}."
            )
        table[name] = table[name].astype(int)
    unknown = sorted(set(table["sample-id"]) - set(samples))
    if unknown:
        raise InputError(
            f"{path} has {len(unknown)} samples that are not in the study (or have too few reads): "
            f"{first_five(unknown)}."
        )
    twice = table.loc[table.duplicated(["sample-id", "repeat"]), "sample-id"]
    if len(twice):
        raise InputError(
            f"{path} has several folds of one repeat for {len(twice)} samples: {first_five(twice)}."
        )
    each = [set(part["sample-id"]) for _, part in table.groupby("repeat")]
    other = sorted(set.union(*each) - set.intersection(*each))
    if other:
        raise InputError(
            f"{path} tests {len(other)} samples in some repeats and not in others: "
            f"{first_five(other)}."
        )
    return table[["sample-id", "repeat", "fold"]]


def fold_numbers(path: str | os.PathLike[str], samples: Sequence[str]) -> Split:
    """The split of a fit from a table of folds: a member of the ensemble holds out each.

    Samples without a fold are trained on by all members.

    Raises
    ------
    InputError
        As `read_folds`, and if the folds repeat.
    """
    table = read_folds(path, samples)
    if table["repeat"].nunique() > 1:
        raise InputError(f"{path} has several repeats: a fit has one split.")
    # By rank: the folds 2 and 5 of a part of the samples are its first and second.
    number = {fold: place for place, fold in enumerate(sorted(set(table["fold"])))}
    fold = {name: number[it] for name, it in zip(table["sample-id"], table["fold"], strict=True)}
    val = [name for name in samples if name in fold]
    several = len(number) > 1
    train = list(samples) if several else [name for name in samples if name not in fold]
    return Split(train, val, [fold[name] for name in val])


def where_split(
    samples: list[str],
    metadata: pd.DataFrame | None,
    conditions: Sequence[str],
    groups: pd.Series | None = None,
) -> tuple[list[str], list[str]]:
    """The samples that meet none of some conditions, and those that meet any.

    Parameters
    ----------
    samples : list of str
    metadata : DataFrame or None
    conditions : sequence of str
        As `aam_core.data.metadata.matches` takes them.
    groups : Series, optional

    Raises
    ------
    InputError
        If one side is empty, or samples of a group are on both.
    """
    where = ", ".join(conditions)
    if metadata is None:
        raise InputError(f"There are no metadata to divide the samples by {where}.")
    rows = metadata.loc[samples]
    tested = np.logical_or.reduce([matches(rows, condition) for condition in conditions])
    second = {name for name, it in zip(samples, tested, strict=True) if it}
    sides = _sides(samples, second, where)
    _check_groups([Fold(1, 1, *sides)], groups)
    return sides


def quantile_strata(
    values: pd.Series, count: int, groups: pd.Series | None = None, folds: int = 2
) -> pd.Series | None:
    """Quantiles of a number as strata; None where ``count`` is 0.

    There are fewer than ``count`` where one would be of a single sample (or group), or none of as
    many samples as there are folds.

    Parameters
    ----------
    values, groups : Series
        By sample id.
    count : int
    folds : int
        Number of folds that they are for.

    Raises
    ------
    InputError
        If there are no two strata.
    """
    if not count:
        return None
    numbers = as_numbers(values)
    ids = list(values.index)
    unit = np.arange(len(ids)) if groups is None else label_codes(aligned(ids, groups, "group"))
    for bins in range(count, 1, -1):
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]))
        place = np.searchsorted(edges, numbers, side="right")
        units = pd.Series(unit).groupby(place).nunique()
        if len(units) > 1 and units.min() > 1 and np.bincount(place).max() >= folds:
            return pd.Series(place, index=values.index, name=values.name).map("quantile {}".format)
    what = "samples" if groups is None else "groups"
    large = f", one of which has a sample for each of the {folds} folds," if folds > 2 else ""
    raise InputError(
        f"Column {values.name!r} has no two quantiles of two {what} each{large} to stratify by: "
        "set train.strata to 0."
    )


def _repeated(sides: list, repeat: int) -> list[Fold]:
    """The same folds in each repeat: only the seeds of the fits differ."""
    return [
        Fold(number, place, *pair)
        for number in range(1, repeat + 1)
        for place, pair in enumerate(sides, start=1)
    ]


def _by_number(samples: list[str], table: pd.DataFrame, path) -> list[Fold]:
    """The folds of a table."""
    folds = []
    for (repeat, number), part in table.groupby(["repeat", "fold"]):
        test = set(part["sample-id"])
        folds.append(
            Fold(int(repeat), int(number), *_sides(samples, test, f"{path}: fold {number}"))
        )
    return folds


def _by_column(samples: list[str], column: pd.Series) -> list[tuple[list[str], list[str]]]:
    """A fold for each value of a column."""
    codes = label_codes(aligned(samples, column, "fold"))
    if codes.max() == 0:
        raise InputError(
            f"All {len(samples)} samples have one value in column {column.name!r}: "
            "there is no other fold to train on."
        )
    names = np.array(samples, dtype=object)
    return [
        (names[codes != code].tolist(), names[codes == code].tolist())
        for code in range(codes.max() + 1)
    ]


def _sides(samples, test, what) -> tuple[list[str], list[str]]:
    train = [name for name in samples if name not in test]
    if not train:
        raise InputError(f"{what} has all {len(samples)} samples: none is left to train on.")
    return train, [name for name in samples if name in test]


def _check_groups(folds: list[Fold], groups: pd.Series | None) -> None:
    """Refuse folds that do not keep groups together: a given division is not changed."""
    if groups is None:
        return
    for fold in folds:
        here, there = (set(aligned(side, groups, "group")) for side in (fold.train, fold.test))
        both = sorted(here & there, key=str)
        if both:
            raise InputError(
                f"{len(both)} groups of column {groups.name!r} have samples on both sides of the "
                f"split (fold {fold.number}): {first_five(both)}. Divide the samples so that "
                "groups stay together, or group by nothing."
            )
