"""(output, batch) -> sums and counts, so that a mean is right over ranks and micro-steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_core.config import LossConfig
from aam_core.data.batch import Batch
from aam_core.data.distances import distance_matrix
from aam_core.data.phylogeny import Phylogeny
from aam_core.models.model import ModelOutput, Network


@dataclass
class Term:
    """One loss: a sum over valid elements and how many (or how much weight) there were."""

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """The loss; 0 where nothing was valid."""
        return self.total / self.count.clamp_min(1e-12)


def nucleotide_terms(output: ModelOutput) -> dict[str, Term]:
    """Cross-entropy on the hidden bases only, and the accuracy on them."""
    logits, truth = output.nucleotide, output.nucleotide_truth
    count = torch.tensor(float(len(truth)), device=logits.device)
    hits = (logits.argmax(-1) == truth).float().sum()
    return {
        "nucleotide": Term(F.cross_entropy(logits, truth, reduction="sum"), count),
        "nucleotide_accuracy": Term(hits, count),
    }


def true_distance(batch: Batch, phylogeny: Phylogeny | None, config: LossConfig) -> Tensor:
    """Distances ``[B, B]`` of the batch: those given, or computed from its reads on its device."""
    if batch.distance is not None:
        return batch.distance
    return distance_matrix(
        batch.table, batch.table_features, phylogeny, config.metric, alpha=config.alpha
    )


def distance_terms(predicted: Tensor, truth: Tensor, config: LossConfig) -> dict[str, Term]:
    """Squared error over the pairs ``[B, B]`` of different samples, each pair once.

    Pairs whose true distance is zero weigh ``zero_pair_weight``.
    """
    row, column = torch.triu_indices(*truth.shape, offset=1, device=truth.device)
    error = (predicted[row, column] - truth[row, column]).square()
    weight = torch.where(truth[row, column] == 0, config.zero_pair_weight, 1.0)
    return {"distance": Term((error * weight).sum(), weight.sum())}


def target_terms(output: Tensor, truth: Tensor, config: LossConfig, weight=None) -> dict[str, Term]:
    """Loss of a regression (``truth`` float ``[B]``) or a classification (int64 ``[B]``).

    Parameters
    ----------
    weight : Tensor, optional
        ``[T]`` class weights.
    """
    if truth.dtype == torch.int64:
        loss = F.cross_entropy(
            output,
            truth,
            weight=weight,
            reduction="sum",
            label_smoothing=config.label_smoothing,
        )
        count = weight[truth].sum() if weight is not None else torch.ones_like(truth).sum().float()
        return {"target": Term(loss, count)}
    error = output[:, 0] - truth
    if config.target == "huber":
        loss = F.huber_loss(output[:, 0], truth, reduction="sum", delta=config.huber_delta)
    else:
        loss = (error.square() if config.target == "mse" else error.abs()).sum()
    return {"target": Term(loss, torch.tensor(float(len(truth)), device=truth.device))}


def compute(
    network: Network,
    output: ModelOutput,
    batch: Batch,
    config: LossConfig,
    phylogeny: Phylogeny | None = None,
    class_weight: Tensor | None = None,
) -> dict[str, Term]:
    """Every term that this output has."""
    terms = {}
    if output.nucleotide is not None:
        terms |= nucleotide_terms(output)
    if output.distance is not None:
        predicted = network.distance.compare(output.distance, output.distance)
        terms |= distance_terms(predicted, true_distance(batch, phylogeny, config), config)
    if output.target is not None:
        terms |= target_terms(output.target, batch.target, config, class_weight)
    return terms


def weighted(terms: dict[str, Term], config: LossConfig) -> Tensor:
    """The loss that is minimized: means times penalties (the target's penalty is 1)."""
    penalties = {"nucleotide": config.nucleotide, "distance": config.distance, "target": 1.0}
    parts = [terms[name].mean() * penalty for name, penalty in penalties.items() if name in terms]
    return torch.stack(parts).sum()
