from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aam_core.config import AUTO
from aam_core.data.batches import Batcher
from aam_core.errors import InputError
from aam_core.models.network import Network, Parts
from aam_core.tasks import Regression
from aam_core.training import memory as module
from aam_core.training.job import TrainingJob
from aam_core.training.memory import (
    GB,
    check_size,
    describe,
    free_gb,
    largest_batch,
    peak_gb,
    step_gb,
)
from aam_core.training.parallel import join_process_group

PRETRAINING = Parts(nucleotide=True, distance=True)


@pytest.fixture
def make(small, brief):
    """Make a job of the small study: ``make(settings, parts, samples)``."""

    def job(changes=(), parts=PRETRAINING, samples=60):
        config = brief("pretraining", changes)
        torch.manual_seed(0)
        network, vectors, members = Network(config.model, parts).eval(), None, config.model.members
        if network.bases is None:  # as a fit of fixed features
            with torch.no_grad():
                tokens = torch.from_numpy(small.tokens(config.data))
                network.profile.fit(tokens)
                vectors = network.vectors(tokens)
        batcher = Batcher(
            small,
            config.data,
            0,
            distances=parts.distance,
            target=np.zeros(60, np.float32) if parts.outputs else None,
            asv_vectors=vectors,
            held_out=np.arange(60) % members == np.arange(members)[:, None],
        )
        target = Regression("values", 0.0, 1.0) if parts.outputs else None
        return TrainingJob(network, config, batcher, np.arange(samples), np.arange(0), target)

    return job


def group_of(job, size=1):
    """This process, as if there were others: what asks them would wait for ever, or fail."""
    return dataclasses.replace(join_process_group(job.config.train), world_size=size)


# --- description ---------------------------------------------------------------------------------


def test_description_counts_every_parameter_once(make):
    job = make({"optim.optimizer": "lion", "train.gradient_checkpointing": True})
    first, second = describe(job.network, job.config)
    total = sum(parameter.numel() for parameter in job.network.parameters())
    counts = [int(part.split()[1].replace(",", "")) for part in first.split(": ")[1].split(", ")]
    assert first.startswith(f"{total:,} parameters: bases ") and sum(counts) == total
    assert "nucleotide" in first and "distance" in first
    assert "target" not in first and "fusion" not in first and "not trained" not in first
    assert "lion" in second and "gradient checkpointing" in second


def test_description_of_what_is_frozen(make):
    job = make(parts=Parts(outputs=2, sizes=(3,)))
    job.network.bases.requires_grad_(False)
    first, second = describe(job.network, job.config)
    assert "members" not in second
    frozen = sum(parameter.numel() for parameter in job.network.bases.parameters())
    assert f"({frozen:,} of them not trained)" in first
    assert "target" in first and "fusion" in first


def test_description_of_members(make):
    """Parts of all members together; what never learns is no parameter."""
    changes = {"model.members": 3, "model.encoder.features": "profile"}
    job = make(changes, Parts(outputs=1))
    first, second = describe(job.network, job.config)
    total = sum(parameter.numel() for parameter in job.network.parameters())
    one = sum(parameter.numel() for parameter in job.network.members[0].samples.parameters())
    assert first.startswith(f"{total:,} parameters: project ") and f"samples {3 * one:,}" in first
    assert "profile" not in first and second.split(", ")[2] == "3 members"


# --- estimate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.precision": "bf16", "model.encoder.depth": 2},
        {"model.head.distance": "euclidean", "loss.nucleotide": 0.0},
        {"data.max_asvs": 10, "model.sample.depth": 3},
    ],
)
def test_estimate_is_what_a_large_batch_keeps(make, changes):
    parts = Parts(nucleotide=not changes.get("loss.nucleotide", 1) == 0, distance=True)
    job = make({**changes, "train.batch_size": 40}, parts)
    group = group_of(job)
    probe = module._Probe(job, group)
    kept, _ = module._kept(probe, probe.order[:40])
    assert step_gb(job, group) * GB - probe.fixed() == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("features", ["profile", "both"])
@pytest.mark.parametrize("depth", [0, 1])
def test_estimate_of_members(make, features, depth):
    changes = {
        "model.encoder.features": features,
        "model.members": 3,
        "model.sample.depth": depth,
        "train.batch_size": 40,
    }
    job = make(changes, Parts(outputs=1))
    group = group_of(job)
    probe = module._Probe(job, group)
    kept, _ = module._kept(probe, probe.order[:40])
    assert step_gb(job, group) * GB - probe.fixed() == pytest.approx(kept, rel=0.05)
    fewer = make({**changes, "model.members": 1}, Parts(outputs=1))
    assert step_gb(fewer, group_of(fewer)) < step_gb(job, group)


def test_estimate_counts_what_is_queried(make):
    """Of two studies; in a large batch another sample of the study lacks nearly each hidden ASV."""
    changes = {
        **{"model.encoder.features": "profile", "model.encoder.components": 6},
        **{"model.members": 3, "model.sample.depth": 0, "train.batch_size": 40},
    }
    kept, estimated = {}, {}
    for presence in (False, True):
        job = make(changes, Parts(columns=(1,), presence=presence))
        job.batcher.columns = (np.zeros((60, 1), np.float32), (1,))
        job.batcher.source = np.arange(60) % 2
        probe = module._Probe(job, group := group_of(job))
        kept[presence], queries = module._kept(probe, probe.order[:40])
        estimated[presence] = step_gb(job, group) * GB - probe.fixed()
    assert queries > 0.8 * probe.sizes(40)[-1] > 0
    assert kept[True] > 1.1 * kept[False]
    assert estimated[True] == pytest.approx(kept[True], rel=0.1)


