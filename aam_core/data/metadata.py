"""Sample metadata: QIIME 2's TSV rules, or a data frame."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from aam_core.data.ids import check_ids, listing, nearest
from aam_core.data.metadata_tsv import MISSING, read_cells
from aam_core.data.qza import is_artifact
from aam_core.data.readers import text_of
from aam_core.errors import InputError
from aam_core.reading import opened

_NUMBER = re.compile(r"[-+]?([0-9]*\.[0-9]+|[0-9]+\.?)([Ee][-+]?[0-9]+)?")


def read_metadata(path) -> pd.DataFrame:
    """Read a QIIME 2 metadata file.

    Parameters
    ----------
    path : path
        Tab-separated values under QIIME 2's rules: its id headers, ``#q2:types`` and
        ``#q2:missing`` directives, comments, quotes, a byte-order mark; blanks round cells do not
        count, and an empty cell is missing.

    Returns
    -------
    DataFrame
        Index 'sample-id' of text ids. A column is numeric (float64, missing NaN) where it is
        declared so, or where it is not declared and every value is a number; else text (object,
        missing None).

    Raises
    ------
    InputError
        For a file that breaks a rule (the line is named), or duplicate ids.
    """
    with opened(path, "metadata") as file:
        if is_artifact(file):
            raise InputError(
                f"{path} (metadata) is a zip archive; give the metadata as a TSV file."
            )
        return _from_file(path, text_of(file, "metadata", "Metadata", path))


def from_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The same form as `read_metadata`, from any data frame with text ids as its index.

    Numbers become float64, everything else text; the frame that was given stays as it is.
    """
    ids = check_ids(frame.index, "sample", "The metadata")
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InputError("The metadata: column names occur more than once.")
    columns = {name: _from_series(frame.iloc[:, i]) for i, name in enumerate(names)}
    return _frame(ids, columns)


def column(metadata: pd.DataFrame, name: str) -> pd.Series:
    """A column by name; where there is none, the error names the nearest."""
    if name not in metadata.columns:
        raise InputError(f"There is no metadata column {name!r}{nearest(name, metadata.columns)}")
    return metadata[name]


def matches(metadata: pd.DataFrame, condition: str) -> np.ndarray:
    """Which samples fulfil ``"column=value"``.

    Parameters
    ----------
    metadata : DataFrame
        As `read_metadata` returns it.
    condition : str
        Numbers are compared as numbers, text letter for letter.

    Returns
    -------
    ndarray
        [N] bool.

    Raises
    ------
    InputError
        For an unknown column or a value that does not occur (the nearest is named).
    """
    name, equals, value = condition.partition("=")
    # A column's own name may hold '='.
    for split in (match.start() for match in re.finditer("=", condition)):
        if condition[:split].strip() in metadata.columns:
            name, value = condition[:split], condition[split + 1 :]
    if not equals:
        raise InputError(f"The filter {condition!r} must have the form column=value.")
    name, value = name.strip(), value.strip()
    values = column(metadata, name)
    if values.dtype == object:
        found = (values == value).to_numpy(dtype=bool)
        legal = sorted(set(values.dropna()))
    else:
        number = float(value) if _NUMBER.fullmatch(value) else np.nan
        found = (values == number).to_numpy(dtype=bool)
        legal = [f"{item:.15g}" for item in sorted(set(values.dropna()))]
    if not found.any():
        raise InputError(
            f"No sample has {value!r} in the metadata column {name!r}{nearest(value, legal)}"
        )
    return found


def _from_file(path, text: str) -> pd.DataFrame:
    cells = read_cells(text, path)
    if not cells.ids:
        raise InputError(f"{path} (metadata) has a header but no samples.")
    ids = check_ids(cells.ids, "sample", str(path))
    columns = {}
    for i, name in enumerate(cells.columns):
        scheme = cells.missing.get(name, "blank")
        empty = {"", *MISSING[scheme]}
        values = [None if row[i] in empty else row[i] for row in cells.rows]
        if scheme == "no-missing" and None in values:
            blank = [key for key, value in zip(ids, values, strict=True) if value is None]
            raise InputError(
                f"{path}: column {name!r} is declared no-missing, but {len(blank):,} samples have "
                f"no value ({listing(blank)})."
            )
        columns[name] = _typed(values, cells.types.get(name), f"{path}: column {name!r}")
    return _frame(ids, columns)


def _typed(values: list, declared: str | None, where: str) -> np.ndarray:
    """float64 where every value is a number (or the column is declared so), else text."""
    if declared != "categorical":
        wrong = (value for value in values if value is not None and not _NUMBER.fullmatch(value))
        first = next(wrong, None)
        if first is None:
            return np.array([np.nan if value is None else float(value) for value in values])
        if declared == "numeric":
            wrong = dict.fromkeys([first, *wrong])
            raise InputError(
                f"{where} is declared numeric, but {len(wrong):,} values are not numbers "
                f"({listing(wrong)})."
            )
    return _text(values)


def _from_series(series: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    values = [None if pd.isna(value) else value for value in series]
    known = [value for value in values if value is not None]
    number = (int, float, np.integer, np.floating)
    if known and all(isinstance(v, number) and not isinstance(v, bool) for v in known):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return _text([None if value is None else str(value).strip() or None for value in values])


def _text(values: list) -> np.ndarray:
    text = np.empty(len(values), dtype=object)
    text[:] = values
    return text


def _frame(ids, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    # dtype=object is explicit everywhere: newer pandas would make text its own dtype.
    index = pd.Index(ids, dtype=object, name="sample-id")
    series = {name: pd.Series(v, index=index, dtype=v.dtype) for name, v in columns.items()}
    return pd.DataFrame(series, index=index)
