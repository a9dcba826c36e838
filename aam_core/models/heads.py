"""Heads: nucleotides, abundances, distances between samples, diversity, taxonomy, target.

Letters: U distinct ASVs, P positions, B samples, A ASVs of a sample, D width, K soft branches,
M masked bases or abundances, V vocabulary, T outputs, S columns that the output is scaled by.

One more distance head: a `DistanceHead` and an entry of `DISTANCE_HEADS` (and of
`UNBOUNDED_HEADS`, for distances without an upper bound), and its name in the
choices of ``model.head.distance`` (`aam_core.config.model`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core import vocab
from aam_core.config import HeadConfig
from aam_core.data.covariates import UNKNOWN
from aam_core.errors import lookup
from aam_core.models.draws import dropout

__all__ = [
    "DISTANCE_HEADS",
    "INITIALIZATIONS",
    "OUTPUTS",
    "UNBOUNDED_HEADS",
    "CountHead",
    "DistanceHead",
    "FaithHead",
    "NucleotideHead",
    "PresenceHead",
    "OutputFunction",
    "TaxonomyHead",
    "TargetHead",
    "UnionDistance",
]


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


class CountHead(nn.Module):
    """Log relative abundance of masked ASVs, from each ASV and what else its sample has.

    A value of the ASV, and a product of maps of the ASV and of its sample: the form of factor
    models of log abundances (Chiquet, Mariadassou and Robin 2021, Front Ecol Evol 9:588292). Of the
    sample its vector is read, and the mean of its other ASVs by the root of their abundance:
    without blocks between the ASVs (``model.sample.depth`` 0) the vector alone hardly learns which
    of them are abundant.
    """

    def __init__(self, width: int):
        super().__init__()
        self.asv = nn.Linear(width, width + 1)
        self.sample = nn.Linear(2 * width, width)

    def forward(
        self,
        asv_BAD: Tensor,
        share_BA: Tensor,
        sample_BD: Tensor,
        row_M: Tensor,
        column_M: Tensor,
    ) -> Tensor:
        """Return ``[M]`` in float32, scaled as `aam_core.models.abundance` scales the input.

        Parameters
        ----------
        share_BA : Tensor
            Of the reads; 0 of masked ASVs and padding.
        row_M, column_M : Tensor
            Sample, and place in it, of the masked ASVs.
        """
        root_BA = share_BA.sqrt()
        root_BA = root_BA / root_BA.sum(1, keepdim=True).clamp_min(1e-6)
        others_BD = (asv_BAD * root_BA[..., None]).sum(1)
        sample_BD = self.sample(torch.cat((sample_BD, others_BD), -1))
        asv = self.asv(asv_BAD[row_M, column_M]).float()
        product_M = (asv[:, 1:] * sample_BD[row_M].float()).mean(-1)
        return asv[:, 0] + product_M


class PresenceHead(nn.Module):
    """Whether a sample has an ASV that is hidden from it, and how abundant it is.

    From a map of the ASV and one of the sample's vector, added and multiplied.
    """

    def __init__(self, width: int):
        super().__init__()
        self.asv = nn.Linear(width, width)
        self.sample = nn.Linear(width, width)
        self.out = nn.Linear(width, 2)

    def forward(self, asv_MD: Tensor, sample_BD: Tensor, row_M: Tensor) -> Tensor:
        """Return ``[M, 2]`` in float32: logit of its presence, and scaled logarithm of its share.

        Parameters
        ----------
        asv_MD : Tensor
            Mapped vectors of the ASVs.
        row_M : Tensor
            Sample of each.
        """
        asv_MD, sample_MD = self.asv(asv_MD), self.sample(sample_BD)[row_M]
        return self.out(F.gelu(asv_MD + sample_MD + asv_MD * sample_MD)).float()


class DistanceHead(nn.Module):
    """What a distance head computes: vectors of samples, and distances between such vectors."""

    def embed(
        self,
        asv_BAD: Tensor,
        mask_BA: Tensor,
        sample_BD: Tensor,
        share_BA: Tensor | None = None,
    ) -> Tensor:
        """Vectors of samples, a row per sample; the shares are of the reads, 0 where masked."""
        raise NotImplementedError

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]`` between vectors of `embed`.

        In [0, 1]; those of `UNBOUNDED_HEADS` have no upper bound.
        """
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
        nn.init.constant_(self.branch.bias, _RARE)
        self.length = _lengths(branches)

    def embed(
        self,
        asv_BAD: Tensor,
        mask_BA: Tensor,
        sample_BD: Tensor,
        share_BA: Tensor | None = None,
    ) -> Tensor:
        """Branch presence times root length, and their total length PD: ``[B, K + 1]``.

        The lengths go along so that `compare` needs no parameter.
        """
        root_K = F.softplus(self.length).sqrt()
        rooted_BK = _present(self.branch(asv_BAD), mask_BA) * root_K
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

    def embed(
        self,
        asv_BAD: Tensor,
        mask_BA: Tensor,
        sample_BD: Tensor,
        share_BA: Tensor | None = None,
    ) -> Tensor:
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

    def embed(
        self,
        asv_BAD: Tensor,
        mask_BA: Tensor,
        sample_BD: Tensor,
        share_BA: Tensor | None = None,
    ) -> Tensor:
        """Vectors ``[B, K]``."""
        # Otherwise the distance grows with the number of branches, and saturates the tanh.
        return self.out(sample_BD).float() / self.out.out_features**0.5

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        square = (left[:, None] - right[None]).square().sum(-1)
        # The square root has no derivative at 0, on the diagonal and for equal samples.
        return torch.tanh((square + 1e-8).sqrt())


