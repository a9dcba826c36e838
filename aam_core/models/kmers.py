"""K-mer profiles of ASVs as principal components: fixed features of a sequence.

Letters: U distinct ASVs, L bases (+1 START), K kinds of k-mers, P components.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core import vocab

__all__ = ["KMER", "MAX_ASVS", "KmerProfile", "kmers"]

KMER = 6
"""Length of the k-mers: 4,096 kinds, of which 150 bases have at most 145."""

MAX_ASVS = 10_000
"""ASVs that the components are fitted to, at most: evenly spaced among all."""

_ROUNDING = 1e-4
"""Root mean square along a component, of profiles of length 1, below which it is rounding error."""


def kmers(tokens_UL: Tensor, length: int) -> Tensor:
    """``[U, L - length + 1]`` int32 numbers of the k-mers of tokens; 4^length for unusual ones.

    A k-mer with any letter but A, C, G and T is unusual.
    """
    bases = tokens_UL[:, 1:].int() - vocab.A
    # Sequences shorter than a k-mer get one unusual one, for `unfold` refuses them.
    bases = F.pad(bases, (0, max(0, length - bases.shape[1])), value=-1)
    windows = bases.unfold(1, length, 1)
    powers = len(vocab.BASES) ** torch.arange(length, device=bases.device).int()
    real = ((windows >= 0) & (windows < len(vocab.BASES))).all(-1)
    return torch.where(real, (windows * powers).sum(-1), len(vocab.BASES) ** length)


class KmerProfile(nn.Module):
    """Principal components of the square roots of a sequence's k-mer frequencies.

    With square roots the Euclidean distance between profiles is the Hellinger distance. Nothing is
    trained: `fit` sets the components once, from the sequences of the study.

    Parameters
    ----------
    components : int
        P.
    bases : int
        First bases of a sequence that the profile is of; 0: all.
    """

    def __init__(self, components: int, bases: int = 0):
        super().__init__()
        self.bases = bases
        kinds = len(vocab.BASES) ** KMER
        # Buffers are saved with the weights: a prediction has not the sequences of the study.
        self.register_buffer("mean", torch.zeros(kinds))
        self.register_buffer("components", torch.zeros(kinds, components))

    @torch.no_grad()
    def fit(self, tokens_FL: Tensor) -> None:
        """Set the components from the tokens ``[F, L + 1]`` of distinct ASVs.

        They do not depend on the order of the ASVs, and are scaled together to a mean square of 1
        over ASVs and components. Components beyond the rank of the profiles stay zero.
        """
        tokens_FL = torch.unique(tokens_FL, dim=0)  # sorted
        every = -(-len(tokens_FL) // MAX_ASVS)
        roots = torch.cat([self._roots(part) for part in tokens_FL[::every].split(1024)])
        self.mean.copy_(roots.mean(0))
        roots = roots - self.mean
        most = min(*roots.shape, self.components.shape[1] + 10)
        with torch.random.fork_rng([]):  # the random start matters little, with ten more components
            torch.manual_seed(0)
            _, sizes, axes = torch.svd_lowrank(roots, q=most, niter=4)
        rank = int((sizes[: self.components.shape[1]] > _ROUNDING * len(roots) ** 0.5).sum())
        self.components.zero_()
        if not rank:
            return
        axes = axes[:, :rank]
        # The greatest weight of each component is positive: otherwise its sign would be random.
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        # One scale for all: with one of each component, distances would no longer be Hellinger's.
        scale = (roots @ axes).square().mean().sqrt()
        self.components[:, :rank] = axes / scale

    def forward(self, tokens_UL: Tensor) -> Tensor:
        """Return ``[U, P]`` from tokens ``[U, L + 1]``."""
        return (self._roots(tokens_UL) - self.mean) @ self.components

    def _roots(self, tokens_UL):
        if self.bases:
            tokens_UL = tokens_UL[:, : self.bases + 1]  # START is the first
        numbers = kmers(tokens_UL, KMER).long()
        counts = torch.zeros(len(numbers), len(self.mean) + 1, device=numbers.device)
        counts.scatter_add_(1, numbers, torch.ones_like(numbers, dtype=counts.dtype))
        # Without the last column, of unusual k-mers: they do not lower the other frequencies.
        counts = counts[:, :-1]
        return (counts / counts.sum(1, keepdim=True).clamp_min(1.0)).sqrt()
