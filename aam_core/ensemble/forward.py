"""Forward passes over all samples of a study, with networks that are trained already.

Every distinct ASV is encoded once for the whole table; the samples are read a batch at a time.
Letters: F features, L bases (+1 START), E size of an ASV vector, N samples, K members, T outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import AUTO, Config, TrainConfig
from aam_core.data.batches import EVALUATION, Batch, Batcher
from aam_core.data.covariates import Covariates
from aam_core.data.ids import listing
from aam_core.data.rarefaction import is_random
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.models.network import ModelOutput, Network, composition_size, vector_size
from aam_core.training.precision import autocast, find_device

__all__ = [
    "CHUNK",
    "check_lengths",
    "check_passes",
    "encode_asvs",
    "encode_present",
    "forward",
    "forward_chunks",
    "outputs_of_batches",
    "sample_distances",
]

CHUNK = 1024
"""Samples whose outputs are in memory at a time."""

_SHARE = 1e-3
"""Share of the reads below which the weight of an ASV in a composition is nearly linear."""

_NUMBERS = 2**26
"""Numbers that a comparison of sample vectors holds at a time, at most: 256 MB."""

_ASVS_AT_A_TIME = {"cpu": 128, "cuda": 4096, "mps": 1024}
"""ASVs encoded in one pass: on a CPU as many as stay in its cache."""


def forward(
    network: Network,
    study: Study,
    config: Config,
    outputs: Sequence[str],
    covariates: Covariates | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Outputs for every sample of a study at once; parameters and errors as `forward_chunks`.

    Returns
    -------
    dict of Tensor
        ``[N, ...]`` float32 on the CPU, in the study's order; 'passes' ``[P, N, ...]``.
    """
    size = len(study.sample_ids)
    (whole,) = forward_chunks(network, study, config, outputs, covariates, batch_size, chunk=size)
    return whole


def forward_chunks(
    network: Network,
    study: Study,
    config: Config,
    outputs: Sequence[str],
    covariates: Covariates | None = None,
    batch_size: int | None = None,
    *,
    chunk: int = CHUNK,
) -> Iterator[dict[str, Tensor]]:
    """Outputs for the samples of a study, a chunk at a time, in order.

    Parameters
    ----------
    network : Network
        Moved to the device of ``config``, and back to the CPU after the last chunk.
    outputs : sequence of str
        Of 'distance' (vectors that ``network.distance.compare`` turns into distances), 'target'
        (``[N, T]``, the weighted mean of the members), 'members' (``[N, K, T]``, each member's),
        'samples' (``[N, K, D]``, each member's sample vectors), 'sample' (``[N, D]``, those of the
        first member of a network without a target) and 'composition' (``[N, C]``, the mean vector
        of all ASVs by logarithmic abundance, without random Fourier features).
    covariates : Covariates, optional
        Read from the metadata of the study.
    batch_size : int, optional
        Samples that the network reads at a time, from 1; as in training by default.
    chunk : int
        Samples in a chunk, from 1.

    Returns
    -------
    iterator of dict of Tensor
        ``[chunk, ...]`` float32 on the CPU; the last one may have fewer samples. Where
        ``config.ensemble.passes`` is P > 1, means over so many draws; and 'passes',
        ``[P, chunk, ...]``, has the first of the outputs in each.

    Raises
    ------
    InputError
        If the device is absent, a size is below 1, or a sequence is longer than the model reads: at
        the call, before any work.
    """
    size = _positive("batch size", _batch_size(config.train) if batch_size is None else batch_size)
    _positive("chunk", chunk)
    encoded = None if covariates is None else covariates.encode(study.metadata)
    device, precision = find_device(config.train.device), config.train.precision
    check_lengths(study, config)
    tokens = study.tokens(config.data)
    # The distances of a pretrained encoder are not those of a fit, which has the setting.
    passes = 1 if "distance" in outputs else config.ensemble.passes

    # A generator of its own: what is checked above must raise at the call, not at the first chunk.
    def chunks():
        try:
            vectors = encode_present(network.to(device), study, tokens, precision)
            inputs = {"covariates": encoded, "asv_vectors": vectors}
            batcher = Batcher(study, config.data, config.train.seed, **inputs)
            given = [name for name in outputs if name != "composition"]
            for start in range(0, len(study.sample_ids), chunk):
                samples = np.arange(start, min(start + chunk, len(study.sample_ids)))
                draw = functools.partial(
                    _forward, network, batcher, samples, given, size, precision
                )
                part = draw(EVALUATION) if passes == 1 else _passes(network, draw, passes)
                if "composition" in outputs:
                    part["composition"] = _composition(network, study, vectors, samples)
                yield part
        finally:
            # Also where the caller asks for no further chunk, or one fails.
            network.to("cpu")

    return chunks()


