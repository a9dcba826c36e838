from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from aam_core.data.known_asvs import KMER, KnownASVs
from aam_core.data.study import Study, load_study
from aam_core.errors import InputError
from aam_core.simulate.study import simulate


def turned(dna):
    return dna.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def changed(study, change):
    return dataclasses.replace(study, sequences=[change(dna) for dna in study.sequences])


@pytest.fixture(scope="module")
def study(as_study):
    return as_study(simulate(30, 80, 5, sequence_length=120, depth=2000))


@pytest.fixture(scope="module")
def known(study):
    return KnownASVs.of_samples(study, study.sample_ids)


def lines(known, study, **options):
    """The line on how much is known, and those that warn."""
    comparison = known.compare(study)
    return comparison.note(), [line for line in [comparison.warning(**options)] if line]


def test_training_samples_are_known_completely(known, study):
    actual = known.compare(study)
    assert actual.known.all() and not actual.reversed_alike.any()
    assert all((values == 1).all() for values in actual.columns(slice(None)).values())
    first, warnings = lines(known, study)
    assert first.startswith("100.00 % of the reads are of ASVs that the model was fitted on (80 of")
    assert warnings == []


def test_only_asvs_with_reads_in_the_training_samples_are_known(study):
    half = study.sample_ids[:2]
    known, actual = KnownASVs.of_samples(study, half), study.select(half)
    there = np.asarray(actual.counts.sum(axis=0)).ravel() > 0
    assert 0 < there.sum() < len(there)
    np.testing.assert_array_equal(known.compare(study).known, there)


def test_shares_are_of_each_samples_reads():
    counts = csr_matrix(np.array([[3, 1, 0], [0, 0, 5], [1, 0, 1]]))
    dna = ["ACGGTCATTGCATTAG", "TTGACCGATCGGATAC", "GGCATCATCAGGTTTA"]
    study = Study(["a", "b", "c"], ["1", "2", "3"], counts, dna)
    actual = KnownASVs.of([dna[0]]).compare(study)
    assert actual.columns(slice(None))["known_reads"].tolist() == [0.75, 0, 0.5]
    assert actual.columns(slice(1, 3))["known_reads"].tolist() == [0, 0.5]


def test_kmers_are_those_of_a_naive_count():
    rng = np.random.default_rng(0)
    dna = ["".join(rng.choice(list("ACGTN"), size, p=[0.24] * 4 + [0.04])) for size in (5, 12, 90)]
    naive = {s[i : i + KMER] for s in dna for i in range(len(s) - KMER + 1)}
    naive = {kmer for kmer in naive if "N" not in kmer}
    numbers = [int("".join(str("ACGT".index(x)) for x in kmer), 4) for kmer in naive]
    assert KnownASVs.of(dna).kmers.tolist() == sorted(numbers)


def test_kmers_do_not_depend_on_the_chunks(study, known, monkeypatch):
    others = simulate(10, 20, 6, sequence_length=120)
    expected = known.compare(changed(study, lambda dna: dna[3:])).kmers
    monkeypatch.setattr("aam_core.data.known_asvs._CHUNK", 500)
    again = KnownASVs.of_samples(study, study.sample_ids)
    np.testing.assert_array_equal(again.kmers, known.kmers)
    actual = again.compare(changed(study, lambda dna: dna[3:])).kmers
    np.testing.assert_array_equal(actual, expected)
    assert KnownASVs.of(others.sequences.values()).kmers.size


def test_a_base_that_changes_costs_its_kmers(study, known):
    def mutate(dna):
        return dna[:60] + {"A": "C", "C": "G", "G": "T", "T": "A"}[dna[60]] + dna[61:]

    actual = known.compare(changed(study, mutate))
    assert not actual.known.any()
    assert actual.kmers.min() >= 1 - KMER / (120 - KMER + 1) - 1e-9 and actual.kmers.max() < 1


# --- why so little is known ----------------------------------------------------------------------


def test_reverse_complements(study, known):
    first, (line,) = lines(known, changed(study, turned))
    assert first.startswith("0.00 % of the reads")
    assert line == (
        "none of the 80 ASVs is one that the model was fitted on; reverse complements of 80 are: "
        "turn the sequences round"
    )


