"""Distances between samples, computed on a batch and on its device.

The UniFrac family, Faith's PD, Bray-Curtis (of counts as they are) and Jaccard (of presence and
absence); all but ``weighted``, which is not normalized, lie in [0, 1]. No N x N matrix and no
sparse matrix is needed: with tips ranked in postorder (see `phylogeny`), the reads below a branch
are a difference of two cumulative sums. Nothing here waits for the device, and all arithmetic is in
float64. `DISTANCES` names them all.

Letters: B samples (X and Y where two blocks meet), U distinct features of the batch, E branches of
the phylogeny, K branches that those features leave of them (2 U slots; unused ones have length 0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from aam_core.errors import InputError, lookup
from aam_core.phylogeny.tree import Phylogeny

_BLOCK = 2**22  # elements of a block of samples x branches in `table_distances`
_PIECE = {"cpu": 2**17, "cuda": 2**24}  # elements of a piece of `_generalized`: stay in the cache
_TINY = torch.finfo(torch.float64).tiny

_on_device: WeakKeyDictionary = WeakKeyDictionary()
"""Phylogeny -> device -> its arrays there: each batch needs them, and a transfer waits."""

__all__ = [
    "DISTANCES",
    "Distance",
    "distance_matrix",
    "faith_pd",
    "find_distance",
    "prepare",
    "table_distances",
]


@dataclass(frozen=True)
class Distance:
    """How one distance between samples is computed.

    Attributes
    ----------
    values : callable
        ``(counts_BU, branches)`` -> ``[B, K]`` float64, what samples are compared by; ``branches``
        is None where no tree is needed, and K then U.
    compare : callable
        ``(x_XK, y_YK, lengths_K, alpha)`` -> ``[X, Y]`` float64; lengths are 1 without a tree.
    needs_tree : bool
        Whether it is computed over the branches of a phylogeny.
    bounded : bool
        Whether it lies in [0, 1], as a distance must that is learned.
    """

    values: Callable[[Tensor, Any], Tensor]
    compare: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    needs_tree: bool = True
    bounded: bool = True


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
        May be None for a distance that needs no tree.
    metric : str
        A key of `DISTANCES`.
    alpha : float
        Exponent of ``generalized``: 1 is ``weighted_normalized``.
    rows : slice
        Samples whose distances to all are computed, if not those of every sample.

    Returns
    -------
    Tensor
        [B, B] (fewer rows where ``rows`` selects some) float32 on the device of ``counts_BU``;
        symmetric, zero on the diagonal.

    Raises
    ------
    InputError
        For an unknown metric, or a phylogenetic one without a phylogeny.
    """
    distance = find_distance(metric, phylogeny)
    values, lengths_K = prepare(distance, counts_BU, feature_index_U, phylogeny)
    matrix = distance.compare(values[rows], values, lengths_K, alpha)
    if len(matrix) == len(values):
        # Both directions may differ by rounding, and symmetry is promised.
        matrix = (matrix + matrix.T) / 2
    itself = torch.arange(len(values), device=matrix.device)
    matrix.masked_fill_(itself[rows, None] == itself, 0)
    return matrix.to(counts_BU.device, torch.float32)


