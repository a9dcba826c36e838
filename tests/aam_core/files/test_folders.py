from __future__ import annotations

import contextlib
import os
import shutil

import pytest

from aam_core.errors import InputError
from aam_core.files import folders
from aam_core.files.folders import (
    MANIFEST,
    STAGE,
    check_manifest,
    current_folder,
    only_writer,
    read_consistent,
    replacing_folder,
    replacing_in,
    write_manifest,
)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


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


def test_the_complete_folder_is_found_after_any_kill(tmp_path):
    out = tmp_path / "out"
    assert current_folder(out) == out
    put(out, "a")
    # Killed while it wrote; while it swapped; while it removed the old one.
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "half.txt").write_text("half")
    assert names(current_folder(out)) == ["a.txt"]
    out.rename(tmp_path / ".out.old")
    assert names(current_folder(out)) == ["a.txt"]
    with replacing_folder(out) as folder:
        assert names(out) == ["a.txt"] and names(folder) == []
        (folder / "b.txt").write_text("b")
    assert current_folder(out) == out and names(out) == ["b.txt"] and names(tmp_path) == ["out"]
    (tmp_path / ".out.old").mkdir()
    assert current_folder(out) == out
    put(out, "c")
    assert names(out) == ["c.txt"] and names(tmp_path) == ["out"]


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine")
    for path in ("taken", "taken/deep"):
        with pytest.raises(InputError, match="is a file"), replacing_folder(tmp_path / path):
            pass
    assert names(tmp_path) == ["taken"] and (tmp_path / "taken").read_text() == "mine"


# --- one whole ---------------------------------------------------------------------------------


OLD = {"a.json": "old a", "b.txt": "old b", "c.txt": "old c", "p.png": "old picture"}
NEW = {"a.json": "new a", "b.txt": "new b", "d.txt": "new d"}


def write(directory, files, **options):
    with replacing_in(directory, (*OLD, *NEW), manifest=True, **options) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
    return directory


def recover(directory):
    with only_writer(directory):
        pass


def texts(folder):
    """What a reader finds: the files that count, checked."""
    check_manifest(folder)
    return {name: (folder / name).read_text() for name in names(folder) if name[0] in "abcd"}


def whole(files):
    return {name: text for name, text in files.items() if not name.endswith("png")}


class Killed(BaseException):
    """What a writer is stopped with, where a process would be gone."""


def killed_after(operations, patch):
    """Have all file operations after the first few not be done: nothing is tidied up either.

    Returns a list that grows with each.
    """
    done = []

    def stopping(real):
        def call(*args, **options):
            done.append(real)
            if len(done) > operations:
                raise Killed
            return real(*args, **options)

        return call

    for owner, name in (
        *((os, name) for name in ("link", "replace", "mkdir")),
        *((shutil, "rmtree"), (folders.Path, "unlink")),
    ):
        patch.setattr(owner, name, stopping(getattr(owner, name)))
    return done


def test_killed_at_any_file_operation_the_old_or_the_new_version_is_complete(tmp_path, monkeypatch):
    seen = []
    for at in range(100):
        out = write(tmp_path / f"{at}", OLD)
        (out / "notes.md").write_text("mine")
        with monkeypatch.context() as patch:
            done = killed_after(at, patch)
            with contextlib.suppress(Killed):
                write(out, NEW)
        actual = read_consistent(out, texts)
        assert actual in (whole(OLD), NEW), at
        if at and seen[-1]:
            assert actual == NEW, "what was new is old again"
        seen.append(actual == NEW)
        # Without the library: of two wholes no file stands beside another.
        outside = {name: (out / name).read_text() for name in names(out) if name in {**OLD, **NEW}}
        assert outside.items() <= OLD.items() or outside.items() <= NEW.items(), at
        # The next writer puts in order what there is, and then writes.
        recover(out)
        assert texts(out) == actual and (out / "notes.md").read_text() == "mine"
        mine = f".aam-{os.getpid()}-"  # of a process that is gone, it would go too
        assert not [n for n in names(out) if n[0] == "." and not n.startswith(mine)]
        if len(done) <= at:
            break
    assert seen.count(False) > 3 and seen.count(True) > 10 and at < 99


