"""The file that a search goes on from: Optuna's, and what must be the same to go on."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from dataclasses import asdict
from pathlib import Path

from aam_core.config import Config
from aam_core.data import fingerprint as inputs
from aam_core.errors import InputError, first_five
from aam_core.tuning.space import holds
from aam_core.tuning.trial import ALONE, Task

FILE = "tune.db"
"""Optuna's storage (SQLite) in the folder of a search."""

NAME = "aam"
"""Of Optuna's study in it."""

STARTUP = 5
"""Complete trials before any is pruned."""

WARMUP = 3
"""Epochs of a trial before it may be pruned."""

FREE = {
    *ALONE,
    "loss.nucleotide",  # of which fits have none
    "train.best_metric",
    "train.checkpoint_every",
    "train.device",
    "train.log_every",
    "train.threads",
}
"""Settings that may change when a search goes on."""


def fingerprint(common: Task, task: str, options: dict) -> dict:
    """What must be the same for trials to be compared, as JSON has it."""
    counts, encoder = common.study.counts, options["encoder"]
    parts = inputs.fingerprint(common.study).parts.values()
    samples = json.dumps([list(map(asdict, common.splits)), common.values.astype(str).tolist()])
    found = {
        "task": task,
        "target": str(common.values.name),
        "metric": common.metric,
        "encoder": None if encoder is None else encoder.run["created"],
        "freeze_encoder": options["freeze_encoder"],
        "covariates": options["covariates"],
        "table": f"{counts.shape[1]} features, {counts.sum()} reads",
        "reads or sequences": f"{sum(map(int, itertools.chain(*parts))) % 2**64:016x}",
        "samples, their values or split": hashlib.sha256(samples.encode()).hexdigest()[:8],
        "space": common.space,
        "config": common.config.to_dict(),
    }
    return json.loads(json.dumps(found))


def _differences(before: dict, now: dict) -> list[str]:
    """What differs, with both values."""
    old, new = (Config.from_dict(mark["config"], FILE) for mark in (before, now))
    pairs = {path: both for path, both in old.differences(new).items() if path not in FREE}
    for path in {**before["space"], **now["space"]}:
        pairs[f"space of {path}"] = (before["space"].get(path), now["space"].get(path))
    others = [name for name in now if name in before and name not in ("config", "space")]
    pairs |= {name: (before[name], now[name]) for name in others}
    return [f"{name} ({a!r} there, {b!r} here)" for name, (a, b) in pairs.items() if a != b]


def open_search(folder: Path, common: Task, mark: dict):
    """Optuna's study: the one in the folder where a trial of it succeeded, else a new one.

    Parameters
    ----------
    mark : dict
        As `fingerprint` returns.

    Raises
    ------
    InputError
        If the one in the folder has another mark.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = storage_of(folder)
    if NAME in optuna.get_all_study_names(storage):
        search = load(storage, common)
        fail_running(search)
        if any(trial.state.name in ("COMPLETE", "PRUNED") for trial in search.get_trials()):
            differences = _differences(search.user_attrs["fingerprint"], mark)
            if differences:
                raise InputError(
                    f"{folder} holds a search that differs in {first_five(differences)}: repeat "
                    "that command, or name another folder."
                )
            return search
        optuna.delete_study(study_name=NAME, storage=storage)
    optuna.create_study(storage=storage, study_name=NAME, direction=common.direction)
    search = load(storage, common)
    search.set_user_attr("fingerprint", mark)
    first = {path: _at(common.config, path) for path in common.space}
    search.enqueue_trial(
        {path: value for path, value in first.items() if holds(common.space[path], value)}
    )
    return search


def storage_of(folder: Path):
    """Optuna's storage in the folder of a search."""
    import optuna

    waits = {"connect_args": {"timeout": 60}}  # where several write at once
    return optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}", engine_kwargs=waits)


def load(storage, common: Task):
    """Optuna's study with its pruner."""
    import optuna

    warmup = WARMUP if len(common.splits) == 1 else 0
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=warmup)
    return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)


def fail_running(search) -> None:
    """End the trials of processes that are no more."""
    import optuna

    for trial in search.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        search.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _at(config: Config, path: str):
    return functools.reduce(getattr, path.split("."), config)
