"""How likely an importance would be if the target had nothing to do with the samples.

Letters: N samples, B permutations, E changed predictions of one feature, T outputs.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FEW", "benjamini_hochberg", "p_values", "permuted_targets"]

FEW = 10
"""Null importances as great as the one found, below which further permutations are drawn."""

_ROUNDS = (999, 9999)
"""Permutations of every feature, and of those that few null importances reach."""

_AT_A_TIME = 1_000_000
"""Errors computed at once."""


def permuted_targets(
    count: int, groups: np.ndarray | None, size: int, rng: np.random.Generator
) -> np.ndarray:
    """``[size, N]`` positions of the samples whose targets are given to each of ``count`` samples.

    Parameters
    ----------
    count : int
        N.
    groups : ndarray or None
        ``[N]`` codes: samples of a subject are no independent ones, so that the samples of one
        group receive values of one other group, at random and repeated where that has fewer (as
        blocks are exchanged as a whole: Winkler et al. 2014, NeuroImage 92:381).
    size : int
        B.
    rng : Generator
    """
    if groups is None or len(np.unique(groups)) == count:
        return rng.permuted(np.tile(np.arange(count), (size, 1)), axis=1)
    _, codes = np.unique(groups, return_inverse=True)
    places = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    drawn = np.empty((size, count), np.int64)
    for row in drawn:
        for own, other in zip(places, rng.permutation(len(places)), strict=True):
            row[own] = np.resize(rng.permutation(places[other]), len(own))
    return drawn


def p_values(
    task,
    importance: np.ndarray,
    entries: tuple[np.ndarray, np.ndarray, np.ndarray],
    base: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray | None,
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Share of permuted targets with an importance as great as that of each feature.

    The predictions stay, the targets are permuted. With b of B null importances as great,
    p = (b + 1) / (B + 1) (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39); B is 999,
    and 9,999 where b is below `FEW`, which keeps p valid: it can only become larger than the
    p of 9,999 permutations. Features of importance 0 or less have p 1.

    Parameters
    ----------
    task : Task
    importance : ndarray
        ``[U]`` of each feature: mean rise of the error over samples and repeats.
    entries : tuple of ndarray
        Feature, ``[all]``; sample; and predictions ``[all, T]`` after a permutation of the feature,
        for the samples and repeats in which it changed anything. Sorted by feature.
    base : ndarray
        ``[N, T]`` predictions.
    truth : ndarray
        ``[N]``
    groups : ndarray or None
        As in `permuted_targets`.
    repeats : int
    rng : Generator
    """
    unit, sample, prediction = entries
    ends = np.searchsorted(unit, np.arange(len(importance) + 1))
    p = np.ones(len(importance))
    todo = np.flatnonzero(importance > 0)
    reached = np.zeros(len(importance), np.int64)
    done = 0
    values, place = np.unique(truth, return_inverse=True)
    place = place.reshape(-1)
    for rounds in _ROUNDS:
        if not len(todo):
            break
        drawn = place[permuted_targets(len(truth), groups, rounds - done, rng)]
        for it in todo:
            rows = slice(ends[it], ends[it + 1])
            null = _null(task, sample[rows], prediction[rows], base, values, drawn)
            # Equal up to rounding is as great.
            least = importance[it] * (1 - 1e-9) * repeats * len(truth)
            reached[it] += int((null >= least).sum())
        done = rounds
        p[todo] = (reached[todo] + 1) / (rounds + 1)
        todo = todo[reached[todo] < FEW]
    return p


def _null(task, sample, prediction, base, values, drawn) -> np.ndarray:
    """``[B]`` sums of the rises of the error, of permuted targets.

    ``values`` are the distinct targets, ``drawn`` ``[B, N]`` their places: the rise of each sample
    is computed once for each value that it may be given.
    """
    order = np.argsort(sample, kind="stable")
    sample, prediction = sample[order], prediction[order]
    size = max(1, _AT_A_TIME // len(values))
    null = np.zeros(len(drawn))
    for start in range(0, len(sample), size):
        part = slice(start, start + size)
        at, first = np.unique(sample[part], return_index=True)
        after = task.blend_losses(prediction[part][:, None], values)
        count = np.diff([*first, len(after)])[:, None]
        rise = np.add.reduceat(after, first) - count * task.blend_losses(base[at][:, None], values)
        for row, column in zip(rise, drawn.T[at], strict=True):
            null += row[column]
    return null


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """False discovery rate at which each of some p values is a discovery.

    Benjamini and Hochberg 1995 (J. R. Stat. Soc. B 57:289): the least q for which p is below.
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return q
