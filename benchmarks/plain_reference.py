"""The reference of the speed benchmark: every occurrence of an ASV is encoded.

Each sample is padded to a fixed number of ASVs, and all B x A sequences pass through the same
encoder in every step. The rest (layers, heads, losses, distances, optimizer) is AAM's own code, so
that only the batching differs.
Letters: B samples, A ASVs of a padded sample, L bases (+1 START), P positions, D width.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from aam_core.data.batches import Batch, Batcher, Draw, SharedDraw
from aam_core.models.network import ModelOutput, Network

PADDED = 256
"""ASVs that each sample is padded to."""


class PlainBatcher(Batcher):
    """Batches whose ``asv_tokens`` ``[B * PADDED, L + 1]`` have one row per occurrence or padding.

    Each row is an ASV of its own, masked or not whatever the others are; ``feature_index`` numbers
    the rows. Padding repeats an ASV instead of being PAD throughout: attention then needs no mask,
    which makes the reference faster.
    """

    def share(self, draw: Draw, features: bool = True) -> SharedDraw:
        """What the other ranks need; here, the rows that masking chooses from."""
        rows = np.arange(len(draw.samples) * PADDED)
        return dataclasses.replace(super().share(draw), features=rows)

    def assemble(self, draw: Draw, shared, rank: int = 0) -> Batch:
        """Make the batch; parameters as in `Batcher.assemble`."""
        batch = super().assemble(draw, shared, rank)
        shape = (len(draw.samples), PADDED)
        short = PADDED - batch.asv_index.shape[1]
        assert short >= 0, "rarefy deeper, or set data.max_asvs"
        index = F.pad(batch.asv_index, (0, short))
        batch.asv_mask = F.pad(batch.asv_mask, (0, short))
        batch.counts = F.pad(batch.counts, (0, short))
        batch.asv_tokens = batch.asv_tokens[index.flatten()]
        batch.feature_index = torch.arange(index.numel())
        batch.asv_index = batch.feature_index.view(shape)
        return batch


class OnePassNetwork(Network):
    """Encodes each sequence once, some of them masked: both heads share the pass.

    The cheaper of two references; the other is AAM's own forward pass on a plain batch, which
    encodes the masked share a second time, so that distances see clean sequences.
    """

    def forward(self, batch: Batch, heads=("distance", "target")) -> ModelOutput:
        """Run every part on a plain batch; parameters as in `Network.forward`."""
        if batch.masked_tokens is None:
            return super().forward(batch, heads)
        rows = batch.masked_index
        tokens = batch.asv_tokens.index_put((rows,), batch.masked_tokens)
        seen = []
        hook = self.bases.pool.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        corrupted = dataclasses.replace(batch, asv_tokens=tokens, masked_tokens=None)
        output = super().forward(corrupted, heads)
        hook.remove()
        (states_UPD,) = seen
        hidden = self.nucleotide(states_UPD, rows[batch.masked_row], batch.masked_column)
        output.nucleotide, output.nucleotide_truth = hidden.float(), batch.masked_truth
        return output
