"""Groups of ASVs that stand in for one another: taxa, clades of a tree, clusters of like sequences.

Letters: F features, G groups, E branches, C components of k-mer profiles.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.data.study import Study
from aam_core.data.taxonomy import lineages
from aam_core.errors import InputError
from aam_core.log import logger
from aam_core.phylogeny.tree import Phylogeny

__all__ = ["SIZES", "Level", "clades", "clusters", "consensus", "each_asv", "levels_of", "taxa"]

SIZES = (10, 30, 100)
"""Numbers of clades or clusters, about: one division of the ASVs for each."""

_MOST_CLUSTERED = 10_000
"""ASVs whose distances are computed: their square takes 400 MB."""


@dataclass(frozen=True, eq=False)
class Level:
    """One division of the features: each is of one group at most.

    Attributes
    ----------
    kind : str
        'asv', the name of a rank, 'clade' or 'cluster'.
    names : list of str
        G names.
    of : ndarray
        ``[F]`` int64 place of each feature's group, -1 where it has none.
    """

    kind: str
    names: list[str]
    of: np.ndarray


def each_asv(study: Study) -> Level:
    """Each ASV by itself."""
    return Level("asv", list(study.feature_ids), np.arange(len(study.feature_ids)))


def levels_of(study: Study, sizes: Sequence[int] = SIZES) -> list[Level]:
    """The groups of a study's ASVs: taxa and clades where it has them, else clusters.

    Groups of one ASV, and groups of the same ASVs as one of a level before, are not there.

    Parameters
    ----------
    study : Study
        With sequences, where it has neither taxonomy nor tree.
    sizes : sequence of int
        Numbers of clades or clusters; from 2. () for none.
    """
    bad = [size for size in sizes if size < 2]
    if bad:
        raise InputError(f"{bad[0]} clades or clusters are no division: give 2 or more.")
    levels = [] if study.taxonomy is None else taxa(study.taxonomy)
    if study.phylogeny is not None:
        place = {name: i for i, name in enumerate(study.feature_ids)}
        tips = np.array([place[name] for name in study.phylogeny.tip_ids])
        levels += clades(study.phylogeny, tips, len(study.feature_ids), sizes)
    elif study.taxonomy is None and sizes:
        counts = csr_matrix(study.counts, dtype=float)
        shares = counts.multiply(1 / counts.sum(axis=1)).sum(axis=0)
        levels += clusters(study.required_sequences(), sizes, np.asarray(shares).ravel())
    return _distinct(levels)


def taxa(taxonomy: Sequence[str]) -> list[Level]:
    """A level for each rank, of the features' lineages down to it."""
    paths, ranks = lineages(taxonomy)
    levels = []
    for column, rank in enumerate(ranks):
        names = sorted({path[column] for path in paths if path[column]})
        place = {name: i for i, name in enumerate(names)}
        levels.append(Level(rank, names, np.array([place.get(it[column], -1) for it in paths])))
    return levels


def clades(
    phylogeny: Phylogeny, features: np.ndarray, count: int, sizes: Sequence[int]
) -> list[Level]:
    """A tree cut into about as many clades as each of ``sizes``, the deepest of them first.

    Parameters
    ----------
    phylogeny : Phylogeny
    features : ndarray
        Place of each of its tips among ``count`` features.
    count : int
        F.
    sizes : sequence of int
    """
    starts, ends = phylogeny.starts, phylogeny.ends
    children: dict[int, list[int]] = {}
    height = np.zeros(len(starts))  # from the lower end of a branch to its farthest tip
    stack: list[int] = []
    for branch in range(len(starts)):  # in postorder: children first
        below = []
        while stack and starts[stack[-1]] >= starts[branch]:
            below.append(stack.pop())
        children[branch] = below
        height[branch] = max((height[it] + phylogeny.lengths[it] for it in below), default=0.0)
        stack.append(branch)
    tip_of_rank = features[np.argsort(phylogeny.ranks)]
    # The farthest tip first; those of equal height in their order in the tree.
    queue = [(-height[branch], branch) for branch in stack]
    heapq.heapify(queue)
    done: list[int] = []
    levels = []
    for size in sorted(set(sizes)):
        while queue and len(queue) + len(done) < size:
            _, branch = heapq.heappop(queue)
            if not children[branch]:
                done.append(branch)
            for child in children[branch]:
                heapq.heappush(queue, (-height[child], child))
        chosen = sorted([*done, *(branch for _, branch in queue)])
        of = np.full(count, -1)
        for number, branch in enumerate(chosen):
            of[tip_of_rank[starts[branch] : ends[branch]]] = number
        names = [f"clade-{size}-{number + 1:0{len(str(size))}d}" for number in range(len(chosen))]
        levels.append(Level("clade", names, of))
    return levels


