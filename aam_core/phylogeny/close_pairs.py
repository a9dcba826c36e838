"""Pairs of samples at distance 0, or within a bound, without a matrix of all pairs.

At distance 0 two samples have the same branches (without a tree: features), so that samples are
sorted by these first, and no pair is compared that differs there: time and memory grow with the
samples and not with their pairs. Letters: N samples, F features, K branches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from aam_core.phylogeny.distances import DISTANCES, Distance, find_distance, prepare
from aam_core.phylogeny.tree import Phylogeny

__all__ = ["close_pairs", "pairs_of_classes", "zero_classes"]

_BLOCK = 2**22
"""Elements of a block of samples x branches: 32 MB."""

_SIDE = 1024
"""Samples on a side of a block of pairs."""

_NEGLIGIBLE = 1e-12
"""Share of the length of the tree up to which a branch is rounding, as in `distances`."""

_BY_PRESENCE = ("unweighted", "jaccard")
"""Distances that are 0 wherever the same branches, or features, are present."""


@dataclass(frozen=True, eq=False)
class _Table:
    """Samples that are prepared for a distance, a block at a time."""

    counts: Any
    features: np.ndarray
    phylogeny: Phylogeny | None
    distance: Distance

    @classmethod
    def of(cls, counts, phylogeny: Phylogeny | None, distance: Distance) -> _Table:
        features = np.flatnonzero(counts.getnnz(axis=0))
        sheared = phylogeny.take(features) if phylogeny and distance.needs_tree else None
        return cls(counts, features, sheared, distance)

    @property
    def size(self) -> int:
        """Samples in a block."""
        return max(1, _BLOCK // max(1, 2 * len(self.features)))

    def prepared(self, rows: np.ndarray, distance: Distance | None = None):
        """Values [n, K] of these samples, and lengths [K]."""
        dense = torch.from_numpy(self.counts[rows][:, self.features].toarray())
        columns = torch.arange(len(self.features))
        return prepare(distance or self.distance, dense, columns, self.phylogeny)


@torch.no_grad()
def zero_classes(
    counts, phylogeny: Phylogeny | None, metric: str, alpha: float = 0.5
) -> np.ndarray:
    """Which samples are at distance 0 from one another.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        [N, F] reads; F in the order of ``phylogeny.tip_ids``. Each sample has some.
    phylogeny, metric, alpha
        As in `aam_core.phylogeny.distances.distance_matrix`.

    Returns
    -------
    ndarray
        [N] int: samples are at distance 0 where they have the same number.

    Raises
    ------
    InputError
        As `distances.find_distance`.
    """
    table = _Table.of(counts, phylogeny, find_distance(metric, phylogeny))
    classes = _by_presence(table)
    if metric in _BY_PRESENCE:
        return classes
    # Of the same branches, but perhaps of other shares: each is compared with the first of a class.
    next_class = int(classes.max(initial=-1)) + 1
    for rows in _members(classes):
        while len(rows) > 1:
            first, lengths = table.prepared(rows[:1])
            parts = np.split(rows, range(table.size, len(rows), table.size))
            others = (table.prepared(part)[0] for part in parts)
            each = [table.distance.compare(first, other, lengths, alpha)[0] for other in others]
            zero = torch.cat(each).numpy() == 0
            zero[0] = True
            if zero.all():
                break
            rows = rows[~zero]
            classes[rows] = next_class
            next_class += 1
    return classes


@torch.no_grad()
def close_pairs(
    counts, phylogeny: Phylogeny | None, metric: str, alpha: float = 0.5, bound: float = 0.0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of samples at a distance of at most ``bound``, some at a time.

    Parameters
    ----------
    counts, phylogeny, metric, alpha
        As in `zero_classes`.
    bound : float
        Above 0 all pairs are compared, a block at a time.

    Yields
    ------
    (ndarray, ndarray, ndarray)
        Places i < j of the samples of n pairs, and their distances, float32.
    """
    distance = find_distance(metric, phylogeny)
    if bound == 0:
        for i, j in pairs_of_classes(zero_classes(counts, phylogeny, metric, alpha)):
            yield i, j, np.zeros(len(i), np.float32)
        return
    table = _Table.of(counts, phylogeny, distance)
    samples, size = counts.shape[0], min(table.size, _SIDE)
    for start in range(0, samples, size):
        x, lengths = table.prepared(np.arange(start, min(start + size, samples)))
        for other in range(start, samples, size):
            y = x
            if other != start:
                y = table.prepared(np.arange(other, min(other + size, samples)))[0]
            values = distance.compare(x, y, lengths, alpha).numpy()
            near = values <= bound
            i, j = np.nonzero(np.triu(near, 1) if other == start else near)
            yield i + start, j + other, values[i, j].astype(np.float32)


def pairs_of_classes(classes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places i < j of all pairs of samples of one class, some at a time.

    >>> [(i.tolist(), j.tolist()) for i, j in pairs_of_classes(np.array([0, 1, 0, 0]))]
    [([0, 0, 2], [2, 3, 3])]
    """
    for rows in _members(classes):
        for start in range(0, len(rows), _SIDE):
            for other in range(start, len(rows), _SIDE):
                one, two = rows[start : start + _SIDE], rows[other : other + _SIDE]
                i, j = np.meshgrid(one, two, indexing="ij")
                keep = i < j
                yield i[keep], j[keep]


def _members(classes: np.ndarray) -> Iterator[np.ndarray]:
    """Places of the samples, ascending, of each class of at least two."""
    order = np.argsort(classes, kind="stable")
    ends = np.flatnonzero(np.diff(classes[order])) + 1
    for rows in np.split(order, ends):
        if len(rows) > 1:
            yield rows


def _by_presence(table: _Table) -> np.ndarray:
    """[N] classes of samples over the same branches; those of no length do not count."""
    kind = DISTANCES["unweighted" if table.distance.needs_tree else "jaccard"]
    seen: dict[bytes, int] = {}
    samples = table.counts.shape[0]
    classes = np.empty(samples, np.int64)
    for start in range(0, samples, table.size):
        rows = np.arange(start, min(start + table.size, samples))
        present, lengths = table.prepared(rows, kind)
        counted = present[:, lengths > _NEGLIGIBLE * lengths.sum()].numpy() > 0
        for row, bits in zip(rows, np.packbits(counted, axis=1), strict=True):
            digest = hashlib.blake2b(bits.tobytes(), digest_size=16).digest()
            classes[row] = seen.setdefault(digest, len(seen))
    return classes
