"""Feature tables: BIOM (HDF5 or JSON), a ``.qza`` or an object, as a sparse matrix of reads."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.data.ids import check_ids, listing, short
from aam_core.data.qza import is_artifact, read_artifact
from aam_core.data.readers import existing, is_path
from aam_core.errors import InputError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TOO_MANY = 2.0**53  # beyond, float64 (which BIOM stores) no longer holds every whole number


def read_table(source) -> tuple[list[str], list[str], csr_matrix]:
    """Read a feature table.

    Parameters
    ----------
    source : path, biom.Table or pandas.DataFrame
        BIOM (HDF5, JSON, gzipped JSON) or a ``FeatureTable[Frequency]`` ``.qza``; a data frame has
        samples as rows.

    Returns
    -------
    sample_ids : list of str
        N ids.
    feature_ids : list of str
        F ids.
    counts : csr_matrix
        [N, F] int64 reads without explicit zeros, indices sorted. Never made dense.

    Raises
    ------
    InputError
        If it is not a table of reads: another format, no samples or features, duplicate ids,
        negative, fractional or missing counts.
    """
    if is_path(source):
        path = existing(source, "table")
        name, (samples, features, matrix) = str(path), _from_file(path)
    else:
        name, (samples, features, matrix) = "The table", _from_object(source)
    if not (len(samples) and len(features)):
        raise InputError(f"{name} is empty: {len(samples)} samples and {len(features)} features.")
    samples = check_ids(samples, "sample", name)
    features = check_ids(features, "feature", name)
    return samples, features, _reads(matrix, samples, features, name)


def _from_file(path):
    with open(path, "rb") as file:
        start = file.read(512)
    if is_artifact(path):
        return _from_hdf5(io.BytesIO(read_artifact(path, "FeatureTable[Frequency]")), path)
    if start.startswith(_HDF5):
        return _from_hdf5(path, path)
    if start.startswith(b"\x1f\x8b") or start.lstrip().startswith(b"{"):
        return _from_json(path)
    hint = ""
    if b"\t" in start:
        hint = " It looks like tab-separated text: convert it with biom convert --to-hdf5."
    raise InputError(f"{path} is not a BIOM table (HDF5 or JSON) nor a .qza.{hint}")


def _from_hdf5(file, path):
    """BIOM 2.x keeps samples x features in CSR: read as it is.

    ``biom.load_table`` would take 3.5 times as long and twice the memory (300,000 features of 150
    letters), and stops at an id that is not ASCII.
    """
    import h5py

    try:
        with h5py.File(file, "r") as biom:
            samples, features = _text(biom["sample/ids"]), _text(biom["observation/ids"])
            if not (samples and features):
                return samples, features, csr_matrix((len(samples), len(features)))
            parts = [biom[f"sample/matrix/{part}"][:] for part in ("data", "indices", "indptr")]
        matrix = csr_matrix(tuple(parts), shape=(len(samples), len(features)))
        matrix.check_format(full_check=True)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a BIOM table, or is damaged: {_one_line(error)}."
        ) from error
    return samples, features, matrix


def _text(dataset) -> list[str]:
    # An axis without ids is stored as an empty array of numbers.
    return dataset.asstr()[:].tolist() if dataset.shape[0] else []


def _from_json(path):
    from biom import Table
    from biom.exception import BiomException

    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if zipped else open)(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
        samples = check_ids([str(item["id"]) for item in content["columns"]], "sample", str(path))
        features = check_ids([str(item["id"]) for item in content["rows"]], "feature", str(path))
        matrix = Table.from_json(content).matrix_data
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            BiomException) as error:  # fmt: skip
        raise InputError(
            f"{path} is not a BIOM table, or is damaged: {_one_line(error)}."
        ) from error
    return samples, features, matrix.T.tocsr()


def _from_object(source):
    from biom import Table

    if isinstance(source, Table):
        samples = [str(item) for item in source.ids()]
        features = [str(item) for item in source.ids(axis="observation")]
        return samples, features, source.matrix_data.T.tocsr()
    if isinstance(source, pd.DataFrame):
        wrong = [column for column, kind in source.dtypes.items() if kind.kind not in "iuf"]
        if wrong:
            raise InputError(f"The table has columns that are not counts ({listing(wrong)}).")
        return list(source.index), list(source.columns), csr_matrix(source.to_numpy())
    raise InputError(
        f"The table must be a path, a biom.Table or a DataFrame, not {type(source).__name__}."
    )


def _reads(matrix: csr_matrix, samples, features, name: str) -> csr_matrix:
    """The matrix as int64 reads, or an error that names the first count that is none."""
    if matrix.data.dtype.kind not in "iuf":
        raise InputError(f"{name}: the counts are not numbers.")
    data = matrix.data
    for wrong, problem, advice in (
        (~(np.abs(data) < _TOO_MANY), "missing or infinite", "remove or correct them"),
        (data < 0, "negative", "AAM needs reads; give the table before it was transformed"),
        (data != np.floor(data), "not whole numbers",
         "AAM needs reads; give the table before it was made relative or transformed"),
    ):  # fmt: skip
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
            raise InputError(
                f"{name}: {int(wrong.sum()):,} counts are {problem} (the first: {data[at]} of "
                f"feature {short(features[matrix.indices[at]])} in sample {short(samples[row])}); "
                f"{advice}."
            )
    reads = csr_matrix(
        (data.astype(np.int64), matrix.indices, matrix.indptr), shape=matrix.shape, copy=True
    )
    reads.sum_duplicates()
    reads.eliminate_zeros()
    return reads


def _one_line(error) -> str:
    return " ".join(str(error).split()).rstrip(".")
