"""Where the command line writes, and what it shows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from aam_core.cli import earlier
from aam_core.errors import InputError, first_five
from aam_core.files.writing import check_folder, is_stream, replacing
from aam_core.log import logger


class OutputFile(click.Path):
    """A file to write: absent, a regular file that is replaced, a pipe or a device."""

    def __init__(self):
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value, param, ctx):
        path = super().convert(value, param, ctx)
        if is_stream(path):
            return path
        if path.is_symlink():
            path = Path(os.path.realpath(path))  # what it points to is replaced, not the link
        _check_parents(self, path, param, ctx)
        return path


class OutputDirectory(click.Path):
    """A folder to write: absent, empty, or holding what this command wrote before.

    Parameters
    ----------
    ours : callable
        Takes the path of a folder that is not empty; whether this command wrote it (see `earlier`).
    """

    def __init__(self, ours: Callable[[Path], bool]):
        super().__init__(file_okay=False, path_type=Path)
        self.ours = ours

    def convert(self, value, param, ctx):
        path = super().convert(value, param, ctx)
        held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        if held and not earlier.nothing(path) and not self.ours(path):
            self.fail(
                f"{value!r} holds what this command did not write ({first_five(held)}); "
                "name a new or an empty folder.",
                param,
                ctx,
            )
        try:
            check_folder(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return path


def check_apart(encoder, output: Path) -> None:
    """Refuse to write over the encoder that is read.

    Parameters
    ----------
    encoder : path or None
        Folder that the encoder is read from.
    output : path
        Folder to write.
    """
    if encoder is None:
        return
    source, target = Path(encoder).resolve(), output.resolve()
    if target in (source, *source.parents):
        raise click.UsageError(
            f"--output {output} would be written over --encoder {encoder}; name another folder.",
            click.get_current_context(),
        )


def _check_parents(kind, path, param, ctx):
    """Say before the work, not after it, that nothing can be written there."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        kind.fail(f"{str(nearest)!r} is not a folder that can be written.", param, ctx)


def write_table(frame, path: Path) -> None:
    """Write a DataFrame indexed by sample as TSV, all or nothing."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, sep="\t", index_label="sample-id")


def load(inputs: dict, **options):
    """Read a study by the keywords of ``load_study`` and say on stderr what was dropped."""
    from aam_core.data.study import load_study

    study = load_study(**inputs, **options)
    for line in study.report:
        logger.info(line)
    return study


def show_metrics(rows: dict[str, dict[str, float]]) -> None:
    """Print one line a row and one column a figure, aligned, on stdout.

    Parameters
    ----------
    rows : dict
        Name of the row -> {name of the figure: value}.
    """
    figures = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    lines = [["", *figures]]
    lines += [
        [name, *(_readable(row.get(figure)) for figure in figures)] for name, row in rows.items()
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        text = (f"{cell:>{width + 2}}" for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("".join([name.ljust(widths[0]), *text]))


def _readable(value) -> str:
    """Four digits, and never an exponent for what people read as a plain number."""
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 1000 or value != value else f"{value:.0f}"
