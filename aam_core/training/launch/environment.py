"""What this process is part of, by the environment that torchrun or `processes` gave it."""

from __future__ import annotations

import os

from aam_core.errors import InputError

__all__ = ["is_launched", "launch_id", "launched_by_torchrun", "restart_count", "world_size"]


def is_launched() -> bool:
    """Whether torchrun or `processes` started this process."""
    names = ("AAM_LAUNCH", "TORCHELASTIC_RUN_ID")
    return world_size() > 1 or any(name in os.environ for name in names)


def launched_by_torchrun() -> bool:
    """Whether torchrun, and not `processes`, started this process."""
    return is_launched() and "AAM_LAUNCH" not in os.environ


def world_size() -> int:
    """Number of processes that were started together.

    1 where the environment does not also say how they find one another: some schedulers and shells
    set WORLD_SIZE alone.

    Raises
    ------
    InputError
        If WORLD_SIZE is not a number.
    """
    if not all(os.environ.get(name) for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")):
        return 1
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal():
        raise InputError(f"WORLD_SIZE in the environment is {size!r}; unset it, or use torchrun.")
    return int(size)


def launch_id() -> str | None:
    """Identity of this launch, the same after a restart of its workers; None of a lone process."""
    if "AAM_LAUNCH" in os.environ:
        return os.environ["AAM_LAUNCH"]
    if not is_launched():
        return None
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    names = [run, *(os.environ.get(n, "") for n in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"))]
    # torchrun without an id of its own is known by its process, which outlives the workers.
    return "-".join([*names, str(os.getppid())] if run == "none" else names)


def restart_count() -> int:
    """How often the workers were started again after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
