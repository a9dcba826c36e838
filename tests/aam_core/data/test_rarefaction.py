from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from aam_core.config import DataConfig
from aam_core.data.rarefaction import (
    ALL,
    RAREFACTIONS,
    SELECTIONS,
    draw_depth,
    rarefy,
    sample_rng,
    select,
)
from aam_core.errors import InputError

COUNTS = np.array([500, 300, 150, 40, 9, 1], np.int64)


def rng(seed=0):
    return np.random.default_rng(seed)


# --- names ---------------------------------------------------------------------------------------


def test_the_configuration_offers_every_kind():
    choices = {field.name: field.metadata["choices"] for field in fields(DataConfig)}
    assert choices["rarefaction"] == tuple(RAREFACTIONS)
    assert choices["asv_selection"] == tuple(SELECTIONS)


def test_an_unknown_kind_is_refused():
    unknown = SimpleNamespace(rarefaction="twice", asv_selection="rare", max_asvs=9)
    with pytest.raises(InputError, match="rarefaction must be one of redraw, .* not 'twice'"):
        draw_depth(unknown, None)
    with pytest.raises(InputError, match="must be one of abundance, .* not 'rare'"):
        select(COUNTS, unknown, rng())


# --- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 10, 500, 999])
def test_exactly_the_depth_and_never_more_than_there_is(depth):
    drawn = rarefy(COUNTS, depth, rng())
    assert drawn.sum() == depth
    assert (drawn >= 0).all() and (drawn <= COUNTS).all()


@pytest.mark.parametrize("depth", [1000, 5000])
def test_a_shallow_sample_keeps_its_reads(depth):
    assert rarefy(COUNTS, depth, rng()).tolist() == COUNTS.tolist()


def test_every_read_is_as_likely():
    """Without replacement: mean n p, variance n p (1 - p) (N - n) / (N - 1)."""
    drawn = np.array([rarefy(COUNTS, 200, rng(seed)) for seed in range(2000)])
    share = COUNTS / COUNTS.sum()
    assert drawn.mean(0) == pytest.approx(200 * share, abs=0.4)
    variance = 200 * share * (1 - share) * (1000 - 200) / 999
    assert drawn.var(0) == pytest.approx(variance, rel=0.15)


def test_the_key_of_a_draw():
    def first(*key):
        return sample_rng(*key).integers(2**60)

    assert first(0, "s1", 3) == first(0, "s1", 3)
    keys = [(0, "s1", 3), (1, "s1", 3), (0, "s2", 3), (0, "s1", 4), (0, "s1", 0), (0, "größe", 3)]
    assert len({first(*key) for key in keys}) == len(keys)


# --- depths --------------------------------------------------------------------------------------


def test_one_depth():
    config = DataConfig(sampling_depth=700)
    assert {draw_depth(config, rng(i)) for i in range(20)} | {draw_depth(config, None)} == {700}


def test_depths_between_two_are_log_uniform():
    config = DataConfig(sampling_depth=100, sampling_depth_max=10000)
    depths = np.array([draw_depth(config, rng(i)) for i in range(3000)])
    assert depths.min() >= 100 and depths.max() <= 10000
    assert np.mean(depths < 1000) == pytest.approx(0.5, abs=0.04)
    assert draw_depth(config, None) == 10000  # evaluation: the least noise


def test_a_smallest_depth_above_the_largest():
    config = DataConfig(sampling_depth=5000, sampling_depth_max=1000)
    assert draw_depth(config, rng()) == draw_depth(config, None) == 5000


def test_a_fixed_depth_is_sampling_depth():
    config = DataConfig(rarefaction="fixed", sampling_depth=100, sampling_depth_max=10000)
    assert draw_depth(config, None) == draw_depth(config, rng()) == 100


def test_some_draws_keep_every_read():
    config = DataConfig(sampling_depth=100, sampling_depth_max=10000, full_depth=0.3)
    depths = np.array([draw_depth(config, rng(i)) for i in range(3000)])
    assert np.mean(depths == ALL) == pytest.approx(0.3, abs=0.03)
    others = depths[depths != ALL]
    assert others.min() >= 100 and others.max() <= 10000
    assert np.mean(others < 1000) == pytest.approx(0.5, abs=0.04)
    assert draw_depth(config, None) == ALL  # evaluation: as many as training may
    assert rarefy(COUNTS, ALL, rng()).tolist() == COUNTS.tolist()


@pytest.mark.parametrize("share, kept", [(0.0, 0), (1.0, 20)])
def test_all_draws_or_none_keep_every_read(share, kept):
    config = DataConfig(sampling_depth=100, full_depth=share)
    depths = [draw_depth(config, rng(i)) for i in range(20)]
    assert depths.count(ALL) == kept and depths.count(100) == 20 - kept


def test_a_fixed_depth_is_never_the_full_one():
    config = DataConfig(rarefaction="fixed", sampling_depth=100, full_depth=1.0)
    assert draw_depth(config, None) == draw_depth(config, rng()) == 100


# --- choice of ASVs ------------------------------------------------------------------------------

READS = np.array([3, 9, 1, 7, 3, 3], np.int64)


@pytest.mark.parametrize(
    "how, most, kept",
    [
        ("abundance", 2, [1, 3]),
        ("abundance", 4, [0, 1, 3, 4]),  # ties go to the first
        ("first", 2, [0, 1]),
        ("abundance", 6, [0, 1, 2, 3, 4, 5]),
        ("random", 9, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_choice(how, most, kept):
    assert select(READS, DataConfig(asv_selection=how, max_asvs=most), rng()).tolist() == kept


def test_a_random_choice():
    config = DataConfig(asv_selection="random", max_asvs=2)
    chosen = np.array([select(READS, config, rng(i)) for i in range(3000)])
    assert (chosen[:, 0] < chosen[:, 1]).all()
    assert np.bincount(chosen.ravel()) / 3000 == pytest.approx(np.full(6, 1 / 3), abs=0.05)
