from __future__ import annotations

import pytest
import torch

from aam_core.models.draws import bernoulli, bits, dropout, key, mix


def rows(*shape, step=0):
    """A key for each of some rows, of numbers that follow each other."""
    size = torch.Size(shape).numel()
    return mix(torch.tensor(key(7, step)), torch.arange(size).view(shape))


def uniform(keys, salt, n):
    return bits(keys, salt, n).double() / 2**31


def test_the_draws_stay_what_they_are():
    """A run that goes on under a newer version goes on with the same draws."""
    assert key(1, 2) == 5205008187903632318
    keys = mix(torch.tensor(key(1, 2)), torch.tensor([3, 4]))
    assert keys.tolist() == [1382857530, 771606731]
    assert bits(keys, 5, 2).tolist() == [[90522151, 958191326], [529656006, 237506185]]
    dropped = dropout(torch.ones(2, 8), 0.5, keys, 5) == 0
    assert dropped.int().tolist() == [[0, 0, 1, 1, 1, 1, 0, 0], [1, 0, 0, 1, 0, 1, 0, 0]]


# --- keys ----------------------------------------------------------------------------------------


def test_keys_differ_by_every_part_and_their_order():
    result = {key(seed, step) for seed in range(100) for step in range(100)}
    result |= {key(), key(0), key(1), key(-1), key(0, 0, 0), key(2**32 - 1, 2**40)}
    assert len(result) == 10_006
    assert all(0 <= value < 2**63 for value in result)
    # Neighbouring steps differ in half of the 63 bits.
    apart = [bin(key(0, step) ^ key(0, step + 1)).count("1") for step in range(1000)]
    assert sum(apart) / 1000 == pytest.approx(31.5, abs=0.5)


def test_mixing_tells_children_apart():
    children = mix(torch.tensor(key(3)), torch.arange(100_000))
    assert children.dtype == torch.int32
    assert len(children.unique()) == 100_000
    pairs = mix(torch.arange(1000)[:, None], torch.arange(1000))
    assert pairs.shape == (1000, 1000)
    # A million numbers of 32 bits: some 116 meet one another by chance.
    assert len(pairs.unique()) > 1_000_000 - 200
    assert (pairs != pairs.T).float().mean() > 0.99


def test_all_63_bits_of_a_key_count():
    keys = mix(torch.tensor([1 << bit for bit in range(63)]), 0)
    assert len(keys.unique()) == 63


def test_mixing_takes_any_integer_type():
    keys, other = torch.arange(50), torch.arange(50).flip(0)
    expected = mix(keys, other)
    before = keys.clone(), other.clone()
    assert torch.equal(mix(keys.int(), other.int()), expected)
    assert torch.equal(mix(keys, other.int()), expected)
    assert torch.equal(mix(keys, 9), mix(keys, torch.tensor(9)))
    assert torch.equal(keys, before[0]) and torch.equal(other, before[1])
    narrow = keys.int()
    mix(narrow, narrow), bits(narrow, 0, 3), dropout(torch.ones(50, 3), 0.5, narrow, 0)
    assert torch.equal(narrow, keys.int())


# --- how even and how independent ----------------------------------------------------------------


def test_numbers_are_uniform():
    drawn = bits(rows(4000), 1, 64)
    assert drawn.dtype == torch.int32 and drawn.min() >= 0
    share = drawn.double() / 2**31
    assert share.mean() == pytest.approx(0.5, abs=0.003)
    assert share.var() == pytest.approx(1 / 12, abs=0.001)
    for bit in range(31):
        assert (drawn >> bit & 1).double().mean() == pytest.approx(0.5, abs=0.005), bit
    # Of every channel too, and of every row.
    assert (share.mean(0) - 0.5).abs().max() < 5 * (12 * 4000) ** -0.5
    assert (share.mean(1) - 0.5).abs().max() < 5 * (12 * 64) ** -0.5


