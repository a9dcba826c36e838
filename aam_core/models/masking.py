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
    rows, columns = tokens_UL.shape
    # A base is hidden if any of the span positions up to it starts a run. Runs may start before
    # the sequence, so that its first bases are hidden as often as the others.
    span = config.span_length if config.strategy == "span" else 1
    start = 1.0 - (1.0 - config.mask_ratio) ** (1.0 / span)
    draw = torch.rand((rows, columns + span - 1), generator=generator, device=device)
    starts = (draw < start).float()[:, None]
    chosen = base & (torch.nn.functional.max_pool1d(starts, span, stride=1)[:, 0] > 0)
    kind = torch.rand(tokens_UL.shape, generator=generator, device=device)
    other = torch.randint(
        vocab.A, vocab.T + 1, tokens_UL.shape, generator=generator, device=device
    ).to(tokens_UL.dtype)
    mask = torch.full_like(tokens_UL, vocab.MASK)
    changed = torch.where(kind < 0.8, mask, torch.where(kind < 0.9, other, tokens_UL))
    return torch.where(chosen, changed, tokens_UL), chosen
