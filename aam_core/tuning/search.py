"""A search from its arguments to its result; one that was stopped can be continued."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import fitting, preparation
from aam_core.config import Config
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.columns import infer_task
from aam_core.data.covariates import covariate_names
from aam_core.data.splits import Split, make_folds
from aam_core.data.study import Study
from aam_core.errors import AAMError, InputError, Preempted, first_five
from aam_core.files.writing import check_folder
from aam_core.log import logger
from aam_core.model import Model, as_model
from aam_core.pretrained import with_sizes_of
from aam_core.tasks import Targets, Task, task_named
from aam_core.training.launch.devices import writes_alone
from aam_core.tuning import space as spaces
from aam_core.tuning.results import TrialsReport, TuningResult, best_row, counted
from aam_core.tuning.storage import (
    FILE,
    fail_running,
    open_optuna_study,
    search_fingerprint,
)
from aam_core.tuning.trial import Objective, check_metric
from aam_core.tuning.workers import run_in_workers, run_next_trial

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["require_optuna", "run_trials", "tune"]

_SAMPLE_SETTINGS = (
    "data.rarefaction",
    "data.sampling_depth",
    "data.shallow_samples",
    "data.min_reads",
)
"""Settings that determine which samples can be used."""


@configured("fitting")
@writes_alone
def tune(
    study: Study,
    target: str | pd.Series | Sequence[str],
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
    config: ConfigLike = None,
    preset: str | None = None,
    **settings: Unpack[EverydaySettings],
) -> TuningResult:
    """Search for the settings with which the validation samples are predicted best.

    Every trial is a fit on the same training and validation samples. The first has the settings
    of ``config``; those of the next are random, and from the eleventh trial on suggested from the
    results so far (TPE; Bergstra et al. 2011). A trial that is worse than the median of those
    before it, after as many epochs, is pruned. The same call continues a search that was stopped.

    Parameters
    ----------
    study, target, group_by, encoder, freeze_encoder, covariates
        As in `fit_regressor`.
    output : path
        Folder for ``tune.db`` (from which a search continues), ``best.yaml``, ``trials.tsv`` and
        ``trials.png``; written again after each trial.
    task : {'regression', 'classification'}, optional
        Inferred from the target where not given: text means classes.
    trials : int
        Number of trials, with those of earlier calls; failed ones count, interrupted ones do not.
    timeout : float, optional
        Seconds after which no trial is started.
    space : dict, optional
        ``{"section.field": range}``, as `aam_core.tuning.space` has it; by default the rates, the
        dropouts, the depth over samples, the rarefaction and the batch size.
    metric : str
        Metric of the validation samples: by default ``mae`` or ``auc``; of several targets ``r2``,
        the mean over them, in which an error counts by the deviation of its target. A trial has
        that of its best epoch.
    folds : int
        Where not 0, a trial is a fit for each of so many folds, and its metric their mean: slower,
        and less noisy on a small study.
    jobs : int
        Processes that run trials. A script that asks for several must do so below
        ``if __name__ == "__main__":``.
    config, preset, **settings
        As in `fit_regressor`: the settings that are not in the space.

    Returns
    -------
    TuningResult

    Raises
    ------
    InputError
        If the space or the target is unusable, or the folder has another search.
    AAMError
        If the first three trials all fail, or a worker dies.
    """
    require_optuna()
    assert isinstance(config, Config)
    _check_numbers(trials, jobs, folds, config)
    inputs = _Inputs(
        study,
        target,
        _kind(preparation.targets_by_sample(study, target), task),
        group_by,
        None if encoder is None else as_model(encoder),
        freeze_encoder,
        covariate_names(covariates),
        folds,
    )
    check_folder(output)
    space = spaces.check_space(
        spaces.default_space(encoder is not None) if space is None else space
    )
    spaces.check_effect(space, encoder is not None, config)
    metric = check_metric(metric, inputs.task, space)
    inputs, unused = _without_unused(inputs, space, config)
    inputs = _with_usable_samples(inputs, space, config.reported())
    values, splits = inputs.values(), _splits(inputs, config.reported())
    notes = preparation.column_notes(
        inputs.study, values, group_by, inputs.covariates, inputs.task, config
    )
    for line in notes:
        logger.info(f"tune: {line}")
    options = inputs.fit_options()
    fit = functools.partial(fitting.FITS[inputs.task.name], **options)
    objective = Objective(inputs.study, values, fit, splits, space, config.reported(), metric)
    folder = Path(output)
    fingerprint = search_fingerprint(objective, inputs.task.name, options)
    optuna_study = open_optuna_study(folder, objective, fingerprint)
    for line in unused:
        logger.info(f"tune: {line}")
    return run_trials(optuna_study, objective, folder, trials, timeout, jobs)


def require_optuna() -> None:
    """Raise `InputError` where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("Tuning needs Optuna: pip install optuna.")


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What all trials fit; see `tune`."""

    study: Study
    target: str | pd.Series | Sequence[str]
    task: type[Task] | type[Targets]
    group_by: str | pd.Series | None
    encoder: Model | None
    freeze_encoder: bool
    covariates: list[str]
    folds: int

    def values(self) -> pd.Series | pd.DataFrame:
        """The target of the study's samples, or several."""
        values = preparation.targets_by_sample(self.study, self.target)
        return values.reindex(self.study.sample_ids)

    def groups(self) -> pd.Series | None:
        """Groups by sample id."""
        return preparation.values_by_sample(self.study, self.group_by, "group_by")

    def fit_options(self) -> dict[str, Any]:
        """Arguments of every fit."""
        names = ("encoder", "freeze_encoder", "covariates")
        return {name: getattr(self, name) for name in names}


