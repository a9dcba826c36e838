"""Masked-nucleotide corruption: a pure function of tokens and a seed.

Letters: U distinct ASVs, L bases (+1 START).
"""

from __future__ import annotations

import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import MaskingConfig


def corrupt(tokens_UL: Tensor, config: MaskingConfig, generator: torch.Generator):
    """Hide some bases, as BERT does (Devlin et al. 2019, section 3.1).

    Of the chosen bases 80 % become MASK, 10 % another random base or the same, 10 % stay. Only
    A, C, G and T are chosen; START, PAD and ambiguous bases never are.

    Parameters
    ----------
    tokens_UL : Tensor
        ``[U, L + 1]`` uint8.
    config : MaskingConfig
        Ratio and strategy. Under ``span`` the expected ratio is the same, in runs.
    generator : torch.Generator
        Source of randomness, on the tokens' device.

    Returns
    -------
    tuple of Tensor
        Corrupted tokens ``[U, L + 1]`` uint8, and the chosen positions ``[U, L + 1]`` bool.
    """
    device = tokens_UL.device
    base = (tokens_UL >= vocab.A) & (tokens_UL <= vocab.T)
    draw = torch.rand(tokens_UL.shape, generator=generator, device=device)
    if config.strategy == "span":
        # A base is hidden if any of the span_length positions up to it starts a run.
        start = 1.0 - (1.0 - config.mask_ratio) ** (1.0 / config.span_length)
        starts = (draw < start).float()[:, None]
        window = torch.nn.functional.pad(starts, (config.span_length - 1, 0))
        run = torch.nn.functional.max_pool1d(window, config.span_length, stride=1)[:, 0]
        chosen = base & (run > 0)
    else:
        chosen = base & (draw < config.mask_ratio)
    kind = torch.rand(tokens_UL.shape, generator=generator, device=device)
    other = torch.randint(
        vocab.A, vocab.T + 1, tokens_UL.shape, generator=generator, device=device
    ).to(tokens_UL.dtype)
    mask = torch.full_like(tokens_UL, vocab.MASK)
    changed = torch.where(kind < 0.8, mask, torch.where(kind < 0.9, other, tokens_UL))
    return torch.where(chosen, changed, tokens_UL), chosen
