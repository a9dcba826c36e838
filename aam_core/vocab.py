"""The vocabulary: tokens, and the letters of DNA (IUPAC codes) that become them.

The one owner of both. A further IUPAC code is a pair in `COMPLEMENT` and a letter in `AMBIGUOUS`;
`data/tokens.py` (sequences to token ids) and `data/known_asvs.py` (reverse complements) follow. A
further token is one in `TOKENS`, at the end: the network's embedding and the nucleotide head get a
row (`SIZE`), and models that were saved with other tokens are refused (`model_files.py`).
"""

__all__ = [
    "A",
    "AMBIGUOUS",
    "BASES",
    "C",
    "COMPLEMENT",
    "G",
    "LETTERS",
    "MASK",
    "N",
    "PAD",
    "SIZE",
    "START",
    "T",
    "TOKENS",
]

TOKENS = ("PAD", "START", "MASK", "A", "C", "G", "T", "N")
"""Token names in the order of their ids; ``N`` stands for every IUPAC ambiguity code."""

PAD, START, MASK, A, C, G, T, N = range(len(TOKENS))

SIZE = len(TOKENS)

BASES = (A, C, G, T)
"""Ids of the four unambiguous nucleotides, which masked training hides and predicts. k-mers and
masking rely on their being consecutive."""

AMBIGUOUS = "RYSWKMBDHVN"
"""IUPAC codes that are read as the token ``N``."""

LETTERS = {"A": A, "C": C, "G": G, "T": T} | dict.fromkeys(AMBIGUOUS, N)
"""Upper-case letter -> token id."""

COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")
"""Letter -> letter on the other strand, for `str.translate`."""
