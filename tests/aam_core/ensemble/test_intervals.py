"""Tests of aam_core.ensemble.intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.ensemble import intervals


def residuals(values):
    return pd.DataFrame({"actual": values, "prediction": np.zeros(len(values))})


@pytest.mark.parametrize(
    "count, coverage, place",
    [(9, 0.9, 9), (19, 0.9, 18), (10, 0.5, 6), (3, 0.9, 3), (1, 0.9, 1), (99, 0.9, 90)],
)
def test_half_width_is_the_conformal_quantile(count, coverage, place):
    values = np.arange(1.0, count + 1) * np.where(np.arange(count) % 2, 1, -1)
    shuffled = np.random.default_rng(0).permutation(values)
    assert intervals.half_width(residuals(shuffled), coverage) == place


def test_coverage_is_that_of_the_other_folds_residuals():
    """A fold that is predicted worse than the others is not within their interval."""
    frame = residuals(np.tile(np.linspace(-1, 1, 20), 5))
    folds = np.repeat(range(5), 20)
    assert intervals.coverage(frame, folds, 0.9) >= 0.9
    frame.loc[folds == 2, "actual"] *= 100
    within = (frame["actual"].abs() <= intervals.half_width(frame, 0.9)).mean()
    assert within >= 0.9  # by construction
    expected = [0.1, *[1.0] * 4]  # of fold 2 those near 0; of the others all
    assert intervals.coverage(frame, folds, 0.9) == pytest.approx(np.mean(expected), abs=0.03)
    assert intervals.coverage(frame, [0] * len(frame), 0.9) is None


def test_an_interval_holds_new_samples_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        width = intervals.half_width(residuals(rng.standard_t(3, 30)), 0.9)
        covered.append(np.mean(np.abs(rng.standard_t(3, 200)) <= width))
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.01)
