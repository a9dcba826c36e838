"""Fusion: sample vector + covariates -> sample vector.

Letters: B samples, D width, C categorical columns, K numeric columns, M = C + K covariates.

One more kind: a module like `Add` and an entry of `FUSIONS`, and its name in the choices of
``model.fusion.kind`` (`aam_core.config.model`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core.config import FusionConfig
from aam_core.data.covariates import UNKNOWN
from aam_core.errors import lookup

__all__ = ["FUSIONS", "CovariateTokens", "Fusion"]


class CovariateTokens(nn.Module):
    """A vector for each covariate: a learned one per category, a line per number."""

    def __init__(self, width: int, sizes: tuple[int, ...], numbers: int):
        super().__init__()
        self.levels = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        # Without missing values in training this stays: a new level is the mean of the others.
        for level in self.levels:
            nn.init.zeros_(level.weight[UNKNOWN])
        # FSDP cannot shard what is empty.
        self.slope = nn.Parameter(torch.randn(numbers, 2, width) * 0.5) if numbers else None
        self.bias = nn.Parameter(torch.zeros(numbers, width)) if numbers else None

    def forward(self, categories_BC: Tensor, numbers_BK2: Tensor) -> Tensor:
        """Return ``[B, M, D]``."""
        tokens = [level(categories_BC[:, c, None]) for c, level in enumerate(self.levels)]
        if self.slope is not None:
            # Of the value and an indicator: a missing number must differ from the mean.
            tokens.append(torch.einsum("bkt,ktd->bkd", numbers_BK2, self.slope) + self.bias)
        return torch.cat(tokens, dim=1)


class Concat(nn.Module):
    """A linear map of the concatenated vectors."""

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.out = nn.Linear((1 + covariates) * width, width)

    def forward(self, sample_BD: Tensor, tokens_BMD: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        return self.out(torch.cat((sample_BD[:, None], tokens_BMD), dim=1).flatten(1))


class Add(nn.Module):
    """The sum of the vectors."""

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()

    def forward(self, sample_BD: Tensor, tokens_BMD: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        return sample_BD + tokens_BMD.sum(1)


class GatedUnit(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992, section 3)."""

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.sample = nn.Linear(width, width)
        self.covariates = nn.Linear(covariates * width, width)
        self.gate = nn.Linear((1 + covariates) * width, width)

    def forward(self, sample_BD: Tensor, tokens_BMD: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        flat = tokens_BMD.flatten(1)
        gate = torch.sigmoid(self.gate(torch.cat((sample_BD, flat), dim=1)))
        return gate * torch.tanh(self.sample(sample_BD)) + (1 - gate) * torch.tanh(
            self.covariates(flat)
        )


class CrossAttention(nn.Module):
    """The sample attends to the covariates."""

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.attention = _Attention(width, config.heads)

    def forward(self, sample_BD: Tensor, tokens_BMD: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        return sample_BD + self.attention(sample_BD[:, None], tokens_BMD)[:, 0]


class Perceiver(nn.Module):
    """Latent vectors attend to the sample and its covariates (Jaegle 2021, arXiv:2103.03206)."""

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.latents, width) * 0.5)
        self.read = _Attention(width, config.heads)
        self.mix = _Attention(width, config.heads)
        self.out = nn.Linear(config.latents * width, width)

    def forward(self, sample_BD: Tensor, tokens_BMD: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        inputs = torch.cat((sample_BD[:, None], tokens_BMD), dim=1)
        latents = self.latents.expand(len(sample_BD), -1, -1)
        latents = latents + self.read(latents, inputs)
        latents = latents + self.mix(latents, latents)
        return sample_BD + self.out(latents.flatten(1))


class _Attention(nn.Module):
    """Pre-norm attention of queries on others."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_query = nn.LayerNorm(width)
        self.norm_other = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        batch, count, width = query.shape
        key, value = self.key_value(self.norm_other(other)).chunk(2, dim=-1)
        split = [self._split(x) for x in (self.query(self.norm_query(query)), key, value)]
        mixed = F.scaled_dot_product_attention(*split)
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width))

    def _split(self, x):
        batch, count, width = x.shape
        return x.view(batch, count, self.heads, width // self.heads).transpose(1, 2)


FUSIONS: dict[str, Callable[[int, int, FusionConfig], nn.Module]] = {
    "concat": Concat,
    "add": Add,
    "gmu": GatedUnit,
    "cross-attention": CrossAttention,
    "perceiver": Perceiver,
}
"""Kind of fusion -> module of (width, number of covariates, configuration)."""


class Fusion(nn.Module):
    """Fuse a sample vector and its covariates.

    Parameters
    ----------
    width : int
        D.
    config : FusionConfig
        With its kind, a key of `FUSIONS`.
    sizes : tuple of int
        Number of ids of each of the C categorical covariates.
    numbers : int
        Numeric covariates K.
    """

    def __init__(self, width: int, config: FusionConfig, sizes: tuple[int, ...], numbers: int):
        super().__init__()
        self.tokens = CovariateTokens(width, sizes, numbers)
        kind = lookup(FUSIONS, config.kind, "kind of fusion")
        self.join = kind(width, len(sizes) + numbers, config)
        self.norm = nn.LayerNorm(width)

    def forward(self, sample_BD: Tensor, categories_BC: Tensor, numbers_BK2: Tensor) -> Tensor:
        """Return ``[B, D]``."""
        return self.norm(self.join(sample_BD, self.tokens(categories_BC, numbers_BK2)))
