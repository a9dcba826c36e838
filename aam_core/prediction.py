"""Saved or fresh model + table -> predictions in real units.

Every distinct ASV is encoded once for the whole table; the samples are read a chunk at a time.
Letters: F features, L bases (+1 START), E size of an ASV's vector, N samples, B samples of a batch,
K members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import AUTO, Config, TrainConfig
from aam_core.data.batches import Batcher
from aam_core.data.covariates import Covariates
from aam_core.data.ids import listing
from aam_core.data.study import Study, load_study
from aam_core.errors import InputError
from aam_core.familiarity import Familiarity, warn
from aam_core.model import Model, load_model
from aam_core.models.network import ModelOutput, Network, vector_size
from aam_core.training.precision import autocast, find_device

CHUNK = {"cpu": 128, "cuda": 4096, "mps": 1024}
"""ASVs encoded at a time: on a CPU what stays in its cache."""

SAMPLES = 1024
"""Samples whose predictions are held at a time."""


def predict(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Predict a metadata column.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier.
    table : Study, path or biom.Table
        Samples; their ASVs need not have been trained on.
    sequences : path, dict or Series, optional
        Sequences of the features, where their ids are not.
    metadata : path or DataFrame, optional
        For a model that was fitted with covariates. A line on stderr counts the samples whose
        category was not there in training.
    batch_size : int, optional
        Samples at a time; the numbers do not depend on it.
    device, precision, long_sequences : str, optional
        As in the configuration, which they replace.
    say : callable, optional
        Called with each line on how much of the table the model knows; those that warn begin with
        "warning: ". By default they alone are given, by `warnings.warn`.

    Returns
    -------
    DataFrame
        Index ``sample-id``, every sample with reads, in the table's order. Of a regressor:
        ``prediction`` in the target's units, and ``lower`` and ``upper``, the interval that held
        90 % of the validation samples (left out where there were none). Of a classifier:
        ``prediction`` and a column of probabilities per class. Then ``known_reads``, the share of
        the sample's reads in ASVs that the model was fitted on, ``known_kmers``, the mean share of
        a read's 12-mers that occur in those, and ``in_training``, whether the model was trained or
        validated on a sample of this id; without those that the model does not tell.

    Raises
    ------
    InputError
        If the model is an encoder, or the table or model cannot be used.
    """
    model = _predictor(model)
    study = as_study(table, sequences=sequences, metadata=metadata)
    options = {"device": device, "precision": precision, "long_sequences": long_sequences}
    return pd.concat(predict_batches(model, study, batch_size=batch_size, say=say, **options))


def predict_batches(
    model,
    study: Study,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
    chunk: int = SAMPLES,
    say: Callable[[str], None] | None = None,
) -> Iterator[pd.DataFrame]:
    """Predict a metadata column, some samples at a time, however many there are.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier; not to be used otherwise until the last sample was predicted.
    study : Study
        Samples; their ASVs need not have been trained on.
    batch_size, device, precision, long_sequences, say
        As in `predict`.
    chunk : int
        Samples in each part; the numbers do not depend on it.

    Returns
    -------
    iterator of DataFrame
        Parts of what `predict` returns, in the table's order.

    Raises
    ------
    InputError
        As `predict`; at the call, before the first part is asked for.
    """
    model = _predictor(model)
    config = override(model.config, device, precision, long_sequences)
    frames = target_frames(model, study, config, batch_size, chunk)
    familiarity = Familiarity.of(model, study)
    for line in familiarity.lines:
        (say or warn)(line)
    return familiarity.beside(frames)


def target_frames(
    model: Model, study: Study, config: Config, batch_size: int | None = None, chunk: int = SAMPLES
) -> Iterator[pd.DataFrame]:
    """What `predict_batches` gives of the target alone; nothing of what the model knows."""
    parts = stream(
        model.network, study, config, ("target",), model.covariates, batch_size, chunk=chunk
    )
    starts = range(0, len(study.sample_ids), chunk)

    def frame(start, part):
        samples = slice(start, min(start + chunk, len(study.sample_ids)))
        values = in_units(model, part["target"])
        if model.forest is not None:
            beside = model.forest.predict(study, model.covariates, samples)
            values = blend(model.network_weight, values, beside)
        return as_frame(model, study.sample_ids[samples], values)

    return (frame(start, part) for start, part in zip(starts, parts, strict=True))


