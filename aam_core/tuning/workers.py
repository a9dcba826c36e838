"""Run trials one after another, in this process or in several that share Optuna's storage."""

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
from aam_core.tuning.results import TrialsReport, trial_state
from aam_core.tuning.storage import load_optuna_study, open_storage
from aam_core.tuning.trial import Objective, run_trial

__all__ = ["run_in_workers", "run_next_trial"]

_QUEUE_SECONDS = 60
"""Longest time that the other workers wait for the first one to start a trial."""


def run_next_trial(optuna_study, objective: Objective, worker: int = 0) -> None:
    """Run the next trial, and tell Optuna its result.

    The suggested settings depend on the seed and on the trials so far, not on how often the search
    was stopped and continued.
    """
    import optuna
    from optuna.trial import TrialState

    states = [trial_state(trial) for trial in optuna_study.get_trials(deepcopy=False)]
    started = sum(state not in ("waiting", "interrupted") for state in states)
    sequence = np.random.SeedSequence((objective.config.train.seed, started, worker))
    optuna_study.sampler = optuna.samplers.TPESampler(seed=int(sequence.generate_state(1)[0]))
    trial = optuna_study.ask()
    try:
        value = run_trial(trial, objective)
    except optuna.TrialPruned:
        optuna_study.tell(trial, state=TrialState.PRUNED)
    except Preempted:
        optuna_study.tell(trial, state=TrialState.FAIL)
        raise
    except (AAMError, torch.cuda.OutOfMemoryError) as error:
        trial.set_user_attr("error", " ".join(str(error).split()))
        optuna_study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        optuna_study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        optuna_study.tell(trial, value)


def run_in_workers(
    report: TrialsReport, objective: Objective, trials: int, jobs: int, deadline: float
) -> None:
    """Run trials in worker processes, each on one thread unless configured otherwise.

    Parameters
    ----------
    report : TrialsReport
    objective : Objective
    trials : int
        Number of trials to run.
    jobs : int
        Number of workers.
    deadline : float
        Time in seconds (`time.time`) after which no trial is started.

    Raises
    ------
    Preempted
        If a signal stopped the search.
    AAMError
        If a worker died.
    """
    if objective.config.train.threads == 0:
        objective = replace(objective, config=objective.config.replace({"train.threads": 1}))
    context = multiprocessing.get_context("spawn")
    trials_left = context.Semaphore(trials)
    workers = []
    try:
        with _ignoring_interrupts():
            for number in range(min(jobs, trials)):
                arguments = (objective, report.folder, number, trials_left, deadline)
                worker = context.Process(target=_work, args=arguments)
                worker.start()
                workers.append(worker)
        with Stopper() as stopper:
            while any(worker.is_alive() for worker in workers):
                wait([worker.sentinel for worker in workers if worker.is_alive()], timeout=0.5)
                report.update()
                if stopper.signal:
                    raise Preempted("The workers were stopped.", stopper.signal)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    died = [str(worker.exitcode) for worker in workers if worker.exitcode]
    if died:
        why = " (killed, often for lack of memory)" if "-9" in died else ""
        raise AAMError(
            f"{len(died)} of {len(workers)} workers died with exit status {', '.join(died)}{why}; "
            "the same command continues the search."
        )


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile ignore Ctrl-C: this process ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(objective: Objective, folder: Path, number: int, trials_left, deadline: float) -> None:
    """A worker: run trials while there are any left."""
    devices = torch.cuda.device_count()
    if devices > 1 and objective.config.train.device in ("auto", "cuda"):
        device = f"cuda:{number % devices}"
        objective = replace(objective, config=objective.config.replace({"train.device": device}))
    optuna_study = load_optuna_study(open_storage(folder), objective)
    if number:
        _await_queue(optuna_study)
    try:
        while time.time() < deadline and trials_left.acquire(block=False):
            run_next_trial(optuna_study, objective, number)
    except Preempted as stop:
        sys.exit(128 + stop.signal)


def _await_queue(optuna_study) -> None:
    """Leave the queued trial to the first worker: on SQLite, two workers may take the same one."""
    import optuna

    until = time.time() + _QUEUE_SECONDS
    while (
        optuna_study.get_trials(False, (optuna.trial.TrialState.WAITING,)) and time.time() < until
    ):
        time.sleep(0.1)
