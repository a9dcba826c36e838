"""The learning rate of a pretraining or a fit, found by a range test (``aam find-lr``)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import plots
from aam_core.config import Config
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.study import Study
from aam_core.files.folders import replacing_in
from aam_core.fitting import training_batches
from aam_core.model import Model
from aam_core.plan import FitOptions, plan_fit, plan_pretraining
from aam_core.pretraining import pretraining_batches
from aam_core.run import Run
from aam_core.training import range_test
from aam_core.training.launch.devices import on_devices
from aam_core.training.precision import cpu_threads
from aam_core.training.range_test import RangeTest

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["find_lr"]

_TABLE, _PLOT = "lr.tsv", "lr.png"


def _read_result(folder) -> RangeTest:
    """The result that `find_lr` wrote into a folder."""
    # Of text, as Python reads numbers: to the last digit.
    table = pd.read_csv(Path(folder, _TABLE), sep="\t", dtype=str).astype(float)
    return RangeTest(table, range_test.suggest(table))


def _presets_of(options: Mapping[str, Any]) -> str:
    return "pretraining" if options.get("task", "pretrain") == "pretrain" else "fitting"


@configured(_presets_of)
@on_devices(_read_result)
def find_lr(
    study: Study,
    target: str | pd.Series | None = None,
    *,
    task: str = "pretrain",
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    **settings: Unpack[EverydaySettings],
) -> RangeTest:
    """Find the learning rate of a pretraining or a fit by a range test.

    The loss of every step is recorded while the rate rises. No trained weights are kept.

    Parameters
    ----------
    study, target, encoder, freeze_encoder, group_by, covariates, config, preset, **settings
        As in the run that the rate is for; a pretraining has no target.
    task : {'pretrain', 'regression', 'classification'}
        Kind of that run.
    output : path, optional
        Folder for ``lr.tsv`` (one row per step) and its plot ``lr.png``.
    low, high : float
        First and last learning rate.
    steps : int
        Optimizer steps from the first rate to the last.

    Returns
    -------
    RangeTest

    Raises
    ------
    InputError
        If the inputs are unusable, or the loss falls at no rate of the range.
    """
    assert isinstance(config, Config)
    if task == "pretrain":
        plan, group = plan_pretraining(study, config, output, encoder, group_by, job="range test")
        fit = None
    else:
        options = FitOptions(
            encoder=encoder,
            freeze_encoder=freeze_encoder,
            group_by=group_by,
            covariates=covariates,
            config=config,
            output=output,
            job="range test",
        )
        fit = plan_fit(task, study, target, options)
        plan, group = fit.plan, fit.group
    with cpu_threads(plan.config.train.threads):
        run = Run(plan, group)
        if fit is None:
            job = run.job(pretraining_batches(run))
        else:
            job = run.job(*training_batches(run, fit.task, fit.values))
        result = range_test.find_lr(job, group, low, high, steps, run.reporter())
    if output is not None and group.is_first:
        with replacing_in(output, (_TABLE, _PLOT)) as folder:
            result.table.to_csv(folder / _TABLE, sep="\t", index=False)
        draw = functools.partial(plots.learning_rates, result.table, result.suggestion)
        plots.attempt(Path(output, _PLOT), draw)
    return result
