"""Distances against scikit-bio (random trees) and UniFrac's own code (real studies)."""

from __future__ import annotations

import io
from dataclasses import fields

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from aam_core.config import METRICS, WITHOUT_TREE, LossConfig
from aam_core.errors import InputError
from aam_core.phylogeny.distances import DISTANCES, distance_matrix, faith_pd, table_distances
from aam_core.phylogeny.newick import read_newick
from aam_core.phylogeny.tree import Phylogeny, find_tips

TOLERANCE = {"rtol": 0, "atol": 1e-6}


def random_tree(rng, tips):
    """Newick with polytomies, unifurcations, zero and missing lengths, and any kind of root."""

    def length():
        draw = rng.random()
        return "" if draw < 0.1 else ":0" if draw < 0.2 else f":{rng.gamma(0.5):.9g}"

    nodes = [f"t{k}{length()}" for k in rng.permutation(tips)]
    while len(nodes) > 1:
        count = min(len(nodes), int(rng.integers(1, 5)))
        chosen = [nodes.pop(int(rng.integers(len(nodes)))) for _ in range(count)]
        nodes.append(f"({','.join(chosen)}){length()}")
    root = nodes[0] if nodes[0][0] == "(" else f"({nodes[0]})"
    return (f"({root})" if rng.random() < 0.3 else root) + ";"


