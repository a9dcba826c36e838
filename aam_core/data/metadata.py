"""Sample metadata: QIIME 2's TSV rules, or a data frame.

A column keeps the text of the file; what it is used as asks for numbers or names
(`aam_core.data.columns`). What is known of a column beforehand is its dtype:

- object: text, undeclared. As a covariate it is numeric where every value is a number.
- category: names, declared (``#q2:types`` categorical; a pandas category).
- float64: numbers, of a data frame.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from aam_core.data.columns import as_name, is_number
from aam_core.data.ids import check_ids, listing, nearest
from aam_core.data.metadata_tsv import MISSING, read_cells
from aam_core.data.qza import is_artifact
from aam_core.data.readers import text_of
from aam_core.errors import InputError
from aam_core.files.reading import opened

_EXACT = 2**53
"""The whole number up to which float64 holds each."""


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
        Index 'sample-id' of text ids. A column holds the text of its cells, missing None (object),
        also where it is declared numeric, which is checked; a category where it is declared
        categorical.

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

    Numbers become float64, a category one of text, everything else text; the frame that was given
    stays as it is.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"The metadata must be a path or a DataFrame, not {type(frame).__name__}.")
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
        Compared letter for letter; where no sample has that text, as a number with a column of
        numbers ('4' finds '4.0').

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
    known = [item for item in values if not _missing(item)]
    names = {as_name(item) for item in known}
    numeric = all(map(is_number, names)) and not isinstance(values.dtype, pd.CategoricalDtype)
    if value in names or not (numeric and is_number(value)):
        found = [not _missing(item) and as_name(item) == value for item in values]
    else:
        number = float(value)
        found = [not _missing(item) and float(item) == number for item in values]
    if not any(found):
        legal = sorted(names, key=float) if numeric else sorted(names)
        raise InputError(
            f"No sample has {value!r} in the metadata column {name!r}{nearest(value, legal)}"
        )
    return np.array(found, dtype=bool)


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
        columns[name] = _declared(values, cells.types.get(name), f"{path}: column {name!r}")
    return _frame(ids, columns)


def _declared(values: list, declared: str | None, where: str) -> np.ndarray | pd.Categorical:
    """The text, or a category where the file declares one; `InputError` where it declares wrong."""
    if declared == "categorical":
        return _category(values)
    if declared == "numeric":
        wrong = dict.fromkeys(v for v in values if v is not None and not is_number(v))
        if wrong:
            raise InputError(
                f"{where} is declared numeric, but {len(wrong):,} values are not numbers "
                f"({listing(wrong)})."
            )
    return _text(values)


def _from_series(series: pd.Series) -> np.ndarray | pd.Categorical:
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _category(_stripped(series))
    if getattr(series.dtype, "kind", "O") in "iuf":
        known = series.dropna()
    else:
        known = [value for value in series if not _missing(value)]
        number = (int, float, np.integer, np.floating)
        if not known or not all(isinstance(v, number) and not isinstance(v, bool) for v in known):
            return _text(_stripped(series))
    if any(isinstance(v, (int, np.integer)) and abs(int(v)) > _EXACT for v in known):
        return _text(_stripped(series))  # ids, as a rule: float64 would make some equal
    return np.array([np.nan if _missing(v) else v for v in series], dtype=np.float64)


def _stripped(values) -> list[str | None]:
    return [None if _missing(value) else as_name(value).strip() or None for value in values]


def _missing(value) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _category(values: list) -> pd.Categorical:
    names = sorted({value for value in values if value is not None})
    return pd.Categorical(values, categories=pd.Index(names, dtype=object))


def _text(values: list) -> np.ndarray:
    text = np.empty(len(values), dtype=object)
    text[:] = values
    return text


def _frame(ids, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    # dtype=object is explicit everywhere: newer pandas would make text its own dtype.
    index = pd.Index(ids, dtype=object, name="sample-id")
    series = {name: pd.Series(v, index=index, dtype=v.dtype) for name, v in columns.items()}
    return pd.DataFrame(series, index=index)
