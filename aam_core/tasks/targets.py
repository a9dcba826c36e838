"""Metadata column -> what is predicted: fitted on the training samples, and invertible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, as_name, as_numbers, list_values
from aam_core.data.known_asvs import KNOWN_COLUMNS
from aam_core.errors import InputError, first_five

KINDS = ("regression", "classification")

IN_TRAINING = "in_training"
"""Column of predictions: whether the model was trained or validated on a sample of this id."""

RESERVED = ("sample-id", "fold", "actual", "prediction", *KNOWN_COLUMNS, IN_TRAINING)
"""What no class may be called: in tables of predictions each class has a column beside these."""


@dataclass(frozen=True)
class NumericTarget:
    """A number, standardized by the mean and standard deviation of the training samples.

    Attributes
    ----------
    power : float or None
        Of the Yeo-Johnson transform of the standardized values, in [0, 2]; None without one.
    ends : tuple of float or None
        Least and greatest value of the training samples, where there is a power: predictions go
        no further than a standard deviation beyond, for a power's inverse may be an exponential.
    """

    name: str
    mean: float
    std: float
    power: float | None = None
    ends: tuple[float, float] | None = None
    kind = "regression"

    def encode(self, values) -> np.ndarray:
        """[N] float32, in standard deviations from the mean, transformed.

        Raises
        ------
        InputError
            If a value is missing, infinite or not a number.
        """
        z = (as_numbers(_series(values, self.name)) - self.mean) / self.std
        return (z if self.power is None else yeo_johnson(z, self.power)).astype(np.float32)

    def decode(self, z) -> np.ndarray:
        """Encoded values of any shape -> float64 in the column's own units."""
        z = np.asarray(z, dtype=np.float64)
        if self.power is None:
            return z * self.std + self.mean
        low, high = self.ends
        with np.errstate(over="ignore"):  # what overflows is beyond the ends
            values = inverse_yeo_johnson(z, self.power) * self.std + self.mean
        return values.clip(low - self.std, high + self.std)

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
                f"on: {list_values(strange)}. The classes are {first_five(self.classes)}."
            )
        return np.array([place[value] for value in column], dtype=np.int64)

    def decode(self, index) -> list[str]:
        """Places -> class names."""
        return [self.classes[int(i)] for i in index]

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return {"kind": self.kind, "name": self.name, "classes": list(self.classes)}


def yeo_johnson(z: np.ndarray, power: float) -> np.ndarray:
    """A power of positive and of negative numbers (Yeo and Johnson 2000, Biometrika 87:954).

    With ``p`` the power: ``((1 + z)^p - 1) / p`` from 0 on, ``-((1 - z)^(2 - p) - 1) / (2 - p)``
    below, and logarithms where an exponent is 0. For p in [0, 2] it takes every value.
    """
    sides = np.where(z >= 0, power, 2.0 - power)
    size = np.log1p(np.abs(z))
    safe = np.where(sides == 0, 1.0, sides)
    return np.sign(z) * np.where(sides == 0, size, np.expm1(safe * size) / safe)


def inverse_yeo_johnson(t: np.ndarray, power: float) -> np.ndarray:
    """What `yeo_johnson` of the same power gave ``t`` for."""
    sides = np.where(t >= 0, power, 2.0 - power)
    safe = np.where(sides == 0, 1.0, sides)
    size = np.where(sides == 0, np.abs(t), np.log1p(safe * np.abs(t)) / safe)
    return np.sign(t) * np.expm1(size)


def fit_power(z: np.ndarray) -> float:
    """The power in [0, 2] after which standardized values are likeliest normal."""
    from scipy.optimize import minimize_scalar

    slope = (np.sign(z) * np.log1p(np.abs(z))).sum()

    def unlikely(power):
        return len(z) / 2 * np.log(yeo_johnson(z, power).var()) - (power - 1) * slope

    return float(minimize_scalar(unlikely, bounds=(0.0, 2.0), method="bounded").x)


def fit_target(
    column: pd.Series,
    kind: str,
    train_ids: Sequence[str] | None = None,
    transform: str = "none",
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
    transform : {'none', 'power'}
        Of a regression; 'power' fits a Yeo-Johnson transform to the training samples.

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
                f"Column {column.name!r} has one value only ({as_name(values[0])}) in "
                f"{len(values)} training samples: there is nothing to learn."
            )
        mean, std = float(values.mean()), float(values.std())
        if transform == "none":
            return NumericTarget(str(column.name), mean, std)
        ends = float(values.min()), float(values.max())
        return NumericTarget(str(column.name), mean, std, fit_power((values - mean) / std), ends)
    labels = as_classes(column)
    present = sorted(set(labels.loc[ids]))
    if len(present) < 2:
        raise InputError(
            f"Column {column.name!r} has one class only ({present[0]!r}) in {len(ids)} training "
            "samples: there is nothing to learn."
        )
    classes = tuple(sorted(set(labels)))
    taken = [name for name in classes if name in RESERVED]
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
            power, ends = values.get("power"), values.get("ends")
            if math.isfinite(mean) and math.isfinite(std) and std > 0 and _is_power(power, ends):
                return NumericTarget(name, mean, std, power, ends and tuple(ends))
        case {"kind": "classification", "name": str(name), "classes": [_, _, *_] as classes}:
            if all(isinstance(c, str) for c in classes) and sorted(set(classes)) == classes:
                return ClassTarget(name, tuple(classes))
    raise InputError(f"This is not a target that AAM saved: {str(values)[:200]}")


def _is_power(power, ends) -> bool:
    """Whether these are a power and its ends, or neither."""
    if power is None or ends is None:
        return power is ends
    whole = isinstance(ends, list | tuple) and len(ends) == 2
    if not whole or not all(isinstance(number, float) for number in (power, *ends)):
        return False
    return 0 <= power <= 2 and -math.inf < ends[0] < ends[1] < math.inf


def _series(values, name) -> pd.Series:
    return values if isinstance(values, pd.Series) else pd.Series(list(values), name=name)
