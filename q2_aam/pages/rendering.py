"""Pages of visualizers: q2templates' frame, AAM's parts, charts that need no network.

A page is ``assets/PAGE/index.html``, which extends ``shared/page.html``: title, facts, notes, its
own block ``body``, downloads. Names of samples and metadata come from users: the templates escape
all of them, and embedded tables are JSON in which ``<``, ``>`` and ``&`` are escaped.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import q2templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aam_core import __version__, plots
from aam_core.plots.style import COLOURS
from aam_core.reporting.page import cell
from q2_aam._wording import in_qiime2

__all__ = ["ASSETS", "NUMBER", "draw", "field", "render", "rows"]

ASSETS = Path(__file__).parents[1] / "assets"

_SCRIPTS = "aam"
"""Folder of a page with scripts and styles."""

_DIGITS, _DIGITS_OF = 9, {"metadata": 15}
"""Digits of numbers in embedded tables, and of some by name: few keep pages of many samples small.
Whole numbers have all of theirs, which may be ids."""

_MOST_WHOLE = 2**53
"""Whole numbers from here on are not exact, in Python's floats and in JavaScript."""

NUMBER = {"type": "quantitative", "formatType": "aamNumber"}
"""A number of a tooltip: from 1000 on without decimals, below with four digits (``aam.js``)."""

_CONFIG = {
    "background": "white",
    "customFormatTypes": True,
    "font": "Helvetica Neue, Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "mark": {"tooltip": True},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titleLimit": 360,
        "labelSeparation": 6,
    },
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "labelLimit": 220, "titleLimit": 320},
    "range": {"category": list(COLOURS)},
}
"""How charts look, where a specification says nothing else."""


