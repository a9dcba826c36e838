"""Where the command line writes, and the metrics that it prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam_core.errors import InputError, first_five
from aam_core.files import own_output
from aam_core.files.writing import check_folder, is_stream, replacing

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OutputDirectory",
    "OutputFile",
    "check_apart",
    "readable",
    "show_metrics",
    "show_table",
    "write_square",
    "write_tables",
]


class OutputFile(click.ParamType):
    """A file to write: absent, a regular file that is replaced, a pipe or a device."""

    name = "file"
    _path = click.Path(dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(self._path.convert(value, param, ctx)))
        if is_stream(path):
            return path
        if path.is_symlink():
            path = Path(os.path.realpath(path))  # the file is replaced, not the link to it
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            self.fail(f"{str(nearest)!r} is not a folder that can be written.", param, ctx)
        return path


class OutputDirectory(click.ParamType):
    """A folder to write: absent, empty, or an earlier output of the same command.

    Parameters
    ----------
    is_own : callable
        Whether a folder that is not empty is one (see `own_output`).
    """

    name = "directory"
    _path = click.Path(file_okay=False)

    def __init__(self, is_own: Callable[[Path], bool]):
        self.is_own = is_own

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(self._path.convert(value, param, ctx)))
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        if names and not own_output.is_empty(path) and not self.is_own(path):
            self.fail(
                f"{str(value)!r} holds what this command did not write ({first_five(names)}); "
                "name a new or an empty folder.",
                param,
                ctx,
            )
        try:
            check_folder(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return path


def check_apart(
    model: str | os.PathLike[str] | None, output: Path, option: str = "--encoder"
) -> None:
    """Refuse to write over the model that is read.

    Parameters
    ----------
    model : path or None
        Folder that the encoder, or another model, is read from.
    output : path
        Folder to write.
    option : str
        That names the model.
    """
    if model is None:
        return
    source, target = Path(model).resolve(), output.resolve()
    if target in (source, *source.parents):
        raise click.UsageError(
            f"--output {output} would be written over {option} {model}; name another folder.",
            click.get_current_context(),
        )


def write_tables(frames: Iterable[pd.DataFrame], path: Path) -> int:
    """Write tables indexed by sample one after the other as one TSV, all or nothing.

    Parameters
    ----------
    frames : iterable of DataFrame
        With the same columns; each is written before the next is computed.
    path : path

    Returns
    -------
    int
        Number of samples.
    """
    count = 0
    with replacing(path) as temporary:
        for frame in frames:
            how = {"mode": "a", "header": False} if count else {"mode": "w"}
            frame.to_csv(temporary, sep="\t", index_label="sample-id", **how)
            count += len(frame)
    return count


def write_square(path: Path, ids: Sequence[str], matrix: Iterable) -> None:
    """Write the square TSV that ``skbio.DistanceMatrix.read`` opens: it takes no quoted ids."""
    with open(path, "w", encoding="utf-8") as out:
        out.write("\t".join(["", *ids]) + "\n")
        for name, row in zip(ids, matrix, strict=True):
            out.write("\t".join([name, *(f"{value:.9g}" for value in row.tolist())]) + "\n")


def show_metrics(rows: dict[str, dict[str, float]]) -> None:
    """Print one line a row and one column a metric, aligned, on stdout.

    Parameters
    ----------
    rows : dict
        Name of the row -> {name of the metric: value}.
    """
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    lines = [["", *metrics]]
    lines += [
        [name, *(readable(row.get(metric)) for metric in metrics)] for name, row in rows.items()
    ]
    show_table(lines)


def show_table(lines: Sequence[Sequence[str]]) -> None:
    """Print rows of as many texts each, aligned, on stdout."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        text = (f"{cell:>{width + 2}}" for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("".join([name.ljust(widths[0]), *text]))


def readable(value: float | None) -> str:
    """Four digits, and never an exponent for what people read as a plain number."""
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 1000 or value != value else f"{value:.0f}"
