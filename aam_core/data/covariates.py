"""Metadata columns given to the model beside the reads: fitted on the training samples.

Letters: N samples, C categorical columns, K numeric columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from aam_core.data.metadata import column
from aam_core.data.targets import as_classes, as_numbers, missing_ids
from aam_core.errors import InputError, first_five

UNKNOWN = 0
"""Category of a value that is missing, or was not there in training."""


@dataclass(frozen=True)
class Covariates:
    """What is known of the columns.

    Attributes
    ----------
    categorical : tuple of (name, levels)
        Levels sorted as text; level i has id i + 1, `UNKNOWN` is 0.
    numeric : tuple of (name, mean, std)
        A missing value is read as the mean, with a mark that it is missing.
    """

    categorical: tuple[tuple[str, tuple[str, ...]], ...] = ()
    numeric: tuple[tuple[str, float, float], ...] = ()

    @property
    def names(self) -> list[str]:
        """Columns that `encode` reads."""
        return [item[0] for item in (*self.categorical, *self.numeric)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Ids that each categorical column has, the unknown one included."""
        return tuple(len(levels) + 1 for _, levels in self.categorical)

    def encode(self, metadata: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
        """Read the columns of every row.

        Returns
        -------
        tuple of ndarray
            Category ids ``[N, C]`` int64, and ``[N, K, 2]`` float32: the standardized number and 1
            where it is known, or 0 and 0.

        Raises
        ------
        InputError
            If a column is absent, or a numeric one holds something else.
        """
        if metadata is None:
            columns = "column" if len(self.names) == 1 else "columns"
            raise InputError(
                f"This model reads {len(self.names)} metadata {columns} "
                f"({first_five(self.names)}): give the metadata."
            )
        categories = np.zeros((len(metadata), len(self.categorical)), np.int64)
        for c, (name, levels) in enumerate(self.categorical):
            place = {level: i + 1 for i, level in enumerate(levels)}
            values = column(metadata, name)
            known = ~values.index.isin(missing_ids(values))
            text = as_classes(values[known]) if known.any() else []
            categories[known, c] = [place.get(value, UNKNOWN) for value in text]
        numbers = np.zeros((len(metadata), len(self.numeric), 2), np.float32)
        for k, (name, mean, std) in enumerate(self.numeric):
            values = _numbers(column(metadata, name))
            known = np.isfinite(values)
            numbers[known, k, 0] = (values[known] - mean) / std
            numbers[known, k, 1] = 1.0
        return categories, numbers

    def matrix(self, metadata: pd.DataFrame | None) -> np.ndarray:
        """[N, V] float32, for trees: a column a level, and two a number (it; whether known)."""
        categories, numbers = self.encode(metadata)
        levels = [
            np.eye(size, dtype=np.float32)[categories[:, c]] for c, size in enumerate(self.sizes)
        ]
        return np.hstack([*levels, numbers.reshape(len(numbers), -1)])

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values) -> Covariates:
        """The inverse of `to_dict`; `InputError` where it was edited into nonsense."""
        try:
            categorical = [_saved_levels(item) for item in values["categorical"]]
            numeric = [_saved_scale(item) for item in values["numeric"]]
        except (KeyError, TypeError, ValueError):
            text = str(values)[:200]
            raise InputError(f"These are not covariates that AAM saved: {text}") from None
        return cls(tuple(categorical), tuple(numeric))


def fit_covariates(
    metadata: pd.DataFrame | None, names: Sequence[str], train_ids: Sequence[str]
) -> Covariates | None:
    """Learn levels, means and deviations from the training samples.

    Parameters
    ----------
    metadata : DataFrame
        Numeric columns are float64, others text (see `metadata.read_metadata`).
    names : sequence of str
        Columns; none means None.
    train_ids : sequence of str

    Raises
    ------
    InputError
        If a column is absent, named twice, or has no value (or an infinite one) among the
        training samples.
    """
    if not names:
        return None
    if metadata is None:
        raise InputError(f"The covariates {first_five(names)} need metadata.")
    if len(set(names)) < len(names):
        raise InputError(f"A covariate is named twice: {first_five(names)}.")
    categorical, numeric = [], []
    for name in names:
        values = column(metadata, name).loc[list(train_ids)]
        values = values[~values.index.isin(missing_ids(values))]
        if not len(values):
            raise InputError(f"The covariate {name!r} has no value in any training sample.")
        if pd.api.types.is_numeric_dtype(values):
            numbers = as_numbers(values)
            # Rounding makes the deviation of equal numbers tiny, not 0.
            std = float(numbers.std()) if np.unique(numbers).size > 1 else 1.0
            numeric.append((name, float(numbers.mean()), std))
        else:
            categorical.append((name, tuple(sorted(set(as_classes(values))))))
    return Covariates(tuple(categorical), tuple(numeric))


def _numbers(values: pd.Series) -> np.ndarray:
    """[N] float64, NaN where missing."""
    missing = values.index.isin(missing_ids(values))
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = values.index[~np.isfinite(numbers) & ~missing]
    if len(wrong):
        raise InputError(
            f"The covariate {values.name!r} was numeric in training, and is not a number in "
            f"{len(wrong)} of {len(values)} samples here: {first_five(wrong)}. Correct them, or "
            "leave them blank."
        )
    return numbers


def _saved_levels(item) -> tuple[str, tuple[str, ...]]:
    match item:
        case [str(name), [*levels]] if levels and all(isinstance(level, str) for level in levels):
            if sorted(set(levels)) == levels:
                return name, tuple(levels)
    raise ValueError(item)


def _saved_scale(item) -> tuple[str, float, float]:
    match item:
        case [str(name), float(mean), float(std)] if math.isfinite(mean) and 0 < std < math.inf:
            return name, mean, std
    raise ValueError(item)
