from __future__ import annotations

import os
import signal

import pytest

from aam_core.errors import AAMError, InputError
from aam_core.training.launch.jobs import run_jobs

NAMES = ["the first", "the second", "the third"]


def multiply(shared, number):
    return shared * number, os.getpid(), os.environ["OMP_NUM_THREADS"]


def fail(how, number):
    if number == 2:
        how()
    return number


def refuse():
    raise InputError("it is wrong")


def crash():
    raise KeyError("lost")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run(function, shared, jobs=2):
    calls = [(1,), (2,), (3,)]
    return run_jobs(function, shared, calls, names=NAMES, jobs=jobs, threads=1)


def test_results_are_in_order_and_each_call_has_a_process():
    results = run(multiply, 10)
    assert [result[0] for result in results] == [10, 20, 30]
    assert len({result[1] for result in results} - {os.getpid()}) == 3
    assert {result[2] for result in results} == {"1"}


@pytest.mark.parametrize(
    "how, kind, words",
    [
        (refuse, InputError, "^it is wrong$"),
        (crash, AAMError, "^the second failed .KeyError: .lost...$"),
        (die, AAMError, "^the second was killed, mostly for lack of memory"),
    ],
)
def test_an_error_ends_all(how, kind, words):
    with pytest.raises(kind, match=words):
        run(fail, how)