class WeightedUnionDistance(UnionDistance):
    """Weighted UniFrac's own form (Lozupone et al. 2007), on learned soft branches.

    An ASV lies under branch k with probability ``sigmoid(z_k)``, and of a sample the share ``a_k``
    of the reads: the distance is ``sum w_k |a_ik - a_jk|``, not normalized.
    """

    def embed(
        self,
        asv_BAD: Tensor,
        mask_BA: Tensor,
        sample_BD: Tensor,
        share_BA: Tensor | None = None,
    ) -> Tensor:
        """Share of the reads below each branch times its length, ``[B, K]``."""
        assert share_BA is not None
        below_BAK = torch.sigmoid(self.branch(asv_BAD).float()) * share_BA.float()[..., None]
        return below_BAK.sum(1) * F.softplus(self.length)

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        return torch.cdist(left, right, p=1.0)


class ManhattanDistance(RuzickaDistance):
    """Sum of the differences of a non-negative map of the sample vector: Ruzicka's numerator."""

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        return torch.cdist(left, right, p=1.0) / left.shape[1]


class PlainEuclideanDistance(EuclideanDistance):
    """Euclidean distance between maps of the sample vectors, without ``tanh``."""

    @staticmethod
    def compare(left: Tensor, right: Tensor) -> Tensor:
        """Distances ``[B_left, B_right]``."""
        square = (left[:, None] - right[None]).square().sum(-1)
        return (square + 1e-8).sqrt()


DISTANCE_HEADS: dict[str, type[DistanceHead]] = {
    "union": UnionDistance,
    "ruzicka": RuzickaDistance,
    "euclidean": EuclideanDistance,
}
"""Kind of distance head (``model.head.distance``) -> module of (width, distance width)."""

UNBOUNDED_HEADS: dict[str, type[DistanceHead]] = {
    "union": WeightedUnionDistance,
    "ruzicka": ManhattanDistance,
    "euclidean": PlainEuclideanDistance,
}
"""As `DISTANCE_HEADS`, for distances without an upper bound: ``loss.metric`` 'weighted'."""


class FaithHead(nn.Module):
    """Faith's phylogenetic diversity (Faith 1992) of a sample, in its own form on soft branches.

    The sum of learned lengths of the branches that an ASV of the sample lies under, as in
    `UnionDistance`; never negative. A pooled sample vector would be a mean over the ASVs, which
    does not tell how many there are.

    Attributes
    ----------
    mean, scale : Tensor
        0-d, mean and standard deviation of the training samples: what the output starts from, and
        what its errors are measured in.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, branches: int):
        super().__init__()
        self.branch = nn.Linear(width, branches)
        nn.init.constant_(self.branch.bias, _RARE)
        self.length = _lengths(branches)
        self.register_buffer("mean", torch.ones(()))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Take mean and deviation of the training samples' values ``[N]``."""
        self.mean.copy_(values.mean())
        spread = values.std(correction=0)
        # Of equal values any unit will do.
        self.scale.copy_(torch.where(spread > 0, spread, values.mean().clamp_min(1e-6)))

    def forward(self, asv_BAD: Tensor, mask_BA: Tensor) -> Tensor:
        """Return ``[B]`` in units of branch length."""
        present_BK = _present(self.branch(asv_BAD), mask_BA)
        return self.mean * (present_BK * F.softplus(self.length)).mean(1)


