"""DNA -> token ids."""

from __future__ import annotations

import gzip
import time

import numpy as np
import pytest

from aam_core import vocab
from aam_core.data.tokens import is_dna, looks_like_sequence, tokenize, upper_dna
from aam_core.errors import InputError

A, C, G, T, N = vocab.A, vocab.C, vocab.G, vocab.T, vocab.N


def test_start_bases_padding():
    tokens = tokenize(["ACGT", "GT"], ["x", "y"])
    assert tokens.dtype == np.uint8
    assert tokens.tolist() == [
        [vocab.START, A, C, G, T],
        [vocab.START, G, T, vocab.PAD, vocab.PAD],
    ]


def test_lower_case_is_read_as_upper_case():
    assert np.array_equal(tokenize(["acgtn"], ["x"]), tokenize(["ACGTN"], ["x"]))
    assert upper_dna(["acgtn", "ry"], ["x", "y"]) == ["ACGTN", "RY"]


@pytest.mark.parametrize("code", vocab.AMBIGUOUS)
def test_every_iupac_code_is_the_ambiguity_token(code):
    assert tokenize([f"A{code}T"], ["x"]).tolist() == [[vocab.START, A, N, T]]


@pytest.mark.parametrize(
    ("letter", "advice"),
    [("U", "write T for U"), ("u", "write T for U"), ("-", "aligned"), (".", "aligned"),
     ("X", "DNA letters"), ("é", "DNA letters"), (" ", "DNA letters"), ("\U0001f9a0", "DNA")],
)  # fmt: skip
@pytest.mark.parametrize("read", [tokenize, upper_dna])
def test_other_letters_name_feature_and_position(read, letter, advice):
    sequences = ["ACGT", "GG" + letter + "A", letter * 3]
    with pytest.raises(InputError, match=advice) as caught:
        read(sequences, ["first", "second", "third"])
    message = str(caught.value)
    assert "2 of 3 sequences" in message
    assert f"feature second has {letter!r} at position 3" in message
    assert "\n" not in message


def test_position_is_right_at_both_ends_of_a_sequence():
    with pytest.raises(InputError, match="feature b has '-' at position 1 "):
        tokenize(["AC", "-G", "TT"], ["a", "b", "c"])
    with pytest.raises(InputError, match="feature b has '-' at position 2 "):
        tokenize(["AC", "G-", "TT"], ["a", "b", "c"])


def test_empty_sequence():
    with pytest.raises(InputError, match=r"1 features have an empty sequence \(b\)"):
        tokenize(["AC", ""], ["a", "b"])


def test_too_long_is_an_error_without_truncation():
    sequences = ["ACGTAC", "ACG", "GGGGG"]
    with pytest.raises(InputError) as caught:
        tokenize(sequences, ["a", "b", "c"], max_bp=4)
    message = str(caught.value)
    assert "2 of 3" in message and "(a, c; the longest has 6)" in message
    assert "max_bp" in message and "truncate" in message
    cut = tokenize(sequences, ["a", "b", "c"], max_bp=4, long_sequences="truncate")
    assert np.array_equal(cut, tokenize(["ACGT", "ACG", "GGGG"], ["a", "b", "c"]))
    assert tokenize(sequences, ["a", "b", "c"], max_bp=6).shape == (3, 7)


def test_order_of_sequences_only_orders_the_rows():
    sequences = ["ACGT", "GG", "TTTAA"]
    tokens = tokenize(sequences, sequences)
    swapped = tokenize(sequences[::-1], sequences[::-1])
    assert np.array_equal(tokens[::-1], swapped)


def test_is_dna_refuses_hashes_and_names():
    assert is_dna("ACGTRYSWKMBDHVN") and is_dna("acgt")
    assert not any(map(is_dna, ["", "AC-GT", "ACGU", "ac5402de1ddf427ab8d2b0a8a0a44f19", "OTU1"]))
    assert all(map(looks_like_sequence, ["ACGUACGU", "AC-G.T", "ACGTAXGT"]))
    assert not any(map(looks_like_sequence, ["", "ac5402de1ddf427ab8d2b0a8a0a44f19", "OTU_1"]))


@pytest.mark.real_data
def test_a_quarter_of_a_million_sequences_in_seconds(real_data):
    with gzip.open(real_data / "v4" / "v4-asvs-150nt.txt.gz", "rt") as file:
        sequences = file.read().split()
    start = time.process_time()
    tokens = tokenize(sequences, sequences)
    assert time.process_time() - start < 5
    assert tokens.shape == (254_702, 151)
    letters = np.array(["", "", "", "A", "C", "G", "T", "N"])
    for row in (0, 1234, 254_701):
        assert "".join(letters[tokens[row, 1:]]) == sequences[row]
