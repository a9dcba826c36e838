"""Sample metadata: QIIME 2's TSV, or a data frame.

The rules of the file are QIIME 2's (https://docs.qiime2.org, "Metadata in QIIME 2"), so that it
means the same here as there; reading it needs no QIIME 2.

A column keeps the text of the file; its use turns it into numbers or names (`data.columns`). Its
dtype says what is declared of it:

- object: text, undeclared. As a covariate it is numeric where every value is a number.
- category: names, declared (``#q2:types`` categorical; a pandas category).
- float64: numbers, of a data frame.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.columns import as_name, as_numbers, is_number, list_values, missing_ids
from aam_core.data.ids import check_ids, listing, nearest
from aam_core.data.qza import is_artifact
from aam_core.data.readers import text_of
from aam_core.errors import InputError, first_five
from aam_core.files.reading import opened

__all__ = [
    "column",
    "from_frame",
    "is_id_header",
    "matches",
    "positive_numbers",
    "read_metadata",
    "require_columns",
    "unmatched",
]

_ANY_CASE = ("id", "sampleid", "sample id", "sample-id", "featureid", "feature id", "feature-id")
"""Id headers that are legal in upper and lower case."""

_EXACT_CASE = ("#SampleID", "#Sample ID", "#OTUID", "#OTU ID", "sample_name")
"""Id headers that are legal as they stand."""

_TYPES = ("categorical", "numeric")
_MISSING = {
    "blank": (),
    "no-missing": (),
    "INSDC:missing": (
        "not applicable", "missing", "not collected", "not provided", "restricted access",
    ),
}  # fmt: skip
"""Schemes of ``#q2:missing``, and the words that each counts as missing besides a blank."""

_LARGEST_EXACT = 2**53
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
    """A data frame with text ids as its index, in the form that `read_metadata` returns.

    Numbers become float64, a category one of text, everything else text, in a copy.

    Raises
    ------
    InputError
        If it is no data frame, or an id or a column name is not text or occurs twice.
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
    """A column by name.

    Raises
    ------
    InputError
        Where there is none; the message names the nearest.
    """
    if name not in metadata.columns:
        raise InputError(f"There is no metadata column {name!r}{nearest(name, metadata.columns)}")
    return metadata[name]


def require_columns(metadata: pd.DataFrame | None, names: Iterable[str]) -> None:
    """Refuse metadata of samples to predict that lack a column, or a value, that the model needs.

    Parameters
    ----------
    metadata : DataFrame or None
        Rows of the samples that are predicted.
    names : iterable of str

    Raises
    ------
    InputError
    """
    for name in names:
        if metadata is None:
            raise InputError(
                f"The model reads the metadata column {name!r} of each sample: give the metadata "
                "(--metadata)."
            )
        blank = missing_ids(column(metadata, name))
        if blank:
            raise InputError(
                f"The model reads the metadata column {name!r}, which is blank for {len(blank)} of "
                f"{len(metadata)} samples: {first_five(blank)}. Fill them in, or leave these "
                "samples out (--where)."
            )


def positive_numbers(metadata: pd.DataFrame | None, name: str, ids: Iterable[str]) -> np.ndarray:
    """Values of some samples in a column of numbers above 0: ``[N]`` float64.

    Raises
    ------
    InputError
    """
    if metadata is None:
        raise InputError(f"The study has no metadata to take the column {name!r} from.")
    values = column(metadata, name).loc[list(ids)]
    numbers = as_numbers(values)
    wrong = values[numbers <= 0]
    if len(wrong):
        raise InputError(
            f"Column {name!r} has {len(wrong)} weights that are not above 0: {list_values(wrong)}. "
            "Correct them, or leave these samples out."
        )
    return numbers


def matches(metadata: pd.DataFrame, condition: str) -> np.ndarray:
    """Which samples have ``"column=value"``.

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
    values, value = _condition(metadata, condition)
    name = values.name
    names = {as_name(item) for item in values if not _missing(item)}
    numeric = all(map(is_number, names)) and not isinstance(values.dtype, pd.CategoricalDtype)
    if value in names or not (numeric and is_number(value)):
        mask = [not _missing(item) and as_name(item) == value for item in values]
    else:
        number = float(value)
        mask = [not _missing(item) and float(item) == number for item in values]
    if not any(mask):
        legal = sorted(names, key=float) if numeric else sorted(names)
        raise InputError(
            f"No sample has {value!r} in the metadata column {name!r}{nearest(value, legal)}"
        )
    return np.array(mask, dtype=bool)


