"""The network: encoders, members of the ensemble and heads.

Letters: B samples, A ASVs of a sample, U distinct ASVs, L bases (+1 START), D width, M masked
bases or abundances, V vocabulary, T outputs, K members, E size of an ASV's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam_core.config import ModelConfig
from aam_core.data.batches import Batch
from aam_core.errors import lookup
from aam_core.models import pooling
from aam_core.models.draws import ASVS, CONTEXT, MASKED, SAMPLES, mix
from aam_core.models.encoder import BaseEncoder, PooledASVs, SampleASVs, SampleEncoder
from aam_core.models.fourier import fourier_features
from aam_core.models.fusion import Fused, Fusion
from aam_core.models.heads import (
    DISTANCE_HEADS,
    UNBOUNDED_HEADS,
    CountHead,
    DistanceHead,
    FaithHead,
    NucleotideHead,
    PresenceHead,
    TargetHead,
    TaxonomyHead,
    UnionDistance,
)
from aam_core.models.kmers import KmerProfile
from aam_core.models.layers import Block

__all__ = [
    "LINKS",
    "Link",
    "Member",
    "ModelOutput",
    "Network",
    "Parts",
    "composition_size",
    "fourier_size",
    "of_target",
    "part_of",
    "vector_size",
]


_LATER = ("count", "faith_pd", "unbounded", "presence", "halves")
"""Heads that are written where they are there alone: networks of before had none."""


@dataclass(frozen=True)
class Parts:
    """Heads of a network; with its configuration they determine its tensors.

    Attributes
    ----------
    nucleotide, distance : bool
        Heads of pretraining, or of auxiliary losses of a fit.
    outputs : int
        Outputs T of the target head; 0 for none.
    sizes : tuple of int
        Ids that each categorical covariate has.
    numbers : int
        Numeric covariates.
    scale_sizes : tuple of int
        Ids of each column that the target head scales its output by.
    link : str
        Key of `LINKS`; '' where one output is a number and several are logits of classes.
    below, above : int
        Under 'quantiles': those below the median, and above it.
    count : bool
        Whether abundances are predicted, by a head of each member.
    faith_pd : bool
        Whether Faith's phylogenetic diversity is predicted, in a pretraining.
    ranks : tuple of int
        Classes of each rank of the taxonomy that a pretraining predicts.
    unbounded : bool
        Whether the distances have no upper bound.
    columns : tuple of int
        Outputs for each metadata column that a pretraining on many studies predicts: its classes,
        or 1 for numbers.
    presence : bool
        Whether hidden ASVs are told from others, by a head of each member.
    halves : bool
        Whether two halves of a sample's reads are brought together; there is no head for it.
    """

    nucleotide: bool = False
    distance: bool = False
    outputs: int = 0
    sizes: tuple[int, ...] = ()
    numbers: int = 0
    scale_sizes: tuple[int, ...] = ()

    link: str = ""
    below: int = 0
    above: int = 0
    count: bool = False
    faith_pd: bool = False
    ranks: tuple[int, ...] = ()
    unbounded: bool = False
    columns: tuple[int, ...] = ()
    presence: bool = False
    halves: bool = False

    def to_dict(self) -> dict:
        """Plain dictionary, ready for JSON; without what networks of before format 6 lacked."""
        values = asdict(self) | {"sizes": list(self.sizes)}
        scaled = {"scale_sizes": list(values.pop("scale_sizes"))}
        linked = {name: values.pop(name) for name in ("link", "below", "above")}
        later = {name: values.pop(name) for name in _LATER}
        later = {name: there for name, there in later.items() if there}
        sizes = {name: list(values.pop(name)) for name in ("ranks", "columns")}
        return (
            values
            | (scaled if self.scale_sizes else {})
            | (linked if self.link else {})
            | later
            | {name: each for name, each in sizes.items() if each}
        )

    @property
    def values(self) -> bool:
        """Whether the outputs are numbers, of which ensembles have the mean; else classes."""
        if not self.link:
            return self.outputs <= 1
        return lookup(LINKS, self.link, "link").values


@dataclass
class ModelOutput:
    """Output of a forward pass; None of heads that the network does not have.

    Attributes
    ----------
    sample : Tensor or None
        Sample vectors ``[B, D]``; none in training with covariates.
    samples : Tensor or None
        Those of each member, ``[K, B, D]``, before the covariates; none in training but with
        ``parts.halves``.
    halves : Tensor or None
        ``[K, G, D]``, these of halves of the samples of all ranks, which a step gathers.
    nucleotide : Tensor or None
        Logits ``[M, V]`` of the masked bases.
    nucleotide_truth : Tensor or None
        Token ids ``[M]`` of the masked bases.
    distance : Tensor or None
        Vectors, a row per sample, that ``Network.distance.compare`` turns into distances.
    target : Tensor or None
        ``[K, B, T]`` standardized values, quantiles, class logits or log probabilities of classes
        (`LINKS`), of each member.
    attention, gate : Tensor or None
        As in `Fused`, of each member, ``[K, B, ...]``; none in training.
    count : Tensor or None
        ``[K, M]`` scaled logarithms of the masked abundances, of each member.
    faith_pd : Tensor or None
        ``[B]`` in units of branch length.
    taxonomy : Tensor or None
        ``[M, sum of classes]`` logits, of the ASVs ``taxa_row`` of the batch.
    columns : Tensor or None
        ``[K, B, sum of outputs]`` of the metadata columns of many studies, of each member.
    presence : Tensor or None
        ``[K, M, 2]`` of the queries of the batch, of each member; see `PresenceHead`.
    """

    sample: Tensor | None = None
    samples: Tensor | None = None
    halves: Tensor | None = None
    nucleotide: Tensor | None = None
    nucleotide_truth: Tensor | None = None
    distance: Tensor | None = None
    target: Tensor | None = None
    attention: Tensor | None = None
    gate: Tensor | None = None
    count: Tensor | None = None
    faith_pd: Tensor | None = None
    taxonomy: Tensor | None = None
    columns: Tensor | None = None
    presence: Tensor | None = None


def _ascending(output: Tensor, parts: Parts) -> Tensor:
    """Quantiles that do not cross: the median, and what the others add to it or take from it.

    Of several targets, those of one after the other's.
    """
    each = output.unflatten(-1, (-1, parts.below + 1 + parts.above))
    below, median, above = each.split([parts.below, 1, parts.above], dim=-1)
    lower = median - F.softplus(below).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([lower, median, median + F.softplus(above).cumsum(-1)], dim=-1).flatten(-2)


def _unchanged(output: Tensor, parts: Parts) -> Tensor:
    return output


_LEAST_STEP = 1e-6
"""Between cumulative logits: the logarithm of a probability stays finite."""


def _ordinal(output: Tensor, parts: Parts) -> Tensor:
    """T ordered cumulative logits -> log probabilities ``[..., T + 1]`` of ordered classes.

    The logit of "beyond class k" falls with k (McCullagh 1980, J. R. Stat. Soc. B 42:109); unlike
    there, its steps depend on the sample. With ``a > b`` such logits,
    ``s(a) - s(b) = s(a) s(-b) (1 - exp(b - a))``.
    """
    first, steps = output[..., :1], F.softplus(output[..., 1:]) + _LEAST_STEP
    beyond = torch.cat([first, first - steps.cumsum(-1)], dim=-1)
    least, most = F.logsigmoid(-beyond[..., :1]), F.logsigmoid(beyond[..., -1:])
    apart = torch.log(-torch.expm1(-steps))
    between = F.logsigmoid(beyond[..., :-1]) + F.logsigmoid(-beyond[..., 1:]) + apart
    return torch.cat([least, between, most], dim=-1)


class Link(NamedTuple):
    """What the outputs of the target head become.

    Attributes
    ----------
    apply : callable
        Outputs ``[..., T]`` and the parts -> what is learned.
    values : bool
        Whether that are numbers; else logits of classes.
    """

    apply: Callable[[Tensor, Parts], Tensor]
    values: bool


LINKS = {
    "values": Link(_unchanged, True),
    "quantiles": Link(_ascending, True),
    "ordinal": Link(_ordinal, False),
}
"""By `Task.link`; see `Parts.link`."""


_MIN_WEIGHT = 0.05
"""Least ensemble weight of the members with random Fourier features, and of those without."""


class Member(nn.Module):
    """A member of the ensemble: ASV vectors -> sample vector -> target.

    Parameters
    ----------
    config : ModelConfig
    parts : Parts
    fourier : bool
        Whether it reads the random Fourier features of the ASVs.
    """

    def __init__(self, config: ModelConfig, parts: Parts, fourier: bool = False):
        super().__init__()
        width = config.encoder.width
        # Learned vectors of the bases have the width already; fixed features are mapped to it.
        fixed = config.encoder.features != "bases"
        size = vector_size(config) - (0 if fourier else fourier_size(config))
        self.project = nn.Linear(size, width) if fixed else None
        self.samples = SampleEncoder(width, config.sample)
        self.fusion = (
            Fusion(width, config.fusion, parts.sizes, parts.numbers)
            if parts.sizes or parts.numbers
            else None
        )
        self.target = (
            TargetHead(width, config.head, parts.outputs, parts.scale_sizes)
            if parts.outputs
            else None
        )
        self.covariates = len(parts.sizes)
        self.count = CountHead(width) if parts.count else None
        # The form of the target head, whose hidden layers start from those of this one in a fit.
        self.columns = TargetHead(width, config.head, sum(parts.columns)) if parts.columns else None
        self.presence = PresenceHead(width) if parts.presence else None

    def read(self, vectors_UE: Tensor, batch: Batch, keys_BA: Tensor | None) -> SampleASVs:
        """The ASVs of each sample in its context, from which the sample vector is pooled."""
        return self.samples(*self._gathered(vectors_UE, batch), keys_BA)

    def attention(self, vectors_UE: Tensor, batch: Batch) -> list[Tensor]:
        """Shares of attention in each block over the ASVs of a sample (`SampleEncoder`)."""
        return self.samples.attention(*self._gathered(vectors_UE, batch))

    def mapped(self, vectors_UE: Tensor) -> Tensor:
        """ASV vectors ``[U, D]`` of this member."""
        if self.project is None:
            return vectors_UE
        # The random Fourier features are the last ones.
        return self.project(vectors_UE[:, : self.project.in_features])

    def _gathered(self, vectors_UE, batch):
        return self.mapped(vectors_UE)[batch.asv_index], batch.counts, batch.asv_mask

    def fuse(self, asvs: SampleASVs | PooledASVs, batch: Batch) -> Fused:
        """The sample vector for the target, with the covariates if there are any."""
        if self.fusion is None:
            return Fused(asvs.sample)
        return self.fusion(asvs, batch.categories, batch.numeric)

    def predict(self, sample_BD: Tensor, batch: Batch, keys_B: Tensor | None) -> Tensor:
        """Output of the target head, ``[B, T]``."""
        assert self.target is not None, "no target head"
        scaled_by = None
        if batch.categories is not None:  # the columns after those of the covariates
            scaled_by = batch.categories[:, self.covariates :]
        return self.target(sample_BD, keys_B, scaled_by)

    def estimate(self, vectors_UE: Tensor, batch: Batch, keys_BA: Tensor | None) -> Tensor:
        """Output of the count head, ``[M]``, for the abundances that the batch has masked.

        The samples are read a second time, with 0 reads for the masked ASVs: what else is computed
        of the batch sees all reads.
        """
        assert self.count is not None, "no count head"
        row_M, column_M = batch.count_row, batch.count_column
        # No ASV of a sample has 0 reads otherwise; shares are of the reads that are left.
        hidden = replace(batch, counts=batch.counts.index_put((row_M, column_M), _no_reads(batch)))
        asvs = self.read(vectors_UE, hidden, keys_BA)
        # Exactly 0 of masked ASVs, too, whose logarithm is that of the least share.
        share_BA = asvs.log_abundance.exp() * (asvs.mask & (hidden.counts > 0))
        return self.count(asvs.vectors, share_BA, asvs.sample, row_M, column_M)


class Network(nn.Module):
    """The hierarchical transformer: bases -> ASVs -> samples -> heads.

    All members read the same ASV vectors, the second half of them with random Fourier features.
    The distance head reads those of the first member.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    parts : Parts
        Heads to build.

    Attributes
    ----------
    fourier_members : ndarray
        ``[K]`` bool: which members read random Fourier features.
    member_weight : Tensor or None
        Ensemble weights ``[K]``, chosen after training and saved with the weights; None where all
        members count alike.
    """

    def __init__(self, config: ModelConfig, parts: Parts):
        super().__init__()
        self.config = config
        self.parts = parts
        # By halves: of ten members and five folds, one of each kind holds out the same fold.
        second_half = np.arange(config.members) >= (config.members + 1) // 2
        self.fourier_members = second_half & (fourier_size(config) > 0)
        width, features = config.encoder.width, config.encoder.features
        self.bases = BaseEncoder(config.encoder) if features != "profile" else None
        encoder = config.encoder
        self.profile = None
        if features != "bases":
            self.profile = KmerProfile(encoder.components, encoder.profile_bases)
        self.members = nn.ModuleList(Member(config, parts, it) for it in self.fourier_members)
        self.member_weight: Tensor | None
        # Only where there are two kinds to weigh: checkpoints of before the weights have no such
        # tensor, and are still resumed.
        weighted = parts.outputs and self.fourier_members.any()
        self.register_buffer("member_weight", torch.ones(config.members) if weighted else None)
        self.nucleotide = NucleotideHead(width, config.encoder.stride) if parts.nucleotide else None
        self.distance: DistanceHead | None = None
        if parts.distance:
            heads = UNBOUNDED_HEADS if parts.unbounded else DISTANCE_HEADS
            head = lookup(heads, config.head.distance, "distance head")
            self.distance = head(width, config.head.distance_width)
        self.faith_pd = FaithHead(width, config.head.distance_width) if parts.faith_pd else None
        self.taxonomy = TaxonomyHead(vector_size(config), parts.ranks) if parts.ranks else None

    def set_fourier_weight(self, weight: float) -> None:
        """Set the ensemble weight of all members with random Fourier features together.

        The other members have the rest. Neither becomes 0: a sample may be held out by members of
        one kind only.
        """
        assert self.member_weight is not None, "all members count alike"
        weight = min(max(weight, _MIN_WEIGHT), 1 - _MIN_WEIGHT)
        fourier = torch.from_numpy(self.fourier_members)
        each = torch.where(fourier, weight / fourier.sum(), (1 - weight) / (~fourier).sum())
        self.member_weight.copy_(each)

    def blocks(self) -> list[Block]:
        """Every transformer block: over the bases, then over the ASVs of each member."""
        bases = [] if self.bases is None else self.bases.blocks
        return [*bases, *(block for member in self.members for block in member.samples.blocks)]

    def untrained_parts(self) -> list[nn.Module]:
        """Parts that no head reads, and that are therefore not trained."""
        first = self.members[0]
        # These read the samples, in each member.
        parts = self.parts
        if parts.outputs or parts.count or parts.columns or parts.presence or parts.halves:
            return []
        if self.distance is None and self.faith_pd is None:
            if self.taxonomy is not None:
                return [*self.members]
            assert self.bases is not None
            # The nucleotide head reads positions: vectors of whole ASVs would reveal masked bases.
            vectors = [self.bases.pool, self.bases.norm, self.bases.kmers]
            return [*self.members, *(part for part in vectors if part is not None)]
        if self.distance is None or isinstance(self.distance, UnionDistance):
            # These and Faith's diversity read the ASVs, not the sample.
            return [first.samples.pool, first.samples.norm, *self.members[1:]]
        return [*self.members[1:]]

    def vectors(
        self, tokens_UL: Tensor, ragged: bool = True, keys_U: Tensor | None = None
    ) -> Tensor:
        """Vectors of ASVs, ``[U, E]``; arguments as of `BaseEncoder`."""
        features = []
        if self.profile is not None:
            features.append(self.profile(tokens_UL))
        if self.bases is not None:
            features.append(self.bases(tokens_UL, ragged, keys_U))
        if fourier_size(self.config):
            features.append(fourier_features(tokens_UL, fourier_size(self.config)))
        return (
            torch.cat([part.float() for part in features], 1) if len(features) > 1 else features[0]
        )

    def forward(
        self,
        batch: Batch,
        heads: Collection[str] = (
            *("distance", "faith_pd", "columns", "presence", "halves", "target"),
        ),
    ) -> ModelOutput:
        """Run every part on a batch.

        In training, random numbers are keyed by ``batch.key``; without a key there are none.

        Parameters
        ----------
        batch : Batch
            On the network's device. Its masked sequences, if any, are for the nucleotide head; the
            distances always see unmasked ones.
        heads : collection of str
            Heads to run on the samples, if the network has them; 'samples' alone gives the sample
            vectors of the members.
        """
        output = ModelOutput()
        samples = self.distance is not None or self.faith_pd is not None
        samples = samples or self.parts.count or bool(self._of_members)
        if samples or self.taxonomy is not None:
            vectors_UE = batch.asv_vectors
            if vectors_UE is None:
                keys_U = self._keys(batch, ASVS, batch.feature_index)
                vectors_UE = self.vectors(batch.asv_tokens, batch.ragged, keys_U)
            if samples:
                self._samples(vectors_UE, batch, heads, output)
            if self.taxonomy is not None and batch.taxa_row is not None:
                output.taxonomy = self.taxonomy(vectors_UE[batch.taxa_row])
        if self.nucleotide is not None and batch.masked_tokens is not None:
            self._masked(batch, output)
        return output

    @property
    def member_shares(self) -> Tensor:
        """Ensemble weights ``[K]``, which sum to 1."""
        if self.member_weight is None:
            return torch.full((len(self.members),), 1 / len(self.members))
        return self.member_weight / self.member_weight.sum()

    def average(self, target_KBT: Tensor, weight_KB: Tensor | None = None) -> Tensor:
        """Prediction of the ensemble, ``[B, T]``: mean values, or log mean probabilities.

        Parameters
        ----------
        weight_KB : Tensor, optional
            Weight of each member for each sample, multiplied by its ``member_weight``.
        """
        if not self.parts.values:
            target_KBT = target_KBT.log_softmax(-1)
        if weight_KB is None:
            weight_KB = torch.ones_like(target_KBT[..., 0])
        if self.member_weight is not None:
            weight_KB = weight_KB * self.member_weight[:, None]
        share = (weight_KB / weight_KB.sum(0).clamp_min(1e-12))[..., None]
        if not self.parts.values:
            # A probability that underflows to 0 would have -inf as its logarithm.
            return (target_KBT.exp() * share).sum(0).clamp_min(1e-30).log()
        return (target_KBT * share).sum(0)

    def mean_output(self, target: Tensor) -> Tensor:
        """Mean over the first dimension: of values, or log mean probabilities."""
        if self.parts.values:
            return target.mean(0)
        return target.log_softmax(-1).exp().mean(0).clamp_min(1e-30).log()

    def _samples(self, vectors_UE, batch, heads, output):
        keys_B = self._keys(batch, SAMPLES, batch.sample_index)
        pooled_KBD = self._pooled(vectors_UE, batch, heads, keys_B)
        targets, fused, counts, samples, columns, presence = [], [], [], [], [], []
        for number, member in enumerate(self.members):
            own_B = own_BA = None
            if keys_B is not None:
                # Draws of its own, or all members would drop the same ASVs; keyed by feature,
                # not by column, so that neither order nor padding changes them.
                own_B = mix(keys_B, number)
                if pooled_KBD is None:
                    own_BA = mix(own_B[:, None], batch.feature_index[batch.asv_index])
            asvs: SampleASVs | PooledASVs
            if pooled_KBD is not None:
                asvs = PooledASVs(pooled_KBD[number])
            else:
                asvs = member.read(vectors_UE, batch, own_BA)
            if number == 0:
                # Pooled where it is asked for, and a fusion may pool other vectors.
                if member.fusion is None or not self.training:
                    output.sample = asvs.sample
                if isinstance(asvs, SampleASVs):
                    self._of_asvs(asvs, heads, output)
            if member.count is not None and batch.count_row is not None:
                # Other draws than those of the first reading.
                keys_BA = None if own_BA is None else mix(own_BA, CONTEXT)
                counts.append(member.estimate(vectors_UE, batch, keys_BA))
            if not self._of_members & {*heads}:
                break  # the first member has all that is asked for
            if not self.training or self.parts.halves:
                samples.append(asvs.sample)
            if member.columns is not None and "columns" in heads:
                columns.append(member.columns(asvs.sample, own_B))
            if member.presence is not None and batch.query_row is not None:
                query_MD = member.mapped(vectors_UE)[batch.query_asv]
                presence.append(member.presence(query_MD, asvs.sample, batch.query_row))
            if member.target is None or "target" not in heads:
                continue  # the vectors alone, which need no covariates
            fused.append(member.fuse(asvs, batch))
            targets.append(member.predict(fused[-1].sample, batch, own_B))
        if samples:
            output.samples = torch.stack(samples)
        if targets:
            output.target = torch.stack(targets)
            if self.parts.link:
                output.target = LINKS[self.parts.link].apply(output.target, self.parts)
            if not self.training:
                output.attention = _stacked([each.attention for each in fused])
                output.gate = _stacked([each.gate for each in fused])
        if counts:
            output.count = torch.stack(counts)
        if columns:
            output.columns = torch.stack(columns)
        if presence:
            output.presence = torch.stack(presence)

    def _of_asvs(self, asvs: SampleASVs, heads, output):
        """Run the heads that read the ASVs of the first member."""
        if self.distance is not None and "distance" in heads:
            share_BA = asvs.log_abundance.exp() * asvs.mask
            read = (asvs.vectors, asvs.mask, asvs.sample, share_BA)
            output.distance = self.distance.embed(*read)
        if self.faith_pd is not None and "faith_pd" in heads:
            output.faith_pd = self.faith_pd(asvs.vectors, asvs.mask)

    @property
    def of_many_studies(self) -> bool:
        """Whether it learns what only a pretraining on many studies does."""
        return bool(self.parts.columns) or self.parts.presence or self.parts.halves

    @property
    def pools_at_once(self) -> bool:
        """Whether the members' sample vectors can be had at once; see `pooling`."""
        of_asvs = self.distance is not None or self.faith_pd is not None
        return bool(self._of_members) and not of_asvs and pooling.can_pool(self.members)

    @property
    def _of_members(self) -> set[str]:
        """What every member makes, not the first one alone."""
        parts = self.parts
        there = {
            **{"target": parts.outputs, "columns": parts.columns},
            **{"presence": parts.presence, "halves": parts.halves},
        }
        names = {name for name, value in there.items() if value}
        return names | {"samples"} if names else set()

    def _pooled(self, vectors_UE, batch, heads, keys_B) -> Tensor | None:
        """Sample vectors ``[K, B, D]``, where they can be had at once."""
        if not self.pools_at_once or not self._of_members & {*heads}:
            return None
        # In half precision the variance of a vector would lose its digits.
        if vectors_UE.dtype != torch.float32 or torch.is_autocast_enabled(vectors_UE.device.type):
            return None
        keys_BK = None
        if keys_B is not None and self.config.sample.asv_dropout > 0:
            keys_BK = torch.stack([mix(keys_B, k) for k in range(len(self.members))], 1)
        return pooling.pool(self.members, vectors_UE, batch, keys_BK)

    def _masked(self, batch, output):
        tokens_RL, index_R = batch.masked_tokens, batch.masked_index
        if not len(tokens_RL):
            # An empty row, so that each parameter has a gradient (zero) as on the other processes.
            tokens_RL, index_R = F.pad(tokens_RL, (0, 0, 0, 1)), F.pad(index_R, (0, 1))
        keys_R = self._keys(batch, MASKED, index_R)
        assert self.bases is not None and self.nucleotide is not None
        states_RPD, _ = self.bases.states(tokens_RL, batch.ragged, keys_R)
        logits_MV = self.nucleotide(states_RPD, batch.masked_row, batch.masked_column)
        output.nucleotide, output.nucleotide_truth = logits_MV.float(), batch.masked_truth

    def _keys(self, batch, use, index):
        """int32 keys of an index for one use, or None where nothing is random."""
        if not self.training or batch.key is None:
            return None
        return mix(mix(batch.key, use), index)


