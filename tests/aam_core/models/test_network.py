from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from aam_core.config import MaskingConfig
from aam_core.models.draws import key
from aam_core.models.masking import mask
from aam_core.models.network import Network, Parts, part_of

SAMPLES = {
    "s1": {"ACGTACGTAC": 5, "GGGTTTACCA": 2, "TTTTACGATTACAGG": 9},
    "s2": {"ACGTACGTAC": 1, "CATCATCATGG": 3},
    "s3": {"GGGTTTACCA": 4},
}
EVERY = Parts(nucleotide=True, distance=True, outputs=1)
MASKING = MaskingConfig(mask_ratio=0.5)


@pytest.fixture
def network(config, shaken):
    torch.manual_seed(0)
    return shaken(Network(config, EVERY))


@pytest.fixture
def masked(batch_of):
    """A batch whose ASVs, or some of them, are read masked, with the key of its step."""

    def make(samples=SAMPLES, only=None, rows=None, step=0):
        batch = batch_of(samples, only)
        rows = np.arange(len(batch.feature_index)) if rows is None else np.array(rows, np.int64)
        mask(batch, rows, MASKING, key(0, step))
        batch.key = torch.tensor(key(0, step))
        return batch

    return make


def assert_same(left, right):
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def rows_read(network, batch):
    """Number of sequences that each pass over the bases reads."""
    seen = []
    hook = network.bases.blocks[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0]))
    )
    network(batch)
    hook.remove()
    return seen


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts, built",
    [
        (Parts(nucleotide=True), {"nucleotide"}),
        (Parts(distance=True), {"distance"}),
        (Parts(outputs=3), {"target"}),
        (EVERY, {"nucleotide", "distance", "target"}),
        (Parts(), set()),
    ],
)
@torch.no_grad()
def test_only_the_heads_asked_for_are_built_and_computed(config, masked, parts, built):
    network = Network(config, parts)
    heads = {part_of(name) for name in network.state_dict()} - {"bases", "samples"}
    assert heads == built
    output = network(masked())
    result = {
        name for name in ("nucleotide", "distance", "target") if getattr(output, name) is not None
    }
    assert result == built


@torch.no_grad()
def test_a_head_that_is_not_wanted_is_not_run(network, batch_of):
    batch = batch_of(SAMPLES)
    whole = network(batch)
    for wanted, other in (("distance", "target"), ("target", "distance")):
        result = network(batch, heads=(wanted,))
        assert_same(getattr(result, wanted), getattr(whole, wanted))
        assert getattr(result, other) is None


# --- sets and padding ----------------------------------------------------------------------------


@torch.no_grad()
def test_permuting_the_asvs_of_the_samples_changes_nothing(network, batch_of):
    result = network(batch_of(SAMPLES))
    turned = {name: dict(reversed(counts.items())) for name, counts in SAMPLES.items()}
    again = network(batch_of(turned))
    assert_same(again.target, result.target)
    assert_same(again.distance, result.distance)


@torch.no_grad()
def test_permuting_the_columns_of_a_batch_changes_nothing(network, batch_of):
    batch = batch_of(SAMPLES)
    order = torch.tensor([2, 0, 1])
    turned = replace(
        batch,
        asv_index=batch.asv_index[:, order],
        asv_mask=batch.asv_mask[:, order],
        counts=batch.counts[:, order],
    )
    assert_same(network(turned).target, network(batch).target)


@torch.no_grad()
def test_a_sample_is_the_same_alone_and_in_any_batch(network, batch_of):
    together = network(batch_of(SAMPLES))
    for row, (name, counts) in enumerate(SAMPLES.items()):
        alone = network(batch_of({name: counts}))
        assert_same(alone.target[:, 0], together.target[:, row])
        assert_same(alone.sample[0], together.sample[row])
    turned = network(batch_of(dict(reversed(SAMPLES.items()))))
    assert_same(turned.target.flip(1), together.target)


# --- work ----------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_asv_in_many_samples_is_encoded_once(network, batch_of):
    batch = batch_of({f"twin {i}": SAMPLES["s1"] for i in range(20)} | SAMPLES)
    assert int(batch.asv_mask.sum()) == 66
    assert rows_read(network, batch) == [4]


