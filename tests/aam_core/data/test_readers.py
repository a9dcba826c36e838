"""Sequences, trees and distances from every source."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.data.newick import tip_names
from aam_core.data.readers import existing, read_distances, read_sequences, read_tree
from aam_core.errors import InputError

FASTA = ">f1 Bacteria; size=3\nACGT\n>f2\nGG\nTT\n\n> f3\nacgtn\n"
SEQUENCES = {"f1": "ACGT", "f2": "GGTT", "f3": "acgtn"}


@pytest.fixture
def write(tmp_path):
    def write(content, name):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("content", [FASTA, FASTA.replace("\n", "\r\n"), "\ufeff\n" + FASTA])
def test_fasta(write, content):
    assert read_sequences(write(content, "a.fasta")) == SEQUENCES


def test_fasta_gzipped_and_in_an_artifact(write, write_qza):
    assert read_sequences(write(gzip.compress(FASTA.encode()), "a.fasta.gz")) == SEQUENCES
    path = write_qza("s.qza", "FeatureData[Sequence]", "dna-sequences.fasta", FASTA)
    assert read_sequences(str(path)) == SEQUENCES


def test_sequences_as_objects():
    assert read_sequences(SEQUENCES) == SEQUENCES
    dna = pd.Series({name: skbio.DNA(text.upper()) for name, text in SEQUENCES.items()})
    assert read_sequences(dna) == {name: text.upper() for name, text in SEQUENCES.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("f1\tACGT\n", "a.fasta is not FASTA: it must start with '>'"),
        ("@f1\nACGT\n+\nIIII\n", "FASTQ"),
        ("", "is not FASTA"),
        (">f1\nA\n>f2\nC\n>f1\nG\n", r"1 feature ids occur more than once \(f1\)"),
        (">f1\nA\n>\nC\n", "the header of record 2 has no id"),
        (b"\xff\xfe\x00\x01", "is not text"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ],
)
def test_files_that_are_not_fasta(write, content, message):
    with pytest.raises(InputError, match=message):
        read_sequences(write(content, "a.fasta"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({1: "ACGT"}, "not text"),
        ({"f1": float("nan"), "f2": "A"}, r"1 are not text \(f1\)"),
        (pd.Series(["A", "C"], index=["f1", "f1"]), "more than once"),
        (["ACGT"], "must be a path, a dictionary or a Series, not list"),
    ],
)
def test_sequence_objects_that_are_none(given, message):
    with pytest.raises(InputError, match=message):
        read_sequences(given)


NEWICK = "((f1:1,f2:2):1,f3:3);"


def test_tree_from_every_source(write, write_qza):
    sources = [
        NEWICK,
        write(NEWICK, "t.nwk"),
        str(write(gzip.compress(NEWICK.encode()), "t.nwk.gz")),
        write_qza("t.qza", "Phylogeny[Rooted]", "tree.nwk", NEWICK),
        skbio.TreeNode.read([NEWICK]),
    ]
    for source in sources:
        assert tip_names(read_tree(source)) == ["f1", "f2", "f3"]


def test_trees_that_are_none(write_qza, tmp_path):
    with pytest.raises(InputError, match="There is no file .*t.nwk"):
        read_tree(tmp_path / "t.nwk")
    (tmp_path / "cut.nwk").write_text(NEWICK[:-4])
    with pytest.raises(InputError, match="cut.nwk"):
        read_tree(tmp_path / "cut.nwk")
    with pytest.raises(InputError, match=r"is a Phylogeny\[Unrooted\]; .*midpoint-root"):
        read_tree(write_qza("t.qza", "Phylogeny[Unrooted]", "tree.nwk", NEWICK))
    with pytest.raises(InputError, match="Newick text or a skbio.TreeNode, not dict"):
        read_tree({})


IDS = ["2538.1000101", "007", "s3"]
MATRIX = np.array([[0, 0.25, 1], [0.25, 0, 0.5], [1, 0.5, 0]], dtype=np.float32)
TSV = (
    "\t2538.1000101\t007\ts3\n2538.1000101\t0.0\t0.25\t1.0\n"
    "007\t0.25\t0.0\t0.5\ns3\t1.0\t0.5\t0.0\n"
)


def test_distances_from_every_source(write, write_qza):
    sources = [
        write(TSV, "dm.tsv"),
        write("# a comment\n\n" + TSV.replace("\n", "\r\n"), "windows.tsv"),
        write(gzip.compress(TSV.encode()), "dm.tsv.gz"),
        write_qza("dm.qza", "DistanceMatrix", "distance-matrix.tsv", TSV),
        skbio.DistanceMatrix(MATRIX, IDS),
        pd.DataFrame(MATRIX, index=IDS, columns=IDS),
    ]
    for source in sources:
        ids, matrix = read_distances(source)
        assert ids == IDS
        assert matrix.dtype == np.float32 and np.array_equal(matrix, MATRIX)


def test_distances_as_scikit_bio_writes_them(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.random((20, 3))
    matrix = np.abs(points[:, None] - points).sum(-1)
    ids = [f"s{i}" for i in range(20)]
    skbio.DistanceMatrix(matrix, ids).write(str(tmp_path / "dm.tsv"))
    found, read = read_distances(tmp_path / "dm.tsv")
    assert found == ids
    np.testing.assert_allclose(read, matrix, rtol=1e-6)


def test_rounding_is_not_asymmetry(write):
    ids, _ = read_distances(write(TSV.replace("007\t0.25", "007\t0.250001"), "dm.tsv"))
    assert ids == IDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TSV.replace("s3\t1.0", "s3\t0.9"), "2 distances are not the same in both directions"),
        (TSV.replace("s3\t1.0\t0.5\t0.0", "s3\t1.0\t0.5\t0.1"), "not zero between .* s3 and s3"),
        (TSV.replace("0.25", "-0.25"), r"2 distances are negative \(the first: -0.25 between 2538"),
        (TSV.replace("0.5", "nan"), "2 distances are missing or infinite"),
        (TSV.replace("0.5", "much"), r"row 2 \(007\) holds something that is not a number"),
        (TSV.replace("0.5", ""), "not a number"),
        (TSV.rsplit("s3", 1)[0], "not square: 3 columns, but 2 rows"),
        (TSV + "s4\t0\t0\t0\n", r"not square: .* row 4 \(s4\)"),
        (TSV.replace("\t0.5\n", "\n"), r"not square: 3 ids .* row 2 \(007\) has 2 values"),
        (TSV.replace("\n007", "\n7"), "row 2 is 7 where the first line has 007"),
        (TSV.replace("\t007\ts3", "\ts3\ts3").replace("\n007", "\ns3"), "more than once"),
        ("a,b\n", "is not a distance matrix"),
        ("", "is not a distance matrix"),
    ],
)
def test_files_that_are_no_distances(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_distances(write(content, "dm.tsv"))
    assert "dm.tsv" in str(caught.value) and "\n" not in str(caught.value)


def test_distance_objects_that_are_none():
    with pytest.raises(InputError, match="do not have the same ids"):
        read_distances(pd.DataFrame(MATRIX, index=IDS, columns=IDS[::-1]))
    with pytest.raises(InputError, match="a skbio.DistanceMatrix or a DataFrame, not ndarray"):
        read_distances(MATRIX)


def test_existing_paths(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*x \(table\)"):
        existing(tmp_path / "x", "table")
    with pytest.raises(InputError, match="is a folder; the table must be a file"):
        existing(str(tmp_path), "table")


def test_artifacts_of_qiime2(tmp_path):
    qiime2 = pytest.importorskip("qiime2", reason="QIIME 2 is not installed: no real .qza")

    def save(kind, value):
        path = tmp_path / "a.qza"
        qiime2.Artifact.import_data(kind, value).save(str(path))
        return path

    sequences = {name: text.upper() for name, text in SEQUENCES.items()}
    series = pd.Series({k: skbio.DNA(v, metadata={"id": k}) for k, v in sequences.items()})
    assert read_sequences(save("FeatureData[Sequence]", series)) == sequences
    tree = read_tree(save("Phylogeny[Rooted]", skbio.TreeNode.read([NEWICK])))
    assert tip_names(tree) == ["f1", "f2", "f3"]
    ids, matrix = read_distances(save("DistanceMatrix", skbio.DistanceMatrix(MATRIX, IDS)))
    assert ids == IDS and np.array_equal(matrix, MATRIX)
    with pytest.raises(InputError, match=r"a.qza is a DistanceMatrix; a FeatureData\[Sequence\]"):
        read_sequences(save("DistanceMatrix", skbio.DistanceMatrix(MATRIX, IDS)))
