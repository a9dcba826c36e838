"""Samples and ASVs as vectors; distances between them, ordinations and nearest neighbours.

Letters: N samples, F features (ASVs), K members, D width, E size of an ASV vector, V size of what
is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from aam_core.config import Config
from aam_core.data.study import Study
from aam_core.ensemble.forward import encode_asvs, forward_chunks
from aam_core.errors import InputError, lookup
from aam_core.log import logger
from aam_core.model import Model, as_model
from aam_core.models.network import Network
from aam_core.prediction import as_study, override, predicted_distances
from aam_core.training.precision import find_device

if TYPE_CHECKING:
    from skbio import OrdinationResults

__all__ = [
    "LEVELS",
    "METRICS",
    "PREDICTED",
    "Ordination",
    "check_level",
    "distances_between",
    "embed",
    "metric_of",
    "nearest_neighbours",
    "ordinate",
    "sample_distances",
]

PREDICTED = "predicted"
"""The metric that a distance head predicts; those of `METRICS` compare vectors."""

_EXACT = 2000
"""Samples up to which all eigenvalues are computed: beyond, those of the axes alone."""

_ALIKE = 1e-12
"""Lengths of vectors below which they have no direction."""

_NUMBERS = 2**24
"""Distances that are computed at a time: 128 MB."""

_ROUNDING = 1e-12
"""Share of the squared lengths of two vectors below which their squared distance is rounding."""


def embed(
    model,
    table,
    *,
    level: str = "sample",
    sequences=None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
) -> pd.DataFrame:
    """Vectors of samples, or of ASVs, as a model has learned them.

    Members of an ensemble have spaces of their own: a mean over them would say nothing. Their
    vectors stand one after the other, each times the root of the member's ensemble weight, so that
    the square of a Euclidean distance is the weighted mean of those of the members. The forest of a
    fit has no vectors.

    Parameters
    ----------
    model : Model or path
        Regressor, classifier or encoder.
    table, sequences, batch_size, device, precision, long_sequences
        As in `aam_core.predict`. No covariates are needed: the vectors are those before them.
    level : {'sample', 'asv'}

    Returns
    -------
    DataFrame
        float32, columns ``v1`` to ``vV``. Of samples: index ``sample-id``, ``[N, V]``; of a fit
        the vectors that the target is read from, V = K D; of an encoder that learned distances the
        vector that its distance head compares (`predicted_distances`; under
        ``model.head.distance='union'`` the last column is the total branch length); of one that
        learned abundances its sample vector, V = D. Of ASVs: index ``feature-id``, ``[F, V]``,
        whatever sample they occur in: what the bases are encoded to, V = D; where the members map
        fixed features of a sequence (``model.encoder.features`` 'profile' or 'both'), these maps,
        V = K D.

    Raises
    ------
    InputError
        If the model learned no vectors of that level, or the table cannot be used.
    """
    model = as_model(model)
    check_level(model, level)
    if level == "asv" and batch_size is not None:
        raise InputError("batch_size is of samples, and level asv reads none: leave it out.")
    study = as_study(table, sequences=sequences)
    config = override(model.config, device, precision, long_sequences)
    vectors = LEVELS[level](model, study, config, batch_size)
    ids = study.feature_ids if level == "asv" else study.sample_ids
    name = "feature-id" if level == "asv" else "sample-id"
    columns = [f"v{i}" for i in range(1, vectors.shape[1] + 1)]
    return pd.DataFrame(vectors, index=pd.Index(ids, name=name, dtype=object), columns=columns)


def check_level(model: Model, level: str) -> None:
    """Refuse a level of which a model has no vectors that it learned.

    Raises
    ------
    InputError
    """
    lookup(LEVELS, level, "level")
    if level == "sample" and not _learned_samples(model.network):
        raise InputError(
            "This encoder learned nothing of whole samples (no distances, no abundances): it has "
            "vectors of ASVs alone (level asv, --level asv)."
        )


def sample_distances(
    model, study: Study, vectors: pd.DataFrame, metric: str | None = None, **options
) -> pd.DataFrame:
    """Distances between samples: predicted by the model, or between their vectors.

    Parameters
    ----------
    model : Model or path
    study : Study
    vectors : DataFrame
        Of `embed`.
    metric : {'predicted', 'euclidean', 'cosine'}, optional
        As `metric_of` chooses where not given.
    **options
        As of `predicted_distances`.

    Returns
    -------
    DataFrame
        ``[N, N]`` float32, symmetric, zero on the diagonal.

    Raises
    ------
    InputError
        If the model predicts no distances, or two vectors have no cosine.
    """
    model = as_model(model)
    metric = metric_of(model, metric)
    if metric == PREDICTED:
        return predicted_distances(model, study, **options)
    return distances_between(vectors, metric)


def metric_of(model: Model, metric: str | None = None) -> str:
    """The metric between samples: the given one, if a model has it, or the default.

    That is 'predicted' of an encoder that learned distances, else 'euclidean'.

    Raises
    ------
    InputError
    """
    if metric is None:
        learned = model.kind == "encoder" and model.network.distance is not None
        return PREDICTED if learned else "euclidean"
    lookup({PREDICTED: None, **METRICS}, metric, "metric")
    if metric == PREDICTED and model.network.distance is None:
        raise InputError(
            f"The metric is 'predicted', and this {model.kind} learned no distances: choose "
            f"{' or '.join(METRICS)} (--metric)."
        )
    return metric


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


@dataclass(frozen=True, eq=False)
class Ordination:
    """Principal coordinates of samples.

    Attributes
    ----------
    coordinates : DataFrame
        Index ``sample-id``, columns ``PC1``, ``PC2``, ...
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
    # An axis has no direction of its own: the sign that makes its longest coordinate positive.
    longest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[longest, range(axes)] < 0, -1, 1)
    names = [f"PC{i}" for i in range(1, axes + 1)]
    coordinates = pd.DataFrame(vectors * np.sqrt(values), index=distances.index, columns=names)
    return Ordination(coordinates.rename_axis("sample-id"), values / total, values)


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


