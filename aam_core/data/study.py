"""Table, sequences, tree, metadata and distances -> an aligned `Study`.

Everything is matched by id (see `alignment`): the order of samples or features in a file never
matters. Letters: N samples, F features.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.config import DataConfig
from aam_core.data import alignment, tokens
from aam_core.data.annotated import beside_counts, is_anndata, to_anndata
from aam_core.data.ids import check_ids, listing, nearest, short
from aam_core.data.readers import is_newick, is_path
from aam_core.data.tables import read_table
from aam_core.data.taxonomy import with_taxonomy
from aam_core.errors import InputError
from aam_core.phylogeny.tree import Phylogeny
from aam_core.summary import Summarized

__all__ = ["Study", "files_of", "load_study"]


@dataclass(frozen=True, eq=False, repr=False)
class Study(Summarized):
    """Samples and features with their reads, sequences, metadata and distances, aligned by id.

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
        Its tips are ``feature_ids``, in that order; where the study was loaded with
        ``keep_unplaced``, without the features that the tree lacks.
    metadata : DataFrame or None
        N rows in the order of ``sample_ids``; see `metadata.read_metadata`.
    distances : ndarray or None
        [N, N] float32.
    report : list of str
        What was dropped and why, in plain sentences.
    taxonomy : list of str or None
        F taxa, ranks joined by ``;``, empty where unknown; see `taxonomy.with_taxonomy`.
    files : dict of str to str
        Absolute paths of what it was read from, by "table", "sequences", ...; objects have none.
    """

    sample_ids: list[str]
    feature_ids: list[str]
    counts: csr_matrix
    sequences: list[str] | None = None
    phylogeny: Phylogeny | None = None
    metadata: pd.DataFrame | None = None
    distances: np.ndarray | None = None
    report: list[str] = field(default_factory=list)
    taxonomy: list[str] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_anndata(cls, adata: Any, *, sequences=None, **options: Any) -> Study:
        """The study of an AnnData: reads ``X``, metadata ``obs``, sequences in ``var``.

        Parameters
        ----------
        adata : anndata.AnnData
        sequences : str, dict, Series or path, optional
            Column of ``var`` with the sequences; or, as in `load_study`, the sequences themselves.
            Where not given they are the index of ``var``, or its one column of DNA.
        **options
            As in `load_study`, which takes an AnnData as a table, too.

        Raises
        ------
        InputError
            As `load_study`.
        """
        return load_study(adata, sequences=sequences, **options)

    def to_anndata(self) -> Any:
        """The study as an AnnData, for which the package anndata must be installed.

        Returns
        -------
        anndata.AnnData
            ``X`` [N, F] the reads, ``obs`` the metadata; ``var`` has the sequences and the taxa in
            columns of these names (``sequence``, ``taxonomy``). Tree and distances have no place
            in it.

        Raises
        ------
        InputError
            Without anndata.
        """
        return to_anndata(self)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and features."""
        return len(self.sample_ids), len(self.feature_ids)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_ids)

    __iter__ = None  # it is no sequence of samples: else Python would count up through the items

    def __getitem__(self, samples: Any) -> Study:
        """Some of the samples; all features stay.

        Parameters
        ----------
        samples : slice, array or list
            Positions, a bool for each sample, or ids. ``study[samples, :]`` and
            ``study[samples, ...]`` are the same, as scikit-learn writes them.

        Raises
        ------
        InputError
            For samples that are not there, one named twice, a single position, or none at all.

        Examples
        --------
        >>> study = Study(["a", "b", "c"], ["ACGT"], csr_matrix([[5], [1], [2]]))
        >>> len(study), study.shape
        (3, (3, 1))
        >>> study[[2, 0]].sample_ids
        ['c', 'a']
        >>> study[["b"]].sample_ids, study[1:].sample_ids
        (['b'], ['b', 'c'])
        """
        if isinstance(samples, tuple):
            samples, *others = samples
            if any(not (it is Ellipsis or it == slice(None)) for it in others):
                raise InputError("A study is sliced by samples alone: study[samples].")
        if isinstance(samples, slice):
            names = self.sample_ids[samples]
        else:
            names = self._named(np.asarray(samples))
        if not names:
            raise InputError("A study of no samples is asked for: select one at least.")
        return self.select(names)

    def _named(self, samples: np.ndarray) -> list[str]:
        """Ids of samples that are given as bools, positions or ids."""
        size = len(self)
        if samples.ndim != 1:
            raise InputError("Samples of a study are a list, an array or a slice: study[[0, 1]].")
        kind = samples.dtype.kind
        if kind == "b" and len(samples) != size:
            raise InputError(f"{len(samples):,} bools for the {size:,} samples of a study.")
        if kind == "b":
            samples = np.flatnonzero(samples)
        elif kind not in "iu":
            return [str(name) for name in samples]
        beyond = samples[(samples < -size) | (samples >= size)]
        if len(beyond):
            raise InputError(
                f"{len(beyond):,} positions are not in a study of {size:,} samples "
                f"({listing(beyond)})."
            )
        return [self.sample_ids[place] for place in samples]

    def required_sequences(self) -> list[str]:
        """The sequences; `InputError` if the study has none."""
        if self.sequences is None:
            raise InputError("The study was loaded without sequences, which the model reads.")
        return self.sequences

    def tokens(self, data: DataConfig) -> np.ndarray:
        """Token ids of the sequences, ``[F, L + 1]`` uint8; see `tokens.tokenize`.

        Raises
        ------
        InputError
            If the study has no sequences, or one is too long.
        """
        sequences = self.required_sequences()
        return tokens.tokenize(sequences, self.feature_ids, data.max_bp, data.long_sequences)

    def select(self, sample_ids: Iterable[str]) -> Study:
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

    def rows(self, positions: np.ndarray | slice) -> pd.DataFrame | None:
        """Metadata of the samples at these positions, in their order; None without metadata."""
        return None if self.metadata is None else self.metadata.iloc[positions]

    def _summary(self) -> tuple[str, dict[str, str]]:
        samples, features = self.shape
        title = f"Study: {samples:,} samples x {features:,} features, {self.counts.sum():,} reads"
        items = {"sequences": "none", "phylogeny": "none", "metadata": "none", "distances": "none"}
        if self.sequences is not None:
            lengths = sorted({len(sequence) for sequence in self.sequences})
            spread = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else f"{lengths[0]}"
            items["sequences"] = f"{features:,}, of {spread} bases each"
        if self.phylogeny is not None:
            items["phylogeny"] = (
                f"{len(self.phylogeny.tip_ids):,} tips, {len(self.phylogeny.lengths):,} branches"
            )
        if self.metadata is not None:
            names = listing(short(name, 20) for name in self.metadata.columns)
            count = self.metadata.shape[1]
            items["metadata"] = f"{count} column{'s' * (count != 1)}: {names}" if count else "ids"
        if self.distances is not None:
            items["distances"] = f"{samples:,} x {samples:,}"
        if self.taxonomy is not None:
            items["taxonomy"] = f"of {sum(map(bool, self.taxonomy)):,} features"
        return title, items


