"""A random tree, and what evolves along it: DNA and traits.

Letters: F tips (features), M nodes of the tree, L bases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

__all__ = ["Tree", "birth_death_tree", "brownian_traits", "evolve_sequences", "site_rates"]

_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)

_EXCHANGE = np.array(
    [
        [0.0, 1.0, 2.5, 1.0],
        [1.0, 0.0, 0.8, 3.5],
        [2.5, 0.8, 0.0, 1.0],
        [1.0, 3.5, 1.0, 0.0],
    ]
)
"""Exchangeabilities between A, C, G, T: transitions two to three times as frequent as the rest."""

_FREQUENCIES = np.array([0.26, 0.23, 0.31, 0.20])
"""Stationary base frequencies, near those of 16S rRNA genes."""

_DEPTH = 0.5
"""Mean expected substitutions per site from the root to a tip."""

_RATE_SHAPE = 0.5
"""Shape of the gamma distribution of rates over sites: most are conserved, few fast."""

_STRETCH = 4
"""Standard deviation, in bases, over which neighbouring sites share their rate."""


@dataclass(frozen=True)
class Tree:
    """A rooted tree as arrays; a parent always precedes its children, node 0 is the root."""

    parent: np.ndarray
    """[M] index of each node's parent; -1 for the root."""
    length: np.ndarray
    """[M] length of the branch above each node, in expected substitutions per site."""

    @property
    def tips(self) -> np.ndarray:
        """[F] nodes without children."""
        return np.setdiff1d(np.arange(len(self.parent)), self.parent)

    def newick(self, names) -> str:
        """Newick text; ``names`` are those of ``tips``, in that order."""
        text = dict(zip(self.tips.tolist(), names, strict=True))
        children: dict[int, list[str]] = {}
        # From the last: a node's children, which have greater numbers, are then written.
        for node in range(len(self.parent) - 1, 0, -1):
            label = text[node] if node in text else f"({','.join(children.pop(node))})"
            children.setdefault(int(self.parent[node]), []).append(
                f"{label}:{self.length[node]:.8g}"
            )
        return f"({','.join(children[0])});"


def birth_death_tree(tips: int, rng: np.random.Generator, death: float = 0.3) -> Tree:
    """Grow a birth-death tree until ``tips`` lineages live, and drop those that died out.

    Branches have their own rates (a relaxed clock: gamma with coefficient of variation 0.5), so
    the tree is not ultrametric; it is scaled to a mean root-to-tip length of `_DEPTH`.

    Parameters
    ----------
    tips : int
        Living lineages, at least 2.
    rng : numpy.random.Generator
    death : float
        Death rate over birth rate, below 1.
    """
    grown = None
    while grown is None:
        grown = _grow(tips, rng, death)
    parent, length = _prune(*grown)
    length = length * rng.gamma(4.0, 0.25, len(length))  # mean 1, variation 1 / sqrt(4)
    length[0] = 0.0
    depth = np.zeros(len(parent))
    for node in range(1, len(parent)):
        depth[node] = depth[parent[node]] + length[node]
    tree = Tree(parent, length)
    return Tree(parent, length * (_DEPTH / depth[tree.tips].mean()))


def _grow(tips, rng, death):
    """One run of the process: (parent, length, living tips); None where all died out."""
    parent, born, end = [-1], [0.0], [0.0]
    living, time = [0], 0.0
    while len(living) < tips:
        time += rng.exponential(1.0 / (len(living) * (1.0 + death)))
        place = int(rng.integers(len(living)))
        node = living[place]
        living[place] = living[-1]
        living.pop()
        end[node] = time
        if rng.random() * (1.0 + death) < 1.0:
            for _ in range(2):
                living.append(len(parent))
                parent.append(node)
                born.append(time)
                end.append(time)
        elif not living:
            return None
    # Otherwise the two tips of the last split would have branches of length 0.
    time += rng.exponential(1.0 / (tips * (1.0 + death)))
    for node in living:
        end[node] = time
    return np.array(parent), np.array(end) - np.array(born), living


