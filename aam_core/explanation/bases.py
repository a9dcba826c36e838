"""Where the networks look along the bases of an ASV: attention, and integrated gradients.

Only encoders that read bases have either; the components of k-mer profiles are fixed.
Letters: L bases (+1 START), E size of an ASV's vector, P points of a path, N samples, T outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core import vocab
from aam_core.config import Config, DataConfig
from aam_core.data.batches import Batch, Batcher
from aam_core.data.ids import listing
from aam_core.data.study import Study
from aam_core.ensemble.forward import check_lengths, encode_asvs
from aam_core.errors import InputError
from aam_core.log import logger
from aam_core.model import Model, as_model
from aam_core.models.kmers import KMER, kmers
from aam_core.models.network import Network
from aam_core.prediction import as_study, override
from aam_core.training.precision import find_device

__all__ = ["base_attributions", "check_reads_bases", "like_asvs"]

_INCOMPLETE = 0.05
"""Share of the total that may be missing from a sum of attributions without a warning."""


def base_attributions(
    model,
    table,
    features: Sequence[str],
    *,
    sequences=None,
    metadata=None,
    samples: int = 20,
    points: int = 32,
    device: str | None = None,
    long_sequences: str | None = None,
) -> pd.DataFrame:
    """Attention and integrated gradients along the bases of ASVs.

    Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365, eq. 1) divide among the bases
    by how much an output differs from that of a baseline. The baseline is a sequence of the same
    length all of whose bases are MASK; on the path to it each base has a share of its own embedding
    and the rest of MASK's. The output is

    - of a regressor or classifier, what the networks predict, in the target's units, or the
      probability of the class that they predict: the mean over samples with the ASV, of which the
      other ASVs stay as they are;
    - of an encoder, how far the ASV's vector is from the baseline's: its component in the direction
      from there to the vector of the sequence.

    Parameters
    ----------
    model : Model or path
        Its networks read bases: an encoder, a fit with one, or with model.encoder.features 'bases'
        or 'both' (of which the k-mer profile and random Fourier features stay as they are).
    table, sequences, metadata
        As in `aam_core.predict`.
    features : sequence of str
        Ids of ASVs of the table.
    samples : int
        Most samples with an ASV that predictions are averaged over: those with the largest share of
        it.
    points : int
        Points of the path, of Gauss and Legendre's rule.
    device, long_sequences : str, optional
        As in the configuration, which they replace.

    Returns
    -------
    DataFrame
        A row for each base of each ASV, in the order of ``features``: ``feature-id``; ``position``,
        from 1; ``base``, its letter; ``attention``, its share of what is pooled along the bases (of
        START there is the rest, up to 1); and ``attribution``, whose sum is the difference from the
        baseline.

    Raises
    ------
    InputError
        If the model reads no bases, an ASV is not in the table or in none of the samples, or as
        `aam_core.predict`.
    """
    model = as_model(model)
    check_reads_bases(model)
    study = as_study(table, sequences=sequences, metadata=metadata)
    rows = _rows(study, features)
    config = override(model.config, device, None, long_sequences)
    check_lengths(study, config)
    for name, value in (("samples", samples), ("points", points)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.")
    own = replace(study, feature_ids=list(features), sequences=None, taxonomy=None)
    letters = [study.required_sequences()[row] for row in rows]
    tokens = replace(own, sequences=letters).tokens(config.data)
    device_ = find_device(config.train.device)
    network = model.network.to(device_)
    try:
        made = None if model.target is None else _Predicted.of(model, study, config, device_)
        frames = []
        for row, name, ids, dna in zip(rows, features, tokens, letters, strict=True):
            tokens_1L = torch.from_numpy(ids[ids != vocab.PAD])[None].to(device_)
            output = made.output(row, samples) if made is not None else _displacement
            gradients = _integrated(network, tokens_1L, output, points, name)
            shares = _attention(network, tokens_1L)
            frame = {
                "position": np.arange(1, len(gradients) + 1),
                "base": list(dna[: len(gradients)]),
            }
            frames.append(pd.DataFrame({"feature-id": name, **frame, "attention": shares}))
            frames[-1]["attribution"] = gradients
    finally:
        network.to("cpu")
    return pd.concat(frames, ignore_index=True)


def check_reads_bases(model: Model) -> None:
    """Refuse a model whose networks learn nothing of the bases.

    Raises
    ------
    InputError
    """
    if model.network.bases is None:
        raise InputError(
            "This model reads ASVs by k-mer profiles, which are fixed: nothing is learned along "
            "the bases. Fit with --encoder (output of 'aam pretrain'), or with "
            "--set model.encoder.features=bases or both."
        )


def like_asvs(study: Study, feature: str, similarity: float = 0.6, most: int = 50) -> list[str]:
    """ASVs of a study with a sequence like that of one, which is the first; the likest first.

    Parameters
    ----------
    study : Study
    feature : str
        Id of an ASV.
    similarity : float
        Least cosine of the counts of 6-mers: one base that differs takes up to 6 of them.
    most : int
        ASVs at most.

    Raises
    ------
    InputError
        If the study has no such ASV.
    """
    (row,) = _rows(study, [feature])
    dna = study.required_sequences()
    longest = max(map(len, dna))
    tokens = study.tokens(DataConfig(max_bp=longest))
    own = np.bincount(kmers(torch.from_numpy(tokens[[row]]), KMER)[0].numpy(), minlength=_KINDS + 1)
    own[_KINDS] = 0  # k-mers with other letters
    cosines = np.zeros(len(dna))
    for start in range(0, len(dna), 4096):
        numbers = np.sort(kmers(torch.from_numpy(tokens[start : start + 4096]), KMER).numpy(), 1)
        part = np.arange(len(numbers))[:, None] * (_KINDS + 1) + numbers
        kind, times = np.unique(part[numbers < _KINDS], return_counts=True)
        of, kind = np.divmod(kind, _KINDS + 1)
        dot = np.bincount(of, times * own[kind], len(numbers))
        norm = np.bincount(of, times.astype(float) ** 2, len(numbers)) ** 0.5
        cosines[start : start + 4096] = dot / np.maximum(norm * np.linalg.norm(own), 1e-12)
    cosines[row] = 2  # itself first, were it without k-mers
    order = np.argsort(-cosines, kind="stable")[:most]
    return [study.feature_ids[place] for place in order if cosines[place] >= similarity]


_KINDS = len(vocab.BASES) ** KMER


def _rows(study: Study, features: Sequence[str]) -> list[int]:
    places = {name: row for row, name in enumerate(study.feature_ids)}
    unknown = [name for name in features if name not in places]
    if unknown:
        raise InputError(f"{len(unknown):,} ASVs are not in the table ({listing(unknown)}).")
    if not len(features):
        raise InputError("No ASV is named whose bases are to be explained.")
    return [places[name] for name in features]


Output = Callable[[Tensor], tuple[np.ndarray, Tensor]]
"""Vectors ``[P + 2, E]`` of an ASV from the baseline (first) to the sequence (last) -> values of an
output ``[P + 2]``, and its gradients ``[P + 2, E]``."""


def _displacement(vectors: Tensor) -> tuple[np.ndarray, Tensor]:
    """Component in the direction from the baseline to the sequence."""
    way = vectors[-1] - vectors[0]
    way = way / way.norm().clamp_min(1e-12)
    return ((vectors - vectors[0]) @ way).double().cpu().numpy(), way.expand_as(vectors)


def _integrated(
    network: Network, tokens_1L: Tensor, output: Output, points: int, name: str
) -> np.ndarray:
    """Integrated gradients ``[L]`` of an output along the bases of one sequence."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    path = torch.tensor([0.0, *(nodes + 1) / 2, 1.0], dtype=torch.float32)
    weight = torch.tensor([0.0, *weights / 2, 0.0], dtype=torch.float32)
    path, weight = path.to(tokens_1L.device), weight.to(tokens_1L.device)
    shown_PL = path[:, None].repeat(1, tokens_1L.shape[1] - 1).requires_grad_()
    vectors = _vectors(network, tokens_1L, shown_PL)
    values, slopes = output(vectors.detach())
    (gradient_PL,) = torch.autograd.grad(vectors, shown_PL, slopes * weight[:, None])
    # From MASK to the base the share of a base grows by 1, which the gradient is multiplied by.
    parts = gradient_PL.double().sum(0).cpu().numpy()
    total = values[-1] - values[0]
    if abs(parts.sum() - total) > _INCOMPLETE * max(abs(total), np.ptp(values)):
        logger.warning(
            f"{name}: attributions sum to {parts.sum():.4g}, and the output differs from that of "
            f"the baseline by {total:.4g}: more than {points} points of the path are needed"
        )
    return parts


