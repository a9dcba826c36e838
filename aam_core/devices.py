"""Workflows on several processes: started here where the configuration asks for them."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from aam_core.config import Config
from aam_core.errors import InputError
from aam_core.files.folders import only_writer
from aam_core.files.locks import PATIENCE, locked_by_parent
from aam_core.log import logger, show
from aam_core.model import load_model
from aam_core.resuming import configuration
from aam_core.training import checkpoint, parallel
from aam_core.training.launch import spawn

LONG = 30.0
"""Seconds that the first process of before may take to be gone, where it is started anew."""


def on_devices(preset: Callable[[], Config], opened: Callable = load_model) -> Callable:
    """Decorate a workflow: ``train.devices`` processes run it together.

    The processes are started by torch elastic, and the outcome is read back from its folder. Where
    torchrun has started them already, this process is one of them. One that was started anew after
    another died goes on from the last checkpoint.

    Parameters
    ----------
    preset : callable
        Makes the configuration where none is given.
    opened : callable
        Reads what the workflow returns from the folder that it wrote.
    """

    def decorate(workflow):
        @functools.wraps(workflow)
        def run(*args, **options):
            output = options.get("output")
            if spawn.under_torchrun():
                with parallel.session(), writing(output):
                    return workflow(*args, **_after_restart(options))
            train = configuration(options.get("resume"), options.get("config"), preset).train
            if train.devices == 1 and not train.max_restarts:
                with only_writer(output):
                    return workflow(*args, **options)
            return _spread(run, args, options, train, opened)

        return run

    return decorate


def _spread(workflow, args, options, train, opened):
    if options.get("on_epoch") is not None:
        raise InputError(
            "on_epoch is called within this process: train on one device (train.devices), "
            "without restarts."
        )
    parallel.check_devices(train)
    with _folder(options.get("output")) as folder, only_writer(folder):
        spawn.spread(
            _call,
            {
                "workflow": workflow,
                "args": args,
                "options": {**options, "output": folder},
                "level": logger.level if logger.handlers else None,
            },
            devices=train.devices,
            max_restarts=train.max_restarts,
            threads=train.threads,
        )
        return opened(folder)


def _call(workflow, args, options, level):
    """What each process does; a function of a module, so that it can be sent to one."""
    if level is not None:  # the logger of this process is one that nobody has configured
        show(level)
    with locked_by_parent(options["output"]):
        workflow(*args, **options)


def alone(workflow: Callable) -> Callable:
    """Decorate a workflow: nobody else writes into the folder ``output`` while it works."""

    @functools.wraps(workflow)
    def run(*args, **options):
        with writing(options.get("output")):
            return workflow(*args, **options)

    return run


@contextlib.contextmanager
def writing(output) -> Iterator[None]:
    """Keep others from writing into ``output``; of several processes the first does, for all.

    Parameters
    ----------
    output : path or None

    Raises
    ------
    InputError
        In every process, if another run is writing there.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        if os.environ.get("RANK", "0") == "0":
            try:
                stack.enter_context(only_writer(output, LONG if spawn.restarts() else PATIENCE))
            except InputError as error:
                problem = error
        problem = parallel.broadcast(problem)
        if problem is not None:
            raise problem
        yield


def _after_restart(options: dict) -> dict:
    """With ``resume`` where this very start, before a process died, has left a checkpoint."""
    output = options.get("output")
    if not spawn.restarts() or output is None or not checkpoint.exists(output):
        return options
    run = checkpoint.read_run(checkpoint.find(output))
    return {**options, "resume": output} if run.get("launch") == spawn.identity() else options


@contextlib.contextmanager
def _folder(output) -> Iterator[Path]:
    """The folder that is asked for; one that is gone afterwards, where none is."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        yield Path(folder) / "model"
