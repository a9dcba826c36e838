"""How abundance enters the model, twice in `encoder.SampleEncoder`.

1. `abundance_features` of each ASV are mapped linearly and added to its vector.
2. Log abundance is the prior of the attention that pools the ASVs (`layers.AttentionPool`); its
   initial weight is ``model.sample.pool_prior``.

What else to touch: the counts are those of `data.batches.Batcher.reads` (rarefied where
``data.rarefaction`` is not 'none'); the shape of the linear map (``SampleEncoder.abundance``) is
saved with each model, so that other features need a new version of the format (`model_files`).

Letters: B samples, A ASVs of a sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LOG_SCALE", "NUM_FEATURES", "abundance_features", "scaled_log"]

NUM_FEATURES = 3

LOG_SCALE = 3.0
"""What a natural logarithm of relative abundance is divided by, after it is centred at -6: common
abundances (1e-4 to 1e-1) are then within about +-1."""


def abundance_features(counts_BA: Tensor, mask_BA: Tensor) -> tuple[Tensor, Tensor]:
    """Features of relative abundance: log (scaled), share and root of the share.

    Parameters
    ----------
    counts_BA : Tensor
        Reads, ``[B, A]``.
    mask_BA : Tensor
        ``[B, A]`` bool; shares are of the reads of ASVs where it is true.

    Returns
    -------
    tuple of Tensor
        Features ``[B, A, 3]``, and log abundance ``[B, A]``.
    """
    # Dropped ASVs go before the shares are taken, which would tell of them otherwise.
    share_BA = counts_BA * mask_BA
    share_BA = share_BA / share_BA.sum(1, keepdim=True).clamp_min(1e-12)
    # Padding has no reads: log(0) would put infinities into the linear map.
    log_BA = share_BA.clamp_min(1e-6).log()
    return torch.stack((scaled_log(log_BA), share_BA, share_BA.sqrt()), dim=-1), log_BA


def scaled_log(log: Tensor) -> Tensor:
    """Natural logarithms of relative abundance, centred and scaled by `LOG_SCALE`."""
    return (log + 6.0) / LOG_SCALE
