"""A search from its arguments to its outcome; one that was stopped goes on."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aam_core import effects, fitting, preparation
from aam_core.config import Config, presets
from aam_core.data.columns import infer_task
from aam_core.data.covariates import covariate_names
from aam_core.data.splits import Split, make_folds
from aam_core.data.study import Study
from aam_core.devices import alone
from aam_core.errors import AAMError, InputError, Preempted, first_five
from aam_core.files.writing import check_folder
from aam_core.model import Model
from aam_core.prediction import as_model
from aam_core.tasks import task_named
from aam_core.transfer import adopt
from aam_core.tuning import space as spaces
from aam_core.tuning.results import Board, Tuned, best_row, counted, say
from aam_core.tuning.storage import (
    FILE,
    fail_running,
    fingerprint,
    open_search,
)
from aam_core.tuning.trial import Task, check_metric
from aam_core.tuning.workers import one_trial, spread

_READS = ("data.rarefaction", "data.sampling_depth", "data.shallow_samples", "data.min_reads")
"""Settings that decide which samples can be used."""


@alone
def tune(
    study: Study,
    target: str | pd.Series,
    *,
    output: str | Path,
    task: str | None = None,
    trials: int = 50,
    timeout: float | None = None,
    space: dict | None = None,
    metric: str = "auto",
    folds: int = 0,
    jobs: int = 1,
    group_by: str | pd.Series | None = None,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    covariates: Sequence[str] = (),
    config: Config | str | None = None,
) -> Tuned:
    """Search for the settings with which the validation samples are predicted best.

    Every trial is a fit on the same training and validation samples. The first has the settings
    of ``config``; the next ones are drawn, and after ten chosen by what the others found (TPE;
    Bergstra et al. 2011). A trial below the median of those before it, after as many epochs, is
    pruned. The same call goes on where the last was stopped.

    Parameters
    ----------
    study, target, group_by, encoder, freeze_encoder, covariates
        As in `fit_regressor`.
    output : path
        Folder for ``tune.db`` (what a search goes on from), ``best.yaml``, ``trials.tsv`` and
        ``trials.png``; written anew after each trial.
    task : {'regression', 'classification'}, optional
        Told from the target where not given: text means classes.
    trials : int
        In all, earlier calls included; those that failed count, those interrupted do not.
    timeout : float, optional
        Seconds after which no trial is started.
    space : dict, optional
        ``{"section.field": range}``, as `aam_core.tuning.space` has it; by default the rates, the
        dropouts, the depth over samples, the rarefaction and the batch size.
    metric : str
        Figure of the validation samples: by default ``mae`` or ``auc``. A trial's is the best of
        its epochs.
    folds : int
        Where not 0, a trial is a fit of each of so many folds, and its figure their mean: slower,
        and steadier on a small study.
    jobs : int
        Processes that run trials. A script that asks for several must do so below
        ``if __name__ == "__main__":``.
    config : Config, optional
        What the space does not name; ``presets.fitting()`` by default.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        If the space or the target is unusable, or the folder holds a search for something else.
    AAMError
        If the first three trials all fail, or a worker dies.
    """
    need_optuna()
    task = task or infer_task(preparation.by_sample(study, target))
    task_named(task)
    for name, value, least in (("trials", trials, 1), ("jobs", jobs, 1), ("folds", folds or 2, 2)):
        if value < least:
            raise InputError(f"The number of {name} must be at least {least}, not {value}.")
    check_folder(output)
    options = {
        "encoder": None if encoder is None else as_model(encoder),
        "freeze_encoder": freeze_encoder,
        "covariates": covariate_names(covariates),
    }
    config = presets.as_config(config, presets.fitting)
    if config.train.devices > 1:
        raise InputError("A trial runs on one device (train.devices); several run as jobs.")
    space = _space(space, encoder is not None, config)
    metric = check_metric(metric, task, space)
    study, config, idle = _effective(study, target, task, group_by, folds, options, config, space)
    split = preparation.splitter(config, options["encoder"], freeze_encoder)
    study, values, splits = _splits(study, target, task, space, config, group_by, folds, split)
    for line in preparation.told_of_columns(study, values, group_by, options["covariates"], task):
        say(f"tune: {line}")
    fit = fitting.fit_regressor if task == "regression" else fitting.fit_classifier
    fit = functools.partial(fit, **options)
    common = Task(study, values, fit, splits, space, config, metric)
    folder = Path(output)
    search = open_search(folder, common, fingerprint(common, task, options))
    for line in idle:
        effects.say(f"tune: {line}")
    return go_on(search, common, folder, trials, timeout, jobs)


def need_optuna() -> None:
    """Raise `InputError` where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("Tuning needs Optuna: pip install optuna.")


