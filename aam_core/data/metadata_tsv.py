"""The QIIME 2 metadata file, read cell by cell.

The rules are QIIME 2's (https://docs.qiime2.org, "Metadata in QIIME 2"), so that a file means the
same here as there; reading it needs no QIIME 2.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from aam_core.data.ids import listing
from aam_core.errors import InputError

ANY_CASE = ("id", "sampleid", "sample id", "sample-id", "featureid", "feature id", "feature-id")
"""Id headers that are legal in upper and lower case."""

EXACT = ("#SampleID", "#Sample ID", "#OTUID", "#OTU ID", "sample_name")
"""Id headers that are legal as they stand."""

TYPES = ("categorical", "numeric")
MISSING = {
    "blank": (),
    "no-missing": (),
    "INSDC:missing": (
        "not applicable", "missing", "not collected", "not provided", "restricted access",
    ),
}  # fmt: skip
"""Schemes of ``#q2:missing``, and the words that each counts as missing besides a blank."""


@dataclass(frozen=True)
class Cells:
    """A metadata file as text.

    ``rows`` holds one list of cells an id, as long as ``columns``; ``types`` and ``missing`` say
    what the directives declare, by column.
    """

    columns: list[str]
    ids: list[str]
    rows: list[list[str]]
    types: dict[str, str]
    missing: dict[str, str]


def read_cells(text: str, path) -> Cells:
    """Read the text of a metadata file; `InputError` names the line that breaks a rule."""
    reader = _Reader(io.StringIO(text), path)
    try:
        return reader.read()
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.start}: {_quote_error(str(error))}.") from None


def _quote_error(problem: str) -> str:
    """What the csv module found, in words: it prints the tab itself."""
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
    return cell in EXACT or cell.lower() in ANY_CASE


class _Reader:
    def __init__(self, file, path):
        self._csv = csv.reader(file, dialect="excel-tab", strict=True)
        self._path = path
        self.start = 1
        """Line on which the present row begins: a quoted cell may have several."""

    def read(self) -> Cells:
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
        types = self._checked(directives.get("#q2:types", {}), str.lower, TYPES, "type")
        missing = self._checked(directives.get("#q2:missing", {}), str, MISSING, "missing scheme")
        return Cells(columns, ids, cells, types, missing)

    def _filled_rows(self) -> Iterator[list[str]]:
        """Rows without blanks round their cells; empty rows and comments are left out."""
        for row in self._csv:
            row = [cell.strip() for cell in row]
            comment = row and row[0].startswith("#") and not row[0].startswith("#q2:")
            if any(row) and not (comment and not is_id_header(row[0])):
                yield row
            self.start = self._csv.line_num + 1

    def _header(self, rows) -> list[str]:
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
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if not row[0].startswith("#q2:"):
                return found, itertools.chain([row], rows)
            kind = row[0].split(" ")[0]
            if kind not in ("#q2:types", "#q2:missing"):
                raise self._error(
                    f"there is no directive {row[0]}; there are #q2:types and #q2:missing"
                )
            if kind in found:
                raise self._error(f"the directive {kind} occurs twice")
            cells = self._fit(row, columns)[1:]
            found[kind] = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
        return found, iter(())

    def _fit(self, row, columns) -> list[str]:
        """Pad a short row; a longer one may only hold blanks there."""
        width = len(columns) + 1
        if any(row[width:]):
            raise self._error(f"the row has {len(row)} cells, the header {width}")
        return row[:width] + [""] * (width - len(row))

    def _checked(self, declared, normal, legal, what: str) -> dict[str, str]:
        for name, value in declared.items():
            if normal(value) not in legal:
                raise InputError(
                    f"{self._path}: column {name!r} is declared of {what} {value!r}; "
                    f"there are: {', '.join(legal)}."
                )
        return {name: normal(value) for name, value in declared.items()}

    def _error(self, problem: str) -> InputError:
        return InputError(f"{self._path}, line {self._csv.line_num}: {problem}.")
