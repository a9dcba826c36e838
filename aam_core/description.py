"""What a saved model is: `info`, of models of every format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aam_core.files.folders import STAGE
from aam_core.files.reading import read_json
from aam_core.model import load_model
from aam_core.model_card import card, facts, metric_table, words
from aam_core.summary import Summarized

__all__ = ["Info", "info"]


@dataclass(frozen=True, eq=False, repr=False)
class Info(Summarized):
    """What a model is, on what it was trained, and how it was validated.

    Attributes
    ----------
    facts : dict
        Ready for JSON: ``model``, ``training``, ``validation``, ``metrics``, ``weights``, ``run``,
        ``settings`` and ``folder`` (format, size and names of the files).
    """

    facts: dict[str, Any]

    def to_markdown(self) -> str:
        """The model card."""
        return card(self.facts)

    def to_text(self) -> str:
        """Lines for a terminal, by section, and the metrics as a table."""
        lines: list[str] = []
        for section, items in words(self.facts).items():
            if items:
                lines += [section, *_aligned([list(item) for item in items.items()]), ""]
        table = metric_table(self.facts)
        if table:
            table[0][0] = ""
            lines += ["Metrics of held-out samples", *_aligned(table), ""]
        folder = self.facts["folder"]
        files = f"{len(folder['files'])} files, {folder['bytes'] / 1e6:.3g} MB"
        lines += [f"Folder: {folder['name']} (format {folder['format']}; {files})"]
        return "\n".join(lines)

    def _summary(self) -> tuple[str, dict[str, str]]:
        items = {name: text for part in words(self.facts).values() for name, text in part.items()}
        return f"Model: {self.facts['model']['kind']}", items


def info(directory) -> Info:
    """What a saved model is, on what it was trained, and how it was validated.

    Parameters
    ----------
    directory : path
        Folder of a pretraining or a fit, of any format (1 and later); what an earlier AAM did not
        record is absent.

    Returns
    -------
    Info
        Its ``facts`` are a dictionary ready for JSON; it prints as a few lines.

    Raises
    ------
    InputError
        If the folder holds no model, or one that `aam_core.load_model` refuses.
    """
    folder = Path(directory)
    model = load_model(folder)
    stage = folder / STAGE  # where a killed writer left the version that was read
    place = folder if (folder / "config.json").exists() else stage
    head = read_json(place / "config.json")
    files = sorted(path for path in place.iterdir() if path.is_file() and path.name[0] != ".")
    about = {
        "name": folder.resolve().name,
        "format": head["format_version"],
        "bytes": sum(path.stat().st_size for path in files),
        "files": [path.name for path in files],
    }
    return Info({**facts(model), "folder": about})


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows of texts as lines, the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    if len(widths) == 2:
        return [f"  {name:{widths[0]}}  {text}" for name, text in rows]
    return [
        "  ".join(["", row[0].ljust(widths[0]), *(c.rjust(w) for c, w in _pairs(row, widths))])
        for row in rows
    ]


def _pairs(row: list[str], widths: list[int]):
    return zip(row[1:], widths[1:], strict=True)
