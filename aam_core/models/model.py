"""Assembly: encoders and the heads that are asked for.

Letters: B samples, A ASVs of a sample, U distinct ASVs, L bases (+1 START), D width, M masked
bases, V vocabulary, K soft branches, T outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from aam_core.config import ModelConfig
from aam_core.data.batch import Batch
from aam_core.models.draws import ASVS, MASKED, SAMPLES, mix
from aam_core.models.encoder import BaseEncoder, SampleEncoder
from aam_core.models.fusion import Fusion
from aam_core.models.heads import DISTANCES, NucleotideHead, TargetHead, UnionDistance
from aam_core.models.layers import Block


@dataclass(frozen=True)
class Parts:
    """Which heads a network has: with its configuration, all that is needed to rebuild it.

    Attributes
    ----------
    nucleotide, distance : bool
        Heads of pretraining.
    outputs : int
        Outputs T of the target head; 0 for none.
    sizes : tuple of int
        Ids that each categorical covariate has.
    numbers : int
        Numeric covariates.
    """

    nucleotide: bool = False
    distance: bool = False
    outputs: int = 0
    sizes: tuple[int, ...] = ()
    numbers: int = 0

    def to_dict(self) -> dict:
        """Plain dictionary, ready for JSON."""
        return asdict(self) | {"sizes": list(self.sizes)}


@dataclass
class ModelOutput:
    """What a forward pass computed; a head that does not exist leaves None.

    Attributes
    ----------
    sample : Tensor or None
        Sample vectors ``[B, D]``.
    nucleotide : Tensor or None
        Logits ``[M, V]`` of the hidden bases.
    nucleotide_truth : Tensor or None
        Token ids ``[M]`` of the hidden bases.
    distance : Tensor or None
        Vectors, a row a sample, that ``Network.distance.compare`` turns into distances.
    target : Tensor or None
        ``[B, T]`` standardized values or class logits.
    """

    sample: Tensor | None = None
    nucleotide: Tensor | None = None
    nucleotide_truth: Tensor | None = None
    distance: Tensor | None = None
    target: Tensor | None = None


class Network(nn.Module):
    """The hierarchical transformer: bases -> ASVs -> samples -> heads.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    parts : Parts
        Heads to build.
    """

    def __init__(self, config: ModelConfig, parts: Parts):
        super().__init__()
        self.config = config
        self.parts = parts
        width = config.encoder.width
        self.bases = BaseEncoder(config.encoder)
        self.samples = SampleEncoder(width, config.sample)
        self.nucleotide = NucleotideHead(width, config.encoder.stride) if parts.nucleotide else None
        self.distance = (
            DISTANCES[config.head.distance](width, config.head.distance_width)
            if parts.distance
            else None
        )
        self.fusion = (
            Fusion(width, config.fusion, parts.sizes, parts.numbers)
            if parts.sizes or parts.numbers
            else None
        )
        self.target = TargetHead(width, config.head, parts.outputs) if parts.outputs else None

    def blocks(self) -> list[Block]:
        """Every transformer block: over the bases, then over the ASVs."""
        return [*self.bases.blocks, *self.samples.blocks]

    def idle(self) -> list[nn.Module]:
        """Parts that no head reads, and that therefore cannot learn."""
        if self.target is None and self.distance is None:
            vectors = [self.bases.pool, self.bases.norm, self.bases.kmers]
            return [self.samples, *(part for part in vectors if part is not None)]
        if self.target is None and isinstance(self.distance, UnionDistance):
            return [self.samples.pool, self.samples.norm]  # it reads the ASVs, not the sample
        return []

    def forward(self, batch: Batch, heads: Collection[str] = ("distance", "target")) -> ModelOutput:
        """Run every part on a batch.

        While training, what is random is keyed by ``batch.key``; without one nothing is.

        Parameters
        ----------
        batch : Batch
            On the network's device. Where it has masked sequences, they are read for the
            nucleotide head; the distances always see uncorrupted ones.
        heads : collection of str
            Heads on the samples to run, of those that the network has.
        """
        output = ModelOutput()
        if self.distance is not None or self.target is not None:
            self._samples(batch, heads, output)
        if self.nucleotide is not None and batch.masked_tokens is not None:
            self._masked(batch, output)
        return output

    def _samples(self, batch, heads, output):
        keys_B = self._keys(batch, SAMPLES, batch.sample_index)
        keys_BA = None
        if keys_B is not None:
            keys_BA = mix(keys_B[:, None], batch.feature_index[batch.asv_index])
        vectors_UD = batch.asv_vectors
        if vectors_UD is None:
            keys_U = self._keys(batch, ASVS, batch.feature_index)
            vectors_UD = self.bases(batch.asv_tokens, batch.ragged, keys_U)
        output.sample, context_BAD, mask_BA = self.samples(
            vectors_UD[batch.asv_index], batch.counts, batch.asv_mask, keys_BA
        )
        if self.distance is not None and "distance" in heads:
            output.distance = self.distance.embed(context_BAD, mask_BA, output.sample)
        if self.target is not None and "target" in heads:
            joined_BD = output.sample
            if self.fusion is not None:
                joined_BD = self.fusion(joined_BD, batch.categories, batch.numeric)
            output.target = self.target(joined_BD, keys_B)

    def _masked(self, batch, output):
        tokens_RL, index_R = batch.masked_tokens, batch.masked_index
        if not len(tokens_RL):
            # A row of nothing, so that each parameter has a gradient (zero) here as on the other
            # processes.
            tokens_RL, index_R = F.pad(tokens_RL, (0, 0, 0, 1)), F.pad(index_R, (0, 1))
        keys_R = self._keys(batch, MASKED, index_R)
        states_RPD, _ = self.bases.states(tokens_RL, batch.ragged, keys_R)
        logits_MV = self.nucleotide(states_RPD, batch.masked_row, batch.masked_column)
        output.nucleotide, output.nucleotide_truth = logits_MV.float(), batch.masked_truth

    def _keys(self, batch, use, index):
        """int32 keys of these things in this use, or None where nothing is drawn."""
        if not self.training or batch.key is None:
            return None
        return mix(mix(batch.key, use), index)
