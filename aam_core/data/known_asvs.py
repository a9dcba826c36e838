"""The ASVs that a model was fitted on, and how much of other samples consists of them.

They are kept as hashes and as the 12-mers that occur, so that a saved model tells which ASVs it
knows without disclosing a sequence. Letters: F features of a study, N its samples, M known ASVs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from aam_core import vocab
from aam_core.data.alignment import percent
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.summary import Summarized

__all__ = ["KMER", "KNOWN_COLUMNS", "START", "Comparison", "KnownASVs"]

KNOWN_COLUMNS = ("known_reads", "known_kmers")
"""Columns of predictions: shares of a sample's reads, and of its k-mers, that are known."""

KMER = 12
"""Length of the k-mers. Of a random sequence's k-mers a third occur in 2,000 ASVs by chance at
length 8, 0.4 % at 12; and a table of all kinds takes 16 MB."""

START = 32
"""Bases by which sequences are recognized that begin alike but differ in length."""

_FEW = 0.05
"""Share of known reads below which there is a warning, and of reverse complements from which."""

_SAME_REGION = 0.5
"""Share of known 12-mers from which sequences that begin elsewhere are of the same region, or are
reverse complements: 69 public studies have at most 0.03 in the other direction
(docs/reliability.md)."""

_SAME_START = 0.1
"""Share of reads that begin as known ASVs do from which they are of the same region: 0.24 or more
in each of those studies, next to none of another region or after a primer."""

_CHUNK = 4_000_000
"""Bases whose k-mers are in memory at a time, about."""

_ARRAYS = {
    "sequences": np.uint64,
    "starts": np.uint64,
    "kmers": np.uint32,
    "lengths": np.int64,
}
"""Type of each array."""

_NUMBERS = np.full(256, 255, np.uint8)
_NUMBERS[np.frombuffer(b"ACGT", np.uint8)] = range(4)


