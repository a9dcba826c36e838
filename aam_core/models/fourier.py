"""Random Fourier features of whole sequences: fixed, and different for similar ASVs.

Letters: U distinct ASVs, L bases (+1 START), R features.
"""

from __future__ import annotations

import contextlib
import functools

import numpy as np
import torch
from torch import Tensor

from aam_core import vocab

__all__ = ["BANDWIDTH", "STRENGTH", "fourier_features"]

BANDWIDTH = 0.5
"""Standard deviation of the phase that a base adds to a feature."""

_POSITIONS = 512
"""Positions whose phases are drawn at a time."""

STRENGTH = 0.5
"""Root mean square of the features; that of k-mer components is 1."""


def fourier_features(tokens_UL: Tensor, size: int) -> Tensor:
    """Random Fourier features of the bases.

    The products of the features of two sequences have a mean near ``STRENGTH**2 exp(-BANDWIDTH**2
    d)``, with d the number of positions where their bases differ (Rahimi A, Recht B 2007, NIPS 20:
    1177-1184): a change of few bases, which a k-mer profile hardly shows, changes the features.
    Only A, C, G and T contribute. Nothing is learned: a sequence always has the same features.

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
    # Rounded up, so that one cached table serves many lengths.
    shift_R, phase_L4R = _phases(-(-length // _POSITIONS) * _POSITIONS, size)
    phase_L4R = phase_L4R[:length].to(device)
    phase_UR = shift_R.to(device).repeat(len(tokens_UL), 1)
    with _full_precision(device.type):
        # One base at a time: a one-hot of all four would take four times the memory.
        for base in range(len(vocab.BASES)):
            phase_UR += (real & (bases_UL == base)).float() @ phase_L4R[:, base]
    return STRENGTH * 2**0.5 * phase_UR.cos()


def _full_precision(device: str):
    """Context without autocast: half precision is too coarse for the phases."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


@functools.cache
def _phases(length: int, size: int) -> tuple[Tensor, Tensor]:
    """``[R]`` and ``[L, 4, R]``; the first positions do not depend on the length."""
    draws = np.random.RandomState(0)  # its numbers are the same in every version of numpy
    shift = draws.uniform(0, 2 * np.pi, size)
    phase = draws.normal(0, BANDWIDTH, (length, len(vocab.BASES), size))
    return torch.from_numpy(shift).float(), torch.from_numpy(phase).float()
