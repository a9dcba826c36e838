"""Metadata column -> what is predicted: fitted on the training samples, and invertible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from aam_core.errors import InputError, first_five

KINDS = ("regression", "classification")

RESERVED = ("sample-id", "fold", "actual", "prediction", "random_forest")
"""What no class may be called: in tables of predictions each class has a column beside these."""

BASELINE = "random_forest_"
"""How the columns of the baseline's probabilities start; no class may start so either."""


def is_reserved(name: str) -> bool:
    """Whether a column of predictions of this name can be no class."""
    return name in RESERVED or name.startswith(BASELINE)


@dataclass(frozen=True)
class NumericTarget:
    """A number, standardized by the mean and standard deviation of the training samples."""

    name: str
    mean: float
    std: float
    kind = "regression"

    def encode(self, values) -> np.ndarray:
        """[N] float32, in standard deviations from the mean.

        Raises
        ------
        InputError
            If a value is missing, infinite or not a number.
        """
        return ((as_numbers(_series(values, self.name)) - self.mean) / self.std).astype(np.float32)

    def decode(self, z) -> np.ndarray:
        """Standardized values of any shape -> float64 in the column's own units."""
        return np.asarray(z, dtype=np.float64) * self.std + self.mean

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class ClassTarget:
    """A class, by its place among the classes sorted as text."""

    name: str
    classes: tuple[str, ...]
    kind = "classification"

    def encode(self, values) -> np.ndarray:
        """[N] int64, place of each value in ``classes``.

        Raises
        ------
        InputError
            If a value is missing, or a class that was not there when the target was fitted.
        """
        column = as_classes(_series(values, self.name))
        place = {name: i for i, name in enumerate(self.classes)}
        strange = column[~column.isin(self.classes)]
        if len(strange):
            raise InputError(
                f"Column {self.name!r} has {len(strange)} samples of a class that was not trained "
                f"on: {_rows(strange)}. The classes are {first_five(self.classes)}."
            )
        return np.array([place[value] for value in column], dtype=np.int64)

    def decode(self, index) -> list[str]:
        """Places -> class names."""
        return [self.classes[int(i)] for i in index]

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return {"kind": self.kind, "name": self.name, "classes": list(self.classes)}


def fit_target(
    column: pd.Series, kind: str, train_ids: Sequence[str] | None = None
) -> NumericTarget | ClassTarget:
    """Fit a target to a metadata column, every value of which must be usable.

    Parameters
    ----------
    column : pandas.Series
        Values by sample id, training and held-out samples alike; its name is the target's.
    kind : {'regression', 'classification'}
    train_ids : sequence of str, optional
        Samples that the mean and deviation come from; all where not given. Classes come from the
        whole column, so that the folds of a cross-validation agree on them.

    Raises
    ------
    InputError
        For missing or infinite values, text in a regression, a single value or a single class
        among the training samples.
    """
    assert kind in KINDS, kind
    ids = column.index if train_ids is None else pd.Index([str(i) for i in train_ids])
    if kind == "regression":
        values = pd.Series(as_numbers(column), index=column.index).loc[ids].to_numpy()
        if np.unique(values).size < 2:
            raise InputError(
                f"Column {column.name!r} has one value only ({_plain(values[0])}) in "
                f"{len(values)} training samples: there is nothing to learn."
            )
        return NumericTarget(str(column.name), float(values.mean()), float(values.std()))
    labels = as_classes(column)
    present = sorted(set(labels.loc[ids]))
    if len(present) < 2:
        raise InputError(
            f"Column {column.name!r} has one class only ({present[0]!r}) in {len(ids)} training "
            "samples: there is nothing to learn."
        )
    classes = tuple(sorted(set(labels)))
    taken = [name for name in classes if is_reserved(name)]
    if taken:
        raise InputError(
            f"Column {column.name!r} has classes that are columns of the predictions: "
            f"{first_five(taken)}. Give them other names."
        )
    return ClassTarget(str(column.name), classes)


def target_from_dict(values: dict) -> NumericTarget | ClassTarget:
    """The inverse of ``to_dict``.

    Raises
    ------
    InputError
        If the dictionary was not written by ``to_dict``, or was edited into nonsense.
    """
    match values:
        case {"kind": "regression", "name": str(name), "mean": float(mean), "std": float(std)}:
            if math.isfinite(mean) and math.isfinite(std) and std > 0:
                return NumericTarget(name, mean, std)
        case {"kind": "classification", "name": str(name), "classes": [_, _, *_] as classes}:
            if all(isinstance(c, str) for c in classes) and sorted(set(classes)) == classes:
                return ClassTarget(name, tuple(classes))
    raise InputError(f"This is not a target that AAM saved: {str(values)[:200]}")


def missing_ids(column: pd.Series) -> list[str]:
    """Ids of the samples whose value is blank: None, NaN, or nothing but white space."""
    blank = column.isna().to_numpy()
    return [
        str(i)
        for i, value, gone in zip(column.index, column, blank, strict=True)
        if gone or (isinstance(value, str) and not value.strip())
    ]


def as_numbers(column: pd.Series) -> np.ndarray:
    """[N] float64 of a column whose every value is a finite number, be it written as text.

    Raises
    ------
    InputError
        Naming the rows that are missing, infinite or not numbers.
    """
    _refuse_missing(column)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = column[np.isnan(values)]
    if len(text) == len(column):
        raise InputError(
            f"Column {column.name!r} is text ({_quoted(text.unique())}), not numbers: "
            "use fit-classifier (classification) for classes."
        )
    if len(text):
        raise InputError(
            f"Column {column.name!r} has {len(text)} values that are not numbers: {_rows(text)}. "
            f"{_CURE}"
        )
    infinite = column[np.isinf(values)]
    if len(infinite):
        raise InputError(
            f"Column {column.name!r} has {len(infinite)} infinite values: {_rows(infinite)}. "
            f"{_CURE}"
        )
    return values


def as_classes(column: pd.Series) -> pd.Series:
    """The column as text, a whole number without '.0': metadata read 0/1 classes as floats.

    Raises
    ------
    InputError
        Naming the rows that are missing.
    """
    _refuse_missing(column)
    return pd.Series(
        [_plain(value) for value in column], index=column.index, name=column.name, dtype=object
    )


_CURE = "Correct them, or leave these samples out."


def _refuse_missing(column):
    missing = missing_ids(column)
    if len(missing) == len(column):
        raise InputError(f"Column {column.name!r} has no value for any of {len(column)} samples.")
    if missing:
        raise InputError(
            f"Column {column.name!r} is blank for {len(missing)} of {len(column)} samples: "
            f"{first_five(missing)}. Fill them in, or leave these samples out."
        )


def _series(values, name) -> pd.Series:
    return values if isinstance(values, pd.Series) else pd.Series(list(values), name=name)


def _plain(value) -> str:
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _rows(column: pd.Series) -> str:
    """'id (value)' of the first five."""
    return first_five([f"{i} ({_plain(value)!r})" for i, value in column.items()])


def _quoted(values) -> str:
    return first_five([repr(str(value)) for value in values])
