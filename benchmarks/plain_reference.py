"""The plain way that AAM is measured against: every occurrence of an ASV is encoded.

Each sample is padded to a fixed number of ASVs, and all B x A sequences pass through the same
encoder in every step. The rest (layers, heads, losses, distances, optimizer) is AAM's own code, so
that nothing but the way of batching differs.
Letters: B samples, A ASVs of a padded sample, L bases (+1 START), P positions, D width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from aam_core.data.batch import EVALUATION, Batch, Batcher
from aam_core.models.masking import corrupt
from aam_core.models.model import ModelOutput, Network

PADDED = 256
"""ASVs that each sample is padded to."""


class PlainBatcher(Batcher):
    """Batches whose ``asv_tokens`` ``[B * PADDED, L + 1]`` hold one row an occurrence or padding.

    Padding repeats an ASV instead of being PAD throughout: attention then needs no mask, which is
    the faster for the reference.
    """

    def batch(self, samples: np.ndarray, epoch: int = EVALUATION) -> Batch:
        """Make the batch of these samples."""
        batch = super().batch(samples, epoch)
        shape = (len(samples), PADDED)
        short = PADDED - batch.asv_index.shape[1]
        assert short >= 0, "rarefy deeper, or set data.max_asvs"
        index = F.pad(batch.asv_index, (0, short))
        batch.asv_mask = F.pad(batch.asv_mask, (0, short))
        batch.counts = F.pad(batch.counts, (0, short))
        batch.asv_tokens = batch.asv_tokens[index.flatten()]
        batch.asv_index = torch.arange(index.numel()).view(shape)
        return batch


class OnePassNetwork(Network):
    """Reads each sequence once, some corrupted: both heads share the pass.

    The cheaper of two plain ways; AAM's own forward pass (which on a plain batch is the other)
    reads the corrupted share a second time, so that distances see clean sequences.
    """

    def forward(self, batch: Batch, masking=None, generator=None) -> ModelOutput:
        """Run every part on a plain batch; parameters as in `Network.forward`."""
        if masking is None:
            return super().forward(batch)
        some = max(1, round(masking.asv_fraction * len(batch.asv_tokens)))
        clean = batch.asv_tokens[:some]
        changed, chosen = corrupt(clean, masking, generator)
        seen = []
        hook = self.bases.pool.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        tokens = torch.cat((changed, batch.asv_tokens[some:]))
        vectors_UD = self.bases(tokens, batch.ragged)
        hook.remove()
        (states_UPD,) = seen
        asv_BAD = vectors_UD[batch.asv_index]
        output = ModelOutput()
        output.sample, context_BAD, mask_BA = self.samples(asv_BAD, batch.counts, batch.asv_mask)
        output.distance = self.distance.embed(context_BAD, mask_BA, output.sample)
        output.nucleotide = self.nucleotide(states_UPD[:some], chosen).float()
        output.nucleotide_truth = clean[chosen].long()
        return output
