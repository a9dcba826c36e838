"""Masked training: which bases of which ASVs are masked, which abundances, ASVs and taxa.

It is done on the host with the batch, keyed by the step and the ASV: the same ASVs and bases are
masked, however the samples of the step are divided among processes.

Letters: F features of the study, U distinct ASVs, R ASVs that are read masked, L bases (+1
START), M masked bases or abundances, or queries, B samples, A ASVs of a
sample, G samples of all ranks, Q queried ASVs of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import MaskingConfig
from aam_core.data.batches import Batch, Batcher, Draw
from aam_core.data.taxonomy import Taxa
from aam_core.errors import lookup
from aam_core.models.draws import CORRUPT, COUNTS, DIVIDE, HIDDEN, bernoulli, bits, mix

__all__ = [
    "STRATEGIES",
    "corrupt",
    "divide",
    "hide",
    "label",
    "mask",
    "mask_counts",
    "most_queries",
]

STRATEGIES: dict[str, Callable[[MaskingConfig], int]] = {
    "random": lambda config: 1,
    "span": lambda config: config.span_length,
}
"""Number of bases that are masked at a time, by the names of ``masking.strategy``."""


def divide(parts: Sequence[np.ndarray], fraction: float, key: int | Tensor) -> list[np.ndarray]:
    """Choose ASVs of a step and assign each to one of the parts that have it.

    Parameters
    ----------
    parts : sequence of ndarray
        Distinct features of each part of the step (its processes times its micro-steps); parts
        may share features, and may be empty.
    fraction : float
        Share of all distinct features to choose; at least one is.
    key : int or 0-d Tensor
        Of the step. The choice is the same however the features are divided into parts.

    Returns
    -------
    list of ndarray
        Positions in each part, ascending, of the ASVs assigned to it. ASVs that several parts have
        are assigned in turn.
    """
    flat = np.concatenate(parts)
    if not len(flat):
        return [np.zeros(0, np.int64) for _ in parts]
    features, which, holders = np.unique(flat, return_inverse=True, return_counts=True)
    keys = mix(mix(torch.as_tensor(key), DIVIDE), torch.from_numpy(features))
    draw = bits(keys, 0, 1)[:, 0].numpy()
    chosen = np.argsort(draw, kind="stable")[: max(1, round(fraction * len(features)))]
    # ASVs of equally many parts follow each other: taken in turn, they are dealt out evenly.
    chosen = chosen[np.argsort(holders[chosen], kind="stable")]
    turn = np.full(len(features), -1)
    turn[chosen] = np.arange(len(chosen)) % holders[chosen]
    # For each entry, the number of earlier parts that have the feature.
    before = np.empty(len(flat), np.int64)
    order = np.argsort(which, kind="stable")
    before[order] = np.arange(len(flat)) - (np.cumsum(holders) - holders)[which[order]]
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return [np.flatnonzero(part) for part in np.split(before == turn[which], ends)]


def mask(batch: Batch, rows: np.ndarray, config: MaskingConfig, key: int | Tensor) -> None:
    """Fill the ``masked_*`` fields of a batch, on the CPU.

    Parameters
    ----------
    rows : ndarray
        ``[R]``, positions among the batch's distinct ASVs, as `divide` gives them; may be empty.
    key : int or 0-d Tensor
        Of the step.
    """
    assert batch.asv_tokens is not None and batch.feature_index is not None
    rows_R = torch.from_numpy(rows)
    tokens_RL = batch.asv_tokens[rows_R]
    batch.masked_index = batch.feature_index[rows_R]
    batch.masked_tokens, chosen_RL = corrupt(tokens_RL, batch.masked_index, config, key)
    batch.masked_row, batch.masked_column = chosen_RL.nonzero(as_tuple=True)
    batch.masked_truth = tokens_RL[chosen_RL].long()


def corrupt(
    tokens_UL: Tensor, index_U: Tensor, config: MaskingConfig, key: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Mask some bases, as BERT does (Devlin et al. 2019, section 3.1).

    Of the chosen bases 80 % become MASK, 10 % another random base or the same, 10 % stay. Only
    A, C, G and T are chosen; START, PAD and ambiguous bases never are.

    Parameters
    ----------
    tokens_UL : Tensor
        ``[U, L + 1]`` uint8.
    index_U : Tensor
        ``[U]`` int64, identity of the ASVs: with the same key, an ASV of the same index is masked
        alike, whatever the other ASVs and the padding.
    config : MaskingConfig
        Ratio and strategy. Under ``span`` the expected ratio is the same, in runs.
    key : int or 0-d Tensor
        Of the step.

    Returns
    -------
    tuple of Tensor
        Corrupted tokens ``[U, L + 1]`` uint8, and the chosen positions ``[U, L + 1]`` bool.
    """
    keys_U = mix(mix(torch.as_tensor(key), CORRUPT), index_U)
    base = (tokens_UL >= vocab.A) & (tokens_UL <= vocab.T)
    columns = tokens_UL.shape[1]
    # A base is masked if any of the span positions up to it starts a run. Runs may start before
    # the sequence, so that its first bases are masked as often as the others.
    span = lookup(STRATEGIES, config.strategy, "masking strategy")(config)
    start = 1.0 - (1.0 - config.mask_ratio) ** (1.0 / span)
    starts = bernoulli(keys_U, 0, columns + span - 1, start)
    chosen = base & starts.unfold(1, span, 1).any(-1)
    kind = bits(keys_U, 1, columns) % 10
    other = (vocab.A + bits(keys_U, 2, columns) % len(vocab.BASES)).to(tokens_UL.dtype)
    changed = torch.where(kind < 8, vocab.MASK, torch.where(kind < 9, other, tokens_UL))
    return torch.where(chosen, changed, tokens_UL), chosen


