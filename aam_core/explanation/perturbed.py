"""What a model predicts of samples whose abundances are changed: exactly, and many of them fast.

Each ASV is encoded once. Of the usual networks, whose ASVs do not attend to each other, the change
of a sample re-weights its pooling: the vector that is pooled of ASV i is the layer norm of
``u_i + W f_i``, where ``f_i`` are three features of its abundance, so that its variance, and its
attention logits, are polynomials of ``f_i`` with coefficients that are computed once. Other
networks read each changed sample anew. Trees are walked again where a comparison turns.

Letters: N samples, F features, K members, T outputs, P changed copies of one sample, U features of
these, D width, Q queries of the pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from aam_core.data.batches import EVALUATION, Batch, Batcher
from aam_core.data.metadata import require_columns
from aam_core.data.study import Study
from aam_core.ensemble.blending import blend
from aam_core.ensemble.forward import encode_present
from aam_core.explanation.paths import ForestPaths, SamplePaths
from aam_core.log import logger
from aam_core.model import Model
from aam_core.models.abundance import scaled_log
from aam_core.models.encoder import SampleASVs
from aam_core.models.fusion import CrossAttention, Perceiver
from aam_core.models.network import LINKS, Member
from aam_core.training.precision import find_device

__all__ = ["Copies", "Perturbed"]

_ELEMENTS = 500_000
"""Of the largest tensor of a pass, about."""

_ROUNDING = 1e-12
"""Share of a sample that is none."""

_Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Abundances ``[U]`` of a sample and of another one -> ``[P, U]`` of its copies."""


class Perturbed:
    """The samples of a study as a model reads them, ready to be changed.

    Parameters
    ----------
    model : Model
        With one target.
    study : Study
        With the metadata columns that the model reads.
    config : Config
        Of the model, with the device.
    held_out : ndarray, optional
        ``[K, N]`` bool: the members that predict each sample, which the forest then does not; all
        and the forest where not given.

    Attributes
    ----------
    shares : csr_matrix
        ``[N, F]`` float64 relative abundances of what is read of the samples: of all their reads
        where the forest counts, else as ``read``.
    read : csr_matrix
        ``[N, F]`` relative abundances of the reads and ASVs that the networks read: of a model
        that draws reads, or reads ``data.max_asvs`` of more ASVs, one draw of a prediction.
    base : ndarray
        ``[N, T]`` predictions of the samples as they are, in units or as probabilities.
    """

    def __init__(self, model: Model, study: Study, config, held_out: np.ndarray | None = None):
        require_columns(study.metadata, model.columns())
        self.model, self.study, self.held_out = model, study, held_out
        self.covariates: tuple[np.ndarray, np.ndarray] | None = None
        if model.covariates is not None:
            self.covariates = model.covariates.encode(study.metadata)
        self.device = find_device(config.train.device)
        by_networks = held_out is not None or model.forest is None or model.network_weight > 0
        by_forest = model.forest is not None and held_out is None and model.network_weight < 1
        # The forest reads all of a sample, however much of it the networks do.
        self.shares = _whole_shares(study) if by_forest else _shares(study, config)
        self.read = _shares(study, config) if by_forest and by_networks else self.shares
        self.paths: ForestPaths | None = None
        if by_forest:
            assert model.forest is not None
            self.paths = ForestPaths(model.forest, study, self.shares, model.covariates)
        self.vectors: Tensor | None = None
        self.poolings: list[_Pooling | None] = []
        if by_networks:
            self._encode(config)
            if config.ensemble.passes > 1:
                logger.warning(
                    f"explanations are of one draw of each sample's reads and ASVs, where "
                    f"predictions are the mean over {config.ensemble.passes} (ensemble.passes): "
                    "they differ a little"
                )
        # Out of fold the networks are alone, and the calibrator is that of the blend.
        apart = held_out is not None and model.forest is not None and model.network_weight < 1
        self.calibrator = None if apart else model.calibrator
        rows = range(len(study.sample_ids))
        self.base = np.concatenate([self.of(n).unchanged() for n in rows])

    @torch.no_grad()
    def _encode(self, config) -> None:
        network = self.model.network.to(self.device).eval()
        tokens = self.study.tokens(config.data)
        vectors = encode_present(network, self.study, tokens, "fp32")
        self.vectors = vectors
        for module in network.members:
            assert isinstance(module, Member)
            self.poolings.append(_Pooling(module, vectors) if _pools_only(module) else None)

    def of(self, sample: int, forest: bool = True) -> Copies:
        """Changed copies of one sample, by its position; without ``forest``, to read its shares."""
        paths = self.paths.of(sample) if forest and self.paths is not None else None
        return Copies(self, sample, paths)

    def close(self) -> None:
        """Move the network back to the CPU."""
        self.model.network.to("cpu")