@torch.no_grad()
def faith_pd(counts_BU: Tensor, feature_index_U: Tensor, phylogeny: Phylogeny) -> Tensor:
    """Faith's phylogenetic diversity: the length of all branches over a sample's features.

    Returns
    -------
    Tensor
        [B] float32, in units of branch length.
    """
    unweighted = DISTANCES["unweighted"]
    present, lengths_K = prepare(unweighted, counts_BU, feature_index_U, phylogeny)
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
    distance = find_distance(metric, phylogeny)
    samples = counts.shape[0]
    # Only features with reads: a block is dense over them and their branches.
    features = np.flatnonzero(counts.getnnz(axis=0))
    sheared = phylogeny.take(features) if phylogeny and distance.needs_tree else None
    columns = torch.arange(len(features))
    block = block or max(1, _BLOCK // max(1, 2 * len(features)))

    def prepared(start):
        rows = torch.from_numpy(counts[start : start + block][:, features].toarray())
        return prepare(distance, rows, columns, sheared)

    out = np.zeros((samples, samples), np.float32)
    for i in range(0, samples, block):
        x, lengths_K = prepared(i)
        for j in range(i, samples, block):
            # Prepared anew for each pair: to keep all blocks would take samples x branches.
            y = x if j == i else prepared(j)[0]
            part = distance.compare(x, y, lengths_K, alpha).numpy()
            if j == i:
                part = (part + part.T) / 2
            out[i : i + block, j : j + block] = part
            out[j : j + block, i : i + block] = part.T
    np.fill_diagonal(out, 0)
    return out


def find_distance(metric: str, phylogeny: Phylogeny | None) -> Distance:
    """The entry of `DISTANCES` for a metric that can be computed with this phylogeny.

    Raises
    ------
    InputError
        For an unknown metric, or one that needs a phylogeny where there is none.
    """
    distance = lookup(DISTANCES, metric, "metric")
    if distance.needs_tree and phylogeny is None:
        without = " or ".join(name for name, each in DISTANCES.items() if not each.needs_tree)
        raise InputError(f"The metric {metric} needs a phylogeny: give a tree, or use {without}.")
    return distance


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
    # A boolean selection would be shorter, but waits for the device to know its size.
    latest = torch.where(used, place, -1).cummax(0).values
    previous = torch.nn.functional.pad(latest, (1, 0), value=-1)[:-1]
    other = (starts != starts[previous]) | (ends != ends[previous]) | (previous < 0)
    # Branches over no feature of the batch share an extra slot, which is cut off.
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
    by_device = _on_device.setdefault(phylogeny, {})
    if device not in by_device:
        arrays = (phylogeny.ranks, phylogeny.starts, phylogeny.ends, phylogeny.lengths)
        by_device[device] = tuple(torch.from_numpy(array).to(device) for array in arrays)
    return by_device[device]


def prepare(
    distance: Distance, counts_BU: Tensor, feature_index_U: Tensor, phylogeny: Phylogeny | None
) -> tuple[Tensor, Tensor]:
    """[B, K] values that ``distance`` compares, and the [K] lengths of their branches.

    Parameters as in `distance_matrix`; a phylogeny is needed where the distance needs one.
    """
    if counts_BU.device.type == "mps":
        counts_BU = counts_BU.cpu()  # that device has no float64
    if not distance.needs_tree:
        lengths = torch.ones_like(counts_BU[0], dtype=torch.float64)
        return distance.values(counts_BU, None), lengths
    assert phylogeny is not None, "`find_distance` refuses this"
    branches = _shear(phylogeny, feature_index_U, counts_BU.device)
    return distance.values(counts_BU, branches), branches.lengths_K


# --- what two samples are compared by: [B, K] float64 ---------------------------------------------


def _presence(counts_BU: Tensor, branches: _Branches | None) -> Tensor:
    """1 for each branch (without a tree: feature) over reads of the sample, else 0."""
    present = counts_BU > 0
    if branches is None:
        return present.double()
    # Whole numbers: a difference of sums is zero only where there is nothing below.
    return (branches.below(present.int()) > 0).double()


def _relative_abundance(counts_BU: Tensor, branches: _Branches) -> Tensor:
    """Share of the sample's reads below each branch."""
    counts_BU = counts_BU.double()
    # A sample without reads has shares of 0, not 0 / 0.
    share_BU = counts_BU / counts_BU.sum(1, keepdim=True).clamp_min(_TINY)
    # A difference of cumulative sums may end just below 0.
    return branches.below(share_BU).clamp_min(0)


def _counts(counts_BU: Tensor, branches: None) -> Tensor:
    """The counts as they are: scikit-bio's Bray-Curtis does not make them relative either."""
    return counts_BU.double()


# --- how they are compared: [X, Y] float64 --------------------------------------------------------


def _unshared_length(x_XK, y_YK, lengths_K, alpha) -> Tensor:
    """Length over one of two samples alone, over the length over either."""
    shared = (x_XK * lengths_K) @ y_YK.T
    total = (x_XK @ lengths_K)[:, None] + (y_YK @ lengths_K)
    return _ratio(total - 2 * shared, total - shared)


def _difference(x_XK, y_YK, lengths_K, alpha) -> Tensor:
    return torch.cdist(x_XK * lengths_K, y_YK * lengths_K, p=1)


def _relative_difference(x_XK, y_YK, lengths_K, alpha) -> Tensor:
    """The difference over the greatest that it can be."""
    x_XK, y_YK = x_XK * lengths_K, y_YK * lengths_K
    difference = torch.cdist(x_XK, y_YK, p=1)
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
            # 0 to a negative power is infinite, and times a difference of 0 NaN.
            weight = total.clamp_min(_TINY).pow_(alpha - 1)
            part = (x - y).abs_().mul_(weight) @ lengths_K
            parts.append(_ratio(part, weight.mul_(total) @ lengths_K))
        out.append(torch.cat(parts, 1))
    return torch.cat(out)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; exactly 0 where the part is nothing but rounding, and for 0 / 0."""
    return torch.where(part <= 1e-12 * whole, 0.0, part / whole)


DISTANCES: dict[str, Distance] = {
    "unweighted": Distance(_presence, _unshared_length),
    "weighted": Distance(_relative_abundance, _difference, bounded=False),
    "weighted_normalized": Distance(_relative_abundance, _relative_difference),
    "generalized": Distance(_relative_abundance, _generalized),
    "braycurtis": Distance(_counts, _relative_difference, needs_tree=False),
    "jaccard": Distance(_presence, _unshared_length, needs_tree=False),
}
"""Every distance by its name. A new one is an entry here and its name in `config.METRICS` (and in
`config.WITHOUT_TREE`, where it needs no tree): options, help and checks follow from those."""
