"""Table, sequences, tree, metadata and distances -> an aligned `Study`.

N samples; F features. Everything is matched by id: the order of samples or features in a file
never matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.config import DataConfig
from aam_core.data import tokens
from aam_core.data.alignment import Draft, n_of
from aam_core.data.columns import missing_ids
from aam_core.data.distance_files import read_distances
from aam_core.data.ids import check_ids, listing, nearest, nothing_in_common
from aam_core.data.metadata import column, from_frame, matches, read_metadata
from aam_core.data.readers import is_path, read_sequences, read_tree
from aam_core.data.tables import read_table
from aam_core.errors import InputError
from aam_core.phylogeny.tree import Phylogeny, find_tips


@dataclass(frozen=True, eq=False)
class Study:
    """Samples, their features, and what is known of both, aligned by id.

    Attributes
    ----------
    sample_ids : list of str
        N ids, in the order of the table.
    feature_ids : list of str
        F ids, in the order of the table.
    counts : csr_matrix
        [N, F] int64 reads without explicit zeros, indices sorted.
    sequences : list of str or None
        F sequences of upper-case DNA (IUPAC codes may occur).
    phylogeny : Phylogeny or None
        Its tips are ``feature_ids``, in that order; without those that it lacks, where the study
        was loaded with ``keep_unplaced``.
    metadata : DataFrame or None
        N rows in the order of ``sample_ids``; see `metadata.read_metadata`.
    distances : ndarray or None
        [N, N] float32.
    report : list of str
        What was left out and why, in plain sentences.
    """

    sample_ids: list[str]
    feature_ids: list[str]
    counts: csr_matrix
    sequences: list[str] | None = None
    phylogeny: Phylogeny | None = None
    metadata: pd.DataFrame | None = None
    distances: np.ndarray | None = None
    report: list[str] = field(default_factory=list)

    def tokens(self, data: DataConfig) -> np.ndarray:
        """Token ids of the sequences, ``[F, L + 1]`` uint8; see `tokens.tokenize`.

        Raises
        ------
        InputError
            If the study has no sequences, or one is too long.
        """
        if self.sequences is None:
            raise InputError("The study was loaded without sequences, which the model reads.")
        return tokens.tokenize(self.sequences, self.feature_ids, data.max_bp, data.long_sequences)

    def select(self, sample_ids) -> Study:
        """These samples, in this order; all features stay.

        Raises
        ------
        InputError
            For an id that the study does not have, or one named twice.
        """
        wanted = check_ids(sample_ids, "sample", "The selection")
        row_of = {name: row for row, name in enumerate(self.sample_ids)}
        unknown = [name for name in wanted if name not in row_of]
        if unknown:
            hint = nearest(unknown[0], self.sample_ids) if len(unknown) == 1 else "."
            raise InputError(
                f"{len(unknown):,} samples are not in the study ({listing(unknown)}){hint}"
            )
        rows = np.array([row_of[name] for name in wanted], dtype=np.intp)
        return replace(
            self,
            sample_ids=wanted,
            counts=self.counts[rows],
            metadata=None if self.metadata is None else self.metadata.iloc[rows],
            distances=None if self.distances is None else self.distances[np.ix_(rows, rows)],
        )


def load_study(
    table,
    *,
    sequences=None,
    tree=None,
    metadata=None,
    distances=None,
    where=None,
    drop_missing=None,
    max_lost_reads: float = 0.5,
    require_sequences: bool = True,
    keep_unplaced: bool = True,
) -> Study:
    """Read and align everything that is known of a study.

    Parameters
    ----------
    table : path, biom.Table or DataFrame
        BIOM (HDF5 or JSON) or ``FeatureTable[Frequency]`` ``.qza``; a data frame has samples as
        rows.
    sequences : path, dict or Series, optional
        FASTA or ``FeatureData[Sequence]`` ``.qza``, or id -> sequence. May be left out where the
        feature ids are the sequences.
    tree : path or skbio.TreeNode, optional
        Newick or ``Phylogeny[Rooted]`` ``.qza``; rooted, with branch lengths.
    metadata : path or DataFrame, optional
        QIIME 2 TSV. Samples that it lacks are left out.
    distances : path, skbio.DistanceMatrix or DataFrame, optional
        Square TSV or CSV, HDF5, or ``DistanceMatrix`` ``.qza``; must have every sample
        that is left.
    where : str or list of str, optional
        ``"column=value"``: keep the samples for which all of these hold.
    drop_missing : str or list of str, optional
        Metadata columns: samples without a value in one of them are dropped.
    max_lost_reads : float
        Largest share of all reads (0 to 1) that features without sequence or tip may take with
        them.
    require_sequences : bool
        Whether to fail where there are no sequences (the model needs them, UniFrac does not).
    keep_unplaced : bool
        Whether features that are not in the tree stay in the table: the model reads them, as it
        will in predicting without a tree, and the distances leave them out.

    Returns
    -------
    Study
        Its ``report`` says what was left out and why.

    Raises
    ------
    InputError
        Where the files do not fit together, or one of them is not what it should be.
    """
    if not 0 <= max_lost_reads <= 1:
        raise InputError(f"max_lost_reads is {max_lost_reads}; it is a share, from 0 to 1.")
    draft = Draft(*read_table(table), max_lost_reads)
    draft.drop_empty_samples("had no reads in the table")
    frame = _select_samples(draft, metadata, where)
    if drop_missing is not None:
        _drop_missing(draft, frame, drop_missing)
    draft.drop_empty_features()
    found = _find_sequences(draft, sequences, require_sequences)
    root = None if tree is None else _match_tree(draft, tree, keep_unplaced)
    draft.drop_empty_samples("have no reads left")
    letters = None
    if found is not None:
        letters = tokens.upper_dna([found[name] for name in draft.features], draft.features)
    return Study(
        sample_ids=draft.samples,
        feature_ids=draft.features,
        counts=draft.counts,
        sequences=letters,
        phylogeny=None if root is None else _phylogeny(root, draft.features),
        metadata=None if frame is None else _rows(frame, draft.samples),
        distances=None if distances is None else _align_distances(draft.samples, distances),
        report=draft.report,
    )


def _select_samples(draft: Draft, metadata, where) -> pd.DataFrame | None:
    """Keep the samples that the metadata has and the filters want."""
    conditions = [where] if isinstance(where, str) else list(where or ())
    if metadata is None:
        if conditions:
            raise InputError(f"The filter {conditions[0]!r} needs metadata; none was given.")
        return None
    if is_path(metadata):
        frame = read_metadata(metadata)
    elif isinstance(metadata, pd.DataFrame):
        frame = from_frame(metadata)
    else:
        raise InputError(
            f"The metadata must be a path or a DataFrame, not {type(metadata).__name__}."
        )
    known = set(frame.index)
    keep = np.array([name in known for name in draft.samples])
    if not keep.any():
        raise nothing_in_common("sample", draft.samples, frame.index, "the table", "the metadata")
    if not keep.all():
        names = [name for name, kept in zip(draft.samples, keep, strict=True) if not kept]
        draft.report.append(
            f"{n_of(len(names), len(keep), 'samples')} of the table are not in the metadata and "
            f"were left out ({listing(names)})."
        )
    absent = len(known - set(draft.all_samples))
    if absent:
        draft.report.append(
            f"{n_of(absent, len(known), 'samples')} of the metadata are not in the table."
        )
    draft.keep_samples(keep)
    for condition in conditions:
        keep = matches(_rows(frame, draft.samples), condition)
        draft.report.append(f"{n_of(int(keep.sum()), len(keep), 'samples')} have {condition}.")
        draft.keep_samples(keep)
    return frame


def _drop_missing(draft: Draft, frame: pd.DataFrame | None, names: str | list[str]) -> None:
    """Drop the samples that are blank in one of these columns."""
    names = [names] if isinstance(names, str) else list(names)
    if frame is None and names:
        raise InputError(f"The metadata column {names[0]!r} needs metadata; none was given.")
    for name in names:
        values = column(_rows(frame, draft.samples), name)
        gone = missing_ids(values)
        if len(gone) == len(values):
            raise InputError(f"Column {name!r} has no value for any of {len(values)} samples.")
        if gone:
            draft.report.append(
                f"{n_of(len(gone), len(values), 'samples')} have no value in the metadata column "
                f"{name!r} and were dropped ({listing(gone)})."
            )
            draft.keep_samples(~values.index.isin(gone))


def _rows(frame: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    return frame.iloc[frame.index.get_indexer(samples)]


def _find_sequences(draft: Draft, sequences, required: bool) -> dict[str, str] | None:
    """Sequences by feature id, of every feature that is kept."""
    if sequences is not None:
        found = read_sequences(sequences)
        keep = np.array([name in found for name in draft.features])
        advice = "Give the sequences made with this table"
        draft.keep_features(keep, found, "the sequences", advice)
        return found
    if not required:
        return None
    wrong = [name for name in draft.features if not tokens.is_dna(name)]
    if wrong and not tokens.looks_like_sequence(wrong[0]):
        raise InputError(
            f"{n_of(len(wrong), len(draft.features), 'feature ids')} are not DNA "
            f"({listing(wrong)}), so their sequences are needed: give them as FASTA or .qza."
        )
    # Ids that are meant as sequences but hold a gap or a U: upper_dna says where.
    return {name: name for name in draft.features}


def _match_tree(draft: Draft, tree, keep_unplaced: bool):
    """Drop the features that are no tip, or say that they stay; the tree, parsed."""
    root = read_tree(tree)
    keep = find_tips(root, draft.features) >= 0
    advice = "Give the tree built from these features"
    fate = "are left out of the distances alone" if keep_unplaced else None
    draft.keep_features(keep, root.tip_names, "the tree", advice, fate)
    return root


def _phylogeny(root, features: list[str]) -> Phylogeny:
    placed = find_tips(root, features) >= 0
    return Phylogeny.from_tree(root, [f for f, tip in zip(features, placed, strict=True) if tip])


def _align_distances(samples: list[str], distances) -> np.ndarray:
    ids, matrix = read_distances(distances)
    row_of = {name: row for row, name in enumerate(ids)}
    lacking = [name for name in samples if name not in row_of]
    if len(lacking) == len(samples):
        raise nothing_in_common("sample", samples, ids, "the study", "the distance matrix")
    if lacking:
        raise InputError(
            f"The distance matrix lacks {n_of(len(lacking), len(samples), 'samples')} of the study "
            f"({listing(lacking)}); compute it for all of them, or leave them out of the table."
        )
    rows = np.array([row_of[name] for name in samples], dtype=np.intp)
    return matrix[np.ix_(rows, rows)]