def _space(given: dict | None, encoder: bool, config: Config) -> dict:
    given = spaces.check_space(spaces.default(encoder) if given is None else given)
    spaces.check_effect(given, encoder, config)
    return given


def _effective(study, target, task, group_by, folds, options, config, space):
    """The study without what no trial learns, the configuration, and what to say of both."""
    values = preparation.by_sample(study, target)
    groups = preparation.by_sample(study, group_by, "group_by")
    effects.check_columns(values, groups, options["covariates"], study.sample_ids)
    adopted = adopt(config, options["encoder"])
    setup = effects.setup_of(
        task,
        study,
        adopted,
        job="trials",
        encoder=options["encoder"] is not None,
        frozen=options["freeze_encoder"],
        covariates=bool(options["covariates"]),
        split=f"a trial has {folds} folds" if folds else "",
        output=False,
    )
    spaces.check_effect(space, setup.encoder, adopted, setup)
    idle = effects.without_effect(study, adopted, setup, groups)
    return effects.learned(study, adopted, setup, space), config.said(), idle


def _splits(study, target, task, space, config, group_by, folds, split):
    """The study and target of the samples that every trial can use, and their splits."""
    reads = {path: space[path] for path in _READS if path in space}
    ends = [given.get("choices") or [given["low"], given["high"]] for given in reads.values()]
    some = (dict(zip(reads, values, strict=True)) for values in itertools.product(*ends))
    usable = [
        set(preparation.usable_samples(study, config.replace(changes))[0]) for changes in some
    ]
    samples = [name for name in study.sample_ids if all(name in some for some in usable)]
    left_out = sorted(set(study.sample_ids) - set(samples))
    if left_out:
        say(f"tune: {len(left_out)} samples have too few reads for a trial: {first_five(left_out)}")
    study = study.select(samples)
    values = preparation.by_sample(study, target).reindex(samples)
    task_named(task).check(values)
    groups = preparation.by_sample(study, group_by, "group_by")
    strata = task_named(task).strata(values)
    if folds:
        seed = config.train.seed
        parts = make_folds(samples, folds=folds, seed=seed, groups=groups, strata=strata)
        return study, values, [Split.holdout(*part) for part in parts]
    if config.train.val_fraction == 0:
        raise InputError("Trials are compared on validation samples: train.val_fraction is 0.")
    return study, values, [split(samples, groups=groups, strata=strata)]


def go_on(search, common: Task, folder: Path, trials: int, timeout=None, jobs: int = 1) -> Tuned:
    """Run what is left of the trials; the best of all.

    Parameters
    ----------
    search : optuna.Study
        As `aam_core.tuning.storage.open_search` returns.
    common : Task
    folder : Path
    trials, timeout, jobs
        As in `tune`.
    """
    board = Board(search, common, trials, folder)
    begun = len(counted(board.table()))
    if begun:
        say(f"tune: {begun} of {trials} trials are in {folder / FILE}; going on")
    deadline = math.inf if timeout is None else time.time() + timeout
    try:
        if jobs == 1:
            for _ in range(trials - begun):
                if time.time() < deadline:
                    one_trial(search, common)
                    board.update()
        elif begun < trials:
            spread(board, common, trials - begun, jobs, deadline)
    except (KeyboardInterrupt, Preempted) as stop:
        done = len(counted(board.table()))
        text = f"{done} of {trials} trials are in {folder / FILE}; the same command goes on."
        if isinstance(stop, Preempted):
            raise Preempted(f"Stopped by signal {stop.signal}. {text}", stop.signal) from None
        raise KeyboardInterrupt(text) from None
    finally:
        fail_running(search)
        board.update()
    frame = board.table()
    best = best_row(frame, common)
    if best is None:
        raise AAMError(f"None of {len(frame)} trials came to an end.")
    board.write(frame, best)
    settings = board.settings(best["number"])
    config = common.config.replace(settings)
    return Tuned(config, settings, float(best["value"]), common.metric, frame)
