"""Sequences and trees: from a path, a ``.qza`` or an object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import BinaryIO

import pandas as pd

from aam_core.data.ids import check_ids, listing
from aam_core.data.qza import is_artifact, read_artifact
from aam_core.errors import InputError
from aam_core.files.reading import DAMAGED, as_text, opened
from aam_core.phylogeny.newick import Tree, parse_newick, read_newick

__all__ = [
    "is_newick",
    "is_path",
    "parse_fasta",
    "read_sequences",
    "read_text",
    "read_tree",
    "text_of",
]


def is_path(source) -> bool:
    """Whether ``source`` names a file."""
    return isinstance(source, (str, os.PathLike))


def is_newick(source) -> bool:
    """Whether ``source`` is the text of a tree, which `is_path` takes for a path, too."""
    return isinstance(source, str) and source.lstrip().startswith("(")


def read_text(source, what: str, artifact: str) -> str:
    """Text of a file or a pipe (gzip is fine), or of a ``.qza`` of semantic type ``artifact``.

    Raises
    ------
    InputError
        If it cannot be read, is another artifact, or not text; ``what`` is what it should contain.
    """
    with opened(source, what) as file:
        return text_of(file, what, artifact, source)


def text_of(file: BinaryIO, what: str, artifact: str, source) -> str:
    """As `read_text`, of an open file; ``source`` is what errors call it."""
    if is_artifact(file):
        return as_text(read_artifact(file, artifact, source), f"{source} ({what})")
    try:
        return as_text(file.read(), f"{source} ({what})")
    except DAMAGED as error:
        raise InputError(f"{source} ({what}) cannot be read: {error}.") from error


def read_sequences(source) -> dict[str, str]:
    """Sequences by feature id, unchanged; `tokens.upper_dna` checks their letters.

    Parameters
    ----------
    source : path, mapping or pandas.Series
        FASTA (may be gzipped; the id is the header's first word), a ``FeatureData[Sequence]``
        ``.qza``, or id -> sequence (text or ``skbio.DNA``).

    Raises
    ------
    InputError
        If it is no FASTA, or an id or a sequence is missing, or an id occurs twice.
    """
    if is_path(source):
        text = read_text(source, "sequences", "FeatureData[Sequence]")
        return parse_fasta(text, str(source))
    if isinstance(source, pd.Series):
        ids, values = list(source.index), list(source.to_numpy())
    elif isinstance(source, Mapping):
        ids, values = list(source), list(source.values())
    else:
        raise InputError(
            f"The sequences must be a path, a dictionary or a Series, not {type(source).__name__}."
        )
    ids = check_ids(ids, "feature", "The sequences")
    return dict(zip(ids, _as_text(values, ids), strict=True))


def _as_text(values, ids) -> list[str]:
    # scikit-bio is imported only where a value is something else.
    if all(type(value) is str for value in values):
        return values
    from skbio import Sequence

    wrong = [
        name
        for name, value in zip(ids, values, strict=True)
        if not isinstance(value, (str, Sequence))
    ]
    if wrong:
        raise InputError(f"The sequences: {len(wrong):,} are not text ({listing(wrong)}).")
    return [str(value) for value in values]


def parse_fasta(text: str, name: str) -> dict[str, str]:
    """Sequences by the first word of their header; ``name`` is what errors call the text."""
    text = text.lstrip()
    if not text.startswith(">"):
        hint = " It looks like FASTQ: AAM needs one sequence a feature." if text[:1] == "@" else ""
        raise InputError(f"{name} is not FASTA: it must start with '>'.{hint}")
    ids: list[str] = []
    sequences: list[str] = []
    # Only a '>' that begins a line begins a record: headers may hold more of them.
    for record in ("\n" + text).split("\n>")[1:]:
        header, _, body = record.partition("\n")
        words = header.split(maxsplit=1)
        if not words:
            raise InputError(f"{name}: the header of record {len(ids) + 1:,} has no id.")
        ids.append(words[0])
        sequences.append("".join(body.split()))
    ids = check_ids(ids, "feature", name)
    return dict(zip(ids, sequences, strict=True))


def read_tree(source) -> Tree:
    """Read a rooted tree.

    Parameters
    ----------
    source : path, Newick text or skbio.TreeNode
        Newick file (may be gzipped), a ``Phylogeny[Rooted]`` ``.qza``, text that starts with '(',
        or a tree.

    Raises
    ------
    InputError
        If it is not Newick, or an artifact of another type.
    """
    # Before `is_path`, to which every text is a path.
    if is_newick(source):
        return parse_newick(source)
    if is_path(source):
        return parse_newick(read_text(source, "tree", "Phylogeny[Rooted]"), str(source))
    from skbio import TreeNode

    if isinstance(source, (Tree, TreeNode)):
        return read_newick(source)
    raise InputError(
        f"The tree must be a path, Newick text or a skbio.TreeNode, not {type(source).__name__}."
    )