@torch.no_grad()
def test_vectors_instead_of_tokens(network, batch_of):
    batch = batch_of(SAMPLES)
    vectors = network.bases(batch.asv_tokens, batch.ragged)
    frozen = batch_of(SAMPLES, asv_vectors=vectors)
    assert frozen.asv_tokens is None
    without_masking = Network(network.config, replace(EVERY, nucleotide=False)).eval()
    without_masking.load_state_dict(network.state_dict(), strict=False)
    assert rows_read(without_masking, frozen) == []
    assert_same(without_masking(frozen).target, network(batch).target)


# --- masked training -----------------------------------------------------------------------------


@torch.no_grad()
def test_distances_and_target_see_uncorrupted_sequences(network, batch_of, masked):
    plain, hidden = network(batch_of(SAMPLES)), network(masked())
    assert torch.equal(plain.distance, hidden.distance)
    assert torch.equal(plain.target, hidden.target)
    assert plain.nucleotide is None and plain.nucleotide_truth is None


@torch.no_grad()
def test_hidden_bases_only(network, masked):
    batch = masked()
    output = network(batch)
    assert 10 < len(output.nucleotide) < 36  # half of 46 bases
    assert torch.equal(output.nucleotide_truth, batch.masked_truth)
    assert torch.equal(network(masked()).nucleotide, output.nucleotide)
    other = network(masked(step=1)).nucleotide
    assert other.shape != output.nucleotide.shape or not torch.equal(other, output.nucleotide)
    # Of the row and column that the batch names, whatever else is hidden.
    last = replace(batch, masked_row=batch.masked_row[-1:], masked_column=batch.masked_column[-1:])
    assert_same(network(last).nucleotide[0], output.nucleotide[-1])


@torch.no_grad()
def test_only_the_asvs_of_the_batch_that_are_named_are_read_masked(network, masked):
    assert sorted(rows_read(network, masked(rows=[1, 3]))) == [2, 4]
    whole, some = masked(), masked(rows=[1, 3])
    theirs = torch.isin(whole.masked_row, torch.tensor([1, 3]))
    assert_same(network(some).nucleotide, network(whole).nucleotide[theirs])


@torch.no_grad()
def test_masked_training_reads_the_corrupted_sequence_alone(config, masked):
    """Vectors of whole ASVs, k-mers included, would give the hidden bases away."""
    network = Network(config, Parts(nucleotide=True))
    whole = []
    network.bases.register_forward_pre_hook(lambda *_: whole.append(1))
    assert network(masked()).nucleotide is not None
    assert whole == []


def loss_of(network, output):
    pairs = network.distance.compare(output.distance, output.distance)
    nucleotide = torch.nn.functional.cross_entropy(
        output.nucleotide, output.nucleotide_truth, reduction="sum"
    )
    return nucleotide + pairs.sum() + output.target.square().sum()


def gradients(network, batch):
    network.zero_grad()
    loss_of(network, network(batch)).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_gradients_reach_every_parameter(config, masked, shaken):
    network = shaken(Network(config, EVERY)).train()
    grads = gradients(network, masked())
    assert [name for name, _ in network.named_parameters() if name not in grads] == []
    assert [name for name, grad in grads.items() if not grad.any()] == []


@pytest.mark.parametrize("only", [[0, 1, 2], [2]])  # with padded sequences, and without
def test_a_process_that_reads_nothing_masked_has_gradients_too(noisy, masked, shaken, only):
    network = shaken(Network(noisy, EVERY)).train()
    batch = masked(only=only, rows=[])
    assert network(batch).nucleotide.shape == (0, 8)
    grads = gradients(network, batch)
    assert [name for name, _ in network.named_parameters() if name not in grads] == []
    assert not any(grad.any() for name, grad in grads.items() if name.startswith("nucleotide"))
    plain = replace(batch, masked_tokens=None)
    without = network(plain)
    assert without.nucleotide is None
    network.zero_grad()
    pairs = network.distance.compare(without.distance, without.distance)
    (pairs.sum() + without.target.square().sum()).backward()
    for name, p in network.named_parameters():
        assert p.grad is None or torch.equal(grads[name], p.grad), name


