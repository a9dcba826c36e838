from __future__ import annotations

import numpy as np
import pytest
import torch

from aam_core import vocab
from aam_core.config import MaskingConfig
from aam_core.models.masking import corrupt, divide, mask


@pytest.fixture
def tokens():
    """4,000 sequences of 30 bases, some ambiguous, padded to 40."""
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randint(vocab.A, vocab.N + 1, (4000, 41), generator=generator).byte()
    tokens[:, 0] = vocab.START
    tokens[:, 31:] = vocab.PAD
    return tokens


def hide(tokens, config, key=0):
    return corrupt(tokens, torch.arange(len(tokens)), config, key)


def is_base(tokens):
    return (tokens >= vocab.A) & (tokens <= vocab.T)


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.5])
@pytest.mark.parametrize("strategy, span", [("random", 6), ("span", 1), ("span", 6), ("span", 12)])
def test_the_ratio_holds_at_every_position(tokens, strategy, span, ratio):
    config = MaskingConfig(mask_ratio=ratio, strategy=strategy, span_length=span)
    _, chosen = hide(tokens, config)
    base = is_base(tokens)
    assert chosen[base].float().mean() == pytest.approx(ratio, abs=0.015)
    by_place = (chosen & base).sum(0)[1:31] / base.sum(0)[1:31]
    assert (by_place - ratio).abs().max() < 0.05


@pytest.mark.parametrize("strategy", ["random", "span"])
def test_only_unambiguous_bases_are_chosen(tokens, strategy):
    config = MaskingConfig(mask_ratio=0.9, strategy=strategy)
    changed, chosen = hide(tokens, config)
    assert chosen.dtype == torch.bool and changed.dtype == torch.uint8
    assert not chosen[~is_base(tokens)].any()
    assert torch.equal(changed[~chosen], tokens[~chosen])


def test_chosen_bases_become_mask_another_base_or_stay(tokens):
    changed, chosen = hide(tokens, MaskingConfig(mask_ratio=0.5))
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
        _, chosen = hide(sound, config)
        starts = chosen[:, 1:] & ~chosen[:, :-1]
        return chosen.sum() / starts.sum()

    assert runs("random") < 1.5
    assert runs("span") > 5  # overlapping runs are longer than six, cut ones shorter


@pytest.mark.parametrize("strategy", ["random", "span"])
def test_an_asv_is_corrupted_alike_in_any_batch(tokens, strategy):
    before = tokens.clone()
    config = MaskingConfig(mask_ratio=0.3, strategy=strategy)
    index = torch.arange(7000, 11000)
    changed, chosen = corrupt(tokens, index, config, 3)
    some = torch.tensor([17, 3999, 4, 250])
    padded = torch.nn.functional.pad(tokens[some], (0, 60), value=vocab.PAD)
    for given in (tokens[some], tokens[some, :31], padded):
        result = corrupt(given, index[some], config, torch.tensor(3))
        width = min(41, given.shape[1])
        assert torch.equal(result[0][:, :width], changed[some, :width])
        assert torch.equal(result[1][:, :width], chosen[some, :width])
        assert not result[1][:, width:].any()
    assert torch.equal(tokens, before)


def test_asvs_and_steps_are_corrupted_apart():
    config = MaskingConfig(mask_ratio=0.5)
    same = torch.full((1000, 41), vocab.G, dtype=torch.uint8)
    _, chosen = hide(same, config)
    _, later = hide(same, config, 1)
    for one, other in ((chosen[1:], chosen[:-1]), (chosen[:, 1:], chosen[:, :-1]), (chosen, later)):
        assert (one == other).float().mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_to_hide():
    tokens = torch.tensor([[vocab.START, vocab.N, vocab.PAD]], dtype=torch.uint8)
    changed, chosen = hide(tokens, MaskingConfig(mask_ratio=0.9))
    assert torch.equal(changed, tokens) and not chosen.any()
    some = torch.full((50, 20), vocab.C, dtype=torch.uint8)
    assert not hide(some, MaskingConfig(mask_ratio=0.0))[1].any()


# --- who reads what ------------------------------------------------------------------------------


def parts_of(count, seed=0):
    """Features of some parts: a third of 600 in each, 30 in all of them."""
    rng = np.random.default_rng(seed)
    common, others = np.arange(30), np.arange(30, 600)
    return [
        np.sort(np.concatenate((common, rng.choice(others, 200, replace=False))))
        for _ in range(count)
    ]


