"""Calibrated probabilities of classes: fitted to out-of-fold probabilities, applied to new ones.

Letters: N samples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from aam_core.errors import lookup

__all__ = [
    "CALIBRATIONS",
    "Calibrator",
    "Isotonic",
    "Temperature",
    "calibration_in_words",
    "choose_calibration",
    "cross_fitted",
    "from_dict",
    "log_loss",
]

_LEAST = 1e-6
"""Least probability before a logarithm is taken."""

_FEW = 60
"""Held-out samples below which probabilities stay as they are."""

_MANY = 1000
"""Held-out samples from which 'auto' tries 'isotonic': of fewer its steps are few, and samples that
share one are no longer told apart."""

_BETTER = 0.99
"""Cross-fitted log loss, as a share of that without, below which a calibration is chosen by 'auto':
a slight gain is noise, and no calibration is the simpler model."""


class Calibrator(Protocol):
    """Probabilities -> probabilities that are closer to frequencies."""

    name: ClassVar[str]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """[N, C] -> [N, C], rows with sum 1."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ``kind`` has the name."""


@dataclass(frozen=True)
class Temperature:
    """Logarithms of probabilities divided by one number (Guo et al. 2017, ICML 34).

    The order of the classes of a sample stays.

    Attributes
    ----------
    temperature : float
        Above 0; above 1 where probabilities were too sure.
    """

    temperature: float

    name: ClassVar[str] = "temperature"

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> Temperature:
        """Minimize the log loss of [N, C] probabilities of the classes at the places [N]."""
        from scipy.optimize import minimize_scalar

        def loss(logarithm: float) -> float:
            return log_loss(cls(math.exp(logarithm))(probabilities), truth)

        best = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10.0)), method="bounded")
        return cls(float(math.exp(best.x)))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        scaled = np.log(np.maximum(probabilities, _LEAST)) / self.temperature
        scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return scaled / scaled.sum(axis=1, keepdims=True)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "temperature": self.temperature}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Temperature:
        """The inverse of `to_dict`; `ValueError` where these are no such values."""
        value: Any = values.get("temperature")
        if set(values) != {"kind", "temperature"} or not _numbers([value]) or value <= 0:
            raise ValueError
        return cls(value)


@dataclass(frozen=True)
class Isotonic:
    """A rising step function of the probability of each class (Zadrozny, Elkan 2002, KDD 8).

    Attributes
    ----------
    steps : tuple of (tuple of float, tuple of float)
        Of each class: probabilities, ascending, and what they become; linear in between.
    """

    steps: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]

    name: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> Isotonic:
        """One class against the others, each."""
        from sklearn.isotonic import IsotonicRegression

        steps = []
        for place in range(probabilities.shape[1]):
            fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
            fitted.fit(probabilities[:, place], truth == place)
            ends = fitted.X_thresholds_, fitted.y_thresholds_
            steps.append(tuple(tuple(np.asarray(part, float).tolist()) for part in ends))
        return cls(tuple(steps))  # type: ignore[arg-type]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        columns = [
            np.interp(probabilities[:, place], *step) for place, step in enumerate(self.steps)
        ]
        # A class that never occurred at such a probability may still: none becomes 0.
        values = np.maximum(np.stack(columns, axis=1), 1e-3)
        return values / values.sum(axis=1, keepdims=True)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "steps": [[list(x), list(y)] for x, y in self.steps]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Isotonic:
        """The inverse of `to_dict`; `ValueError` where these are no such values."""
        steps = values.get("steps")
        if set(values) != {"kind", "steps"} or not isinstance(steps, list):
            raise ValueError
        for step in steps:
            if not isinstance(step, list) or len(step) != 2:
                raise ValueError
            if not all(isinstance(part, list) and part and _numbers(part) for part in step):
                raise ValueError
            if len(step[0]) != len(step[1]) or any(sorted(part) != part for part in step):
                raise ValueError
        return cls(tuple((tuple(x), tuple(y)) for x, y in steps))


CALIBRATIONS: dict[str, Any] = {kind.name: kind for kind in (Temperature, Isotonic)}
"""Kinds of calibration by name (`ensemble.calibration`)."""


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative logarithm of the probabilities of the classes at the places [N]."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, _LEAST)).mean())


def choose_calibration(
    probabilities: np.ndarray,
    truth: np.ndarray,
    folds: Sequence[int],
    loss: Callable[[np.ndarray, np.ndarray], float],
    which: str,
) -> Calibrator | None:
    """The calibration with the least loss of folds that it was not fitted to, fitted to all.

    Parameters
    ----------
    probabilities : ndarray
        [N, C] out of fold.
    truth : ndarray
        [N] places of the classes.
    folds : sequence of int
        [N]
    loss : callable
        Of probabilities and places.
    which : {'auto', 'temperature', 'isotonic', 'none'}
        'auto' for the one that is better than none, if one is; 'isotonic' among 1,000 samples or
        more.

    Returns
    -------
    Calibrator or None
        None where probabilities stay as they are: also of fewer than 60 samples, or one fold.
    """
    parts = np.asarray(folds)
    if which == "none" or _why_not(len(truth), len(np.unique(parts))):
        return None
    if which != "auto":
        return lookup(CALIBRATIONS, which, "calibration").fit(probabilities, truth)
    best, least = None, _BETTER * loss(probabilities, truth)
    kinds = CALIBRATIONS.values() if len(truth) >= _MANY else [Temperature]
    for kind in kinds:
        value = loss(cross_fitted(kind, probabilities, truth, parts), truth)
        if value < least:
            best, least = kind, value
    return None if best is None else best.fit(probabilities, truth)


def calibration_in_words(chosen: Calibrator | None, which: str, samples: int, folds: int) -> str:
    """A sentence on what `choose_calibration` returned; none where nothing was asked for."""
    if which == "none":
        return ""
    if chosen is not None:
        return f"probabilities: calibrated by {chosen.name}"
    why = _why_not(samples, folds) or "those of held-out samples did not improve"
    idle = "" if which == "auto" else f", and ensemble.calibration={which} has no effect"
    return f"probabilities: not calibrated{idle} ({why})"


def _why_not(samples: int, folds: int) -> str:
    """Why held-out samples cannot tell a calibration; empty where they can."""
    if samples < _FEW:
        return f"{samples} held-out samples are too few: it takes {_FEW}"
    return "" if folds > 1 else "one fold is held out: it takes two, to fit it and to check it"


def cross_fitted(kind: Any, probabilities, truth, folds: np.ndarray) -> np.ndarray:
    """[N, C] each fold calibrated by what the other folds tell."""
    calibrated = np.empty_like(probabilities)
    for fold in np.unique(folds):
        test = folds == fold
        calibrated[test] = kind.fit(probabilities[~test], truth[~test])(probabilities[test])
    return calibrated


def from_dict(values: Any) -> Calibrator:
    """The inverse of `Calibrator.to_dict`; `ValueError` where these are no such values."""
    if not isinstance(values, dict) or values.get("kind") not in CALIBRATIONS:
        raise ValueError
    return CALIBRATIONS[values["kind"]].from_dict(values)


def _numbers(values: Sequence[Any]) -> bool:
    return all(type(value) is float and math.isfinite(value) for value in values)
