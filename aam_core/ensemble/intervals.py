"""Prediction intervals of a regression, calibrated on out-of-fold predictions.

They are those of split conformal prediction (`aam_core.ensemble.conformal`), with residuals divided
by how large they are expected to be (Lei et al. 2018, section 5.2), so that samples that are hard
to predict have wider intervals. Letters: N samples, G inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.ensemble.conformal import Scores, all_numbers
from aam_core.errors import InputError

__all__ = [
    "COVERAGE",
    "Evidence",
    "Interval",
    "constant_width",
    "evidence",
    "held_out_bounds",
    "in_words",
    "quintiles",
    "with_quantiles",
]

COVERAGE = 0.9
"""Share of new samples that a prediction interval is meant to cover, where none is asked for."""

_FEW = 60
"""Held-out samples below which all intervals are of one width: fewer tell hardly where errors are
large, and a wrong guess makes intervals wider than they need be."""

_PENALTY = 20.0
"""Of the squared weights of `_Scale`, in samples."""

_LARGEST = 0.95
"""Quantile of the absolute residuals that larger ones count as: one far off would make the expected
size, and so the intervals, of all samples larger."""

_SMALLEST = 0.05
"""Deviations of the target that are added before a logarithm is taken: of no spread it is -inf."""


def constant_width(residuals: np.ndarray, coverage: float = COVERAGE) -> float:
    """Half width of intervals that are alike for all samples, in the units of the residuals.

    Parameters
    ----------
    residuals : ndarray
        [N] of held-out samples.
    coverage : float
        In (0, 1).
    """
    return Scores.of(np.abs(residuals)).quantile(coverage)


def in_words(half_width: float, mean_width: float | None = None, units: str = "") -> str:
    """How wide intervals are: those that are alike for all samples, or the mean of others.

    Parameters
    ----------
    half_width : float
        As of `Interval`.
    mean_width : float, optional
        Mean width of the intervals of held-out samples, where it is known.
    units : str

    >>> in_words(6.0, 12.0, "days"), in_words(6.0, 13.0)
    ('± 6 days', '± 6.5 in the mean')
    """
    unit = f" {units}" if units else ""
    if mean_width is None or abs(mean_width / 2 - half_width) <= 1e-9 * abs(half_width):
        return f"± {half_width:.4g}{unit}"
    return f"± {mean_width / 2:.4g}{unit} in the mean"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What tells how hard each sample is to predict, of one target.

    Attributes
    ----------
    prediction : ndarray
        [N] in units.
    richness : ndarray
        [N] number of ASVs.
    spread : ndarray or None
        [N] standard deviation over the trees, in units.
    apart : ndarray or None
        [N] distance between the predictions of networks and forest, in units.
    below, above : ndarray or None
        [N] how far the outermost quantiles that the network predicts are from its median.
    """

    prediction: np.ndarray
    richness: np.ndarray
    spread: np.ndarray | None = None
    apart: np.ndarray | None = None
    below: np.ndarray | None = None
    above: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> Evidence:
        """That of some samples."""
        parts = vars(self).items()
        return Evidence(**{k: None if part is None else part[rows] for k, part in parts})

    def inputs(self, unit: float) -> np.ndarray:
        """[N, G]; columns that there are not are 0."""
        none = np.zeros(len(self.prediction))
        logged = [
            none if part is None else np.log(part / unit + _SMALLEST)
            for part in (self.spread, self.apart)
        ]
        return np.stack([self.prediction / unit, *logged, np.log(self.richness + 1.0)], 1)


@dataclass(frozen=True)
class _Scale:
    """Expected size of the absolute residual: the exponential of a linear function.

    Attributes
    ----------
    unit : float
        Standard deviation of the target.
    center, deviation : tuple of float
        [G] of the inputs.
    weights : tuple of float
        [G + 2]: constant, each input, and the square of the first.
    """

    unit: float
    center: tuple[float, ...]
    deviation: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def fit(cls, evidence: Evidence, residuals: np.ndarray, unit: float) -> _Scale:
        """Maximize the penalized likelihood of residuals with Laplace distributions.

        Its logarithm is concave in the weights, and no logarithm of a residual is taken, of which
        the smallest, that tell nothing, would be the most extreme.
        """
        inputs = evidence.inputs(unit)
        # A column of zeros stays one.
        deviation = np.where(inputs.std(0) > 1e-9, inputs.std(0), 1.0)
        empty = cls(unit, tuple(inputs.mean(0).tolist()), tuple(deviation.tolist()), ())
        design, sizes = empty._design(evidence), np.abs(residuals) / unit
        sizes = np.minimum(sizes, np.quantile(sizes, _LARGEST))
        penalty = np.eye(design.shape[1]) * _PENALTY
        penalty[0, 0] = 0.0
        weights = np.zeros(design.shape[1])
        weights[0] = np.log(sizes.mean() + 1e-9)
        for _ in range(100):
            ratio = sizes * np.exp(-np.clip(design @ weights, -30, 30))
            gradient = design.T @ (1 - ratio) + penalty @ weights
            curvature = design.T @ (design * ratio[:, None]) + penalty
            curvature[0, 0] += 1e-9
            step = np.linalg.solve(curvature, gradient)
            weights = weights - np.clip(step, -1, 1)  # bounded: far from the optimum it overshoots
            if np.abs(step).max() < 1e-9:
                break
        return replace(empty, weights=tuple(weights.tolist()))

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """[N] in units, above 0."""
        return self.unit * np.exp(np.clip(self._design(evidence) @ np.array(self.weights), -30, 30))

    def _design(self, evidence: Evidence) -> np.ndarray:
        inputs = (evidence.inputs(self.unit) - self.center) / self.deviation
        # Beyond what was seen the size stays: a line that goes on would make it anything.
        inputs = np.clip(inputs, -3, 3)
        return np.column_stack([np.ones(len(inputs)), inputs, inputs[:, 0] ** 2])


