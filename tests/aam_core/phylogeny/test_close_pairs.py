"""Pairs at distance 0 are those of the matrix of all distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from aam_core.phylogeny import close_pairs as module
from aam_core.phylogeny.close_pairs import close_pairs, zero_classes
from aam_core.phylogeny.distances import DISTANCES, table_distances
from aam_core.phylogeny.tree import Phylogeny

# b and c have no branch of their own.
TREE = Phylogeny.from_tree("((a:1,(b:0,c:0):2):1,(d:1,e:3):1,f:2);", list("abcdef"))


@pytest.fixture
def counts():
    rng = np.random.default_rng(3)
    few = rng.integers(0, 3, (40, 6)) * (rng.random((40, 6)) < 0.4)
    few[:, 0] += few.sum(1) == 0
    return csr_matrix(np.concatenate([few, few[:5], 2 * few[5:9]]))


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("bound", [0.0, 0.3])
def test_pairs_are_those_of_the_matrix(counts, metric, bound, monkeypatch):
    monkeypatch.setattr(module, "_SIDE", 7)
    monkeypatch.setattr(module, "_BLOCK", 12 * 10)  # ten samples at a time
    matrix = table_distances(counts, TREE, metric)
    expected = {tuple(pair) for pair in np.argwhere(np.triu(matrix <= bound, 1)).tolist()}
    blocks = list(close_pairs(counts, TREE, metric, bound=bound))
    i, j, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    assert len(i) > 5
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == expected and len(i) == len(expected)
    assert np.allclose(values, matrix[i, j], atol=1e-6)


def test_a_branch_without_length_tells_no_samples_apart():
    counts = csr_matrix([[1, 2, 0, 0, 0, 0], [1, 0, 2, 0, 0, 0], [1, 0, 1, 0, 0, 0]])
    assert zero_classes(counts, TREE, "unweighted").tolist() == [0, 0, 0]
    assert len(set(zero_classes(counts, TREE, "weighted").tolist())) == 2
    assert len(set(zero_classes(counts, None, "jaccard").tolist())) == 2
