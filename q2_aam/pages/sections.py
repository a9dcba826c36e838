"""A page of the core (`aam_core.reporting.page.Page`) in the frame of the plugin's pages."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from aam_core.reporting.page import Page, Table, rows_of
from q2_aam.pages import rendering

__all__ = ["render_page"]


def render_page(
    page: Page, output_dir: str, *, warnings: Sequence[str] = (), notes: Sequence[str] = ()
) -> None:
    """Write ``page``: its plots as PNG, SVG and PDF, its tables as TSV.

    Parameters
    ----------
    page : Page
    output_dir : str
    warnings : sequence of str
        Sentences that a reader must see first.
    notes : sequence of str
        Sentences below those of the page.
    """
    stems = {picture.name: f"figure-{picture.name}" for picture in page.pictures}
    pictures = {
        stems[picture.name]: rendering.draw(output_dir, stems[picture.name], picture.draw)
        for picture in page.pictures
    }
    captions = {stems[picture.name]: picture.caption.rstrip(".") for picture in page.pictures}
    captions |= {table.name: table.caption.rstrip(".") or table.name for table in page.tables}
    sections = [
        {
            "title": section.title,
            "text": section.text,
            "pictures": [
                {"stem": stems[picture.name], "caption": picture.caption}
                for picture in section.pictures
            ],
            "tables": [
                _shown(table) for table in section.tables if table.shown and len(table.frame)
            ],
        }
        for section in page.sections
    ]
    data: dict[str, pd.DataFrame] = {table.name: table.frame for table in page.tables}
    context = {
        "title": page.title,
        "lead": page.lead,
        "facts": page.facts,
        "warnings": list(warnings),
        "notes": [*page.notes, *notes],
        "pictures": pictures,
        "captions": captions,
        "sections": sections,
    }
    rendering.render("sections", output_dir, context, data=data)


def _shown(table: Table) -> dict:
    caption = table.caption
    if len(table.frame) > table.shown:
        rows = f"The first {table.shown} of {len(table.frame):,} rows; all are in {table.name}.tsv."
        caption = f"{caption} {rows}"
    return {"rows": rows_of(table), "caption": caption}