def test_a_reader_during_a_save_sees_one_of_the_two(tmp_path):
    """However a writer comes in between while the files are read one by one."""
    out = write(tmp_path / "out", OLD)
    tries = []

    def read(folder):
        check_manifest(folder)
        first = (folder / "a.json").read_text()
        if not tries:
            write(out, NEW)
        tries.append(first)
        return first, (folder / "b.txt").read_text()

    assert read_consistent(out, read) == ("new a", "new b")
    assert tries == ["old a", "new a"]


def test_a_reader_finds_the_stage_and_then_its_published_files(tmp_path):
    out = write(tmp_path / "out", OLD)
    stage = out / STAGE
    stage.mkdir()
    for name, text in NEW.items():
        (stage / name).write_text(text)
    assert read_consistent(out, texts) == whole(OLD)  # without a manifest it is not whole
    write_manifest(stage, (*OLD, *NEW))
    assert read_consistent(out, texts) == NEW

    def read(folder):
        if folder == stage:
            recover(out)
        return texts(folder)

    assert read_consistent(out, read) == NEW and not stage.exists()
    assert names(out) == sorted([*NEW, MANIFEST])


def test_a_reader_gives_up_on_endless_writing(tmp_path):
    out = write(tmp_path / "out", OLD)
    with pytest.raises(InputError, match="is being written again and again"):
        read_consistent(out, lambda folder: write(out, NEW))


def test_without_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out = write(write(tmp_path / "out", OLD), NEW)
    assert texts(out) == NEW and names(out) == sorted([*NEW, MANIFEST])


def test_a_manifest_names_what_differs(tmp_path):
    def spoiled(change):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        change(write(tmp_path / "out", OLD))
        with pytest.raises(InputError) as caught:
            check_manifest(tmp_path / "out")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "b.txt is truncated or not what was saved" in spoiled(
        lambda out: (out / "b.txt").write_text("old c")
    )
    assert "b.txt is truncated" in spoiled(lambda out: (out / "b.txt").write_text(""))
    assert "b.txt is missing" in spoiled(lambda out: (out / "b.txt").unlink())
    assert "1 files that manifest.json does not list, of another folder: d.txt" in spoiled(
        lambda out: (out / "d.txt").write_text("new d")
    )
    assert "manifest.json is missing" in spoiled(lambda out: (out / MANIFEST).unlink())
    for text in ("{", "[]", '{"format": "aam-manifest", "files": {}}', "[" * 99_999, " " * 2**20):
        lines = spoiled(lambda out, text=text: (out / MANIFEST).write_text(text))
        assert "manifest.json is" in lines and len(lines) < 500
    for name in ("../x", "/etc/passwd", "", ".."):
        text = '{"format": "aam-manifest", "files": {"NAME": {}}, "owned": []}'
        lines = spoiled(
            lambda out, text=text, name=name: (out / MANIFEST).write_text(
                text.replace("NAME", name)
            )
        )
        assert "is no manifest that AAM wrote" in lines
    out = write(tmp_path / "fine", OLD)
    (out / "p.png").write_text("another picture")
    (out / "notes.md").write_text("mine")
    (out / "c.txt").unlink()
    check_manifest(out, optional=["c.txt"])


def test_a_stage_that_is_a_link_is_ignored(tmp_path):
    elsewhere = write(tmp_path / "elsewhere", NEW)
    out = write(tmp_path / "out", OLD)
    (out / STAGE).symlink_to(elsewhere)
    assert read_consistent(out, texts) == whole(OLD)
    write(out, {"a.json": "third"})
    assert texts(out) == {"a.json": "third"} and texts(elsewhere) == NEW