def load_study(
    table,
    *,
    sequences=None,
    tree=None,
    metadata=None,
    distances=None,
    taxonomy=None,
    where=None,
    drop_missing=None,
    max_lost_reads: float = 0.5,
    require_sequences: bool = True,
    keep_unplaced: bool = True,
) -> Study:
    """Read the inputs of a study and align them by id.

    Parameters
    ----------
    table : path, biom.Table, DataFrame or AnnData
        BIOM (HDF5 or JSON) or ``FeatureTable[Frequency]`` ``.qza``; a data frame has samples as
        rows. An AnnData brings its metadata (``obs``) and sequences (`Study.from_anndata`).
    sequences : path, dict or Series, optional
        FASTA or ``FeatureData[Sequence]`` ``.qza``, or id -> sequence; of an AnnData a column of
        ``var``. Not needed where the feature ids are the sequences.
    tree : path or skbio.TreeNode, optional
        Newick or ``Phylogeny[Rooted]`` ``.qza``; rooted, with branch lengths.
    metadata : path or DataFrame, optional
        QIIME 2 TSV. Samples that it lacks are dropped.
    distances : path, skbio.DistanceMatrix or DataFrame, optional
        Square TSV or CSV, HDF5, or ``DistanceMatrix`` ``.qza``; must have every sample that is
        not dropped.
    taxonomy : path, mapping, Series or DataFrame, optional
        Taxa of the features, as of `taxonomy.read_taxonomy`. Features that it lacks stay.
    where : str or list of str, optional
        ``"column=value"``: keep the samples for which all of these hold.
    drop_missing : str or list of str, optional
        Metadata columns: samples without a value in one of them are dropped.
    max_lost_reads : float
        Largest share of all reads (0 to 1) that may be lost with the features that have no
        sequence, or no tip.
    require_sequences : bool
        Whether to fail where there are no sequences (the model needs them, UniFrac does not).
    keep_unplaced : bool
        Whether features that are not in the tree stay in the table: the model reads them, as it
        does when it predicts without a tree; only the distances ignore them.

    Returns
    -------
    Study
        Its ``report`` says what was dropped and why.

    Raises
    ------
    InputError
        Where the files do not fit together, or one of them is not what it should be.
    """
    if not 0 <= max_lost_reads <= 1:
        raise InputError(f"max_lost_reads is {max_lost_reads}; it is a share, from 0 to 1.")
    if is_anndata(table):
        sequences, metadata = beside_counts(table, sequences, metadata)
    draft = alignment.Draft(*read_table(table), max_lost_reads)
    draft.drop_empty_samples("had no reads in the table")
    frame = alignment.select_samples(draft, metadata, where)
    if drop_missing is not None:
        alignment.drop_missing(draft, frame, drop_missing)
    # After the filters: features of dropped samples alone need neither sequence nor tip.
    draft.drop_empty_features()
    by_id = alignment.find_sequences(draft, sequences, require_sequences)
    root = None if tree is None else alignment.match_tree(draft, tree, keep_unplaced)
    draft.drop_empty_samples("have no reads left")
    letters = None
    if by_id is not None:
        # Only of features in the table: wrong letters of other sequences do not matter (a test).
        letters = tokens.upper_dna([by_id[name] for name in draft.features], draft.features)
    study = Study(
        sample_ids=draft.samples,
        feature_ids=draft.features,
        counts=draft.counts,
        sequences=letters,
        phylogeny=None if root is None else alignment.place_features(root, draft.features),
        metadata=None if frame is None else alignment.rows_of(frame, draft.samples),
        # Last: samples that were dropped above need no distances (a test).
        distances=None
        if distances is None
        else alignment.align_distances(draft.samples, distances),
        report=draft.report,
        files=files_of(
            table=table,
            sequences=sequences,
            tree=tree,
            metadata=metadata,
            distances=distances,
            taxonomy=taxonomy,
        ),
    )
    return study if taxonomy is None else with_taxonomy(study, taxonomy)


def files_of(**sources) -> dict[str, str]:
    """The absolute path of each source that is one."""
    files = {name: it for name, it in sources.items() if is_path(it) and not is_newick(it)}
    paths = {name: os.fspath(it) for name, it in files.items()}
    return {name: os.path.abspath(path) for name, path in paths.items()}
