from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.linalg import expm
from skbio import TreeNode

from aam_core.simulate import evolution
from aam_core.simulate.evolution import (
    Tree,
    birth_death_tree,
    brownian_traits,
    evolve_sequences,
    site_rates,
)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return birth_death_tree(200, np.random.default_rng(0))


@pytest.mark.parametrize("tips", [2, 3, 50])
def test_tree_is_binary_and_has_the_right_number_of_tips(tips):
    tree = birth_death_tree(tips, np.random.default_rng(3))
    assert len(tree.tips) == tips
    assert len(tree.parent) == 2 * tips - 1
    assert (tree.parent[1:] < np.arange(1, len(tree.parent))).all()
    assert (np.bincount(tree.parent[1:])[np.unique(tree.parent[1:])] == 2).all()
    assert (tree.length[1:] > 0).all()


def test_newick_is_the_tree(tree):
    names = [f"t{i}" for i in range(200)]
    read = TreeNode.read(io.StringIO(tree.newick(names)))
    depth = np.zeros(len(tree.parent))
    for node in range(1, len(tree.parent)):
        depth[node] = depth[tree.parent[node]] + tree.length[node]
    assert depth[tree.tips].mean() == pytest.approx(evolution._DEPTH)
    for name, tip in list(zip(names, tree.tips, strict=True))[::20]:
        assert read.find(name).accumulate_to_ancestor(read.root()) == pytest.approx(depth[tip])


def test_transition_probabilities_are_those_of_the_rate_matrix():
    left, speed, right = evolution._reversible_model()
    rates = left @ np.diag(speed) @ right
    assert rates.sum(axis=1) == pytest.approx(0, abs=1e-12)
    assert -(evolution._FREQUENCIES * np.diag(rates)).sum() == pytest.approx(1)
    flow = evolution._FREQUENCIES[:, None] * rates
    assert flow == pytest.approx(flow.T)  # reversible
    assert left @ np.diag(np.exp(0.3 * speed)) @ right == pytest.approx(expm(0.3 * rates))


def test_rates_vary_in_stretches():
    rates = site_rates(1000, np.random.default_rng(0))
    assert rates.mean() == pytest.approx(1)
    assert np.quantile(rates, 0.25) < 0.2 < 2 < rates.max()
    assert np.corrcoef(rates[1:], rates[:-1])[0, 1] > 0.7


def test_relatives_have_similar_sequences_and_traits(tree):
    rng = np.random.default_rng(1)
    dna = evolve_sequences(tree, 150, rng)
    assert len(set(dna)) == 200
    assert {len(text) for text in dna} == {150}
    bases = np.array([list(text) for text in dna])
    assert np.mean(bases == "G") == pytest.approx(0.31, abs=0.1)
    differ = (bases[:, None] != bases).mean(axis=2)
    pairs = np.triu_indices(200, 1)
    assert 0.2 < np.median(differ[pairs]) < 0.45
    traits = brownian_traits(tree, 2, rng)
    assert traits.mean(axis=0) == pytest.approx(0) and traits.std(axis=0) == pytest.approx(1)
    apart = np.abs(traits[:, None, 0] - traits[:, 0])[pairs]
    near = differ[pairs] < 0.05
    assert apart[near].mean() < 0.5 * apart.mean()


def test_sequences_stay_distinct_on_a_tree_without_time():
    flat = Tree(np.array([-1, 0, 0, 1, 1, 2, 2]), np.zeros(7))
    dna = evolve_sequences(flat, 20, np.random.default_rng(0))
    assert len(set(dna)) == 4