def _prune(parent, length, living):
    """Keep what leads to a living tip, and join the branches round nodes left with one child."""
    kept = np.zeros(len(parent), dtype=bool)
    kept[living] = True
    degree = np.zeros(len(parent), dtype=np.int64)
    for node in range(len(parent) - 1, 0, -1):
        if kept[node]:
            kept[parent[node]] = True
            degree[parent[node]] += 1
    new_parent: list[int] = []
    new_length: list[float] = []
    above = {-1: (-1, 0.0)}
    for node in np.flatnonzero(kept).tolist():
        ancestor, carried = above[int(parent[node])]
        if degree[node] == 1:
            above[node] = (ancestor, carried + length[node])
        else:
            above[node] = (len(new_parent), 0.0)
            new_parent.append(ancestor)
            new_length.append(carried + length[node])
    return np.array(new_parent), np.array(new_length)


def site_rates(sites: int, rng: np.random.Generator) -> np.ndarray:
    """[L] substitution rates, mean 1: gamma-distributed, in conserved and variable stretches."""
    reach = np.arange(-3 * _STRETCH, 3 * _STRETCH + 1)
    kernel = np.exp(-0.5 * (reach / _STRETCH) ** 2)
    smooth = np.convolve(rng.normal(size=sites + len(kernel) - 1), kernel, mode="valid")
    # By ranks, so that the rates are gamma-distributed whatever smoothing does to the variance.
    quantile = (np.argsort(np.argsort(smooth)) + 0.5) / sites
    rates = gammaincinv(_RATE_SHAPE, quantile)
    return rates / rates.mean()


def evolve_sequences(tree: Tree, sites: int, rng: np.random.Generator) -> list[str]:
    """Evolve DNA from the root to the tips under a general time-reversible model.

    Rates vary over sites (`site_rates`). Tips that would end up alike differ in at least one
    base afterwards, so that every sequence is distinct.

    Returns
    -------
    list of str
        F sequences of ``sites`` bases, in the order of ``tree.tips``.

    References
    ----------
    Tavaré S (1986). Some probabilistic and statistical problems in the analysis of DNA
    sequences. Lectures on Mathematics in the Life Sciences 17: 57-86.
    Yang Z (1994). Maximum likelihood phylogenetic estimation from DNA sequences with variable
    rates over sites. Journal of Molecular Evolution 39: 306-314.
    """
    left, speed, right = _reversible_model()
    rates = site_rates(sites, rng)
    bases = np.empty((len(tree.parent), sites), dtype=np.uint8)
    bases[0] = rng.choice(4, size=sites, p=_FREQUENCIES)
    for node in range(1, len(tree.parent)):
        start = bases[tree.parent[node]]
        decay = np.exp(np.outer(rates * tree.length[node], speed))
        chance = np.cumsum((left[start] * decay) @ right, axis=1)
        # Rounding may leave the last sum beside 1, and a draw above it.
        drawn = rng.random((sites, 1)) * chance[:, -1:]
        bases[node] = np.minimum((drawn > chance).sum(axis=1), 3)
    return _distinct(bases[tree.tips], rng)


def _reversible_model():
    """Eigensystem of the rate matrix Q, scaled to one substitution per unit of length.

    P(t) = left @ diag(exp(speed * t)) @ right.
    """
    rates = _EXCHANGE * _FREQUENCIES
    np.fill_diagonal(rates, -rates.sum(axis=1))
    rates /= -(_FREQUENCIES * np.diag(rates)).sum()
    root = np.sqrt(_FREQUENCIES)
    # Similar to Q and symmetric, as the model is reversible: all eigenvalues are real.
    speed, vectors = np.linalg.eigh(root[:, None] * rates / root)
    return vectors / root[:, None], speed, vectors.T * root


def _distinct(bases, rng):
    seen, sequences = set(), []
    for row in bases:
        text = _BASES[row].tobytes().decode()
        while text in seen:
            site = rng.integers(len(row))
            row[site] = (row[site] + rng.integers(1, 4)) % 4
            text = _BASES[row].tobytes().decode()
        seen.add(text)
        sequences.append(text)
    return sequences


def brownian_traits(tree: Tree, traits: int, rng: np.random.Generator) -> np.ndarray:
    """[F, traits] Brownian motion along the tree, each trait scaled to mean 0 and deviation 1."""
    steps = rng.normal(size=(len(tree.parent), traits)) * np.sqrt(tree.length)[:, None]
    for node in range(1, len(tree.parent)):
        steps[node] += steps[tree.parent[node]]
    values = steps[tree.tips]
    return (values - values.mean(axis=0)) / values.std(axis=0)
