"""One writer at a time, whatever became of the one before."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from aam_core.errors import InputError
from aam_core.files import locks
from aam_core.files.folders import replacing_in
from aam_core.files.locks import LOCK, lock_folder, locked_by_parent
from aam_core.files.writing import replacing

HOLD = """
import sys
from aam_core.files.locks import lock_folder
with lock_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
"""


@pytest.fixture
def other():
    """Start another process that holds a folder: ``other(folder)``."""
    begun = []

    def start(folder):
        command = [sys.executable, "-c", HOLD, str(folder)]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(command, **streams))
        assert begun[-1].stdout.readline() == "held\n"
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_another_process_is_named(tmp_path, other):
    out = tmp_path / "new" / "out"
    process = other(out)
    words = re.escape(f"another aam is writing {out} (process {process.pid})")
    for attempt in (lock_folder, replacing_in):
        with pytest.raises(InputError, match=words), attempt(out):
            pytest.fail("two at once")
    assert names(out) == [LOCK]
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "free\n"
    assert names(tmp_path) == []  # it made them, and wrote nothing
    with lock_folder(out):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path, other):
    process = other(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == [LOCK]
    with lock_folder(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
    assert names(tmp_path) == []


def test_a_lock_waits_for_a_process_that_ends(tmp_path, other):
    process = other(tmp_path)
    timer = threading.Timer(0.2, process.kill)
    timer.start()
    with lock_folder(tmp_path, patience=20.0):
        timer.join()


def test_a_lock_covers_the_folders_within(tmp_path):
    with lock_folder(tmp_path) as first, lock_folder(tmp_path / "checkpoint" / "best") as inner:
        assert (first, inner) == (True, False)
        with replacing_in(tmp_path / "checkpoint" / "best") as folder:
            (folder / "a.txt").write_text("a")
        (tmp_path / "link").symlink_to(tmp_path)
        with lock_folder(tmp_path / "link") as again:
            assert not again
    assert names(tmp_path) == ["checkpoint", "link"]


def test_another_thread_is_another_writer(tmp_path):
    actual = []

    def attempt():
        try:
            with lock_folder(tmp_path):
                actual.append("held")
        except InputError as error:
            actual.append(str(error))

    with lock_folder(tmp_path):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert "another thread" in actual[0]


def _fork(folder, queue):
    try:
        with lock_folder(folder, 0.0):
            queue.put("held")
    except InputError as error:
        queue.put(str(error))


def test_a_fork_does_not_inherit_the_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with lock_folder(tmp_path):
        child = context.Process(target=_fork, args=(tmp_path, queue))
        child.start()
        assert f"process {os.getpid()}" in queue.get(timeout=20)
        child.join()
        assert names(tmp_path) == [LOCK]


def test_a_worker_writes_into_the_folder_its_parent_locked(tmp_path, other):
    other(tmp_path)
    with locked_by_parent(tmp_path), lock_folder(tmp_path) as new:
        assert not new
    with pytest.raises(InputError, match="another aam"), lock_folder(tmp_path, 0.0):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with lock_folder(tmp_path) as new:
        assert new and names(tmp_path) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "this file system has no locks" in line and str(tmp_path) in line


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(OSError), lock_folder(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_writers_of_one_file_do_not_share_a_temporary_one(tmp_path):
    path = tmp_path / f"{'n' * 240}.tsv"
    with replacing(path) as one, replacing(path) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one" and names(tmp_path) == [path.name]


def test_the_temporary_file_of_a_killed_process_goes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    kept = [".2024-scores.tsv", f".aam-{os.getpid()}-0123abcd-scores.tsv", ".aam-notes"]
    left = f".aam-{gone.pid}-0123abcd-scores.tsv"
    for name in (*kept, left, f".aam-{gone.pid}-0123abcd-other.tsv"):
        (tmp_path / name).touch()
    with replacing(tmp_path / "scores.tsv") as path:
        path.write_text("new")
    assert left not in names(tmp_path) and len(names(tmp_path)) == 5
    with replacing_in(tmp_path) as folder:
        (folder / "a.txt").touch()
    assert names(tmp_path) == sorted([*kept, "a.txt", "scores.tsv"])
