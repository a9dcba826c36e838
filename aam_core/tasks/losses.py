"""(output, batch) -> sums and counts, so that a mean is right over processes and micro-steps.

The counts are known before the forward pass: each loss is divided by the count of all processes and
micro-steps together.

Letters: B samples of this process, G samples of all processes, M hidden bases, T outputs, K
members.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aam_core.config import LossConfig
from aam_core.data.batches import Batch
from aam_core.data.metadata import positive_numbers
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.models.network import ModelOutput
from aam_core.phylogeny.distances import distance_matrix, faith_pd
from aam_core.phylogeny.tree import Phylogeny
from aam_core.tasks.auxiliary import AUXILIARY, PARTS
from aam_core.tasks.targets import Targets
from aam_core.tasks.task import Task

__all__ = [
    "LOSSES",
    "OF_TARGET",
    "counts",
    "distance_total",
    "loss_named",
    "pair_weights",
    "sample_weights",
    "totals",
    "true_distance",
    "true_diversity",
    "weighted",
]


def sample_weights(study: Study, ids: Iterable[str], config: LossConfig) -> np.ndarray | None:
    """``loss.sample_weight`` by position in the study, float32; None without such a column.

    Parameters
    ----------
    ids : iterable of str
        Samples whose weights are read; those of the others are 1.

    Raises
    ------
    InputError
        If one is blank, or no number above 0.
    """
    if not config.sample_weight:
        return None
    ids = list(ids)
    weights = np.ones(len(study.sample_ids), np.float32)
    place = {name: i for i, name in enumerate(study.sample_ids)}
    rows = [place[name] for name in ids]
    weights[rows] = positive_numbers(study.metadata, config.sample_weight.strip(), ids)
    return weights


def true_distance(batch: Batch, phylogeny: Phylogeny | None, config: LossConfig) -> Tensor:
    """Distances ``[B, G]``: the study's own, or computed from the reads on the batch's device."""
    if batch.distance is not None:
        return batch.distance[: batch.num_samples]
    rows = slice(batch.offset, batch.offset + batch.num_samples)
    return distance_matrix(
        batch.table, batch.table_features, phylogeny, config.metric, config.alpha, rows
    )


def true_diversity(batch: Batch, phylogeny: Phylogeny | None) -> Tensor:
    """Faith's phylogenetic diversity ``[num_samples]``, of the reads, on the batch's device."""
    assert phylogeny is not None, "`plan_pretraining` asks for one"
    assert batch.table is not None and batch.table_features is not None
    rows = slice(batch.offset, batch.offset + batch.num_samples)
    return faith_pd(batch.table[rows], batch.table_features, phylogeny)


def pair_weights(truth_BG: Tensor, first: int, config: LossConfig) -> Tensor:
    """``[B, G]``: what a pair of samples counts; each pair has one place where it is not 0.

    Pairs whose true distance is zero weigh ``zero_pair_weight``.
    """
    weight = torch.where(truth_BG == 0, config.zero_pair_weight, 1.0)
    # Row i is sample first + i of the whole batch: each pair is counted by one rank alone.
    return weight.triu(diagonal=first + 1)


OF_TARGET = "of "
"""Before the name of one of several targets, in the sums and counts of losses."""


def counts(
    batch: Batch,
    pairs_BG: Tensor | None,
    class_weight: Tensor | None,
    task: Task | Targets | None = None,
) -> dict[str, Tensor]:
    """What the sum of each loss is to be divided by: the part of this batch.

    Parameters
    ----------
    pairs_BG : Tensor or None
        Of `pair_weights`; None without distances.
    class_weight : Tensor or None
        ``[T]`` weights of the classes.
    task : Task or Targets, optional
        Of several targets, each is counted by itself, too.
    """
    sums = {}
    for name, part in AUXILIARY.items():
        for key, count in part.count(batch).items():
            sums[f"{name}_{key}" if key else name] = count
    if pairs_BG is not None:
        sums["distance"] = pairs_BG.sum()
    if batch.target is not None:
        weight_KB = _target_weight(batch, class_weight)
        sums["target"] = weight_KB.sum()
        if isinstance(task, Targets):
            for name, known_B in task.known_by_target(batch.target).items():
                sums[OF_TARGET + name] = (weight_KB * known_B).sum()
    return {name: count * (not batch.placeholder) for name, count in sums.items()}


def totals(
    output: ModelOutput,
    batch: Batch,
    config: LossConfig,
    task: Task | Targets | None = None,
    class_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Sums of all losses but the distances', and of what else is counted (correct nucleotides).

    Parameters
    ----------
    task : Task or None
        What the output for the target means; None where there is no such output.
    class_weight : Tensor or None
        ``[T]`` weights of the classes.
    """
    sums = {}
    for part_name, part in AUXILIARY.items():
        if getattr(output, part_name) is not None:
            for name, total in part.total(output, batch).items():
                sums[f"{part_name}_{name}" if name else part_name] = total
    if output.target is not None:
        assert task is not None
        each_KB = task.loss(output.target, batch.target, config)
        if batch.weight is None:
            # The mean, so that the loss does not grow with the number of members.
            each_KB = each_KB.mean(0, keepdim=True)
        weight_KB = _target_weight(batch, class_weight)
        sums["target"] = (each_KB * weight_KB).sum()
        if isinstance(task, Targets):
            sums |= _sums_of_each(task, output.target.detach(), batch, config, weight_KB)
    # Multiplied, not skipped: every parameter needs a gradient, which the other ranks wait for.
    return {name: total * (not batch.placeholder) for name, total in sums.items()}


