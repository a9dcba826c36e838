"""Trials one after another, in this process or in several that share Optuna's file."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch

from aam_core.errors import AAMError, Preempted
from aam_core.training.launch.signals import Stopper
from aam_core.tuning.results import Board, state_of
from aam_core.tuning.storage import load, storage_of
from aam_core.tuning.trial import Task, run

QUEUE_SECONDS = 60
"""Longest wait of the other workers for the first one to begin."""


def one_trial(search, common: Task, worker: int = 0) -> None:
    """Run the next trial, and tell Optuna how it ended.

    What is drawn depends on the seed and on the trials so far, not on how often a search stopped.
    """
    import optuna
    from optuna.trial import TrialState

    states = [state_of(trial) for trial in search.get_trials(deepcopy=False)]
    begun = sum(state not in ("waiting", "interrupted") for state in states)
    seed = np.random.SeedSequence((common.config.train.seed, begun, worker)).generate_state(1)[0]
    search.sampler = optuna.samplers.TPESampler(seed=int(seed))
    trial = search.ask()
    try:
        value = run(trial, common)
    except optuna.TrialPruned:
        search.tell(trial, state=TrialState.PRUNED)
    except Preempted:
        search.tell(trial, state=TrialState.FAIL)
        raise
    except (AAMError, torch.cuda.OutOfMemoryError) as error:
        trial.set_user_attr("error", " ".join(str(error).split()))
        search.tell(trial, state=TrialState.FAIL)
    except BaseException:
        search.tell(trial, state=TrialState.FAIL)
        raise
    else:
        search.tell(trial, value)


def spread(board: Board, common: Task, left: int, jobs: int, deadline: float) -> None:
    """Run trials in workers, each on one thread unless configured otherwise."""
    if common.config.train.threads == 0:
        common = replace(common, config=common.config.replace({"train.threads": 1}))
    context = multiprocessing.get_context("spawn")
    tickets = context.Semaphore(left)
    workers = []
    try:
        with _ignoring_interrupts():
            for number in range(min(jobs, left)):
                given = (common, board.folder, number, tickets, deadline)
                worker = context.Process(target=_work, args=given)
                worker.start()
                workers.append(worker)
        with Stopper() as stopper:
            while any(worker.is_alive() for worker in workers):
                wait([worker.sentinel for worker in workers if worker.is_alive()], timeout=0.5)
                board.update()
                if stopper.signal:
                    raise Preempted("The workers were stopped.", stopper.signal)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    lost = [str(worker.exitcode) for worker in workers if worker.exitcode]
    if lost:
        why = " (killed, often for want of memory)" if "-9" in lost else ""
        raise AAMError(
            f"{len(lost)} of {len(workers)} workers died with exit status {', '.join(lost)}{why}; "
            "the same command goes on."
        )


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one, which ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _work(common: Task, folder: Path, number: int, tickets, deadline: float) -> None:
    """A worker: trials for as long as there are tickets for them."""
    devices = torch.cuda.device_count()
    if devices > 1 and common.config.train.device in ("auto", "cuda"):
        device = f"cuda:{number % devices}"
        common = replace(common, config=common.config.replace({"train.device": device}))
    search = load(storage_of(folder), common)
    if number:
        _await_queue(search)
    try:
        while time.time() < deadline and tickets.acquire(block=False):
            one_trial(search, common, number)
    except Preempted as stop:
        sys.exit(128 + stop.signal)


def _await_queue(search) -> None:
    """Leave the trial that was queued to the first worker: on SQLite, two may take the same."""
    import optuna

    until = time.time() + QUEUE_SECONDS
    while search.get_trials(False, (optuna.trial.TrialState.WAITING,)) and time.time() < until:
        time.sleep(0.1)
