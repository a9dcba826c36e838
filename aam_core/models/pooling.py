"""Sample vectors of all members at once, where each member pools the ASVs as they are.

`Member.read` makes a vector ``[B, A, D]`` of every ASV of every sample, for each member in turn:
mapped from the fixed features, with its abundance added, and normalized. Of these the attention
that pools them needs few numbers: the variance of a vector, and its product with each query. Both
follow from products of the ASV's own features, once per distinct ASV, and from the abundance; and
as pooling is linear, the features can be pooled first and mapped then. So nothing of the size
``[B, A, D]`` is made but the gathered features, which all members share. The results are those of
`Member.read` but for rounding, which a test compares.

With c(x) = x - mean(x) over the D channels, an ASV's vector is x = W v + b + C f, where v are its
features and f those of its abundance, and LayerNorm makes g c(x) / sqrt(var(x) + eps) + h of it:

    var(x) = |c(W v + b)|^2 / D + 2 f . c(C)' c(W v + b) / D + f . c(C)' c(C) f / D

Letters: U distinct ASVs, E features of an ASV, B samples, A ASVs of a sample, D width, Q queries,
K members, C features of the abundance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_core.models.abundance import NUM_FEATURES, abundance_features
from aam_core.models.draws import bernoulli, mix

if TYPE_CHECKING:
    from aam_core.data.batches import Batch
    from aam_core.models.network import Member

__all__ = ["can_pool", "padded", "pool"]

_ROWS = 8
"""Samples pooled at a time on a CPU: of like richness, so that little is padding, and few enough
for its cache."""

_HIDDEN = -1e30
"""Added to the logits of what is padded or dropped; minus infinity would make NaN of 0 times it."""


def can_pool(members: Sequence[Member]) -> bool:
    """Whether the sample vectors of these members are all that is read of their ASVs."""
    return all(
        member.project is not None
        and not len(member.samples.blocks)
        and member.count is None
        and (member.fusion is None or not member.fusion.join.reads_asvs)
        for member in members
    )


def pool(
    members: Sequence[Member], vectors_UE: Tensor, batch: Batch, keys_BK: Tensor | None
) -> Tensor:
    """Sample vectors ``[K, B, D]``, as `Member.read` has them.

    Parameters
    ----------
    members : sequence of Member
        For which `can_pool` is true.
    vectors_UE : Tensor
        float32.
    batch : Batch
    keys_BK : Tensor, optional
        int32, of the ASVs that each member drops in training; without keys none are.
    """
    # Those that read as many of the features, and are next to one another.
    several: dict[int, list[int]] = {}
    for number, member in enumerate(members):
        assert member.project is not None
        several.setdefault(member.project.in_features, []).append(number)
    groups = [_Group([members[k] for k in numbers], vectors_UE) for numbers in several.values()]
    pooled: list[list[tuple[Tensor, ...]]] = [[] for _ in groups]
    rows = []
    for row, count in _parts(batch.asv_mask):
        rows.append(row)
        index_BA, real_BA = batch.asv_index[row, :count], batch.asv_mask[row, :count]
        vectors_BAE, counts_BA = vectors_UE[index_BA], batch.counts[row, :count]
        for group, numbers, parts in zip(groups, several.values(), pooled, strict=True):
            mask_BAK = real_BA[..., None].expand(-1, -1, len(numbers))
            if keys_BK is not None:
                keys_BAK = mix(
                    keys_BK[row][:, None, numbers], batch.feature_index[index_BA][..., None]
                )
                mask_BAK = group.drop(mask_BAK, keys_BAK)
            parts.append(group.pool(vectors_BAE, index_BA, counts_BA, mask_BAK))
    order = torch.cat(rows).argsort()
    samples_KBD = [
        group.map(*(torch.cat(part)[order] for part in zip(*parts, strict=True)))
        for group, parts in zip(groups, pooled, strict=True)
    ]
    back = torch.tensor([k for numbers in several.values() for k in numbers]).argsort()
    return torch.cat(samples_KBD)[back.to(vectors_UE.device)]


def _parts(mask_BA: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Samples that are pooled at a time: their rows, and the ASVs of the richest."""
    if mask_BA.device.type != "cpu":  # where reading their richness would wait for the device
        yield torch.arange(len(mask_BA), device=mask_BA.device), mask_BA.shape[1]
        return
    place_A = torch.arange(1, mask_BA.shape[1] + 1)
    last_B = (mask_BA * place_A).amax(1)
    for row in last_B.argsort(stable=True).split(_ROWS):
        yield row, int(last_B[row[-1]])


def padded(richness: Sequence[int]) -> int:
    """ASVs that samples of these numbers of ASVs are padded to on a CPU, all together."""
    rows = sorted(richness)
    parts = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
    return sum(len(part) * part[-1] for part in parts)


