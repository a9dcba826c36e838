"""The kinds of trees that a forest of the ensemble is made of.

Random forests (Breiman L 2001, Machine Learning 45: 5-32) on relative abundances, extremely
randomized trees (Geurts P, Ernst D, Wehenkel L 2006, Machine Learning 63: 3-42) on their
logarithms and, for numbers, the median alone. No kind is best everywhere, so that each study has a
mixture; ``plain`` is the baseline of a cross-validation (`aam_core.baseline`), so that the forest
need not be behind it.
Letters: n samples to learn from, P inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from aam_core.errors import lookup

__all__ = ["KINDS", "Kind", "grow", "kinds_of", "log_shares", "share_out"]

_PSEUDO = 1e-4
"""Added to a relative abundance before its logarithm is taken."""

_MOST_TRIED = 300
"""Inputs that a split tries at most, where it does not try all of them."""

_MOST_DRAWN = 5_000
"""Samples that a tree is trained on at most."""

_DENSE = 100_000_000
"""Numbers up to which the inputs of a fit are a dense array, which is faster."""


def _some(width: int) -> int:
    """Three tenths of the inputs."""
    return min(max(1, round(0.3 * width)), _MOST_TRIED)


@dataclass(frozen=True)
class Kind:
    """How the trees of one kind are trained.

    Attributes
    ----------
    name : str
        scikit-learn's class.
    tried : callable
        From the number of inputs to ``max_features``.
    logged : bool
        Whether it reads logarithms of abundances.
    options : dict
        Further options of scikit-learn.
    """

    name: str
    tried: Callable[[int], Any]
    logged: bool = False
    options: dict[str, Any] = field(default_factory=dict)


_EXTRA = {"bootstrap": False}
"""Extremely randomized trees see all samples (Geurts)."""

_MEDIAN = {"criterion": "absolute_error", "min_samples_leaf": 0.6, "bootstrap": False}
"""Trees of one leaf: where the abundances tell little of the target, nothing errs less."""

KINDS = {
    "regression": {
        "plain": Kind("RandomForestRegressor", lambda width: None),
        "random": Kind("RandomForestRegressor", _some),
        "extra": Kind("ExtraTreesRegressor", _some, logged=True, options=_EXTRA),
        "extra-all": Kind("ExtraTreesRegressor", lambda width: None, logged=True, options=_EXTRA),
        "median": Kind("RandomForestRegressor", lambda width: 1, options=_MEDIAN),
    },
    "classification": {
        "plain": Kind("RandomForestClassifier", lambda width: "sqrt"),
        "entropy": Kind(
            "RandomForestClassifier",
            lambda width: "sqrt",
            options={"criterion": "entropy", "min_samples_leaf": 3},
        ),
        "random": Kind("RandomForestClassifier", _some, options={"criterion": "entropy"}),
        "extra": Kind(
            "ExtraTreesClassifier",
            _some,
            logged=True,
            options={"criterion": "entropy", "min_samples_leaf": 3, **_EXTRA},
        ),
    },
}
"""By the name of the task, and by their own."""


def share_out(trees: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers of trees in proportion to the shares; kinds without trees are dropped.

    >>> share_out(10, {"plain": 0.25, "extra": 0.75, "random": 0.0})
    {'plain': 3, 'extra': 7}
    """
    exact = {kind: trees * share / sum(shares.values()) for kind, share in shares.items()}
    numbers = {kind: int(each) for kind, each in exact.items()}
    # The largest remainders are rounded up; of equal ones the first.
    missing = trees - sum(numbers.values())
    for kind in sorted(exact, key=lambda kind: numbers[kind] - exact[kind])[:missing]:
        numbers[kind] += 1
    return {kind: number for kind, number in numbers.items() if number}


def grow(kind: Kind, trees: int, abundances, extra, target, seed: int, jobs: int) -> Any:
    """A forest of scikit-learn with trees of one kind, fitted.

    Parameters
    ----------
    kind : Kind
    trees : int
    abundances : csr_matrix
        Relative abundances of the n samples.
    extra : ndarray
        [n, V] inputs of covariates, which follow the abundances.
    target : tuple of (ndarray, ndarray or None)
        [n] values, or places of classes; and what each sample counts, where not alike.
    seed, jobs : int
        ``random_state`` and ``n_jobs``.
    """
    from sklearn import ensemble

    (y, weights), options = target, dict(kind.options)
    if len(y) > _MOST_DRAWN:  # max_samples needs bootstrap
        options |= {"bootstrap": True, "max_samples": _MOST_DRAWN}
    # By columns: abundances are one block, before the covariates. Made anew for each kind, as the
    # logarithm is taken in place.
    inputs = sparse.hstack([abundances, sparse.csr_matrix(extra)], format="csc")
    if kind.logged:
        values = inputs.data[: inputs.indptr[abundances.shape[1]]]
        values[:] = log_shares(values)
    if inputs.shape[0] * inputs.shape[1] <= _DENSE:
        inputs = inputs.toarray()
    make = getattr(ensemble, kind.name)
    options |= {"max_features": kind.tried(inputs.shape[1]), "random_state": seed, "n_jobs": jobs}
    return make(trees, **options).fit(inputs, y, sample_weight=weights)


def log_shares(shares: np.ndarray) -> np.ndarray:
    """float32 [...]: log(share + _PSEUDO) - log(_PSEUDO), which leaves 0 where it is."""
    return np.log1p(shares.astype(np.float64) / _PSEUDO).astype(np.float32)


def kinds_of(task: str) -> dict[str, Kind]:
    """The kinds of a task, by name."""
    return lookup(KINDS, task, "task of a forest")
