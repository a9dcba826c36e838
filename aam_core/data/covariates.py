"""Covariates: metadata columns that the model reads besides the reads.

They are fitted on the training samples: levels of a categorical column, mean and standard deviation
of a numeric one. Whether a column is numeric is decided then, and does not depend on the file that
is predicted from. Letters: N samples, C categorical columns, K numeric columns, V columns of
`Covariates.matrix`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from aam_core.data.columns import (
    as_classes,
    as_name,
    as_numbers,
    is_number,
    is_typed,
    list_values,
    missing_ids,
    missing_words,
    to_floats,
)
from aam_core.data.ids import short
from aam_core.data.metadata import column
from aam_core.errors import InputError, first_five

__all__ = [
    "UNKNOWN",
    "Covariates",
    "covariate_names",
    "fit_covariates",
    "infer_types",
    "redundant_covariates",
]

UNKNOWN = 0
"""Category of a value that is missing, or that no training sample had."""


@dataclass(frozen=True)
class Covariates:
    """Fitted columns.

    Attributes
    ----------
    categorical : tuple of (name, levels)
        Levels sorted as text; level i has id i + 1, `UNKNOWN` is 0.
    numeric : tuple of (name, mean, std)
        A missing value is read as the mean, with an indicator that it is missing.
    scaling : tuple of (name, levels)
        Columns that the target head scales its output by, as ``categorical`` has them. The network
        does not read them otherwise, and the forest not at all.
    """

    categorical: tuple[tuple[str, tuple[str, ...]], ...] = ()
    numeric: tuple[tuple[str, float, float], ...] = ()
    scaling: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def names(self) -> list[str]:
        """Columns that `encode` reads, each once."""
        numeric = (name for name, _, _ in self.numeric)
        categorical, scaling = (
            [name for name, _ in columns] for columns in (self.categorical, self.scaling)
        )
        return list(dict.fromkeys([*categorical, *numeric, *scaling]))

    @property
    def fused(self) -> list[str]:
        """Columns that the network reads as covariates, in its order."""
        return [*(item[0] for item in self.categorical), *(item[0] for item in self.numeric)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each categorical column, with the unknown one."""
        return tuple(len(levels) + 1 for _, levels in self.categorical)

    @property
    def scale_sizes(self) -> tuple[int, ...]:
        """As `sizes`, of the columns that the output is scaled by."""
        return tuple(len(levels) + 1 for _, levels in self.scaling)

    def encode(self, metadata: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
        """Read the columns of every row.

        Returns
        -------
        tuple of ndarray
            Category ids ``[N, C + S]`` int64, of the S columns of ``scaling`` last; and ``[N, K,
            2]`` float32: the standardized number and 1, or 0 and 0 where it is missing.

        Raises
        ------
        InputError
            If a column is absent, or a numeric one has values that are not numbers.
        """
        if metadata is None:
            columns = "column" if len(self.names) == 1 else "columns"
            raise InputError(
                f"This model reads {len(self.names)} metadata {columns} "
                f"({first_five(self.names)}): give the metadata."
            )
        categorical = (*self.categorical, *self.scaling)
        categories = np.zeros((len(metadata), len(categorical)), np.int64)
        for c, (name, levels) in enumerate(categorical):
            categories[:, c] = _places(column(metadata, name), levels)
        numbers = np.zeros((len(metadata), len(self.numeric), 2), np.float32)
        for k, (name, mean, std) in enumerate(self.numeric):
            values = _numbers(column(metadata, name))
            present = np.isfinite(values)
            numbers[present, k, 0] = (values[present] - mean) / std
            numbers[present, k, 1] = 1.0
        return categories, numbers

    def matrix(self, metadata: pd.DataFrame | None) -> np.ndarray:
        """[N, V] float32, for trees: indicators of the levels; numbers, and their indicators."""
        categories, numbers = self.encode(metadata)
        levels = [
            np.eye(size, dtype=np.float32)[categories[:, c]] for c, size in enumerate(self.sizes)
        ]
        return np.hstack([*levels, numbers.reshape(len(numbers), -1)])

    def unseen(self, metadata: pd.DataFrame) -> list[str]:
        """A line for each categorical column with values that no training sample had."""
        lines = []
        columns = [("covariate", *item) for item in self.categorical]
        columns += [("scaled by", *item) for item in self.scaling]
        for what, name, levels in columns:
            values = column(metadata, name)
            unseen = _present(values[_places(values, levels) == UNKNOWN])
            if len(unseen):
                lines.append(
                    f"{what} {name!r}: {len(unseen)} of {len(values)} samples have a value "
                    f"that was not there in training, and is read as unknown: "
                    f"{list_values(unseen)}; training had {first_five(levels)}"
                )
        return lines

    def __str__(self) -> str:
        """'site (3 categories), age (numbers)'."""
        texts = [f"{short(name)} ({len(levels)} categories)" for name, levels in self.categorical]
        texts += [f"{short(name)} (numbers)" for name, _, _ in self.numeric]
        texts += [
            f"output scaled by {short(name)} ({len(levels)} categories)"
            for name, levels in self.scaling
        ]
        return ", ".join(texts)

    def to_dict(self) -> dict:
        """Plain values, ready for JSON; without what formats before 6 lacked."""
        values = asdict(self)
        return values if self.scaling else {k: v for k, v in values.items() if k != "scaling"}

    @classmethod
    def from_dict(cls, values) -> Covariates:
        """The inverse of `to_dict`, for values from an untrusted file.

        Raises
        ------
        InputError
            If they are not what `to_dict` makes.
        """
        try:
            categorical = [_saved_levels(item) for item in values["categorical"]]
            numeric = [_saved_scale(item) for item in values["numeric"]]
            scaling = [_saved_levels(item) for item in values.get("scaling", ())]
        except (AttributeError, KeyError, TypeError, ValueError):
            text = str(values)[:200]
            raise InputError(f"These are not covariates that AAM saved: {text}") from None
        return cls(tuple(categorical), tuple(numeric), tuple(scaling))


def covariate_names(covariates: str | Sequence[str]) -> list[str]:
    """One name or several as a list.

    Raises
    ------
    InputError
        For anything else, such as a Series.
    """
    names = [covariates] if isinstance(covariates, str) else covariates
    is_list = isinstance(names, list | tuple | pd.Index | np.ndarray)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise InputError(
            "The covariates must be a list of names of metadata columns, not "
            f"{type(covariates).__name__}."
        )
    return list(names)


def infer_types(
    metadata: pd.DataFrame | None, covariates: str | Sequence[str]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Decide whether undeclared columns are numeric or categorical.

    A column is numeric where every value is a number. Decided on all samples, the folds of a
    cross-validation agree, whatever values each of them has.

    Parameters
    ----------
    metadata : DataFrame
        See `aam_core.data.metadata`.
    covariates : sequence of str

    Returns
    -------
    metadata : DataFrame
        The same with these columns as float64 or category.
    lines : list of str
        Warnings: numbers that are read as categories because of some values that are not numbers,
        and words for "missing" that are read as a category.
    """
    names = covariate_names(covariates)
    lines: list[str] = []
    if metadata is None or not names:
        return metadata, lines
    decided = metadata.copy()  # the caller's frame must not change (a test)
    for name in names:
        values, line = column(metadata, name), ""
        if not is_typed(values):
            decided[name], line = _decide(values)
        lines.append(line or missing_words(decided[name], "a category"))
    return decided, [line for line in lines if line]


def _decide(values: pd.Series) -> tuple[pd.Series, str]:
    """The column as numbers or as categories, and a warning or an empty text."""
    present = _present(values)
    wrong = present[~np.isfinite(to_floats(present))]
    boolean = pd.api.types.is_bool_dtype(values)
    # Booleans would convert to 0 and 1, but are two categories.
    if not len(wrong) and not boolean:
        return pd.Series(to_floats(values), index=values.index, name=values.name), ""
    text = as_classes(present)
    categories = text.reindex(values.index).astype("category")
    # No warning where most values are text: these do not spoil a column of numbers.
    if boolean or 2 * len(wrong) > len(present):
        return categories, ""
    one = len(wrong) == 1
    return categories, (
        f"covariate {values.name} is read as categories ({text.nunique()} levels): {len(wrong)} of "
        f"{len(present)} values {'is not a number' if one else 'are not numbers'}: "
        f"{list_values(wrong)}; leave {'it' if one else 'them'} blank to have the column read as "
        "numbers, or declare it categorical in a #q2:types line"
    )


def fit_covariates(
    metadata: pd.DataFrame | None,
    names: Sequence[str],
    train_ids: Sequence[str],
    scale_by: Sequence[str] = (),
) -> Covariates | None:
    """Learn levels, means and deviations from the training samples.

    Parameters
    ----------
    metadata : DataFrame
        Undeclared columns are numeric or categorical as `infer_types` decides.
    names : sequence of str
        Columns.
    train_ids : sequence of str
    scale_by : sequence of str
        Columns that the output is scaled by; numbers are categories there, too.

    Returns
    -------
    Covariates or None
        None where no column is named.

    Raises
    ------
    InputError
        If a column is absent, named twice, or has no value (or an infinite one) among the
        training samples.
    """
    names = covariate_names(names)
    if not names and not scale_by:
        return None
    if metadata is None:
        raise InputError(f"The columns {first_five([*names, *scale_by])} need metadata.")
    if len(set(names)) < len(names):
        raise InputError(f"A covariate is named twice: {first_five(names)}.")
    # Types from all samples, so that folds agree; levels and scale from the training samples.
    metadata, _ = infer_types(metadata, names)
    categorical, numeric = [], []
    for name in names:
        values = _present(column(metadata, name).loc[list(train_ids)])
        if not len(values):
            raise InputError(f"The covariate {name!r} has no value in any training sample.")
        if not isinstance(values.dtype, pd.CategoricalDtype):
            numbers = as_numbers(values)
            # Not `if std > 0`: rounding makes the deviation of equal numbers tiny, not 0.
            std = float(numbers.std()) if np.unique(numbers).size > 1 else 1.0
            numeric.append((name, float(numbers.mean()), std))
        else:
            categorical.append((name, tuple(sorted(set(as_classes(values))))))
    scaling = []
    for name in scale_by:
        levels = tuple(
            sorted(set(as_classes(_present(column(metadata, name).loc[list(train_ids)]))))
        )
        if len(levels) < 2:
            raise InputError(
                f"The output cannot be scaled by {name!r} (model.head.scale_by), which has "
                f"{len(levels)} categories in {len(train_ids)} training samples: give a column "
                "with two or more."
            )
        scaling.append((name, levels))
    return Covariates(tuple(categorical), tuple(numeric), tuple(scaling))


def redundant_covariates(
    metadata: pd.DataFrame | None,
    covariates: str | Sequence[str],
    target: pd.Series,
    groups: pd.Series | None = None,
    shifted_by: Sequence[str] = (),
) -> list[str]:
    """A line for each covariate that tells nothing, too much, or what another one tells.

    Parameters
    ----------
    metadata : DataFrame
        See `aam_core.data.metadata`.
    covariates : sequence of str
    target, groups : Series
        By sample; of the samples of the target.
    shifted_by : sequence of str
        Columns that the output is scaled and shifted by, where all that covariates do is a shift.
    """
    names = covariate_names(covariates)
    if metadata is None or not names:
        return []
    typed, _ = infer_types(metadata, names)
    assert typed is not None
    columns = {name: column(typed, name).reindex(target.index) for name in names}
    codes = {name: _codes(values) for name, values in columns.items()}
    groups = None if groups is None else groups.reindex(target.index)
    answer = _codes(target)
    lines = [
        f"covariate {name!r} is added to the sample vector (model.fusion.kind add), and the output "
        "is shifted by it, too (model.head.scale_by): leave one out"
        for name in names
        if name in shifted_by
    ]
    for name, values in columns.items():
        if codes[name].max(initial=-1) < 1 and (codes[name] >= 0).all():
            lines.append(f"covariate {name!r} has one value in all {len(values)} samples: no use")
            continue
        if _tells(values, codes[name], target, answer):
            lines.append(
                f"covariate {name!r} tells the target {target.name!r}, one to one: the model may "
                "read the answer off it"
            )
        if isinstance(values.dtype, pd.CategoricalDtype) and groups is not None:
            lines += _of_groups(name, codes[name], groups)
    categorical = [n for n in names if isinstance(columns[n].dtype, pd.CategoricalDtype)]
    for i, name in enumerate(categorical):
        for other in categorical[i + 1 :]:
            if codes[name].max(initial=-1) > 0 and (codes[name] == codes[other]).all():
                lines.append(f"covariates {name!r} and {other!r} tell the same: leave one out")
    return lines


def _tells(values: pd.Series, codes: np.ndarray, target: pd.Series, answer: np.ndarray) -> bool:
    """Whether each value of a covariate goes with one value of the target, in a way that is seen.

    Numbers that differ in every sample go with one of any target: they must lie on a line.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        repeated = 0 < codes.max(initial=-1) < len(codes) - 1
        return repeated and bool((codes == answer).all())
    both = np.stack([to_floats(values), to_floats(target)])
    both = both[:, np.isfinite(both).all(0)]
    if both.shape[1] < 3 or (both.std(1) == 0).any():
        return False
    return bool(abs(np.corrcoef(both)[0, 1]) > 1 - 1e-9)


def _codes(values: pd.Series) -> np.ndarray:
    """[N] numbers of the values in the order of their first sample, -1 where missing.

    Columns have equal ones where each value of one goes with one value of the other.
    """
    return pd.factorize(values.mask(values.index.isin(missing_ids(values))))[0]


def _of_groups(name: str, codes: np.ndarray, groups: pd.Series) -> list[str]:
    """A line on a categorical covariate each of whose categories is in one group alone."""
    both = pd.DataFrame({"category": codes, "group": _codes(groups)})
    both = both[(both["category"] >= 0) & (both["group"] >= 0)]
    if both.empty or both.groupby("category")["group"].nunique().max() > 1:
        return []
    return [
        f"covariate {name!r}: each of its {both['category'].nunique()} categories is in one group "
        f"of {groups.name!r} alone, so that those of held-out samples are unknown to the model"
    ]


def _present(values: pd.Series) -> pd.Series:
    """The values that are not missing."""
    return values[~values.index.isin(missing_ids(values))]


def _places(values: pd.Series, levels: Sequence[str]) -> np.ndarray:
    """[N] int64, the ids of a categorical column's values.

    Where the new samples have a column of numbers (QIIME 2 and data frames turn '01' and '02' into
    one), the text is lost: a number is read as the level that is the same number, if only one is.
    """
    place = {level: i + 1 for i, level in enumerate(levels)}
    ids = np.zeros(len(values), np.int64)
    present = ~values.index.isin(missing_ids(values))
    if not present.any():
        return ids
    if is_typed(values) and not isinstance(values.dtype, pd.CategoricalDtype):
        by_number: dict[float, list[str]] = {}
        for level in filter(is_number, levels):
            by_number.setdefault(float(level), []).append(level)
        for number, equal in by_number.items():
            if len(equal) == 1:
                place.setdefault(as_name(number), place[equal[0]])
    ids[present] = [place.get(value, UNKNOWN) for value in as_classes(values[present])]
    return ids


def _numbers(values: pd.Series) -> np.ndarray:
    """[N] float64, NaN where missing."""
    missing = values.index.isin(missing_ids(values))
    numbers = to_floats(values)
    wrong = values[~np.isfinite(numbers) & ~missing]
    if len(wrong):
        raise InputError(
            f"The covariate {values.name!r} was numeric in training, and is not a number in "
            f"{len(wrong)} of {len(values)} samples here: {list_values(wrong)}. Correct them, or "
            "leave them blank."
        )
    return numbers


def _saved_levels(item) -> tuple[str, tuple[str, ...]]:
    match item:
        case [str(name), [*levels]] if levels and all(isinstance(level, str) for level in levels):
            # An id is the place of a level: an edited order would silently exchange their meaning.
            if sorted(set(levels)) == levels:
                return name, tuple(levels)
    raise ValueError(item)


def _saved_scale(item) -> tuple[str, float, float]:
    match item:
        # `encode` divides by std.
        case [str(name), float(mean), float(std)] if math.isfinite(mean) and 0 < std < math.inf:
            return name, mean, std
    raise ValueError(item)