class _Group:
    """Members that read as many features E, and what follows from their weights for each ASV."""

    def __init__(self, members: Sequence[Member], vectors_UE: Tensor):
        self.members, self.size = members, len(members)
        self.inputs = members[0].project.in_features  # type: ignore[union-attr]
        first = members[0].samples
        self.dropout, self.eps = first.asv_dropout, first.pool.norm.eps
        self.weight_KDE = _centred(self._stack(lambda it: it.project.weight))
        bias_KD = self._stack(lambda it: it.project.bias + it.samples.abundance.bias)
        self.bias_KD = _centred(bias_KD)
        self.abundance_KDC = _centred(self._stack(lambda it: it.samples.abundance.weight))
        self.gain_KD = self._stack(lambda it: it.samples.pool.norm.weight)
        self.width = self.gain_KD.shape[1]
        score_KQD = self._stack(lambda it: it.samples.pool.score.weight) * self.gain_KD[:, None]
        self.queries = score_KQD.shape[1]
        self._each_asv(vectors_UE[:, : self.inputs], score_KQD)
        self._each_abundance(score_KQD)

    def _stack(self, of: Callable) -> Tensor:
        return torch.stack([of(member) for member in self.members])

    def _each_asv(self, vectors_UE, score_KQD):
        """Of each ASV and member: products with the queries, with C, and the variance."""
        mapped = F.linear(vectors_UE, self.weight_KDE.flatten(0, 1), self.bias_KD.flatten())
        variance_UK = mapped.unflatten(1, (self.size, self.width)).square().mean(-1)
        twice_KCD = self.abundance_KDC.transpose(1, 2) * (2 / self.width)
        products = []
        for rows in (score_KQD, twice_KCD):
            weight, bias = rows @ self.weight_KDE, rows @ self.bias_KD[..., None]
            products.append(F.linear(vectors_UE, weight.flatten(0, 1), bias.flatten()))
        self.table = torch.cat([*products, variance_UK], 1)

    def _each_abundance(self, score_KQD):
        """Maps of the features of the abundance, and of its logarithm, for all members at once."""
        abundance_KCD = self.abundance_KDC.transpose(1, 2)
        # Blocks of one matrix: one product serves all members.
        self.scores = torch.block_diag(*abundance_KCD @ score_KQD.transpose(1, 2))
        self.variance = torch.block_diag(*abundance_KCD @ self.abundance_KDC / self.width)
        prior_KQ = self._stack(lambda it: it.samples.pool.prior)
        hidden_KQ = torch.full_like(prior_KQ, _HIDDEN)
        each = [torch.block_diag(*rows[:, None]) for rows in (prior_KQ, hidden_KQ)]
        self.prior = torch.cat(each)

    def drop(self, mask_BAK: Tensor, keys_BAK: Tensor) -> Tensor:
        """The mask without the ASVs that are dropped, as `SampleEncoder` drops them."""
        kept = mask_BAK & ~bernoulli(keys_BAK, 0, 1, self.dropout)[..., 0]
        return torch.where(kept.any(1, keepdim=True), kept, mask_BAK)

    def pool(self, vectors_BAE, index_BA, counts_BA, mask_BAK) -> tuple[Tensor, ...]:
        """Weighted sums over the ASVs: of the features, of those of the abundance, and of 1.

        The first dimensions are ``[B, K Q]``; each weight is divided by the ASV's deviation.
        """
        size, queries = self.size, self.queries
        sizes = [size * queries, size * NUM_FEATURES, size]
        scores, products, variance = self.table[index_BA].split(sizes, dim=-1)
        features, log = abundance_features(counts_BA[..., None], mask_BAK)
        features = features.flatten(2)
        varied = (products + features @ self.variance) * features
        variance = variance + varied.unflatten(-1, (size, NUM_FEATURES)).sum(-1)
        # Rounding may make a vanishing variance negative.
        scale = (variance.clamp_min(0) + self.eps).rsqrt()
        scale = scale[..., None].expand(*scale.shape, queries).flatten(2)
        prior = torch.cat([log, (~mask_BAK).to(log.dtype)], -1) @ self.prior
        logits = torch.addcmul(prior, scores + features @ self.scores, scale)
        weight = (logits.softmax(1) * scale).transpose(1, 2)
        return weight @ vectors_BAE[..., : self.inputs], weight @ features, weight.sum(2)

    def map(self, vectors, features, total) -> Tensor:
        """The sample vectors ``[K, B, D]`` from what `pool` has summed."""
        size, queries, rows = self.size, self.queries, len(total)
        vectors = vectors.unflatten(1, (size, queries))
        # Of the features of the abundance, those of the member itself.
        features = features.view(rows, size, queries, size, NUM_FEATURES)
        features = features.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        total = total.view(rows, size, queries, 1)
        joined = torch.cat([vectors, features, total], -1).transpose(0, 1).flatten(1, 2)
        maps = torch.cat([self.weight_KDE, self.abundance_KDC, self.bias_KD[..., None]], -1)
        shift = self._stack(lambda it: it.samples.pool.norm.bias)[:, None]
        x = torch.addcmul(shift, joined @ maps.transpose(1, 2), self.gain_KD[:, None])
        x = self._linear(x, lambda it: it.samples.pool.value)
        x = self._linear(x.reshape(size, rows, -1), lambda it: it.samples.pool.out)
        gain, bias = (
            self._stack(lambda it, name=name: getattr(it.samples.norm, name))[:, None]
            for name in ("weight", "bias")
        )
        norm = self.members[0].samples.norm
        return torch.addcmul(bias, F.layer_norm(x, norm.normalized_shape, eps=norm.eps), gain)

    def _linear(self, x: Tensor, of: Callable) -> Tensor:
        weight = self._stack(lambda it: of(it).weight).transpose(1, 2)
        return torch.baddbmm(self._stack(lambda it: of(it).bias)[:, None], x, weight)


def _centred(x: Tensor) -> Tensor:
    """Less the mean over the channels, the second dimension."""
    return x - x.mean(1, keepdim=True)