def unmatched(metadata: pd.DataFrame, conditions: Sequence[str]) -> str:
    """A line on samples that meet none of some conditions as a column is blank; empty without any.

    Parameters
    ----------
    metadata : DataFrame
    conditions : sequence of str
        As of `matches`, which has checked them.
    """
    columns = [_condition(metadata, condition)[0] for condition in conditions]
    met = np.logical_or.reduce([matches(metadata, condition) for condition in conditions])
    blank = np.logical_or.reduce([values.index.isin(missing_ids(values)) for values in columns])
    names = list(metadata.index[blank & ~met])
    if not names:
        return ""
    where = first_five(dict.fromkeys(str(values.name) for values in columns))
    return (
        f"{len(names)} of {len(metadata)} samples have no value in {where}, and are trained on: "
        f"{first_five(names)}"
    )


def _condition(metadata: pd.DataFrame, condition: str) -> tuple[pd.Series, str]:
    """The column and the value of ``"column=value"``."""
    name, equals, value = condition.partition("=")
    # A column's own name may hold '='.
    for split in (match.start() for match in re.finditer("=", condition)):
        if condition[:split].strip() in metadata.columns:
            # Of several such columns the longest name is the last to match.
            name, value = condition[:split], condition[split + 1 :]
    if not equals:
        raise InputError(f"The filter {condition!r} must have the form column=value.")
    return column(metadata, name.strip()), value.strip()


def _from_file(path, text: str) -> pd.DataFrame:
    cells = _read_cells(text, path)
    if not cells.ids:
        raise InputError(f"{path} (metadata) has a header but no samples.")
    ids = check_ids(cells.ids, "sample", str(path))
    columns = {}
    for i, name in enumerate(cells.columns):
        scheme = cells.missing.get(name, "blank")
        empty = {"", *_MISSING[scheme]}
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
    """The text, or a category where the file declares one; checked against the declaration."""
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
        present = series.dropna()
    else:
        present = [value for value in series if not _missing(value)]
        # bool is a subclass of int, but its values are names of classes.
        number = (int, float, np.integer, np.floating)
        if not present or not all(
            isinstance(v, number) and not isinstance(v, bool) for v in present
        ):
            return _text(_stripped(series))
    if any(isinstance(v, (int, np.integer)) and abs(int(v)) > _LARGEST_EXACT for v in present):
        return _text(_stripped(series))  # ids, as a rule: float64 would make some equal
    return np.array([np.nan if _missing(v) else v for v in series], dtype=np.float64)


def _stripped(values) -> list[str | None]:
    return [None if _missing(value) else as_name(value).strip() or None for value in values]


def _missing(value) -> bool:
    # pd.isna of a list is an array, which has no single truth value.
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


# --- the file, cell by cell --------------------------------------------------------------------


@dataclass(frozen=True)
class _Cells:
    """A metadata file as text: ``rows`` has a list of cells for each id, one for each of
    ``columns``; ``types`` and ``missing`` are what the directives declare, by column."""

    columns: list[str]
    ids: list[str]
    rows: list[list[str]]
    types: dict[str, str]
    missing: dict[str, str]


def _read_cells(text: str, path) -> _Cells:
    """Read the text of a metadata file; `InputError` names the line that breaks a rule."""
    reader = _Reader(io.StringIO(text), path)
    try:
        return reader.read()
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.start}: {_quote_error(str(error))}.") from None


def _quote_error(problem: str) -> str:
    """The csv module's message in words: it prints the tab itself."""
    if "expected after" in problem:
        problem = "a tab is expected after a cell in double quotes"
    elif "unexpected end" in problem:
        problem = "a double quote is opened here and never closed"
    else:
        return problem
    return (
        f"{problem}; a quoted cell must begin and end with a double quote, and a double quote "
        'within is written twice ("")'
    )


