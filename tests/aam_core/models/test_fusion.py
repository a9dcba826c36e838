from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aam_core.config import (
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    ModelConfig,
    OptimConfig,
    SampleConfig,
)
from aam_core.data.batches import Batch
from aam_core.data.covariates import UNKNOWN
from aam_core.models.encoder import SampleASVs, SampleEncoder
from aam_core.models.fusion import FUSIONS, CovariateTokens, Fusion
from aam_core.models.network import Network, Parts
from aam_core.training.optimizers import make_optimizer

WIDTH, SIZES, NUMBERS = 8, (3, 4), 2


def fusion(kind, sizes=SIZES, numbers=NUMBERS, seed=0):
    torch.manual_seed(seed)
    return Fusion(WIDTH, FusionConfig(kind=kind, heads=2, latents=3), sizes, numbers)


def samples_of(batch, seed=1):
    """Vectors [B, 3, D] of ASVs as a sample encoder gives them; the last sample has two."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, 3, dtype=torch.bool)
    mask[-1, 2] = False
    torch.manual_seed(0)
    pool = SampleEncoder(WIDTH, SampleConfig(pool_queries=2)).pooled
    vectors = torch.randn(batch, 3, WIDTH, generator=generator)
    return SampleASVs(vectors, mask, torch.full((batch, 3), -1.0), pool)


def some(asvs, rows):
    """These samples alone."""
    return SampleASVs(asvs.vectors[rows], asvs.mask[rows], asvs.log_abundance[rows], asvs.pool)


def inputs(batch=5, sizes=SIZES, numbers=NUMBERS, seed=1):
    """ASVs, categories [B, C] and numbers [B, K, 2] of samples; the last has no number."""
    generator = torch.Generator().manual_seed(seed)
    categories = [torch.randint(size, (batch,), generator=generator) for size in sizes]
    numeric = torch.randn(batch, numbers, 2, generator=generator)
    numeric[..., 1] = 1.0
    numeric[-1] = 0.0
    empty = torch.zeros(batch, 0, dtype=torch.int64)
    return samples_of(batch, seed), torch.stack(categories, 1) if sizes else empty, numeric


def test_every_choice_has_a_module_and_no_other():
    (field,) = (item for item in dataclasses.fields(FusionConfig) if item.name == "kind")
    assert set(FUSIONS) == set(field.metadata["choices"])


# --- one vector a covariate ----------------------------------------------------------------------


def test_numbers_lie_on_a_line_of_their_own():
    tokens = CovariateTokens(WIDTH, (), 2)
    none = torch.zeros(3, 0, dtype=torch.int64)
    values = torch.tensor([0.0, 1.0, 2.0])[:, None].expand(3, 2)
    numbers = torch.stack([values, torch.ones(3, 2)], dim=2)
    low, middle, high = tokens(none, numbers)
    torch.testing.assert_close(high - middle, middle - low)
    assert (high - low).abs().min(dim=1).values.min() > 0
    assert not torch.allclose(low[0], low[1])


def test_a_missing_number_differs_from_the_mean():
    tokens = CovariateTokens(WIDTH, (), 1)
    none = torch.zeros(2, 0, dtype=torch.int64)
    mean, missing = tokens(none, torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]]))
    assert not torch.allclose(mean, missing)


def test_a_level_that_training_never_saw_stays_neutral():
    tokens = CovariateTokens(WIDTH, (4,), 0)
    vectors = tokens(torch.arange(4)[:, None], torch.zeros(4, 0, 2))[:, 0]
    assert (vectors[UNKNOWN] == 0).all()
    assert vectors[1:].abs().sum(1).min() > 0
    vectors[1:].square().sum().backward()
    assert (tokens.levels[0].weight.grad[UNKNOWN] == 0).all()


def test_a_level_that_is_unknown_in_training_too_is_learned():
    tokens = CovariateTokens(WIDTH, (4,), 0)
    tokens(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 0, 2)).sum().backward()
    assert (tokens.levels[0].weight.grad[UNKNOWN] != 0).all()


# --- every kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes, numbers", [(SIZES, NUMBERS), (SIZES, 0), ((), NUMBERS), ((2,), 0)])
@pytest.mark.parametrize("kind", FUSIONS)
def test_shape(kind, sizes, numbers):
    joined = fusion(kind, sizes, numbers)(*inputs(5, sizes, numbers)).sample
    assert joined.shape == (5, WIDTH) and joined.isfinite().all()


@pytest.mark.parametrize("kind", FUSIONS)
def test_gradient_reaches_the_asvs_and_every_covariate(kind):
    module = fusion(kind)
    asvs, categories, numbers = inputs()
    asvs.vectors.requires_grad_(), numbers.requires_grad_()
    weight = torch.randn(len(categories), WIDTH, generator=torch.Generator().manual_seed(2))
    (module(asvs, categories, numbers).sample * weight).sum().backward()
    reached = asvs.vectors.grad.abs().sum(-1) > 0
    assert torch.equal(reached, asvs.mask)
    assert (numbers.grad[..., 0].abs() > 0).all()
    for column, level in zip(categories.T, module.tokens.levels, strict=True):
        reached = level.weight.grad.abs().sum(1) > 0
        assert reached.nonzero().ravel().tolist() == sorted(set(column.tolist()))
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_every_input_changes_the_outcome(kind):
    module = fusion(kind)
    asvs, categories, numbers = inputs()
    before = module(asvs, categories, numbers).sample
    assert not torch.allclose(before, module(samples_of(5, 7), categories, numbers).sample)
    for c, size in enumerate(SIZES):
        other = categories.clone()
        other[:, c] = (other[:, c] + 1) % size
        assert not torch.allclose(before, module(asvs, other, numbers).sample)
    for k in range(NUMBERS):
        other = numbers.clone()
        other[:, k, 0] += 1.0
        assert not torch.allclose(before, module(asvs, categories, other).sample)


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_a_sample_does_not_depend_on_the_others_their_order_or_padding(kind):
    module, (asvs, *covariates) = fusion(kind), inputs(6)
    whole = module(asvs, *covariates)
    order = torch.tensor([4, 0, 5, 2])
    for rows in (order, slice(3, 4)):
        part = module(some(asvs, rows), *(values[rows] for values in covariates))
        torch.testing.assert_close(part.sample, whole.sample[rows])
    asvs.vectors[-1, 2] = 1e3
    again = module(some(asvs, slice(None)), *covariates)
    torch.testing.assert_close(again.sample, whole.sample)
    if whole.attention is not None and whole.attention.shape[1] > 1:
        torch.testing.assert_close(again.attention[asvs.mask], whole.attention[asvs.mask])


# --- attention and gates -------------------------------------------------------------------------


@torch.no_grad()
def test_one_category_changes_each_asv_in_a_way_of_its_own():
    """Though it is all that there is to attend to."""
    module, asvs = fusion("cross-attention", (3,), 0), samples_of(4)
    changed = []
    keep = dataclasses.replace(asvs, pool=lambda each: changed.append(each.vectors) or asvs.sample)
    shares = module(keep, torch.ones(4, 1, dtype=torch.int64), torch.zeros(4, 0, 2)).attention
    assert shares.shape == (4, 3, 1)
    real = shares[asvs.mask]
    assert 0 < real.min() and real.max() < 1 and real.std() > 1e-3
    update = (changed[0] - asvs.vectors)[asvs.mask]
    assert (update[0] - update[1:]).abs().max(1).values.min() > 1e-3


@torch.no_grad()
def test_covariates_and_nothing_share_the_attention_of_an_asv():
    asvs, categories, numbers = inputs()
    shares = fusion("cross-attention")(asvs, categories, numbers).attention
    assert shares.shape == (5, 3, len(SIZES) + NUMBERS)
    assert (shares > 0).all() and (shares.sum(-1) < 1).all()


@torch.no_grad()
def test_a_covariate_beside_many_asvs_is_not_overlooked():
    """It has the share of all ASVs together, at first about half."""
    module, many = fusion("perceiver", (3,), 0), samples_of(1)
    wide = SampleASVs(
        torch.randn(2, 200, WIDTH, generator=torch.Generator().manual_seed(1)),
        torch.arange(200)[None] < torch.tensor([[200], [2]]),
        torch.full((2, 200), -5.0),
        many.pool,
    )
    shares = module(wide, torch.ones(2, 1, dtype=torch.int64), torch.zeros(2, 0, 2)).attention
    assert shares.shape == (2, 1, 1) and 0.2 < shares.min() and shares.max() < 0.8


@torch.no_grad()
def test_gates_are_of_each_channel():
    gate = fusion("gmu")(*inputs()).gate
    assert gate.shape == (5, WIDTH) and 0 < gate.min() and gate.max() < 1


def test_layers_and_latent_vectors_are_as_many_as_asked_for():
    config = FusionConfig(kind="perceiver", heads=2, latents=5, layers=3)
    join = Fusion(WIDTH, config, (3,), 0).join
    assert (len(join.reads), len(join.blocks), len(join.latents)) == (3, 3, 5)


# --- interaction of community and category -------------------------------------------------------


def of_interaction(samples, seed):
    """A batch, and a target that is a number of its ASVs, negative in the second category."""
    vectors = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    index = torch.stack([torch.randperm(20, generator=generator)[:8] for _ in range(samples)])
    category = torch.randint(2, (samples,), generator=generator)
    number = vectors[index, 0].mean(1) / 0.3
    batch = Batch(
        sample_index=torch.arange(samples),
        feature_index=torch.arange(20),
        asv_index=index,
        asv_mask=torch.ones_like(index, dtype=torch.bool),
        counts=torch.randint(1, 100, index.shape, generator=generator).float(),
        asv_vectors=vectors,
        categories=category[:, None] + 1,
        numeric=torch.zeros(samples, 0, 2),
    )
    return batch, torch.where(category == 0, number, -number)


def learned_r2(kind):
    """R2 on new samples, of a network without attention between ASVs; kind None: no covariate."""
    train, truth = of_interaction(200, 1)
    new, expected = of_interaction(200, 2)
    config = ModelConfig(
        encoder=EncoderConfig(width=16, heads=2, depth=0, kmer=0),
        sample=SampleConfig(heads=2, depth=0, dropout=0.0, pool_queries=2, pool_prior=0.0),
        head=HeadConfig(target_hidden=32, target_dropout=0.0),
        fusion=FusionConfig(kind=kind or "concat", heads=2),
    )
    torch.manual_seed(0)
    network = Network(config, Parts(outputs=1, sizes=(3,) if kind else ()))
    optimizer = make_optimizer(network, OptimConfig(lr=0.01))
    for _ in range(100):
        loss = (network(train).target[0, :, 0] - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = network.eval()(new).target[0, :, 0] - expected
    return 1 - float(error.square().mean() / expected.var())


@pytest.mark.parametrize("kind", ["concat", "add", "gmu", "cross-attention", "perceiver"])
def test_an_interaction_of_community_and_category_is_learned(kind):
    assert learned_r2(kind) > 0.8


def test_without_the_category_it_is_not():
    assert learned_r2(None) < 0.1


# --- in the network ------------------------------------------------------------------------------

ALIKE = {f"s{i}": {"ACGTACGTAC": 5, "GGGTTTACCA": 2} for i in range(12)}


def with_kind(config, kind):
    return dataclasses.replace(config, fusion=FusionConfig(kind=kind, heads=2))


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_covariate_that_equals_the_target_is_learned(kind, config, batch_of):
    truth = torch.linspace(-1.5, 1.5, 12)
    numbers = torch.stack([truth, torch.ones(12)], dim=1)[:, None].numpy()
    batch = batch_of(ALIKE, covariates=(np.zeros((12, 0), np.int64), numbers))
    torch.manual_seed(0)
    network = Network(with_kind(config, kind), Parts(outputs=1, numbers=1))
    optimizer = make_optimizer(network, OptimConfig(lr=0.01))
    for _ in range(60):
        loss = (network(batch).target[0, :, 0] - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * truth.square().mean().item()


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_covariates_change_the_target_and_not_the_sample_vector(kind, config, batch_of, shaken):
    network = shaken(Network(with_kind(config, kind), Parts(True, True, 1, (3,), 0)))
    result = []
    for level in (1, 2):
        covariates = np.full((12, 1), level), np.zeros((12, 0, 2), np.float32)
        batch = batch_of(ALIKE, covariates=covariates)
        result.append(network(batch))
    first, second = result
    assert not torch.allclose(first.target, second.target)
    torch.testing.assert_close(first.sample, second.sample)
    torch.testing.assert_close(first.distance, second.distance)


def test_without_covariates_there_is_no_fusion(config):
    assert Network(config, Parts(outputs=1)).members[0].fusion is None
