"""Ready distance matrices: from a path, a ``.qza`` or an object. Letters: N samples.

Text is read line by line, not by `skbio.DistanceMatrix.read`: docs/dependencies.md has the times.
"""

from __future__ import annotations

import csv
import io
import os
from typing import TextIO

import numpy as np
import pandas as pd

from aam_core.data import hdf5
from aam_core.data.ids import check_ids, short
from aam_core.data.metadata import is_id_header
from aam_core.data.qza import is_artifact, read_artifact
from aam_core.data.readers import is_path
from aam_core.errors import InputError
from aam_core.files.reading import DAMAGED, decoded, opened

__all__ = ["read_distances"]

_NPY = b"\x93NUMPY"


def read_distances(source) -> tuple[list[str], np.ndarray]:
    """Read a distance matrix.

    Parameters
    ----------
    source : path, skbio.DistanceMatrix or pandas.DataFrame
        Square table of values separated by tabs or commas, with ids in the first row and column;
        HDF5 as UniFrac's programs write it (``order`` and ``matrix``); or a ``DistanceMatrix``
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
        name, (ids, matrix) = str(source), _from_file(source)
    elif isinstance(source, pd.DataFrame):
        name, ids = "The distance matrix", list(source.index)
        if ids != list(source.columns):
            raise InputError(f"{name}: its rows and columns do not have the same ids.")
        try:
            matrix = source.to_numpy(dtype=np.float32)
        except (TypeError, ValueError):
            raise InputError(f"{name} holds something that is not a number.") from None
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


def _from_file(path) -> tuple[list[str], np.ndarray]:
    with opened(path, "distances") as file:
        start = file.read(8)
        file.seek(0)
        if start.startswith(_NPY):
            raise InputError(
                f"{path} is a NumPy array, which has no sample ids. Save it with them: "
                "pandas.DataFrame(array, ids, ids).to_csv('distances.csv')."
            )
        if start == hdf5.MAGIC:
            what = "a distance matrix (datasets 'order' and 'matrix')"
            return hdf5.read_hdf5(file, what, path, _from_datasets)
        if is_artifact(file):
            file = io.BytesIO(read_artifact(file, "DistanceMatrix", path))
        try:
            # Of the content after gzip or zip, with which `_from_text` compares the number of ids.
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            with decoded(file, f"{path} (distances)") as text:
                return _from_text(text, size, str(path))
        except DAMAGED as error:
            raise InputError(f"{path} (distances) cannot be read: {error}.") from error


def _from_datasets(file: hdf5.Datasets) -> tuple[list[str], np.ndarray]:
    ids = file.text("order")
    several = "matrix:0" in file  # of several subsamples the first, as UniFrac's own reader does
    (matrix,) = file.read("matrix:0" if several else "matrix", kinds="f", dimensions=2)
    if matrix.shape != (len(ids), len(ids)) or not ids:
        raise ValueError(f"{len(ids):,} ids, and a matrix of shape {matrix.shape}")
    return ids, matrix.astype(np.float32)


def _from_text(file: TextIO, size: int, name: str) -> tuple[list[str], np.ndarray]:
    """The matrix of a text file of ``size`` bytes."""
    lines = (line for line in file if line.strip() and line[0] != "#")
    first = next(lines, "")
    # A tab decides: ids may hold commas, but no tabs (`check_ids`).
    between = "," if "," in first and "\t" not in first else "\t"
    header = _cells(first, between)
    ids = [cell.strip() for cell in header[1:]]
    corner = header[0].strip() if header else ""
    if not ids or not (corner == "" or is_id_header(corner)):
        raise InputError(
            f"{name} is not a distance matrix: its first line must be an empty cell and the "
            "sample ids, separated by tabs or commas."
        )
    # A value takes two bytes at least, with its tab: the first line of a small file must not have a
    # large matrix allocated.
    if 2 * len(ids) ** 2 > size:
        raise InputError(
            f"{name} is not square: {len(ids):,} ids in its first line, but too few values for "
            "as many rows."
        )
    matrix = np.empty((len(ids), len(ids)), dtype=np.float32)
    row = 0
    for row, line in enumerate(lines, start=1):
        _read_row(line, between, row, ids, matrix, name)
    if row != len(ids):
        raise InputError(f"{name} is not square: {len(ids):,} columns, but {row:,} rows.")
    return ids, matrix


def _read_row(line: str, between: str, row: int, ids, matrix: np.ndarray, name: str) -> None:
    first, *cells = _cells(line, between)
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
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            matrix[row - 1] = np.array(cells, dtype=np.float64)
    except ValueError:
        raise InputError(
            f"{name}: row {row:,} ({short(first)}) holds something that is not a number."
        ) from None


def _cells(line: str, between: str) -> list[str]:
    line = line.rstrip("\r\n")
    if between == "\t" or '"' not in line:
        return line.split(between)
    try:
        return next(csv.reader([line]), [""])
    except csv.Error:
        return [line]


def _check_distances(matrix: np.ndarray, ids, name: str) -> None:
    """Symmetric and zero on the diagonal, up to the rounding of a text file."""
    # Relative where distances are large. Of 1 and NaN, max() is 1: NaN is found below.
    tolerance = 1e-5 * max(1.0, float(matrix.max()))
    # Functions, so that one N x N mask is in memory at a time.
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
