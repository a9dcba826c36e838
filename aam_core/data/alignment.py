"""Inputs matched by id: samples and features that one of them lacks are dropped, and reported.

`Draft` is a study while it is aligned; the functions below match it with the metadata, the
sequences, the tree and the distances. Letters: N samples, F features.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.data import tokens
from aam_core.data.columns import missing_ids
from aam_core.data.distance_files import read_distances
from aam_core.data.ids import listing, nothing_in_common, short
from aam_core.data.metadata import column, from_frame, matches, read_metadata
from aam_core.data.readers import is_path, read_sequences, read_tree
from aam_core.errors import InputError
from aam_core.phylogeny.newick import Tree
from aam_core.phylogeny.tree import Phylogeny, find_tips

__all__ = [
    "Draft",
    "align_distances",
    "drop_missing",
    "find_sequences",
    "match_tree",
    "n_of",
    "percent",
    "place_features",
    "rows_of",
    "select_samples",
]


class Draft:
    """A study while it is aligned: samples and features are dropped, and the report grows.

    Parameters
    ----------
    samples, features : list of str
        N and F ids.
    counts : csr_matrix
        [N, F] int64 reads.
    max_lost_reads : float
        Largest share of all reads (0 to 1) that dropped features may take with them.
    """

    def __init__(
        self,
        samples: list[str],
        features: list[str],
        counts: csr_matrix,
        max_lost_reads: float,
    ):
        self.samples, self.features, self.counts = samples, features, counts
        # A sample dropped as empty is still in the table: `select_samples` must not call it absent.
        self.all_samples = samples
        self.max_lost_reads = max_lost_reads
        self.report: list[str] = []
        # Reads of each sample that went with its dropped features: losses to the sequences and to
        # the tree add up, and `max_lost_reads` limits their sum.
        self._lost = np.zeros(len(samples), dtype=np.int64)

    def keep_samples(self, keep: np.ndarray) -> None:
        """Drop the samples where ``keep`` [N] is false."""
        if not keep.all():
            self.samples = _where(self.samples, keep)
            self.counts, self._lost = self.counts[keep], self._lost[keep]

    def drop_empty_samples(self, why: str) -> None:
        """Drop samples without reads; ``why`` says how they came to have none.

        Raises
        ------
        InputError
            If none is left.
        """
        keep = self._reads() > 0
        if not keep.any():
            raise InputError(f"No sample is left: all {len(self.samples):,} {why}.")
        if not keep.all():
            names = _where(self.samples, ~keep)
            self.report.append(
                f"{n_of(len(names), len(self.samples), 'samples')} {why} and were dropped "
                f"({listing(names)})."
            )
            self.keep_samples(keep)

    def drop_empty_features(self) -> None:
        """Drop features that no sample has (any more)."""
        keep = np.bincount(self.counts.indices, minlength=len(self.features)) > 0
        if not keep.all():
            self.report.append(
                f"{n_of(int((~keep).sum()), len(keep), 'features')} have no reads in these samples "
                "and were dropped."
            )
            self._keep_features(keep)

    def keep_features(
        self, keep: np.ndarray, ids, place: str, advice: str, unless: str | None = None
    ) -> None:
        """Drop the features that ``place`` lacks, and report the reads that go with them.

        Parameters
        ----------
        keep : ndarray
            [F] bool, whether a feature is in ``place``.
        ids : iterable of str
            Ids in ``place``, for the message where none is shared.
        place, advice : str
            What the features are looked up in, and what to do where it lacks too many.
        unless : str, optional
            The features stay in the table, and this is what the report says of them.

        Raises
        ------
        InputError
            If no feature is in ``place``, or more than ``max_lost_reads`` would be lost.
        """
        if keep.all():
            return
        if not keep.any():
            raise nothing_in_common("feature", self.features, ids, "the table", place)
        before = self._reads()
        # Reads before any loss: the shares lost to the sequences and to the tree add up.
        totals = before + self._lost
        number = n_of(int((~keep).sum()), len(keep), "features")
        dropped = np.asarray(self.counts[:, ~keep].sum(axis=1)).ravel()
        lost = self._lost + dropped
        # Never 0 / 0: samples without reads are dropped before features are looked up.
        worst = int(np.argmax(dropped / totals))
        self.report.append(
            f"{number} are not in {place} and {unless or 'were dropped'}: "
            f"{percent(dropped.sum(), totals.sum())} of all reads, and "
            f"{percent(dropped[worst], totals[worst])} of the worst sample's "
            f"({short(self.samples[worst])})."
        )
        if lost.sum() > self.max_lost_reads * totals.sum():
            raise InputError(
                f"{number} are not in {place} ({listing(_where(self.features, ~keep))}), and "
                f"{percent(lost.sum(), totals.sum())} of all reads would be lost, more than "
                f"max_lost_reads = {self.max_lost_reads:g}. {advice}, or raise max_lost_reads."
            )
        if unless is None:
            self._lost = lost
            self._keep_features(keep)

    def _reads(self) -> np.ndarray:
        return np.asarray(self.counts.sum(axis=1)).ravel()

    def _keep_features(self, keep: np.ndarray) -> None:
        self.features = _where(self.features, keep)
        self.counts = self.counts[:, keep]
        # `Study.counts` has sorted indices, which SciPy does not promise of selected columns.
        self.counts.sort_indices()


# --- metadata ------------------------------------------------------------------------------------


def select_samples(
    draft: Draft, metadata, where: str | list[str] | None = None
) -> pd.DataFrame | None:
    """Drop the samples that the metadata lacks, or for which a filter does not hold.

    Returns
    -------
    DataFrame or None
        The metadata, of all its samples.
    """
    conditions = [where] if isinstance(where, str) else list(where or ())
    if metadata is None:
        if conditions:
            raise InputError(f"The filter {conditions[0]!r} needs metadata; none was given.")
        return None
    frame = read_metadata(metadata) if is_path(metadata) else from_frame(metadata)
    described = set(frame.index)
    keep = np.array([name in described for name in draft.samples])
    if not keep.any():
        raise nothing_in_common("sample", draft.samples, frame.index, "the table", "the metadata")
    if not keep.all():
        names = _where(draft.samples, ~keep)
        draft.report.append(
            f"{n_of(len(names), len(keep), 'samples')} of the table are not in the metadata and "
            f"were dropped ({listing(names)})."
        )
    absent = len(described - set(draft.all_samples))
    if absent:
        draft.report.append(
            f"{n_of(absent, len(described), 'samples')} of the metadata are not in the table."
        )
    draft.keep_samples(keep)
    for condition in conditions:
        # Among the samples that are still there: a value that only dropped ones have is refused.
        keep = matches(rows_of(frame, draft.samples), condition)
        draft.report.append(f"{n_of(int(keep.sum()), len(keep), 'samples')} have {condition}.")
        draft.keep_samples(keep)
    return frame


def drop_missing(draft: Draft, frame: pd.DataFrame | None, columns: str | list[str]) -> None:
    """Drop the samples that are blank in one of these metadata columns."""
    columns = [columns] if isinstance(columns, str) else list(columns)
    if frame is None and columns:
        raise InputError(f"The metadata column {columns[0]!r} needs metadata; none was given.")
    for name in columns:
        values = column(rows_of(frame, draft.samples), name)
        blank = missing_ids(values)
        if len(blank) == len(values):
            raise InputError(f"Column {name!r} has no value for any of {len(values)} samples.")
        if blank:
            draft.report.append(
                f"{n_of(len(blank), len(values), 'samples')} have no value in the metadata column "
                f"{name!r} and were dropped ({listing(blank)})."
            )
            draft.keep_samples(~values.index.isin(blank))


def rows_of(frame: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """The rows of these samples, in this order."""
    return frame.iloc[frame.index.get_indexer(samples)]


# --- sequences and tree --------------------------------------------------------------------------


def find_sequences(draft: Draft, sequences, required: bool) -> dict[str, str] | None:
    """Sequences by feature id; features without one are dropped.

    Without ``sequences`` the ids are taken as the sequences, or None is returned where they are not
    ``required``.
    """
    if sequences is not None:
        by_id = read_sequences(sequences)
        keep = np.array([name in by_id for name in draft.features])
        advice = "Give the sequences made with this table"
        draft.keep_features(keep, by_id, "the sequences", advice)
        return by_id
    if not required:
        return None
    wrong = [name for name in draft.features if not tokens.is_dna(name)]
    if wrong and not tokens.looks_like_sequence(wrong[0]):
        raise InputError(
            f"{n_of(len(wrong), len(draft.features), 'feature ids')} are not DNA "
            f"({listing(wrong)}), so their sequences are needed: give them as FASTA or .qza."
        )
    # Ids that are meant as sequences but have a gap or a U: upper_dna says where.
    return {name: name for name in draft.features}


def match_tree(draft: Draft, tree, keep_unplaced: bool) -> Tree:
    """Read the tree; drop the features that are not its tips, or report that they stay."""
    root = read_tree(tree)
    keep = find_tips(root, draft.features) >= 0
    advice = "Give the tree built from these features"
    unless = "are ignored by the distances alone" if keep_unplaced else None
    draft.keep_features(keep, root.tip_names, "the tree", advice, unless)
    return root


def place_features(root: Tree, features: list[str]) -> Phylogeny:
    """The tree sheared to those of the features that are its tips."""
    # With keep_unplaced the study has features that are no tips, which `Phylogeny` refuses.
    placed = find_tips(root, features) >= 0
    return Phylogeny.from_tree(root, _where(features, placed))


# --- distances -----------------------------------------------------------------------------------


def align_distances(samples: list[str], distances) -> np.ndarray:
    """Read a distance matrix; [N, N] float32 in the order of the samples."""
    ids, matrix = read_distances(distances)
    row_of = {name: row for row, name in enumerate(ids)}
    lacking = [name for name in samples if name not in row_of]
    if len(lacking) == len(samples):
        raise nothing_in_common("sample", samples, ids, "the study", "the distance matrix")
    if lacking:
        raise InputError(
            f"The distance matrix lacks {n_of(len(lacking), len(samples), 'samples')} of the study "
            f"({listing(lacking)}); compute it for all of them, or drop them from the table."
        )
    rows = np.array([row_of[name] for name in samples], dtype=np.intp)
    return matrix[np.ix_(rows, rows)]


# --- words ---------------------------------------------------------------------------------------


def n_of(part: int, whole: int, what: str) -> str:
    """'1 of 741 samples'."""
    return f"{part:,} of {whole:,} {what}"


def percent(part, whole) -> str:
    """A percentage that is not rounded to nothing."""
    value = 100 * float(part) / float(whole)
    return "less than 0.01 %" if 0 < value < 0.01 else f"{value:.2f} %"


def _where(names: list[str], mask: np.ndarray) -> list[str]:
    return [name for name, true in zip(names, mask, strict=True) if true]