def render(
    page: str,
    output_dir: str,
    context: Mapping[str, Any],
    *,
    data: Mapping[str, pd.DataFrame] | None = None,
    charts: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Write a page, its tables as TSV and what its charts need.

    Parameters
    ----------
    page : str
        Folder of ``assets``, with ``index.html`` and the page's own scripts, if any.
    output_dir : str
        That of the visualizer.
    context : mapping
        Of the template. `shared/page.html` reads ``title``, and where they are given ``lead``,
        ``facts`` (label, value, remark; ``facts.tsv`` has them, too), ``warnings`` and ``notes``
        (sentences; notes are shown once each), ``pictures`` (stem -> suffixes, as `draw` returns)
        and ``captions`` (stem or table -> words). All but tables is put into QIIME 2's words.
    data : mapping of str to DataFrame, optional
        Tables: each is written as ``NAME.tsv`` and listed below "Download". The index is a column
        if it has a name.
    charts : mapping of str to dict, optional
        Vega-Lite specifications; ``{"data": {"name": TABLE}}`` names one of ``data``. Where
        ``aam.chart(NAME)`` stands in the template, it is drawn, with tooltips; a view of two
        numeric axes zooms, and a legend of classes filters, unless it has its own ``params``.
    """
    data, charts = dict(data or {}), {name: _chart(spec) for name, spec in (charts or {}).items()}
    for name, table in data.items():
        table.to_csv(_in(output_dir, f"{name}.tsv"), sep="\t", index=table.index.name is not None)
    read = _tables_of(charts)
    assert read <= set(data), f"no table {sorted(read - set(data))}"
    embedded = [
        (f"data-{name}", _json(_columns(data[name], _DIGITS_OF.get(name, _DIGITS))))
        for name in sorted(read)
    ]
    embedded += [(f"spec-{name}", _json(spec)) for name, spec in charts.items()]
    defaults = {"pictures": {}, "captions": {}, "title": "", "tables": list(data)}
    values = {
        **defaults,
        **_worded(context),
        "charts": charts,
        "embedded": embedded,
        "version": __version__,
    }
    values["notes"] = list(dict.fromkeys(values.get("notes") or ()))
    values["scripts"] = _scripts(page)
    if values.get("facts"):
        assert "facts" not in data, "the facts have this name"
        values["facts_in_a_row"] = [_in_a_row(len(values["facts"]), most) for most in (5, 4)]
        facts = pd.DataFrame(values["facts"], columns=["label", "value", "remark"])
        facts.to_csv(_in(output_dir, "facts.tsv"), sep="\t", index=False)
        values["tables"] = [*values["tables"], "facts"]
        values["captions"] = {"facts": "What stands at the top of this page", **values["captions"]}
    environment = _environment()
    values["aam"] = environment.get_template("shared/macros.html").module
    content = environment.get_template(f"{page}/index.html").render(values)
    head = environment.get_template("shared/head.html").render(values)
    title = environment.from_string("aam : {{ title }}").render(values)
    _copy_scripts(page, output_dir, bool(charts))
    q2templates.render(
        str(ASSETS / "frame" / "index.html"),
        output_dir,
        context={"page_title": title, "page_head": head, "page_content": content},
    )


def draw(output_dir: str, stem: str, plot: Callable[[Any], object]) -> list[str]:
    """Draw a static picture as PNG, SVG and PDF; the suffixes of the files that were written.

    A picture that fails is named in a warning, and the page says that it is missing.
    """
    return [
        suffix.lstrip(".")
        for suffix in plots.SUFFIXES
        if plots.attempt(_in(output_dir, f"{stem}{suffix}"), plot)
    ]


def field(name: str) -> str:
    """The name of a column as a Vega field: there dots and brackets mean parts of an object.

    >>> field("a.b[0]")
    'a\\\\.b\\\\[0\\\\]'
    """
    return re.sub(r"([\\.\[\]'\"])", r"\\\1", name)


def rows(table: pd.DataFrame, most: int | None = None) -> dict[str, Any]:
    """What ``aam.table`` shows: header and the first ``most`` rows, as (text, is it a number)."""
    table = table if most is None else table.head(most)
    if table.index.name is not None:
        table = table.reset_index()
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    header = [(str(name), number) for name, number in zip(table.columns, numbers, strict=True)]
    lines = [
        [(cell(value), number) for value, number in zip(line, numbers, strict=True)]
        for line in table.itertuples(index=False, name=None)
    ]
    return {"header": header, "rows": lines}


def _in_a_row(count: int, most: int) -> int:
    """How many of ``count`` facts stand in a row, ``most`` at most: rows are as long as can be.

    >>> [_in_a_row(count, 5) for count in (4, 5, 6, 7, 9)]
    [4, 5, 3, 4, 5]
    """
    return math.ceil(count / math.ceil(count / most))


def _worded(value: Any) -> Any:
    """``value`` with its texts in QIIME 2's words, but for tables as `rows` makes them."""
    if isinstance(value, str):
        return in_qiime2(value)
    if isinstance(value, list | tuple):
        return type(value)(_worded(it) for it in value)
    if isinstance(value, Mapping) and "header" not in value:
        return {name: _worded(it) for name, it in value.items()}
    return value


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _scripts(page: str) -> list[str]:
    """Names of a page's own scripts."""
    return sorted(path.name for path in (ASSETS / page).glob("*.js"))


def _copy_scripts(page: str, output_dir: str, charts: bool) -> None:
    folder = _in(output_dir, _SCRIPTS)
    folder.mkdir(exist_ok=True)
    copied = [ASSETS / "shared" / name for name in ("aam.css", "aam.js", "samples.js")]
    copied += [ASSETS / page / name for name in _scripts(page)]
    if charts:
        copied += sorted((ASSETS / "vendor").iterdir())
    for path in copied:
        shutil.copyfile(path, folder / path.name)


def _chart(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification with our looks, and zoom and legend where it has no parameters."""
    config = {**_CONFIG, **spec.get("config", {})}
    spec = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec, "config": config}
    single = "mark" in spec and "encoding" in spec
    if not single or "params" in spec:
        return spec
    spec.setdefault("width", "container")
    encoding, params = dict(spec["encoding"]), []
    axes = [encoding.get(axis, {}) for axis in ("x", "y")]
    if all(axis.get("type") == "quantitative" and "aggregate" not in axis for axis in axes):
        zoom: dict[str, Any] = {"name": "zoom", "select": "interval", "bind": "scales"}
        params.append(zoom)
    colour = encoding.get("color", {})
    if colour.get("type") == "nominal" and "field" in colour and "opacity" not in encoding:
        select: dict[str, Any] = {"type": "point", "fields": [colour["field"]]}
        params.append({"name": "chosen", "select": select, "bind": "legend"})
        encoding["opacity"] = {"condition": {"param": "chosen", "value": 1}, "value": 0.1}
    return {**spec, "encoding": encoding, **({"params": params} if params else {})}


def _tables_of(spec: Any) -> set[str]:
    """Names of the tables that specifications read."""
    if isinstance(spec, Mapping):
        data = spec.get("data")
        own = {data["name"]} if isinstance(data, Mapping) and "name" in data else set()
        return own.union(*map(_tables_of, spec.values()))
    if isinstance(spec, list):
        return set().union(*map(_tables_of, spec))
    return set()


def _columns(table: pd.DataFrame, digits: int) -> dict[str, Any]:
    """Column names and columns: half the size of a row an object."""
    if table.index.name is not None:
        table = table.reset_index()
    return {
        "columns": [str(name) for name in table.columns],
        "values": [
            [_plain(value, digits) for value in table.iloc[:, place]]
            for place in range(table.shape[1])
        ],
    }


def _plain(value: Any, digits: int) -> Any:
    """A value as JSON has it; what is missing or infinite is null."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return None
        whole = abs(value) < _MOST_WHOLE and float(value).is_integer()
        return int(value) if whole else float(f"{value:.{digits}g}")
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def _json(value: Any) -> Markup:
    """JSON that may stand in a script element: nothing in it ends that, or starts a comment."""
    text = json.dumps(value, allow_nan=False)  # ASCII: no line separators that JavaScript reads
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _in(output_dir: str, name: str) -> Path:
    return Path(output_dir) / name
