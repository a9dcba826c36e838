"""Samples and ASVs as vectors, and distances between samples.

Letters: N samples, F features (ASVs), K members, D width, E size of an ASV vector, V size of what
is returned.
"""

from __future__ import annotations

from collections.abc import Callable

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
from aam_core.vectors import METRICS, Ordination, distances_between, nearest_neighbours, ordinate

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
"""The metric that a distance head predicts; those of `vectors.METRICS` compare vectors."""


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


def _learned_samples(network: Network) -> bool:
    """Whether there are vectors of samples that something was learned by."""
    parts = network.parts
    return bool(network.distance or parts.outputs or parts.count or network.of_many_studies)


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
    if network.parts.outputs or network.of_many_studies:
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