def check_passes(study: Study, config: Config) -> None:
    """Refuse several passes where each would predict the same.

    Raises
    ------
    InputError
    """
    if config.ensemble.passes == 1 or is_random(config.data, study.counts):
        return
    raise InputError(
        f"{config.ensemble.passes} passes would all predict the same: no sample has more than "
        "data.max_asvs ASVs of which data.asv_selection=random draws some, and no reads are drawn "
        "anew (data.rarefaction=redraw, and samples with more than data.sampling_depth reads). "
        "Leave passes out (ensemble.passes, --passes)."
    )


@torch.no_grad()
def outputs_of_batches(
    network: Network,
    study: Study,
    config: Config,
    covariates: Covariates | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[Batch, ModelOutput]]:
    """All that a network gives for the target, a batch of samples at a time, in the study's order.

    Parameters and errors as `forward_chunks`, which is for outputs of one shape a sample; here a
    batch tells which ASVs it has. Errors are raised when the first batch is asked for.
    """
    size = _positive("batch size", _batch_size(config.train) if batch_size is None else batch_size)
    encoded = None if covariates is None else covariates.encode(study.metadata)
    device, precision = find_device(config.train.device), config.train.precision
    check_lengths(study, config)
    try:
        vectors = encode_present(network.to(device), study, study.tokens(config.data), precision)
        inputs = {"covariates": encoded, "asv_vectors": vectors}
        batcher = Batcher(study, config.data, config.train.seed, **inputs)
        for start in range(0, len(study.sample_ids), size):
            samples = np.arange(start, min(start + size, len(study.sample_ids)))
            batch = batcher.batch(samples)
            with autocast(device, precision):
                output = network(batch.to(device), heads=("target",))
            yield batch, output
    finally:
        network.to("cpu")


