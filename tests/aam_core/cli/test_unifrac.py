"""``aam unifrac``."""

from __future__ import annotations

import biom
import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.cli.unifrac import METRICS
from aam_core.config import WITHOUT_TREE


@pytest.fixture
def files(study_dir):
    return ("--table", study_dir / "table.biom", "--tree", study_dir / "tree.nwk")


def reference(study_dir, metric, **options):
    table = biom.load_table(str(study_dir / "table.biom"))
    counts = table.matrix_data.T.toarray().astype(int)
    if metric not in ("braycurtis", "jaccard"):
        options["tree"] = skbio.TreeNode.read(str(study_dir / "tree.nwk"))
        release = tuple(map(int, skbio.__version__.split(".")[:2]))
        options["taxa" if release >= (0, 6) else "otu_ids"] = table.ids("observation")
    if metric == "jaccard":
        counts = counts > 0
    if metric == "faith_pd":
        return skbio.diversity.alpha_diversity(metric, counts, table.ids(), **options)
    return skbio.diversity.beta_diversity(metric, counts, table.ids(), **options)


@pytest.mark.parametrize(
    "metric, theirs, options",
    [
        ("unweighted", "unweighted_unifrac", {}),
        ("weighted", "weighted_unifrac", {}),
        ("weighted_normalized", "weighted_unifrac", {"normalized": True}),
        ("jaccard", "jaccard", {}),
    ],
)
def test_agrees_with_scikit_bio(aam, files, study_dir, tmp_path, metric, theirs, options):
    out = tmp_path / "new" / "dm.tsv"
    outcome = aam("unifrac", *files, "--metric", metric, "--output", out)
    assert (outcome.status, outcome.out) == (0, "")
    matrix = skbio.DistanceMatrix.read(str(out))
    expected = reference(study_dir, theirs, **options)
    assert set(matrix.ids) == set(expected.ids)
    np.testing.assert_allclose(matrix.filter(expected.ids).data, expected.data, atol=1e-6)


def test_alpha_reaches_the_metric(aam, files, tmp_path):
    def run(metric, *more):
        out = tmp_path / "dm.tsv"
        assert aam("unifrac", *files, "--metric", metric, *more, "--output", out).status == 0
        return skbio.DistanceMatrix.read(str(out)).data

    whole = run("generalized", "--alpha", 1)
    np.testing.assert_allclose(whole, run("weighted_normalized"), atol=1e-6)
    assert np.abs(run("generalized", "--alpha", 0) - whole).max() > 0.01


def test_faith_pd(aam, files, study_dir, tmp_path):
    out = tmp_path / "pd.tsv"
    assert aam("unifrac", *files, "--metric", "faith_pd", "--output", out).status == 0
    values = pd.read_csv(out, sep="\t", index_col="sample-id")["faith_pd"]
    expected = reference(study_dir, "faith_pd")
    np.testing.assert_allclose(values[expected.index], expected, rtol=1e-5)


def test_tree_is_asked_for_where_it_is_needed(aam, refuses, study_dir, tmp_path):
    table = ("--table", study_dir / "table.biom", "--output", tmp_path / "dm.tsv")
    for metric in set(METRICS) - set(WITHOUT_TREE):
        assert "--tree" in refuses("unifrac", *table, "--metric", metric)
    assert list(tmp_path.iterdir()) == []
    assert aam("unifrac", *table, "--metric", "braycurtis").status == 0


def test_tree_of_something_else(refuses, study_dir, tmp_path):
    tree = tmp_path / "other.nwk"
    tree.write_text("(x:1,(y:1,z:1):1);\n")
    out = tmp_path / "out" / "dm.tsv"
    line = refuses("unifrac", "--table", study_dir / "table.biom", "--tree", tree, "--output", out)
    assert "tree" in line
    assert not out.parent.exists()


def test_not_a_table(refuses, study_dir, tmp_path):
    table = tmp_path / "table.biom"
    table.write_text("hello")
    tree = study_dir / "tree.nwk"
    line = refuses("unifrac", "--table", table, "--tree", tree, "--output", tmp_path / "dm.tsv")
    assert str(table) in line
