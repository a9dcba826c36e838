"""Auxiliary losses: what a network learns of reads and sequences, with or without a target.

Each is an entry of `AUXILIARY`: the setting of its weight, the head that makes its output, its sum
and its count over the elements of a batch, and the metrics of its validation. A weight of 0 means
that the head is not built. The distances (pairs of samples over all ranks) and the target (which a
task defines) are computed in `losses`; their names stand in `PARTS` with the others.

A further one is a head of `aam_core.models` with a field of `Parts`, an entry here, and a weight in
`aam_core.config.loss` with its rule in `aam_core.config.unused`.

Letters: B samples, K members, M hidden bases or abundances (or ASVs with a taxon, or metadata
columns), R ranks, C classes of a rank (or outputs of all columns).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_core.data.batches import Batch
from aam_core.models.abundance import LOG_SCALE, scaled_log
from aam_core.models.network import ModelOutput, Parts

__all__ = ["AUXILIARY", "PARTS", "Auxiliary", "auxiliary_metrics", "metric_names"]


@dataclass(frozen=True)
class Auxiliary:
    """An auxiliary loss.

    Attributes
    ----------
    built : callable
        Of `Parts`: whether the network has the head.
    count : callable
        Of a batch: what the sum of the loss is divided by, over ranks and micro-steps, under
        ``""``; further counts under their names. Empty where the batch has nothing for it.
    total : callable
        Of the network's output and the batch: the sum of the loss under ``""``, and sums of further
        quantities under their names: that of ``accuracy`` is divided by the loss's count, that of
        ``genus_accuracy`` by the count ``genus``.
    title : str
        Key of its metrics in ``metrics.json``.
    points : callable or None
        Of the network's output and the batch: true and predicted values, whose R2 and mean absolute
        error are logged in validation.
    metrics : tuple of str
        Names of its metrics, after its own name: those that validation always has.
    """

    built: Callable[[Parts], bool]
    count: Callable[[Batch], dict[str, Tensor]]
    total: Callable[[ModelOutput, Batch], dict[str, Tensor]]
    title: str
    points: Callable[[ModelOutput, Batch], tuple[Tensor, Tensor]] | None = None
    metrics: tuple[str, ...] = ()


# --- masked nucleotides --------------------------------------------------------------------------


def _nucleotide_count(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.masked_truth is None else {"": _number(len(batch.masked_truth), batch)}


def _nucleotide_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    logits_MV, truth = output.nucleotide, output.nucleotide_truth
    assert logits_MV is not None and truth is not None
    return {
        "": F.cross_entropy(logits_MV, truth, reduction="sum"),
        "accuracy": (logits_MV.argmax(-1) == truth).float().sum(),
    }


# --- masked abundances ---------------------------------------------------------------------------


def true_counts(batch: Batch) -> Tensor:
    """Scaled logarithms ``[M]`` of the masked relative abundances.

    Of the logarithm, as abundances are near log-normal (Preston 1948, Ecology 29: 254-283): squared
    errors of the shares themselves would be those of the few most abundant ASVs.
    """
    assert batch.count_row is not None and batch.count_column is not None
    share_BA = batch.counts / batch.counts.sum(1, keepdim=True).clamp_min(1e-12)
    return scaled_log(share_BA[batch.count_row, batch.count_column].clamp_min(1e-6).log())


def _count_weight(batch: Batch) -> Tensor:
    """``[K, M]``; ``[1, M]``, of the mean of the members, where none holds samples out."""
    assert batch.count_row is not None
    if batch.weight is None:
        return torch.ones(1, len(batch.count_row), device=batch.counts.device)
    return batch.weight[:, batch.count_row]


def _count_count(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.count_row is None else {"": _count_weight(batch).sum()}


def _count_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    assert output.count is not None
    error_KM = (output.count - true_counts(batch)).square()
    if batch.weight is None:
        error_KM = error_KM.mean(0, keepdim=True)
    return {"": (error_KM * _count_weight(batch)).sum()}


def _count_points(output: ModelOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the mean of the members that hold the sample out; in powers of ten."""
    assert output.count is not None
    weight_KM = _count_weight(batch).expand_as(output.count)
    scored = weight_KM.sum(0) > 0
    mean_M = (output.count * weight_KM).sum(0) / weight_KM.sum(0).clamp_min(1e-12)
    unit = LOG_SCALE / math.log(10)
    return true_counts(batch)[scored] * unit, mean_M[scored] * unit


# --- Faith's phylogenetic diversity --------------------------------------------------------------


