"""A page of sections with plots and tables: one HTML file that needs nothing else.

Every table of the page is also a TSV, whole, and every figure an SVG and a PDF. Names of samples
and metadata come from users: the template escapes all of them, and plots are embedded as images,
in which nothing runs.
"""

from __future__ import annotations

import base64
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core import __version__, plots
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output

__all__ = ["PAGE", "Page", "Picture", "Section", "Table", "cell", "rows_of", "write_page"]

PAGE = "report.html"
"""Name of the page in its folder."""

_PREFIX = "figure-"
"""Start of the names of plots: those of an earlier page are removed by it."""

_FORMATS = (".svg", ".pdf")

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of a page.

    Attributes
    ----------
    name : str
        Of its files, without prefix and suffix.
    draw : callable
        Takes the path to write.
    caption : str
    """

    name: str
    draw: Callable[[Any], object]
    caption: str


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a page, and a TSV.

    Attributes
    ----------
    name : str
        Of the TSV, without suffix.
    frame : DataFrame
        The index is its first column, if it has a name.
    caption : str
    shown : int
        Rows on the page; 0 where the table is in the TSV alone. The TSV has all.
    columns : sequence of str, optional
        Those on the page, where not all.
    words : mapping of str to str
        Cells that the page has in words, and the TSV as they are.
    """

    name: str
    frame: pd.DataFrame
    caption: str = ""
    shown: int = 15
    columns: Sequence[str] | None = None
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Section:
    """Part of a page: a heading, sentences, plots and tables."""

    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, eq=False)
class Page:
    """What `write_page` writes.

    Attributes
    ----------
    title : str
    lead : str
        A sentence below the title.
    facts : sequence of (str, str, str)
        What a reader must see first: a label, a value, and a remark.
    notes : sequence of str
        Sentences below them.
    sections : sequence of Section
    """

    title: str
    lead: str = ""
    facts: Sequence[tuple[str, str, str]] = ()
    notes: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)

    @property
    def tables(self) -> list[Table]:
        """Those of all sections."""
        return [table for section in self.sections for table in section.tables]

    @property
    def pictures(self) -> list[Picture]:
        """Those of all sections."""
        return [picture for section in self.sections for picture in section.pictures]


def write_page(page: Page, output: str | Path) -> Path:
    """Write the page, its tables as TSV, and its plots as SVG and PDF.

    A figure that cannot be drawn is named on the page and in a warning; all else is written.

    Parameters
    ----------
    page : Page
    output : path
        Folder; what an earlier page of AAM left there is replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder holds another kind of output, such as a model.
    """
    directory = Path(output)
    check_output(directory, "a report")
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        images = {picture.name: _drawn(picture, Path(folder)) for picture in page.pictures}
        old = [it.name for it in directory.glob(f"{_PREFIX}*") if it.suffix in _FORMATS]
        # With a manifest: tables of an earlier page that this one lacks are removed by it.
        with replacing_in(directory, old, manifest=True) as stage:
            text = _template().render(page=page, images=images, version=__version__)
            (stage / PAGE).write_text(text, encoding="utf-8")
            for table in page.tables:
                has_index = table.frame.index.name is not None
                table.frame.to_csv(stage / f"{table.name}.tsv", sep="\t", index=has_index)
            for path in Path(folder).iterdir():
                (stage / path.name).write_bytes(path.read_bytes())
    return directory / PAGE


def _drawn(picture: Picture, folder: Path) -> str:
    """The SVG as the source of an image; empty where it could not be drawn."""
    done = [
        plots.attempt(folder / f"{_PREFIX}{picture.name}{suffix}", picture.draw)
        for suffix in _FORMATS
    ]
    if not done[0]:
        return ""
    data = (folder / f"{_PREFIX}{picture.name}.svg").read_bytes()
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"


@functools.cache
def _template():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rows"] = rows_of
    return environment.get_template("page.html")


def rows_of(table: Table) -> dict[str, Any]:
    """Header and rows of what the page shows of a table: (text, whether it is a number)."""
    frame = table.frame.head(table.shown)
    if table.columns is not None:
        frame = frame[[name for name in table.columns if name in frame]]
    if table.frame.index.name is not None:
        frame = frame.reset_index()
    kinds = (getattr(kind, "kind", "O") for kind in frame.dtypes)
    numeric = [kind in "iuf" for kind in kinds]
    columns = list(zip(frame.columns, numeric, strict=True))
    rows = [
        [
            (cell(value) if number else table.words.get(value, cell(value)), number)
            for value, number in zip(row, numeric, strict=True)
        ]
        for row in frame.itertuples(index=False, name=None)
    ]
    return {"header": [(str(name).replace("_", " "), n) for name, n in columns], "rows": rows}


def cell(value: Any) -> str:
    """A value as a page shows it: four digits, thousands apart, nothing for what is missing.

    >>> cell(0.123456), cell(12345.678), cell(7), cell(None), cell("a")
    ('0.1235', '12,346', '7', '', 'a')
    """
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
