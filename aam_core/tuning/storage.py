"""The file of a search: Optuna's storage, and what must be the same for a search to continue.

Optuna calls a search a study; here that is an ``optuna_study``, as a `Study` is a table of samples.
"""

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
from aam_core.preparation import columns_of
from aam_core.tuning.space import contains
from aam_core.tuning.trial import TRIAL_SETTINGS, Objective

__all__ = [
    "FILE",
    "NAME",
    "fail_running",
    "load_optuna_study",
    "open_optuna_study",
    "open_storage",
    "search_fingerprint",
]

FILE = "tune.db"
"""Optuna's storage (SQLite) in the folder of a search."""

NAME = "aam"
"""Name of the Optuna study in it."""

_STARTUP_TRIALS = 5
"""Complete trials before any is pruned."""

_WARMUP_EPOCHS = 3
"""Epochs of a trial before it may be pruned."""

_CHANGEABLE = {
    *TRIAL_SETTINGS,
    "train.best_metric",
    "train.checkpoint_every",
    "train.device",
    "train.log_every",
    "train.threads",
}
"""Settings that may change when a search continues."""


def search_fingerprint(objective: Objective, task: str, options: dict) -> dict:
    """What must be the same for trials to be comparable, as JSON values."""
    counts, encoder = objective.study.counts, options["encoder"]
    parts = inputs.fingerprint(objective.study).parts.values()
    samples = json.dumps(
        [list(map(asdict, objective.splits)), objective.values.astype(str).to_numpy().tolist()]
    )
    fingerprint = {
        "task": task,
        "target": ",".join(str(one.name) for one in columns_of(objective.values)),
        "metric": objective.metric,
        "encoder": None if encoder is None else encoder.run["created"],
        "freeze_encoder": options["freeze_encoder"],
        "covariates": options["covariates"],
        "table": f"{counts.shape[1]} features, {counts.sum()} reads",
        "reads or sequences": f"{sum(map(int, itertools.chain(*parts))) % 2**64:016x}",
        "samples, their values or split": hashlib.sha256(samples.encode()).hexdigest()[:8],
        "space": objective.space,
        "config": objective.config.to_dict(),
    }
    return json.loads(json.dumps(fingerprint))


def _differences(before: dict, now: dict) -> list[str]:
    """What differs between two fingerprints, with both values."""
    old, new = (Config.from_saved(saved["config"], FILE) for saved in (before, now))
    pairs = {path: both for path, both in old.differences(new).items() if path not in _CHANGEABLE}
    for path in {**before["space"], **now["space"]}:
        pairs[f"space of {path}"] = (before["space"].get(path), now["space"].get(path))
    others = [name for name in now if name in before and name not in ("config", "space")]
    pairs |= {name: (before[name], now[name]) for name in others}
    return [f"{name} ({a!r} there, {b!r} here)" for name, (a, b) in pairs.items() if a != b]


def open_optuna_study(folder: Path, objective: Objective, fingerprint: dict):
    """Open the Optuna study in a folder if a trial of it succeeded; else create one.

    Parameters
    ----------
    folder : Path
    objective : Objective
    fingerprint : dict
        As `search_fingerprint` returns.

    Returns
    -------
    optuna.Study

    Raises
    ------
    InputError
        If the Optuna study in the folder has another fingerprint.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(folder)
    if NAME in optuna.get_all_study_names(storage):
        optuna_study = load_optuna_study(storage, objective)
        fail_running(optuna_study)
        if any(trial.state.name in ("COMPLETE", "PRUNED") for trial in optuna_study.get_trials()):
            differences = _differences(optuna_study.user_attrs["fingerprint"], fingerprint)
            if differences:
                raise InputError(
                    f"{folder} holds a search that differs in {first_five(differences)}: repeat "
                    "that command, or name another folder."
                )
            return optuna_study
        optuna.delete_study(study_name=NAME, storage=storage)
    optuna.create_study(storage=storage, study_name=NAME, direction=objective.direction)
    optuna_study = load_optuna_study(storage, objective)
    optuna_study.set_user_attr("fingerprint", fingerprint)
    current = {path: _at(objective.config, path) for path in objective.space}
    optuna_study.enqueue_trial(
        {path: value for path, value in current.items() if contains(objective.space[path], value)}
    )
    return optuna_study


def open_storage(folder: Path):
    """Optuna's storage in the folder of a search."""
    import optuna

    timeout = {"connect_args": {"timeout": 60}}  # several workers write at once
    return optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}", engine_kwargs=timeout)


def load_optuna_study(storage, objective: Objective):
    """The Optuna study with its pruner."""
    import optuna

    warmup = _WARMUP_EPOCHS if len(objective.splits) == 1 else 0
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=warmup)
    return optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)


def fail_running(optuna_study) -> None:
    """End the trials of processes that died."""
    import optuna

    for trial in optuna_study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        optuna_study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _at(config: Config, path: str):
    return functools.reduce(getattr, path.split("."), config)
