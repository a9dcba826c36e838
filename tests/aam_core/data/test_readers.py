"""Sequences and trees from every source."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest
import skbio

from aam_core.data.readers import read_sequences, read_tree
from aam_core.errors import InputError
from aam_core.phylogeny.newick import tip_names

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
def test_objects_that_are_not_sequences(given, message):
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
    matrix = skbio.DistanceMatrix([[0, 1], [1, 0]], ["a", "b"])
    with pytest.raises(InputError, match=r"a.qza is a DistanceMatrix; a FeatureData\[Sequence\]"):
        read_sequences(save("DistanceMatrix", matrix))
