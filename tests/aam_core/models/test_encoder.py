from __future__ import annotations

import dataclasses

import pytest
import torch

from aam_core import vocab
from aam_core.config import EncoderConfig, SampleConfig
from aam_core.models.draws import mix
from aam_core.models.encoder import BaseEncoder, KmerBag, SampleEncoder

SHAPES = [
    {"stride": 1, "kernel": 1, "kmer": 0},
    {"stride": 1, "kernel": 5, "kmer": 3},
    {"stride": 4, "kernel": 9, "kmer": 3},
    {"stride": 4, "kernel": 3, "kmer": 0},
    {"stride": 3, "kernel": 1, "kmer": 6},
]
"""Strides and kernels that pad differently."""

SHORT = "ACGTTGCATGCCA"
LONG = "GGATTACAGGATTACAGGATTACATTTGACCA"


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def bases(request, shaken):
    torch.manual_seed(0)
    return shaken(BaseEncoder(EncoderConfig(width=16, heads=2, depth=2, **request.param)))


def assert_same(left, right):
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 5, 8, 13])
def test_an_asv_is_the_same_alone_and_beside_a_longer_one(bases, tokens_of, length):
    short = SHORT[:length]
    alone = bases(tokens_of(short), ragged=False)
    assert_same(bases(tokens_of(short, LONG))[0], alone[0])
    assert_same(bases(tokens_of(short, LONG))[1], bases(tokens_of(LONG), ragged=False)[0])
    assert_same(bases(tokens_of(LONG, short, SHORT))[1], alone[0])


@torch.no_grad()
def test_the_caller_says_whether_lengths_differ(bases, tokens_of):
    tokens = tokens_of(LONG, LONG[::-1])
    assert_same(bases(tokens, ragged=True), bases(tokens, ragged=False))


@torch.no_grad()
def test_every_base_and_its_place_matter(bases, tokens_of):
    vector = bases(tokens_of(SHORT))[0]
    for place in range(len(SHORT)):
        other = "C" if SHORT[place] != "C" else "N"
        changed = SHORT[:place] + other + SHORT[place + 1 :]
        assert (bases(tokens_of(changed))[0] - vector).abs().max() > 1e-4, place
    assert (bases(tokens_of(SHORT[::-1]))[0] - vector).abs().max() > 1e-4
    assert (bases(tokens_of(SHORT + SHORT))[0] - vector).abs().max() > 1e-4


@torch.no_grad()
def test_start_keeps_a_sequence_from_being_all_padding(bases, tokens_of):
    """Attention over nothing would be NaN, and would spread."""
    tokens = tokens_of(SHORT, LONG)
    tokens[0, 1:] = 0
    result = bases(tokens)
    assert torch.isfinite(result).all()
    assert_same(result[1], bases(tokens_of(LONG))[0])