def test_trimmed_reverse_complements(study, known):
    _, (line,) = lines(known, changed(study, lambda dna: turned(dna[5:95])))
    assert "reverse complements of 80 have the 12-mers of those: turn" in line


def test_some_reverse_complements(study, known):
    odd = [turned(dna) if i % 2 else dna for i, dna in enumerate(study.sequences)]
    first, (line,) = lines(known, dataclasses.replace(study, sequences=odd))
    assert "40 of 80 ASVs" in first
    assert line.startswith("40 of the 80 ASVs are not ones that") and "complements of 40" in line


def test_ambiguous_letters_are_turned_too(study):
    known = KnownASVs.of([dna[:50] + "RYKMBVDH" + dna[58:] for dna in study.sequences])
    other = changed(study, lambda dna: turned(dna[58:]) + "DHBVKMRY" + turned(dna[:50]))
    assert known.compare(other).reversed_known.all()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda dna: dna[:90], "first 32 bases of 80 are, but their length is 90 bases and .* 120"),
        (lambda dna: dna + "ACGGT", "their length is 125 bases and that of those 120"),
        (lambda dna: "GTGCCAGCAGCCGC" + dna[:106], "begin elsewhere in the same region"),
        (lambda dna: dna[:40] + "A" + dna[41:80] + "CC" + dna[82:], "of the same region: another"),
    ],
)
def test_sequences_that_were_processed_otherwise(study, known, change, words):
    changes = changed(study, change)
    note, (line,) = lines(known, changes)
    length = len(changes.sequences[0])
    said = f"; they are {length} bases long, those 120 (medians)"
    assert note.endswith(said) == (length != 120)
    assert line.startswith("none of the 80 ASVs is one that") and re.search(words, line)
    assert lines(known, changes, similar=True)[1] == []  # an encoder reads them as well


def test_another_region(study, known):
    other = load_study(*_of(simulate(20, 50, 77, sequence_length=120)))
    for similar in (False, True):
        _, (line,) = lines(known, other, whose="the encoder was trained on", similar=similar)
        assert line.startswith("none of the 50 ASVs is one that the encoder was trained on")
        assert "another region or gene" in line


def _of(made):
    table = made.table.copy()
    table.update_ids(dict(made.sequences), axis="observation", inplace=True)
    return (table,)


def test_a_study_without_sequences(study):
    with pytest.raises(InputError, match="without sequences"):
        KnownASVs.of_samples(dataclasses.replace(study, sequences=None), study.sample_ids)


# --- repr ----------------------------------------------------------------------------------------


def test_repr_is_a_few_lines(known, study):
    assert repr(known).splitlines()[:2] == [
        "KnownASVs: 80 sequences",
        "  lengths  120 to 120, median 120",
    ]
    assert repr(known.compare(study)).splitlines() == [
        "Comparison: 80 of 80 ASVs are known",
        "  known_reads  100.00 %",
        "  known_kmers  100.00 %",
    ]


# --- there and back ------------------------------------------------------------------------------


def test_tensors_round_trip(known, study):
    actual = KnownASVs.from_tensors(known.to_tensors())
    assert actual.compare(study).note() == known.compare(study).note()


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("kmers", lambda x: x[::-1].copy(), "kmers are not sorted"),
        ("kmers", lambda x: x.astype(np.int64), "kmers must be uint32 of one dimension"),
        ("kmers", lambda x: np.append(x, np.uint32(4**KMER)), "its k-mers are not of 12 bases"),
        ("sequences", lambda x: x[:0], "it has no sequences"),
        ("sequences", lambda x: x.repeat(2), "sequences are not sorted, or occur twice"),
        ("starts", lambda x: x[None], "starts must be uint64 of one dimension"),
        ("lengths", lambda x: -x, r"its lengths are \[-120, -120, -120\]"),
        ("lengths", lambda x: x[:2], "its lengths are"),
        ("more", lambda x: np.zeros(3), "its arrays are kmers, lengths, more, sequences, starts"),
    ],
)
def test_edited_arrays_are_refused(known, name, change, words):
    arrays = known.to_tensors()
    arrays[name] = change(arrays.get(name))
    with pytest.raises(InputError, match=f"knows of its ASVs is damaged: {words}"):
        KnownASVs.from_tensors(arrays)
