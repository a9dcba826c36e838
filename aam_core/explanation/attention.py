"""Where the networks look: attention over the ASVs of a sample, and what a fusion attends to.

Letters: B samples, A ASVs of a sample, Q queries, K members.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.data.batches import Batch
from aam_core.ensemble.forward import outputs_of_batches
from aam_core.errors import InputError
from aam_core.model import Model
from aam_core.models.network import Network
from aam_core.prediction import as_predictor, as_study, override

__all__ = ["AttentionShares", "attention_shares", "fusion_weights", "has_fusion_weights"]

_WITH_WEIGHTS = ("gmu", "cross-attention", "perceiver")
"""Kinds of fusion whose attention or gates are outputs of the network."""

_KEYS = ["sample-id", "feature-id"]


@dataclass(frozen=True, eq=False)
class AttentionShares:
    """Attention over the ASVs of samples; see `attention_shares`.

    Attributes
    ----------
    samples : DataFrame
        Index ``sample-id``, ``feature-id``, a row for each ASV that the model reads of a sample.
        Each column sums to 1 over the ASVs of a sample: ``reads``; ``attention``, the mean over
        queries and members; ``block_1``, ... of each block over the ASVs of a sample, the mean over
        members, where the model has blocks; and, where asked for, ``member_1_query_1``, ... of each
        query of the pooling.
    features : DataFrame
        Index ``feature-id``, of these ASVs, by falling attention: means over all samples of the
        columns above, of every query too (an ASV that a sample lacks has no share of it), which
        sum to 1 over the ASVs; ``samples``, in how many samples it is read; and
        ``attention_where_present``, the mean over these.
    """

    samples: pd.DataFrame
    features: pd.DataFrame


def attention_shares(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    queries: bool = False,
    batch_size: int | None = None,
    device: str | None = None,
    long_sequences: str | None = None,
) -> AttentionShares:
    """Which ASVs the networks of a model pool, by sample and on average.

    A network pools the ASVs of a sample by learned queries: each has shares of the ASVs, which sum
    to 1. Members count by their ensemble weights. Where a fusion changes the ASVs, the shares are
    those of the changed ones; what the latent vectors of 'perceiver' read beside the pooling is not
    among them. Attention is not importance: it does not tell which way, or whether,
    a prediction would change without an ASV, and the forest of an ensemble has none.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier.
    table, sequences, metadata
        As in `aam_core.predict`; the samples need not have been trained on.
    queries : bool
        Whether to return the shares of each query of each member by sample, too.
    batch_size : int, optional
        Samples at a time; the numbers do not depend on it.
    device, long_sequences : str, optional
        As in the configuration, which they replace.

    Returns
    -------
    AttentionShares

    Raises
    ------
    InputError
        If the model is an encoder, or as `aam_core.predict`.
    """
    model = as_predictor(model)
    study = as_study(table, sequences=sequences, metadata=metadata)
    config = override(model.config, device, None, long_sequences)
    ids, features = np.array(study.sample_ids, object), np.array(study.feature_ids, object)
    sums, counts, frames = None, np.zeros(len(features), np.int64), []
    batches = outputs_of_batches(model.network, study, config, model.covariates, batch_size)
    with _pooled(model.network) as pooled:
        for batch, _ in batches:
            row, place = np.nonzero(batch.asv_mask.numpy())
            asv = batch.feature_index.numpy()[batch.asv_index.numpy()[row, place]]
            shares = {
                name: values[row, place] for name, values in _shares(model.network, batch, pooled)
            }
            if sums is None:
                sums = {name: np.zeros(len(features)) for name in shares}
            for name, values in shares.items():
                sums[name] += np.bincount(asv, values, len(features))
            counts += np.bincount(asv, minlength=len(features))
            if not queries:
                shares = {name: v for name, v in shares.items() if not name.startswith("member_")}
            of_sample = ids[batch.sample_index.numpy()][row]
            index = pd.MultiIndex.from_arrays([of_sample, features[asv]], names=_KEYS)
            frames.append(pd.DataFrame(shares, index=index))
    assert sums is not None, "a study has samples"
    read = np.flatnonzero(counts)
    means = {name: values[read] / len(ids) for name, values in sums.items()}
    own = {
        "samples": counts[read],
        "attention_where_present": sums["attention"][read] / counts[read],
    }
    first = {name: means.pop(name) for name in ("attention", "reads")}
    averaged = pd.DataFrame(
        {**first, **own, **means}, index=pd.Index(features[read], name=_KEYS[1])
    )
    averaged = averaged.sort_values("attention", ascending=False, kind="stable")
    return AttentionShares(pd.concat(frames), averaged)


@contextlib.contextmanager
def _pooled(network: Network) -> Iterator[dict[int, tuple[Tensor, ...]]]:
    """What each member's pooling was last given: within, forward passes fill it."""
    pooled: dict[int, tuple[Tensor, ...]] = {}

    def keep(number, module, given):
        # Where a fusion changes ASVs, they are pooled a second time: that is what is predicted of.
        pooled[number] = given

    handles = [
        member.samples.pool.register_forward_pre_hook(functools.partial(keep, number))
        for number, member in enumerate(network.members)
    ]
    try:
        yield pooled
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _shares(
    network: Network, batch: Batch, pooled: dict[int, tuple[Tensor, ...]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and shares ``[B, A]`` of the ASVs, of the batch that was pooled last."""
    weights = network.member_shares.cpu().numpy()
    reads_BA = batch.counts.double().numpy()
    yield "reads", reads_BA / reads_BA.sum(1, keepdims=True)
    queries = []
    for number, member in enumerate(network.members):
        vectors, mask, prior = pooled[number]
        # As under autocast the vectors may be of half precision, and the weights are not.
        shares_BQA = member.samples.pool.shares(vectors.float(), mask, prior.float())
        queries.append(shares_BQA.double().cpu().numpy())
    yield "attention", np.einsum("k,kbqa->ba", weights, queries) / queries[0].shape[1]
    on_device = batch.to(vectors.device)
    assert on_device.asv_vectors is not None
    blocks_KNBA = [
        [
            share.double().cpu().numpy()
            for share in member.attention(on_device.asv_vectors, on_device)
        ]
        for member in network.members
    ]
    for number, each in enumerate(zip(*blocks_KNBA, strict=True), start=1):
        yield f"block_{number}", np.einsum("k,kba->ba", weights, each)
    for member_number, shares_BQA in enumerate(queries, start=1):
        for query in range(shares_BQA.shape[1]):
            yield f"member_{member_number}_query_{query + 1}", shares_BQA[:, query]


def has_fusion_weights(model: Model) -> bool:
    """Whether a model reads covariates in a way that has weights to show."""
    fused = model.covariates is not None and model.covariates.fused
    return bool(fused) and model.config.model.fusion.kind in _WITH_WEIGHTS


def fusion_weights(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    batch_size: int | None = None,
    device: str | None = None,
    long_sequences: str | None = None,
) -> pd.DataFrame:
    """How a model's networks weigh covariates, by sample or by ASV.

    Each is the mean over the members of the ensemble, by their ensemble weights.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier with covariates, whose ``model.fusion.kind`` is 'cross-attention',
        'perceiver' or 'gmu'.
    table, sequences, metadata
        As in `aam_core.predict`; the samples need not have been trained on.
    batch_size : int, optional
        Samples at a time; the numbers do not depend on it.
    device, long_sequences : str, optional
        As in the configuration, which they replace.

    Returns
    -------
    DataFrame
        Of 'cross-attention': index ``sample-id``, ``feature-id``, a row for each ASV that the model
        reads of a sample; a column per covariate, with the share of the ASV's attention on it. The
        rest, up to 1, it pays to none. Of 'perceiver': index ``sample-id``; a column per covariate,
        with its share of what the latent vectors read; the rest is of ASVs. Of 'gmu': index
        ``sample-id``; ``gate_mean`` and ``gate_std`` over the channels of the vector, of gates that
        are 1 where the sample counts alone and 0 where the covariates do.

    Raises
    ------
    InputError
        If the model has no such weights, or as `aam_core.predict`.
    """
    model = as_predictor(model)
    kind = model.config.model.fusion.kind
    if model.covariates is None or not model.covariates.fused:
        raise InputError("This model reads no covariates: there is no fusion to show weights of.")
    if not has_fusion_weights(model):
        raise InputError(
            f"The fusion of this model ({kind}) has no weights to show: those of 'gmu', "
            "'cross-attention' and 'perceiver' have (model.fusion.kind, when fitting)."
        )
    study = as_study(table, sequences=sequences, metadata=metadata)
    config = override(model.config, device, None, long_sequences)
    names, weights = model.covariates.fused, model.network.member_shares
    samples, features = np.array(study.sample_ids, object), np.array(study.feature_ids, object)
    frames = []
    for batch, output in outputs_of_batches(
        model.network, study, config, model.covariates, batch_size
    ):
        ids = samples[batch.sample_index.numpy()]
        index = pd.Index(ids, name="sample-id")
        if output.gate is not None:
            gate = torch.tensordot(weights.to(output.gate), output.gate, 1)
            parts = {"gate_mean": gate.mean(1), "gate_std": gate.std(1, correction=0)}
            columns = {name: values.cpu().numpy() for name, values in parts.items()}
            frames.append(pd.DataFrame(columns, index=index))
            continue
        assert output.attention is not None, kind
        attention = torch.tensordot(weights.to(output.attention), output.attention, 1)
        shares = attention.cpu().numpy()  # [B, A, M], or [B, 1, M]
        if kind == "perceiver":
            frames.append(pd.DataFrame(shares[:, 0], index=index, columns=names))
            continue
        row, place = np.nonzero(batch.asv_mask.numpy())
        asvs = features[batch.feature_index.numpy()[batch.asv_index.numpy()[row, place]]]
        both = pd.MultiIndex.from_arrays([ids[row], asvs], names=["sample-id", "feature-id"])
        frames.append(pd.DataFrame(shares[row, place], index=both, columns=names))
    return pd.concat(frames)
