from __future__ import annotations

import pytest
import torch

from aam_core import vocab
from aam_core.config import MaskingConfig
from aam_core.models.masking import corrupt


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def tokens():
    """4,000 sequences of 30 bases, some ambiguous, padded to 40."""
    tokens = torch.randint(vocab.A, vocab.N + 1, (4000, 41), generator=seeded(9)).byte()
    tokens[:, 0] = vocab.START
    tokens[:, 31:] = vocab.PAD
    return tokens


def is_base(tokens):
    return (tokens >= vocab.A) & (tokens <= vocab.T)


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.5])
@pytest.mark.parametrize("strategy, span", [("random", 6), ("span", 1), ("span", 6), ("span", 12)])
def test_the_ratio_holds_at_every_position(tokens, strategy, span, ratio):
    config = MaskingConfig(mask_ratio=ratio, strategy=strategy, span_length=span)
    _, chosen = corrupt(tokens, config, seeded())
    base = is_base(tokens)
    assert chosen[base].float().mean() == pytest.approx(ratio, abs=0.015)
    by_place = (chosen & base).sum(0)[1:31] / base.sum(0)[1:31]
    assert (by_place - ratio).abs().max() < 0.05


@pytest.mark.parametrize("strategy", ["random", "span"])
def test_only_unambiguous_bases_are_chosen(tokens, strategy):
    config = MaskingConfig(mask_ratio=0.9, strategy=strategy)
    changed, chosen = corrupt(tokens, config, seeded())
    assert chosen.dtype == torch.bool and changed.dtype == torch.uint8
    assert not chosen[~is_base(tokens)].any()
    assert torch.equal(changed[~chosen], tokens[~chosen])


def test_chosen_bases_become_mask_another_base_or_stay(tokens):
    changed, chosen = corrupt(tokens, MaskingConfig(mask_ratio=0.5), seeded())
    before, after = tokens[chosen], changed[chosen]
    masked = (after == vocab.MASK).float().mean()
    assert masked == pytest.approx(0.8, abs=0.01)
    kept = (after == before).float().mean()
    # 10 % stay, and a quarter of the random tenth is the same base by chance.
    assert kept == pytest.approx(0.125, abs=0.01)
    swapped = after[(after != vocab.MASK) & (after != before)]
    assert swapped.float().numel() / before.numel() == pytest.approx(0.075, abs=0.01)
    assert set(swapped.tolist()) == set(vocab.BASES)


def test_spans_are_runs(tokens):
    def runs(strategy):
        config = MaskingConfig(mask_ratio=0.15, strategy=strategy, span_length=6)
        sound = torch.full((2000, 61), vocab.A, dtype=torch.uint8)
        _, chosen = corrupt(sound, config, seeded())
        starts = chosen[:, 1:] & ~chosen[:, :-1]
        return chosen.sum() / starts.sum()

    assert runs("random") < 1.5
    assert runs("span") > 5  # overlapping runs are longer than six, cut ones shorter


def test_a_pure_function(tokens):
    before = tokens.clone()
    config = MaskingConfig(mask_ratio=0.3, strategy="span")
    first, second = corrupt(tokens, config, seeded(3)), corrupt(tokens, config, seeded(3))
    torch.manual_seed(123)  # the global generator has no part in it
    third = corrupt(tokens, config, seeded(3))
    for other in (second, third):
        assert torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])
    assert torch.equal(tokens, before)
    assert not torch.equal(first[1], corrupt(tokens, config, seeded(4))[1])


def test_nothing_to_hide():
    tokens = torch.tensor([[vocab.START, vocab.N, vocab.PAD]], dtype=torch.uint8)
    changed, chosen = corrupt(tokens, MaskingConfig(mask_ratio=0.9), seeded())
    assert torch.equal(changed, tokens) and not chosen.any()
    some = torch.full((50, 20), vocab.C, dtype=torch.uint8)
    assert not corrupt(some, MaskingConfig(mask_ratio=0.0), seeded())[1].any()
