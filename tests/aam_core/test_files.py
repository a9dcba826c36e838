from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest

from aam_core.errors import InputError
from aam_core.files import (
    check_folder,
    replacing,
    replacing_folder,
    replacing_in,
    whole_folder,
    write_json,
)


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path):
    path = tmp_path / "new" / "plot.png"
    with replacing(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [item.name for item in path.parent.iterdir()] == ["plot.png"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), replacing_in(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_files_replace_their_namesakes_only(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("old")
    (out / "notes.txt").write_text("mine")
    with replacing_in(out) as folder:
        (folder / "a.txt").write_text("new")
    assert (out / "a.txt").read_text() == "new"
    assert (out / "notes.txt").read_text() == "mine"
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_owned_files_that_were_not_written_go(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.txt", "b.txt", "notes.txt"):
        (out / name).write_text("old")
    with replacing_in(out, ("a.txt", "b.txt", "c.txt")) as folder:
        (folder / "a.txt").write_text("new")
        assert (out / "b.txt").exists()
    assert sorted(item.name for item in out.iterdir()) == ["a.txt", "notes.txt"]
    with pytest.raises(RuntimeError), replacing_in(out, ("a.txt",)):
        raise RuntimeError
    assert (out / "a.txt").read_text() == "new"


def test_a_folder_that_can_be_one(tmp_path):
    (tmp_path / "taken").write_text("mine")
    for path in (tmp_path, tmp_path / "new" / "deep"):
        check_folder(path)
    for path in (tmp_path / "taken", tmp_path / "taken" / "deep" / "down"):
        with pytest.raises(InputError, match="taken is a file"):
            check_folder(path)
    assert [item.name for item in tmp_path.iterdir()] == ["taken"]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="is a file"), replacing_in(tmp_path / "taken"):
        pass
    with pytest.raises(InputError, match="is a folder"), replacing(tmp_path):
        pass
    with pytest.raises(InputError, match="Cannot write into"), replacing(tmp_path / "taken" / "x"):
        pass
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_pipe_receives_the_whole_and_stays(tmp_path):
    path = tmp_path / "pipe.tsv"
    os.mkfifo(path)
    found = []
    thread = threading.Thread(target=lambda: found.append(path.read_text()))
    thread.start()
    with replacing(path) as temporary:
        assert temporary.suffix == ".tsv" and temporary.parent != tmp_path
        temporary.write_text("whole")
        assert not found
    thread.join()
    assert found == ["whole"] and path.is_fifo() and names(tmp_path) == ["pipe.tsv"]


def test_a_full_device_is_one_line():
    with pytest.raises(InputError, match="/dev/full takes no more: No space left"):
        with replacing("/dev/full") as temporary:
            temporary.write_text("whole")


def test_what_is_not_finite_becomes_null(tmp_path):
    values = {"aam": {"auc": float("nan"), "r2": np.float64(0.5)}, "per_fold": [{"n": 3}, -np.inf]}
    write_json(tmp_path / "m.json", values)
    written = json.loads((tmp_path / "m.json").read_text())
    assert written == {"aam": {"auc": None, "r2": 0.5}, "per_fold": [{"n": 3}, None]}


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def put(directory, text):
    with replacing_folder(directory) as folder:
        (folder / f"{text}.txt").write_text(text)


def test_a_folder_replaces_another_whole(tmp_path):
    out = tmp_path / "new" / "out"
    for text in ("first", "second", "third"):
        put(out, text)
        assert names(out) == [f"{text}.txt"] and names(out.parent) == ["out"]
    with pytest.raises(RuntimeError), replacing_folder(out) as folder:
        assert names(folder) == [] and names(out) == ["third.txt"]
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert names(out) == ["third.txt"] and names(out.parent) == ["out"]


def test_a_folder_is_found_whatever_a_killed_writer_left(tmp_path):
    out = tmp_path / "out"
    assert whole_folder(out) == out
    put(out, "a")
    # Killed while it wrote; while it swapped; while it removed the old one.
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "half.txt").write_text("half")
    assert names(whole_folder(out)) == ["a.txt"]
    out.rename(tmp_path / ".out.old")
    assert names(whole_folder(out)) == ["a.txt"]
    with replacing_folder(out) as folder:
        assert names(out) == ["a.txt"] and names(folder) == []
        (folder / "b.txt").write_text("b")
    assert whole_folder(out) == out and names(out) == ["b.txt"] and names(tmp_path) == ["out"]
    (tmp_path / ".out.old").mkdir()
    assert whole_folder(out) == out
    put(out, "c")
    assert names(out) == ["c.txt"] and names(tmp_path) == ["out"]


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine")
    for path, message in (("taken", "is a file"), ("taken/deep", "Cannot write into")):
        with pytest.raises(InputError, match=message), replacing_folder(tmp_path / path):
            pass
    assert names(tmp_path) == ["taken"] and (tmp_path / "taken").read_text() == "mine"