def predicted_distances(
    model,
    table,
    *,
    sequences=None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
) -> pd.DataFrame:
    """Distances between samples as a pretrained encoder predicts them.

    Parameters
    ----------
    model : Model or path
        Encoder pretrained with distances.
    table, sequences, batch_size, device, precision, long_sequences
        As in `predict`.

    Returns
    -------
    DataFrame
        ``[N, N]``, in [0, 1], zero on the diagonal.
    """
    model = as_model(model)
    if model.network.distance is None:
        raise InputError("This model has no distance head: it was not pretrained with distances.")
    study = as_study(table, sequences=sequences)
    config = override(model.config, device, precision, long_sequences)
    output = run(model.network, study, config, ("distance",), batch_size=batch_size)
    vectors = output["distance"]
    network = model.network.to("cpu")
    with torch.no_grad():
        parts = [network.distance.compare(part, vectors) for part in vectors.split(256)]
    distances = torch.cat(parts).fill_diagonal_(0).numpy()
    return pd.DataFrame(distances, index=study.sample_ids, columns=study.sample_ids)


def run(
    network: Network,
    study: Study,
    config: Config,
    fields: tuple[str, ...],
    covariates: Covariates | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Forward pass over every sample of a study at once; arguments and errors are of `stream`.

    Returns
    -------
    dict of Tensor
        ``[N, ...]`` float32 on the CPU, in the study's order.
    """
    chunk = len(study.sample_ids)
    (found,) = stream(network, study, config, fields, covariates, batch_size, chunk=chunk)
    return found


def stream(
    network: Network,
    study: Study,
    config: Config,
    fields: tuple[str, ...],
    covariates: Covariates | None = None,
    batch_size: int | None = None,
    *,
    chunk: int = SAMPLES,
    left_out: np.ndarray | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Forward pass over the samples of a study, some at a time, in order.

    Parameters
    ----------
    network : Network
        Moved to the device of ``config``, and back to the CPU after the last part.
    fields : tuple of str
        Fields of `ModelOutput` to collect; of the target, what the members predict together.
    covariates : Covariates, optional
        Read from the metadata of the study.
    batch_size : int, optional
        Samples that the network reads at a time, from 1; as in training by default.
    chunk : int
        Samples of a part, from 1.
    left_out : ndarray, optional
        ``[K, N]`` bool: each sample's target is predicted by the members that it names alone.

    Returns
    -------
    iterator of dict of Tensor
        ``[chunk, ...]`` float32 on the CPU; the last one may have fewer samples.

    Raises
    ------
    InputError
        If the device is absent, the batch size or chunk no size, or a sequence longer than
        accepted: at the call, before any work.
    """
    size = _batch_size(config.train) if batch_size is None else batch_size
    for name, value in (("batch size", size), ("chunk", chunk)):
        if value < 1:
            raise InputError(f"The {name} is {value}; it must be at least 1.")
    read = None if covariates is None else covariates.encode(study.metadata)
    device, precision = find_device(config.train.device), config.train.precision
    _check_lengths(study, config)
    tokens = study.tokens(config.data)

    def parts():
        try:
            vectors = _encode_present(network.to(device), study, tokens, precision)
            given = {"covariates": read, "asv_vectors": vectors, "held_out": left_out}
            batcher = Batcher(study, config.data, config.train.seed, **given)
            for start in range(0, len(study.sample_ids), chunk):
                samples = np.arange(start, min(start + chunk, len(study.sample_ids)))
                yield _forward(network, batcher, samples, fields, size, precision)
        finally:
            network.to("cpu")

    return parts()


@torch.no_grad()
def _forward(
    network: Network,
    batcher: Batcher,
    samples: np.ndarray,
    fields: tuple[str, ...],
    size: int,
    precision: str,
) -> dict[str, Tensor]:
    """Fields of these samples, in their order."""
    network.eval()
    device = batcher.asv_vectors.device
    found: dict[str, list[Tensor]] = {name: [] for name in fields}
    # Samples of alike richness share a batch, which then holds little padding.
    ends = batcher.study.counts.indptr
    order = np.argsort(ends[samples + 1] - ends[samples], kind="stable")
    for start in range(0, len(order), size):
        batch = batcher.batch(samples[order[start : start + size]]).to(device)
        with autocast(device, precision):
            output: ModelOutput = network(batch, heads=fields)
        for name in fields:
            value = getattr(output, name)
            if name == "target":
                value = network.average(value, batch.weight)
            found[name].append(value.float().cpu())
    back = torch.from_numpy(np.argsort(order))
    return {name: torch.cat(parts)[back] for name, parts in found.items()}


def _predictor(model) -> Model:
    """A `Model` that has a target."""
    model = as_model(model)
    if model.target is None:
        raise InputError(
            "This model is an encoder, which predicts no metadata: fit it first "
            "(aam fit-regressor or fit-classifier with --encoder)."
        )
    return model


def _batch_size(train: TrainConfig) -> int:
    return TrainConfig().batch_size if train.batch_size == AUTO else train.batch_size


def _check_lengths(study: Study, config: Config) -> None:
    """Say what can be done in predicting, where nothing is trained with another length."""
    most = config.data.max_bp
    if config.data.long_sequences == "truncate" or study.sequences is None:
        return
    long = [i for i, dna in zip(study.feature_ids, study.sequences, strict=True) if len(dna) > most]
    if long:
        raise InputError(
            f"{len(long):,} of {len(study.feature_ids):,} sequences are longer than data.max_bp = "
            f"{most} bases, the most that this model reads ({listing(long)}). Trim them, or "
            f"have their first {most} bases read: long_sequences = truncate "
            "(--long-sequences truncate)."
        )


def _encode_present(network: Network, study: Study, tokens: np.ndarray, precision) -> Tensor:
    """Vectors ``[F, E]`` of the ASVs that some sample has; nothing reads the others."""
    device = next(network.parameters()).device
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    vectors = torch.zeros(len(tokens), vector_size(network.config), device=device)
    vectors[torch.from_numpy(present).to(device)] = encode_asvs(
        network, tokens[present], device, precision
    )
    return vectors


@torch.no_grad()
def encode_asvs(
    network: Network, tokens: np.ndarray, device: torch.device, precision: str
) -> Tensor:
    """Vectors of ASVs, each encoded once.

    Parameters
    ----------
    tokens : ndarray
        ``[F, L + 1]`` uint8.

    Returns
    -------
    Tensor
        ``[F, E]`` float32 on ``device``.
    """
    network.eval()
    lengths = (tokens != vocab.PAD).sum(1)
    order = np.argsort(lengths, kind="stable")
    out = torch.empty(len(tokens), vector_size(network.config), device=device)
    size = CHUNK[device.type]
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        longest = lengths[rows[-1]]
        part = torch.from_numpy(tokens[rows, :longest]).to(device)
        with autocast(device, precision):
            vectors = network.vectors(part, ragged=bool(lengths[rows[0]] < longest))
        out[torch.from_numpy(rows).to(device)] = vectors.float()
    return out


def in_units(model: Model, output: Tensor) -> np.ndarray:
    """Network output ``[N, T]`` -> float64: probabilities, or one column in the target's units."""
    return model.target.predictions(output)


def blend(weight: float, network: np.ndarray, forest: np.ndarray) -> np.ndarray:
    """What network and forest predict together, of what each does."""
    return weight * network + (1 - weight) * forest


def as_frame(model: Model, sample_ids: list[str], values: np.ndarray) -> pd.DataFrame:
    """Predictions ``[N, T]``, as `in_units` gives them, as `predict` returns them."""
    return model.target.frame(sample_ids, values, model.interval)


def as_study(table, **files) -> Study:
    """A `Study`, read if it is not one yet.

    Raises
    ------
    InputError
        If a study comes with files that it should have been read with.
    """
    if not isinstance(table, Study):
        return load_study(table, **files)
    given = [name for name, value in files.items() if value is not None]
    if given:
        raise InputError(f"Give the {' and '.join(given)} to load_study: a study is complete.")
    return table


def as_model(model) -> Model:
    """A `Model`, opened if a folder was given."""
    return load_model(model) if isinstance(model, str | Path) else model


def override(config: Config, device, precision, long_sequences=None) -> Config:
    """The configuration with what was given.

    The device of the training is not that of the prediction, often on another machine.
    """
    given = {
        "train.device": device or "auto",
        "train.precision": precision,
        "data.long_sequences": long_sequences,
    }
    return config.replace({k: v for k, v in given.items() if v is not None})
