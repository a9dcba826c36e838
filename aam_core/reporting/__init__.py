"""Where a model fails: a page of errors, plots and tables, and how much more data would help."""

from __future__ import annotations

from aam_core.reporting.page import Page, Picture, Section, Table, write_page

__all__ = ["Page", "Picture", "Section", "Table", "write_page"]