def _vectors(network: Network, tokens_1L: Tensor, shown_PL: Tensor) -> Tensor:
    """Vectors ``[P, E]`` of a sequence that is partly hidden; what is not learned stays."""
    assert network.bases is not None, "no encoder of bases"
    with torch.no_grad():
        whole = network.vectors(tokens_1L).float().expand(len(shown_PL), -1)
    start = 0 if network.profile is None else network.config.encoder.components
    learned = network.bases.partly(tokens_1L.expand(len(shown_PL), -1), shown_PL)
    return torch.cat((whole[:, :start], learned, whole[:, start + learned.shape[1] :]), dim=1)


@torch.no_grad()
def _attention(network: Network, tokens_1L: Tensor) -> np.ndarray:
    assert network.bases is not None, "no encoder of bases"
    return network.bases.attention(tokens_1L)[0, 1:].double().cpu().numpy()


class _Predicted:
    """What the networks predict of samples, as an output of the vector of one of their ASVs."""

    def __init__(self, model: Model, study: Study, batcher: Batcher, device: torch.device):
        self.model, self.study = model, study
        self.batcher, self.device = batcher, device
        table = study.counts
        self.shares = table.multiply(1 / table.sum(1)).tocsc()

    @classmethod
    def of(cls, model: Model, study: Study, config: Config, device: torch.device) -> _Predicted:
        """Encode the ASVs that samples have, once; the network is on the device already."""
        present = np.flatnonzero(study.counts.getnnz(axis=0))
        tokens = study.tokens(config.data)
        made = encode_asvs(model.network, tokens[present], device, config.train.precision)
        vectors = made.new_zeros(len(tokens), made.shape[1])
        vectors[torch.from_numpy(present).to(device)] = made
        encoded = None if model.covariates is None else model.covariates.encode(study.metadata)
        inputs = {"covariates": encoded, "asv_vectors": vectors}
        return cls(model, study, Batcher(study, config.data, config.train.seed, **inputs), device)

    def output(self, row: int, samples: int) -> Output:
        """For the ASV in this row of the features, in at most so many samples."""
        shares = self.shares[:, [row]].toarray()[:, 0]
        most = np.sort(np.argsort(-shares, kind="stable")[:samples])
        most = most[shares[most] > 0]
        batch = self.batcher.batch(most).to(self.device) if len(most) else None
        if batch is None or not (batch.feature_index == row).any():
            name = self.study.feature_ids[row]
            raise InputError(f"No sample has reads of the ASV {name} that the model reads.")
        place = int((batch.feature_index == row).nonzero())
        return lambda vectors: self._predict(vectors, batch, place)

    def _predict(self, vectors: Tensor, batch: Batch, place: int) -> tuple[np.ndarray, Tensor]:
        network, own = self.model.network, vectors.clone().requires_grad_()
        rows = self.study.rows(batch.sample_index.cpu().numpy())
        outputs = []
        for vector in own:
            assert batch.asv_vectors is not None
            changed = batch.asv_vectors.index_copy(
                0, torch.tensor([place], device=vector.device), vector[None]
            )
            output = network(replace(batch, asv_vectors=changed), heads=("target",))
            outputs.append(network.average(output.target))
        output_PNT = torch.stack(outputs)
        value_PNC, slope_PNTC = _units(self.model, output_PNT.detach().double().cpu(), rows)
        column = int(value_PNC[-1].mean(0).argmax())  # of the class that is predicted
        slopes = torch.from_numpy(slope_PNTC[..., column] / len(batch.sample_index))
        slopes = slopes.to(output_PNT)
        (gradient,) = torch.autograd.grad(output_PNT, own, slopes)
        return value_PNC[..., column].mean(1), gradient


def _units(
    model: Model, output_PNT: Tensor, rows: pd.DataFrame | None
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions ``[P, N, C]`` in units, or of classes, and their slopes ``[P, N, T, C]``."""
    step = 1e-2  # tasks compute in single precision

    def predicted(shift):
        each = [model.task.predictions(one + shift, rows) for one in output_PNT]
        return np.stack(each).astype(np.float64)

    slopes = []
    for unit in torch.eye(output_PNT.shape[-1], dtype=output_PNT.dtype) * step:
        slopes.append((predicted(unit) - predicted(-unit)) / (2 * step))
    return predicted(0), np.stack(slopes, axis=2)
