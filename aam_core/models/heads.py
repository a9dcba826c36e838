"""Heads: nucleotides, distances between samples, target.

Letters: U distinct ASVs, P positions, B samples, A ASVs of a sample, D width, K soft branches,
M masked bases, V vocabulary, T outputs.

One more distance head: a `DistanceHead` and an entry of `DISTANCE_HEADS`, and its name in the
choices of ``model.head.distance`` (`aam_core.config.model`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core import vocab
from aam_core.config import HeadConfig
from aam_core.models.draws import dropout

__all__ = ["DISTANCE_HEADS", "DistanceHead", "NucleotideHead", "TargetHead", "UnionDistance"]


class NucleotideHead(nn.Module):
    """Logits of the masked bases."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, stride * vocab.SIZE)

    def forward(self, states_UPD: Tensor, row_M: Tensor, column_M: Tensor) -> Tensor:
        """Return ``[M, V]`` for the masked bases, at these positions of ``[U, L + 1]`` tokens."""
        # Column 0 is START, which has a position of its own, before those of the strides.
        base = column_M - 1
        x_MD = states_UPD[row_M, 1 + torch.div(base, self.stride, rounding_mode="floor")]
        logits = self.out(self.norm(x_MD)).view(-1, self.stride, vocab.SIZE)
        return logits[torch.arange(len(base), device=base.device), base % self.stride]


class DistanceHead(nn.Module):
    """What a distance head computes: vectors of samples, and distances between such vectors."""

    def embed(self, asv_BAD: Tensor, mask_BA: Tensor, sample_BD: Tensor) -> Tensor:
        """Vectors of samples, a row per sample."""
        raise NotImplementedError

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]`` in [0, 1] between vectors of `embed`."""
        raise NotImplementedError


class UnionDistance(DistanceHead):
    """Distance in the form of UniFrac, on learned soft branches.

    Each ASV lies under branch k with probability ``sigmoid(z_k)``; a sample has the branch if any
    of its ASVs does (noisy or): ``p_k = 1 - prod(1 - sigmoid(z_k))``. With learned non-negative
    branch lengths ``w``, ``shared_ij = sum w p_i p_j`` and the distance is
    ``(PD_i + PD_j - 2 shared) / (PD_i + PD_j - shared)``, unweighted UniFrac's own form (Lozupone
    and Knight 2005), in [0, 1].
    """

    def __init__(self, width: int, branches: int):
        super().__init__()
        self.branch = nn.Linear(width, branches)
        # A branch is rare at first: a sample of a hundred ASVs must not have all of them.
        nn.init.constant_(self.branch.bias, -4.0)
        # Its softplus is 1: at first all branches have the same length.
        self.length = nn.Parameter(torch.full((branches,), math.log(math.e - 1)))

    def embed(self, asv_BAD: Tensor, mask_BA: Tensor, sample_BD: Tensor) -> Tensor:
        """Branch presence times root length, and their total length PD: ``[B, K + 1]``.

        The lengths go along so that `compare` needs no parameter.
        """
        # -log(1 - sigmoid(z)) is softplus(z): a sum over ASVs, where the product would underflow.
        absent_BAK = F.softplus(self.branch(asv_BAD).float())
        absent_BK = (absent_BAK * mask_BA[..., None]).sum(1)
        root_K = F.softplus(self.length).sqrt()
        # 1 - exp(-x) would lose the digits of rare branches.
        rooted_BK = -torch.expm1(-absent_BK) * root_K
        return torch.cat((rooted_BK, (rooted_BK * root_K).sum(1, keepdim=True)), dim=1)

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        shared = left[:, :-1] @ right[:, :-1].T
        total = left[:, -1, None] + right[None, :, -1]
        # Rounding may take it below 0 between samples that share all their branches.
        return (total - 2 * shared).clamp_min(0) / (total - shared).clamp_min(1e-9)


class RuzickaDistance(DistanceHead):
    """``1 - sum min / sum max`` of a non-negative map of the sample vector."""

    def __init__(self, width: int, branches: int):
        super().__init__()
        self.out = nn.Linear(width, branches)

    def embed(self, asv_BAD: Tensor, mask_BA: Tensor, sample_BD: Tensor) -> Tensor:
        """Non-negative vectors ``[B, K]``."""
        return F.softplus(self.out(sample_BD).float())

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        apart = torch.cdist(left, right, p=1.0)
        total = left.sum(1)[:, None] + right.sum(1)[None, :]
        # min + max = total, max - min = apart.
        return 2 * apart / (total + apart).clamp_min(1e-9)


class EuclideanDistance(DistanceHead):
    """``tanh`` of the Euclidean distance between maps of the sample vectors."""

    def __init__(self, width: int, branches: int):
        super().__init__()
        self.out = nn.Linear(width, branches)

    def embed(self, asv_BAD: Tensor, mask_BA: Tensor, sample_BD: Tensor) -> Tensor:
        """Vectors ``[B, K]``."""
        # Otherwise the distance grows with the number of branches, and saturates the tanh.
        return self.out(sample_BD).float() / self.out.out_features**0.5

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        square = (left[:, None] - right[None]).square().sum(-1)
        # The square root has no derivative at 0, on the diagonal and for equal samples.
        return torch.tanh((square + 1e-8).sqrt())


DISTANCE_HEADS: dict[str, type[DistanceHead]] = {
    "union": UnionDistance,
    "ruzicka": RuzickaDistance,
    "euclidean": EuclideanDistance,
}
"""Kind of distance head (``model.head.distance``) -> module of (width, distance width)."""


class TargetHead(nn.Module):
    """Sample vector -> standardized target or class logits ``[B, T]``."""

    def __init__(self, width: int, config: HeadConfig, outputs: int):
        super().__init__()
        self.dropout = config.target_dropout
        self.hidden = nn.Linear(width, config.target_hidden)
        self.out = nn.Linear(config.target_hidden, outputs)

    def forward(self, sample_BD: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """Return ``[B, T]`` in float32; ``keys_B`` are of the dropout while training."""
        rate = self.dropout if self.training else 0.0
        hidden = F.gelu(self.hidden(dropout(sample_BD, rate, keys_B, 0)))
        return self.out(dropout(hidden, rate, keys_B, 1)).float()
