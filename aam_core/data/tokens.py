"""DNA -> token ids, by the letters of `aam_core.vocab`.

Letters: F sequences, L bases of the longest of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aam_core import vocab
from aam_core.data.ids import listing, short
from aam_core.errors import InputError, lookup

__all__ = ["is_dna", "looks_like_sequence", "tokenize", "upper_dna"]

_NOT_DNA = 255


_TRUNCATES = {"error": False, "truncate": True}
"""What is done with long sequences (`DataConfig.long_sequences`): whether they are cut."""


def _token_table() -> np.ndarray:
    """[256] uint8, the token of each ASCII letter."""
    table = np.full(256, _NOT_DNA, dtype=np.uint8)
    for letter, token in vocab.LETTERS.items():
        table[[ord(letter), ord(letter.lower())]] = token
    return table


_TOKEN_OF = _token_table()

_ADVICE = {
    "U": "this is RNA: write T for U",
    "-": "a gap: give the sequences before they were aligned",
    ".": "a gap: give the sequences before they were aligned",
}


def tokenize(
    sequences: Sequence[str],
    feature_ids: Sequence[str],
    max_bp: int = 600,
    long_sequences: str = "error",
) -> np.ndarray:
    """Turn DNA into token ids.

    Parameters
    ----------
    sequences : sequence of str
        F sequences, of any lengths; lower case is read as upper case.
    feature_ids : sequence of str
        Their ids, for messages.
    max_bp : int
        Longest sequence accepted, in bases.
    long_sequences : str
        'error', or 'truncate' to keep the first ``max_bp`` bases.

    Returns
    -------
    ndarray
        [F, L + 1] uint8: START in column 0, then the bases, then PAD.

    Raises
    ------
    InputError
        For a letter that is neither a base nor an IUPAC ambiguity code, an empty sequence, one
        that is too long, or an unknown ``long_sequences``.
    """
    truncates = lookup(_TRUNCATES, long_sequences, "treatment of long sequences")
    lengths = _lengths(sequences)
    too_long = np.flatnonzero(lengths > max_bp)
    if too_long.size and not truncates:
        raise InputError(
            f"{too_long.size:,} of {len(sequences):,} sequences are longer than data.max_bp = "
            f"{max_bp} bases ({listing(feature_ids[i] for i in too_long)}; the longest has "
            f"{lengths.max()}). Trim them, or train with a larger data.max_bp or "
            "with data.long_sequences = truncate."
        )
    if too_long.size:
        sequences = [sequence[:max_bp] for sequence in sequences]
        lengths = np.minimum(lengths, max_bp)
    ids = _encode(sequences, lengths, feature_ids)
    longest = int(lengths.max(initial=0))
    tokens = np.full((len(sequences), longest + 1), vocab.PAD, dtype=np.uint8)
    tokens[:, 0] = vocab.START
    tokens[:, 1:][np.arange(longest) < lengths[:, None]] = ids
    return tokens


def upper_dna(sequences: Sequence[str], feature_ids: Sequence[str]) -> list[str]:
    """The sequences in upper case, after the checks of `tokenize` on their letters."""
    _encode(sequences, _lengths(sequences), feature_ids)
    return [sequence.upper() for sequence in sequences]


def is_dna(text: str) -> bool:
    """Whether every letter is a base or an IUPAC ambiguity code (and there is one)."""
    return bool(text) and not text.upper().strip("".join(vocab.LETTERS))


def looks_like_sequence(text: str) -> bool:
    """Whether most letters are bases (of RNA, and gaps, too): meant as a sequence."""
    # Some odd letters pass ('ACGTAXGT'); MD5 digests and 'OTU_1' do not (a test).
    return bool(text) and sum(map(text.upper().count, "ACGTUN-.")) >= 0.8 * len(text)


def _lengths(sequences) -> np.ndarray:
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))


def _encode(sequences, lengths: np.ndarray, feature_ids) -> np.ndarray:
    """Token ids of all the sequences, one after the other: [sum of lengths] uint8."""
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        raise InputError(
            f"{empty.size:,} features have an empty sequence "
            f"({listing(feature_ids[i] for i in empty)}); drop them or give their sequences."
        )
    # 'replace' makes each letter beyond ASCII one '?': positions stay, and '?' is no base.
    letters = "".join(sequences).encode("ascii", "replace")
    ids = _TOKEN_OF[np.frombuffer(letters, dtype=np.uint8)]
    wrong = np.flatnonzero(ids == _NOT_DNA)
    if wrong.size:
        ends = np.cumsum(lengths)
        features = np.unique(np.searchsorted(ends, wrong, side="right"))
        first = int(features[0])
        position = int(wrong[0] - (ends[first] - lengths[first]))
        letter = sequences[first][position]
        advice = _ADVICE.get(letter.upper(), "only DNA letters (IUPAC) are read")
        raise InputError(
            f"{features.size:,} of {len(sequences):,} sequences hold letters that are not DNA; "
            f"the first: feature {short(feature_ids[first])} has {letter!r} at position "
            f"{position + 1} ({advice})."
        )
    return ids
