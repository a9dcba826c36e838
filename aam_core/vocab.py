"""Token ids: the only place that knows them."""

TOKENS = ("PAD", "START", "MASK", "A", "C", "G", "T", "N")
"""Token names in the order of their ids; ``N`` stands for every IUPAC ambiguity code."""

PAD, START, MASK, A, C, G, T, N = range(len(TOKENS))

SIZE = len(TOKENS)
BASES = (A, C, G, T)
"""Ids of the four unambiguous nucleotides: what masked training hides and predicts."""

AMBIGUOUS = "RYSWKMBDHVN"
"""IUPAC codes that are read as the token ``N``."""
