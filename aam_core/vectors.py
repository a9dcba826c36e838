"""What is made of vectors: distances between them, nearest neighbours, ordinations.

Letters: N samples (or features), V size of a vector, A axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aam_core.errors import InputError, lookup

if TYPE_CHECKING:
    from skbio import OrdinationResults

__all__ = [
    "METRICS",
    "Ordination",
    "distances_between",
    "nearest_neighbours",
    "neighbours_by_feature",
    "ordinate",
    "principal_axes",
]

_EXACT = 2000
"""Samples up to which all eigenvalues are computed: beyond, those of the axes alone."""

_ALIKE = 1e-12
"""Lengths of vectors below which they have no direction."""

_NUMBERS = 2**24
"""Distances that are computed at a time: 128 MB."""

_ROUNDING = 1e-12
"""Share of the squared lengths of two vectors below which their squared distance is rounding."""


def distances_between(vectors: pd.DataFrame, metric: str = "euclidean") -> pd.DataFrame:
    """Distances between vectors of `embed`.

    Parameters
    ----------
    vectors : DataFrame
        ``[N, V]``
    metric : {'euclidean', 'cosine'}
        'cosine' is 1 less the cosine of the angle.

    Returns
    -------
    DataFrame
        ``[N, N]`` float32, symmetric, zero on the diagonal.

    Raises
    ------
    InputError
        If a vector is zero, which has no cosine.
    """
    ready = lookup(METRICS, metric, "metric")(vectors)
    square = np.einsum("nv,nv->n", ready, ready)
    between = np.empty((len(ready), len(ready)), np.float32)
    rows = max(1, _NUMBERS // max(1, len(ready)))
    for start in range(0, len(ready), rows):
        here = slice(start, start + rows)
        total = square[here, None] + square
        part = total - 2 * (ready[here] @ ready.T)
        part[part < _ROUNDING * total] = 0
        # Of vectors of length 1, half the squared distance is 1 less the cosine.
        between[here] = part / 2 if metric == "cosine" else np.sqrt(part)
    between = np.triu(between, 1)
    between += between.T
    return pd.DataFrame(between, index=vectors.index, columns=list(vectors.index))


def nearest_neighbours(
    vectors: pd.DataFrame,
    count: int = 5,
    metric: str = "cosine",
    taxonomy: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The nearest neighbours of each ASV.

    Parameters
    ----------
    vectors : DataFrame
        Of `embed` at the level 'asv'.
    count : int
        Neighbours of each, from 1; fewer where there are fewer ASVs.
    metric : {'euclidean', 'cosine'}
    taxonomy : mapping of str to str, optional
        Taxon by feature id.

    Returns
    -------
    DataFrame
        Index ``feature-id``; a row a neighbour, nearest first: ``rank`` from 1, ``neighbour``,
        ``distance`` and, with a taxonomy, ``taxon`` and ``neighbour_taxon``, "" where unknown.

    Raises
    ------
    InputError
        If the number is below 1, there is a single ASV, or a vector is zero and has no cosine.
    """
    from sklearn.neighbors import NearestNeighbors

    prepare = lookup(METRICS, metric, "metric")
    if count < 1:
        raise InputError(f"The number of neighbours is {count}; it must be at least 1.")
    if len(vectors) < 2:
        raise InputError("A single ASV has no neighbours.")
    count = min(count, len(vectors) - 1)
    ready = prepare(vectors)
    # One more, as each is its own; computed by parts of the rows.
    search = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(ready)
    distance, place = search.kneighbors(ready)
    # Its own place may be any of those at distance 0; where it is none of them, the last one goes.
    own = place == np.arange(len(vectors))[:, None]
    own[~own.any(1), -1] = True
    place, distance = (part[~own].reshape(-1, count) for part in (place, distance))
    if metric == "cosine":
        distance = distance**2 / 2
    ids = np.array(vectors.index, object)
    neighbours = ids[place.ravel()]
    table = pd.DataFrame(
        {
            "rank": np.tile(np.arange(1, count + 1), len(ids)),
            "neighbour": neighbours,
            "distance": distance.ravel().astype(np.float32),
        },
        index=pd.Index(np.repeat(ids, count), name="feature-id"),
    )
    if taxonomy is not None:
        table["taxon"] = [taxonomy.get(name, "") for name in table.index]
        table["neighbour_taxon"] = [taxonomy.get(name, "") for name in neighbours]
    return table


def neighbours_by_feature(neighbours: pd.DataFrame) -> pd.DataFrame:
    """The table of `nearest_neighbours` with a row a feature.

    Returns
    -------
    DataFrame
        Index ``feature-id``; ``taxon`` where there is a taxonomy; then ``neighbour_1``,
        ``distance_1`` and ``neighbour_taxon_1`` of the nearest, and those of the next ones.
    """
    kept = [it for it in ("neighbour", "distance", "neighbour_taxon") if it in neighbours]
    first = neighbours[neighbours["rank"] == 1]
    parts = [first[[name for name in first if name == "taxon"]]]
    for rank, part in neighbours.groupby("rank", sort=True):
        parts.append(part[kept].add_suffix(f"_{rank}"))
    return pd.concat(parts, axis=1).rename_axis("feature-id")


