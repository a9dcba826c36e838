from __future__ import annotations

import numpy as np
import pytest

from aam_core.config import TrainConfig
from aam_core.data.sampler import Sampler, StudySampler, split_by_rank

RICH = np.random.default_rng(0).integers(1, 200, 100)
SOME = np.arange(20, 95)


def sampler(samples=SOME, rich=RICH, **config):
    return Sampler(samples, rich, TrainConfig(**config))


def padded(batch):
    """What a batch costs: its samples times the richest of them."""
    return len(batch) * RICH[batch].max()


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0, 1, 500, 10**6])
@pytest.mark.parametrize("size", [2, 7, 75, 200])
def test_every_sample_once_an_epoch(size, budget):
    made = sampler(batch_size=size, max_asvs_per_batch=budget)
    for batches in (made.epoch(0), made.epoch(7), made.in_order()):
        assert sorted(np.concatenate(batches)) == SOME.tolist()
        assert all(0 < len(batch) <= size for batch in batches)
        assert np.issubdtype(batches[0].dtype, np.integer)


def test_epochs_differ_in_order_and_are_reproducible():
    made = sampler(batch_size=8)
    orders = [np.concatenate(made.epoch(number)).tolist() for number in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    again, other = sampler(batch_size=8), sampler(batch_size=8, seed=1)
    assert np.concatenate(again.epoch(0)).tolist() == orders[0]
    assert np.concatenate(other.epoch(0)).tolist() != orders[0]


def test_an_evaluation_keeps_the_order():
    for budget in (0, 500):
        made = sampler(SOME[::-1], batch_size=8, max_asvs_per_batch=budget)
        assert np.concatenate(made.in_order()).tolist() == SOME[::-1].tolist()


@pytest.mark.parametrize("size", [4, 10, 37, 74, 75])
def test_batches_are_alike_in_size(size):
    sizes = [len(batch) for batch in sampler(batch_size=size).epoch(0)]
    assert len(sizes) == -(-75 // size) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("budget", [150, 400, 1000, 5000])
def test_the_budget_is_honoured_and_used(budget):
    made = sampler(batch_size=16, max_asvs_per_batch=budget)
    for batches in (made.epoch(0), made.in_order()):
        assert all(padded(batch) <= budget or len(batch) == 1 for batch in batches)
        for batch, following in zip(batches, batches[1:], strict=False):
            more = np.append(batch, following[0])
            assert len(batch) == 16 or padded(more) > budget


def test_a_sample_richer_than_the_budget_is_alone():
    rich = np.array([10, 10, 500, 10, 10, 700])
    made = sampler(np.arange(6), rich, batch_size=4, max_asvs_per_batch=40)
    assert [batch.tolist() for batch in made.in_order()] == [[0, 1], [2], [3, 4], [5]]
    made = sampler(np.array([2, 5]), rich, batch_size=4, max_asvs_per_batch=40)
    assert [batch.tolist() for batch in made.in_order()] == [[2], [5]]


@pytest.mark.parametrize("budget", [0, 40])
def test_nothing_makes_no_batch(budget):
    made = sampler(np.arange(0), batch_size=4, max_asvs_per_batch=budget)
    assert made.epoch(0) == made.in_order() == []


# --- deal ----------------------------------------------------------------------------------------


def test_alone_a_process_keeps_the_order():
    batch = np.array([4, 2, 9])
    (own,) = split_by_rank(batch, RICH, 1)
    assert own.tolist() == [4, 2, 9]


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
@pytest.mark.parametrize("size", [1, 2, 5, 16, 33])
def test_every_sample_has_one_process(size, processes):
    batch = np.random.default_rng(size).permutation(100)[:size]
    parts = split_by_rank(batch, RICH, processes)
    assert len(parts) == processes
    assert sorted(np.concatenate(parts)) == sorted(batch)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_have_alike_richness(processes):
    """The sums differ by less than the spread of one round of dealing."""
    for seed in range(20):
        batch = np.random.default_rng(seed).permutation(100)[:32]
        sums = [RICH[part].sum() for part in split_by_rank(batch, RICH, processes)]
        assert max(sums) - min(sums) <= np.ptp(RICH[batch])
    naive = [
        np.ptp([RICH[part].sum() for part in np.array_split(np.arange(s, s + 32), processes)])
        for s in range(0, 60, 3)
    ]
    fair = [
        np.ptp([RICH[part].sum() for part in split_by_rank(np.arange(s, s + 32), RICH, processes)])
        for s in range(0, 60, 3)
    ]
    assert np.mean(fair) < 0.2 * np.mean(naive)


def test_fewer_samples_than_processes():
    parts = split_by_rank(np.array([7, 3]), RICH, 5)
    assert sorted(map(len, parts)) == [0, 0, 0, 1, 1]


def test_dealing_does_not_follow_the_order_of_the_batch():
    """Samples of different richness: the same share, whichever way the batch lies."""
    rich = np.random.default_rng(1).permutation(100)
    batch = np.arange(40, 60)
    first = split_by_rank(batch, rich, 3)
    second = split_by_rank(batch[::-1], rich, 3)
    assert [part.tolist() for part in first] == [part.tolist() for part in second]


def test_a_batch_of_many_studies_has_some_of_them_and_the_smaller_more_often():
    source = np.repeat([0, 1, 2], [400, 80, 20])
    config = TrainConfig(batch_size=32, studies_per_batch=2, study_power=0.5, seed=3)
    sampler = StudySampler(np.arange(500), np.ones(500, int), config, source)
    batches = [batch for epoch in range(40) for batch in sampler.epoch(epoch)]
    assert len(batches) == 40 * sampler.batches(0)
    assert all(len(set(source[batch])) == 2 and len(set(batch)) == len(batch) for batch in batches)
    assert {len(batch) for batch in batches} == {32}
    counts = np.bincount(source[np.concatenate(batches)])
    assert counts[0] > counts[1] > counts[2] > 20 / 500 * counts.sum()
    again = StudySampler(np.arange(500), np.ones(500, int), config, source).epoch(7)
    assert all(np.array_equal(a, b) for a, b in zip(again, sampler.epoch(7), strict=True))


def test_a_batch_of_many_studies_keeps_to_the_budget():
    source = np.repeat([0, 1], [30, 10])
    config = TrainConfig(batch_size=16, studies_per_batch=2, max_asvs_per_batch=50)
    sampler = StudySampler(np.arange(40), np.full(40, 10), config, source)
    batches = sampler.epoch(0)
    assert max(map(len, batches)) == 5 and sampler.batches(0) == len(batches)
