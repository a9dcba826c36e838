from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

from aam_core.models.draws import mix
from aam_core.models.layers import AttentionPool, Block, rotary, rotate, run_blocks


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def x(*shape):
    return torch.randn(*shape)


def assert_same(left, right, tolerance=1e-5):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# --- rotary positions ----------------------------------------------------------------------------


def test_a_turn_keeps_lengths():
    vectors = x(2, 3, 7, 8)
    turned = rotate(vectors, rotary(7, 8, "cpu"))
    assert_same(turned.norm(dim=-1), vectors.norm(dim=-1))
    assert_same(turned[:, :, 0], vectors[:, :, 0])  # position 0 is not turned
    assert not torch.allclose(turned[:, :, 1], vectors[:, :, 1])


def test_scores_depend_on_the_distance_of_positions_alone():
    query, key = x(8), x(8)
    turn = rotary(9, 8, "cpu")
    queries = rotate(query.expand(1, 1, 9, 8), turn)[0, 0]
    keys = rotate(key.expand(1, 1, 9, 8), turn)[0, 0]
    scores = queries @ keys.T
    for offset in range(-4, 5):
        diagonal = scores.diagonal(offset)
        assert_same(diagonal, diagonal[:1].expand_as(diagonal))
    assert (scores[0, 1:] - scores[0, 0]).abs().max() > 1e-2


# --- block ---------------------------------------------------------------------------------------


@pytest.fixture
def block():
    return Block(16, 2, 2.0, 0.0).eval()


def test_without_positions_order_means_nothing(block):
    vectors, order = x(2, 6, 16), torch.randperm(6)
    assert_same(block(vectors)[:, order], block(vectors[:, order]))


def test_with_positions_order_matters(block):
    vectors, order = x(1, 6, 16), torch.tensor([1, 0, 2, 3, 4, 5])
    turn = rotary(6, 8, "cpu")
    turned = block(vectors, turn=turn)[:, order]
    assert (turned - block(vectors[:, order], turn=turn)).abs().max() > 1e-3


def test_masked_positions_are_not_seen(block):
    vectors = x(2, 6, 16)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    result = block(vectors, mask)
    assert_same(result[1, :4], block(vectors[1:, :4])[0])
    other = vectors.clone()
    other[1, 4:] = 1e3
    assert_same(block(other, mask)[1, :4], result[1, :4])


def test_every_position_sees_every_other(block):
    vectors = x(1, 5, 16).requires_grad_()
    block(vectors)[0, 0].sum().backward()
    assert (vectors.grad.abs().sum(-1) > 0).all()


# --- dropout, computing again, compiling ---------------------------------------------------------


@pytest.fixture
def noisy():
    return Block(16, 2, 2.0, 0.5)


@pytest.fixture
def keys():
    """Of the positions of sequences ``[2, 6]``."""
    return mix(torch.arange(12).view(2, 6), 0)


@torch.no_grad()
def test_dropout_is_for_training_only(noisy, keys):
    vectors = x(2, 6, 16)
    result = noisy(vectors, keys=keys)
    assert torch.equal(noisy(vectors, keys=keys), result)
    assert not torch.allclose(noisy(vectors, keys=keys + 1), result)
    plain = noisy(vectors)  # no keys, no dropout
    assert not torch.allclose(plain, result)
    noisy.eval()
    assert torch.equal(noisy(vectors, keys=keys), plain)


@torch.no_grad()
def test_dropout_follows_a_position_wherever_it_is(noisy, keys):
    vectors, order = x(2, 6, 16), torch.tensor([4, 2, 0, 5, 1, 3])
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    result = noisy(vectors, mask, keys=keys)
    turned = noisy(vectors[:, order], mask[:, order], keys=keys[:, order])
    assert_same(turned, result[:, order])
    assert_same(noisy(vectors[1:, :4], keys=keys[1:, :4])[0], result[1, :4])


@torch.no_grad()
def test_both_branches_and_every_block_drop_apart(keys):
    still = Block(16, 2, 2.0, 0.5)
    for layer in (still.out, still.down):  # each branch gives ones: what is seen is the masks
        torch.nn.init.zeros_(layer.weight), torch.nn.init.ones_(layer.bias)
    once = still(torch.zeros(2, 6, 16), keys=keys)
    assert set(once.unique().tolist()) == {0.0, 2.0, 4.0}
    twice = run_blocks([still, still], torch.zeros(2, 6, 16), keys=keys)
    assert len(twice.unique()) == 5


def gradients(block, vectors, *args):
    vectors = vectors.clone().requires_grad_()
    block.zero_grad()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        result = block(vectors, *args)
    result.square().sum().backward()
    grads = [vectors.grad, *(p.grad.clone() for p in block.parameters())]
    return result.detach(), grads, sum(kept)