@dataclass(frozen=True, eq=False)
class Ordination:
    """Principal coordinates of samples, or of features.

    Attributes
    ----------
    coordinates : DataFrame
        Index ``sample-id`` or ``feature-id``, columns ``PC1``, ``PC2``, ...
    explained : ndarray
        Share of the inertia on each axis, as scikit-bio has it.
    eigenvalues : ndarray
    """

    coordinates: pd.DataFrame
    explained: np.ndarray
    eigenvalues: np.ndarray

    def to_skbio(self) -> OrdinationResults:
        """As scikit-bio writes it, which QIIME 2 imports as ``PCoAResults`` and emperor opens."""
        from skbio import OrdinationResults

        names = list(self.coordinates.columns)
        return OrdinationResults(
            "PCoA",
            "Principal Coordinate Analysis",
            eigvals=pd.Series(self.eigenvalues, names),
            samples=self.coordinates,
            proportion_explained=pd.Series(self.explained, names),
        )


def ordinate(distances: pd.DataFrame, axes: int = 10) -> Ordination:
    """Principal coordinates of a distance matrix (Gower 1966, Biometrika 53:325).

    Up to 2,000 samples as ``skbio.stats.ordination.pcoa`` computes them. Beyond, the eigenvalues of
    the axes alone are computed, and shares are of the sum of all eigenvalues, also of negative
    ones.

    Parameters
    ----------
    distances : DataFrame
        ``[N, N]``, symmetric.
    axes : int
        From 1; fewer where there are fewer samples.

    Raises
    ------
    InputError
        If there are fewer than 3 samples, or all distances are 0.
    """
    size = len(distances)
    if axes < 1:
        raise InputError(f"The number of axes is {axes}; it must be at least 1.")
    if size < 3:
        raise InputError(f"An ordination needs 3 samples or more; there are {size}.")
    axes = min(axes, size - 1)
    centred = distances.to_numpy(np.float64 if size <= _EXACT else np.float32, copy=True)
    np.square(centred, out=centred)
    centred *= -0.5
    means = centred.mean(axis=0, dtype=np.float64)
    centred -= means[:, None].astype(centred.dtype)
    centred -= (means - means.mean())[None, :].astype(centred.dtype)
    values, vectors, total = _eigen(centred, axes)
    if total <= 0:
        raise InputError("All distances are 0: the samples are all alike, and have no axes.")
    values = np.maximum(values, 0)
    return _ordination(distances.index.rename("sample-id"), vectors, values, total)


def principal_axes(vectors: pd.DataFrame, metric: str = "cosine", axes: int = 10) -> Ordination:
    """Principal coordinates of vectors, without their distances: time grows with their number.

    Those of Euclidean distances are the principal components (Gower 1966, Biometrika 53:325).

    Parameters
    ----------
    vectors : DataFrame
        ``[N, V]``
    metric : {'euclidean', 'cosine'}
        By 'cosine' vectors are brought to length 1 before: the square of a distance is then twice
        that of `distances_between`.
    axes : int
        From 1; fewer where there are fewer vectors or numbers.

    Raises
    ------
    InputError
        If there are fewer than 3 vectors, all are alike, or one is zero and has no cosine.
    """
    if axes < 1:
        raise InputError(f"The number of axes is {axes}; it must be at least 1.")
    if len(vectors) < 3:
        raise InputError(f"An ordination needs 3 vectors or more; there are {len(vectors)}.")
    ready = lookup(METRICS, metric, "metric")(vectors)
    centred = ready - ready.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    values = lengths**2
    total = float(values.sum())
    if total <= _ROUNDING * float((ready**2).sum()):
        raise InputError("All vectors are alike, and have no axes.")
    axes = min(axes, len(vectors) - 1, vectors.shape[1])
    return _ordination(vectors.index, left[:, :axes], values[:axes], total)


def _ordination(ids: pd.Index, vectors: np.ndarray, values: np.ndarray, total: float) -> Ordination:
    """Coordinates from unit vectors ``[N, A]``, their eigenvalues, and the sum of all of these."""
    axes = len(values)
    # An axis has no direction of its own: the sign that makes its longest coordinate positive.
    longest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[longest, range(axes)] < 0, -1, 1)
    names = [f"PC{i}" for i in range(1, axes + 1)]
    coordinates = pd.DataFrame(vectors * np.sqrt(values), index=ids, columns=names)
    return Ordination(coordinates, values / total, values)


def _eigen(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The largest eigenvalues, falling, their vectors ``[N, count]``, and the sum for shares."""
    if len(matrix) <= _EXACT:
        values, vectors = np.linalg.eigh(matrix)
        total = float(values[values > 0].sum())
    else:
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).normal(size=len(matrix)).astype(matrix.dtype)
        values, vectors = eigsh(matrix, count, which="LA", v0=start)
        total = float(np.trace(matrix, dtype=np.float64))
    order = np.argsort(values)[::-1][:count]
    return values[order].astype(np.float64), vectors[:, order].astype(np.float64), total


def _plain(vectors: pd.DataFrame) -> np.ndarray:
    return vectors.to_numpy(np.float64)


def _directions(vectors: pd.DataFrame) -> np.ndarray:
    """Vectors of length 1."""
    values = vectors.to_numpy(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if (lengths < _ALIKE).any():
        raise InputError(
            f"{int((lengths < _ALIKE).sum())} vectors are zero, and have no cosine: choose the "
            "metric euclidean (--metric)."
        )
    return values / lengths


METRICS: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {
    "euclidean": _plain,
    "cosine": _directions,
}
"""Metric between vectors -> what makes ``[N, V]`` float64 of which Euclidean distances tell it."""
