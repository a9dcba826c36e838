"""Subsampling of reads, and the choice of the ASVs that the model reads.

Every draw is keyed by (seed, sample id, epoch), so that it depends neither on the order of the
samples nor on the batch or rank they fall into.
"""

from __future__ import annotations

import zlib

import numpy as np

from aam_core.config import DataConfig


def sample_rng(seed: int, sample_id: str, epoch: int) -> np.random.Generator:
    """Generator of one sample in one epoch."""
    return np.random.default_rng((seed, zlib.crc32(sample_id.encode()), len(sample_id), epoch))


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
    return rng.multivariate_hypergeometric(counts, depth, method="marginals")


ALL = np.iinfo(np.int64).max
"""Depth that keeps every read."""


def draw_depth(config: DataConfig, rng: np.random.Generator | None) -> int:
    """Sampling depth of one draw; with 'redraw', log-uniform up to ``sampling_depth_max``.

    With 'redraw', ``full_depth`` of the draws keep `ALL` reads. Evaluation (``rng`` None) draws
    the most reads that training may: the least noise within what the model was trained on.
    """
    low = high = config.sampling_depth
    if config.rarefaction == "redraw":
        high = max(low, config.sampling_depth_max)
        if config.full_depth > 0 and (rng is None or rng.random() < config.full_depth):
            return ALL
    if rng is None or high == low:
        return high
    return int(round(np.exp(rng.uniform(np.log(low), np.log(high)))))


def select(counts: np.ndarray, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """Positions of the at most ``max_asvs`` ASVs that the model reads, ascending.

    Parameters
    ----------
    counts : ndarray
        Positive reads ``[A]``. Ties go to the ASV that comes first.
    """
    most = config.max_asvs
    if len(counts) <= most:
        return np.arange(len(counts))
    if config.asv_selection == "first":
        return np.arange(most)
    if config.asv_selection == "random":
        return np.sort(rng.choice(len(counts), most, replace=False))
    return np.sort(np.argsort(-counts, kind="stable")[:most])