def test_less_is_kept_where_it_is_computed_again(make):
    deep = {"model.encoder.depth": 6, "train.batch_size": 40}
    plain, again = make(deep), make({**deep, "train.gradient_checkpointing": True})
    group = group_of(plain)
    assert step_gb(again, group) < 0.6 * step_gb(plain, group)
    probe = module._Probe(again, group)
    assert step_gb(again, group) * GB - probe.fixed() > module._kept(probe, probe.order[:40])[0]


def test_less_is_read_at_a_time(make):
    whole = step_gb(job := make({"train.batch_size": 48, "model.encoder.depth": 0}), group_of(job))
    for changes, size in (
        ({"train.accumulate": 4}, 1),
        ({}, 4),
        ({"train.accumulate": 2}, 2),
        ({"train.max_asvs_per_batch": 12 * int(np.diff(job.batcher.study.counts.indptr).max())}, 1),
    ):
        part = make({"train.batch_size": 48, "model.encoder.depth": 0, **changes})
        group = group_of(part, size)
        assert module._Probe(part, group).own(48) == 12
        assert step_gb(part, group) < whole


def test_no_more_samples_than_there_are(make):
    sizes = [
        step_gb(job := make({"train.batch_size": n}, samples=20), group_of(job)) for n in (20, 90)
    ]
    assert sizes[0] == pytest.approx(sizes[1])


@pytest.mark.parametrize(
    ("changes", "size", "tensors"),
    [
        ({"optim.optimizer": "adamw"}, 1, 3),
        ({"optim.optimizer": "sgd"}, 1, 2),
        ({"optim.optimizer": "lion", "optim.ema": 0.9}, 1, 3),
        ({"optim.optimizer": "adam"}, 2, 4),
        ({"optim.optimizer": "adam", "train.strategy": "fsdp"}, 2, 3),
    ],
)
def test_weights_and_what_goes_with_them(make, changes, size, tensors):
    job = make(changes)
    job.network.bases.requires_grad_(False)
    probe = module._Probe(job, group_of(job, size))
    parameters = list(job.network.parameters())
    every = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    shares = size if "train.strategy" in changes else 1
    assert 0 < trained < every
    assert probe.fixed() == 4 * (every + tensors * trained) / shares


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(make, training):
    job = make({"train.gradient_checkpointing": True, "train.batch_size": AUTO, "optim.ema": 0.5})
    job.network.train(training)
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    drawn = torch.get_rng_state()
    largest_batch(job, group_of(job))
    assert all(torch.equal(before[name], value) for name, value in job.network.state_dict().items())
    assert all(parameter.grad is None for parameter in job.network.parameters())
    assert all(parameter.requires_grad for parameter in job.network.parameters())
    assert all(module.training is training for module in job.network.modules())
    assert not any(block.recompute for block in job.network.blocks())
    assert torch.equal(drawn, torch.get_rng_state())
    assert job.config.train.batch_size == AUTO


# --- largest batch -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_largest_that_fits(make, share, accumulate):
    sized = {"train.accumulate": accumulate}

    def need(size):
        return step_gb(job := make({**sized, "train.batch_size": size}), group_of(job))

    low, high = need(max(2, accumulate)), need(60)
    budget = low + share * (high - low)
    job = make({**sized, "train.batch_size": AUTO, "train.max_memory_gb": budget})
    size = largest_batch(job, group_of(job))
    assert size % accumulate == 0 and 2 < size < 60
    assert need(size) <= budget < need(size + accumulate)


def test_never_more_than_the_samples(make):
    job = make({"train.batch_size": AUTO, "train.max_memory_gb": 100}, samples=50)
    assert largest_batch(job, group_of(job)) == 50
    job = make({"train.batch_size": AUTO, "train.accumulate": 8}, samples=50)
    assert largest_batch(job, group_of(job)) == 48
    job = make({"train.batch_size": AUTO, "train.accumulate": 64}, samples=50)
    assert largest_batch(job, group_of(job)) == 50


def test_nothing_fits(make):
    job = make({"train.batch_size": AUTO, "train.max_memory_gb": 1e-4})
    with pytest.raises(InputError, match=r"batch of 2 samples needs about 0\.\d+ GB.* 0.0001 GB"):
        largest_batch(job, group_of(job))
    assert all(parameter.grad is None for parameter in job.network.parameters())


@pytest.mark.parametrize(("low", "high", "unit"), [(2, 100, 1), (3, 99, 3), (8, 8, 8), (2, 2, 1)])
def test_doubling_and_bisection(low, high, unit):
    for limit in range(low, high + 10):
        expected = min(high, limit - (limit % unit))
        assert module._most(lambda size, limit=limit: size <= limit, low, high, unit) == expected


def test_processes_share_the_machine(monkeypatch):
    device = torch.device("cpu")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    whole = free_gb(device)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert 0.01 < free_gb(device) == pytest.approx(whole / 4, rel=0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.encoder.width": 8192, "model.sample.depth": 256, "model.sample.mlp_ratio": 64},
        {"model.encoder.width": 2048, "model.sample.depth": 20, "model.members": 1000},
    ],
)
def test_a_network_larger_than_the_machine_is_refused_before_it_is_made(changes, brief):
    config = brief("fitting", changes).model
    with pytest.raises(InputError, match=r"weights need [0-9,]+ GB of memory, and .* GB are free"):
        check_size(config, Parts(outputs=1))
    check_size(brief("fitting").model, Parts(outputs=1))


def test_memory_is_that_of_this_process():
    before = peak_gb(torch.device("cpu"))
    checkpoint = np.ones(2**24)
    assert 0.05 < before <= peak_gb(torch.device("cpu")) < 1000 and checkpoint.any()
