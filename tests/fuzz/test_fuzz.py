"""A short run of the fuzzer: `make fuzz` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).with_name("run.py")


def test_damaged_files_give_a_result_or_one_line():
    done = subprocess.run(
        [sys.executable, RUN, "--cases", "250", "--seed", "11"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "250 cases of seed 11" in done.stdout
    assert "traceback" not in done.stdout


def test_the_fuzzer_reports_each_kind_of_failure(tmp_path):
    """Readers that go wrong in each way: the fuzzer is no check that cannot fail."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG.format(folder=str(RUN.parent)))
    done = subprocess.run([sys.executable, wrong], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ["traceback", "not one line", "too large", "too slow", "died of SIGSEGV", "refused"]
    assert done.stdout.split("\n")[:6] == expected


WRONG = """
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, {folder!r})
import os, signal
import readers, run
from aam_core.errors import InputError

def tall():
    error = InputError("a")
    error.args = ("a\\nb",)
    raise error

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def endless():
    while True:
        pass

def refuse():
    raise InputError("bad.")

run.SECONDS, run.BYTES = 1, 2**28
with TemporaryDirectory() as folder:
    seeds = Path(folder, "seeds")
    seeds.mkdir()
    (seeds / "a.txt").write_text("text")
    for read in (lambda: 1 / 0, tall, lambda: bytes(2**33), endless, crash, refuse):
        reader = readers.Reader(("a.txt",), lambda path, seeds, read=read: read())
        readers.READERS.clear()
        readers.READERS["it"] = reader
        options = Namespace(seed=0, reader=None, keep=None, only=None)
        print(run._run(0, options, seeds, Path(folder, "case")).how)
"""