@dataclass(frozen=True, eq=False, repr=False)
class KnownASVs(Summarized):
    """Distinct sequences that a model was trained on.

    Attributes
    ----------
    sequences : ndarray
        [M] uint64, sorted: hashes (BLAKE2b of 8 bytes) of the upper-case DNA.
    starts : ndarray
        uint64, sorted: hashes of the first `START` bases.
    kmers : ndarray
        uint32, sorted: numbers of the k-mers of `KMER` bases that occur in some sequence.
    lengths : ndarray
        [3] int64: least, median and greatest length.
    """

    sequences: np.ndarray
    starts: np.ndarray
    kmers: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[str]) -> KnownASVs:
        """From sequences of upper-case DNA, one or more.

        >>> known = KnownASVs.of(["ACGTACGTACGTA", "ACGTACGTACGTA", "TTTTTTTTTTTTT"])
        >>> len(known.sequences), len(known.kmers), known.lengths.tolist()
        (2, 3, [13, 13, 13])
        """
        distinct = sorted(set(sequences))
        assert distinct
        lengths = np.array([len(dna) for dna in distinct])
        occurs = np.zeros(4**KMER, bool)
        for numbers, _ in _kmers(distinct):
            occurs[numbers] = True
        ends = [lengths.min(), np.median(lengths), lengths.max()]
        return cls(
            np.unique(_hashes(distinct)),
            np.unique(_hashes(dna[:START] for dna in distinct)),
            np.flatnonzero(occurs).astype(np.uint32),
            np.array(ends).astype(np.int64),
        )

    @classmethod
    def of_samples(cls, study: Study, sample_ids) -> KnownASVs:
        """From the features of ``study`` that have reads in these samples.

        Raises
        ------
        InputError
            If the study has no sequences.
        """
        sequences = study.required_sequences()
        wanted = set(sample_ids)
        rows = [row for row, name in enumerate(study.sample_ids) if name in wanted]
        present = np.flatnonzero(study.counts[rows].getnnz(axis=0))
        return cls.of(sequences[i] for i in present)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The arrays, as `from_tensors` takes them."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_tensors(cls, arrays: dict[str, np.ndarray]) -> KnownASVs:
        """The inverse of `to_tensors`, for arrays from an untrusted file.

        Raises
        ------
        InputError
            If they are not what `of` makes.
        """
        for problem in _problems(arrays):
            raise InputError(f"What this model knows of its ASVs is damaged: {problem}.")
        return cls(**arrays)

    def _summary(self) -> tuple[str, dict[str, str]]:
        low, median, high = self.lengths.tolist()
        items = {"lengths": f"{low} to {high}, median {median}", "12-mers": f"{len(self.kmers):,}"}
        return f"KnownASVs: {len(self.sequences):,} sequences", items

    def compare(self, study: Study) -> Comparison:
        """Compare the features of a study that has sequences with the known ones."""
        sequences = study.required_sequences()
        size = len(sequences)
        known = _among(_hashes(sequences), self.sequences)
        occurs = np.zeros(4**KMER, bool)
        occurs[self.kmers] = True
        # All k-mers of a known sequence are known: only the others are counted.
        kmers = np.where(known, 1.0, 0.0)
        others = np.flatnonzero(~known)
        kmers[others] = _shares([sequences[i] for i in others], occurs)
        reads = np.asarray(study.counts.sum(axis=0)).ravel()
        starts = known.copy()
        starts[others] = _among(_hashes(sequences[i][:START] for i in others), self.starts)
        reversed_known, reversed_alike = np.zeros(size, bool), np.zeros(size, bool)
        strange = np.flatnonzero(kmers < _SAME_REGION)  # the others are in the right direction
        reverse = [sequences[i].translate(vocab.COMPLEMENT)[::-1] for i in strange]
        reversed_known[strange] = _among(_hashes(reverse), self.sequences)
        least = np.maximum(_SAME_REGION, 2 * kmers[strange])
        reversed_alike[strange] = _shares(reverse, occurs) >= least
        return Comparison(
            counts=study.counts,
            known=known,
            kmers=kmers,
            starts=starts,
            reversed_known=reversed_known,
            # Sequences shorter than KMER have no k-mers, but may be known when reversed.
            reversed_alike=reversed_alike | reversed_known,
            lengths=tuple(self.lengths.tolist()),
            length=_median_length(sequences, reads),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Summarized):
    """How much of a study consists of known ASVs.

    Attributes
    ----------
    counts : csr_matrix
        [N, F] reads.
    known, starts, reversed_known, reversed_alike : ndarray
        [F] bool: whether the sequence is known; its first bases are; its reverse complement is; and
        whether the k-mers of that are known much rather than its own.
    kmers : ndarray
        [F] share of the sequence's k-mers that occur in known sequences.
    lengths : tuple of int
        Least, median and greatest length of the known sequences.
    length : int
        Median length of these sequences, by reads.
    """

    counts: csr_matrix
    known: np.ndarray
    kmers: np.ndarray
    starts: np.ndarray
    reversed_known: np.ndarray
    reversed_alike: np.ndarray
    lengths: tuple[int, int, int]
    length: int

    def columns(self, samples: slice) -> dict[str, np.ndarray]:
        """`KNOWN_COLUMNS` of some samples: [n] float64 in [0, 1] each."""
        part = self.counts[samples]
        reads = np.maximum(np.asarray(part.sum(axis=1), np.float64).ravel(), 1.0)
        values = (part @ column.astype(np.float64) for column in (self.known, self.kmers))
        return {
            name: np.round(np.clip(value / reads, 0, 1), 6)
            for name, value in zip(KNOWN_COLUMNS, values, strict=True)
        }

    def note(self, whose: str = "the model was fitted on") -> str:
        """A line on the share of the reads that is known.

        Parameters
        ----------
        whose : str
            Whose ASVs, as the end of a clause.
        """
        known, kmers = self._of_reads(self.known), self._of_reads(self.kmers)
        low, median, high = self.lengths
        lengths = ""
        if not low <= self.length <= high:
            lengths = f"; they are {self.length} bases long, those {median} (medians)"
        return (
            f"{percent(known, 1)} of the reads are of ASVs that {whose} "
            f"({self._of_asvs(self.known)}); "
            f"{percent(kmers, 1)} of their {KMER}-mers occur in those{lengths}"
        )

    def warning(self, whose: str = "the model was fitted on", similar: bool = False) -> str:
        """A line on why so little is known, and what to do; empty where enough is known.

        Parameters
        ----------
        whose : str
            As in `note`.
        similar : bool
            Whether other ASVs of the same region need no warning: an encoder reads them as well.
        """
        known, kmers = self._of_reads(self.known), self._of_reads(self.kmers)
        reverse = self._of_reads(self.reversed_alike)
        same_region = kmers >= _SAME_REGION or self._of_reads(self.starts) >= _SAME_START
        # Reversed sequences get a warning even where the others are known (a test).
        if reverse < _FEW and (known >= _FEW or (similar and same_region)):
            return ""
        number, total = self._count(self.known), self._count(np.ones_like(self.known))
        if not number:
            few = f"none of the {total:,} ASVs is one"
        elif known < _FEW:
            few = f"only {number:,} of the {total:,} ASVs are ones"
        else:
            few = f"{total - number:,} of the {total:,} ASVs are not ones"
        return f"{few} that {whose}; {self._cause(reverse, kmers)}"

    def _summary(self) -> tuple[str, dict[str, str]]:
        title = f"Comparison: {self._of_asvs(self.known)} are known"
        shares = zip(KNOWN_COLUMNS, (self.known, self.kmers), strict=True)
        return title, {name: percent(self._of_reads(values), 1) for name, values in shares}

    def _cause(self, reverse: float, kmers: float) -> str:
        """The likely reason why so little is known, and what to do."""
        if reverse >= _FEW:
            number = self._count(self.reversed_known)
            what = "are" if number else f"have the {KMER}-mers of those"
            return (
                f"reverse complements of {number or self._count(self.reversed_alike):,} {what}: "
                "turn the sequences round"
            )
        if self._of_reads(self.starts) < _SAME_START:
            if kmers < _SAME_REGION:
                return (
                    f"{percent(1 - kmers, 1)} of their {KMER}-mers are new, too: another region or "
                    "gene, or adapters; predictions tell next to nothing"
                )
            return (
                "they begin elsewhere in the same region: process the reads alike (without "
                "primers, from the same base on)"
            )
        low, median, high = self.lengths
        if not low <= self.length <= high:
            return (
                f"the first {START} bases of {self._count(self.starts):,} are, but their length is "
                f"{self.length} bases and that of those {median}: process the reads alike "
                "(one length, one denoiser)"
            )
        return (
            "they are of the same region: another kind of samples, or another way of denoising; "
            "test the model on samples of this kind before you trust it"
        )

    def _of_reads(self, values: np.ndarray) -> float:
        reads = np.asarray(self.counts.sum(axis=0), np.float64).ravel()
        return float(min(1.0, (reads @ values) / max(reads.sum(), 1.0)))

    def _count(self, chosen: np.ndarray) -> int:
        """How many of the chosen ASVs are in some sample."""
        return int((chosen & (self.counts.getnnz(axis=0) > 0)).sum())

    def _of_asvs(self, chosen: np.ndarray) -> str:
        return f"{self._count(chosen):,} of {self._count(np.ones_like(chosen)):,} ASVs"


