"""Tests of aam_core.ensemble.novelty."""

from __future__ import annotations

import numpy as np
import pytest

from aam_core.ensemble.novelty import FAR, Novelty, warning
from aam_core.errors import InputError

MASKS = np.arange(4)[:, None] % 2 == np.arange(200)[None, :] % 2
SHAPE = np.random.default_rng(9).normal(size=(4, 6, 6))


def drawn(size, seed, shift=0.0):
    """Vectors [4, size, 6] of four members, each with a covariance of its own."""
    values = np.random.default_rng(seed).normal(size=(4, size, 6)) @ SHAPE
    values[:, :, 0] += shift
    return values.astype(np.float32)


@pytest.mark.parametrize("masks", [MASKS, np.ones_like(MASKS)])
def test_new_samples_of_the_same_kind_are_spread_over_all_ranks(masks):
    novelty = Novelty.fit(drawn(200, 0), masks).of(drawn(300, 1).transpose(1, 0, 2))
    assert novelty.mean() == pytest.approx(0.5, abs=0.1)
    assert (novelty > FAR).mean() < 0.05 and not warning(novelty)


@pytest.mark.parametrize("masks", [MASKS, np.ones_like(MASKS)])
def test_samples_of_another_kind_are_far(masks):
    novelty = Novelty.fit(drawn(200, 0), masks).of(drawn(30, 1, shift=25.0).transpose(1, 0, 2))
    assert (novelty == 1).all()
    assert warning(novelty).startswith("30 of 30 samples are farther from the training samples")


def test_few_samples_and_constant_vectors():
    assert Novelty.fit(drawn(19, 0), MASKS[:, :19]) is None
    constant = Novelty.fit(np.ones((4, 200, 6), np.float32), MASKS)
    assert np.isfinite(constant.of(np.ones((3, 4, 6)))).all()


def test_a_member_that_held_out_nothing():
    masks = np.vstack([MASKS[:3], np.zeros((1, 200), bool)])
    novelty = Novelty.fit(drawn(200, 0), masks)
    assert np.isfinite(novelty.reference).all() and len(novelty.reference) == 200


def test_saved_and_opened():
    fitted = Novelty.fit(drawn(200, 0), MASKS)
    opened = Novelty.from_tensors(fitted.to_tensors(), 4, 6)
    vectors = drawn(20, 2).transpose(1, 0, 2)
    assert (opened.of(vectors) == fitted.of(vectors)).all()
    for change in (
        {"mean": fitted.mean[:3]},
        {"mean": fitted.mean.astype(np.float64)},
        {"whitening": fitted.whitening * np.nan},
        {"reference": fitted.reference[::-1].copy()},
        {"reference": fitted.reference[:0]},
        {"more": fitted.mean},
    ):
        with pytest.raises(InputError, match="usual samples is damaged"):
            Novelty.from_tensors(fitted.to_tensors() | change, 4, 6)


# --- composition ---------------------------------------------------------------------------------


def composed(size, seed, shift=0.0):
    """Compositions [size, 5]."""
    return (np.random.default_rng(seed).normal(size=(size, 5)) + shift).astype(np.float32)


@pytest.mark.parametrize("masks", [MASKS, np.ones_like(MASKS)])
def test_what_the_networks_do_not_tell_apart_is_far_by_its_composition(masks):
    novelty = Novelty.fit(drawn(200, 0), masks, composed(200, 0))
    alike = drawn(300, 1).transpose(1, 0, 2)
    same = novelty.of(alike, composed(300, 1))
    assert same.mean() == pytest.approx(0.5, abs=0.1) and (same > FAR).mean() < 0.05
    assert (novelty.of(alike, composed(300, 1, shift=9.0)) == 1).all()
    far = drawn(30, 1, shift=25.0).transpose(1, 0, 2)
    assert (novelty.of(far, composed(30, 1)) == 1).all()


def test_a_composition_saved_and_opened():
    fitted = Novelty.fit(drawn(200, 0), MASKS, composed(200, 0))
    arrays = fitted.to_tensors()
    opened = Novelty.from_tensors(arrays, 4, 6, 5)
    vectors = drawn(20, 2).transpose(1, 0, 2), composed(20, 2)
    assert (opened.of(*vectors) == fitted.of(*vectors)).all()
    # Four members of two folds.
    assert arrays["composition_mean"].shape == (2, 5)
    for change in (
        {"composition_mean": arrays["composition_mean"][:0]},
        {"composition_mean": arrays["composition_mean"][:, :4]},
        {"composition_whitening": arrays["composition_whitening"] * np.nan},
        {"composition_more": arrays["mean"]},
        {"greatest": arrays["greatest"][::-1].copy()},
        {"greatest": arrays["greatest"][:0]},
    ):
        with pytest.raises(InputError, match="usual samples is damaged"):
            Novelty.from_tensors(arrays | change, 4, 6, 5)
    with pytest.raises(InputError, match="usual samples is damaged"):
        Novelty.from_tensors({k: v for k, v in arrays.items() if k != "greatest"}, 4, 6, 5)