class TaxonomyHead(nn.Module):
    """ASV vector -> logits of the classes of each rank, side by side."""

    def __init__(self, size: int, classes: Sequence[int]):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.out = nn.Linear(size, sum(classes))

    def forward(self, vectors_ME: Tensor) -> Tensor:
        """Return ``[M, sum of classes]`` in float32."""
        return self.out(self.norm(vectors_ME.float())).float()


_RARE = -4.0
"""Bias of soft branches: one is rare at first, as a sample of a hundred ASVs must not have all."""


def _lengths(branches: int) -> nn.Parameter:
    """Softplus of them is 1: at first all branches have the same length."""
    return nn.Parameter(torch.full((branches,), math.log(math.e - 1)))


def _present(branch_BAK: Tensor, mask_BA: Tensor) -> Tensor:
    """``1 - prod(1 - sigmoid(z))`` over the ASVs of each sample, ``[B, K]``."""
    # -log(1 - sigmoid(z)) is softplus(z): a sum over ASVs, where the product would underflow.
    absent_BAK = F.softplus(branch_BAK.float())
    absent_BK = (absent_BAK * mask_BA[..., None]).sum(1)
    # 1 - exp(-x) would lose the digits of rare branches.
    return -torch.expm1(-absent_BK)


def _identity(raw: Tensor, low: Tensor, span: Tensor) -> Tensor:
    return raw


def _sigmoid(raw: Tensor, low: Tensor, span: Tensor) -> Tensor:
    return low + span * torch.sigmoid(raw)


def _softplus(raw: Tensor, low: Tensor, span: Tensor) -> Tensor:
    # The inverse of softplus, log(exp(span) - 1), without overflow: at 0 the output is the mean.
    return low + F.softplus(raw + span + torch.log(-torch.expm1(-span)))


def _exp(raw: Tensor, low: Tensor, span: Tensor) -> Tensor:
    # Beyond the limit, 22,026 times the mean, a step of the training would overflow.
    return low + span * torch.exp(raw.clamp_max(10.0))


class OutputFunction(NamedTuple):
    """What makes a value of a network's last number.

    Attributes
    ----------
    apply : callable
        Of raw outputs ``[B, T]``, and of the range that `TargetHead.set_range` was given.
    from_zero : bool
        Whether its range begins at the value that 0 is encoded as; else at the least one.
    """

    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    from_zero: bool = False


OUTPUTS = {
    "identity": OutputFunction(_identity),
    "sigmoid": OutputFunction(_sigmoid),
    "softplus": OutputFunction(_softplus, from_zero=True),
    "exp": OutputFunction(_exp, from_zero=True),
}
"""Output of the target head (``model.head.output``)."""


def _as_torch(linear: nn.Linear) -> None:
    """Uniform by the number of inputs, as torch has initialized it already."""


def _xavier(linear: nn.Linear) -> None:
    """Uniform by the numbers of inputs and outputs (Glorot and Bengio 2010); no bias."""
    nn.init.xavier_uniform_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


INITIALIZATIONS: dict[str, Callable[[nn.Linear], None]] = {"default": _as_torch, "xavier": _xavier}
"""First weights of the linear maps of the target head (``model.head.initialization``)."""


class _HiddenLayer(nn.Linear):
    """A linear map, GELU, and what the configuration puts around it."""

    def __init__(self, inputs: int, width: int, config: HeadConfig):
        super().__init__(inputs, width)
        self.norm = nn.LayerNorm(width) if config.layer_norm else None
        self.residual = config.residual
        # Vectors of unequal widths cannot be added: a map without bias takes one to the other.
        mapped = config.residual and inputs != width
        self.shortcut = nn.Linear(inputs, width, bias=False) if mapped else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = super().forward(x)
        if self.norm is not None:
            hidden = self.norm(hidden)
        hidden = F.gelu(hidden)
        if not self.residual:
            return hidden
        return hidden + (x if self.shortcut is None else self.shortcut(x))


_PACE = 10.0
"""How much faster scale and shift move than another parameter. An optimizer such as AdamW moves
each number by about the learning rate a step, and what a single number does here, the rows of a
matrix do together elsewhere."""


