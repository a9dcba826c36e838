"""Fusion: ASVs of a sample + covariates -> sample vector.

Letters: B samples, A ASVs of a sample, D width, H heads, S width of a head, C categorical columns,
K numeric columns, M = C + K covariates, Q latent vectors.

One more kind: a module like `Add` and an entry of `FUSIONS`, its name in `FUSION_KINDS` and when
to choose it in `COVARIATE_HELP` of `aam_core.config.model`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core.config import FusionConfig
from aam_core.data.covariates import UNKNOWN
from aam_core.errors import lookup
from aam_core.models.encoder import SampleASVs
from aam_core.models.layers import Block

__all__ = [
    "FUSIONS",
    "CovariateTokens",
    "CrossAttention",
    "Fused",
    "Fusion",
    "Perceiver",
]


@dataclass(frozen=True)
class Fused:
    """Sample vectors that know the covariates, and what a kind of fusion tells of its work.

    Attributes
    ----------
    sample : Tensor
        ``[B, D]``.
    attention : Tensor or None
        Share of each covariate in what is attended to, over all heads: ``[B, A, M]`` of each ASV,
        or ``[B, 1, M]`` of the latent vectors. The rest, up to 1, is of nothing, or of the ASVs.
    gate : Tensor or None
        ``[B, D]`` in (0, 1): share of the sample beside the covariates.
    """

    sample: Tensor
    attention: Tensor | None = None
    gate: Tensor | None = None


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

    reads_asvs = False

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.out = nn.Linear((1 + covariates) * width, width)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Join the pooled sample and its covariates."""
        return Fused(self.out(torch.cat((asvs.sample[:, None], tokens_BMD), dim=1).flatten(1)))


class Add(nn.Module):
    """The sum of the vectors."""

    reads_asvs = False

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Join the pooled sample and its covariates."""
        return Fused(asvs.sample + tokens_BMD.sum(1))


class GatedUnit(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992, section 3)."""

    reads_asvs = False

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.sample = nn.Linear(width, width)
        self.covariates = nn.Linear(covariates * width, width)
        self.gate = nn.Linear((1 + covariates) * width, width)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Join the pooled sample and its covariates."""
        flat = tokens_BMD.flatten(1)
        gate = torch.sigmoid(self.gate(torch.cat((asvs.sample, flat), dim=1)))
        joined = gate * torch.tanh(self.sample(asvs.sample)) + (1 - gate) * torch.tanh(
            self.covariates(flat)
        )
        return Fused(joined, gate=gate)


class CrossAttention(nn.Module):
    """Each ASV attends to the covariates, before the ASVs of a sample are pooled.

    With one covariate a softmax over the covariates alone is 1 whatever the ASV, which would add
    the same vector to all ASVs of a sample. Two things make the update one of ASV and category:

    - beside the covariates there is nothing to attend to: a learned key without a value, so that
      the share of a covariate depends on the ASV (as in ``add_zero_attn`` of torch, learned);
    - what was read is multiplied by a gate of the ASV's own channels (Qiu et al. 2025, Gated
      attention for large language models, arXiv:2505.06708, section 2.2).
    """

    reads_asvs = True

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        # Zero: at first nothing gets the share of one covariate with an indifferent key.
        self.nothing = nn.Parameter(torch.zeros(config.heads, width // config.heads))
        self.gate = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Add to each ASV what it reads of the covariates, and pool."""
        x_BAD = self.norm(asvs.vectors)
        query_BAHS = _heads(self.query(x_BAD), self.heads)
        # Not normalized: twice the number is twice the vector.
        key, value = self.key_value(tokens_BMD).chunk(2, dim=-1)
        key_BMHS, value_BMHS = _heads(key, self.heads), _heads(value, self.heads)
        logits_BAHM = torch.einsum("bahs,bmhs->bahm", query_BAHS, key_BMHS)
        nothing_BAH = torch.einsum("bahs,hs->bah", query_BAHS, self.nothing.to(query_BAHS.dtype))
        logits = torch.cat((logits_BAHM, nothing_BAH[..., None]), dim=-1)
        share = (logits * query_BAHS.shape[-1] ** -0.5).float().softmax(-1)
        share_BAHM = share[..., :-1]  # nothing has no value
        read = torch.einsum("bahm,bmhs->bahs", share_BAHM.to(value.dtype), value_BMHS)
        update_BAD = self.out(read.flatten(2) * torch.sigmoid(self.gate(x_BAD)))
        changed = asvs.changed(asvs.vectors + update_BAD)
        return Fused(changed.sample, attention=share_BAHM.mean(2))


