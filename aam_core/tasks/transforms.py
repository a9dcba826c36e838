"""What a number is learned as, and back.

A number, or the logarithm of 1 + it, is shifted and divided by two statistics of the training
samples, of all or of each category; a power may follow. To add a transform: enter it in
`TRANSFORMS` and in the choices of ``loss.transform``. Its name and its parameters are saved with
the model, by `aam_core.tasks.regression`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, list_values
from aam_core.data.metadata import require_columns
from aam_core.errors import InputError, lookup

__all__ = [
    "FEW",
    "MANY",
    "TRANSFORMS",
    "Transform",
    "along",
    "by_deviation",
    "by_range",
    "categories_of",
    "fit_power",
    "inverse_yeo_johnson",
    "refuse_negative",
    "scales_by_category",
    "transform_named",
    "with_columns",
    "yeo_johnson",
]


FEW = 5
"""Training samples of a category below which its mean and deviation would be noise."""

MANY = 30
"""Those that must be left outside each fold of a category that is held out in part: its mean and
deviation, by which held-out predictions are scaled back, are of the held-out values, too."""


class Transform(NamedTuple):
    """A monotone function of a number.

    Attributes
    ----------
    scale : callable
        ``[n]`` values (or logarithms) of the training samples -> what they are shifted by, and
        divided by.
    log : bool
        Whether the logarithm of 1 + the value is learned: of counts and durations, whose errors
        are ratios.
    power : bool
        Whether a Yeo-Johnson power of the scaled value is.
    by_category : bool
        Whether each category has a scale of its own.
    """

    scale: Callable[[np.ndarray], tuple[float, float]]
    log: bool = False
    power: bool = False
    by_category: bool = False


def by_deviation(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation.

    >>> by_deviation(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    return float(values.mean()), float(values.std())


def by_range(values: np.ndarray) -> tuple[float, float]:
    """Least value, and the distance of the greatest from it.

    >>> by_range(np.array([1.0, 3.0, 4.0]))
    (1.0, 3.0)
    """
    return float(values.min()), float(np.ptp(values))


def yeo_johnson(z: np.ndarray, power: float) -> np.ndarray:
    """A power of positive and of negative numbers (Yeo and Johnson 2000, Biometrika 87:954).

    With ``p`` the power: ``((1 + z)^p - 1) / p`` from 0 on, ``-((1 - z)^(2 - p) - 1) / (2 - p)``
    below, and logarithms where an exponent is 0. For p in [0, 2] it takes every value.

    >>> yeo_johnson(np.array([-1.0, 0.0, 3.0]), 0.5).round(3).tolist()
    [-1.219, 0.0, 2.0]
    """
    sides = np.where(z >= 0, power, 2.0 - power)
    # expm1 and log1p keep the digits of values near 0, the mean of standardized ones.
    size = np.log1p(np.abs(z))
    # np.where computes both branches: the one that is not taken would divide by 0.
    safe = np.where(sides == 0, 1.0, sides)
    return np.sign(z) * np.where(sides == 0, size, np.expm1(safe * size) / safe)


def inverse_yeo_johnson(t: np.ndarray, power: float) -> np.ndarray:
    """The values whose `yeo_johnson` transform of the same power is ``t``."""
    sides = np.where(t >= 0, power, 2.0 - power)
    safe = np.where(sides == 0, 1.0, sides)
    size = np.where(sides == 0, np.abs(t), np.log1p(safe * np.abs(t)) / safe)
    return np.sign(t) * np.expm1(size)


def fit_power(z: np.ndarray) -> float:
    """The power in [0, 2] after which standardized values are likeliest normal.

    Beyond [0, 2] the transform has bounds, and what a network predicts need not have an inverse.
    """
    # Not scipy's own fit: its powers may lie outside [0, 2] (docs/dependencies.md).
    from scipy.optimize import minimize_scalar

    # Logarithm of the derivative, of which the likelihood has (power - 1) times the sum.
    slope = (np.sign(z) * np.log1p(np.abs(z))).sum()

    def negative_log_likelihood(power):
        return len(z) / 2 * np.log(yeo_johnson(z, power).var()) - (power - 1) * slope

    return float(minimize_scalar(negative_log_likelihood, bounds=(0.0, 2.0), method="bounded").x)


TRANSFORMS = {
    "none": Transform(by_deviation),
    # The same numbers: what is learned untransformed is standardized all the same.
    "zscore": Transform(by_deviation),
    "minmax": Transform(by_range),
    "log-zscore": Transform(by_deviation, log=True),
    "log-minmax": Transform(by_range, log=True),
    "zscore-by-category": Transform(by_deviation, by_category=True),
    "power": Transform(by_deviation, power=True),
}
"""By the choices of ``loss.transform``."""


def transform_named(name: str) -> Transform:
    """The transform of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    return lookup(TRANSFORMS, name, "transform")


def refuse_negative(numbers: pd.Series, name: str) -> None:
    """Raise `InputError` where a logarithm cannot be taken; ``name`` is the transform's."""
    negative = numbers[numbers < 0]
    if len(negative):
        raise InputError(
            f"Column {numbers.name!r} has {len(negative)} negative values: "
            f"{list_values(negative)}. loss.transform is {name!r}, which takes logarithms of 1 + "
            "the value: take another transform, or leave these samples out."
        )


def with_columns(by: tuple[str, ...], metadata: pd.DataFrame | None) -> pd.DataFrame:
    """The metadata, which must have these columns."""
    if not by:
        raise InputError(
            "loss.transform is 'zscore-by-category', and no column is named to scale by: name one "
            "(--normalize-by COLUMN, loss.normalize_by)."
        )
    require_columns(metadata, by)
    assert metadata is not None
    return metadata


def categories_of(metadata: pd.DataFrame, by: tuple[str, ...]) -> list[tuple[str, ...]]:
    """[N] category of each sample: its values of the columns."""
    return list(zip(*(as_classes(metadata[name]) for name in by), strict=True))


def scales_by_category(
    groups: pd.Series,
    values: np.ndarray,
    transform: Transform,
    folds: Mapping[str, int] | None = None,
) -> tuple:
    """Category, mean and deviation, sorted, of those that have samples enough.

    Parameters
    ----------
    groups : Series
        ``[n]`` category of each training sample, by its id.
    values : ndarray
        ``[n]``
    transform : Transform
    folds : mapping, optional
        Fold of each sample that some member holds out, by its id.
    """
    places: dict[tuple[str, ...], list[int]] = {}
    for place, name in enumerate(groups):
        places.setdefault(name, []).append(place)
    folds, ids, scales = folds or {}, list(groups.index), []
    for name in sorted(places):
        own = values[places[name]]
        held_out = Counter(folds[ids[i]] for i in places[name] if ids[i] in folds)
        outside = len(own) - max(held_out.values(), default=0)
        if outside >= (MANY if held_out else FEW) and np.unique(own).size > 1:
            scales.append((name, *transform.scale(own)))
    return tuple(scales)


def along(part, values: np.ndarray):
    """A number as it is; ``[N]`` numbers so that they meet the first axis of ``[N, ...]``."""
    return part.reshape(-1, *[1] * (values.ndim - 1)) if isinstance(part, np.ndarray) else part
