"""Distances between samples, computed on a batch and on its device.

The UniFrac family, Faith's PD, Bray-Curtis (of the counts as given) and Jaccard (of presence and
absence); all but ``weighted``, which is not normalized, lie in [0, 1]. No N x N matrix and no
sparse matrix is needed: with tips ranked in postorder (see `phylogeny`), the reads below a branch
are a difference of two cumulative sums. Nothing here waits for the device, and all arithmetic is in
float64.

Letters: B samples (X and Y where two blocks meet), U distinct features of the batch, E branches of
the phylogeny, K branches that those features leave of them (2 U slots; unused ones have length 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from aam_core.config import METRICS, WITHOUT_TREE
from aam_core.errors import InputError
from aam_core.phylogeny.tree import Phylogeny

_BLOCK = 2**22  # elements of a block of samples x branches in `table_distances`
_PIECE = {"cpu": 2**17, "cuda": 2**24}  # elements of a piece of `_generalized`: stay in the cache
_TINY = torch.finfo(torch.float64).tiny

_on_device: WeakKeyDictionary = WeakKeyDictionary()


@torch.no_grad()
def distance_matrix(
    counts_BU: Tensor,
    feature_index_U: Tensor,
    phylogeny: Phylogeny | None,
    metric: str,
    alpha: float = 0.5,
    rows: slice = slice(None),
) -> Tensor:
    """Distances between the samples of a batch.

    Two samples without reads are at distance 0 (so in scikit-bio, but for a NaN of Bray-Curtis). A
    sample without reads is at distance 1 from every other, except under ``weighted``.

    Parameters
    ----------
    counts_BU : Tensor
        Reads (or abundances) of each sample, any dtype; not negative.
    feature_index_U : Tensor
        Which feature of ``phylogeny`` each column is; distinct.
    phylogeny : Phylogeny, optional
        May be None for ``braycurtis`` and ``jaccard``.
    metric : str
        One of `METRICS`.
    alpha : float
        Exponent of ``generalized``: 1 is ``weighted_normalized``.
    rows : slice
        Samples whose distances to all are wanted, if not those of every sample.

    Returns
    -------
    Tensor
        [B, B] (fewer rows, as asked) float32 on the device of ``counts_BU``; symmetric, zero on the
        diagonal.

    Raises
    ------
    InputError
        For an unknown metric, or a phylogenetic one without a phylogeny.
    """
    check_metric(metric, phylogeny)
    values, lengths_K = _prepare(counts_BU, feature_index_U, phylogeny, metric)
    distance = _between(values[rows], values, lengths_K, metric, alpha)
    if len(distance) == len(values):
        distance = (distance + distance.T) / 2
    itself = torch.arange(len(values), device=distance.device)
    distance.masked_fill_(itself[rows, None] == itself, 0)
    return distance.to(counts_BU.device, torch.float32)


@torch.no_grad()
def faith_pd(counts_BU: Tensor, feature_index_U: Tensor, phylogeny: Phylogeny) -> Tensor:
    """Faith's phylogenetic diversity: the length of all branches over a sample's features.

    Returns
    -------
    Tensor
        [B] float32, in units of branch length.
    """
    present, lengths_K = _prepare(counts_BU, feature_index_U, phylogeny, "unweighted")
    return (present @ lengths_K).to(counts_BU.device, torch.float32)


def table_distances(
    counts,
    phylogeny: Phylogeny | None,
    metric: str,
    alpha: float = 0.5,
    block: int | None = None,
) -> np.ndarray:
    """Distances between all samples of a table, in blocks.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        [N, F] reads; F in the order of ``phylogeny.tip_ids``.
    phylogeny, metric, alpha
        As in `distance_matrix`.
    block : int, optional
        Samples at a time; by default as many as keep a block's branches within 32 MB.

    Returns
    -------
    numpy.ndarray
        [N, N] float32.
    """
    check_metric(metric, phylogeny)
    samples = counts.shape[0]
    features = np.flatnonzero(counts.getnnz(axis=0))
    if metric in WITHOUT_TREE:
        sheared = None
    else:
        sheared = phylogeny.take(features)
    columns = torch.arange(len(features))
    block = block or max(1, _BLOCK // max(1, 2 * len(features)))

    def prepared(start):
        rows = torch.from_numpy(counts[start : start + block][:, features].toarray())
        return _prepare(rows, columns, sheared, metric)

    out = np.zeros((samples, samples), np.float32)
    for i in range(0, samples, block):
        x, lengths_K = prepared(i)
        for j in range(i, samples, block):
            y = x if j == i else prepared(j)[0]
            distance = _between(x, y, lengths_K, metric, alpha).numpy()
            if j == i:
                distance = (distance + distance.T) / 2
            out[i : i + block, j : j + block] = distance
            out[j : j + block, i : i + block] = distance.T
    np.fill_diagonal(out, 0)
    return out


def check_metric(metric: str, phylogeny: Phylogeny | None) -> None:
    """Raise `InputError` unless ``metric`` can be computed."""
    if metric not in METRICS:
        raise InputError(f"The metric must be one of {', '.join(METRICS)}, not {metric!r}.")
    if phylogeny is None and metric not in WITHOUT_TREE:
        raise InputError(
            f"The metric {metric} needs a phylogeny: give a tree, or use braycurtis or jaccard."
        )


@dataclass(frozen=True)
class _Branches:
    """The phylogeny sheared to a batch: order_U sorts its features into postorder."""

    order_U: Tensor
    starts_K: Tensor
    ends_K: Tensor
    lengths_K: Tensor

    def below(self, values_BU: Tensor) -> Tensor:
        """[B, K]: sum of the values of the features below each branch."""
        sums = torch.nn.functional.pad(values_BU[:, self.order_U].cumsum(1), (1, 0))
        return sums[:, self.ends_K] - sums[:, self.starts_K]


def _shear(phylogeny: Phylogeny, feature_index_U: Tensor, device) -> _Branches:
    """As `Phylogeny.take`, on the device and with a fixed number of slots.

    U features leave at most 2 U - 1 branches, so the number is known without asking the device.
    """
    ranks, starts, ends, lengths = _arrays(phylogeny, device)
    ranks_U = ranks[feature_index_U.to(device)]
    slots = 2 * len(ranks_U)
    before = torch.zeros(len(ranks) + 1, dtype=torch.int64, device=device)
    before = before.index_fill(0, ranks_U + 1, 1).cumsum(0)
    starts, ends = before[starts], before[ends]
    used = starts < ends
    place = torch.arange(len(starts), device=device)
    latest = torch.where(used, place, -1).cummax(0).values
    previous = torch.nn.functional.pad(latest, (1, 0), value=-1)[:-1]
    other = (starts != starts[previous]) | (ends != ends[previous]) | (previous < 0)
    slot = torch.where(used, (used & other).cumsum(0) - 1, slots)
    empty = torch.zeros(slots + 1, dtype=torch.int64, device=device)
    return _Branches(
        torch.argsort(ranks_U),
        empty.scatter(0, slot, starts)[:slots],
        empty.scatter(0, slot, ends)[:slots],
        empty.to(torch.float64).index_add(0, slot, lengths)[:slots],
    )


def _arrays(phylogeny: Phylogeny, device) -> tuple[Tensor, ...]:
    """Ranks, starts, ends and lengths as tensors, moved to a device once."""
    held = _on_device.setdefault(phylogeny, {})
    if device not in held:
        arrays = (phylogeny.ranks, phylogeny.starts, phylogeny.ends, phylogeny.lengths)
        held[device] = tuple(torch.from_numpy(array).to(device) for array in arrays)
    return held[device]


def _prepare(counts_BU, feature_index_U, phylogeny, metric) -> tuple[Tensor, Tensor]:
    """What `_between` compares: [B, K] values per branch (or feature), and [K] lengths."""
    if counts_BU.device.type == "mps":
        counts_BU = counts_BU.cpu()  # that device has no float64
    if metric == "jaccard":
        return (counts_BU > 0).double(), torch.ones_like(counts_BU[0], dtype=torch.float64)
    if metric == "braycurtis":
        return counts_BU.double(), torch.ones_like(counts_BU[0], dtype=torch.float64)
    branches = _shear(phylogeny, feature_index_U, counts_BU.device)
    if metric == "unweighted":
        # Whole numbers: a difference of sums is zero only where there is nothing below.
        return (branches.below((counts_BU > 0).int()) > 0).double(), branches.lengths_K
    counts_BU = counts_BU.double()
    share_BU = counts_BU / counts_BU.sum(1, keepdim=True).clamp_min(_TINY)
    return branches.below(share_BU).clamp_min(0), branches.lengths_K


def _between(x_XK, y_YK, lengths_K, metric, alpha) -> Tensor:
    """[X, Y] float64."""
    if metric in ("unweighted", "jaccard"):
        shared = (x_XK * lengths_K) @ y_YK.T
        total = (x_XK @ lengths_K)[:, None] + (y_YK @ lengths_K)
        return _ratio(total - 2 * shared, total - shared)
    if metric == "generalized":
        return _generalized(x_XK, y_YK, lengths_K, alpha)
    x_XK, y_YK = x_XK * lengths_K, y_YK * lengths_K
    difference = torch.cdist(x_XK, y_YK, p=1)
    if metric == "weighted":
        return difference
    return _ratio(difference, x_XK.sum(1)[:, None] + y_YK.sum(1))


def _generalized(x_XK, y_YK, lengths_K, alpha) -> Tensor:
    """Chen et al. 2012, Bioinformatics 28:2106; a piece at a time, for it needs [X, Y, K]."""
    piece = _PIECE.get(x_XK.device.type, _PIECE["cpu"])
    columns = max(1, piece // max(1, y_YK.shape[1]))
    rows = max(1, columns // max(1, len(y_YK)))
    out = []
    for x in x_XK[:, None].split(rows):
        parts = []
        for y in y_YK.split(columns):
            total = x + y
            weight = total.clamp_min(_TINY).pow_(alpha - 1)
            part = (x - y).abs_().mul_(weight) @ lengths_K
            parts.append(_ratio(part, weight.mul_(total) @ lengths_K))
        out.append(torch.cat(parts, 1))
    return torch.cat(out)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; exactly 0 where the part is nothing but rounding, and for 0 / 0."""
    return torch.where(part <= 1e-12 * whole, 0.0, part / whole)