def mask_counts(batch: Batch, config: MaskingConfig, key: int | Tensor) -> None:
    """Fill ``count_row`` and ``count_column`` of a batch, on the CPU: the abundances to predict.

    Each ASV of a sample is chosen with probability ``count_ratio``, by the sample and the ASV. A
    sample keeps an ASV that is read at least: where all would be chosen, none is.
    """
    keys_B = mix(mix(torch.as_tensor(key), COUNTS), batch.sample_index)
    keys_BA = mix(keys_B[:, None], batch.feature_index[batch.asv_index])
    chosen = batch.asv_mask & bernoulli(keys_BA, 0, 1, config.count_ratio)[..., 0]
    chosen &= (batch.asv_mask & ~chosen).any(1, keepdim=True)
    batch.count_row, batch.count_column = chosen.nonzero(as_tuple=True)


_QUERIES = 16
"""Hidden ASVs of a sample that are queried at most."""


@dataclass
class Queries:
    """ASVs that samples are asked for: hidden ones, and of samples that do not have them.

    Attributes
    ----------
    sample, feature : ndarray
        ``[M]`` int64 positions in the study.
    share : ndarray
        ``[M]`` float32 of the reads of the sample; 0 where it does not have the ASV.
    """

    sample: np.ndarray
    feature: np.ndarray
    share: np.ndarray

    @classmethod
    def joined(cls, parts: Iterable[Queries]) -> Queries:
        """All of some queries, in their order."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        names = ("sample", "feature", "share")
        columns = zip(*([getattr(it, n) for n in names] for it in (none, *parts)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def of(self, samples: np.ndarray) -> Queries:
        """Those of some samples."""
        own = np.isin(self.sample, samples)
        return Queries(self.sample[own], self.feature[own], self.share[own])


def choose_hidden(
    draw: Draw, samples: np.ndarray, batcher: Batcher, config: MaskingConfig, key: int
) -> tuple[list[np.ndarray], Queries]:
    """Choose ASVs to hide from the samples of a rank, and what samples are asked for.

    Of each sample ``presence_ratio`` of the ASVs that are read are hidden, but never all, by the
    sample and the key alone. Some of these are queried, each of its sample and of another sample of
    the same study in the micro-batch that does not have it: so neither the ASV, how common it is,
    nor the study tells the answer. One that all others of the study have is not queried. The other
    sample may be of another rank.

    Parameters
    ----------
    draw : Draw
        Of this rank.
    samples : ndarray
        ``[G]`` samples of all ranks in the micro-batch, in the same order on each.
    batcher : Batcher
        Its ``source`` tells the studies.
    key : int
        Of the step.

    Returns
    -------
    (list of ndarray, Queries)
        Positions, among the ASVs that are read of each sample, of those that are hidden; and the
        queries, none of a placeholder.
    """
    assert batcher.source is not None
    if draw.placeholder:
        return [np.zeros(0, np.int64) for _ in draw.samples], Queries.joined([])
    # All reads, also of ASVs beyond those that the model reads.
    has_GU = batcher.study.counts[samples][:, draw.features].toarray() > 0
    study_G = batcher.source[samples]
    hidden, parts = [], []
    ends = np.cumsum([len(selected) for selected in draw.selected])
    places = np.split(draw.place, ends[:-1])
    for row, sample in enumerate(draw.samples.tolist()):
        rng = np.random.default_rng((key, HIDDEN, sample))
        reads = draw.reads[row][1][draw.selected[row]].astype(np.float32)
        chosen = rng.choice(len(reads), _hidden(len(reads), config), replace=False)
        hidden.append(chosen)
        queried = chosen[:_QUERIES]
        feature_Q = places[row][queried]
        lacks_QG = ~has_GU[:, feature_Q].T & (study_G == batcher.source[sample])
        other_Q = np.where(lacks_QG, rng.random(lacks_QG.shape), -1.0).argmax(axis=1)
        partnered = lacks_QG.any(axis=1)
        features = draw.features[feature_Q[partnered]]
        own = reads[queried[partnered]] / reads.sum()
        parts.append(Queries(np.full(len(own), sample), features, own))
        parts.append(Queries(samples[other_Q[partnered]], features, np.zeros_like(own)))
    return hidden, Queries.joined(parts)


def hide(batch: Batch, hidden: Sequence[np.ndarray], queries: Queries) -> None:
    """Hide ASVs from their samples, and fill the ``query_*`` fields of a batch, on the CPU.

    Parameters
    ----------
    hidden : sequence of ndarray
        Of `choose_hidden`.
    queries : Queries
        Of the samples of the batch, whose distinct ASVs include those of the queries.
    """
    mask_BA = batch.asv_mask.numpy()  # a view: hiding changes the batch
    for row, places in enumerate(hidden):
        mask_BA[row, places] = False
    batch.query_row = _positions(queries.sample, batch.sample_index)
    batch.query_asv = _positions(queries.feature, batch.feature_index)
    batch.query_truth = torch.from_numpy(queries.share)


def _positions(values: np.ndarray, among: Tensor) -> Tensor:
    """First position of each value."""
    order = np.argsort(among.numpy(), kind="stable")
    return torch.from_numpy(order[np.searchsorted(among.numpy()[order], values)].astype(np.int64))


def most_queries(asvs: Sequence[int], config: MaskingConfig) -> int:
    """Queries of samples with as many ASVs, if another sample lacks each that is hidden."""
    return 2 * sum(min(_QUERIES, _hidden(count, config)) for count in asvs)


def _hidden(asvs: int, config: MaskingConfig) -> int:
    """ASVs that are hidden from a sample: never all."""
    return min(max(1, round(config.presence_ratio * asvs)), asvs - 1)


def label(batch: Batch, taxa: Taxa, rows: np.ndarray, scored: np.ndarray | None = None) -> None:
    """Fill the ``taxa_*`` fields of a batch, on the CPU: the ASVs whose taxa are predicted.

    Parameters
    ----------
    rows : ndarray
        Positions among the batch's distinct ASVs, as `divide` gives them; may be empty.
    scored : ndarray, optional
        ``[F]`` bool, in validation: the features that were scored already. Only those that no
        training sample has are scored.
    """
    features = batch.feature_index.numpy()[rows]
    read = (taxa.labels[features] >= 0).any(1)
    if scored is not None:
        read &= taxa.new[features] & ~scored[features]
    batch.taxa_row = torch.from_numpy(rows[read])
    batch.taxa_truth = torch.from_numpy(taxa.labels[features[read]])
    batch.taxa_ranks = taxa.ranks
    batch.taxa_starts = tuple(np.cumsum([0, *taxa.sizes]).tolist())