def _sums_of_each(
    task: Targets, output_KBT: Tensor, batch: Batch, config: LossConfig, weight_KB: Tensor
) -> dict[str, Tensor]:
    """Sums of the losses of several targets, of which the one that is minimized is a mean."""
    assert batch.target is not None
    known = task.known_by_target(batch.target)
    sums = {}
    for (name, known_B), each_KB in zip(
        known.items(), task.losses(output_KBT, batch.target, config), strict=True
    ):
        if batch.weight is None:
            each_KB = each_KB.mean(0, keepdim=True)
        sums[OF_TARGET + name] = (each_KB * weight_KB * known_B).sum()
    return sums


def distance_total(predicted_BG: Tensor, truth_BG: Tensor, pairs_BG: Tensor) -> Tensor:
    """Sum of the squared errors of pairs of samples, weighed by `pair_weights`."""
    return ((predicted_BG - truth_BG).square() * pairs_BG).sum()


def _huber(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    error_KB = _error(output_KBT, truth_B)
    zero = torch.zeros_like(error_KB)
    return F.huber_loss(error_KB, zero, reduction="none", delta=config.huber_delta)


def _mse(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    return _error(output_KBT, truth_B).square()


def _mae(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    return _error(output_KBT, truth_B).abs()


def _quantile(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    """Mean pinball loss of the quantiles (Koenker and Bassett 1978, Econometrica 46:33), twice.

    Twice, so that of the median alone it is the absolute error.
    """
    levels_T = torch.tensor(config.levels, device=output_KBT.device)
    missed_KBT = truth_B[..., None] - output_KBT
    return 2 * torch.maximum(levels_T * missed_KBT, (levels_T - 1) * missed_KBT).mean(-1)


def _asymmetric(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    """Absolute error with a weight a side (linlin: Granger 1969, Oper. Res. Q. 20:199)."""
    error_KB = _error(output_KBT, truth_B)
    return torch.where(error_KB > 0, config.over * error_KB, -config.under * error_KB)


def _error(output_KBT: Tensor, truth_B: Tensor) -> Tensor:
    return output_KBT[..., 0] - truth_B


def _cross_entropy(output_KBT: Tensor, truth_B: Tensor, config: LossConfig) -> Tensor:
    truth_KB = truth_B.expand(len(output_KBT), -1)
    logits_KTB = output_KBT.transpose(1, 2)
    smoothing = config.label_smoothing
    return F.cross_entropy(logits_KTB, truth_KB, reduction="none", label_smoothing=smoothing)


LOSSES: dict[str, Callable[[Tensor, Tensor, LossConfig], Tensor]] = {
    "huber": _huber,
    "mse": _mse,
    "mae": _mae,
    "quantile": _quantile,
    "asymmetric": _asymmetric,
    "cross_entropy": _cross_entropy,
    # Its outputs are log probabilities already, ordered by `models.network.LINKS`.
    "ordinal": _cross_entropy,
}
"""Losses of a target: output ``[K, B, T]`` and encoded truth ``[B]`` -> ``[K, B]``.

A further one is an entry here, a name in the ``losses`` of its task, and a choice of
``loss.target`` or ``loss.classes``.
"""


def loss_named(
    name: str, legal: Collection[str] = tuple(LOSSES)
) -> Callable[[Tensor, Tensor, LossConfig], Tensor]:
    """The loss of this name.

    Raises
    ------
    InputError
        If there is none among the ``legal`` ones.
    """
    if name not in legal:
        raise InputError(f"The loss must be one of {', '.join(legal)}, not {name!r}.")
    return LOSSES[name]


def _target_weight(batch: Batch, class_weight: Tensor | None) -> Tensor:
    """What each member's loss of each sample counts: ``[K, B]``; ``[1, B]``, of their mean."""
    weight = batch.weight
    assert batch.target is not None
    if weight is None:
        weight = torch.ones(1, len(batch.target), device=batch.counts.device)
    if batch.sample_weight is not None:
        weight = weight * batch.sample_weight
    return weight if class_weight is None else weight * class_weight[batch.target]


def weighted(
    sums: dict[str, Tensor], counts: dict[str, Tensor], config: LossConfig
) -> dict[str, Tensor]:
    """Each loss that is minimized: its mean times its penalty."""
    penalties = {name: getattr(config, name) for name in PARTS if name != "target"}
    penalties["target"] = config.target_weight
    return {
        # Without hidden bases or pairs of samples the count is 0: the loss is then 0, not NaN.
        name: sums[name] / counts[name].clamp_min(1e-12) * penalties[name]
        for name in PARTS
        if name in sums
    }