class Perceiver(nn.Module):
    """Latent vectors read ASVs and covariates together (Jaegle et al. 2021, arXiv:2103.03206).

    In each layer they attend to ASVs and covariates, then to each other; what they have in the end
    is mapped linearly and added to the sample vector.
    """

    reads_asvs = True

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.latents, width) * 0.5)
        self.norm = nn.LayerNorm(width)
        # As `model.sample.pool_prior`: at first all ASVs have the same share of what is read.
        self.prior = nn.Parameter(torch.zeros(1))
        self.reads = nn.ModuleList(_Read(width, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, mlp_ratio=2.0, dropout=0.0) for _ in range(config.layers)
        )
        self.out = nn.Linear(config.latents * width, width)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Add to the pooled sample what the latent vectors have read."""
        inputs = torch.cat((self.norm(asvs.vectors), tokens_BMD), dim=1)
        # The prior of the ASVs sums to that of one covariate: a single one beside a hundred ASVs
        # would be overlooked. A padded ASV has no share.
        weighted_BA = (asvs.log_abundance * self.prior).masked_fill(~asvs.mask, float("-inf"))
        prior = F.pad(weighted_BA.log_softmax(1), (0, tokens_BMD.shape[1]))
        latents = self.latents.expand(len(tokens_BMD), -1, -1)
        shares = []
        for read, block in zip(self.reads, self.blocks, strict=True):
            update, share_BHQN = read(latents, inputs, prior)
            latents = block(latents + update)
            shares.append(share_BHQN[..., asvs.mask.shape[1] :].mean((1, 2)))
        sample_BD = asvs.sample + self.out(latents.flatten(1))
        return Fused(sample_BD, attention=torch.stack(shares).mean(0)[:, None])


class _Read(nn.Module):
    """Attention of latent vectors ``[B, Q, D]`` on inputs ``[B, N, D]`` with a prior of logits."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, latents: Tensor, inputs: Tensor, prior_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The update ``[B, Q, D]``, and the share of each input, ``[B, H, Q, N]`` float32."""
        query_BQHS = _heads(self.query(self.norm(latents)), self.heads)
        key, value = self.key_value(inputs).chunk(2, dim=-1)
        key_BNHS, value_BNHS = _heads(key, self.heads), _heads(value, self.heads)
        logits_BHQN = torch.einsum("bqhs,bnhs->bhqn", query_BQHS, key_BNHS).float()
        logits_BHQN = logits_BHQN * query_BQHS.shape[-1] ** -0.5 + prior_BN[:, None, None]
        share_BHQN = logits_BHQN.softmax(-1)
        mixed = torch.einsum("bhqn,bnhs->bqhs", share_BHQN.to(value.dtype), value_BNHS)
        return self.out(mixed.flatten(2)), share_BHQN


def _heads(x: Tensor, heads: int) -> Tensor:
    """``[..., D]`` as ``[..., H, S]``."""
    return x.unflatten(-1, (heads, -1))


class SampleAttention(nn.Module):
    """The pooled sample attends to the covariates: 'cross-attention' of formats up to 5.

    With one covariate every sample gets the same vector of a category.
    """

    reads_asvs = False

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.attention = _Attention(width, config.heads)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Join the pooled sample and its covariates."""
        sample_BD = asvs.sample
        return Fused(sample_BD + self.attention(sample_BD[:, None], tokens_BMD)[:, 0])


class SamplePerceiver(nn.Module):
    """Latent vectors attend to the pooled sample and its covariates: 'perceiver' up to format 5."""

    reads_asvs = False

    def __init__(self, width: int, covariates: int, config: FusionConfig):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.latents, width) * 0.5)
        self.read = _Attention(width, config.heads)
        self.mix = _Attention(width, config.heads)
        self.out = nn.Linear(config.latents * width, width)

    def forward(self, asvs: SampleASVs, tokens_BMD: Tensor) -> Fused:
        """Join the pooled sample and its covariates."""
        inputs = torch.cat((asvs.sample[:, None], tokens_BMD), dim=1)
        latents = self.latents.expand(len(inputs), -1, -1)
        latents = latents + self.read(latents, inputs)
        latents = latents + self.mix(latents, latents)
        return Fused(asvs.sample + self.out(latents.flatten(1)))


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
    "sample-attention": SampleAttention,
    "sample-perceiver": SamplePerceiver,
}
"""Kind of fusion -> module of (width, number of covariates, configuration), which makes `Fused` of
`SampleASVs` and the vectors ``[B, M, D]`` of the covariates. Its ``reads_asvs`` says whether it
reads more of these than the ``sample``."""


class Fusion(nn.Module):
    """Fuse samples and their covariates.

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

    def forward(self, asvs: SampleASVs, categories_BC: Tensor, numbers_BK2: Tensor) -> Fused:
        """Fuse samples with covariates as `Covariates.encode` gives them."""
        fused = self.join(asvs, self.tokens(categories_BC, numbers_BK2))
        return replace(fused, sample=self.norm(fused.sample))