def _hashes(texts: Iterable[str]) -> np.ndarray:
    """[n] uint64."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    # Little-endian on every platform: the hashes are saved with the model.
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[n] bool: whether each value is one of the sorted ``known``, which are not empty."""
    place = np.searchsorted(known, values)
    # A value above all known ones has the place len(known).
    return known[np.minimum(place, len(known) - 1)] == values


def _kmers(sequences: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the k-mers of A, C, G, T, and the place of each's sequence; a chunk at a time."""
    sizes = np.fromiter((len(dna) + 1 for dna in sequences), np.int64, len(sequences))
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sequences):
        limit = ends[first] - sizes[first] + _CHUNK
        # One sequence at least, even if it exceeds a chunk: else the loop would not end.
        last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
        # Joined by a letter that is no base, so that no k-mer spans two sequences.
        text = "-".join([*sequences[first:last], ""]).encode("ascii", "replace")
        one = _NUMBERS[np.frombuffer(text, np.uint8)].astype(np.uint32)
        # By doubling, 4 joins rather than 11. Other letters (255) spoil the windows that hold them,
        # which `real` drops.
        two = _joined(one, one, 1, 1)
        four = _joined(two, two, 2, 2)
        numbers = _joined(_joined(four, four, 4, 4), four, 8, 4)
        wrong = np.concatenate([[0], np.cumsum(one > 3, dtype=np.int32)])
        real = wrong[KMER:] == wrong[:-KMER] if len(one) >= KMER else np.zeros(0, bool)
        owner = np.repeat(np.arange(first, last), sizes[first:last])[: len(numbers)]
        yield numbers[real], owner[real]
        first = last


def _joined(left: np.ndarray, right: np.ndarray, before: int, after: int) -> np.ndarray:
    """Numbers of windows of ``before`` bases and the ``after`` that follow; uint32."""
    size = max(0, len(right) - before)
    return (left[:size] << np.uint32(2 * after)) | right[before : before + size]


def _shares(sequences: list[str], occurs: np.ndarray) -> np.ndarray:
    """[n] share of each sequence's k-mers that occur [4^k] in known ones; 0 where it has none."""
    known, total = np.zeros(len(sequences)), np.zeros(len(sequences))
    for numbers, owner in _kmers(sequences):
        known += np.bincount(owner, occurs[numbers], minlength=len(sequences))
        total += np.bincount(owner, minlength=len(sequences))
    return known / np.maximum(total, 1)


def _median_length(sequences: list[str], reads: np.ndarray) -> int:
    """Length that half of the reads do not exceed."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    order = np.argsort(lengths, kind="stable")
    upto = np.cumsum(reads[order])
    return int(lengths[order[np.searchsorted(upto, upto[-1] / 2)]])


def _problems(arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """What is wrong with the arrays of `KnownASVs`; a check relies on those before it."""
    if set(arrays) != set(_ARRAYS):
        yield f"its arrays are {', '.join(sorted(arrays)) or 'missing'}"
    for name, dtype in _ARRAYS.items():
        if (arrays[name].dtype, arrays[name].ndim) != (dtype, 1):
            yield f"{name} must be {np.dtype(dtype)} of one dimension"
    for name in ("sequences", "starts", "kmers"):
        if (arrays[name][1:] <= arrays[name][:-1]).any():
            yield f"{name} are not sorted, or occur twice"
    if not 1 <= len(arrays["starts"]) <= len(arrays["sequences"]):
        yield "it has no sequences, or more starts than these"
    # `compare` uses them as indices of a table of this size.
    if len(arrays["kmers"]) and arrays["kmers"][-1] >= 4**KMER:
        yield f"its k-mers are not of {KMER} bases"
    lengths = arrays["lengths"]
    if len(lengths) != 3 or lengths[0] < 1 or (lengths[1:] < lengths[:-1]).any():
        yield f"its lengths are {lengths.tolist()[:5]}"
