"""Rarefaction, and the choice of the ASVs that the model reads.

Every draw is keyed by (seed, sample id, epoch), so that it depends neither on the order of the
samples nor on the batch or rank they fall into. Letters: A ASVs of a sample.
"""

from __future__ import annotations

import zlib

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.config import DataConfig
from aam_core.errors import lookup

__all__ = [
    "ALL",
    "EVALUATION",
    "RAREFACTIONS",
    "SELECTIONS",
    "draw_depth",
    "draw_epoch",
    "halves",
    "is_random",
    "rarefy",
    "sample_rng",
    "select",
]

ALL = np.iinfo(np.int64).max
"""Depth that keeps every read."""

EVALUATION = -1
"""Epoch of evaluation: its draw of reads is always the same."""


def sample_rng(seed: int, sample_id: str, epoch: int) -> np.random.Generator:
    """Generator of one sample in one epoch, from 0."""
    # Not hash(), which differs between processes: a sample's draw must not depend on its rank.
    return np.random.default_rng((seed, zlib.crc32(sample_id.encode()), len(sample_id), epoch))


def is_random(config: DataConfig, counts: csr_matrix) -> bool:
    """Whether draws of some sample differ between epochs.

    Parameters
    ----------
    counts : csr_matrix
        [N, features] reads of the samples.
    """
    if config.rarefaction == "fixed":  # its one draw selects the ASVs, too
        return False
    if config.asv_selection == "random" and (np.diff(counts.indptr) > config.max_asvs).any():
        return True
    if config.rarefaction == "none" or config.full_depth == 1:
        return False
    return bool((np.asarray(counts.sum(axis=1)) > config.sampling_depth).any())


def rarefy(counts: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``depth`` reads without replacement.

    Parameters
    ----------
    counts : ndarray
        Reads of one sample's ASVs, int64 ``[A]``.
    depth : int
        Reads to draw; a sample with no more than that keeps them all.

    Returns
    -------
    ndarray
        Reads drawn, int64 ``[A]``.
    """
    if counts.sum() <= depth:
        return counts
    # "count" would allocate an array of all reads, "marginals" needs one of the ASVs.
    return rng.multivariate_hypergeometric(counts, depth, method="marginals")


_HALF_DEPTHS = (100, 3000)
"""Least and most reads of a rarefied half, log-uniform: halves of two depths, and few enough that
rare ASVs are in one of them alone."""


def halves(counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divide the reads of a sample at random into two halves, and rarefy each.

    Parameters
    ----------
    counts : ndarray
        Reads of one sample's ASVs, int64 ``[A]``.

    Returns
    -------
    tuple of ndarray
        int64 ``[A]`` each. A half without a read has all of the sample.
    """
    first = rng.binomial(counts, 0.5)
    low, high = np.log(_HALF_DEPTHS)
    parts = [part if part.any() else counts for part in (first, counts - first)]
    depths = np.exp(rng.uniform(low, high, 2)).astype(np.int64)
    one, other = (rarefy(part, int(depth), rng) for part, depth in zip(parts, depths, strict=True))
    return one, other


def draw_epoch(config: DataConfig, epoch: int) -> int:
    """The epoch that keys the draws: 'fixed' rarefaction draws as in evaluation in every epoch."""
    return EVALUATION if config.rarefaction == "fixed" else epoch


def draw_depth(config: DataConfig, rng: np.random.Generator | None) -> int:
    """Sampling depth of one draw, by the kind of rarefaction.

    Parameters
    ----------
    rng : Generator or None
        None in evaluation, which draws the most reads that training may: the least noise within
        what the model was trained on.

    Raises
    ------
    InputError
        For an unknown kind.
    """
    return lookup(RAREFACTIONS, config.rarefaction, "rarefaction")(config, rng)


def _redrawn_depth(config: DataConfig, rng: np.random.Generator | None) -> int:
    """Log-uniform up to ``sampling_depth_max``; `ALL` for ``full_depth`` of the draws."""
    low, high = config.sampling_depth, max(config.sampling_depth, config.sampling_depth_max)
    if config.full_depth > 0 and (rng is None or rng.random() < config.full_depth):
        return ALL
    if rng is None or high == low:
        return high
    return int(round(np.exp(rng.uniform(np.log(low), np.log(high)))))


RAREFACTIONS = {
    "redraw": _redrawn_depth,
    "fixed": lambda config, rng: config.sampling_depth,
    "none": lambda config, rng: ALL,
}
"""Kinds of rarefaction (`DataConfig.rarefaction`): the depth of a draw."""


def select(counts: np.ndarray, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """Positions of the at most ``max_asvs`` ASVs that the model reads, ascending.

    Parameters
    ----------
    counts : ndarray
        Positive reads ``[A]``.

    Raises
    ------
    InputError
        For an unknown ``asv_selection``.
    """
    choose = lookup(SELECTIONS, config.asv_selection, "selection of ASVs")
    if len(counts) <= config.max_asvs:
        return np.arange(len(counts))
    return np.sort(choose(counts, config.max_asvs, rng))


SELECTIONS = {
    # Ties go to the ASV that comes first.
    "abundance": lambda counts, most, rng: np.argsort(-counts, kind="stable")[:most],
    "random": lambda counts, most, rng: rng.choice(len(counts), most, replace=False),
    "first": lambda counts, most, rng: np.arange(most),
}
"""Ways to select ASVs (`DataConfig.asv_selection`): positions of ``most`` of them."""