@torch.no_grad()
def sample_distances(
    network: Network, study: Study, config: Config, batch_size: int | None = None
) -> np.ndarray:
    """Distances between samples as a network with a distance head predicts them.

    Returns
    -------
    ndarray
        ``[N, N]`` float32 in [0, 1] (but of unbounded distances), symmetric, zero on the diagonal.
    """
    vectors = forward(network, study, config, ("distance",), batch_size=batch_size)["distance"]
    network = network.to("cpu")
    assert network.distance is not None, "no distance head"
    distances = torch.empty(len(vectors), len(vectors))
    # Rows at a time: some heads hold the difference of every two vectors.
    rows = min(256, max(1, _NUMBERS // max(1, vectors.numel())))
    for start in range(0, len(vectors), rows):
        here = slice(start, start + rows)
        distances[here] = network.distance.compare(vectors[here], vectors)
        # Rounding depends on the place, and scikit-bio refuses what is not symmetric exactly.
        distances[start + rows :, here] = distances[here, start + rows :].T
        distances[here, here] = distances[here, here].triu(1) + distances[here, here].triu(1).T
    return distances.numpy()


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
    # Sorted by length, so that a pass has little padding.
    order = np.argsort(lengths, kind="stable")
    vectors = torch.empty(len(tokens), vector_size(network.config), device=device)
    size = _ASVS_AT_A_TIME[device.type]
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        longest = lengths[rows[-1]]
        part = torch.from_numpy(tokens[rows, :longest]).to(device)
        with autocast(device, precision):
            encoded = network.vectors(part, ragged=bool(lengths[rows[0]] < longest))
        vectors[torch.from_numpy(rows).to(device)] = encoded.float()
    return vectors


@torch.no_grad()
def _forward(
    network: Network,
    batcher: Batcher,
    samples: np.ndarray,
    outputs: Sequence[str],
    size: int,
    precision: str,
    epoch: int,
) -> dict[str, Tensor]:
    """Outputs for these samples, in their order, by the draws of an epoch."""
    network.eval()
    assert batcher.asv_vectors is not None
    device = batcher.asv_vectors.device
    heads = {"target" if name == "members" else name for name in outputs}
    parts: dict[str, list[Tensor]] = {name: [] for name in outputs}
    # Samples of similar richness share a batch, which then has little padding.
    ends = batcher.study.counts.indptr
    order = np.argsort(ends[samples + 1] - ends[samples], kind="stable")
    for start in range(0, len(order), size):
        batch = batcher.batch(samples[order[start : start + size]], epoch).to(device)
        with autocast(device, precision):
            output = network(batch, heads=heads)
        values = {"distance": output.distance, "sample": output.sample}
        # Samples first, as the batches are concatenated along them.
        if output.target is not None:
            values["members"] = output.target.transpose(0, 1)
        if output.samples is not None:
            values["samples"] = output.samples.transpose(0, 1)
        if "target" in outputs:
            values["target"] = network.average(output.target)
        for name in outputs:
            parts[name].append(values[name].float().cpu())
    back = torch.from_numpy(np.argsort(order))
    return {name: torch.cat(tensors)[back] for name, tensors in parts.items()}


def _passes(
    network: Network, draw: Callable[[int], dict[str, Tensor]], passes: int
) -> dict[str, Tensor]:
    """Means over the outputs of several draws, and the first of them by draw."""
    each: list[dict[str, Tensor]] = []
    vectors: list[Tensor] = []
    for epoch in range(passes):
        one = draw(epoch)
        if "samples" in one:
            # A running sum: vectors are much larger than the other outputs.
            own = one.pop("samples")
            vectors = [vectors[0].add_(own) if vectors else own]
        each.append(one)
    if not each[0]:  # vectors alone
        return {"samples": vectors[0] / passes}
    stacks = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    first = next(iter(stacks))
    means = {name: network.mean_output(stack) for name, stack in stacks.items()}
    if vectors:
        means["samples"] = vectors[0] / passes
    return {**means, "passes": stacks[first]}


def _composition(network: Network, study: Study, vectors: Tensor, samples: np.ndarray) -> Tensor:
    """``[n, C]`` mean ASV vectors of some samples, by log(1 + share of the reads / 0.001).

    By the shares alone one ASV that takes over a sample would make it the only one of its kind.
    """
    weights = study.counts[samples].astype(np.float64)
    reads = np.maximum(np.asarray(weights.sum(axis=1)).ravel(), 1.0)
    weights.data = np.log1p(weights.data / reads.repeat(np.diff(weights.indptr)) / _SHARE)
    read = vectors[:, : composition_size(network.config)].cpu().numpy()
    total = np.maximum(np.asarray(weights.sum(axis=1)), 1e-12)
    return torch.from_numpy((weights @ read / total).astype(np.float32))


def encode_present(network: Network, study: Study, tokens: np.ndarray, precision) -> Tensor:
    """Vectors ``[F, E]`` of the ASVs that some sample has; nothing reads the others."""
    device = next(network.parameters()).device
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    vectors = torch.zeros(len(tokens), vector_size(network.config), device=device)
    vectors[torch.from_numpy(present).to(device)] = encode_asvs(
        network, tokens[present], device, precision
    )
    return vectors


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"The {name} is {value}; it must be at least 1.")
    return value


def _batch_size(train: TrainConfig) -> int:
    return TrainConfig().batch_size if train.batch_size == AUTO else train.batch_size


def check_lengths(study: Study, config: Config) -> None:
    """Refuse sequences that are too long, and say what to do where nothing is trained any more."""
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
