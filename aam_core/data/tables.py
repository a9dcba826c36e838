"""Feature tables: BIOM (HDF5 or JSON), a ``.qza`` or an object, as a sparse matrix of reads."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, csr_matrix

from aam_core.data import hdf5
from aam_core.data.annotated import counts_of, is_anndata
from aam_core.data.ids import check_ids, listing, short
from aam_core.data.qza import is_artifact, read_artifact
from aam_core.data.readers import is_path
from aam_core.errors import InputError
from aam_core.files.reading import DAMAGED, opened, parse_json

__all__ = ["read_table"]

_TOO_MANY = 2.0**53  # beyond, float64 (which BIOM stores) no longer holds every whole number


def read_table(source) -> tuple[list[str], list[str], csr_matrix]:
    """Read a feature table.

    Parameters
    ----------
    source : path, biom.Table, pandas.DataFrame or anndata.AnnData
        BIOM (HDF5 or JSON; may be gzipped) or a ``FeatureTable[Frequency]`` ``.qza``; a data frame
        and an AnnData have samples as rows.

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
        If it is not a table of reads: another format, no samples or features, duplicate ids, or
        counts that are negative, fractional or missing.
    """
    if is_path(source):
        name, (samples, features, matrix) = str(source), _from_file(source)
    else:
        name, (samples, features, matrix) = "The table", _from_object(source)
    if not (len(samples) and len(features)):
        raise InputError(f"{name} is empty: {len(samples)} samples and {len(features)} features.")
    samples = check_ids(samples, "sample", name)
    features = check_ids(features, "feature", name)
    return samples, features, _reads(matrix, samples, features, name)


def _from_file(path):
    with opened(path, "table") as file:
        if is_artifact(file):
            content = read_artifact(file, "FeatureTable[Frequency]", path)
            return _from_hdf5(io.BytesIO(content), path)
        start = file.read(512)
        file.seek(0)
        if start.startswith(hdf5.MAGIC):
            return _from_hdf5(file, path)
        # An 8-bit byte-order mark, or blanks, or 16-bit text may come first.
        if start.lstrip(b"\xef\xbb\xff\xfe\xbf\0 \t\r\n").startswith(b"{"):
            return _from_json(file, path)
    hint = ""
    if b"\t" in start:
        hint = " It looks like tab-separated text: convert it with biom convert --to-hdf5."
    raise InputError(f"{path} is not a BIOM table (HDF5 or JSON) nor a .qza.{hint}")


def _from_hdf5(file, path):
    """BIOM 2.x keeps samples x features in CSR: read as it is.

    ``biom.load_table`` would take 3.5 times as long and twice the memory (300,000 features of 150
    letters), and stops at an id that is not ASCII.
    """
    return hdf5.read_hdf5(file, "a BIOM table", path, _from_datasets)


def _from_datasets(biom: hdf5.Datasets):
    samples, features = biom.text("sample/ids"), biom.text("observation/ids")
    shape = (len(samples), len(features))
    if not (samples and features):
        return samples, features, csr_matrix(shape)
    (data,) = biom.read("sample/matrix/data", kinds="iuf")
    indices, starts = biom.read("sample/matrix/indices", "sample/matrix/indptr", kinds="iu")
    starts = starts.astype(np.int64)  # differences of unsigned numbers would not be negative
    # SciPy looks no further where the last of them is 0.
    if not len(starts) or starts[0] or starts[-1] != len(data) or (np.diff(starts) < 0).any():
        raise ValueError("sample/matrix/indptr does not lead through its data")
    matrix = csr_matrix((data, indices, starts), shape=shape)
    # SciPy's compiled code would use an index out of range unchecked.
    matrix.check_format(full_check=True)
    return samples, features, matrix


def _from_json(file, path):
    """BIOM 1.0: ids and matrix.

    ``biom.Table.from_json`` requires fields that are not used here (a type, metadata), and
    allocates whatever the declared shape says.
    """
    try:
        content = parse_json(file.read())
        ids = {"sample": content["columns"], "feature": content["rows"]}
        samples, features = (
            check_ids([str(item["id"]) for item in items], what, str(path))
            for what, items in ids.items()
        )
        dense, shape = content.get("matrix_type") == "dense", (len(features), len(samples))
        if list(content.get("shape", shape)) != list(shape):
            raise ValueError(f"its shape is not that of {shape[0]} rows and {shape[1]} columns")
        matrix = _matrix(content["data"], dense, shape)
    except (*DAMAGED, ValueError, KeyError, TypeError, AttributeError, IndexError,
            OverflowError) as error:  # fmt: skip
        raise InputError(
            f"{path} is not a BIOM table, or is damaged: {_one_line(error)}."
        ) from error
    return samples, features, matrix.T.tocsr()


def _matrix(data: list, dense: bool, shape) -> coo_matrix:
    """[F, N] from rows of numbers, or from lists of a row, a column and a number."""
    values = np.array(data, dtype=np.float64)
    if dense:
        if values.shape != shape and values.size:
            raise ValueError(f"its data are not {shape[0]} rows of {shape[1]} numbers")
        return coo_matrix(values.reshape(shape))
    if values.size and values.shape[1:] != (3,):
        raise ValueError("its data are not lists of a row, a column and a number")
    rows, columns, values = values.reshape(-1, 3).T
    places = np.stack([rows, columns])
    if not (places == np.floor(places)).all():  # nor is NaN
        raise ValueError("a row or a column is not a whole number")
    return coo_matrix((values, places.astype(np.int64)), shape=shape)


def _from_object(source):
    from biom import Table

    if is_anndata(source):
        return counts_of(source)
    if isinstance(source, Table):
        samples = [str(item) for item in source.ids()]
        features = [str(item) for item in source.ids(axis="observation")]
        return samples, features, source.matrix_data.T.tocsr()
    if isinstance(source, pd.DataFrame):
        wrong = [
            column
            for column, kind in source.dtypes.items()
            if getattr(kind, "kind", "O") not in "iuf"
        ]
        if wrong:
            raise InputError(f"The table has columns that are not counts ({listing(wrong)}).")
        counts = source.to_numpy()
        if counts.dtype.kind not in "iuf":  # of nullable types (Int64)
            counts = source.to_numpy(dtype=np.float64, na_value=np.nan)
        return list(source.index), list(source.columns), csr_matrix(counts)
    raise InputError(
        "The table must be a path, a biom.Table, a DataFrame or an AnnData, not "
        f"{type(source).__name__}."
    )


def _reads(matrix: csr_matrix, samples, features, name: str) -> csr_matrix:
    """The matrix as int64 reads; `InputError` names the first count that cannot be one."""
    if matrix.data.dtype.kind not in "iuf":
        raise InputError(f"{name}: the counts are not numbers.")
    data = matrix.data
    for wrong, problem, advice in (
        # Not `>=`, which is false for NaN.
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
    # A copy: the next two calls work in place, and the caller's table must not change (a test).
    reads = csr_matrix(
        (data.astype(np.int64), matrix.indices, matrix.indptr), shape=matrix.shape, copy=True
    )
    reads.sum_duplicates()
    reads.eliminate_zeros()
    return reads


def _one_line(error) -> str:
    return " ".join(str(error).split()).strip("'.")
