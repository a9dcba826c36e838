from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aam_core.config import MaskingConfig
from aam_core.models.masking import corrupt
from aam_core.models.model import Network, Parts

SAMPLES = {
    "s1": {"ACGTACGTAC": 5, "GGGTTTACCA": 2, "TTTTACGATTACAGG": 9},
    "s2": {"ACGTACGTAC": 1, "CATCATCATGG": 3},
    "s3": {"GGGTTTACCA": 4},
}
EVERY = Parts(nucleotide=True, distance=True, outputs=1)
MASKING = MaskingConfig(mask_ratio=0.5, asv_fraction=1.0)


@pytest.fixture
def network(config, shaken):
    torch.manual_seed(0)
    return shaken(Network(config, EVERY))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_same(left, right):
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def rows_read(network, batch, **given):
    """Number of sequences that each pass over the bases reads."""
    seen = []
    hooks = [
        network.bases.blocks[0].register_forward_pre_hook(
            lambda module, inputs: seen.append(len(inputs[0]))
        )
    ]
    network(batch, **given)
    hooks[0].remove()
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
def test_only_the_heads_asked_for_are_built_and_computed(config, batch_of, parts, built):
    network = Network(config, parts)
    heads = {name.split(".")[0] for name in network.state_dict()} - {"bases", "samples"}
    assert heads == built
    output = network(batch_of(SAMPLES), MASKING, seeded())
    found = {
        name for name in ("nucleotide", "distance", "target") if getattr(output, name) is not None
    }
    assert found == built


@torch.no_grad()
def test_a_head_that_is_not_wanted_is_not_run(network, batch_of):
    batch = batch_of(SAMPLES)
    whole = network(batch)
    for wanted, other in (("distance", "target"), ("target", "distance")):
        found = network(batch, heads=(wanted,))
        assert_same(getattr(found, wanted), getattr(whole, wanted))
        assert getattr(found, other) is None


# --- sets and padding ----------------------------------------------------------------------------


@torch.no_grad()
def test_permuting_the_asvs_of_the_samples_changes_nothing(network, batch_of):
    found = network(batch_of(SAMPLES))
    turned = {name: dict(reversed(counts.items())) for name, counts in SAMPLES.items()}
    again = network(batch_of(turned))
    assert_same(again.target, found.target)
    assert_same(again.distance, found.distance)


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
        assert_same(alone.target[0], together.target[row])
        assert_same(alone.sample[0], together.sample[row])
    turned = network(batch_of(dict(reversed(SAMPLES.items()))))
    assert_same(turned.target.flip(0), together.target)


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
def test_distances_and_target_see_uncorrupted_sequences(network, batch_of):
    batch = batch_of(SAMPLES)
    plain, masked = network(batch), network(batch, MASKING, seeded())
    assert torch.equal(plain.distance, masked.distance)
    assert torch.equal(plain.target, masked.target)
    assert plain.nucleotide is None and plain.nucleotide_truth is None


@torch.no_grad()
def test_hidden_bases_only(network, batch_of):
    batch = batch_of(SAMPLES)
    output = network(batch, MASKING, seeded())
    hidden = len(output.nucleotide_truth)
    assert output.nucleotide.shape[0] == hidden
    assert 10 < hidden < 36  # half of 46 bases
    _, chosen = corrupt(batch.asv_tokens, MASKING, seeded())
    assert torch.equal(output.nucleotide_truth, batch.asv_tokens[chosen].long())
    again = network(batch, MASKING, seeded())
    assert torch.equal(again.nucleotide, output.nucleotide)
    other = network(batch, MASKING, seeded(1))
    assert not torch.equal(other.nucleotide, output.nucleotide)


@torch.no_grad()
@pytest.mark.parametrize("fraction, rows", [(1.0, 4), (0.5, 2), (0.01, 1)])
def test_a_share_of_the_asvs_is_read_masked(network, batch_of, fraction, rows):
    masking = replace(MASKING, asv_fraction=fraction)
    seen = rows_read(network, batch_of(SAMPLES), masking=masking, generator=seeded())
    assert sorted(seen) == sorted([4, rows])


@torch.no_grad()
def test_masked_training_reads_the_corrupted_sequence_alone(config, batch_of):
    """Vectors of whole ASVs, k-mers included, would give the hidden bases away."""
    network = Network(config, Parts(nucleotide=True))
    whole = []
    network.bases.register_forward_pre_hook(lambda *_: whole.append(1))
    assert network(batch_of(SAMPLES), MASKING, seeded()).nucleotide is not None
    assert whole == []


def test_gradients_reach_every_parameter(config, batch_of, shaken):
    network = shaken(Network(config, EVERY)).train()
    output = network(batch_of(SAMPLES), MASKING, seeded())
    pairs = network.distance.compare(output.distance, output.distance)
    nucleotide = torch.nn.functional.cross_entropy(output.nucleotide, output.nucleotide_truth)
    (nucleotide + pairs.sum() + output.target.square().sum()).backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