def test_a_step_asks_the_device_nothing(noisy, masked):
    """Tensors without values: whatever must know one (nonzero, item) fails on them."""
    batch = masked()
    with FakeTensorMode() as mode:
        network = Network(noisy, EVERY).train()
        given = {
            item.name: mode.from_tensor(value)
            for item in fields(batch)
            if isinstance(value := getattr(batch, item.name), torch.Tensor)
        }
        output = network(replace(batch, **given))
        loss_of(network, output).backward()
    assert output.nucleotide.shape == (len(batch.masked_truth), 8)


# --- what is random ------------------------------------------------------------------------------


@pytest.fixture
def trained(noisy, shaken):
    torch.manual_seed(0)
    return shaken(Network(noisy, EVERY)).train()


@torch.no_grad()
def test_draws_are_of_the_step_and_in_training_only(trained, masked):
    batch = masked()
    first, again = trained(batch), trained(batch)
    later = trained(replace(batch, key=torch.tensor(key(0, 1))))
    without = trained(replace(batch, key=None))
    trained.eval()
    still = trained(batch)
    for name in ("nucleotide", "distance", "target"):
        of_first = getattr(first, name)
        assert torch.equal(getattr(again, name), of_first)
        assert not torch.allclose(getattr(later, name), of_first, atol=1e-3)
        assert not torch.allclose(getattr(still, name), of_first, atol=1e-3)
        assert torch.equal(getattr(without, name), getattr(still, name))


@torch.no_grad()
def test_a_sample_has_the_same_draws_alone_and_in_any_batch(trained, masked):
    """With other padding of ASVs (the first sample has three) and of bases (one of 15)."""
    together = trained(masked())
    for row in range(3):
        alone = trained(masked(only=[row]))
        assert_same(alone.target[:, 0], together.target[:, row])
        assert_same(alone.distance[0], together.distance[row])
    turned = trained(masked(only=[2, 1, 0]))
    assert_same(turned.target.flip(1), together.target)


@torch.no_grad()
def test_twins_do_not_share_draws(trained, masked):
    """Two samples of the same ASVs: one vector each when nothing is random."""
    batch = masked({"a": SAMPLES["s1"], "b": SAMPLES["s1"]})
    sample = trained(batch).sample
    assert (sample[0] - sample[1]).abs().max() > 1e-2


@torch.no_grad()
def test_an_asv_read_masked_has_draws_of_its_own(trained, masked):
    whole, some = masked(), masked(only=[1], rows=[0])
    feature = int(some.masked_index)
    theirs = whole.masked_row == feature
    expected = trained(whole).nucleotide[theirs]
    assert_same(trained(some).nucleotide, expected)


def test_two_halves_of_a_batch_add_up_to_it(trained, masked):
    """As processes and micro-steps do; distances, which are between samples, aside."""

    def target_loss(batch):
        output = trained(batch)
        hidden = torch.nn.functional.cross_entropy(
            output.nucleotide, output.nucleotide_truth, reduction="sum"
        )
        return hidden + output.target.square().sum()

    halves = masked(only=[0], rows=[0, 2]), masked(only=[1, 2], rows=[1, 2])
    assert [half.masked_index.tolist() for half in halves] == [[0, 2], [1, 3]]
    result = []
    for batches in ([masked()], halves):
        trained.zero_grad()
        for batch in batches:
            target_loss(batch).backward()
        result.append([p.grad for p in trained.parameters() if p.grad is not None])
    for whole, added in zip(*result, strict=True):
        torch.testing.assert_close(added, whole, rtol=1e-3, atol=1e-4)


def test_computing_blocks_again_gives_the_same_gradients(trained, masked):
    batch = masked()
    before = gradients(trained, batch)
    (member,) = trained.members
    assert [len(trained.bases.blocks), len(member.samples.blocks)] == [1, 1]
    assert trained.blocks() == [trained.bases.blocks[0], member.samples.blocks[0]]
    for block in trained.blocks():
        block.recompute = True
    runs = []
    trained.bases.blocks[0].norm_mlp.register_forward_hook(lambda *_: runs.append(1))
    after = gradients(trained, batch)
    assert len(runs) == 4  # two readings, each computed twice
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], grad) for name, grad in before.items())