@torch.no_grad()
def test_states_and_their_mask(bases, tokens_of):
    states, mask = bases.states(tokens_of(SHORT, LONG))
    positions = [1 + -(-len(name) // bases.config.stride) for name in (SHORT, LONG)]
    assert mask.sum(1).tolist() == positions and mask[:, 0].all()
    assert states.shape == (2, max(positions), 16)
    assert bases.states(tokens_of(LONG), ragged=False)[1] is None


def test_every_parameter_of_the_bases_learns(bases, tokens_of):
    bases(tokens_of(SHORT, LONG)).square().sum().backward()
    idle = [n for n, p in bases.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@torch.no_grad()
def test_dropout_of_an_asv_is_its_own(bases, tokens_of):
    noisy = BaseEncoder(dataclasses.replace(bases.config, dropout=0.4)).train()
    noisy.load_state_dict(bases.state_dict())
    keys = mix(torch.arange(3), 0)
    tokens = tokens_of(SHORT, LONG, SHORT[::-1])
    together = noisy(tokens, True, keys)
    alone = noisy(tokens_of(SHORT), False, keys[:1])
    assert_same(alone[0], together[0])
    states, _ = noisy.states(tokens_of(SHORT), False, keys[:1])
    assert_same(states[0], noisy.states(tokens, True, keys)[0][0, : states.shape[1]])
    assert not torch.allclose(noisy(tokens, True, keys + 1), together, atol=1e-3)
    assert_same(noisy(tokens), bases(tokens))
    noisy.eval()
    assert_same(noisy(tokens, True, keys), bases(tokens))


@torch.no_grad()
def test_every_position_and_block_has_draws_of_its_own(bases, tokens_of):
    noisy = BaseEncoder(dataclasses.replace(bases.config, dropout=0.4)).train()
    seen = []
    for block in noisy.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[3]))
    states, _ = noisy.states(tokens_of(SHORT, LONG), True, mix(torch.arange(2), 0))
    assert all(keys.shape == states.shape[:2] for keys in seen)
    assert len(torch.stack(seen).unique()) == 2 * states.shape[:2].numel()


# --- k-mers --------------------------------------------------------------------------------------


@pytest.fixture
def bag():
    torch.manual_seed(0)
    bag = KmerBag(2, 8)
    bag.norm = torch.nn.Identity()
    with torch.no_grad():
        bag.vectors.normal_()
    return bag


@torch.no_grad()
def test_a_bag_of_kmers_is_the_sum_over_its_windows(bag, tokens_of):
    def summed(*kmers):
        return sum(bag(tokens_of(kmer))[0] for kmer in kmers)

    assert_same(bag(tokens_of("AACA"))[0], summed("AA", "AC", "CA"))
    assert_same(bag(tokens_of("ACGNTT"))[0], summed("AC", "CG", "TT"))
    assert_same(bag(tokens_of("GTG", "AACAGT"))[0], summed("GT", "TG"))
    assert len({tuple(summed(a + b).tolist()) for a in "ACGT" for b in "ACGT"}) == 16


@torch.no_grad()
def test_no_kmer_adds_nothing(bag, tokens_of):
    assert not bag(tokens_of("A", "NN", "ANA"))[[0, 1, 2]].any()


# --- samples -------------------------------------------------------------------------------------


@pytest.fixture
def samples(shaken):
    torch.manual_seed(0)
    return shaken(SampleEncoder(16, SampleConfig(heads=2, depth=2, dropout=0.0, pool_queries=3)))


@pytest.fixture
def three():
    """Vectors ``[3, 5, D]``, counts and mask of samples with 5, 3 and 1 ASVs."""
    torch.manual_seed(1)
    mask = torch.arange(5)[None] < torch.tensor([5, 3, 1])[:, None]
    return torch.randn(3, 5, 16), torch.randint(1, 50, (3, 5)) * mask.float(), mask


def encode(samples, *inputs):
    """Sample vectors, ASVs in their context, and the mask that was used."""
    asvs = samples(*inputs)
    return asvs.sample, asvs.vectors, asvs.mask


@torch.no_grad()
def test_permuting_the_asvs_changes_nothing(samples, three):
    asvs, counts, mask = three
    order = torch.tensor([3, 0, 4, 1, 2])
    sample, context, _ = encode(samples, asvs, counts, mask)
    again, turned, _ = encode(samples, asvs[:, order], counts[:, order], mask[:, order])
    assert_same(again, sample)
    assert_same(turned[0], context[0, order])


@torch.no_grad()
def test_padding_changes_nothing(samples, three):
    asvs, counts, mask = three
    sample, context, used = encode(samples, asvs, counts, mask)
    assert torch.equal(used, mask)
    for row, size in enumerate(mask.sum(1).tolist()):
        part = slice(row, row + 1), slice(0, size)
        alone, context_alone, _ = encode(samples, asvs[part], counts[part], mask[part])
        assert_same(alone[0], sample[row])
        assert_same(context_alone[0], context[row, :size])
    asvs = asvs.masked_fill(~mask[..., None], 1e3)
    assert_same(encode(samples, asvs, counts, mask)[0], sample)


@torch.no_grad()
def test_abundance_is_seen_and_depth_is_not(samples, three):
    asvs, counts, mask = three
    sample = encode(samples, asvs, counts, mask)[0]
    assert_same(encode(samples, asvs, counts * 7, mask)[0], sample)
    other = counts.clone()
    other[0, 0] += 100
    assert (encode(samples, asvs, other, mask)[0][0] - sample[0]).abs().max() > 1e-3


def keys_of(mask, step=0):
    return mix(torch.tensor(step), torch.arange(mask.numel()).view(mask.shape))


@torch.no_grad()
def test_asvs_are_hidden_in_training_only(three):
    asvs, counts, mask = three
    torch.manual_seed(2)
    config = SampleConfig(heads=2, depth=1, dropout=0.0, asv_dropout=0.5)
    samples = SampleEncoder(16, config)
    shown = torch.stack([samples(*three, keys_of(mask, step)).mask for step in range(400)])
    assert not (shown & ~mask).any()
    assert shown.any(-1).all()  # never a sample without ASVs
    assert shown[:, 2, 0].all()
    share = shown[:, 0].float().mean()
    # Of five ASVs half are shown; a 32nd of the draws would show none and shows all.
    assert abs(share - (0.5 + 1 / 32)) < 0.05
    sample = encode(samples, *three, keys_of(mask))[0]
    assert torch.isfinite(sample).all()
    assert torch.equal(encode(samples, *three)[2], mask)  # no keys, no draws
    samples.eval()
    assert torch.equal(encode(samples, *three, keys_of(mask))[2], mask)


@torch.no_grad()
def test_a_hidden_asv_leaves_no_trace(three, shaken):
    """Neither in attention nor in the shares of the others."""
    asvs, counts, mask = three
    torch.manual_seed(3)
    config = SampleConfig(heads=2, depth=1, dropout=0.0, asv_dropout=0.5)
    samples = shaken(SampleEncoder(16, config)).train()
    sample, _, used = encode(samples, asvs, counts, mask, keys_of(mask))
    assert (used != mask).any()
    samples.eval()
    assert_same(encode(samples, asvs, counts * used, used)[0], sample)


@torch.no_grad()
def test_draws_follow_the_asvs_of_a_sample(three, shaken):
    """Whatever their order, the padding and the other samples."""
    asvs, counts, mask = three
    torch.manual_seed(4)
    config = SampleConfig(heads=2, depth=2, dropout=0.3, asv_dropout=0.5)
    samples = shaken(SampleEncoder(16, config)).train()
    keys = keys_of(mask, 4)
    sample, context, used = encode(samples, asvs, counts, mask, keys)
    assert (used != mask).any()
    other = encode(samples, asvs, counts, mask, keys_of(mask, 5))[0]
    assert not torch.allclose(other, sample, atol=1e-3)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = encode(samples, asvs[:, order], counts[:, order], mask[:, order], keys[:, order])
    assert_same(turned[0], sample)
    assert_same(turned[1], context[:, order])
    part = slice(1, 2), slice(0, 3)
    alone = encode(samples, asvs[part], counts[part], mask[part], keys[part])
    assert_same(alone[0][0], sample[1])
    assert torch.equal(alone[2][0], used[1, :3])


# --- along the bases -----------------------------------------------------------------------------


@torch.no_grad()
def test_attention_along_the_bases_is_shared_by_those_of_a_position(bases, tokens_of):
    tokens, stride = tokens_of("ACGTACGTGC", "GGCAT"), bases.config.stride
    shares = bases.attention(tokens)
    assert shares.shape == tokens.shape
    assert_same(shares.sum(1), torch.ones(2))
    assert (shares[1, 6:] == 0).all() and (shares[1, :6] > 0).all()
    assert_same(bases.attention(tokens[1:, :6])[0], shares[1, :6])
    positions = bases.pool.shares(*bases.states(tokens)).mean(1)
    assert_same(shares[0, 1 : 1 + stride].sum(), positions[0, 1])


@torch.no_grad()
def test_bases_that_are_partly_hidden_lie_between_their_own_and_mask(bases, tokens_of):
    tokens = tokens_of("ACGTACGTGCAA", "GGCAT")
    shown = torch.ones(2, 12)
    assert_same(bases.partly(tokens, shown), bases(tokens))
    hidden = torch.where(tokens >= vocab.A, vocab.MASK, tokens)
    assert_same(bases.partly(tokens, 0 * shown), bases(hidden))
    shown[:, 2] = 0
    hidden = tokens.clone()
    hidden[:, 3] = vocab.MASK
    assert_same(bases.partly(tokens, shown), bases(hidden))
