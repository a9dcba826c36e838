"""Many studies as one: ASVs merged by sequence, metadata columns as targets within each study.

Letters: S studies, N samples of all, F ASVs of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from aam_core.data.cohorts import find_cohorts, shared_samples
from aam_core.data.ids import check_ids, listing, nearest
from aam_core.data.study import Study
from aam_core.data.study_columns import StudyColumn, columns_of_all
from aam_core.data.study_merging import (
    merge_counts,
    on_lengths,
    on_shared,
    place_in_tree,
    reads_by_study,
    take_samples,
    without_empty_features,
)
from aam_core.data.study_sources import StudySource, common_tree, find_sources, load_source
from aam_core.errors import InputError
from aam_core.summary import Summarized

__all__ = ["Studies", "load_studies", "merge_studies", "split_studies"]

LEAST_READS = 500
"""Reads of a sample below which it is dropped."""


@dataclass(frozen=True, eq=False, repr=False)
class Studies(Summarized):
    """Samples of many studies over the ASVs of all.

    Attributes
    ----------
    study : Study
        All samples, study after study, by the ids ``STUDY:SAMPLE``; features are the distinct
        sequences, which are their ids, too. Its metadata are the columns ``study`` and ``cohort``;
        it has a phylogeny where one tree of all was given.
    names : list of str
        S names.
    cohorts : list of str
        S cohorts: studies of one cohort are held out together.
    source : ndarray
        [N] int64, which study each sample is of.
    columns : list of StudyColumn
        Targets; their values are in the order of `rows` of their study.
    facts : list of dict
        S, what is known of each study beside (``file``, ``source``, ``licence``).
    trim_length : int or None
        Bases to which the sequences were cut.
    """

    study: Study
    names: list[str]
    cohorts: list[str]
    source: np.ndarray
    columns: list[StudyColumn] = field(default_factory=list)
    facts: list[dict[str, str]] = field(default_factory=list)
    trim_length: int | None = None

    def __len__(self) -> int:
        """Number of studies."""
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """[S] int64, numbers of samples."""
        return np.bincount(self.source, minlength=len(self))

    def rows(self, study: int) -> np.ndarray:
        """Positions of the samples of a study in ``study.sample_ids``."""
        return np.flatnonzero(self.source == study)

    def columns_of(self, study: int) -> list[StudyColumn]:
        """The targets of one study."""
        return [column for column in self.columns if column.study == study]

    def tempered(self, power: float = 0.5) -> np.ndarray:
        """Probability to draw each study: its number of samples to a power.

        1 draws each sample equally often, 0 each study (temperature sampling, as of Conneau et al.
        2020, doi:10.18653/v1/2020.acl-main.747, section 3.1).

        Returns
        -------
        ndarray
            [S] float64, with sum 1.
        """
        weights = self.sizes.astype(np.float64) ** power
        return weights / weights.sum()

    def with_siblings(self, names: Iterable[str]) -> list[str]:
        """These studies and all others of their cohorts, in the order of ``names``.

        Raises
        ------
        InputError
            For a name that is no study.
        """
        wanted = self._positions(names)
        cohorts = {self.cohorts[i] for i in wanted}
        return [n for n, cohort in zip(self.names, self.cohorts, strict=True) if cohort in cohorts]

    def without(self, names: Iterable[str]) -> Studies:
        """The studies but these and the others of their cohorts; ASVs that no sample has go, too.

        Raises
        ------
        InputError
            For a name that is no study, or if none is left.
        """
        gone = set(self.with_siblings(names))
        left = [name for name in self.names if name not in gone]
        if not left:
            raise InputError(
                f"No study is left: all {len(self)} are of the cohorts of {listing(names)}."
            )
        return self if not gone else self.only(left)

    def only(self, names: Iterable[str]) -> Studies:
        """These studies alone, in the order that they have here.

        Raises
        ------
        InputError
            For a name that is no study, or if none is named.
        """
        kept = sorted(self._positions(names))
        if not kept:
            raise InputError("No study is asked for: name one at least.")
        new = np.full(len(self), -1)
        new[kept] = range(len(kept))
        rows = np.flatnonzero(new[self.source] >= 0)
        return replace(
            self,
            study=without_empty_features(take_samples(self.study, rows)),
            names=[self.names[i] for i in kept],
            cohorts=[self.cohorts[i] for i in kept],
            source=new[self.source[rows]],
            columns=[
                replace(column, study=int(new[column.study]))
                for column in self.columns
                if new[column.study] >= 0
            ],
            facts=[self.facts[i] for i in kept] if self.facts else [],
        )

    def shuffled(self, seed: int = 0) -> Studies:
        """The targets of each study permuted among its samples, all by one permutation: a control.

        What a pretraining then learns of them says nothing about the samples; how the columns of a
        study depend on each other stays.
        """
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(size) for size in self.sizes]
        columns = [replace(it, values=it.values[orders[it.study]]) for it in self.columns]
        return replace(self, columns=columns)

    def to_dict(self) -> list[dict[str, Any]]:
        """What a model card says of each study: no reads, sequences or values."""
        asvs = reads_by_study(self.study.counts, self.source).getnnz(axis=1)
        targets = Counter(column.study for column in self.columns)
        return [
            {
                "name": name,
                "cohort": self.cohorts[i],
                "samples": int(self.sizes[i]),
                "asvs": int(asvs[i]),
                "columns": targets[i],
                **(self.facts[i] if self.facts else {}),
            }
            for i, name in enumerate(self.names)
        ]

    def _positions(self, names: Iterable[str]) -> list[int]:
        place = {name: i for i, name in enumerate(self.names)}
        names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
        unknown = [name for name in names if name not in place]
        if unknown:
            raise InputError(
                f"There is no study of the name {listing(unknown)}{nearest(unknown[0], self.names)}"
            )
        return [place[name] for name in names]

    def _summary(self) -> tuple[str, dict[str, str]]:
        samples, features = self.study.shape
        title = (
            f"Studies: {len(self):,} of {len(set(self.cohorts)):,} cohorts, {samples:,} samples x "
            f"{features:,} ASVs, {self.study.counts.sum():,} reads"
        )
        shared = int((reads_by_study(self.study.counts, self.source).getnnz(axis=0) > 1).sum())
        lengths = sorted(map(len, self.study.required_sequences()))
        spread = f"{lengths[0]} to {lengths[-1]}" if lengths[0] < lengths[-1] else f"{lengths[0]}"
        kinds = Counter(column.kind for column in self.columns)
        studies = len({column.study for column in self.columns})
        items = {
            "names": listing(self.names),
            "samples": f"{self.sizes.min():,} to {self.sizes.max():,} of a study, median "
            f"{np.median(self.sizes):,.0f}",
            "ASVs": f"{shared:,} in more than one study; of {spread} bases",
            "columns": f"{len(self.columns):,} of {studies:,} studies: {kinds['number']:,} of "
            f"numbers, {kinds['classes']:,} of classes",
            "phylogeny": "none"
            if self.study.phylogeny is None
            else f"{len(self.study.phylogeny.tip_ids):,} tips",
        }
        return title, items


def load_studies(
    paths,
    *,
    trim_length: int | None = None,
    least_reads: int = LEAST_READS,
    tree=None,
    columns: Collection[str] | None = None,
    exclude_columns: Collection[str] = (),
    max_lost_reads: float = 0.5,
) -> Studies:
    """Read many studies and merge them.

    Parameters
    ----------
    paths : path or iterable of path
        Folders of one study or of many, tables, manifests; see `study_sources.find_sources`. A
        study that a folder of many has and that cannot be used is skipped, which a line says; one
        that is named is refused.
    trim_length : int, optional
        Bases to which all sequences are cut, so that those of studies that were trimmed
        differently are one ASV; shorter ones stay as they are.
    least_reads : int
        Samples with fewer reads are dropped.
    tree : path or skbio.TreeNode, optional
        One tree of all. Its tips are the sequences, their MD5, or ids of the studies' features.
        Without it, the tree of the studies is used if they have the same one.
    columns : collection of str, optional
        Metadata columns (names, or what they mean: 'age') to learn, instead of the automatic
        choice of `study_columns.choose_columns`.
    exclude_columns : collection of str
        Columns (names or meanings) not to learn.
    max_lost_reads : float
        Largest share of a study's reads (0 to 1) that features without a sequence may have.

    Returns
    -------
    Studies
        ``study.report`` says what was dropped, skipped and chosen.

    Raises
    ------
    InputError
        Where nothing can be used, or what is named cannot.
    """
    if trim_length is not None and trim_length < 1:
        raise InputError(f"trim_length is {trim_length}; it is a number of bases, from 1 on.")
    report: list[str] = []
    loaded: list[tuple[StudySource, Study]] = []
    problems: list[str] = []
    for source in find_sources(paths, report):
        try:
            loaded.append((source, load_source(source, least_reads, max_lost_reads)))
        except InputError as error:
            if source.named:
                raise InputError(f"Study {source.name}: {error}") from error
            problems.append(f"Study {source.name} is skipped: {error}")
    if not loaded:
        raise InputError(f"None of {len(problems):,} studies can be used. The first: {problems[0]}")
    sources, studies = zip(*loaded, strict=True)
    report += problems
    merged = merge_studies(
        dict(zip((it.name for it in sources), studies, strict=True)),
        trim_length=trim_length,
        tree=common_tree(sources, report) if tree is None else tree,
        columns=columns,
        exclude_columns=exclude_columns,
        cohorts={it.name: it.cohort for it in sources if it.cohort},
        origins={it.name: it.source for it in sources if it.source},
    )
    report += merged.study.report
    return replace(
        merged, study=replace(merged.study, report=report), facts=[it.facts for it in sources]
    )


def merge_studies(
    studies: dict[str, Study],
    *,
    trim_length: int | None = None,
    tree=None,
    columns: Collection[str] | None = None,
    exclude_columns: Collection[str] = (),
    cohorts: dict[str, str] | None = None,
    origins: dict[str, str] | None = None,
) -> Studies:
    """Merge studies by sequence.

    Parameters
    ----------
    studies : dict of str to Study
        By name, all with sequences.
    trim_length, tree, columns, exclude_columns
        As in `load_studies`.
    cohorts, origins : dict of str to str, optional
        Cohort and source (repository) of studies, where they are known; see
        `cohorts.find_cohorts`.

    Raises
    ------
    InputError
        If a study has no sequences, or a column, or a tip of the tree, is in none.
    """
    names = check_ids(studies, "study", "The studies")
    colons = [name for name in names if ":" in name]
    if colons:
        raise InputError(
            f"{len(colons):,} names of studies have a colon ({listing(colons)}): samples are "
            "called STUDY:SAMPLE, so a name must have none."
        )
    loaded = list(studies.values())
    source = np.repeat(np.arange(len(names)), [len(it) for it in loaded])
    report = [
        f"{name}: {line}" for name, it in zip(names, loaded, strict=True) for line in it.report
    ]
    counts, sequences, places = merge_counts(loaded, trim_length)
    report += on_lengths(loaded, names, trim_length, counts, source)
    given = [(cohorts or {}).get(name, "") for name in names]
    shared = shared_samples([it.sample_ids for it in loaded], counts, sequences)
    joint = find_cohorts(names, given, [(origins or {}).get(n, "") for n in names], list(shared))
    report += on_shared(shared, names, given, joint)
    targets = columns_of_all([it.metadata for it in loaded], columns, exclude_columns, report)
    samples = [f"{n}:{it}" for n, one in zip(names, loaded, strict=True) for it in one.sample_ids]
    study = Study(
        sample_ids=samples,
        feature_ids=sequences,
        counts=counts,
        sequences=sequences,
        phylogeny=None if tree is None else place_in_tree(tree, sequences, loaded, places, report),
        metadata=pd.DataFrame(
            {"study": [names[i] for i in source], "cohort": [joint[i] for i in source]},
            index=pd.Index(samples, dtype=object, name="sample-id"),
            dtype=object,
        ),
        report=report,
    )
    return Studies(study, names, joint, source, targets, trim_length=trim_length)


def split_studies(studies: Studies, fraction: float, seed: int = 0) -> list[str]:
    """Names of the studies to hold out whole, whole cohorts together.

    Cohorts are taken in random order as long as they fit into the fraction of the studies; one
    study at least is held out, and one cohort stays.

    Parameters
    ----------
    studies : Studies
    fraction : float
        Share of the studies, from 0 (none) up to, not including, 1.
    seed : int

    Raises
    ------
    InputError
        For a fraction out of range, or if all studies are of one cohort.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"The fraction of held-out studies is {fraction}; it is 0 to 1 (not 1).")
    if fraction == 0:
        return []
    sizes = Counter(studies.cohorts)
    if len(sizes) < 2:
        raise InputError(
            f"All {len(studies)} studies are of one cohort ({studies.cohorts[0]}): none can be "
            "held out. Give further studies, or hold out none."
        )
    order = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    room = max(1, round(fraction * len(studies)))
    chosen: set[str] = set()
    for cohort in order:
        if sizes[cohort] <= room and len(chosen) < len(sizes) - 1:
            chosen.add(cohort)
            room -= sizes[cohort]
    if not chosen:
        chosen.add(min(order, key=lambda cohort: sizes[cohort]))
    return [n for n, it in zip(studies.names, studies.cohorts, strict=True) if it in chosen]