def others():
    """Draws that must have nothing to do with those of ``uniform(rows(3000), 1, 64)``."""
    first = uniform(rows(3000), 1, 64)
    return {
        "salt": uniform(rows(3000), 2, 64),
        "step": uniform(rows(3000, step=1), 1, 64),
        "row": first.roll(1, 0),
        "channel": first.roll(1, 1),
        "far channel": first.roll(32, 1),
        "child": uniform(mix(rows(3000), 0), 1, 64),
        "sibling": uniform(mix(rows(3000), 1), 1, 64),
    }


@pytest.mark.parametrize("name", others())
def test_draws_are_independent(name):
    first, second = uniform(rows(3000), 1, 64), others()[name]
    # Chi square of the pairs in 16 x 16 cells: 255 degrees of freedom, standard deviation 22.6.
    cells = (first * 16).long() * 16 + (second * 16).long()
    counts = torch.bincount(cells.flatten(), minlength=256).double()
    expected = first.numel() / 256
    assert 160 < ((counts - expected) ** 2 / expected).sum() < 360


def test_chance():
    keys = rows(3000)
    for rate in (0.0, 0.01, 0.3, 0.9):
        result = bernoulli(keys, 0, 64, rate)
        assert result.dtype == torch.bool and result.shape == (3000, 64)
        assert result.float().mean() == pytest.approx(rate, abs=0.005)


# --- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("width", [64, 7, 1])
def test_dropout_hides_its_share_and_scales_the_rest(rate, width):
    x = torch.full((80, 500, width), 3.0)
    result = dropout(x, rate, rows(80, 500), 0)
    hidden = result == 0
    error = (rate * (1 - rate) / x.numel()) ** 0.5
    assert hidden.double().mean() == pytest.approx(rate, abs=5 * error)
    torch.testing.assert_close(result[~hidden], x[~hidden] / (1 - rate))
    by_channel = hidden.double().mean((0, 1))
    assert (by_channel - rate).abs().max() < 5 * error * width**0.5


def test_neighbours_are_hidden_independently():
    hidden = (dropout(torch.ones(5000, 64), 0.5, rows(5000), 0) == 0).double() - 0.5
    other = (dropout(torch.ones(5000, 64), 0.5, rows(5000), 1) == 0).double() - 0.5
    beside = {
        "pair": hidden[:, ::2] * hidden[:, 1::2],
        "next pair": hidden[:, 1:-1:2] * hidden[:, 2::2],
        "row": hidden[1:] * hidden[:-1],
        "salt": hidden * other,
    }
    for name, product in beside.items():
        assert abs(4 * product.mean()) < 5 * product.numel() ** -0.5, name


def test_a_row_is_treated_alike_in_any_batch():
    keys, x = rows(6, 9), torch.randn(6, 9, 32)
    whole = dropout(x, 0.4, keys, 2)
    assert torch.equal(dropout(x[2:3, :4], 0.4, keys[2:3, :4], 2), whole[2:3, :4])
    order = torch.tensor([5, 0, 3, 1])
    assert torch.equal(dropout(x[order], 0.4, keys[order], 2), whole[order])
    turned = dropout(x.transpose(0, 1), 0.4, keys.T, 2)
    assert torch.equal(turned, whole.transpose(0, 1))
    one = dropout(x, 0.4, keys[:, :1], 2) == 0
    assert torch.equal(one, one[:, :1].expand_as(one))


def test_no_rate_or_no_keys_is_no_dropout():
    x = torch.randn(3, 4)
    assert dropout(x, 0.0, rows(3), 0) is x
    assert dropout(x, 0.5, None, 0) is x


def test_the_gradient_passes_where_the_value_does():
    x = torch.randn(50, 16, requires_grad=True)
    result = dropout(x, 0.3, rows(50), 0)
    result.sum().backward()
    torch.testing.assert_close(x.grad, (result != 0) / 0.7)
    assert dropout(x.bfloat16(), 0.3, rows(50), 0).dtype == torch.bfloat16


def test_no_rows():
    assert dropout(torch.zeros(0, 5, 8), 0.3, rows(0, 5), 0).shape == (0, 5, 8)
