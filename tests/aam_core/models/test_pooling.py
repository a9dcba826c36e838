"""Members pooled at once, against each by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aam_core.models import pooling
from aam_core.models.draws import key
from aam_core.models.network import Network, Parts

# More samples than are pooled at a time, of unlike richness; one has a single ASV.
BASES = "ACGT"
ASVS = ["".join(BASES[(i * 7 + j * (i + 3)) % 4] for j in range(12)) for i in range(30)]
SAMPLES = {
    f"s{n:02}": {ASVS[(n * 5 + i) % 30]: 1 + (n * i) % 50 for i in range(1 + (n * 7) % 23)}
    for n in range(19)
}


@pytest.fixture
def fitting(config):
    """As a fit has it: fixed features, members of both kinds, no block over the ASVs."""
    encoder = replace(config.encoder, features="profile", components=16, codes=8)
    sample = replace(config.sample, depth=0, asv_dropout=0.3, pool_queries=3, pool_prior=0.5)
    return replace(config, encoder=encoder, sample=sample, members=5)


@pytest.fixture
def made(shaken):
    """A network whose weights, and map to k-mer components, are random."""

    def make(config, parts):
        torch.manual_seed(0)
        network = shaken(Network(config, parts))
        for buffer in network.profile.buffers():
            if buffer.is_floating_point():
                buffer.normal_()
        return network

    return make


def outputs(network, batch, monkeypatch, at_once):
    """Target and sample vectors, and the gradient of each weight, by one of the two ways."""
    pool, pooled = pooling.pool, []
    with monkeypatch.context() as patch:
        patch.setattr(pooling, "pool", lambda *given: pooled.append(1) or pool(*given))
        if not at_once:
            patch.setattr(pooling, "can_pool", lambda members: False)
        network.zero_grad()
        result = network(batch)
    assert len(pooled) == at_once
    if torch.is_grad_enabled():
        result.target.square().sum().backward()
    gradients = {name: it.grad for name, it in network.named_parameters() if it.grad is not None}
    return result, gradients


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("more", [{}, {"numbers": 2, "sizes": (3,)}])
def test_it_is_what_each_member_makes(fitting, batch_of, made, monkeypatch, training, more):
    network = made(fitting, Parts(outputs=2, **more)).train(training)
    batch = batch_of(SAMPLES)
    batch.key = torch.tensor(key(0, 3))
    if more:
        batch.categories = torch.arange(len(SAMPLES))[:, None] % 3
        batch.numeric = torch.randn(len(SAMPLES), 2, 2)
    ours, gradients = outputs(network, batch, monkeypatch, True)
    theirs, expected = outputs(network, batch, monkeypatch, False)
    torch.testing.assert_close(ours.target, theirs.target, rtol=1e-4, atol=1e-5)
    if not training:
        torch.testing.assert_close(ours.samples, theirs.samples, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        size = value.abs().max().item()
        torch.testing.assert_close(
            gradients[name], value, rtol=1e-3, atol=1e-5 + 1e-4 * size, msg=name
        )


@torch.no_grad()
def test_no_sample_depends_on_the_others_of_its_batch(fitting, batch_of, made):
    network = made(fitting, Parts(outputs=1))
    together = network(batch_of(SAMPLES)).target
    for number in (0, 7, 18):
        alone = network(batch_of(SAMPLES, only=[number])).target
        torch.testing.assert_close(alone[:, 0], together[:, number], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_asvs_of_equal_channels_have_no_variance_and_no_nan(fitting, batch_of):
    network = Network(fitting, Parts(outputs=1)).eval()
    for member in network.members:
        for linear in (member.project, member.samples.abundance):
            linear.weight.zero_()
            linear.bias.fill_(0.7)
    assert torch.isfinite(network(batch_of(SAMPLES)).target).all()


def test_only_what_reads_no_asv_is_pooled_at_once(fitting):
    def able(config=fitting, **parts):
        return pooling.can_pool(Network(config, Parts(outputs=1, **parts)).members)

    assert able() and able(numbers=1)
    assert not able(count=True)
    fusion = replace(fitting.fusion, kind="cross-attention")
    assert not able(replace(fitting, fusion=fusion), numbers=1)
    assert not able(replace(fitting, sample=replace(fitting.sample, depth=1)))
    encoder = replace(fitting.encoder, features="bases")
    assert not able(replace(fitting, encoder=encoder))


@torch.no_grad()
def test_half_precision_reads_each_asv(fitting, batch_of, monkeypatch):
    network = Network(fitting, Parts(outputs=1)).eval()
    monkeypatch.setattr(pooling, "pool", lambda *given: pytest.fail("pooled at once"))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(network(batch_of(SAMPLES)).target).all()
