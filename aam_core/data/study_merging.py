"""Studies merged by sequence: reads over the ASVs of all, and what lines say of it.

Letters: S studies, N samples of all, F ASVs of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.data.alignment import percent, place_features
from aam_core.data.ids import listing, nothing_in_common
from aam_core.data.readers import is_path, read_tree
from aam_core.data.study import Study
from aam_core.phylogeny.tree import Phylogeny

__all__ = ["merge_counts", "on_lengths", "on_shared", "place_in_tree", "reads_by_study"]
__all__ += ["take_samples", "without_empty_features"]


def merge_counts(
    studies: Sequence[Study], trim_length: int | None
) -> tuple[csr_matrix, list[str], list[np.ndarray]]:
    """Counts ``[N, F]``, F distinct sequences, and of each study the place of each feature."""
    place: dict[str, int] = {}
    places = [
        np.array(
            [place.setdefault(dna[:trim_length], len(place)) for dna in it.required_sequences()],
            dtype=np.int32,
        )
        for it in studies
    ]
    indices = [columns[it.counts.indices] for columns, it in zip(places, studies, strict=True)]
    counts = csr_matrix(
        (
            np.concatenate([it.counts.data for it in studies]),
            np.concatenate(indices),
            np.concatenate([[0], np.cumsum(np.concatenate([np.diff(it.counts.indptr)
                                                           for it in studies]))]),
        ),
        shape=(sum(map(len, studies)), len(place)),
    )  # fmt: skip
    counts.sum_duplicates()
    return counts, list(place), places


def reads_by_study(counts: csr_matrix, source: np.ndarray) -> csr_matrix:
    """[S, F] reads of each study, of samples of which ``source`` [N] tells the study."""
    member = csr_matrix((np.ones(len(source), np.int64), (source, np.arange(len(source)))))
    return member @ counts


def on_lengths(
    studies: Sequence[Study],
    names: Sequence[str],
    trim_length: int | None,
    counts: csr_matrix,
    source: np.ndarray,
) -> list[str]:
    """Lines on how well the sequences of the studies merge."""
    if len(studies) < 2:
        return []
    lines = []
    lengths = {len(dna) for it in studies for dna in it.required_sequences()}
    by_study = reads_by_study(counts, source)
    within = by_study.getnnz(axis=0)
    shared = int((within > 1).sum())
    if trim_length is None and len(lengths) > 1:
        lines.append(
            f"Sequences have {min(lengths)} to {max(lengths)} bases: {shared:,} of "
            f"{len(within):,} ASVs are in more than one study. Trimmed to one length "
            "(--trim-length) more are the same."
        )
    elif trim_length is not None and min(lengths) < trim_length:
        short = {
            name: n
            for name, it in zip(names, studies, strict=True)
            if (n := sum(len(dna) < trim_length for dna in it.required_sequences()))
        }
        lines.append(
            f"{sum(short.values()):,} ASVs of {len(short)} studies ({listing(short)}) have fewer "
            f"than {trim_length} bases and stay as they are."
        )
    common = by_study[:, within > 1].getnnz(axis=1)
    alone = [name for name, n in zip(names, common, strict=True) if n == 0]
    if alone:
        lines.append(
            f"{len(alone)} of {len(names)} studies have no ASV that another one has "
            f"({listing(alone)}): of another region, of the other strand, or not trimmed alike."
        )
    return lines


def on_shared(
    shared: dict[tuple[int, int], int],
    names: Sequence[str],
    given: Sequence[str],
    cohorts: Sequence[str],
) -> list[str]:
    """Lines on studies that have samples in common, and on what that does to cohorts of a manifest.

    Parameters
    ----------
    shared : dict
        Of `cohorts.shared_samples`.
    names, given, cohorts : sequence of str
        [S] Names, cohorts as given (empty: none), and those of `cohorts.find_cohorts`.
    """
    if not shared:
        return []
    words = [f"{names[i]} and {names[j]} ({n:,})" for (i, j), n in shared.items()]
    lines = [f"{len(shared):,} pairs of studies have samples in common: {listing(words)}."]
    apart = [(i, j) for i, j in shared if given[i] and given[j] and cohorts[i] != cohorts[j]]
    if apart:
        words = [f"{names[i]} and {names[j]}" for i, j in apart]
        lines.append(
            f"{len(apart):,} of these pairs are of two cohorts in the manifest, and are held out "
            f"apart as it says: {listing(words)}."
        )
    for cohort in dict.fromkeys(cohorts):
        own = [i for i, it in enumerate(cohorts) if it == cohort]
        joined = sorted({given[i] for i in own if given[i]})
        if len(joined) > 1:
            blank = [names[i] for i in own if not given[i]]
            lines.append(
                f"{len(joined)} cohorts of the manifest are held out as one ({listing(joined)}): "
                f"studies without a cohort join them, by samples or a source ({listing(blank)}). "
                "Give these a cohort, or leave them out, to keep the others apart."
            )
    return lines


def take_samples(study: Study, rows: np.ndarray) -> Study:
    """Some samples by position; `Study.select` would look up each id."""
    return replace(
        study,
        sample_ids=[study.sample_ids[i] for i in rows.tolist()],
        counts=study.counts[rows],
        metadata=study.rows(rows),
    )


def without_empty_features(study: Study) -> Study:
    """The study without the features that none of its samples has."""
    keep = study.counts.getnnz(axis=0) > 0
    if keep.all():
        return study
    counts = study.counts[:, keep]
    counts.sort_indices()

    def kept(items: list[str]) -> list[str]:
        return [item for item, true in zip(items, keep, strict=True) if true]

    features = kept(study.feature_ids)
    same = study.sequences is study.feature_ids  # of merged studies: one list is enough
    phylogeny = study.phylogeny
    if phylogeny is not None:
        there = set(features)
        tips = [i for i, name in enumerate(phylogeny.tip_ids) if name in there]
        phylogeny = phylogeny.take(np.array(tips)) if tips else None
    return replace(
        study,
        feature_ids=features,
        counts=counts,
        sequences=features if same else kept(study.required_sequences()),
        phylogeny=phylogeny,
        taxonomy=None if study.taxonomy is None else kept(study.taxonomy),
    )


# --- the tree ------------------------------------------------------------------------------------


def place_in_tree(
    tree,
    sequences: list[str],
    studies: Sequence[Study],
    places: Sequence[np.ndarray],
    report: list[str],
) -> Phylogeny:
    """The tree of the merged ASVs, whose tips have names of one of three kinds."""
    root = read_tree(tree)
    column: dict[str, int] = {}
    several: set[str] = set()
    for feature_of, study in zip(places, studies, strict=True):
        for ids in (study.feature_ids, map(_md5, study.required_sequences())):
            for name, place in zip(ids, feature_of.tolist(), strict=True):
                if column.setdefault(name, place) != place:
                    several.add(name)  # an id that is another sequence in another study
    for name in several:
        del column[name]
    for place, dna in enumerate(sequences):
        column[dna] = column[_md5(dna)] = place
    taken: dict[int, str] = {}
    # Of several tips that are one ASV when trimmed the first one is its place.
    names = []
    for tip in root.tip_names:
        place = column.get(tip, -1)
        placed = place >= 0 and taken.setdefault(place, tip) == tip
        names.append(sequences[place] if placed else "")
    unclear = sorted(several & set(root.tip_names))
    if unclear:
        report.append(
            f"{len(unclear):,} tips of the tree are ids that are other sequences in other studies, "
            f"and are not used ({listing(unclear)}): name tips by sequence or MD5."
        )
    if not taken:
        where = str(tree) if is_path(tree) else "the tree"
        raise nothing_in_common("feature", sequences, root.tip_names, "the studies", where)
    if len(taken) < len(sequences):
        share = percent(len(taken), len(sequences))
        report.append(
            f"{len(taken):,} of {len(sequences):,} ASVs ({share}) are in the tree; the others are "
            "ignored by the distances alone."
        )
    return place_features(replace(root, tip_names=names), sequences)


def _md5(dna: str) -> str:
    return hashlib.md5(dna.encode(), usedforsecurity=False).hexdigest()
