"""What a standardized number is learned as, and back.

A transform has at most one parameter, its power, which is fitted to the training samples and saved
with the model. To add one: write its three functions, enter it in `TRANSFORMS` and in the choices
of ``loss.transform``, and have `Regression` save its name (today a power tells that there is one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aam_core.errors import InputError

__all__ = ["TRANSFORMS", "Transform", "fit_power", "inverse_yeo_johnson", "transform_named"]
__all__ += ["yeo_johnson"]


class Transform(NamedTuple):
    """A monotone function of standardized values.

    Attributes
    ----------
    fit : callable
        ``[N]`` standardized values of the training samples -> the power, or None without one.
    apply, invert : callable
        Of values of any shape and the power.
    """

    fit: Callable[[np.ndarray], float | None]
    apply: Callable[[np.ndarray, Any], np.ndarray]
    invert: Callable[[np.ndarray, Any], np.ndarray]


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


def _no_power(z: np.ndarray) -> None:
    return None


def _unchanged(z: np.ndarray, power: None) -> np.ndarray:
    return z


TRANSFORMS = {
    "none": Transform(_no_power, _unchanged, _unchanged),
    "power": Transform(fit_power, yeo_johnson, inverse_yeo_johnson),
}
"""By the choices of ``loss.transform``."""


def transform_named(name: str) -> Transform:
    """The transform of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in TRANSFORMS:
        raise InputError(f"The transform must be one of {', '.join(TRANSFORMS)}, not {name!r}.")
    return TRANSFORMS[name]
