"""Whether an importance is more than chance: p by random sign flips, and false discovery rates.

Letters: N samples, G groups of samples, B flips, U ASVs or groups of ASVs.
"""

from __future__ import annotations

import numpy as np

__all__ = ["flipped_together", "least_p", "p_values"]

_ROUNDS = {999: None, 9_999: 10, 99_999: 1}
"""Flips of every sum, of those that fewer than ten null sums reach, and of those that none does."""

_MOST_FLIPS = max(_ROUNDS)

_MOST = 1000
"""Groups of samples whose sums are kept."""

_AT_A_TIME = 4_000_000
"""Null sums computed at once."""


def flipped_together(count: int, groups: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """``[N]`` codes, from 0, of the samples whose signs are flipped together.

    Those of a group, or each sample by itself. More than 1,000 groups are joined to 1,000 at
    random, which bounds memory: sums of independent groups are independent, too.

    Parameters
    ----------
    count : int
        N.
    groups : ndarray or None
        ``[N]`` codes.
    rng : Generator
    """
    codes = np.arange(count)
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    number = int(codes.max()) + 1
    return codes if number <= _MOST else (rng.permutation(number) % _MOST)[codes]


def p_values(sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of sign flips that make the total of each row as great as it is: one-sided.

    Where an ASV tells nothing, a loss with the abundance of another sample is as likely greater as
    smaller by as much, so that signs of the rises are arbitrary. Samples of a group are not
    independent: the sum of a group is flipped as a whole (Winkler et al. 2014, NeuroImage 92:381).
    With b of B null totals as great, p = (b + 1) / (B + 1) (Phipson and Smyth 2010, Stat. Appl.
    Genet. Mol. Biol. 9:39); B is 999, 9,999 where b is below 10 by then, and 99,999 where it is
    0. Up to 16 groups all 2^G - 1 flips are done instead, and p is exact. No p is below `least_p`.

    Parameters
    ----------
    sums : ndarray
        ``[U, G]`` rises of the loss, of each ASV summed over the samples of each group.
    rng : Generator

    Returns
    -------
    ndarray
        ``[U]``
    """
    number = sums.shape[1]
    if 2**number <= _MOST_FLIPS + 1:
        reached = _reached(sums, _every_flip(number))
        return (reached + 1) / 2**number
    p = np.ones(len(sums))
    todo = np.arange(len(sums))
    reached = np.zeros(len(sums), np.int64)
    done = 0
    for rounds, few in _ROUNDS.items():
        if few is not None:
            todo = todo[reached[todo] < few]
        # The last round takes nothing of `rng`, which draws further things afterwards.
        draw = np.random.Generator(rng.bit_generator.jumped()) if rounds == _MOST_FLIPS else rng
        size = max(1, _AT_A_TIME // number)
        while done < rounds and (len(todo) or draw is rng):
            flips = min(size, rounds - done)
            reached[todo] += _reached(sums[todo], _random_flips(flips, number, draw))
            done += flips
        p[todo] = (reached[todo] + 1) / (rounds + 1)
        done = rounds
    return p


def _reached(sums: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """``[U]`` of the flips ``[B, G]``, those that make the total as great as it is."""
    # Equal up to rounding is as great.
    least = sums.sum(axis=1) - 1e-9 * np.abs(sums).sum(axis=1)
    size = max(1, _AT_A_TIME // max(1, len(signs)))
    parts = [np.zeros(0, np.int64)]
    for start in range(0, len(sums), size):
        part = slice(start, start + size)
        parts.append((sums[part] @ signs.T >= least[part, None]).sum(axis=1))
    return np.concatenate(parts)


def least_p(groups: int) -> float:
    """The smallest p that `p_values` can give with a number of groups."""
    return 1 / min(2**groups, _MOST_FLIPS + 1)


def _every_flip(number: int) -> np.ndarray:
    """``[2^G - 1, G]`` signs, without that of no flip."""
    codes = np.arange(1, 2**number)[:, None]
    return 1.0 - 2.0 * (codes >> np.arange(number) & 1)


def _random_flips(count: int, number: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, (count, number)) * 2.0 - 1.0
