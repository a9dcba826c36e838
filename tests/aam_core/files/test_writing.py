from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest

from aam_core.errors import InputError
from aam_core.files.folders import replacing_in
from aam_core.files.writing import check_folder, check_space, replacing, write_json


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path):
    path = tmp_path / "new" / "plot.png"
    with replacing(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [item.name for item in path.parent.iterdir()] == ["plot.png"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


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
    actual = []
    thread = threading.Thread(target=lambda: actual.append(path.read_text()))
    thread.start()
    with replacing(path) as temporary:
        assert temporary.suffix == ".tsv" and temporary.parent != tmp_path
        temporary.write_text("whole")
        assert not actual
    thread.join()
    assert actual == ["whole"] and path.is_fifo() and list(tmp_path.iterdir()) == [path]


def test_a_full_device_is_one_line():
    with pytest.raises(InputError, match="/dev/full takes no more: No space left"):
        with replacing("/dev/full") as temporary:
            temporary.write_text("whole")


def test_infinity_and_nan_become_null(tmp_path):
    values = {"aam": {"auc": float("nan"), "r2": np.float64(0.5)}, "per_fold": [{"n": 3}, -np.inf]}
    write_json(tmp_path / "m.json", values)
    written = json.loads((tmp_path / "m.json").read_text())
    assert written == {"aam": {"auc": None, "r2": 0.5}, "per_fold": [{"n": 3}, None]}


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "scratch" / "deep")
    for path in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(InputError, match="out is a link to .*scratch/deep, which is not there"):
            check_folder(path)
    (tmp_path / "scratch" / "deep").mkdir(parents=True)
    check_folder(tmp_path / "out")
    with replacing_in(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert (tmp_path / "scratch" / "deep" / "a.txt").read_text() == "a"
    assert (tmp_path / "out").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_rights_are_those_of_the_folder_itself(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir(mode=0o555)
    tmp_path.chmod(0o555)
    try:
        check_folder(tmp_path / "open")
        with replacing_in(tmp_path / "open") as folder:
            (folder / "a.txt").write_text("a")
        for path in (tmp_path / "closed", tmp_path / "new"):
            with pytest.raises(InputError, match="cannot be written"):
                check_folder(path)
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_needs_no_right_to_its_parent(tmp_path, monkeypatch):
    """As root has it everywhere, its use is what is looked at."""
    out = tmp_path / "out"
    out.mkdir()
    before = tmp_path.stat().st_mtime_ns
    with replacing_in(out) as folder:
        (folder / "a.txt").write_text("a")
        assert folder.parent == out
    assert tmp_path.stat().st_mtime_ns == before


def test_a_disk_without_room_is_named(tmp_path):
    check_space(tmp_path / "new" / "out", 1000)
    with pytest.raises(InputError, match="needs 1e.09 GB at least, and its disk has .* GB left"):
        check_space(tmp_path / "new" / "out", 10**18)
