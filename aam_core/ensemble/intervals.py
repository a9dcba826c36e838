"""Prediction intervals of a regression, from the residuals of out-of-fold predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

__all__ = ["COVERAGE", "coverage", "half_width"]

COVERAGE = 0.9
"""Share of new samples that a prediction interval is meant to cover."""


def half_width(predictions: pd.DataFrame, nominal: float = COVERAGE) -> float:
    """Half width of a prediction interval, in the target's units.

    Split conformal prediction (Lei et al. 2018, J. Am. Stat. Assoc. 113:1094, algorithm 2): the
    ``ceil((n + 1) nominal)``-th smallest absolute residual; the largest where n is too small.

    Parameters
    ----------
    predictions : DataFrame
        ``actual`` and ``prediction`` of n samples that were held out.
    nominal : float
        Coverage that is aimed at, in (0, 1).
    """
    residuals = np.sort((predictions["actual"] - predictions["prediction"]).abs().to_numpy())
    place = min(len(residuals), math.ceil((len(residuals) + 1) * nominal))
    return float(residuals[place - 1])


def coverage(
    predictions: pd.DataFrame, folds: Sequence[int], nominal: float = COVERAGE
) -> float | None:
    """Share of samples within the interval that the residuals of the other folds give.

    The interval of all residuals covers its nominal share of them by construction, which would
    tell nothing.

    Parameters
    ----------
    predictions : DataFrame
        As in `half_width`.
    folds : sequence of int
        [n] fold of each sample.

    Returns
    -------
    float or None
        None where there is a single fold.
    """
    folds = np.asarray(folds)
    error = (predictions["actual"] - predictions["prediction"]).abs().to_numpy()
    within = np.zeros(len(predictions), bool)
    if len(np.unique(folds)) < 2:
        return None
    for fold in np.unique(folds):
        test = folds == fold
        within[test] = error[test] <= half_width(predictions[~test], nominal)
    return float(within.mean())
