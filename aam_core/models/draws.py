"""Random numbers that depend on keys alone, not on the numbers drawn before.

A training step has a key; mixed with the identity of a sample, an ASV or a position it gives the
key of that row; hashed with a salt (which draw of the row) and a channel, the draw itself. So a
row gets the same draws in any batch, on any process, after a resume and when recomputed.
All integers wrap at 32 bits; mixing is by the finalizers ``fmix32`` and ``fmix64`` of MurmurHash3
(Austin Appleby, public domain, https://github.com/aappleby/smhasher).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "ASVS",
    "CORRUPT",
    "CONTEXT",
    "COUNTS",
    "DIVIDE",
    "HIDDEN",
    "MASKED",
    "SAMPLES",
    "bernoulli",
    "bits",
    "dropout",
    "key",
    "mix",
]

# A new use goes last: other numbers would change the draws of runs that are resumed.
ASVS, MASKED, SAMPLES, CORRUPT, DIVIDE, COUNTS, CONTEXT, HIDDEN = range(8)
"""Uses of the key of a step; it is mixed with one of them first, so that their draws differ."""

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: its multiples are spread evenly."""


def key(*parts: int) -> int:
    """A non-negative 63-bit key of some integers, such as a seed and a step, in their order."""
    mixed = 0
    for part in parts:
        mixed = (mixed + _GOLDEN ^ part) & (1 << 64) - 1
        mixed ^= mixed >> 33
        mixed = mixed * 0xFF51AFD7ED558CCD & (1 << 64) - 1
        mixed ^= mixed >> 33
        mixed = mixed * 0xC4CEB9FE1A85EC53 & (1 << 64) - 1
        mixed ^= mixed >> 33
    # A batch carries the key as an int64 tensor, which does not hold 64 unsigned bits.
    return mixed >> 1


def mix(keys: Tensor, other: Tensor | int) -> Tensor:
    """New int32 keys from keys and integers.

    Parameters
    ----------
    keys : Tensor
        int32 or int64.
    other : Tensor or int
        int32 or int64, broadcast with ``keys``; under the same key, different integers below
        2^31 give different keys.
    """
    if isinstance(other, int):
        spread = _signed(other * _GOLDEN)
    else:
        spread = _narrow(other) * _signed(_GOLDEN)
    # fmix32 maps 0 to 0: without the 1, mixing 0 with 0 gives 0 again. The sum is also a copy, for
    # `_scramble` works in place and would overwrite the keys of the caller.
    return _scramble(_scramble(_narrow(keys) + 1) ^ spread)


def bits(keys: Tensor, salt: int, n: int) -> Tensor:
    """Draw ``n`` numbers of 31 bits for each int32 key: int32 ``[..., n]``, never negative."""
    return _hash(keys, salt, n).bitwise_and_(0x7FFFFFFF)


def bernoulli(keys: Tensor, salt: int, n: int, rate: float) -> Tensor:
    """Bool ``[..., n]``, each true with probability ``rate`` below 1."""
    return bits(keys, salt, n) < int(rate * 2**31)


def dropout(x: Tensor, rate: float, keys: Tensor | None, salt: int) -> Tensor:
    """Dropout of each channel of each row; the rest is scaled up.

    Parameters
    ----------
    x : Tensor
        ``[..., D]``.
    rate : float
        Share dropped, below 1, to the nearest 2^-16.
    keys : Tensor or None
        int32, broadcast to ``[...]``, one per row; None: nothing is dropped.
    salt : int
        Number of this dropout among those of the row.
    """
    if rate == 0 or keys is None:
        return x
    width = x.shape[-1]
    # Each number gives two draws of 16 bits, for half the work.
    draw = _hash(keys, salt, (width + 1) // 2).view(torch.int16)[..., :width]
    # The draws are signed: they start at -2^15.
    keep = draw >= round(rate * 2**16) - 2**15
    return x * keep.to(x.dtype).mul_(1 / (1 - rate))


def _hash(keys, salt, n):
    # Products of int64 would not wrap at 32 bits, and give other draws.
    assert keys.dtype == torch.int32, keys.dtype
    channel = torch.arange(n, dtype=torch.int32, device=keys.device)
    return _scramble(keys[..., None] ^ (channel * _signed(_GOLDEN) + _signed(key(salt))))


def _scramble(x):
    """`fmix32` in place. The shift of a negative number brings in ones, hence the masks."""
    x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_signed(0x85EBCA6B))
    x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF)).mul_(_signed(0xC2B2AE35))
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


def _narrow(x):
    """To int32: values that fit are kept, others are hashed with their upper half."""
    if x.dtype == torch.int32:
        return x
    return x.int() ^ _scramble((x >> 32).int())


def _signed(x: int) -> int:
    """The low 32 bits, as torch writes them."""
    return ((x & 0xFFFFFFFF) ^ 1 << 31) - (1 << 31)
