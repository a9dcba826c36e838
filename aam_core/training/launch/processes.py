"""One function in several new processes of this machine: started, watched, stopped.

They are spawned, not forked (CUDA and threads do not survive a fork), and find in their environment
what torchrun gives too: RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT,
TORCHELASTIC_RESTART_COUNT.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.distributed import TCPStore

from aam_core.errors import AAMError, Preempted
from aam_core.log import logger
from aam_core.training.launch.environment import is_launched
from aam_core.training.launch.signals import Stopper, blocked
from aam_core.training.launch.worker import Report, read_reports, work, write_call

__all__ = ["cores", "run_in_processes", "threads_asked_for", "with_environment", "without_main"]

_GRACE = 2.0
"""Seconds that the others have to end by themselves after one worker ended or failed."""

_PATIENCE: dict[int, float] = {signal.SIGTERM: 60.0, signal.SIGUSR1: 60.0, signal.SIGINT: 5.0}
"""Seconds that the workers have to save a checkpoint after the parent got a signal."""


def run_in_processes(
    function: Callable, kwargs: dict, *, devices: int, max_restarts: int = 0, threads: int = 0
) -> None:
    """Call ``function(**kwargs)`` in ``devices`` processes and wait for them all.

    Parameters
    ----------
    function : callable
        Of a module, for the processes import it. What it returns is lost: it writes files.
    kwargs : dict
        Picklable.
    devices : int
        Number of processes.
    max_restarts : int
        How often all are started again after one dies of anything but an `AAMError`.
    threads : int
        OMP_NUM_THREADS of each (0: what the environment says, or else a share of the cores).

    Raises
    ------
    AAMError
        The error of a worker, of its class and with its message; or which rank died, and of what.
    Preempted
        After SIGTERM or SIGUSR1: the workers got SIGTERM and had 60 seconds.
    KeyboardInterrupt
        After Ctrl-C: the workers got SIGTERM and had 5 seconds.
    """
    assert not is_launched(), "the processes are there already"
    if not threads:
        threads = threads_asked_for() or max(1, cores() // devices)
    with (
        tempfile.TemporaryDirectory(prefix="aam-") as folder,
        Stopper(tuple(_PATIENCE)) as stopper,
    ):
        write_call(folder, function, kwargs)
        for attempt in range(max_restarts + 1):
            failed = _run_once(folder, attempt, devices, threads, stopper)
            reports = read_reports(folder, attempt)
            if os.environ.get("AAM_DEBUG"):
                for report in reports:
                    logger.warning("%s", report.trace)
            _raise_final(stopper.signal, failed, reports)
            if not failed:
                return
            cause = _cause(failed, reports)
            if attempt < max_restarts:
                number = f"{attempt + 1} of {max_restarts}"
                logger.warning("%s; restart %s from the last checkpoint", cause, number)
        tried = f" after {max_restarts} restart{'s' * (max_restarts > 1)}" if max_restarts else ""
        raise AAMError(f"{cause}{tried}: {_advice(failed)}.")


def _run_once(
    folder: str, attempt: int, devices: int, threads: int, stopper: Stopper
) -> dict[int, int]:
    """Start the workers, and wait for them all.

    Returns
    -------
    dict of int to int
        Exit status of the ranks that failed first, negative for a signal; empty if none did.
    """
    # A store for each attempt: in the last one's, workers would find the addresses of the dead. It
    # is the parent's, at a port that is free for certain, and outlives every worker.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": devices,
        "LOCAL_WORLD_SIZE": devices,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,  # env:// then makes no store of its own
        "TORCHELASTIC_RESTART_COUNT": attempt,
        "AAM_LAUNCH": Path(folder).name,
        "OMP_NUM_THREADS": threads,
    }
    # Nobody configured the logger of a new process.
    level = logger.level if logger.handlers else logging.WARNING
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(folder, level)) for _ in range(devices)]
    try:
        with blocked(), without_main():
            for rank, worker in enumerate(workers):
                with with_environment({**common, "RANK": rank, "LOCAL_RANK": rank}):
                    worker.start()
        return _wait(workers, stopper)
    finally:
        for worker in workers:
            if worker.pid is not None:  # it was started
                worker.kill()
                worker.join(_GRACE)


def _wait(workers: Sequence[BaseProcess], stopper: Stopper) -> dict[int, int]:
    """As `_run_once`; a signal is passed on once, and one failure ends all."""
    deadline = None
    while running := [worker for worker in workers if worker.is_alive()]:
        if stopper.signal and deadline is None:
            deadline = time.monotonic() + _PATIENCE[stopper.signal]
            for worker in running:
                worker.terminate()
        if failed := _failed(workers):
            deadline = deadline or time.monotonic() + _GRACE
            for worker in running:
                worker.join(max(0.0, deadline - time.monotonic()))
            return failed
        if deadline is not None and time.monotonic() > deadline:
            return {}
        # A signal does not end this wait: so often is it looked for.
        multiprocessing.connection.wait([worker.sentinel for worker in running], timeout=0.1)
    return _failed(workers)


def _failed(workers: Sequence[BaseProcess]) -> dict[int, int]:
    return {rank: worker.exitcode for rank, worker in enumerate(workers) if worker.exitcode}


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep the processes that the block starts from importing the parent's script.

    A spawned process does so as a rule: without need, slowly under QIIME 2, and not at all where
    the script is not under ``if __name__ == "__main__"`` or came from a pipe.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def with_environment(variables: dict) -> Iterator[None]:
    """Variables for the processes that the block starts."""
    former = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(former)


def _raise_final(stop: int, failed: dict[int, int], reports: list[Report]) -> None:
    """Raise what a restart would not change."""
    errors = [report.error for report in reports if report.error is not None]
    stops = [error for error in errors if isinstance(error, Preempted)]
    if stop == signal.SIGINT:
        raise KeyboardInterrupt(*map(str, stops[:1]))
    for error in errors:
        if error not in stops:
            raise error
    if stop or (stops and not failed):
        error = stops[0] if stops else Preempted("stopped; resume from the last checkpoint.")
        error.signal = stop or error.signal
        raise error


def _cause(failed: dict[int, int], reports: list[Report]) -> str:
    """The cause among failures of which some follow from others."""
    # Signals first: the peers of a rank that was killed fail in their collective calls.
    for rank, status in failed.items():
        if status < 0:
            return f"rank {rank} died (signal {-status})"
    for report in reports:
        if report.error is None:
            return f"rank {report.rank} failed ({report.line})"
    return "; ".join(f"rank {rank} ended (exit status {it})" for rank, it in failed.items())


def _advice(failed: dict[int, int]) -> str:
    if -signal.SIGKILL in failed.values():
        return (
            "mostly a machine out of memory; take a smaller batch or fewer devices, and resume "
            "from the last checkpoint"
        )
    return "AAM_DEBUG=1 shows where; once that is mended, resume from the last checkpoint"


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        # cpu_count also counts cores that a scheduler or taskset keeps from this process.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_asked_for() -> int:
    """Threads by OMP_NUM_THREADS, of which "8,1" is the outer level and the next; 0 without."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0
