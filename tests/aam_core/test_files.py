from __future__ import annotations

import pytest

from aam_core.errors import InputError
from aam_core.files import replacing, replacing_in


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


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="is a file"), replacing_in(tmp_path / "taken"):
        pass
    with pytest.raises(InputError, match="is a folder"), replacing(tmp_path):
        pass
    with pytest.raises(InputError, match="Cannot write into"), replacing(tmp_path / "taken" / "x"):
        pass
    assert (tmp_path / "taken").read_text() == "mine"
