"""Independent calls of one function, each in a process of its own, some at a time."""

from __future__ import annotations

import atexit
import io
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from aam_core.errors import AAMError
from aam_core.log import logger, recording, remember, show
from aam_core.training.launch.processes import (
    cores,
    threads_asked_for,
    with_environment,
    without_main,
)
from aam_core.training.launch.signals import BLOCKED, blocked
from aam_core.training.launch.worker import end_with_parent

__all__ = ["run_jobs", "threads_of_jobs"]


def threads_of_jobs(jobs: int) -> int:
    """Threads of each of some jobs at a time: a share of the cores that this process may use."""
    return max(1, (threads_asked_for() or cores()) // jobs)


def run_jobs(
    function: Callable[..., Any],
    shared: Any,
    calls: Sequence[tuple],
    *,
    names: Sequence[str],
    jobs: int,
    threads: int,
) -> list:
    """``[function(shared, *call) for call in calls]``, in up to ``jobs`` processes at a time.

    Ctrl-C, an error and the end of this process end them all. What the calls note and warn of is
    kept by the `aam_core.log.recording` around this, in the order of the calls.

    Parameters
    ----------
    function : callable
        Of a module, for the processes import it.
    shared : object
        Picklable, as the calls and the results are; written once for all calls.
    calls : sequence of tuple
    names : sequence of str
        What each call is, for messages.
    jobs : int
    threads : int
        OMP_NUM_THREADS of each process, and the jobs of scikit-learn in it.

    Raises
    ------
    AAMError
        The error of a call, of its class and with its message; or which call died, and of what.
    """
    # Nobody configured the logger of a new process.
    level = logger.level if logger.handlers else logging.WARNING
    context = multiprocessing.get_context("spawn")
    variables = {"OMP_NUM_THREADS": threads, "LOKY_MAX_CPU_COUNT": threads}
    running: dict[Any, int] = {}  # processes
    waiting = list(range(len(calls)))[::-1]
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        with open(Path(folder, "call"), "wb") as file:
            pickle.dump((function, shared, list(calls)), file, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    place = waiting.pop()
                    process = context.Process(target=_work, args=(folder, place, level))
                    with blocked(), without_main(), with_environment(variables):
                        running[process] = place
                        process.start()
                multiprocessing.connection.wait([process.sentinel for process in running])
                for process in [each for each in running if not each.is_alive()]:
                    place = running.pop(process)
                    process.join()
                    _check(process, Path(folder, str(place)), names[place])
        finally:
            for process in running:
                if process.pid is not None:
                    process.kill()
                    process.join()
        results = []
        for place in range(len(calls)):
            result, notes = pickle.loads(Path(folder, f"{place}.result").read_bytes())
            remember(notes)
            results.append(result)
        return results


class _Lines(io.TextIOWrapper):
    """Standard error, where progress bars of several processes would overwrite one another."""

    def isatty(self) -> bool:
        return False


def _check(process: BaseProcess, files: Path, name: str) -> None:
    """Raise what a process that has ended died of, if it did; ``files`` lacks the suffix."""
    report = files.with_suffix(".error")
    if process.exitcode == 0:
        if not files.with_suffix(".result").exists():  # a library may call exit
            raise AAMError(f"{name} ended without a result (exit status 0).")
        return
    if report.exists():
        error, line, trace = pickle.loads(report.read_bytes())
        if os.environ.get("AAM_DEBUG"):
            logger.warning("%s", trace)
        raise error if error is not None else AAMError(f"{name} failed ({line}).")
    if process.exitcode == -signal.SIGKILL:
        raise AAMError(f"{name} was killed, mostly for lack of memory: run fewer jobs at a time.")
    raise AAMError(f"{name} died with exit status {process.exitcode}.")


def _work(folder: str, place: int, level: int) -> None:
    """Make one call, and write its result or error into the folder."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Skips the teardown, in which threads of libraries may hang.
    atexit.register(os._exit, 0)
    # Ctrl-C reaches the parent too, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent blocked them until this process is up.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    sys.stderr = _Lines(open(os.dup(2), "wb"), encoding="utf-8", line_buffering=True)
    show(level)
    try:
        with open(Path(folder, "call"), "rb") as file:
            function, shared, calls = pickle.load(file)
        with recording() as notes:
            result = function(shared, *calls[place])
        Path(folder, f"{place}.result").write_bytes(pickle.dumps((result, notes)))
    except BaseException as error:
        line = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error))
        report = (error if isinstance(error, AAMError) else None, line, trace)
        Path(folder, f"{place}.error").write_bytes(pickle.dumps(report))
        os._exit(1)
