"""Which studies belong together and are held out together: those that share samples.

Letters: S studies, N samples of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["find_cohorts", "shared_samples"]

_START = 90
"""Bases by which ASVs of studies are compared, which may have been trimmed to different lengths."""

_ALIKE = 0.8
"""Cosine of the reads from which two samples of one id may be one sample; half of the samples of
one id must be, and three: samples of two studies that are both called 1 may be alike by chance."""

_FEWEST_ALIKE = 3

_SHARED_IDS = 0.5
"""Share of the smaller study's ids that are in the other, from which they are siblings whatever
their reads: the same samples of another marker or region."""

_FEWEST_IDS = 10
"""Ids that must be shared for that, of `_LONG_ID` characters at least: many studies number their
samples from 1 on."""

_LONG_ID = 8

_FEWEST_ASVS = 5
"""ASVs of a sample from which an identical profile is no chance."""


def find_cohorts(
    names: Sequence[str],
    given: Sequence[str],
    sources: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> list[str]:
    """The cohort of each study.

    Studies are of one cohort that have the same one in the manifest; where it is not given, also
    those that share a source (a repository) or samples.

    Parameters
    ----------
    names, given, sources : sequence of str
        [S] Names; cohorts and sources of a manifest, empty where there is none.
    pairs : sequence of (int, int)
        Studies that share samples, as of `shared_samples`.

    Returns
    -------
    list of str
        [S] The cohort that was given to one of its studies, else the name of the first one.

    Examples
    --------
    >>> find_cohorts(["a", "b", "c", "d"], ["", "x", "", ""], ["r", "r", "q", "r"], [(2, 1)])
    ['a', 'x', 'x', 'a']
    """
    links = [(i, j) for i, j in pairs if not (given[i] and given[j])]
    for labels in (given, [s * (not g) for s, g in zip(sources, given, strict=True)]):
        first: dict[str, int] = {}
        links += [(first.setdefault(label, i), i) for i, label in enumerate(labels) if label]
    size = len(names)
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    label: dict[int, str] = {}
    for i, name in enumerate(names):
        label.setdefault(component[i], name)
    for i, name in enumerate(given):
        if name:
            label[component[i]] = name
    return [label[it] for it in component]


def shared_samples(
    ids: Sequence[Sequence[str]], counts: csr_matrix, sequences: Sequence[str]
) -> dict[tuple[int, int], int]:
    """Pairs of studies that have samples in common, by their ids and by their reads.

    A sample is common where its reads are identical, or where both studies have its id and its
    reads are alike, as are those of half of the samples of one id and of three at least; ASVs are
    compared by their first bases. Studies share samples, too, where most ids of the smaller one are
    in the other and are long enough not to be running numbers.

    Parameters
    ----------
    ids : sequence of sequence of str
        Sample ids, a sequence for each study, as published.
    counts : csr_matrix
        [N, F] reads, study after study.
    sequences : sequence of str
        F.

    Returns
    -------
    dict
        Pair of positions, the smaller first -> number of common samples.
    """
    study = np.repeat(np.arange(len(ids)), [len(it) for it in ids])
    starts = _by_start(counts, sequences)
    flat = [name for it in ids for name in it]
    common: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for pair, rows in _same_id(ids).items():
        alike = _cosines(starts, rows) >= _ALIKE
        long = sum(len(flat[row]) >= _LONG_ID for row in rows[:, 0].tolist())
        smaller = min(len(ids[pair[0]]), len(ids[pair[1]]))
        if long >= max(_FEWEST_IDS, _SHARED_IDS * smaller):
            common[pair].update(map(tuple, rows.tolist()))
        elif alike.sum() >= max(_FEWEST_ALIKE, 0.5 * len(rows)):
            common[pair].update(map(tuple, rows[alike].tolist()))
    by_profile: dict[bytes, dict[int, int]] = defaultdict(dict)
    for row in range(starts.shape[0]):
        part = slice(starts.indptr[row], starts.indptr[row + 1])
        if part.stop - part.start >= _FEWEST_ASVS:
            profile = starts.indices[part].tobytes() + starts.data[part].tobytes()
            by_profile[profile].setdefault(int(study[row]), row)
    for rows_of in by_profile.values():
        first, *others = rows_of
        for other in others:
            common[first, other].add((rows_of[first], rows_of[other]))
    return {pair: len(rows) for pair, rows in sorted(common.items()) if rows}


def _by_start(counts: csr_matrix, sequences: Sequence[str]) -> csr_matrix:
    """[N, distinct starts] reads: ASVs that begin with the same bases are one."""
    place: dict[str, int] = {}
    columns = np.array([place.setdefault(dna[:_START], len(place)) for dna in sequences], np.int32)
    merged = csr_matrix(
        (counts.data.copy(), columns[counts.indices], counts.indptr.copy()),
        shape=(counts.shape[0], len(place)),
    )
    merged.sum_duplicates()
    return merged


def _same_id(ids: Sequence[Sequence[str]]) -> dict[tuple[int, int], np.ndarray]:
    """Pair of studies -> [common ids, 2] rows of the samples of one id."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    row = 0
    for study, names in enumerate(ids):
        for name in names:
            places[name].append((study, row))
            row += 1
    pairs = defaultdict(list)
    for these in places.values():
        for i, (one, first) in enumerate(these):
            for other, second in these[i + 1 :]:
                pairs[one, other].append((first, second))
    return {pair: np.array(rows) for pair, rows in pairs.items()}


def _cosines(counts: csr_matrix, rows: np.ndarray) -> np.ndarray:
    one, other = counts[rows[:, 0]].astype(np.float64), counts[rows[:, 1]].astype(np.float64)

    def products(a, b):
        return np.asarray(a.multiply(b).sum(axis=1)).ravel()

    return products(one, other) / np.sqrt(products(one, one) * products(other, other))
