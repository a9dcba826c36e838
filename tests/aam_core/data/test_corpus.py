from __future__ import annotations

import gzip

import numpy as np
import pytest

from aam_core.data.corpus import PER_SAMPLE, load_corpus
from aam_core.errors import InputError


def distinct(count, length=12):
    rng = np.random.default_rng(0)
    actual = set()
    while len(actual) < count:
        actual.add("".join(rng.choice(list("ACGT"), length)))
    return sorted(actual)


def test_every_sequence_is_in_one_sample():
    sequences = distinct(40)
    study = load_corpus(sequences)
    assert study.sequences == sequences
    assert study.counts.shape == (3, 40) and study.counts.dtype == np.int64
    assert study.counts.sum(0).A1.tolist() == [1] * 40
    assert study.counts.sum(1).A1.tolist() == [PER_SAMPLE, PER_SAMPLE, 8]
    assert len(set(study.sample_ids)) == 3 and len(set(study.feature_ids)) == 40


def test_fasta_text_gzip_artifact_and_list_are_one(tmp_path, write_qza):
    sequences = distinct(5)
    fasta = "".join(f">f{i} more\n{dna[:6]}\n{dna[6:]}\n" for i, dna in enumerate(sequences))
    (tmp_path / "a.fasta").write_text(fasta)
    (tmp_path / "a.txt").write_text("\n".join(sequences))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\r\n".join(sequences).encode()))
    qza = write_qza("a.qza", "FeatureData[Sequence]", "dna-sequences.fasta", fasta)
    for source in (tmp_path / "a.fasta", tmp_path / "a.txt", tmp_path / "a.txt.gz", qza):
        assert load_corpus(source).sequences == sequences
    assert load_corpus(str(tmp_path / "a.txt")).sequences == sequences


def test_sequences_are_distinct(tmp_path):
    (tmp_path / "a.txt").write_text("ACGT\nGGGG\nacgt\n\nACGT\nTTTT\n")
    (tmp_path / "a.fasta").write_text(">a\nACGT\n>b\nGGGG\n>c\nacgt\n>d\nTTTT\n")
    for source in (tmp_path / "a.txt", tmp_path / "a.fasta", ["ACGT", "GGGG", "acgt", "TTTT"]):
        assert load_corpus(source).sequences == ["ACGT", "GGGG", "TTTT"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("ACGT\n\nACXT\nGGGG\n", "line 3"),
        ("ACGT\nAC-T\n", "line 2"),
        (">one\nACGT\n>two\nAC?T\n", "two"),
        ("ACGT\n", "1 distinct sequence"),
        ("ACGT\nacgt\n", "1 distinct sequence"),
        ("\n\n", "a.txt|sequences"),
    ],
)
def test_bad_text_names_the_line(tmp_path, text, words):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_corpus(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)


def test_absent_file():
    with pytest.raises(InputError, match="nowhere.txt"):
        load_corpus("nowhere.txt")