def _stacked(parts: list[Tensor | None]) -> Tensor | None:
    """``[K, ...]``, or None where the members have none."""
    there = [part.float() for part in parts if part is not None]
    return torch.stack(there) if there else None


def of_target(network: Network, parts: Parts, place: int) -> Network:
    """A network of one of several targets, with the weights of the network of all.

    Parameters
    ----------
    network : Network
        Its outputs are those of the targets, side by side, each with as many.
    parts : Parts
        Of the new network.
    place : int
        Of the target among them.
    """
    with torch.random.fork_rng([]):  # its random weights are replaced
        one = Network(network.config, parts)
    whole, own = network.state_dict(), one.state_dict()
    for name, value in own.items():
        part = whole[name]
        if part.shape != value.shape:  # of the target head: an output is a row
            sizes = enumerate(zip(part.shape, value.shape, strict=True))
            (dim,) = (dim for dim, (all_targets, own) in sizes if all_targets != own)
            part = part.narrow(dim, place * parts.outputs, parts.outputs)
        value.copy_(part)
    return one.eval()


def _no_reads(batch: Batch) -> Tensor:
    return torch.zeros((), device=batch.counts.device, dtype=batch.counts.dtype)


def vector_size(config: ModelConfig) -> int:
    """Size E of an ASV vector: width, k-mer components, or both; and random Fourier features."""
    encoder = config.encoder
    sizes = {"bases": encoder.width, "profile": encoder.components}
    return sizes.get(encoder.features, sum(sizes.values())) + fourier_size(config)


def composition_size(config: ModelConfig) -> int:
    """Size C of an ASV vector without random Fourier features."""
    return vector_size(config) - fourier_size(config)


def fourier_size(config: ModelConfig) -> int:
    """Number of random Fourier features; 0 without k-mer components, or with one member."""
    # A lone member belongs to the first half, which does not read them.
    read = config.encoder.features != "bases" and config.members > 1
    return config.encoder.codes if read else 0


def part_of(name: str) -> str:
    """Part of the network that a parameter belongs to, in any member."""
    pieces = name.split(".")
    return pieces[2] if pieces[0] == "members" else pieces[0]