def _faith_count(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.faith_pd is None else {"": _number(len(batch.faith_pd), batch)}


def _faith_points(output: ModelOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    assert output.faith_pd is not None and batch.faith_pd is not None
    # A placeholder has a row of output, and no value.
    return batch.faith_pd, output.faith_pd[: len(batch.faith_pd)]


def _faith_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    truth_B, predicted_B = _faith_points(output, batch)
    return {"": ((predicted_B - truth_B) / batch.faith_unit).square().sum()}


# --- taxonomy ------------------------------------------------------------------------------------


def _taxonomy_count(batch: Batch) -> dict[str, Tensor]:
    if batch.taxa_truth is None:
        return {}
    known_R = (batch.taxa_truth >= 0).sum(0).float()
    return {"": known_R.sum(), **dict(zip(batch.taxa_ranks, known_R, strict=True))}


def _taxonomy_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy at each rank that is known, and how many are right."""
    logits, truth_MR = output.taxonomy, batch.taxa_truth
    assert logits is not None and truth_MR is not None
    losses, right = [], {}
    for column, name in enumerate(batch.taxa_ranks):
        start, end = batch.taxa_starts[column : column + 2]
        rank_MC, truth_M = logits[:, start:end], truth_MR[:, column]
        losses.append(F.cross_entropy(rank_MC, truth_M, reduction="sum", ignore_index=-1))
        right[f"{name}_accuracy"] = (rank_MC.argmax(-1) == truth_M).float().sum()
    everything = torch.stack(list(right.values())).sum()
    return {"": torch.stack(losses).sum(), "accuracy": everything, **right}


# --- metadata columns of many studies -----------------------------------------------------------


def _column_weight(batch: Batch) -> Tensor:
    """``[B, M]``: each sample counts 1, shared by the columns that it has a value of."""
    assert batch.columns is not None
    known_BM = batch.columns.isfinite().float()
    return known_BM / known_BM.sum(1, keepdim=True).clamp_min(1.0)


def _columns_count(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.columns is None else {"": _column_weight(batch).sum()}


def _columns_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    """Huber's loss (1964, Ann. Math. Stat. 35: 73-101) of numbers, cross-entropy of classes.

    Both are divided by what a prediction of the mean, or of equal probabilities, has about.
    """
    assert output.columns is not None and batch.columns is not None
    weight_BM = _column_weight(batch)
    truth_BM = torch.where(weight_BM > 0, batch.columns, 0.0)
    sizes = torch.tensor(batch.column_sizes, device=truth_BM.device)
    starts, number = sizes.cumsum(0) - sizes, sizes == 1
    # Of numbers the one output, of classes that of the true one.
    place_BM = starts + torch.where(number, 0.0, truth_BM).long()
    output_KBC = output.columns
    own_KBM = output_KBC.gather(2, place_BM.expand(len(output_KBC), -1, -1))
    huber_KBM = 2 * F.smooth_l1_loss(own_KBM, truth_BM.expand_as(own_KBM), reduction="none")
    # The logarithm of a column's sum of exponentials, each less the greatest of the column.
    column_C = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    column_KBC = column_C.expand_as(output_KBC)
    lowest_KBM = torch.full_like(own_KBM, float("-inf"))
    most_KBM = lowest_KBM.scatter_reduce(2, column_KBC, output_KBC.detach(), "amax")
    apart_KBC = output_KBC - most_KBM.gather(2, column_KBC)
    sums_KBM = torch.zeros_like(own_KBM).index_add(2, column_C, apart_KBC.exp())
    entropy_KBM = sums_KBM.log() + most_KBM - own_KBM
    entropy_KBM = entropy_KBM / sizes.clamp_min(2).float().log()
    each_KBM = torch.where(number, huber_KBM, entropy_KBM)
    return {"": (each_KBM.mean(0) * weight_BM).sum()}


# --- hidden ASVs ---------------------------------------------------------------------------------


def _presence_count(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.query_row is None else {"": _number(len(batch.query_row), batch)}


def _presence_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy of the presence, and Huber's loss of the abundance of those that are there."""
    assert output.presence is not None and batch.query_truth is not None
    logit_KM, log_KM = output.presence.unbind(-1)
    there_M = batch.query_truth > 0
    wanted_KM = there_M.float().expand_as(logit_KM)
    entropy_KM = F.binary_cross_entropy_with_logits(logit_KM, wanted_KM, reduction="none")
    truth_M = scaled_log(batch.query_truth.clamp_min(1e-6).log())
    error_KM = F.smooth_l1_loss(log_KM, truth_M.expand_as(log_KM), reduction="none") * there_M
    right_KM = (logit_KM > 0) == there_M
    return {
        "": (entropy_KM / math.log(2) + error_KM).mean(0).sum(),
        "accuracy": right_KM.float().mean(0).sum(),
    }


# --- halves of samples ---------------------------------------------------------------------------


def _pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """``[B, G]`` bool: the other halves of the study's samples; the one of the same sample."""
    study_G, index_G = batch.global_study, batch.global_index
    assert study_G is not None and index_G is not None
    second_G = torch.cat([torch.arange(n) >= n // 2 for n in batch.rank_sizes]).to(study_G.device)
    own = slice(batch.offset, batch.offset + batch.num_samples)
    other_BG = (study_G[own, None] == study_G) & (second_G[own, None] != second_G)
    return other_BG, other_BG & (index_G[own, None] == index_G)


def _halves_count(batch: Batch) -> dict[str, Tensor]:
    """Halves that another sample of the study could be taken for."""
    if batch.global_study is None:
        return {}
    return {"": (_pairs(batch)[0].sum(1) > 1).float().sum()}


def _halves_total(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
    """InfoNCE (van den Oord et al. 2018, arXiv:1807.03748): the other half among the study's.

    Of cosines of sample vectors less the mean of their study in the batch, so that the study is no
    part of what is told apart.
    """
    assert output.halves is not None and batch.global_study is not None
    other_BG, same_BG = _pairs(batch)
    scored_B = (other_BG.sum(1) > 1).float()
    study_G = batch.global_study
    of_study_GG = (study_G[:, None] == study_G).float()
    of_study_GG = of_study_GG / of_study_GG.sum(1, keepdim=True)
    vectors_KGD = output.halves.float()
    unit_KGD = F.normalize(vectors_KGD - of_study_GG @ vectors_KGD, dim=-1)
    own_KBD = unit_KGD[:, batch.offset : batch.offset + batch.num_samples]
    logits_KBG = own_KBD @ unit_KGD.transpose(1, 2) / batch.temperature
    logits_KBG = logits_KBG.masked_fill(~other_BG, torch.finfo(torch.float32).min)
    entropy_KB = -(logits_KBG.log_softmax(-1) * same_BG).sum(-1)
    right_KB = (logits_KBG.argmax(-1) == same_BG.float().argmax(-1)).float()
    return {
        "": (entropy_KB.mean(0) * scored_B).sum(),
        "accuracy": (right_KB.mean(0) * scored_B).sum(),
    }


def _number(value: float, batch: Batch) -> Tensor:
    return torch.full((), float(value), device=batch.counts.device)


AUXILIARY: dict[str, Auxiliary] = {
    "nucleotide": Auxiliary(
        built=lambda parts: parts.nucleotide,
        count=_nucleotide_count,
        total=_nucleotide_total,
        title="nucleotides",
        metrics=("accuracy",),
    ),
    "count": Auxiliary(
        built=lambda parts: parts.count,
        count=_count_count,
        total=_count_total,
        title="counts",
        points=_count_points,
        metrics=("r2", "mae"),
    ),
    "faith_pd": Auxiliary(
        built=lambda parts: parts.faith_pd,
        count=_faith_count,
        total=_faith_total,
        title="faith_pd",
        points=_faith_points,
        metrics=("r2", "mae"),
    ),
    "taxonomy": Auxiliary(
        built=lambda parts: bool(parts.ranks),
        count=_taxonomy_count,
        total=_taxonomy_total,
        title="taxonomy",
        metrics=("accuracy",),
    ),
    "columns": Auxiliary(
        built=lambda parts: bool(parts.columns),
        count=_columns_count,
        total=_columns_total,
        title="columns",
    ),
    "presence": Auxiliary(
        built=lambda parts: parts.presence,
        count=_presence_count,
        total=_presence_total,
        title="presence",
        metrics=("accuracy",),
    ),
    "halves": Auxiliary(
        built=lambda parts: parts.halves,
        count=_halves_count,
        total=_halves_total,
        title="halves",
        metrics=("accuracy",),
    ),
}
"""Name of the part -> how it is learned. The name is that of its output in `ModelOutput`, of its
weight (``loss.NAME``) and of its lines in the logs (``NAME_loss``)."""

PARTS = ("nucleotide", "distance", *(name for name in AUXILIARY if name != "nucleotide"), "target")
"""Whatever may be minimized, in the order of the logs."""


def metric_names(parts: Parts, ranks: Iterable[str] = ()) -> set[str]:
    """Names of the losses and metrics that a network's validation has, but for the task's own.

    Parameters
    ----------
    parts : Parts
    ranks : iterable of str
        Of the taxonomy.
    """
    built = {name for name, part in AUXILIARY.items() if part.built(parts)}
    names = {f"{name}_{metric}" for name in built for metric in AUXILIARY[name].metrics}
    names |= {f"taxonomy_{rank}_accuracy" for rank in ranks}
    if parts.distance:
        built.add("distance")
        names |= {"distance_r2", "distance_mae"}
    if parts.outputs:
        built.add("target")
    return names | {f"{name}_{kind}" for name in built for kind in ("loss", "loss_weighted")}


def auxiliary_metrics(values: dict[str, float]) -> dict[str, dict[str, float]]:
    """What ``metrics.json`` has of a validation's losses, and of the metrics of each part.

    Parameters
    ----------
    values : dict
        Losses and metrics by their names in the logs, without side.

    Returns
    -------
    dict
        ``losses`` by part, and for each part, under its title, its own metrics.
    """
    losses = {
        name: values[f"{name}_loss"] for name in ("total", *PARTS) if f"{name}_loss" in values
    }
    metrics = {"losses": losses}
    for name, part in AUXILIARY.items():
        # With a slash they are of one of several targets, which may be called so.
        own = (it for it in values if it.startswith(f"{name}_") and "/" not in it)
        names = [it for it in own if "_loss" not in it]
        if names:
            metrics[part.title] = {it.removeprefix(f"{name}_"): values[it] for it in names}
    return metrics