def clusters(sequences: Sequence[str], sizes: Sequence[int], abundance: np.ndarray) -> list[Level]:
    """Average-linkage clusters of 6-mer profiles, by the Hellinger distance of their frequencies.

    Average linkage: Sokal and Michener 1958 (Univ. Kansas Sci. Bull. 38:1409). Of more than
    10,000 features those of the greatest ``abundance`` [F] are grouped.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    count = min(len(sequences), _MOST_CLUSTERED)
    if count < len(sequences):
        logger.info(f"clusters are of the {count:,} most abundant of {len(sequences):,} ASVs")
    if count < 3:
        return []
    chosen = np.sort(np.argsort(-abundance, kind="stable")[:count])
    tree = linkage(_profiles([sequences[i] for i in chosen]), "average")
    levels = []
    for size in sorted(set(sizes)):
        of = np.full(len(sequences), -1)
        of[chosen] = fcluster(tree, size, "maxclust") - 1
        number = int(of.max()) + 1
        names = [f"cluster-{size}-{it + 1:0{len(str(size))}d}" for it in range(number)]
        levels.append(Level("cluster", names, of))
    return levels


def consensus(taxonomy: Sequence[str], members: Sequence[int]) -> str:
    """The longest lineage that at least half of some features share."""
    split = [[part.strip() for part in taxonomy[i].split(";")] for i in members]
    common: list[str] = []
    while True:
        longer = Counter(
            parts[len(common)]
            for parts in split
            if parts[: len(common)] == common and len(parts) > len(common) and parts[len(common)]
        )
        if not longer or longer.most_common(1)[0][1] * 2 < len(split):
            return "; ".join(common)
        common.append(longer.most_common(1)[0][0])


def _profiles(sequences: Sequence[str]) -> np.ndarray:
    """``[F, C]`` square roots of the frequencies of the 6-mers that occur."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(analyzer="char", ngram_range=(6, 6), lowercase=False).fit_transform(
        [sequence if len(sequence) >= 6 else sequence.ljust(6, "N") for sequence in sequences]
    )
    roots = counts.astype(float).multiply(1 / counts.sum(axis=1)).sqrt().tocsr()
    if min(roots.shape) <= 100:
        return roots.toarray()
    from sklearn.decomposition import TruncatedSVD

    # 100 components tell like sequences from others, at a hundredth of the memory.
    return TruncatedSVD(100, random_state=0).fit_transform(roots)


def _distinct(levels: list[Level]) -> list[Level]:
    """Levels without groups of one feature, and without those that are there already."""
    seen: set[bytes] = set()
    kept = []
    for level in levels:
        new: list[bytes] = []
        names: list[str] = []
        of = np.full(len(level.of), -1)
        order = np.argsort(level.of, kind="stable")
        ends = np.searchsorted(level.of[order], np.arange(len(level.names) + 1))
        for number, name in enumerate(level.names):
            members = order[ends[number] : ends[number + 1]]
            key = members.tobytes()
            if len(members) > 1 and key not in seen:
                new.append(key)
                of[members] = len(names)
                names.append(name)
        seen.update(new)
        if names:
            kept.append(Level(level.kind, names, of))
    return kept
