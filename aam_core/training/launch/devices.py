"""A job on several processes: `on_devices` starts them where the configuration asks for them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aam_core.config import TrainConfig
from aam_core.errors import InputError, Preempted
from aam_core.files.folders import only_writer
from aam_core.files.locks import PATIENCE, locked_by_parent
from aam_core.training import checkpoint, parallel
from aam_core.training.launch.environment import is_launched, launch_id, restart_count
from aam_core.training.launch.processes import run_in_processes

__all__ = ["on_devices", "writes_alone", "writing"]

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_AFTER_RESTART = 30.0
"""Seconds to wait for the lock of rank 0 of before, which may still be ending."""


def on_devices(read: Callable[[Path], Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a job: ``train.devices`` processes do it together.

    Of its keyword arguments, ``config`` (a `Config`), ``output`` and ``on_epoch`` are read here.
    Where torchrun started the processes, this one is one of them. One that was started again after
    another died resumes from the last checkpoint of its launch.

    Parameters
    ----------
    read : callable
        Reads what the job returns from the folder that it wrote: other processes did the work.
    """

    def decorate(job: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(job)
        def run(*args, **options):
            output = options.get("output")
            if is_launched():
                with parallel.session(), writing(output):
                    return job(*args, **_after_restart(options))
            train = options["config"].train
            # A restart needs a parent that outlives the worker, even a single one.
            if train.devices == 1 and not train.max_restarts:
                with only_writer(output):
                    return job(*args, **options)
            return _run_in_processes(run, args, options, train, read)

        return run

    return decorate


def writes_alone(job: Callable[P, T]) -> Callable[P, T]:
    """Decorate a job: no other run writes into its folder ``output`` meanwhile."""

    @functools.wraps(job)
    def run(*args, **options):
        with writing(options.get("output")):
            return job(*args, **options)

    return run


@contextlib.contextmanager
def writing(output) -> Iterator[None]:
    """Keep other runs from writing into ``output``; rank 0 holds the lock for all. Collective.

    Parameters
    ----------
    output : path or None

    Raises
    ------
    InputError
        On every rank, if another run is writing there.
    """
    with contextlib.ExitStack() as stack:
        error = None
        if os.environ.get("RANK", "0") == "0":
            patience = _PATIENCE_AFTER_RESTART if restart_count() else PATIENCE
            try:
                stack.enter_context(only_writer(output, patience))
            except InputError as refusal:
                error = refusal
        error = parallel.broadcast(error)
        if error is not None:
            raise error
        yield


def _run_in_processes(job: Callable, args: tuple, options: dict, train: TrainConfig, read):
    if options.get("on_epoch") is not None:
        raise InputError(
            "on_epoch is called within this process: train on one device (train.devices), "
            "without restarts."
        )
    parallel.check_devices(train)
    with _folder(options.get("output")) as folder, only_writer(folder):
        try:
            run_in_processes(
                _call,
                {
                    # By its name: there it is as it was called, whatever else decorates it.
                    "module": job.__module__,
                    "name": job.__qualname__,
                    "args": args,
                    "options": {**options, "output": folder},
                },
                devices=train.devices,
                max_restarts=train.max_restarts,
                threads=train.threads,
            )
        except Preempted as stop:
            # As in QIIME 2: the checkpoint goes with the temporary folder.
            if options.get("output") is None:
                raise Preempted(str(stop).partition("; continue")[0], stop.signal) from None
            raise
        return read(folder)


def _call(module: str, name: str, args: tuple, options: dict) -> None:
    """What each process does; a function of a module, as pickle needs."""
    job = getattr(importlib.import_module(module), name)
    with locked_by_parent(options["output"]):
        job(*args, **options)


def _after_restart(options: dict) -> dict:
    """The options, with ``resume`` if this launch left a checkpoint before a process died."""
    output = options.get("output")
    if not restart_count() or output is None or not checkpoint.exists(output):
        return options
    run = checkpoint.read_run(checkpoint.find(output))
    # The folder may have the checkpoint of an earlier run, which is not to be resumed.
    return {**options, "resume": output} if run.get("launch") == launch_id() else options


@contextlib.contextmanager
def _folder(output) -> Iterator[Path]:
    """The folder ``output``; a temporary one if it is None."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        yield Path(folder) / "model"