@dataclass(frozen=True)
class Interval:
    """How wide the prediction intervals of a model are, of one target.

    Attributes
    ----------
    coverage : float
        Share of new samples that they are meant to cover, where none is asked for.
    half_width : float
        Of intervals of that coverage that are alike for all samples, in the target's units.
    scores : Scores or None
        None where an AAM of format 5 or earlier saved it: all intervals have ``half_width``.
    scale : _Scale or None
        What residuals are divided by; None where they are not.
    quantiles : bool
        Whether the intervals start from the quantiles that the network predicts (Romano, Patterson,
        Candes 2019, NeurIPS 32: conformalized quantile regression).
    """

    coverage: float
    half_width: float
    scores: Scores | None = None
    scale: _Scale | None = None
    quantiles: bool = False

    @classmethod
    def fit(
        cls,
        residuals: np.ndarray,
        evidence: Evidence,
        folds: Sequence[int],
        *,
        unit: float,
        method: str = "normalized",
        by: Sequence[str] = (),
        groups: Sequence[str] | None = None,
    ) -> Interval:
        """From out-of-fold predictions.

        Parameters
        ----------
        residuals : ndarray
            [N] actual values minus predictions, in units.
        evidence : Evidence
        folds : sequence of int
            [N]; the expected size of a residual comes from the other folds, that it be as for a new
            sample.
        unit : float
            Standard deviation of the target, above 0.
        method : {'normalized', 'constant'}
            'constant' where all samples shall have one width, and where there are fewer than 60.
            Quantiles, where there are some, are used in any case.
        by, groups
            Metadata columns, and the group of each sample that they make.
        """
        half = constant_width(residuals)
        if evidence.below is not None and evidence.above is not None:
            scores = np.maximum(-residuals - evidence.below, residuals - evidence.above)
            return cls(COVERAGE, half, Scores.of(scores, by, groups), None, True)
        sizes = np.abs(residuals)
        if method == "constant" or len(residuals) < _FEW:
            return cls(COVERAGE, half, Scores.of(sizes, by, groups))
        parts = np.asarray(folds)
        if len(np.unique(parts)) < 2:
            parts = np.arange(len(residuals)) % 5
        expected = np.empty(len(residuals))
        for part in np.unique(parts):
            test = parts == part
            scale = _Scale.fit(evidence.of(~test), residuals[~test], unit)
            expected[test] = scale(evidence.of(test))
        whole = _Scale.fit(evidence, residuals, unit)
        return cls(COVERAGE, half, Scores.of(sizes / expected, by, groups), whole)

    @property
    def by(self) -> tuple[str, ...]:
        """Metadata columns that it reads of a sample."""
        return () if self.scores is None else self.scores.by

    def check(self, confidence: float | None) -> None:
        """Refuse a confidence that this interval does not tell."""
        if self.scores is None and confidence not in (None, self.coverage):
            raise InputError(
                f"An earlier AAM saved this model, with an interval of {self.coverage:.0%} alone: "
                f"fit it again to predict with a confidence of {confidence:g}."
            )

    def bounds(
        self,
        evidence: Evidence,
        confidence: float | None = None,
        groups: Sequence[str] | None = None,
    ) -> np.ndarray:
        """[N, 2] lower and upper bounds in units.

        Parameters
        ----------
        confidence : float, optional
            In (0, 1); ``coverage`` where not given.
        groups : sequence of str, optional
            [N] group of each sample; those without scores of their own have those of all.
        """
        self.check(confidence)
        prediction = evidence.prediction
        below = above = np.full(len(prediction), self.half_width)
        if self.scores is not None:
            level = self.coverage if confidence is None else confidence
            below = above = self.scores.quantiles(level, len(prediction), groups)
        if self.scale is not None:
            below = above = above * self.scale(evidence)
        if self.quantiles:
            assert evidence.below is not None and evidence.above is not None
            # Scores of wide quantiles are below 0; the prediction itself stays inside.
            below = np.maximum(evidence.below + below, 0.0)
            above = np.maximum(evidence.above + above, 0.0)
        return np.stack([prediction - below, prediction + above], 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values: dict[str, Any] = {"coverage": self.coverage, "half_width": self.half_width}
        if self.scores is not None:
            values["scores"] = self.scores.to_dict()
            values["quantiles"] = self.quantiles
        if self.scale is not None:
            parts = vars(self.scale).items()
            values["scale"] = {k: v if k == "unit" else list(v) for k, v in parts}
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Interval:
        """The inverse of `to_dict`; `ValueError` where these are no such values."""
        keys = {"coverage", "half_width", "scores", "scale", "quantiles"}
        if not isinstance(values, dict) or not {"coverage", "half_width"} <= set(values) <= keys:
            raise ValueError
        numbers = values["coverage"], values["half_width"]
        if not all_numbers(numbers) or min(numbers) < 0:
            raise ValueError
        if type(values.get("quantiles", True)) is not bool:
            raise ValueError
        scores = None if "scores" not in values else Scores.from_dict(values["scores"])
        scale = None if "scale" not in values else _saved_scale(values["scale"])
        return cls(*numbers, scores, scale, values.get("quantiles", False))


def evidence(
    counts: csr_matrix,
    predictions: np.ndarray,
    by_networks: np.ndarray | None = None,
    by_forest: np.ndarray | None = None,
    spread: np.ndarray | None = None,
) -> list[Evidence]:
    """What tells how hard samples are to predict, of each target.

    Parameters
    ----------
    counts : csr_matrix
        [N, features] reads.
    predictions : ndarray
        [N, T] in units, of networks and forest together.
    by_networks, by_forest, spread : ndarray, optional
        [N, T] their parts, and the standard deviation over the trees; without a forest none counts.
    """
    richness = counts.getnnz(axis=1).astype(np.float64)
    apart = None
    if by_networks is not None and by_forest is not None:
        apart = np.abs(by_networks - by_forest)
    return [
        Evidence(
            predictions[:, target],
            richness,
            None if spread is None else spread[:, target],
            None if apart is None else apart[:, target],
        )
        for target in range(predictions.shape[1])
    ]


def with_quantiles(known: Evidence, quantiles: np.ndarray, median: np.ndarray) -> Evidence:
    """With the quantiles [N, Q], ascending, that networks predict around their median [N].

    The forest moves the prediction; it says nothing on their distances from it.
    """
    # Members may disagree on the order by rounding alone.
    below = np.maximum(median - quantiles[:, 0], 0.0)
    return replace(known, below=below, above=np.maximum(quantiles[:, -1] - median, 0.0))


def held_out_bounds(
    residuals: np.ndarray,
    known: Evidence,
    folds: Sequence[int],
    *,
    groups: Sequence[str] | None = None,
    **options: Any,
) -> np.ndarray | None:
    """Bounds of held-out samples by the intervals that the other folds alone give, to score them.

    The interval of all residuals covers its nominal share of them by construction, which would
    tell nothing.

    Returns
    -------
    ndarray or None
        [N, 2]; None where there is a single fold.
    """
    parts = np.asarray(folds)
    if len(np.unique(parts)) < 2:
        return None
    bounds = np.empty((len(residuals), 2))
    names = None if groups is None else np.asarray(groups, dtype=object)
    for part in np.unique(parts):
        test = parts == part
        rest = None if names is None else names[~test]
        given = residuals[~test], known.of(~test), parts[~test]
        interval = Interval.fit(*given, groups=rest, **options)
        here = None if names is None else names[test]
        bounds[test] = interval.bounds(known.of(test), groups=here)
    return bounds


def quintiles(predictions: np.ndarray) -> np.ndarray:
    """[N] fifth of the predictions, from 0 to 4, that each is in."""
    return np.searchsorted(np.quantile(predictions, [0.2, 0.4, 0.6, 0.8]), predictions)


def _saved_scale(values: Any) -> _Scale:
    if not isinstance(values, dict) or set(values) != {"unit", "center", "deviation", "weights"}:
        raise ValueError
    lists = [values[name] for name in ("center", "deviation", "weights")]
    if not all(isinstance(part, list) and all_numbers(part) for part in lists):
        raise ValueError
    center, deviation, weights = lists
    whole = all_numbers([values["unit"]]) and values["unit"] > 0 and min(deviation, default=0) > 0
    if not whole or (len(center), len(deviation), len(weights)) != (4, 4, 6):
        raise ValueError
    return _Scale(values["unit"], tuple(center), tuple(deviation), tuple(weights))