def _kind(values: pd.Series | pd.DataFrame, task: str | None) -> type[Task] | type[Targets]:
    """What the trials fit."""
    if isinstance(values, pd.DataFrame):
        preparation.check_several(values, task or Targets.name, None)
        return Targets
    return task_named(task or infer_task(values))


def _check_numbers(trials: int, jobs: int, folds: int, config: Config) -> None:
    limits = (("trials", trials, 1), ("jobs", jobs, 1), ("folds", folds or 2, 2))
    for name, value, minimum in limits:
        if value < minimum:
            raise InputError(f"The number of {name} must be at least {minimum}, not {value}.")
    if config.train.devices > 1:
        raise InputError(
            "A trial runs on one device (train.devices); jobs runs several trials at once."
        )


def _without_unused(inputs: _Inputs, space: dict, config: Config) -> tuple[_Inputs, list[str]]:
    """The inputs without what no trial learns from, and messages on what has no effect."""
    study, groups = inputs.study, inputs.groups()
    each = preparation.columns_of(preparation.targets_by_sample(study, inputs.target))
    for values in each:
        preparation.check_columns(values, groups, inputs.covariates, study.sample_ids)
    config = with_sizes_of(config, inputs.encoder)
    context = preparation.describe_run(
        inputs.task.name,
        study,
        config,
        job="trials",
        encoder=inputs.encoder is not None,
        frozen=inputs.freeze_encoder,
        covariates=bool(inputs.covariates),
        targets=len(each),
        split=f"a trial has {inputs.folds} folds" if inputs.folds else "",
        output=False,
    )
    spaces.check_effect(space, context.encoder, config, context)
    unused = preparation.unused(study, config, context, groups)
    study = preparation.without_unused(study, config, context, space)
    return replace(inputs, study=study), unused


def _with_usable_samples(inputs: _Inputs, space: dict, config: Config) -> _Inputs:
    """The inputs with the samples that every trial can use."""
    study = inputs.study
    paths = [path for path in _SAMPLE_SETTINGS if path in space]
    ends = itertools.product(*(spaces.range_ends(space[path]) for path in paths))
    variants = [config.replace(dict(zip(paths, values, strict=True))) for values in ends]
    usable = [set(preparation.usable_samples(study, variant)[0]) for variant in variants]
    samples = [name for name in study.sample_ids if all(name in ids for ids in usable)]
    dropped = sorted(set(study.sample_ids) - set(samples))
    if dropped:
        few = f"{len(dropped)} samples have too few reads for a trial"
        logger.info(f"tune: {few}: {first_five(dropped)}")
    return replace(inputs, study=study.select(samples))


def _splits(inputs: _Inputs, config: Config) -> list[Split]:
    """The split of every trial, or its folds."""
    samples, values, groups = inputs.study.sample_ids, inputs.values(), inputs.groups()
    inputs.task.check(values)
    strata = preparation.strata_of(inputs.task, values, config, groups)
    if inputs.folds:
        lone = inputs.task.strata(values) is None
        sides = make_folds(
            samples,
            folds=inputs.folds,
            seed=config.train.seed,
            groups=groups,
            strata=strata,
            lone_classes=lone,
        )
        return [Split.holdout(*ids) for ids in sides]
    if config.train.val_fraction == 0:
        raise InputError("Trials are compared on validation samples, but train.val_fraction is 0.")
    split = preparation.splitter(config, inputs.encoder, inputs.freeze_encoder)
    return [split(samples, groups=groups, strata=strata)]


def run_trials(
    optuna_study,
    objective: Objective,
    folder: Path,
    trials: int,
    timeout: float | None = None,
    jobs: int = 1,
) -> TuningResult:
    """Run the trials that are left, and return the best of all.

    Parameters
    ----------
    optuna_study : optuna.Study
        As `aam_core.tuning.storage.open_optuna_study` returns.
    objective : Objective
    folder : Path
    trials, timeout, jobs
        As in `tune`.
    """
    report = TrialsReport(optuna_study, objective, trials, folder)
    done = len(counted(report.table()))
    if done:
        logger.info(f"tune: {done} of {trials} trials are in {folder / FILE}; continuing")
    deadline = math.inf if timeout is None else time.time() + timeout
    try:
        if jobs == 1:
            for _ in range(trials - done):
                if time.time() < deadline:
                    run_next_trial(optuna_study, objective)
                    report.update()
        elif done < trials:
            run_in_workers(report, objective, trials - done, jobs, deadline)
    except (KeyboardInterrupt, Preempted) as stop:
        done = len(counted(report.table()))
        text = f"{done} of {trials} trials are in {folder / FILE}; the same command continues them."
        if isinstance(stop, Preempted):
            raise Preempted(f"Stopped by signal {stop.signal}. {text}", stop.signal) from None
        raise KeyboardInterrupt(text) from None
    finally:
        fail_running(optuna_study)
        report.update()
    frame = report.table()
    best = best_row(frame, objective)
    if best is None:
        raise AAMError(f"None of {len(frame)} trials was completed.")
    report.write(frame, best)
    settings = report.settings(best["number"])
    config = objective.config.replace(settings)
    return TuningResult(config, settings, float(best["value"]), objective.metric, frame)
