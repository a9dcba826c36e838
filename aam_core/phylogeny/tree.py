"""The phylogeny of a study's features, sheared to them.

Tips are ranked in postorder, so the features below a branch are a contiguous interval of ranks and
the whole tree is four arrays: reads below a branch are a difference of two cumulative sums, and
shearing is a renumbering of intervals. Letters: F features, E branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from aam_core.errors import InputError, first_five
from aam_core.phylogeny.newick import Tree, read_newick
from aam_core.summary import Summarized

__all__ = ["Phylogeny", "find_tips"]


# eq=False keeps the hash by identity: phylogenies are keys of `distances._on_device`.
@dataclass(frozen=True, eq=False, repr=False)
class Phylogeny(Summarized):
    """Branches over features.

    Each branch is over at least one feature, and no two branches are over the same ones: a chain
    of unifurcations is one branch of their summed length. The stem between the features' common
    ancestor and the root of the tree is a branch too, over all features, as scikit-bio and UniFrac
    count it (and a length of the root itself, as scikit-bio does).

    Attributes
    ----------
    tip_ids : list of str
        F feature ids.
    lengths : numpy.ndarray
        [E] float64, branches in postorder; missing lengths are 0.
    starts, ends : numpy.ndarray
        [E] int64. Branch e is over the features of rank ``starts[e]`` up to, not including,
        ``ends[e]``.
    ranks : numpy.ndarray
        [F] int64. Place of each feature among the tips in postorder: a permutation.
    """

    tip_ids: list[str]
    lengths: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    ranks: np.ndarray

    @classmethod
    def from_tree(cls, tree, feature_ids) -> Phylogeny:
        """Shear a tree to features.

        Parameters
        ----------
        tree : Tree, str, path or skbio.TreeNode
            Anything that `read_newick` takes.
        feature_ids : sequence of str
            F distinct ids, each a tip (see `find_tips`).

        Raises
        ------
        InputError
            Where features are not tips, the tree has no branch lengths, or a branch over these
            features has a negative one.
        """
        tree = read_newick(tree)
        feature_ids = list(feature_ids)
        tips = find_tips(tree, feature_ids)
        _check_tips(tree, feature_ids, tips)
        # Lengths of 0 alone are as good as none: every distance would be 0.
        if not np.any(np.nan_to_num(tree.lengths)):
            raise InputError(
                f"{tree.source} has no branch lengths, and UniFrac is made of them: give a tree "
                "with lengths (as SEPP, FastTree or IQ-TREE write), or use a metric without tree."
            )
        lengths, starts, ends = _present(tree, tips)
        return cls(feature_ids, *_shear(lengths, starts, ends, tips))

    def take(self, features) -> Phylogeny:
        """Shear to some of the features.

        Parameters
        ----------
        features : numpy.ndarray
            Distinct indices of features, in the order wanted.
        """
        features = np.asarray(features, dtype=np.int64)
        sheared = _shear(self.lengths, self.starts, self.ends, self.ranks[features])
        return Phylogeny([self.tip_ids[f] for f in features.tolist()], *sheared)

    @cached_property
    def incidence(self) -> sp.csr_matrix:
        """[F, E] float64: 1 where the branch lies between the feature and the root."""
        sizes = self.ends - self.starts
        column = np.concatenate([[0], np.cumsum(sizes)])
        rank = np.arange(column[-1]) + np.repeat(self.starts - column[:-1], sizes)
        feature = np.argsort(self.ranks)[rank]
        shape = (len(self.tip_ids), len(self.lengths))
        return sp.csc_matrix((np.ones(len(feature)), feature, column), shape=shape).tocsr()

    def _summary(self) -> tuple[str, dict[str, str]]:
        title = f"Phylogeny: {len(self.tip_ids):,} tips, {len(self.lengths):,} branches"
        return title, {"length": f"{self.lengths.sum():g} in all"}


def find_tips(tree: Tree, feature_ids) -> np.ndarray:
    """Which tip each feature is, by name.

    Newick may write a space as an underscore, so scikit-bio reads ``a_b`` as ``a b`` where UniFrac
    does not: features without a tip are looked up a second time with underscores read as spaces on
    both sides, wherever that is unambiguous.

    Parameters
    ----------
    tree : Tree
        From `read_newick`.
    feature_ids : sequence of str
        F distinct ids.

    Returns
    -------
    numpy.ndarray
        [F] int64 index into ``tree.tip_names``; -1 for a feature that is not in the tree.
    """
    feature_ids = list(feature_ids)
    tips = {name: k for k, name in enumerate(tree.tip_names) if name}
    tip_of = np.array([tips.get(name, -1) for name in feature_ids], dtype=np.int64)
    absent = np.flatnonzero(tip_of < 0)
    if len(absent):
        # A tip that is exactly another feature is not free for the second look-up.
        taken = set(feature_ids)
        free = _spaced((name, k) for name, k in tips.items() if name not in taken)
        for name, f in _spaced((feature_ids[f], f) for f in absent.tolist()).items():
            tip_of[f] = free.get(name, -1)
    return tip_of


def _spaced(pairs) -> dict:
    """Names with spaces for underscores -> value, without ambiguous ones."""
    seen = {}
    for name, value in pairs:
        name = name.replace("_", " ")
        seen[name] = None if name in seen else value
    return {name: value for name, value in seen.items() if value is not None}


def _check_tips(tree: Tree, feature_ids: list[str], tips: np.ndarray) -> None:
    assert len(set(feature_ids)) == len(feature_ids), "feature ids must be distinct"
    absent = np.flatnonzero(tips < 0)
    if not len(absent):
        return
    names = [feature_ids[f] for f in absent]
    if len(absent) == len(feature_ids):
        raise InputError(
            f"{tree.source} has none of the table's {len(names):,} features among its tips: "
            f"features are {first_five(names)}; tips are {first_five(tree.tip_names)}. Give the "
            "tree that was built for this table."
        )
    raise InputError(
        f"{tree.source} lacks {len(names):,} of {len(feature_ids):,} features: {first_five(names)}."
        " Drop them from the table, or give the tree that was built for it."
    )


def _present(tree: Tree, tips: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nodes over ``tips``: their lengths (missing ones 0), starts and ends."""
    below = _tips_before(len(tree.tip_names), tips)
    used = below[tree.ends] > below[tree.starts]
    lengths = np.nan_to_num(tree.lengths[used], nan=0.0)
    # Of these branches alone: negative ones over other tips do not matter (a test).
    negative = lengths[lengths < 0]
    if len(negative):
        raise InputError(
            f"{tree.source} has {len(negative):,} negative branch lengths over the table's "
            f"features ({first_five(negative)}); set them to 0, or build the tree with a method "
            "that gives none."
        )
    return lengths, tree.starts[used], tree.ends[used]


def _tips_before(count: int, tips) -> np.ndarray:
    """[count + 1]: how many of ``tips`` come before each rank."""
    before = np.zeros(count + 1, np.int64)
    before[tips + 1] = 1
    return np.cumsum(before)


def _shear(
    lengths: np.ndarray, starts: np.ndarray, ends: np.ndarray, tips: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Branches over the ranks ``tips`` alone: lengths, starts, ends, ranks.

    In postorder a branch over the same tips as the branch before it (among those over any) is its
    parent in a chain of unifurcations.
    """
    before = _tips_before(ends.max(initial=0), tips)
    starts, ends = before[starts], before[ends]
    used = starts < ends
    lengths, starts, ends = lengths[used], starts[used], ends[used]
    # -1 is neither a start nor an end: the first branch always begins a chain.
    first = np.flatnonzero((np.diff(starts, prepend=-1) != 0) | (np.diff(ends, prepend=-1) != 0))
    return np.add.reduceat(lengths, first), starts[first], ends[first], before[tips]