def test_computing_a_block_again_gives_the_same_gradients(noisy, keys):
    given = x(2, 6, 16), torch.ones(2, 6, dtype=torch.bool), rotary(6, 8, "cpu"), keys
    result, grads, kept = gradients(noisy, *given)
    noisy.recompute = True
    again, same, less = gradients(noisy, *given)
    assert torch.equal(again, result)
    assert all(torch.equal(a, b) for a, b in zip(same, grads, strict=True))
    assert less < kept / 5
    with torch.no_grad():
        assert torch.equal(noisy(*given), result)


compiler = shutil.which("g++") or shutil.which("clang++")
headers = Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not (compiler and headers), reason="no C++ compiler, or no headers of Python")
def test_compiled_blocks_are_the_same_and_compiled_once(keys):
    torch.compiler.reset()
    blocks = [Block(16, 2, 2.0, 0.5) for _ in range(3)]
    vectors, turn = x(2, 6, 16).requires_grad_(), rotary(6, 8, "cpu")
    expected = run_blocks(blocks, vectors, None, turn, keys)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for block in blocks:
            block.compile()
        result = run_blocks(blocks, vectors, None, turn, keys)
    assert_same(result, expected)
    result.square().sum().backward()
    assert all(p.grad is not None for block in blocks for p in block.parameters())
    torch.compiler.reset()


# --- pooling -------------------------------------------------------------------------------------


@pytest.fixture
def pool():
    return AttentionPool(16, 3).eval()


def test_pooling_is_of_a_set(pool):
    vectors, order = x(2, 6, 16), torch.randperm(6)
    assert pool(vectors).shape == (2, 16)
    assert_same(pool(vectors), pool(vectors[:, order]))


def test_pooling_skips_what_is_masked(pool):
    vectors = x(2, 6, 16)
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, False]])
    assert_same(pool(vectors, mask)[1], pool(vectors[1:, [1, 2, 4]])[0])


def test_the_same_vector_twice_pools_as_once(pool):
    vectors = x(1, 1, 16)
    assert_same(pool(vectors), pool(vectors.expand(1, 5, 16)))


def test_a_prior_moves_the_attention():
    weighted = AttentionPool(16, 3, prior=0.5).eval()
    vectors = x(1, 4, 16)
    level = torch.zeros(1, 4)
    assert_same(weighted(vectors, None, level), weighted(vectors, None, level + 2.0))
    sure = torch.tensor([[0.0, 200.0, 0.0, 0.0]])
    assert_same(weighted(vectors, None, sure), weighted(vectors[:, 1:2], None, level[:, :1]))
    with torch.no_grad():
        weighted.prior.zero_()
    assert_same(weighted(vectors, None, sure), weighted(vectors, None, level))


@pytest.mark.parametrize("start", [0.0, 1.0])
@torch.no_grad()
def test_where_a_prior_starts_pooling_by_presence_or_by_abundance(start):
    pool = AttentionPool(16, 3, prior=start).eval()
    pool.score.weight.zero_()
    vectors, shares = x(1, 4, 16), torch.tensor([[0.7, 0.1, 0.1, 0.1]])
    expected = torch.full((1, 4), 0.25) if start == 0 else shares
    mean = (expected[..., None] * pool.norm(vectors)).sum(1)
    pooled = pool.out(pool.value(mean).repeat(1, 3))
    assert_same(pool(vectors, None, shares.log()), pooled)


def test_shares_of_the_pooling_are_what_it_pools_by(pool):
    vectors = x(2, 6, 16)
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, False]])
    shares = pool.shares(vectors, mask)
    assert_same(shares.sum(-1), torch.ones(2, 3))
    assert (shares[1, :, ~mask[1]] == 0).all() and (shares[1, :, mask[1]] > 0).all()
    pooled = torch.einsum("nqs,nsd->nqd", shares, pool.norm(vectors))
    assert_same(pool(vectors, mask), pool.out(pool.value(pooled).flatten(1)))
    weighted = AttentionPool(16, 3, prior=0.5).eval()
    prior = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
    logits = weighted.score(weighted.norm(vectors[:1, :4]))[0] + 0.5 * prior[0, :, None]
    by_hand = logits.exp() / logits.exp().sum(0)
    assert_same(weighted.shares(vectors[:1, :4], None, prior)[0], by_hand.T)


@torch.no_grad()
@pytest.mark.parametrize("turn", [None, rotary(6, 8, "cpu")])
def test_shares_of_a_block_are_those_of_its_attention(block, turn):
    vectors = x(2, 6, 16)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    shares = block.attention(vectors, mask, turn)
    assert_same(shares.sum(1), torch.ones(2))
    assert (shares[1, 4:] == 0).all() and (shares[1, :4] > 0).all()
    # A value of one for one position, and the output is what attends to it.
    width = block.heads * 8
    for place in range(4):
        q, k, _ = block._heads(block.norm_attention(vectors), turn)
        value = torch.zeros_like(q)
        value[:, :, place] = 1
        seen = torch.nn.functional.scaled_dot_product_attention(
            q, k, value, attn_mask=mask[:, None, None]
        )
        assert_same(seen[1, :, :4].sum((0, 1, 2)) / (4 * width), shares[1, place])