def is_id_header(cell: str) -> bool:
    """Whether a cell is a legal header of the id column."""
    return cell in _EXACT_CASE or cell.lower() in _ANY_CASE


class _Reader:
    def __init__(self, file: io.StringIO, path):
        # strict: otherwise an open double quote silently takes in all rows that follow.
        self._csv = csv.reader(file, dialect="excel-tab", strict=True)
        self._path = path
        self.start = 1
        """Line on which the row begins: a quoted cell may have several."""

    def read(self) -> _Cells:
        rows = self._filled_rows()
        columns = self._header(rows)
        directives, rows = self._directives(rows, columns)
        ids, cells = [], []
        for row in rows:
            if row[0].startswith("#q2:"):
                raise self._error(f"the directive {row[0]} must follow the header")
            if is_id_header(row[0]):
                raise self._error(f"the id {row[0]!r} is reserved for the header")
            row = self._fit(row, columns)
            if not row[0]:
                raise self._error("the id is blank")
            ids.append(row[0])
            cells.append(row[1:])
        types = self._checked(directives.get("#q2:types", {}), str.lower, _TYPES, "type")
        missing = self._checked(directives.get("#q2:missing", {}), str, _MISSING, "missing scheme")
        return _Cells(columns, ids, cells, types, missing)

    def _filled_rows(self) -> Iterator[list[str]]:
        """Rows without blanks round their cells; no empty rows and no comments."""
        for row in self._csv:
            row = [cell.strip() for cell in row]
            # '#SampleID' and '#OTU ID' begin like comments, but are headers.
            comment = row and row[0].startswith("#") and not row[0].startswith("#q2:")
            if any(row) and not (comment and not is_id_header(row[0])):
                yield row
            self.start = self._csv.line_num + 1

    def _header(self, rows: Iterator[list[str]]) -> list[str]:
        header = next(rows, None)
        if header is None:
            raise InputError(f"{self._path} (metadata) is empty: it has no header.")
        if not is_id_header(header[0]):
            raise self._error(
                f"the first column of the header is {header[0]!r}, but must be an id header "
                "such as 'sample-id', '#SampleID' or 'id', and columns are separated by tabs"
            )
        while not header[-1]:
            header.pop()
        columns = header[1:]
        if not all(columns):
            raise self._error("a column has no name")
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise self._error(f"column names occur more than once ({listing(repeated)})")
        reserved = [name for name in columns if is_id_header(name)]
        if reserved:
            raise self._error(f"column names are reserved for ids ({listing(reserved)})")
        return columns

    def _directives(self, rows, columns):
        directives: dict[str, dict[str, str]] = {}
        for row in rows:
            if not row[0].startswith("#q2:"):
                return directives, itertools.chain([row], rows)
            kind = row[0].split(" ")[0]
            if kind not in ("#q2:types", "#q2:missing"):
                raise self._error(
                    f"there is no directive {row[0]}; there are #q2:types and #q2:missing"
                )
            if kind in directives:
                raise self._error(f"the directive {kind} occurs twice")
            cells = self._fit(row, columns)[1:]
            directives[kind] = {
                name: cell for name, cell in zip(columns, cells, strict=True) if cell
            }
        return directives, iter(())

    def _fit(self, row, columns) -> list[str]:
        """Pad a short row; a longer one may only hold blanks there."""
        width = len(columns) + 1
        if any(row[width:]):
            raise self._error(f"the row has {len(row)} cells, the header {width}")
        return row[:width] + [""] * (width - len(row))

    def _checked(
        self, declared: dict[str, str], normal: Callable, legal: Collection[str], what: str
    ) -> dict[str, str]:
        for name, value in declared.items():
            if normal(value) not in legal:
                raise InputError(
                    f"{self._path}: column {name!r} is declared of {what} {value!r}; "
                    f"there are: {', '.join(legal)}."
                )
        return {name: normal(value) for name, value in declared.items()}

    def _error(self, problem: str) -> InputError:
        return InputError(f"{self._path}, line {self._csv.line_num}: {problem}.")
