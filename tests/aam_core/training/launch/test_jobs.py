"""Tests of launch.jobs, whose processes import what they call."""

from __future__ import annotations

import importlib
import os

import pytest

from aam_core.errors import AAMError, InputError
from aam_core.log import recording, showing
from aam_core.training.launch.jobs import run_jobs, threads_of_jobs
from aam_core.training.launch.processes import cores

TOYS = """
import os, signal

from aam_core.errors import InputError
from aam_core.log import labelled, note


def multiply(shared, number):
    return shared * number, os.getpid(), os.environ["OMP_NUM_THREADS"]


def tell(shared, number):
    log = labelled(f"call {number}")
    note(f"{shared} samples", log)
    log.warning(f"few in {number}")


def refuse(shared, number):
    if number == 2:
        raise InputError("it is wrong")


def crash(shared, number):
    if number == 2:
        raise KeyError("lost")


def die(shared, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def leave(shared, number):
    if number == 2:
        os._exit(0)
"""
NAMES = ["the first", "the second", "the third"]


@pytest.fixture
def toys(tmp_path, monkeypatch):
    (tmp_path / "toys_of_jobs.py").write_text(TOYS)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("toys_of_jobs")


def run(function, shared=10):
    calls = [(1,), (2,), (3,)]
    return run_jobs(function, shared, calls, names=NAMES, jobs=2, threads=1)


def test_notes_of_the_calls_are_kept_and_shown_once(toys, capfd):
    with showing(), recording() as together:
        run(toys.tell)
    shown = capfd.readouterr().err.splitlines()
    with recording() as apart:
        for number in (1, 2, 3):
            toys.tell(10, number)
    assert together == apart == ["10 samples", "few in 1", "few in 2", "few in 3"]
    assert shown.count("warning: call 2: few in 2") == 1


def test_results_are_in_order_and_each_call_has_a_process(toys):
    results = run(toys.multiply)
    assert [result[0] for result in results] == [10, 20, 30]
    assert len({result[1] for result in results} - {os.getpid()}) == 3
    assert {result[2] for result in results} == {"1"}


@pytest.mark.parametrize(
    "how, kind, words",
    [
        ("refuse", InputError, "^it is wrong$"),
        ("crash", AAMError, "^the second failed .KeyError: .lost...$"),
        ("die", AAMError, "^the second was killed, mostly for lack of memory"),
        ("leave", AAMError, "^the second ended without a result"),
    ],
)
def test_an_error_ends_all(toys, how, kind, words):
    with pytest.raises(kind, match=words):
        run(getattr(toys, how))


@pytest.mark.parametrize("text, threads", [("8", 4), ("8,1", 4), ("", max(1, cores() // 2))])
def test_threads_by_the_outer_level_of_the_environment(monkeypatch, text, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads_of_jobs(2) == threads
