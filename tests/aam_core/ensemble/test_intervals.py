"""Tests of aam_core.ensemble.intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aam_core.ensemble.intervals import (
    Evidence,
    Interval,
    constant_width,
    evidence,
    held_out_bounds,
    quintiles,
)
from aam_core.errors import InputError


@pytest.mark.parametrize(
    "count, coverage, place",
    [(9, 0.9, 9), (19, 0.9, 18), (10, 0.5, 6), (3, 0.9, 3), (1, 0.9, 1), (99, 0.9, 90)],
)
def test_the_constant_width_is_the_conformal_quantile(count, coverage, place):
    values = np.arange(1.0, count + 1) * np.where(np.arange(count) % 2, 1, -1)
    shuffled = np.random.default_rng(0).permutation(values)
    assert constant_width(shuffled, coverage) == place


def test_an_interval_holds_new_samples_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        width = constant_width(rng.standard_t(3, 30))
        covered.append(np.mean(np.abs(rng.standard_t(3, 200)) <= width))
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.01)


def uneven(size, seed):
    """Residuals whose size is that of the spread of the trees, and the evidence."""
    rng = np.random.default_rng(seed)
    spread = np.exp(rng.normal(0, 0.8, size))
    known = Evidence(rng.normal(50, 10, size), np.full(size, 40.0), spread, np.ones(size))
    return rng.normal(0, 1, size) * spread, known


FOLDS = np.arange(300) % 5


@pytest.fixture(scope="module")
def fitted():
    return Interval.fit(*uneven(300, 1), FOLDS, unit=2.0)


def test_samples_that_are_hard_to_predict_have_wider_intervals(fitted):
    residuals, known = uneven(4000, 2)
    bounds = fitted.bounds(known)
    within = np.abs(residuals) <= bounds[:, 1] - known.prediction
    width = bounds[:, 1] - bounds[:, 0]
    assert 0.86 < within.mean() < 0.94
    # A constant width covers nearly all of the easy samples, and too few of the hard ones.
    for fifth in range(5):
        assert 0.82 < within[quintiles(known.spread) == fifth].mean() < 0.97
    assert np.corrcoef(np.log(width), np.log(known.spread))[0, 1] > 0.95


def test_one_residual_far_off_does_not_widen_the_intervals_of_all():
    residuals, known = uneven(70, 6)
    residuals[3] = 50 * residuals.std()
    interval = Interval.fit(residuals, known, np.arange(70) % 5, unit=float(residuals.std()))
    assert np.ptp(interval.bounds(known), axis=1).mean() < 1.3 * 2 * interval.half_width


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_any_confidence(fitted, confidence):
    residuals, known = uneven(4000, 3)
    lower, upper = (fitted.bounds(known, confidence) - known.prediction[:, None]).T
    assert ((lower <= residuals) & (residuals <= upper)).mean() == pytest.approx(
        confidence, abs=0.06
    )


def test_bounds_of_held_out_samples_are_of_the_other_folds():
    """A fold that is predicted worse than the others is not within their interval."""
    residuals = np.tile(np.linspace(-1, 1, 20), 5)
    folds = np.repeat(range(5), 20)
    residuals[folds == 2] *= 100
    known = Evidence(np.zeros(100), np.full(100, 9.0))
    bounds = held_out_bounds(residuals, known, folds, unit=1.0, method="constant")
    within = (bounds[:, 0] <= residuals) & (residuals <= bounds[:, 1])
    assert within[folds == 2].mean() < 0.2 and within[folds != 2].all()
    assert held_out_bounds(residuals, known, np.zeros(100), unit=1.0) is None


def test_few_samples_and_the_setting_give_one_width():
    residuals, known = uneven(59, 4)
    one = Interval.fit(residuals, known, np.arange(59) % 5, unit=2.0)
    other = Interval.fit(*uneven(300, 1), FOLDS, unit=2.0, method="constant")
    for interval in (one, other):
        width = np.ptp(interval.bounds(known), axis=1)
        assert width == pytest.approx(2 * interval.half_width)


def test_groups_have_widths_of_their_own():
    rng = np.random.default_rng(5)
    names = np.array(["wide"] * 100 + ["narrow"] * 100 + ["few"] * 9)
    sizes = np.array([5.0] * 100 + [1.0] * 100 + [1.0] * 9)
    known = Evidence(np.zeros(209), np.ones(209))
    options = {"unit": 1.0, "method": "constant", "by": ["site"]}
    residuals = rng.normal(0, 1, 209) * sizes
    interval = Interval.fit(residuals, known, np.arange(209) % 5, groups=names, **options)
    assert interval.by == ("site",) and set(interval.scores.groups) == {"wide", "narrow"}
    asked = ["wide", "narrow", "few", "new"]
    wide, narrow, few, new = np.ptp(interval.bounds(known.of(np.arange(4)), 0.9, asked), axis=1)
    assert wide > 3 * narrow and few == new == pytest.approx(2 * interval.half_width)


def test_quantiles_are_conformalized():
    """Quantiles that are too narrow are widened, too wide ones narrowed, by sample as they are."""
    rng = np.random.default_rng(6)
    sizes = np.exp(rng.normal(0, 0.7, 2000))
    residuals = rng.normal(0, 1, 2000) * sizes
    for factor in (0.5, 4.0):
        known = Evidence(
            np.zeros(2000), np.ones(2000), below=factor * sizes, above=1.5 * factor * sizes
        )
        half = np.arange(2000) < 1000
        interval = Interval.fit(residuals[half], known.of(half), FOLDS[:1] * 0, unit=1.0)
        bounds = interval.bounds(known.of(~half))
        within = (bounds[:, 0] <= residuals[~half]) & (residuals[~half] <= bounds[:, 1])
        assert 0.87 < within.mean() < 0.93
        assert (bounds[:, 0] <= 0).all() and (bounds[:, 1] >= 0).all()
        assert np.ptp(bounds, axis=1).std() > 0.1


def test_saved_and_opened(fitted):
    _, known = uneven(20, 7)
    many = Interval.fit(*uneven(5000, 8), np.arange(5000) % 5, unit=2.0)
    for interval in (fitted, many):
        opened = Interval.from_dict(json.loads(json.dumps(interval.to_dict())))
        assert opened == interval
        assert (opened.bounds(known) == interval.bounds(known)).all()
    assert len(many.scores.values) == 2000 and many.scores.count == 5000
    exact = np.sort(np.abs(uneven(5000, 8)[0]) / many.scale(uneven(5000, 8)[1]))[4500]
    assert many.scores.quantile(0.9) == pytest.approx(exact, rel=0.05)


def test_an_interval_of_an_earlier_format_has_one_confidence():
    interval = Interval.from_dict({"coverage": 0.9, "half_width": 2.0})
    known = Evidence(np.zeros(3), np.ones(3))
    assert (interval.bounds(known) == [-2, 2]).all()
    assert (interval.bounds(known, 0.9) == [-2, 2]).all()
    with pytest.raises(InputError, match="interval of 90% alone: fit it again"):
        interval.bounds(known, 0.8)


@pytest.mark.parametrize(
    "change",
    [
        {"half_width": -1.0},
        {"more": 1},
        {"scores": {"values": [2.0, 1.0], "count": 2}},
        {"scores": {"values": [], "count": 0}},
        {"scores": {"values": [1.0], "count": 1, "groups": 7}},
        {"scale": {"unit": 0.0}},
        {"quantiles": 1},
    ],
)
def test_damaged_values_are_refused(fitted, change):
    with pytest.raises(ValueError):
        Interval.from_dict(fitted.to_dict() | change)


def test_evidence_is_of_each_target(small):
    values = np.arange(120.0).reshape(60, 2)
    alone = evidence(small.counts, values)
    assert len(alone) == 2 and alone[0].spread is None and alone[0].apart is None
    both = evidence(small.counts, values, values, values + 3, values * 2)
    assert (both[1].apart == 3).all() and (both[1].spread == values[:, 1] * 2).all()
    assert (both[0].richness == (small.counts.toarray() > 0).sum(1)).all()
