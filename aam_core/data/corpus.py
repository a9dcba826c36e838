"""A corpus: sequences without samples, for pretraining the nucleotide level alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.data.readers import parse_fasta, read_text
from aam_core.data.study import Study, files_of
from aam_core.data.tokens import upper_dna
from aam_core.errors import InputError

__all__ = ["PER_SAMPLE", "load_corpus"]

PER_SAMPLE = 16
"""Sequences that are put together as one "sample", so that batches are made as for a study."""


def load_corpus(source) -> Study:
    """A study of distinct sequences without communities.

    Parameters
    ----------
    source : path or sequence of str
        FASTA, a ``FeatureData[Sequence]`` ``.qza``, plain text with one sequence a line (gzip is
        fine), or the sequences themselves.

    Returns
    -------
    Study
        Its "samples" are runs of 16 sequences and mean nothing.

    Raises
    ------
    InputError
        If there are fewer than two distinct sequences, or one is not DNA.
    """
    sequences, names = _read(source)
    distinct: dict[str, str] = {}
    # Upper case first: 'acgt' and 'ACGT' are one sequence.
    for sequence, name in zip(upper_dna(sequences, names), names, strict=True):
        distinct.setdefault(sequence, name)
    sequences, names = list(distinct), list(distinct.values())
    count = len(sequences)
    if count < 2:
        raise InputError(f"The corpus has {count} distinct sequences; give at least 2.")
    starts = np.arange(0, count, PER_SAMPLE)
    counts = csr_matrix(
        (np.ones(count, np.int64), np.arange(count), np.append(starts, count)),
        shape=(len(starts), count),
    )
    samples = [f"sequences-{start + 1}" for start in starts]
    return Study(
        sample_ids=samples,
        feature_ids=names,
        counts=counts,
        sequences=sequences,
        files=files_of(sequences=source),
    )


def _read(source) -> tuple[list[str], list[str]]:
    if isinstance(source, Sequence) and not isinstance(source, str):
        return list(source), [f"sequence {i + 1}" for i in range(len(source))]
    text = read_text(source, "sequences", "FeatureData[Sequence]")
    lines = {
        f"line {i}": line.strip() for i, line in enumerate(text.split("\n"), 1) if line.strip()
    }
    if not next(iter(lines.values()), ">").startswith(">"):
        return list(lines.values()), list(lines)
    by_id = parse_fasta(text, str(source))
    return list(by_id.values()), list(by_id)
