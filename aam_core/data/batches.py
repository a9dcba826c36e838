"""Batch: the distinct ASVs of some samples, and where each sample has them.

A batch is made in three steps, so that pairs of samples can be compared across processes: each rank
draws the reads of its samples (`Batcher.draw`), the ranks exchange what the others need of that
(`Batcher.share`), and each rank makes its tensors (`Batcher.assemble`).

Letters: B samples of this rank, A ASVs of a sample (padded to the batch's longest), U distinct ASVs
in the batch, L bases (+1 START), E size of an ASV's vector, K members of the ensemble, F features
of the study, N samples of the study, G samples of the batch over all ranks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import DataConfig
from aam_core.data import rarefaction
from aam_core.data.rarefaction import EVALUATION
from aam_core.data.study import Study
from aam_core.data.taxonomy import Taxa

__all__ = ["EVALUATION", "Batch", "Batcher", "Draw", "SharedDraw"]


@dataclass(repr=False)
class Batch:
    """Tensors of one batch.

    Attributes
    ----------
    sample_index : Tensor
        ``[B]`` int64, positions in the study.
    feature_index : Tensor
        ``[U]`` int64, positions of the distinct ASVs in the study.
    asv_index : Tensor
        ``[B, A]`` int64 into U; 0 where padded.
    asv_mask : Tensor
        ``[B, A]`` bool, true where an ASV is real.
    counts : Tensor
        ``[B, A]`` float32 reads; 0 where padded.
    asv_tokens : Tensor or None
        ``[U, L + 1]`` uint8.
    asv_vectors : Tensor or None
        ``[U, E]``, instead of tokens where the encoder is frozen or fixed.
    ragged : bool
        Whether any token is PAD.
    offset : int
        Position of this rank's first sample among the G of all ranks.
    rank_sizes : tuple of int
        How many of the G each rank has.
    global_index : Tensor or None
        ``[G]`` int64, positions in the study of the samples of all ranks.
    table : Tensor or None
        ``[G, F']`` float32 reads of the whole (rarefied) samples, before ``max_asvs``: what the
        distances are computed from.
    table_features : Tensor or None
        ``[F']`` int64, places of that table's features among the tips of the phylogeny, or in the
        study where it has none.
    distance : Tensor or None
        ``[B, G]`` distances from the study's own matrix.
    target : Tensor or None
        ``[B]`` float32 standardized values or int64 classes.
    weight : Tensor or None
        ``[K, B]`` float32, weight of each member's prediction of each sample: in training 0 where
        the member holds the sample out, in evaluation 0 where it was trained on it.
    sample_weight : Tensor or None
        ``[B]`` float32, what each sample counts in the loss of the target.
    categories, numeric : Tensor or None
        Covariates, ``[B, C]`` int64 and ``[B, K, 2]`` float32, as from `Covariates.encode`.
    key : Tensor or None
        0-d int64, of the seed and the step: what every random draw of the network is keyed by.
        None where nothing is drawn.
    masked_tokens : Tensor or None
        ``[R, L + 1]`` uint8, corrupted copies of some distinct ASVs; see `models.masking`.
    masked_index : Tensor or None
        ``[R]`` int64, their positions in the study.
    masked_row, masked_column, masked_truth : Tensor or None
        ``[M]`` int64: row and column in ``masked_tokens`` of each hidden base, and its token.
    count_row, count_column : Tensor or None
        ``[M]`` int64: sample, and place among its ASVs, of each abundance that is hidden and
        predicted; see `models.masking.mask_counts`. ``counts`` still has it.
    faith_pd, faith_unit : Tensor or None
        ``[num_samples]`` Faith's phylogenetic diversity of this rank's samples, and (0-d) what its
        errors are measured in.
    taxa_row, taxa_truth : Tensor or None
        ``[M]`` int64 positions among the distinct ASVs, and ``[M, R]`` their classes at each rank
        (-1 where unknown): each ASV of a step is in one batch of it.
    taxa_ranks, taxa_starts : tuple
        Names of the R ranks, and where the classes of each begin (and end) among those of all.
    columns : Tensor or None
        ``[B, M]`` float32 metadata columns of many studies: numbers, or the class; NaN where a
        sample has no value.
    column_sizes : tuple of int
        Classes of each of the M columns; 1 for numbers.
    query_row : Tensor or None
        ``[M]`` int64: sample of each query, an ASV that is hidden from it or that it does not have;
        see `models.masking.hide`.
    query_asv : Tensor or None
        ``[M]`` int64 into U, the ASV.
    query_truth : Tensor or None
        ``[M]`` its share of the reads of the sample; 0 where the sample does not have it.
    global_study : Tensor or None
        ``[G]`` int64 study of each sample of all ranks, where samples are read as two halves: of
        each rank the first halves of all its samples, then the second ones.
    temperature : float
        What cosines between halves are divided by.
    placeholder : bool
        Whether the samples only keep this rank in step: a rank without a sample of this batch runs
        the same collectives as the others, on samples of weight 0.
    """

    sample_index: Tensor
    feature_index: Tensor
    asv_index: Tensor
    asv_mask: Tensor
    counts: Tensor
    asv_tokens: Tensor | None = None
    asv_vectors: Tensor | None = None
    ragged: bool = True
    offset: int = 0
    rank_sizes: tuple[int, ...] = ()
    global_index: Tensor | None = None
    table: Tensor | None = None
    table_features: Tensor | None = None
    distance: Tensor | None = None
    target: Tensor | None = None
    weight: Tensor | None = None
    sample_weight: Tensor | None = None
    categories: Tensor | None = None
    numeric: Tensor | None = None
    key: Tensor | None = None
    masked_tokens: Tensor | None = None
    masked_index: Tensor | None = None
    masked_row: Tensor | None = None
    masked_column: Tensor | None = None
    masked_truth: Tensor | None = None
    count_row: Tensor | None = None
    count_column: Tensor | None = None
    faith_pd: Tensor | None = None
    faith_unit: Tensor | None = None
    taxa_row: Tensor | None = None
    taxa_truth: Tensor | None = None
    taxa_ranks: tuple[str, ...] = ()
    taxa_starts: tuple[int, ...] = ()
    columns: Tensor | None = None
    column_sizes: tuple[int, ...] = ()
    query_row: Tensor | None = None
    query_asv: Tensor | None = None
    query_truth: Tensor | None = None
    global_study: Tensor | None = None
    temperature: float = 1.0
    placeholder: bool = False

    @property
    def num_samples(self) -> int:
        """Samples of this rank; 0 of a placeholder."""
        return 0 if self.placeholder else len(self.sample_index)

    def to(self, device) -> Batch:
        """Copy with every tensor on ``device``."""
        cuda = torch.device(device).type == "cuda"
        moved = {
            name: _pinned(value, cuda).to(device, non_blocking=True)
            for name, value in self._tensors().items()
        }
        return dataclasses.replace(self, **moved)

    def __repr__(self) -> str:
        """Shape and type of each tensor, not its values."""
        shapes = (
            f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            for name, value in self._tensors().items()
        )
        return f"Batch({', '.join(shapes)})"

    def _tensors(self) -> dict[str, Tensor]:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass
class Draw:
    """Reads drawn for the samples of one rank, before they are tensors.

    Attributes
    ----------
    samples : ndarray
        ``[B]`` positions in the study.
    reads : list of (ndarray, ndarray)
        Features and reads of each sample, all of them.
    selected : list of ndarray
        Positions in these of the ASVs that the model reads (``max_asvs`` at most).
    features : ndarray
        ``[U]`` distinct features that the model reads, ascending.
    place : ndarray
        Place in ``features`` of each selected one, sample after sample.
    epoch : int
        Of training, or `EVALUATION`.
    placeholder : bool
        As in `Batch`.
    """

    samples: np.ndarray
    reads: list[tuple[np.ndarray, np.ndarray]]
    selected: list[np.ndarray]
    features: np.ndarray
    place: np.ndarray
    epoch: int = EVALUATION
    placeholder: bool = False

    def with_features(self, features: np.ndarray) -> Draw:
        """With these among the distinct features, after those that are read."""
        more = np.setdiff1d(features, self.features)
        return dataclasses.replace(self, features=np.concatenate([self.features, more]))


@dataclass
class SharedDraw:
    """What the other ranks must know of a draw; empty for a placeholder.

    Attributes
    ----------
    samples, features : ndarray
        As in `Draw`.
    lengths, tips, counts : ndarray
        For distances computed from reads: how many features each sample has, their places among
        the tips of the phylogeny (or in the study, without one), and their reads, sample after
        sample. Else empty.
    """

    samples: np.ndarray
    features: np.ndarray
    lengths: np.ndarray
    tips: np.ndarray
    counts: np.ndarray


class Batcher:
    """Makes the batches of a study.

    Parameters
    ----------
    study : Study
        Aligned inputs.
    config : DataConfig
        Rarefaction, selection of ASVs, sequence lengths.
    seed : int
        Key of every draw.
    distances : bool
        Whether batches carry what distances are computed from.
    diversity : bool
        Whether batches carry the reads of whole samples, which Faith's diversity is computed from.
    taxa : Taxa, optional
        Taxonomy of the features, if it is learned.
    target : ndarray, optional
        ``[N]`` encoded target.
    covariates : tuple of ndarray, optional
        ``[N, C]`` int64 and ``[N, K, 2]`` float32.
    asv_vectors : Tensor, optional
        ``[F, E]`` vectors of a frozen or fixed encoder, used instead of tokens.
    held_out : ndarray, optional
        ``[K, N]`` bool, the samples that each member holds out of its training.
    sample_weight : ndarray, optional
        ``[N]`` float32, what each sample counts in the loss of the target.
    columns : tuple, optional
        ``[N, M]`` metadata columns of many studies, and their M sizes; see `Batch`.
    source : ndarray, optional
        ``[N]`` which of many studies each sample is of.
    """

    def __init__(
        self,
        study: Study,
        config: DataConfig,
        seed: int,
        *,
        distances: bool = False,
        diversity: bool = False,
        taxa: Taxa | None = None,
        target: np.ndarray | None = None,
        covariates: tuple[np.ndarray, np.ndarray] | None = None,
        asv_vectors: Tensor | None = None,
        held_out: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        columns: tuple[np.ndarray, tuple[int, ...]] | None = None,
        source: np.ndarray | None = None,
    ):
        self.study = study
        self.config = config
        self.seed = seed
        self.distances = distances
        self.diversity = diversity
        self.taxa = taxa
        self.target = target
        self.covariates = covariates
        self.asv_vectors = asv_vectors
        self.held_out = held_out
        self.sample_weight = sample_weight
        self.columns = columns
        self.source = source
        self._tips = _tip_of_features(study) if distances or diversity else None
        self.tokens = study.tokens(config) if asv_vectors is None else None
        # Reads are drawn in the order of the sequences, whatever the table's: the same sample gets
        # the same reads in any table.
        sequences = np.array(study.required_sequences(), object)
        self._order = np.empty(len(sequences), np.int64)
        self._order[np.argsort(sequences, kind="stable")] = np.arange(len(sequences))

    @functools.cached_property
    def richness(self) -> np.ndarray:
        """``[N]`` most ASVs that the model may read of each sample of the study."""
        # Before rarefaction, hence an upper bound: the sampler's budget holds whatever is drawn.
        return np.minimum(np.diff(self.study.counts.indptr), self.config.max_asvs)

    def reads(self, sample: int, epoch: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Features ``[A]`` and reads ``[A]`` of one sample, drawn for this epoch."""
        table = self.study.counts
        span = slice(table.indptr[sample], table.indptr[sample + 1])
        features, counts = table.indices[span], table.data[span]
        epoch = rarefaction.draw_epoch(self.config, epoch)
        # EVALUATION is -1, and NumPy refuses negative keys.
        rng = rarefaction.sample_rng(self.seed, self.study.sample_ids[sample], epoch + 1)
        depth = rarefaction.draw_depth(self.config, None if epoch == EVALUATION else rng)
        if counts.sum() > depth:
            order = np.argsort(self._order[features])
            drawn = np.empty_like(counts)
            drawn[order] = rarefaction.rarefy(counts[order], depth, rng)
            counts = drawn
            # ASVs without a drawn read would take places of `max_asvs`, and padding.
            present = counts > 0
            features, counts = features[present], counts[present]
        # The same generator then selects the ASVs: one key for all draws of a sample.
        return features, counts, rng

    def halves(self, samples: np.ndarray, epoch: int) -> list[tuple]:
        """As of `reads`: of the first halves of all samples, then of the second ones."""
        parts: tuple[list[tuple], list[tuple]] = ([], [])
        for sample in samples:
            features, counts, rng = self.reads(sample, epoch)
            for part, reads in zip(parts, rarefaction.halves(counts, rng), strict=True):
                part.append((features[reads > 0], reads[reads > 0], rng))
        return [*parts[0], *parts[1]]

    def draw(
        self,
        samples: np.ndarray,
        epoch: int = EVALUATION,
        placeholder: bool = False,
        halves: bool = False,
    ) -> Draw:
        """Draw the reads of these samples (positions in the study) in this epoch.

        With ``halves`` each sample is there twice: see `Batch`.
        """
        if halves:
            drawn = self.halves(samples, epoch)
            samples = np.concatenate([samples, samples])
        else:
            drawn = [self.reads(sample, epoch) for sample in samples]
        selected = [self._select(*part) for part in drawn]
        flat = np.concatenate(
            [features[part] for (features, _, _), part in zip(drawn, selected, strict=True)]
        )
        features, place = np.unique(flat, return_inverse=True)
        reads = [(features, counts) for features, counts, _ in drawn]
        samples = np.asarray(samples, np.int64)
        features = features.astype(np.int64)
        return Draw(samples, reads, selected, features, place.reshape(-1), epoch, placeholder)

    def share(self, draw: Draw, features: bool = True) -> SharedDraw:
        """What the other ranks must know of a draw; its distinct features only where needed."""
        none = np.empty(0, np.int32)
        if draw.placeholder:
            # Other ranks must count neither the samples of a placeholder nor their reads.
            return SharedDraw(np.empty(0, np.int64), none, none, none, none)
        # int32: half of the bytes of int64 to exchange between ranks.
        distinct = draw.features.astype(np.int32) if features else none
        if not self._shares_reads:
            # Every rank has the matrix of the study: positions of the samples are enough.
            return SharedDraw(draw.samples, distinct, none, none, none)
        # All drawn reads, not only the `max_asvs` that the model reads (a test).
        on_tips = [self._on_tips(*part) for part in draw.reads]
        return SharedDraw(
            draw.samples,
            distinct,
            np.array([len(features) for features, _ in on_tips], np.int32),
            np.concatenate([features for features, _ in on_tips]).astype(np.int32),
            np.concatenate([counts for _, counts in on_tips]).astype(np.int32),
        )

    def batch(self, samples: np.ndarray, epoch: int = EVALUATION) -> Batch:
        """Make the batch of these samples (positions in the study) in this epoch."""
        draw = self.draw(samples, epoch)
        return self.assemble(draw, [self.share(draw)])

    def assemble(self, draw: Draw, shared: Sequence[SharedDraw], rank: int = 0) -> Batch:
        """Make one rank's part of a batch.

        Parameters
        ----------
        draw : Draw
            Of this rank.
        shared : sequence of SharedDraw
            Of every rank, in their order.
        rank : int
            This rank.
        """
        lengths = np.array([len(part) for part in draw.selected])
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        index = np.zeros(mask.shape, np.int64)
        index[mask] = draw.place
        counts = np.zeros(mask.shape, np.float32)
        counts[mask] = np.concatenate(
            [reads[part] for (_, reads), part in zip(draw.reads, draw.selected, strict=True)]
        )
        sizes = tuple(len(part.samples) for part in shared)
        batch = Batch(
            sample_index=torch.from_numpy(draw.samples),
            feature_index=torch.from_numpy(draw.features),
            asv_index=torch.from_numpy(index),
            asv_mask=torch.from_numpy(mask),
            counts=torch.from_numpy(counts),
            offset=sum(sizes[:rank]),
            rank_sizes=sizes,
            global_index=torch.from_numpy(np.concatenate([part.samples for part in shared])),
            placeholder=draw.placeholder,
        )
        self._add_asvs(batch, draw.features)
        if self.distances and self.study.distances is not None:
            rows = batch.sample_index.numpy()
            columns = np.concatenate([part.samples for part in shared])
            batch.distance = torch.from_numpy(self.study.distances[np.ix_(rows, columns)])
        if self._shares_reads:
            self._add_reads(batch, shared)
        if self.target is not None:
            batch.target = torch.from_numpy(self.target[draw.samples])
        if self.held_out is not None:
            held_out = self.held_out[:, draw.samples]
            weight = held_out if draw.epoch == EVALUATION else ~held_out
            batch.weight = torch.from_numpy(weight.astype(np.float32))
        if self.sample_weight is not None:
            batch.sample_weight = torch.from_numpy(self.sample_weight[draw.samples])
        if self.columns is not None:
            values, batch.column_sizes = self.columns
            batch.columns = torch.from_numpy(values[draw.samples])
        if self.covariates is not None:
            categories, numeric = self.covariates
            batch.categories = torch.from_numpy(categories[draw.samples])
            batch.numeric = torch.from_numpy(numeric[draw.samples])
        return batch

    def _select(self, features, counts, rng) -> np.ndarray:
        """Positions of the ASVs that the model reads; the same in any order of the table."""
        if len(features) <= self.config.max_asvs or self.config.asv_selection == "first":
            return rarefaction.select(counts, self.config, rng)
        order = np.argsort(self._order[features])
        return np.sort(order[rarefaction.select(counts[order], self.config, rng)])

    def _on_tips(self, features, counts):
        """Tips and reads of the features that the phylogeny has (all, where there is none)."""
        if self._tips is None:
            return features, counts
        tips = self._tips[features]
        return tips[tips >= 0], counts[tips >= 0]

    def _add_asvs(self, batch, unique):
        if self.asv_vectors is not None:
            # Indexed on their own device: vectors of a frozen encoder may be on the GPU already.
            batch.asv_vectors = self.asv_vectors[batch.feature_index.to(self.asv_vectors.device)]
            return
        assert self.tokens is not None, "a batcher has tokens or vectors"
        tokens = self.tokens[unique]
        # Padding to the longest sequence of the study would be computed in every batch.
        longest = int((tokens != vocab.PAD).sum(1).max())
        tokens = np.ascontiguousarray(tokens[:, :longest])
        batch.asv_tokens = torch.from_numpy(tokens)
        batch.ragged = bool((tokens == vocab.PAD).any())

    @property
    def _shares_reads(self) -> bool:
        """Whether something is computed from the reads of whole samples."""
        return self.diversity or (self.distances and self.study.distances is None)

    def _add_reads(self, batch, shared):
        # Features of all ranks: distances go to the samples of the others as well.
        lengths = np.concatenate([part.lengths for part in shared])
        features, column = np.unique(
            np.concatenate([part.tips for part in shared]), return_inverse=True
        )
        table = np.zeros((len(lengths), len(features)), np.float32)
        row = np.repeat(np.arange(len(lengths)), lengths)
        table[row, column.reshape(-1)] = np.concatenate([part.counts for part in shared])
        batch.table = torch.from_numpy(table)
        batch.table_features = torch.from_numpy(features.astype(np.int64))


def _tip_of_features(study: Study) -> np.ndarray | None:
    """[F] place of each feature among the tips of the phylogeny, -1 where it has none."""
    if study.phylogeny is None:
        return None
    place = {name: i for i, name in enumerate(study.phylogeny.tip_ids)}
    return np.array([place.get(name, -1) for name in study.feature_ids], np.int64)


def _pinned(value: Tensor, cuda: bool) -> Tensor:
    """In pinned memory, which CUDA copies asynchronously, unless it is on a device already."""
    return value.pin_memory() if cuda and value.device.type == "cpu" else value
