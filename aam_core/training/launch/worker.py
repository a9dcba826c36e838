"""What runs in each process that `processes` starts, and the report that it leaves if it fails."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aam_core.errors import AAMError, Preempted
from aam_core.log import show
from aam_core.training.launch.signals import BLOCKED

__all__ = ["Report", "end_with_parent", "read_reports", "work", "write_call"]


class Report(NamedTuple):
    """How a worker failed.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    rank : int
    error : AAMError or None
        The error itself, if it is for users.
    line, trace : str
        Any error in one line, and its traceback.
    """

    time: float
    rank: int
    error: AAMError | None
    line: str
    trace: str


def write_call(folder: str, function: Callable, kwargs: dict) -> None:
    """Write what the workers are to call (once: a study may be large, and workers many)."""
    with open(Path(folder, "call"), "wb") as file:
        pickle.dump((function, kwargs), file, protocol=pickle.HIGHEST_PROTOCOL)


def work(folder: str, log_level: int) -> None:
    """Make the call that is in ``folder``, or write there why it failed."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Skips the teardown, in which process groups hang or abort.
    atexit.register(os._exit, 0)
    # Ctrl-C reaches the parent too, which passes it on as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent blocked them until this process is up, and ignores Ctrl-C.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    show(log_level)
    try:
        with open(Path(folder, "call"), "rb") as file:
            function, kwargs = pickle.load(file)
        function(**kwargs)
    except BaseException as error:  # the parent judges what it means
        _write_report(folder, error)
        if not isinstance(error, Preempted):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # waits for no peer, no thread and no destructor


def read_reports(folder: str, attempt: int) -> list[Report]:
    """The reports of one attempt, oldest first."""
    paths = Path(folder).glob(f"{attempt}-*.report")
    return sorted((pickle.loads(path.read_bytes()) for path in paths), key=lambda it: it.time)


def _write_report(folder: str, error: BaseException) -> None:
    rank = int(os.environ["RANK"])
    report = Report(
        time=time.time(),
        rank=rank,
        error=error if isinstance(error, AAMError) else None,
        line=textwrap.shorten(
            "".join(traceback.format_exception_only(error)), 400, placeholder=" ..."
        ),
        trace="".join(traceback.format_exception(error)),
    )
    # Renamed when it is whole: the parent kills workers that are slow to end.
    partial = Path(folder, f"{os.environ['TORCHELASTIC_RESTART_COUNT']}-{rank}.partial")
    partial.write_bytes(pickle.dumps(report))
    partial.rename(partial.with_suffix(".report"))


def end_with_parent() -> None:
    """Leave no orphan, even one that hangs in a collective call while the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a child process"
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
