"""Torch elastic's agent for one machine, which starts the workers and watches them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import types
import uuid
from collections.abc import Iterator

from torch.distributed.elastic.agent.server.api import WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from aam_core.training.launch.signals import Stopper, shielded
from aam_core.training.launch.worker import work

GRACE = 2.0
"""Seconds that the others have to end by themselves after one worker failed."""

PATIENCE = {signal.SIGTERM: 60.0, signal.SIGUSR1: 60.0, signal.SIGINT: 5.0}
"""Seconds that the workers have to save a checkpoint after the parent got a signal."""


def run_workers(
    folder: str, attempt: int, devices: int, threads: int, stopper: Stopper
) -> dict[int, int]:
    """Have ``devices`` processes do the call that lies in ``folder``, and wait for them all.

    Each attempt is a launch of its own, rather than a restart by elastic: there the process group
    of one attempt would meet the addresses that the last one left in the store (torch 2.13).

    Returns
    -------
    dict of int to int
        Exit status of the ranks that failed first, negative for a signal; empty when all is done.
    """
    meeting = RendezvousParameters(
        backend="c10d",
        endpoint="localhost:0",  # any free port: two jobs on a machine do not meet
        run_id=uuid.uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        local_addr="localhost",
    )
    spec = WorkerSpec(
        role="aam",
        local_world_size=devices,
        entrypoint=work,
        args=(folder, str(attempt)),
        rdzv_handler=get_rendezvous_handler(meeting),
        max_restarts=0,
        monitor_interval=0.1,
    )
    agent = _Agent(spec, stopper)
    with _quiet(), _environment("OMP_NUM_THREADS", str(threads)):
        try:
            result = agent.run()
            assert result.is_failed() == bool(agent.failed)
        except SignalException as stop:  # it came in the moment in which elastic's handlers stand
            stopper.signal = int(stop.sigval)
        finally:
            spec.rdzv_handler.shutdown()
    return agent.failed


class _Agent(LocalElasticAgent):
    """Adds to elastic that a signal is passed on and waited for, and a failure ends all at once.

    (Its own handlers would raise out of its loop, and what is stuck would take it 30 seconds.)
    """

    def __init__(self, spec: WorkerSpec, stopper: Stopper):
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.devnull), start_method="spawn")
        self.stopper = stopper
        self.stopped_at: float | None = None
        self.workers: dict[int, multiprocessing.Process] = {}
        self.failed: dict[int, int] = {}

    def _start_workers(self, worker_group):
        strangers = multiprocessing.active_children()
        try:
            with shielded(), _without_main():
                pids = super()._start_workers(worker_group)
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in strangers:
                    child.kill()
            raise
        children = {child.pid: child for child in multiprocessing.active_children()}
        self.workers = {rank: children[pid] for rank, pid in pids.items() if pid in children}
        return pids

    def _monitor_workers(self, worker_group):
        self._pass_on()
        ended = {rank: w.exitcode for rank, w in self.workers.items() if w.exitcode is not None}
        if ended:  # those that return wait for elastic to see it
            self._end_all()
        result = super()._monitor_workers(worker_group)
        if result.state in (WorkerState.FAILED, WorkerState.UNHEALTHY):
            self.failed = ended or {rank: it.exitcode for rank, it in result.failures.items()}
        return result

    def _shutdown(self, *_, **__):
        super()._shutdown(signal.SIGKILL)  # what is still there was given its time, or just began

    def _pass_on(self) -> None:
        """Hand the parent's signal to the workers once, and end them when their time is over."""
        if self.stopper.signal and self.stopped_at is None:
            self.stopped_at = time.monotonic()
            for worker in self.workers.values():
                worker.terminate()
        elif self.stopper.signal and time.monotonic() > self._limit(self.stopped_at):
            self._end_all()

    def _limit(self, since: float) -> float:
        """When workers that were to end at ``since`` are killed."""
        if self.stopped_at is None:
            return since + GRACE
        return self.stopped_at + PATIENCE[self.stopper.signal]

    def _end_all(self) -> None:
        """Wait a little for the workers to end by themselves, and kill those that do not."""
        since = time.monotonic()
        for worker in self.workers.values():
            while worker.is_alive() and time.monotonic() < self._limit(since):
                worker.join(0.1)
        for worker in self.workers.values():
            worker.kill()
            worker.join(GRACE)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let the processes that the block starts leave the parent's script alone.

    A spawned process imports it as a rule: without need, slowly under QIIME 2, and not at all where
    the script does not stand under ``if __name__ == "__main__"`` or came from a pipe.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable for the processes that the block starts."""
    former = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if former is not None:
            os.environ[name] = former


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of elastic off the terminal: what matters of it is said in one line."""
    if os.environ.get("AAM_DEBUG"):
        yield
        return
    logs = [
        logging.getLogger(f"torch.{name}") for name in ("distributed.elastic", "multiprocessing")
    ]
    former = [log.propagate for log in logs]
    silence = logging.NullHandler()
    for log in logs:
        log.addHandler(silence)
        log.propagate = False
    try:
        yield
    finally:
        for log, propagate in zip(logs, former, strict=True):
            log.removeHandler(silence)
            log.propagate = propagate
