"""Members of the ensemble, over the same ASV vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.config import LossConfig
from aam_core.models.draws import key
from aam_core.models.network import LINKS, Network, Parts, part_of
from aam_core.tasks import Classification, Regression
from aam_core.tasks.losses import counts, totals, weighted

SAMPLES = {
    "s1": {"ACGTACGTAC": 5, "GGGTTTACCA": 2, "TTTTACGATTACAGG": 9},
    "s2": {"ACGTACGTAC": 1, "CATCATCATGG": 3},
    "s3": {"GGGTTTACCA": 4},
}


def network_of(config, parts=None, members=3, seed=0):
    torch.manual_seed(seed)
    return Network(replace(config, members=members), parts or Parts(outputs=1))


def test_each_has_weights_of_its_own_and_one_encoder_serves_all(config):
    network = network_of(config, Parts(outputs=1, sizes=(3,), numbers=1))
    assert len(network.members) == 3
    first, second = (dict(m.named_parameters()) for m in network.members[:2])
    assert first.keys() == second.keys()
    drawn = [n for n in first if n.endswith("weight") and first[n].ndim > 1 and first[n].std() > 0]
    assert drawn and not any(torch.equal(first[name], second[name]) for name in drawn)
    parts = {part_of(name) for name, _ in network.named_parameters()}
    assert parts == {"bases", "samples", "fusion", "target"}
    shared = sum(p.numel() for p in network.bases.parameters())
    total = sum(p.numel() for p in network.parameters())
    assert total == shared + 3 * sum(p.numel() for p in first.values())


@torch.no_grad()
def test_each_predicts_what_it_would_alone(config, batch_of, shaken):
    network, batch = shaken(network_of(config)), batch_of(SAMPLES)
    output = network(batch)
    assert output.target.shape == (3, 3, 1)
    for k, member in enumerate(network.members):
        alone = network_of(config, members=1).eval()
        alone.bases.load_state_dict(network.bases.state_dict())
        alone.members[0].load_state_dict(member.state_dict())
        torch.testing.assert_close(alone(batch).target[0], output.target[k])
    assert output.target.std(0).min() > 0


@torch.no_grad()
def test_distances_and_sample_vectors_are_the_first_ones(config, batch_of, shaken):
    network, batch = shaken(network_of(config, Parts(distance=True, outputs=1))), batch_of(SAMPLES)
    read = []
    for member in network.members:
        member.samples.register_forward_pre_hook(lambda module, _: read.append(module))
    whole, alone = network(batch), network(batch, heads=("distance",))
    assert len(read) == 4  # for the distances alone, one
    assert torch.equal(alone.distance, whole.distance) and alone.target is None
    assert whole.sample.shape == (3, 16)


def test_members_that_no_head_reads_are_not_trained(config):
    network = network_of(config, Parts(distance=True))
    untrained = {id(p) for part in network.untrained_parts() for p in part.parameters()}
    others = [p for member in network.members[1:] for p in member.parameters()]
    assert others and all(id(p) in untrained for p in others)
    assert network_of(config, Parts(distance=True, outputs=1)).untrained_parts() == []


@torch.no_grad()
def test_draws_differ_between_members(noisy, batch_of):
    """Of the same weights: what hides ASVs and drops numbers is another in each."""
    network = network_of(noisy).train()
    for member in network.members[1:]:
        member.load_state_dict(network.members[0].state_dict())
    batch = batch_of(SAMPLES)
    still = network(batch).target
    assert torch.equal(still[0], still[1]) and torch.equal(still[0], still[2])
    batch.key = torch.tensor(key(0, 0))
    drawn = network(batch).target
    assert torch.equal(network(batch).target, drawn)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (drawn[a] - drawn[b]).abs().min() > 0


# --- together ------------------------------------------------------------------------------------


def test_average_of_values(config):
    network = network_of(config)
    target = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]], [[8.0], [0.0]]])
    assert network.average(target).tolist() == [[4.0], [2.0]]
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert network.average(target, weight).tolist() == [[2.0], [0.0]]


def test_average_of_probabilities(config):
    network = network_of(config, Parts(outputs=3))
    probabilities = torch.tensor([[[0.7, 0.2, 0.1]], [[0.1, 0.1, 0.8]], [[0.4, 0.3, 0.3]]])
    logits = probabilities.log() + torch.tensor([5.0, -2.0, 0.0])[:, None, None]
    average = network.average(logits).exp()
    torch.testing.assert_close(average, probabilities.mean(0))
    torch.testing.assert_close(network.average(logits).softmax(-1), average)
    one = network.average(logits, torch.tensor([[0.0], [1.0], [0.0]]))
    torch.testing.assert_close(one.exp(), probabilities[1])
    sure = torch.tensor([[[200.0, 0.0, 0.0]], [[200.0, 0.0, 0.0]], [[200.0, 0.0, 0.0]]])
    assert network.average(sure).isfinite().all()


def test_quantiles_never_cross():
    parts = Parts(outputs=5, link="quantiles", below=1, above=3)
    raw = 30 * torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(0))
    quantiles = LINKS["quantiles"].apply(raw, parts)
    assert torch.equal(quantiles[..., 1], raw[..., 1])
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert parts.values and Parts(outputs=1).values and not Parts(outputs=5).values
    assert Parts(outputs=1).to_dict().keys() == Parts(outputs=3).to_dict().keys()
    assert parts.to_dict() == {
        **Parts(outputs=5).to_dict(),
        "link": "quantiles",
        "below": 1,
        "above": 3,
    }


def test_ordered_classes_are_steps_of_cumulative_probabilities(config):
    raw = 20 * torch.randn(3, 200, 4, generator=torch.Generator().manual_seed(0))
    raw.requires_grad_()
    logs = LINKS["ordinal"].apply(raw, Parts(outputs=4, link="ordinal"))
    assert logs.shape == (3, 200, 5) and logs.isfinite().all()
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(3, 200))
    torch.testing.assert_close(1 - logs[..., 0].exp(), raw[..., 0].sigmoid())
    logs.sum().backward()
    assert raw.grad.isfinite().all()
    network = network_of(config, Parts(outputs=4, link="ordinal"))
    torch.testing.assert_close(network.average(logs).exp(), logs.exp().mean(0))


# --- held-out samples ----------------------------------------------------------------------------

NUMBER, CLASS = Regression("age", 0.0, 1.0), Classification("site", ("a", "b"))
HELD_OUT = np.array([[True, False, False], [False, True, False], [False, False, True]])


def gradients(network, batch):
    """Of each member, the gradients of the mean loss."""
    network.zero_grad()
    task = CLASS if network.parts.outputs > 1 else NUMBER
    config = LossConfig()
    sums = totals(network(batch), batch, config, task)
    weighted(sums, counts(batch, None, None), config)["target"].backward()
    return [
        torch.cat([p.grad.flatten() for p in member.parameters()]) for member in network.members
    ]


@pytest.mark.parametrize("parts", [Parts(outputs=1), Parts(outputs=2)])
def test_a_member_is_not_trained_on_samples_that_it_holds_out(config, batch_of, shaken, parts):
    network = shaken(network_of(config, parts)).train()
    truth = np.array([0.5, -1.0, 2.0], np.float32) if parts.outputs == 1 else np.array([0, 1, 1])
    other = truth.copy()
    other[1] = 7.0 if parts.outputs == 1 else 0
    batches = [batch_of(SAMPLES, target=t, held_out=HELD_OUT, epoch=0) for t in (truth, other)]
    assert batches[0].weight.tolist() == (~HELD_OUT).astype(float).tolist()
    before, after = (gradients(network, batch) for batch in batches)
    assert torch.equal(before[1], after[1]) and before[1].any()
    assert not torch.equal(before[0], after[0]) and not torch.equal(before[2], after[2])


def test_evaluation_counts_held_out_samples(batch_of):
    batch = batch_of(SAMPLES, target=np.zeros(3, np.float32), held_out=HELD_OUT)
    assert batch.weight.tolist() == HELD_OUT.astype(float).tolist()
