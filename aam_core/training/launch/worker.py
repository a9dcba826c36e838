"""What runs in each process that `spawn` starts, and what it leaves behind."""

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
from aam_core.training.launch.signals import SHIELDED


class Report(NamedTuple):
    """How a worker ended that did not return."""

    time: float
    rank: int
    error: AAMError | None
    line: str
    trace: str


def write_call(folder: str, function: Callable, kwargs: dict) -> None:
    """Lay down what the workers are to do (once, however many they are and however often)."""
    with open(Path(folder, "call"), "wb") as file:
        pickle.dump((function, kwargs), file, protocol=pickle.HIGHEST_PROTOCOL)


def work(folder: str, attempt: str) -> None:
    """Do the call that lies in ``folder``, or report there why not."""
    os.environ["TORCHELASTIC_RESTART_COUNT"] = attempt
    os.environ["AAM_LAUNCH"] = Path(folder).name
    threading.Thread(target=_end_with_parent, daemon=True).start()
    atexit.register(os._exit, 0)  # spares it the teardown, in which process groups hang or abort
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SHIELDED)
    try:
        with open(Path(folder, "call"), "rb") as file:
            function, kwargs = pickle.load(file)
        function(**kwargs)
    except BaseException as error:  # the border of the process: the parent judges
        _write_report(folder, attempt, error)
        if not isinstance(error, Preempted):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # waits for no peer, no thread and no destructor


def read_reports(folder: str, attempt: int) -> list[Report]:
    """The reports of one attempt, oldest first."""
    paths = Path(folder).glob(f"{attempt}-*.report")
    return sorted((pickle.loads(path.read_bytes()) for path in paths), key=lambda it: it.time)


def _write_report(folder: str, attempt: str, error: BaseException) -> None:
    rank = int(os.environ["RANK"])
    last = "".join(traceback.format_exception_only(error))
    report = Report(
        time=time.time(),
        rank=rank,
        error=error if isinstance(error, AAMError) else None,
        line=textwrap.shorten(last, 400, placeholder=" ..."),
        trace="".join(traceback.format_exception(error)),
    )
    partial = Path(folder, f"{attempt}-{rank}.partial")
    partial.write_bytes(pickle.dumps(report))
    partial.rename(partial.with_suffix(".report"))


def _end_with_parent() -> None:
    """Leave no orphan, even one that hangs in a collective call while the parent is killed."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGKILL)
