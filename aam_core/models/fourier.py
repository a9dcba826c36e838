"""Codes of ASVs: fixed random features of a whole sequence, which tell like ASVs apart.

Letters: U distinct ASVs, L bases (+1 START), R features.
"""

from __future__ import annotations

import contextlib
import functools

import numpy as np
import torch
from torch import Tensor

from aam_core import vocab

BANDWIDTH = 0.5
"""Standard deviation of what a base adds to a feature's phase."""

TABLE = 512
"""Places that phases are drawn for at a time."""

STRENGTH = 0.5
"""Root mean square of the features: components of a profile have 1."""


def codes(tokens_UL: Tensor, size: int) -> Tensor:
    """Random Fourier features of the bases.

    Products of the codes of two sequences are near ``STRENGTH**2 exp(-BANDWIDTH**2 d)`` in the mean
    over the features, with d the places where their bases differ (Rahimi A, Recht B 2007, NIPS 20:
    1177-1184): a change of few bases, which a profile of k-mers hardly sees, makes another code.
    What is no A, C, G or T adds nothing. Nothing here learns, and the same sequence has the same
    code everywhere.

    Parameters
    ----------
    tokens_UL : Tensor
        ``[U, L + 1]``, of any length.
    size : int
        R.

    Returns
    -------
    Tensor
        ``[U, R]`` float32, on the device of the tokens.
    """
    bases_UL = tokens_UL[:, 1:].long() - vocab.A
    real = (bases_UL >= 0) & (bases_UL < len(vocab.BASES))
    length, device = bases_UL.shape[1], tokens_UL.device
    shift_R, phase_L4R = _phases(-(-length // TABLE) * TABLE, size)
    phase_L4R = phase_L4R[:length].to(device)
    found_UR = shift_R.to(device).repeat(len(tokens_UL), 1)
    with _full_precision(device.type):
        for base in range(len(vocab.BASES)):
            found_UR += (real & (bases_UL == base)).float() @ phase_L4R[:, base]
    return STRENGTH * 2**0.5 * found_UR.cos()


def _full_precision(device: str):
    """Context without autocast: half precision would blur the phases."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


@functools.cache
def _phases(length: int, size: int) -> tuple[Tensor, Tensor]:
    """``[R]`` and ``[L, 4, R]``; of longer sequences the first places are the same."""
    draws = np.random.RandomState(0)  # whose numbers no version of numpy may change
    shift = draws.uniform(0, 2 * np.pi, size)
    phase = draws.normal(0, BANDWIDTH, (length, len(vocab.BASES), size))
    return torch.from_numpy(shift).float(), torch.from_numpy(phase).float()
