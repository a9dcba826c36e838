from __future__ import annotations

from aam_core import vocab
from aam_core.data.tokens import tokenize


def test_names_and_ids_agree():
    assert vocab.SIZE == len(vocab.TOKENS) == len(set(vocab.TOKENS))
    assert all(getattr(vocab, name) == place for place, name in enumerate(vocab.TOKENS))


def test_padding_is_zero():
    assert vocab.PAD == 0


def test_bases_follow_one_another():
    """Masking and k-mers count on it."""
    assert vocab.BASES == tuple(range(vocab.A, vocab.T + 1)) and len(vocab.BASES) == 4


def test_every_letter_of_dna_has_a_token():
    tokens = tokenize(["ACGT" + vocab.AMBIGUOUS], ["f"])[0].tolist()
    assert tokens[0] == vocab.START
    assert tokens[1:5] == list(vocab.BASES)
    assert set(tokens[5:]) == {vocab.N}
    assert set(vocab.LETTERS) == set("ACGTRYSWKMBDHVN")


def test_every_letter_has_a_complement():
    letters = "".join(vocab.LETTERS)
    complement = letters.translate(vocab.COMPLEMENT)
    assert sorted(complement) == sorted(letters)
    assert complement.translate(vocab.COMPLEMENT) == letters