class Copies:
    """Predicts changed copies of one sample.

    Each way to change it gives predictions ``[P, T]`` float64, in units or as probabilities; NaN
    where a copy would have no ASV.

    Attributes
    ----------
    features : ndarray
        Positions of the ASVs that it has, ascending.
    shares : ndarray
        Their relative abundances.
    """

    def __init__(self, owner: Perturbed, sample: int, paths: SamplePaths | None):
        self.owner, self.sample, self.paths = owner, sample, paths
        self.features, self.shares = _row(owner.shares, sample)

    def on(self, features: np.ndarray) -> np.ndarray:
        """Its relative abundances ``[U]`` of these features, which are ascending."""
        return _on(self.owner.shares, self.sample, features)

    def unchanged(self) -> np.ndarray:
        """``[1, T]`` prediction of the sample as it is."""
        return self.without(np.zeros((1, len(self.features)), bool))

    def without(self, removed: np.ndarray) -> np.ndarray:
        """Without some ASVs; ratios among the others stay.

        Parameters
        ----------
        removed : ndarray
            ``[P, U]`` bool, by `features`.
        """
        return self._changed(self.features, lambda own, _: np.where(removed, 0.0, own), self)

    def receiving(self, features: np.ndarray, received: np.ndarray, donor: Copies) -> np.ndarray:
        """Some ASVs have the relative abundances that they have in another sample.

        All others share what these leave of 1, by the ratios among them; NaN where there are none
        to do so.

        Parameters
        ----------
        features : ndarray
            ``[U]`` positions in the study, ascending, with all that both samples have.
        received : ndarray
            ``[P, U]`` bool
        donor : Copies
            Of the other sample.
        """

        def change(own: np.ndarray, other: np.ndarray) -> np.ndarray:
            new = np.where(received, other, 0.0)
            rest = np.where(received, 0.0, own)
            left, sum_of_rest = 1 - new.sum(axis=1), rest.sum(axis=1)
            left[left < _ROUNDING] = 0.0
            scale = left / np.where(sum_of_rest > 0, sum_of_rest, 1.0)
            possible = (sum_of_rest > 0) | (left == 0)
            return (new + rest * scale[:, None]) * possible[:, None]

        return self._changed(features, change, donor)

    def between(self, features: np.ndarray, own: np.ndarray, other: Copies) -> np.ndarray:
        """Some ASVs have this sample's abundances, the others those of another sample.

        Abundances are divided by their sum.

        Parameters
        ----------
        features : ndarray
            ``[U]`` positions in the study, ascending, with all that both samples have.
        own : ndarray
            ``[P, U]`` bool
        other : Copies
        """
        return self._changed(features, lambda one, two: np.where(own, one, two), other)

    def _changed(self, features: np.ndarray, change: _Change, other: Copies) -> np.ndarray:
        """Make copies of what the networks read, and of what the forest does; predict them."""
        owner = self.owner
        tables = [owner.shares] if owner.read is owner.shares else [owner.read, owner.shares]
        copies = [
            change(_on(table, self.sample, features), _on(table, other.sample, features))
            for table in tables
        ]
        possible = np.logical_and.reduce([shares.sum(axis=1) > 0 for shares in copies])
        closed = [it[possible] / it[possible].sum(axis=1, keepdims=True) for it in copies]
        # Queries of a pooling; where ASVs attend to each other, their pairs.
        each = 16 if all(owner.poolings) else 16 + 4 * len(features)
        size = max(1, _ELEMENTS // (len(features) * each))
        predictions = np.full((len(possible), max(1, len(owner.model.task.classes))), np.nan)
        rows = np.flatnonzero(possible)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            predictions[rows[part]] = self._predict(features, closed[0][part], closed[-1][part])
        return predictions

    def _predict(self, features: np.ndarray, read: np.ndarray, whole: np.ndarray) -> np.ndarray:
        owner = self.owner
        model, task = owner.model, owner.model.task
        rows = owner.study.rows(np.full(len(read), self.sample))
        by_networks = by_forest = None
        if owner.vectors is not None:
            by_networks = task.predictions(self._networks(features, read), rows)
        if self.paths is not None:
            by_forest = task.restored(self.paths.predict(features, whole), rows)
        if by_networks is None:
            assert by_forest is not None, "neither networks nor forest"
            values = by_forest
        elif by_forest is None:
            values = by_networks
        else:
            values = blend(model.network_weight, by_networks, by_forest)
        return task.limited(values if owner.calibrator is None else owner.calibrator(values))

    @torch.no_grad()
    def _networks(self, features: np.ndarray, shares: np.ndarray) -> Tensor:
        """``[P, T]`` output of the networks, on the CPU."""
        owner, network = self.owner, self.owner.model.network
        assert owner.vectors is not None
        batch = self._batch(features, shares)
        weight = np.ones(len(network.members), np.float32)
        if owner.held_out is not None:
            weight = owner.held_out[:, self.sample].astype(np.float32)
        abundance = _Abundance(batch.counts)
        outputs: list[Tensor | None] = []
        for k, member in enumerate(network.members):
            assert isinstance(member, Member)
            if not weight[k]:
                outputs.append(None)
                continue
            pooling = owner.poolings[k]
            if pooling is not None:
                pooled = pooling(batch.feature_index, abundance)
                none = pooled.new_zeros(0)
                asvs = SampleASVs(none, none, none, _Constant(pooled))
            else:
                asvs = member.read(owner.vectors[batch.feature_index], batch, None)
            outputs.append(member.predict(member.fuse(asvs, batch).sample, batch, None))
        like = next(output for output in outputs if output is not None)
        # Members of weight 0 count in nothing.
        stacked = torch.stack([torch.zeros_like(like) if it is None else it for it in outputs])
        if network.parts.link:
            stacked = LINKS[network.parts.link].apply(stacked, network.parts)
        weights = torch.from_numpy(weight).to(like.device)[:, None].expand(-1, len(shares))
        return network.average(stacked, weights).float().cpu()

    def _batch(self, features: np.ndarray, shares: np.ndarray) -> Batch:
        """Of the copies; the ASVs of all are in the same columns."""
        device, (p, u) = self.owner.device, shares.shape
        counts = torch.from_numpy(shares.astype(np.float32)).to(device)
        given: dict[str, Any] = {}
        if self.owner.covariates is not None:
            parts = (torch.from_numpy(it[[self.sample]]) for it in self.owner.covariates)
            categories, numeric = (it.expand(p, *it.shape[1:]).to(device) for it in parts)
            given = {"categories": categories, "numeric": numeric}
        return Batch(
            sample_index=torch.full((p,), self.sample),
            feature_index=torch.from_numpy(features).to(device),
            asv_index=torch.arange(u, device=device).expand(p, u),
            asv_mask=counts > 0,
            counts=counts,
            **given,
        )


class _Constant:
    """A pooling whose result is there already."""

    def __init__(self, pooled: Tensor):
        self.pooled = pooled

    def __call__(self, asvs: SampleASVs) -> Tensor:
        return self.pooled


class _Abundance:
    """Features of abundance ``[P, 3, U]``, as `models.abundance` has them, of shares ``[P, U]``."""

    def __init__(self, shares: Tensor):
        self.mask = shares > 0
        self.log = shares.clamp_min(1e-6).log()
        self.features = torch.stack((scaled_log(self.log), shares, shares.sqrt()), dim=1)


class _Pooling:
    """The pooling of a member without attention between ASVs, with its sums over D done once.

    ``x = u + W f`` of an ASV; of the layer norm, the mean over D is taken from u and W before.
    """

    def __init__(self, member: Member, vectors: Tensor):
        samples, pool = member.samples, member.samples.pool
        project = member.project
        u = vectors if project is None else project(vectors[:, : project.in_features])
        u = u + samples.abundance.bias
        w = samples.abundance.weight  # [D, 3]
        u, w = u - u.mean(1, keepdim=True), w - w.mean(0)
        scale, shift = pool.norm.weight, pool.norm.bias
        width, queries = len(w), pool.score.out_features
        self.u, self.eps, self.norm = u, pool.norm.eps, samples.norm
        self.square = u.square().mean(1)
        self.cross = 2 * (u @ w) / width  # [F, 3]
        self.gram = w.T @ w / width
        self.logit = (u * scale) @ pool.score.weight.T  # [F, Q]
        self.slope = pool.score.weight @ (w * scale[:, None])  # [Q, 3]
        self.prior = pool.prior
        # All linear maps after the pooling are one, of the Q sums over ASVs.
        out = pool.out.weight.view(width, queries, width)
        self.joined = torch.einsum("oqv,vd->qdo", out, pool.value.weight * scale)
        self.joined_abundance = torch.einsum("qdo,df->qfo", self.joined, w).flatten(0, 1)
        self.joined = self.joined.flatten(0, 1).contiguous()
        constant = pool.value.weight @ shift + pool.value.bias
        self.constant = pool.out.bias + torch.einsum("oqv,v->o", out, constant)

    def __call__(self, index: Tensor, abundance: _Abundance) -> Tensor:
        """Sample vectors ``[P, D]`` of copies that have the ASVs ``index`` [U]."""
        f = abundance.features
        cross = (self.cross[index].T * f).sum(1)
        variance = self.square[index] + cross + (torch.matmul(self.gram, f) * f).sum(1)
        inverse = (variance.clamp_min(0) + self.eps).rsqrt()
        logits = torch.matmul(self.slope, f) + self.logit[index].T
        logits = logits * inverse[:, None]
        if self.prior is not None:
            logits = logits + abundance.log[:, None] * self.prior[:, None]
        logits = logits.masked_fill(~abundance.mask[:, None], float("-inf"))
        weight = logits.softmax(-1) * inverse[:, None]  # [P, Q, U]
        pooled = torch.matmul(weight, self.u[index]).flatten(1) @ self.joined
        of_abundance = torch.matmul(weight, f.transpose(1, 2)).flatten(1) @ self.joined_abundance
        return self.norm(pooled + of_abundance + self.constant)


def _pools_only(member: Member) -> bool:
    """Whether a member makes nothing of a sample's ASVs but to pool them."""
    if len(member.samples.blocks):
        return False
    return member.fusion is None or not isinstance(member.fusion.join, CrossAttention | Perceiver)


def _row(table: csr_matrix, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of a sample, ascending, and their relative abundances."""
    span = slice(table.indptr[sample], table.indptr[sample + 1])
    return table.indices[span].astype(np.int64), table.data[span]


def _on(table: csr_matrix, sample: int, features: np.ndarray) -> np.ndarray:
    """Relative abundances ``[U]`` in a sample of these features, which are ascending."""
    own, values = _row(table, sample)
    shares = np.zeros(len(features))
    place = np.searchsorted(features, own)
    place[place == len(features)] = 0
    same = features[place] == own
    shares[place[same]] = values[same]
    return shares


def _whole_shares(study: Study) -> csr_matrix:
    """``[N, F]`` relative abundances of all reads."""
    counts = csr_matrix(study.counts, dtype=np.float64, copy=True)
    counts.eliminate_zeros()
    counts.sort_indices()
    reads = np.asarray(counts.sum(axis=1)).ravel()
    counts.data /= np.repeat(reads, np.diff(counts.indptr))
    return counts


def _shares(study: Study, config) -> csr_matrix:
    """``[N, F]`` relative abundances of what the networks read of each sample."""
    batcher = Batcher(study, config.data, config.train.seed)
    draw = batcher.draw(np.arange(len(study.sample_ids)), EVALUATION)
    data, indices, ends = [], [], [0]
    for (features, reads), selected in zip(draw.reads, draw.selected, strict=True):
        order = np.argsort(features[selected])
        chosen = selected[order]
        indices.append(features[chosen])
        data.append(reads[chosen] / reads[chosen].sum())
        ends.append(ends[-1] + len(chosen))
    parts = (np.concatenate(data), np.concatenate(indices), np.array(ends))
    return csr_matrix(parts, shape=study.counts.shape)