def read(parts, rows):
    return np.concatenate([part[chosen] for part, chosen in zip(parts, rows, strict=True)])


@pytest.mark.parametrize("fraction", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_share_of_the_union_each_by_one(count, fraction):
    parts = parts_of(count)
    union = np.unique(np.concatenate(parts))
    rows = divide(parts, fraction, 5)
    features = read(parts, rows)
    assert len(np.unique(features)) == len(features) == round(fraction * len(union))
    assert all((np.diff(chosen) > 0).all() for chosen in rows)
    # The same features as one process would choose that held them all.
    assert set(features) == set(union[divide([union], fraction, 5)[0]])
    again = divide(parts, fraction, torch.tensor(5))
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))


def test_another_step_chooses_others():
    (part,) = parts_of(1)
    first, second = (set(divide([part], 0.3, key)[0]) for key in (1, 2))
    assert len(first & second) < 40  # of 69; 21 by chance


def test_every_asv_has_its_turn():
    (part,) = parts_of(1)
    times = np.zeros(len(part))
    for key in range(400):
        times[divide([part], 0.25, key)[0]] += 1
    assert abs(times - 100).max() < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_what_all_hold_is_dealt_out_evenly():
    same = np.arange(100)
    assert [len(chosen) for chosen in divide([same] * 4, 0.4, 0)] == [10] * 4
    parts = parts_of(4)
    sizes = [len(chosen) for chosen in divide(parts, 1.0, 0)]
    assert max(sizes) - min(sizes) < 25  # 533 features over 4


def test_at_least_one_and_none_of_nothing():
    none = np.empty(0, np.int64)
    assert [len(chosen) for chosen in divide([none, np.array([7]), none], 0.01, 0)] == [0, 1, 0]
    assert [chosen.dtype for chosen in divide([none, none], 0.5, 0)] == [np.int64] * 2
    assert [len(chosen) for chosen in divide([none, none], 0.5, 0)] == [0, 0]


# --- in a batch ----------------------------------------------------------------------------------

SAMPLES = {
    "s1": {"ACGTACGTAC": 5, "GGGTTTACCA": 2, "TTTTACGATTACAGG": 9},
    "s2": {"ACGTACGTAC": 1, "CATCATCATGG": 3},
}
CONFIG = MaskingConfig(mask_ratio=0.5)


def test_a_batch_carries_what_is_hidden(batch_of):
    batch = batch_of(SAMPLES)
    mask(batch, np.array([1, 3]), CONFIG, 2)
    clean = batch.asv_tokens[[1, 3]]
    assert batch.masked_index.tolist() == [1, 3]
    assert batch.masked_tokens.shape == clean.shape and batch.masked_tokens.dtype == torch.uint8
    place = batch.masked_row, batch.masked_column
    assert 4 < len(batch.masked_truth) < 17  # of 21
    assert batch.masked_truth.dtype == torch.int64
    assert torch.equal(batch.masked_truth, clean[place].long())
    hidden = torch.zeros(clean.shape, dtype=torch.bool)
    hidden[place] = True
    assert torch.equal(batch.masked_tokens[~hidden], clean[~hidden])
    assert (batch.masked_tokens[hidden] != clean[hidden]).any()


def test_the_masked_bases_of_an_asv_do_not_depend_on_other_asvs(batch_of):
    whole, part = batch_of(SAMPLES), batch_of(SAMPLES, only=[1])
    assert whole.asv_tokens.shape != part.asv_tokens.shape
    mask(whole, np.arange(4), CONFIG, 2)
    mask(part, np.arange(2), CONFIG, 2)
    for row, feature in enumerate(part.masked_index.tolist()):
        columns, truth = part.masked_column, part.masked_truth
        own, theirs = part.masked_row == row, whole.masked_row == feature
        assert own.any() and torch.equal(columns[own], whole.masked_column[theirs])
        assert torch.equal(truth[own], whole.masked_truth[theirs])
        width = part.masked_tokens.shape[1]
        assert torch.equal(part.masked_tokens[row], whole.masked_tokens[feature, :width])


def test_nothing_read_is_empty(batch_of):
    batch = batch_of(SAMPLES)
    mask(batch, np.empty(0, np.int64), CONFIG, 2)
    assert batch.masked_tokens.shape == (0, batch.asv_tokens.shape[1])
    assert batch.masked_tokens.dtype == torch.uint8
    fields = (batch.masked_index, batch.masked_row, batch.masked_column, batch.masked_truth)
    assert all(field.shape == (0,) and field.dtype == torch.int64 for field in fields)
