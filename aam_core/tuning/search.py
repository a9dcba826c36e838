"""A search from its arguments to its result; one that was stopped can be continued."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import time
from collections.abc import Sequence
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
from aam_core.tasks import task_named
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
        Metric of the validation samples: by default ``mae`` or ``auc``. A trial has that of its
        best epoch.
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
    task = task or infer_task(preparation.values_by_sample(study, target))
    task_named(task)
    for name, value, minimum in (
        ("trials", trials, 1),
        ("jobs", jobs, 1),
        ("folds", folds or 2, 2),
    ):
        if value < minimum:
            raise InputError(f"The number of {name} must be at least {minimum}, not {value}.")
    check_folder(output)
    options: dict[str, Any] = {
        "encoder": None if encoder is None else as_model(encoder),
        "freeze_encoder": freeze_encoder,
        "covariates": covariate_names(covariates),
    }
    assert isinstance(config, Config)
    if config.train.devices > 1:
        raise InputError(
            "A trial runs on one device (train.devices); jobs runs several trials at once."
        )
    space = _checked_space(space, encoder is not None, config)
    metric = check_metric(metric, task, space)
    study, config, idle = _effective(study, target, task, group_by, folds, options, config, space)
    split = preparation.splitter(config, options["encoder"], freeze_encoder)
    study, values, splits = _splits(study, target, task, space, config, group_by, folds, split)
    for line in preparation.column_notes(
        study, values, group_by, options["covariates"], task_named(task)
    ):
        logger.info(f"tune: {line}")
    fit = functools.partial(fitting.FITS[task], **options)
    objective = Objective(study, values, fit, splits, space, config, metric)
    folder = Path(output)
    fingerprint = search_fingerprint(objective, task, options)
    optuna_study = open_optuna_study(folder, objective, fingerprint)
    for line in idle:
        logger.info(f"tune: {line}")
    return run_trials(optuna_study, objective, folder, trials, timeout, jobs)


def require_optuna() -> None:
    """Raise `InputError` where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("Tuning needs Optuna: pip install optuna.")


def _checked_space(space: dict | None, encoder: bool, config: Config) -> dict:
    space = spaces.check_space(spaces.default_space(encoder) if space is None else space)
    spaces.check_effect(space, encoder, config)
    return space


def _effective(
    study, target, task, group_by, folds, options, config, space
) -> tuple[Study, Config, list[str]]:
    """The study without what no trial learns, the configuration, and what to say of both."""
    values = preparation.values_by_sample(study, target)
    groups = preparation.values_by_sample(study, group_by, "group_by")
    preparation.check_columns(values, groups, options["covariates"], study.sample_ids)
    adopted = with_sizes_of(config, options["encoder"])
    setup = preparation.describe_run(
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
    idle = preparation.unused(study, adopted, setup, groups)
    return preparation.without_unused(study, adopted, setup, space), config.said(), idle


def _splits(study, target, task, space, config, group_by, folds, split):
    """Study and target of the samples that every trial can use, and their splits."""
    paths = [path for path in _SAMPLE_SETTINGS if path in space]
    ends = itertools.product(*(spaces.range_ends(space[path]) for path in paths))
    variants = [config.replace(dict(zip(paths, values, strict=True))) for values in ends]
    usable = [set(preparation.usable_samples(study, variant)[0]) for variant in variants]
    samples = [name for name in study.sample_ids if all(name in ids for ids in usable)]
    dropped = sorted(set(study.sample_ids) - set(samples))
    if dropped:
        few = f"{len(dropped)} samples have too few reads for a trial"
        logger.info(f"tune: {few}: {first_five(dropped)}")
    study = study.select(samples)
    values = preparation.values_by_sample(study, target).reindex(samples)
    task_named(task).check(values)
    groups = preparation.values_by_sample(study, group_by, "group_by")
    strata = task_named(task).strata(values)
    if folds:
        seed = config.train.seed
        sides = make_folds(samples, folds=folds, seed=seed, groups=groups, strata=strata)
        return study, values, [Split.holdout(*ids) for ids in sides]
    if config.train.val_fraction == 0:
        raise InputError("Trials are compared on validation samples, but train.val_fraction is 0.")
    return study, values, [split(samples, groups=groups, strata=strata)]


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