def random_study(seed, tips=None):
    """Tree, ids of the features (not all tips), counts; two samples are empty, two are alike."""
    rng = np.random.default_rng(seed)
    tips = tips or int(rng.integers(2, 40))
    text = random_tree(rng, tips) if tips > 1 else "((t0:0.5):1);"
    ids = [f"t{k}" for k in rng.permutation(tips)[: max(1, tips - tips // 4)]]
    counts = rng.poisson(rng.gamma(0.3, 8, (9, len(ids))))
    counts[[2, 5]] = 0
    counts[4] = counts[1]
    counts[0, 0] += 1
    return text, ids, counts


def scikit_bio(metric, counts, ids, text):
    skbio = pytest.importorskip("skbio")
    from skbio.diversity import alpha_diversity, beta_diversity

    kind, options = {
        "unweighted": ("unweighted_unifrac", {}),
        "weighted": ("weighted_unifrac", {}),
        "weighted_normalized": ("weighted_unifrac", {"normalized": True}),
    }.get(metric, (metric, None))
    if options is None and metric != "faith_pd":
        return beta_diversity(kind, counts).data
    # The features' argument changed its name with scikit-bio 0.6.
    named = "otu_ids" if skbio.__version__ < "0.6" else "taxa"
    tree = skbio.TreeNode.read(io.StringIO(text))
    given = {"validate": False, "tree": tree, named: ids}
    if metric == "faith_pd":
        return alpha_diversity(kind, counts, **given).to_numpy()
    return beta_diversity(kind, counts, **given, **options).data


def ours(metric, counts, ids, text, alpha=0.5):
    index = torch.arange(len(ids))
    return distance_matrix(
        torch.from_numpy(counts), index, Phylogeny.from_tree(text, ids), metric, alpha
    ).numpy()


def test_the_configuration_offers_every_distance():
    assert tuple(DISTANCES) == METRICS
    assert tuple(n for n, each in DISTANCES.items() if not each.needs_tree) == WITHOUT_TREE
    (learned,) = [f.metadata["choices"] for f in fields(LossConfig) if f.name == "metric"]
    assert learned == METRICS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(25))
def test_scikit_bio_on_random_trees(seed):
    text, ids, counts = random_study(seed)
    for metric in ("unweighted", "weighted", "weighted_normalized", "jaccard"):
        expected = scikit_bio(metric, counts, ids, text)
        if metric == "weighted_normalized":
            # 0 / 0 where two samples lie on branches of no length.
            expected = np.nan_to_num(expected)
        np.testing.assert_allclose(
            ours(metric, counts, ids, text), expected, **TOLERANCE, err_msg=metric
        )
    expected = np.nan_to_num(scikit_bio("braycurtis", counts, ids, text))
    np.testing.assert_allclose(ours("braycurtis", counts, ids, text), expected, **TOLERANCE)
    pd = faith_pd(torch.from_numpy(counts), torch.arange(len(ids)), Phylogeny.from_tree(text, ids))
    np.testing.assert_allclose(pd, scikit_bio("faith_pd", counts, ids, text), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_single_tip_and_root_with_one_child():
    for text in ("(t0:1);", "((t0:0.5):1);", "((t0:0.5):1):2;"):
        counts = np.array([[3], [1], [0]])
        for metric in ("unweighted", "weighted", "weighted_normalized"):
            np.testing.assert_allclose(
                ours(metric, counts, ["t0"], text),
                scikit_bio(metric, counts, ["t0"], text),
                **TOLERANCE,
            )


def by_definition(counts, ids, text, alpha):
    """Generalized UniFrac pair by pair, branch by branch."""
    phylogeny = Phylogeny.from_tree(text, ids)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1) @ phylogeny.incidence.toarray()
    out = np.zeros((len(counts), len(counts)))
    for i, p in enumerate(share):
        for j, q in enumerate(share):
            on = (p + q) > 1e-15
            weight = phylogeny.lengths[on] * (p + q)[on] ** alpha
            if weight.sum() > 0:
                out[i, j] = (weight * np.abs(p - q)[on] / (p + q)[on]).sum() / weight.sum()
    return out


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_generalized_by_definition(alpha):
    for seed in range(5):
        text, ids, counts = random_study(seed)
        expected = by_definition(counts, ids, text, alpha)
        np.testing.assert_allclose(
            ours("generalized", counts, ids, text, alpha), expected, **TOLERANCE
        )
    if alpha == 1:
        np.testing.assert_allclose(
            ours("weighted_normalized", counts, ids, text), expected, **TOLERANCE
        )


@pytest.mark.parametrize("metric", DISTANCES)
def test_properties(metric):
    text, ids, counts = random_study(3)
    distance = ours(metric, counts, ids, text)
    assert distance.dtype == np.float32
    assert np.isfinite(distance).all()
    assert (distance == distance.T).all()
    assert (np.diag(distance) == 0).all()
    assert distance[2, 5] == 0  # both empty
    assert distance[1, 4] == 0  # alike: exactly zero, for zero-distance pairs are weighted apart
    if DISTANCES[metric].bounded:
        assert 0 <= distance.min() and distance.max() <= 1
        assert distance[2, 0] == 1  # one empty


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("rows", [slice(0, 4), slice(3, 7), slice(7, 9), slice(5, 5), slice(2, 3)])
def test_some_rows_alone(metric, rows):
    """Those of a process's own samples: the same numbers, and a zero for each with itself."""
    text, ids, counts = random_study(3)
    index, phylogeny = torch.arange(len(ids)), Phylogeny.from_tree(text, ids)
    actual = distance_matrix(torch.from_numpy(counts), index, phylogeny, metric, 0.5, rows).numpy()
    whole = ours(metric, counts, ids, text)
    assert actual.shape == whole[rows].shape and actual.dtype == np.float32
    np.testing.assert_allclose(actual, whole[rows], rtol=1e-6, atol=1e-7)
    own = np.arange(len(counts))[rows]
    assert (actual[np.arange(len(own)), own] == 0).all()
    assert ((actual == 0) == (whole[rows] == 0)).all()  # pairs at distance zero are weighted apart


@pytest.mark.parametrize("metric", DISTANCES)
def test_columns_may_be_any_features_in_any_order(metric):
    text, ids, counts = random_study(11)
    phylogeny = Phylogeny.from_tree(text, ids)
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(counts[[0, 1, 3]])
    present = np.flatnonzero(rows.sum(0))
    order = torch.from_numpy(rng.permutation(present))
    whole = distance_matrix(rows, torch.arange(len(ids)), phylogeny, metric)
    part = distance_matrix(rows[:, order].float(), order, phylogeny, metric)
    np.testing.assert_allclose(part, whole, **TOLERANCE)


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("block", [None, 1, 4])
def test_table_in_blocks(metric, block):
    text, ids, counts = random_study(8)
    phylogeny = Phylogeny.from_tree(text, ids)
    counts[:, 1] = 0
    whole = table_distances(sp.csr_matrix(counts), phylogeny, metric, 0.3, block)
    expected = ours(metric, counts, ids, text, 0.3)
    np.testing.assert_allclose(whole, expected, **TOLERANCE)
    assert (whole == whole.T).all() and (np.diag(whole) == 0).all()


def test_without_a_phylogeny():
    counts = torch.tensor([[1, 2, 0], [0, 1, 3], [4, 0, 0]])
    index = torch.arange(3)
    jaccard = distance_matrix(counts, index, None, "jaccard")
    np.testing.assert_allclose(jaccard, [[0, 2 / 3, 0.5], [2 / 3, 0, 1], [0.5, 1, 0]], **TOLERANCE)
    braycurtis = distance_matrix(counts, index, None, "braycurtis")
    np.testing.assert_allclose(
        braycurtis, [[0, 5 / 7, 5 / 7], [5 / 7, 0, 1], [5 / 7, 1, 0]], **TOLERANCE
    )
    table = table_distances(sp.csr_matrix(counts.numpy()), None, "braycurtis")
    np.testing.assert_allclose(table, braycurtis, **TOLERANCE)
    with pytest.raises(InputError, match="unweighted needs a phylogeny"):
        distance_matrix(counts, index, None, "unweighted")
    with pytest.raises(InputError, match="one of unweighted, .* not 'manhattan'"):
        distance_matrix(counts, index, None, "manhattan")


def test_nothing_below():
    """No features, no samples, samples without reads."""
    text, ids, counts = random_study(1)
    phylogeny = Phylogeny.from_tree(text, ids)
    for metric in DISTANCES:
        none = torch.zeros(3, 0)
        empty = distance_matrix(none, torch.arange(0), phylogeny, metric)
        np.testing.assert_array_equal(empty, np.zeros((3, 3)))
        table = table_distances(sp.csr_matrix(counts * 0), phylogeny, metric)
        np.testing.assert_array_equal(table, np.zeros((9, 9)))
    assert faith_pd(torch.zeros(2, 0), torch.arange(0), phylogeny).tolist() == [0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("metric", DISTANCES)
def test_on_a_gpu_without_waiting(metric):
    text, ids, counts = random_study(6, tips=300)
    phylogeny = Phylogeny.from_tree(text, ids)
    rows, index = torch.from_numpy(counts).cuda(), torch.arange(len(ids)).cuda()
    distance_matrix(rows, index, phylogeny, metric)
    torch.cuda.set_sync_debug_mode("error")
    try:
        actual = distance_matrix(rows, index, phylogeny, metric)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert actual.device.type == "cuda"
    np.testing.assert_allclose(actual.cpu(), ours(metric, counts, ids, text), **TOLERANCE)


def real_study(real_data, name, samples, depth=1000):
    """biom.Table of rarefied samples on the tips of the tree, and the phylogeny of its features."""
    biom = pytest.importorskip("biom")
    folder = real_data / name
    table, tree = biom.load_table(str(folder / "table.biom")), read_newick(folder / "tree.nwk")
    ids = table.ids("observation")
    table = table.filter(ids[find_tips(tree, ids) >= 0], axis="observation", inplace=False)
    deep = table.ids()[table.sum("sample") >= depth]
    table.filter(deep[:: len(deep) // samples][:samples], inplace=True)
    rng = np.random.default_rng(0)
    drawn = [
        rng.multivariate_hypergeometric(row.astype(np.int64), depth, method="marginals")
        for row in table.matrix_data.T.toarray()
    ]
    table = biom.Table(sp.csr_matrix(np.array(drawn).T), table.ids("observation"), table.ids())
    table.remove_empty("observation")
    return table, Phylogeny.from_tree(tree, table.ids("observation"))


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ecam", "ibd"])
def test_unifrac_on_real_studies(real_data, tmp_path, name):
    unifrac = pytest.importorskip("unifrac", reason="the unifrac package is not installed")
    h5py = pytest.importorskip("h5py")
    table, phylogeny = real_study(real_data, name, samples=40)
    files = str(tmp_path / "table.biom"), str(real_data / name / "tree.nwk")
    with h5py.File(files[0], "w") as out:
        table.to_hdf5(out, "test")
    theirs = {
        "unweighted": unifrac.unweighted_fp64,
        "weighted": unifrac.weighted_unnormalized_fp64,
        "weighted_normalized": unifrac.weighted_normalized_fp64,
        "generalized": lambda *given: unifrac.generalized_fp64(*given, alpha=0.5),
    }
    counts = table.matrix_data.T.tocsr()
    index = torch.arange(counts.shape[1])
    dense = torch.from_numpy(counts.toarray())
    for metric, function in theirs.items():
        expected = function(*files).filter(table.ids()).data
        actual = distance_matrix(dense, index, phylogeny, metric)
        np.testing.assert_allclose(actual, expected, **TOLERANCE, err_msg=metric)
        blocks = table_distances(counts, phylogeny, metric, block=16)
        np.testing.assert_allclose(blocks, expected, **TOLERANCE, err_msg=metric)
    expected = unifrac.faith_pd(*files)[list(table.ids())]
    np.testing.assert_allclose(faith_pd(dense, index, phylogeny), expected, rtol=1e-6)
