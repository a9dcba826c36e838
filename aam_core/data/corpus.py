"""Sequences without samples, for pretraining the nucleotide level alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.data.inputs import Study
from aam_core.data.qza import is_artifact
from aam_core.data.readers import read_sequences, read_text
from aam_core.data.tokens import upper_dna
from aam_core.errors import InputError

PER_SAMPLE = 16
"""Sequences that stand for one sample, so that batches are made as for a study."""


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
    """
    sequences, names = _read(source)
    if len(sequences) < 2:
        raise InputError(f"The corpus holds {len(sequences)} sequences; give at least 2.")
    sequences = upper_dna(sequences, names)
    count = len(sequences)
    starts = np.arange(0, count, PER_SAMPLE)
    counts = csr_matrix(
        (np.ones(count, np.int64), np.arange(count), np.append(starts, count)),
        shape=(len(starts), count),
    )
    samples = [f"sequences-{start + 1}" for start in starts]
    return Study(sample_ids=samples, feature_ids=names, counts=counts, sequences=sequences)


def _read(source) -> tuple[list[str], list[str]]:
    if isinstance(source, Sequence) and not isinstance(source, str):
        found = list(dict.fromkeys(source))
        return found, [f"sequence {i + 1}" for i in range(len(found))]
    if not is_artifact(source):
        lines = read_text(source, "sequences", "FeatureData[Sequence]").split()
        if lines and not lines[0].startswith(">"):
            names = [f"line {i + 1}" for i in range(len(lines))]
            return lines, names
    found = read_sequences(source)
    return list(found.values()), list(found)