class _Scaling(nn.Module):
    """A scale and a shift of each output: ``(1 + PACE a) x + PACE b``, with a and b 0 at first.

    So a decay of the weights draws the scale to 1 and the shift to 0.
    """

    def __init__(self, outputs: int):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, raw_BT: Tensor) -> Tensor:
        return (1 + _PACE * self.scale) * raw_BT + _PACE * self.shift


class _ScalingByCategory(nn.Module):
    """As `_Scaling`, with an a and a b of each category; those of `UNKNOWN` are their means."""

    def __init__(self, outputs: int, size: int):
        super().__init__()
        # One row fewer than there are ids: the unknown category has no parameters of its own.
        self.scale = nn.Parameter(torch.zeros(size - 1, outputs))
        self.shift = nn.Parameter(torch.zeros(size - 1, outputs))

    def forward(self, raw_BT: Tensor, ids_B: Tensor) -> Tensor:
        scale_BT, shift_BT = (self._of(ids_B, rows) for rows in (self.scale, self.shift))
        return (1 + _PACE * scale_BT) * raw_BT + _PACE * shift_BT

    @staticmethod
    def _of(ids_B: Tensor, rows: Tensor) -> Tensor:
        assert UNKNOWN == 0
        return torch.cat((rows.mean(0, keepdim=True), rows))[ids_B]


class TargetHead(nn.Module):
    """Sample vector -> encoded target or class logits ``[B, T]``.

    Hidden layers, a linear map to the outputs, a scale and a shift of them, those of the sample's
    categories, and the output function. What is not asked for has no parameters.

    Parameters
    ----------
    width : int
        D.
    config : HeadConfig
    outputs : int
        T.
    sizes : tuple of int
        Ids of each column that the output is scaled by.
    """

    def __init__(self, width: int, config: HeadConfig, outputs: int, sizes: tuple[int, ...] = ()):
        super().__init__()
        self.dropout = config.target_dropout
        widths = (width, *config.hidden_widths)
        layers = [
            _HiddenLayer(inputs, units, config)
            for inputs, units in zip(widths, widths[1:], strict=False)
        ]
        # The first by itself: models of before format 6 have one, of this name.
        self.hidden = layers[0] if layers else None
        self.further = nn.ModuleList(layers[1:])
        self.out = nn.Linear(widths[-1], outputs)
        initialize = lookup(INITIALIZATIONS, config.initialization, "initialization")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialize(module)
        self.scaling = _Scaling(outputs) if config.scale else None
        self.by_category = nn.ModuleList(_ScalingByCategory(outputs, size) for size in sizes)
        self.output = lookup(OUTPUTS, config.output, "output function")
        self.range: Tensor | None
        ranged = self.output.apply is not _identity
        self.register_buffer(
            "range", torch.tensor([[0.0], [1.0]]).repeat(1, outputs) if ranged else None
        )

    def set_range(self, low: Tensor, span: Tensor) -> None:
        """Set the range of the output function, ``[T]`` each; it is saved with the weights.

        Parameters
        ----------
        low : Tensor
            Encoded: the least value of the training samples, or what 0 is encoded as.
        span : Tensor
            From there to the greatest value, or to the mean; above 0.
        """
        assert self.range is not None and (span > 0).all()
        self.range.copy_(torch.stack((low, span)))

    def forward(
        self, sample_BD: Tensor, keys_B: Tensor | None = None, ids_BS: Tensor | None = None
    ) -> Tensor:
        """Return ``[B, T]`` in float32.

        Parameters
        ----------
        sample_BD : Tensor
        keys_B : Tensor, optional
            Of the dropout while training.
        ids_BS : Tensor, optional
            int64, the category of each column that the output is scaled by.
        """
        rate, x_BD = self.dropout if self.training else 0.0, sample_BD
        layers = [] if self.hidden is None else [self.hidden, *self.further]
        for number, layer in enumerate(layers):
            x_BD = layer(dropout(x_BD, rate, keys_B, number))
        raw_BT = self.out(dropout(x_BD, rate, keys_B, len(layers))).float()
        if self.scaling is not None:
            raw_BT = self.scaling(raw_BT)
        for column, scaling in enumerate(self.by_category):
            assert ids_BS is not None, "no categories to scale by"
            raw_BT = scaling(raw_BT, ids_BS[:, column])
        return raw_BT if self.range is None else self.output.apply(raw_BT, *self.range)
