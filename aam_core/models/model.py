"""Assembly: encoders and the heads that are asked for.

Letters: B samples, A ASVs of a sample, U distinct ASVs, L bases (+1 START), D width, M masked
bases, V vocabulary, K soft branches, T outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from aam_core.config import MaskingConfig, ModelConfig
from aam_core.data.batch import Batch
from aam_core.models.encoder import BaseEncoder, SampleEncoder
from aam_core.models.fusion import Fusion
from aam_core.models.heads import DISTANCES, NucleotideHead, TargetHead
from aam_core.models.masking import corrupt


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
        Vectors ``[B, K]`` that ``Network.distance.compare`` turns into distances.
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

    def forward(
        self,
        batch: Batch,
        masking: MaskingConfig | None = None,
        generator: torch.Generator | None = None,
        heads: Collection[str] = ("distance", "target"),
    ) -> ModelOutput:
        """Run every part on a batch.

        Parameters
        ----------
        batch : Batch
            On the network's device.
        masking : MaskingConfig, optional
            Given while masked training: a share of the distinct ASVs is read a second time,
            corrupted. The distances always see uncorrupted sequences.
        generator : torch.Generator, optional
            Source of the corruption, on the batch's device.
        heads : collection of str
            Heads on the samples to run, of those that the network has.
        """
        output = ModelOutput()
        if self.distance is not None or self.target is not None:
            self._samples(batch, heads, output)
        if self.nucleotide is not None and masking is not None:
            self._masked(batch, masking, generator, output)
        return output

    def _samples(self, batch, heads, output):
        vectors_UD = batch.asv_vectors
        if vectors_UD is None:
            vectors_UD = self.bases(batch.asv_tokens, batch.ragged)
        asv_BAD = vectors_UD[batch.asv_index]
        output.sample, context_BAD, mask_BA = self.samples(asv_BAD, batch.counts, batch.asv_mask)
        if self.distance is not None and "distance" in heads:
            output.distance = self.distance.embed(context_BAD, mask_BA, output.sample)
        if self.target is not None and "target" in heads:
            joined_BD = output.sample
            if self.fusion is not None:
                joined_BD = self.fusion(joined_BD, batch.categories, batch.numeric)
            output.target = self.target(joined_BD)

    def _masked(self, batch, masking, generator, output):
        tokens = batch.asv_tokens
        some = max(1, round(masking.asv_fraction * len(tokens)))
        if some < len(tokens):
            order = torch.randperm(len(tokens), generator=generator, device=tokens.device)
            tokens = tokens[order[:some]]
        changed, chosen = corrupt(tokens, masking, generator)
        states_UPD, _ = self.bases.states(changed, batch.ragged)
        output.nucleotide = self.nucleotide(states_UPD, chosen).float()
        output.nucleotide_truth = tokens[chosen].long()