def _learned_samples(network: Network) -> bool:
    """Whether there are vectors of samples that something was learned by."""
    return bool(network.distance or network.parts.outputs or network.parts.count)


def _weights(network: Network) -> np.ndarray:
    """[K] ensemble weights of the members, which sum to 1."""
    if network.member_weight is None:
        return np.full(len(network.members), 1 / len(network.members))
    weight = network.member_weight.detach().cpu().double().numpy()
    return weight / weight.sum()


def _sample_vectors(
    model: Model, study: Study, config: Config, batch_size: int | None
) -> np.ndarray:
    """``[N, V]`` float32."""
    network = model.network
    if network.parts.outputs:
        output = "samples"
    else:
        output = "distance" if network.distance is not None else "sample"
    parts = []
    for chunk in forward_chunks(network, study, config, (output,), batch_size=batch_size):
        part = chunk[output].numpy()
        parts.append(_joined(part, network) if output == "samples" else part)
    return np.concatenate(parts)


def _joined(vectors: np.ndarray, network: Network) -> np.ndarray:
    """``[N, K, D]`` of the members -> ``[N, K D]``, each by the root of its weight."""
    roots = np.sqrt(_weights(network)).astype(np.float32)
    return (vectors * roots[:, None]).reshape(len(vectors), -1)


def _asv_vectors(
    model: Model, study: Study, config: Config, batch_size: int | None = None
) -> np.ndarray:
    """``[F, V]`` float32 of every feature of the study; samples are not read."""
    network = model.network
    if _untrained_pooling(network):
        logger.warning(
            "this encoder learned masked nucleotides alone: what pools the bases of an ASV was not "
            "trained, and its ASV vectors tell little"
        )
    device = find_device(config.train.device)
    try:
        tokens = study.tokens(config.data)
        vectors = encode_asvs(network.to(device), tokens, device, config.train.precision)
        maps = [member.project for member in network.members]
        if maps[0] is None:
            return vectors.cpu().numpy()
        with torch.no_grad():
            # The random Fourier features, which some members do not read, are the last ones.
            each = [it(vectors[:, : it.in_features]).float().cpu() for it in maps]
        return _joined(torch.stack(each, 1).numpy(), network)
    finally:
        network.to("cpu")


def _untrained_pooling(network: Network) -> bool:
    """Whether nothing was learned by the vectors of whole ASVs."""
    if network.bases is None:
        return False
    return any(part is network.bases.pool for part in network.untrained_parts())


LEVELS: dict[str, Callable[[Model, Study, Config, int | None], np.ndarray]] = {
    "sample": _sample_vectors,
    "asv": _asv_vectors,
}
"""What there are vectors of -> what computes them."""
