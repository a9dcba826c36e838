"""Sequences, trees and distances: from a path, a ``.qza`` or an object."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.data.ids import check_ids, listing, short
from aam_core.data.newick import Tree, parse_newick, read_newick
from aam_core.data.qza import is_artifact, read_artifact
from aam_core.errors import InputError

_GZIP = b"\x1f\x8b"


def is_path(source) -> bool:
    """Whether ``source`` names a file."""
    return isinstance(source, (str, os.PathLike))


def existing(source, what: str) -> Path:
    """The path of a regular file that can be read, or a one-line error.

    Parameters
    ----------
    source : path
        As given by the user.
    what : str
        What it should hold ('table', 'sequences', ...), for the message.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder; the {what} must be a file.")
    if not path.is_file():
        raise InputError(f"There is no file {path} ({what}); check the path.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} ({what}) may not be read; check its permissions.")
    return path


def read_text(source, what: str, artifact: str) -> str:
    """Text of a file, of a gzipped file, or of a ``.qza`` of the semantic type ``artifact``."""
    path = existing(source, what)
    try:
        if is_artifact(path):
            return read_artifact(path, artifact).decode("utf-8-sig")
        with open(path, "rb") as file:
            zipped = file.read(2) == _GZIP
        with (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError:
        raise InputError(f"{path} ({what}) is not text; is it the right file?") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} ({what}) cannot be read: {error}.") from error


def read_sequences(source) -> dict[str, str]:
    """Sequences by feature id, as they stand; `tokens.upper_dna` judges their letters.

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
        return _parse_fasta(text, str(source))
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


def _parse_fasta(text: str, name: str) -> dict[str, str]:
    text = text.lstrip()
    if not text.startswith(">"):
        hint = " It looks like FASTQ: AAM needs one sequence a feature." if text[:1] == "@" else ""
        raise InputError(f"{name} is not FASTA: it must start with '>'.{hint}")
    ids, sequences = [], []
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
    if isinstance(source, str) and source.lstrip().startswith("("):
        return parse_newick(source)
    if is_path(source):
        return parse_newick(read_text(source, "tree", "Phylogeny[Rooted]"), str(source))
    from skbio import TreeNode

    if isinstance(source, (Tree, TreeNode)):
        return read_newick(source)
    raise InputError(
        f"The tree must be a path, Newick text or a skbio.TreeNode, not {type(source).__name__}."
    )


def read_distances(source) -> tuple[list[str], np.ndarray]:
    """Read a distance matrix.

    Parameters
    ----------
    source : path, skbio.DistanceMatrix or pandas.DataFrame
        Square table of tab-separated values with ids above and beside, or a ``DistanceMatrix``
        ``.qza``.

    Returns
    -------
    ids : list of str
        N ids, in the order of the file.
    distances : ndarray
        [N, N] float32.

    Raises
    ------
    InputError
        If it is not square, its rows and columns disagree, or it is not a matrix of distances:
        symmetric, zero on the diagonal, nowhere negative or missing.
    """
    if is_path(source):
        name = str(source)
        ids, matrix = _parse_distances(read_text(source, "distances", "DistanceMatrix"), name)
    elif isinstance(source, pd.DataFrame):
        name, ids = "The distance matrix", list(source.index)
        if ids != list(source.columns):
            raise InputError(f"{name}: its rows and columns do not have the same ids.")
        matrix = source.to_numpy(dtype=np.float32)
    else:
        from skbio import DistanceMatrix

        if not isinstance(source, DistanceMatrix):
            raise InputError(
                "The distances must be a path, a skbio.DistanceMatrix or a DataFrame, "
                f"not {type(source).__name__}."
            )
        name, ids = "The distance matrix", list(source.ids)
        matrix = np.asarray(source.redundant_form(), dtype=np.float32)
    ids = check_ids(ids, "sample", name)
    _check_distances(matrix, ids, name)
    return ids, matrix


def _parse_distances(text: str, name: str) -> tuple[list[str], np.ndarray]:
    lines = (line for line in io.StringIO(text) if line.strip() and line[0] != "#")
    header = next(lines, "").rstrip("\r\n").split("\t")
    ids = [cell.strip() for cell in header[1:]]
    if header[0].strip() or not ids:
        raise InputError(
            f"{name} is not a distance matrix: its first line must be an empty cell and the "
            "sample ids, separated by tabs."
        )
    matrix = np.empty((len(ids), len(ids)), dtype=np.float32)
    row = 0
    for row, line in enumerate(lines, start=1):
        first, *cells = line.rstrip("\r\n").split("\t")
        if row > len(ids) or len(cells) != len(ids):
            raise InputError(
                f"{name} is not square: {len(ids):,} ids in its first line, but row {row:,} "
                f"({short(first)}) has {len(cells):,} values."
            )
        if first.strip() != ids[row - 1]:
            raise InputError(
                f"{name}: row {row:,} is {short(first)} where the first line has "
                f"{short(ids[row - 1])}; rows and columns must have the same ids in the same order."
            )
        try:
            matrix[row - 1] = np.array(cells, dtype=np.float64)
        except ValueError:
            raise InputError(
                f"{name}: row {row:,} ({short(first)}) holds something that is not a number."
            ) from None
    if row != len(ids):
        raise InputError(f"{name} is not square: {len(ids):,} columns, but {row:,} rows.")
    return ids, matrix


def _check_distances(matrix: np.ndarray, ids, name: str) -> None:
    """Symmetric and zero on the diagonal, up to the rounding of a text file."""
    tolerance = 1e-5 * max(1.0, float(matrix.max()))
    for problem, find in (
        ("missing or infinite", lambda: ~np.isfinite(matrix)),
        ("negative", lambda: matrix < -tolerance),
        ("not zero between a sample and itself", lambda: np.diag(np.diag(matrix)) > tolerance),
        ("not the same in both directions", lambda: np.abs(matrix - matrix.T) > tolerance),
    ):
        wrong = find()
        if wrong.any():
            i, j = (int(axis[0]) for axis in np.nonzero(wrong))
            raise InputError(
                f"{name}: {int(wrong.sum()):,} distances are {problem} (the first: "
                f"{matrix[i, j]:g} between {short(ids[i])} and {short(ids[j])})."
            )
