"""Where the command line may write, and that it writes all or nothing."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
import pytest

from aam_core.cli.outputs import (
    OutputDirectory,
    OutputFile,
    check_apart,
    show_metrics,
    write_tables,
)


def convert(kind, path):
    return kind.convert(str(path), None, None)


def never(folder):
    return False


def test_new_empty_and_own_folders_are_taken(tmp_path):
    kind = OutputDirectory(lambda folder: (folder / "config.json").exists())
    assert convert(kind, tmp_path / "deep" / "new") == tmp_path / "deep" / "new"
    assert not (tmp_path / "deep").exists()  # nothing is made before the work succeeds
    assert convert(kind, tmp_path) == tmp_path
    (tmp_path / "config.json").touch()
    (tmp_path / "notes.txt").touch()
    assert convert(kind, tmp_path) == tmp_path


def test_foreign_folder_is_refused(tmp_path):
    for name in "gfedcba":
        (tmp_path / f"{name}.txt").touch()
    with pytest.raises(click.BadParameter, match="a.txt, b.txt, c.txt, d.txt, e.txt and 2 more"):
        convert(OutputDirectory(never), tmp_path)


def test_an_encoder_is_not_written_over(tmp_path):
    encoder = tmp_path / "run" / "checkpoint"
    encoder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for output in (encoder, tmp_path / "run", tmp_path / "link", encoder / ".." / "checkpoint"):
        with pytest.raises(click.UsageError, match="written over --encoder"):
            with click.Context(click.Command("fit")):
                check_apart(str(encoder), output)
    check_apart(str(encoder), tmp_path / "run2")
    with pytest.raises(click.UsageError, match="written over --init-from"):
        with click.Context(click.Command("fit")):
            check_apart(str(encoder), encoder, "--init-from")
    check_apart(None, tmp_path / "run")


def test_file_where_a_folder_is_meant(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(click.BadParameter, match="is a file"):
        convert(OutputDirectory(never), tmp_path / "taken")
    with pytest.raises(click.BadParameter, match="taken is a file"):
        convert(OutputDirectory(never), tmp_path / "taken" / "below")
    with pytest.raises(click.BadParameter, match="not a folder that can be written"):
        convert(OutputFile(), tmp_path / "taken" / "below.tsv")


def test_folder_where_a_file_is_meant(tmp_path):
    with pytest.raises(click.BadParameter, match="is a directory"):
        convert(OutputFile(), tmp_path)


def test_a_device_is_written_and_never_replaced(tmp_path):
    path = convert(OutputFile(), "/dev/null")
    write_tables([pd.DataFrame({"prediction": [0.1]}, index=["007"])], path)
    assert path.is_char_device() and not path.is_symlink()
    assert convert(OutputFile(), "/dev/stdout") == Path("/dev/stdout")


def test_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real.tsv").touch()
    (tmp_path / "link.tsv").symlink_to(tmp_path / "real.tsv")
    assert convert(OutputFile(), tmp_path / "link.tsv") == tmp_path / "real.tsv"


def test_table_is_written_into_a_new_folder(tmp_path):
    path = tmp_path / "new" / "predictions.tsv"
    write_tables([pd.DataFrame({"prediction": [0.1, 2.0]}, index=["007", "2538.10"])], path)
    assert path.read_text() == "sample-id\tprediction\n007\t0.1\n2538.10\t2.0\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["predictions.tsv"]


def test_metrics_are_aligned(capsys):
    nothing = float("nan")
    show_metrics({"AAM": {"r2": 0.71239, "mae": 81234.5}, "random forest": {"r2": nothing}})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "                   r2    mae",
        "AAM            0.7124  81234",
        "random forest     nan      -",
    ]
