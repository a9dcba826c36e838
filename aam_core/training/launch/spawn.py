"""One function on several devices of this machine: torch elastic, started from Python.

`spread` calls a function once in each of N new processes (spawned: the parent may be a notebook or
QIIME 2, and its command line is never run again). A worker finds in its environment what
``torchrun``, the way to several machines, gives it too: RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR,
MASTER_PORT, TORCHELASTIC_RESTART_COUNT.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable

from aam_core.errors import AAMError, InputError, Preempted
from aam_core.training.launch.elastic import PATIENCE, run_workers
from aam_core.training.launch.signals import Stopper
from aam_core.training.launch.worker import Report, read_reports, write_call


def under_torchrun() -> bool:
    """Whether torchrun or `spread` started this process."""
    return world_size() > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def world_size() -> int:
    """How many processes were started together.

    One where the environment does not say also how they find one another: schedulers and shells
    are seen to set WORLD_SIZE alone.
    """
    if not all(os.environ.get(name) for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")):
        return 1
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal():
        raise InputError(f"WORLD_SIZE in the environment is {size!r}; unset it, or use torchrun.")
    return int(size)


def started_outside() -> bool:
    """Whether torchrun started this process, and not `spread`."""
    return under_torchrun() and "AAM_LAUNCH" not in os.environ


def identity() -> str | None:
    """What tells this start of the processes, restarts included, from others; None of one alone."""
    if "AAM_LAUNCH" in os.environ:
        return os.environ["AAM_LAUNCH"]
    if not under_torchrun():
        return None
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    names = [run, *(os.environ.get(n, "") for n in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"))]
    # Without an id of its own, it is known by torchrun's process, which outlives the workers.
    return "-".join([*names, str(os.getppid())] if run == "none" else names)


def restarts() -> int:
    """How often the workers were started again after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def spread(
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
    assert not under_torchrun(), "the processes are there already"
    if not threads:
        threads = int(os.environ.get("OMP_NUM_THREADS", max(1, _cores() // devices)))
    with (
        tempfile.TemporaryDirectory(prefix="aam-") as folder,
        Stopper(tuple(PATIENCE)) as stopper,
    ):
        write_call(folder, function, kwargs)
        for attempt in range(max_restarts + 1):
            ended = run_workers(folder, attempt, devices, threads, stopper)
            reports = read_reports(folder, attempt)
            if os.environ.get("AAM_DEBUG"):
                print(*(it.trace for it in reports), sep="\n", file=sys.stderr, flush=True)
            _raise_what_is_final(stopper.signal, ended, reports)
            if not ended:
                return
            what = _what_happened(ended, reports)
            if attempt < max_restarts:
                again = f"restart {attempt + 1} of {max_restarts} from the last checkpoint"
                print(f"{what}; {again}", file=sys.stderr, flush=True)
        tried = f" after {max_restarts} restart{'s' * (max_restarts > 1)}" if max_restarts else ""
        raise AAMError(f"{what}{tried}: {_advice(ended)}.")


def _raise_what_is_final(stop: int, ended: dict[int, int], reports: list[Report]) -> None:
    """Raise what a restart would not change."""
    errors = [report.error for report in reports if report.error is not None]
    stops = [error for error in errors if isinstance(error, Preempted)]
    if stop == signal.SIGINT:
        raise KeyboardInterrupt(*map(str, stops[:1]))
    for error in errors:
        if error not in stops:
            raise error
    if stop or (stops and not ended):
        error = stops[0] if stops else Preempted("stopped; go on from the last checkpoint.")
        error.signal = stop or error.signal
        raise error


def _what_happened(ended: dict[int, int], reports: list[Report]) -> str:
    """The cause among failures of which some follow from others."""
    for rank, status in ended.items():
        if status < 0:
            return f"rank {rank} died (signal {-status})"
    for report in reports:
        if report.error is None:
            return f"rank {report.rank} failed ({report.line})"
    return "; ".join(f"rank {rank} ended (exit status {it})" for rank, it in ended.items())


def _advice(ended: dict[int, int]) -> str:
    if -signal.SIGKILL in ended.values():
        return (
            "mostly a machine out of memory; take a smaller batch or fewer devices, and go on from "
            "the last checkpoint"
        )
    return "AAM_DEBUG=1 shows where; once that is mended, go on from the last checkpoint"


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
