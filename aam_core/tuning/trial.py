"""One trial: settings suggested from the search space, a fit with them, and its metric.

The metric is reported to Optuna after each epoch (with folds, after each fold); Optuna may then
prune the trial.
"""

from __future__ import annotations

import contextlib
import io
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.config.fields import unknown
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import AAMError, InputError
from aam_core.tasks import Targets, Task
from aam_core.tasks.metrics import greater_is_better
from aam_core.tuning import space

__all__ = ["TRIAL_SETTINGS", "Objective", "check_metric", "run_trial"]

_LOSSES = (
    *("total_loss", "target_loss", "nucleotide_loss", "nucleotide_accuracy"),
    *("distance_loss", "distance_mae", "distance_r2", "count_loss", "count_mae", "count_r2"),
)
"""Metrics that a fit may have besides those of its task."""

TRIAL_SETTINGS = {
    "train.best_direction": "auto",
    "train.max_restarts": 0,
    "train.trackers": "none",
    "train.histograms": False,
    "forest.trees": 0,
}
"""Settings of every trial. It writes no folder, and logs to Optuna alone. Its metric is that of the
networks, so that a forest would be fitted for nothing."""


def check_metric(metric: str, task: type[Task] | type[Targets], searched) -> str:
    """Check the name of the metric that trials are compared by, and return it.

    Parameters
    ----------
    metric : str
        As in the logs, without ``val/``; 'auto' is the task's default.
    task : class of task, or `Targets`
    searched : collection of str
        Settings in the search space.

    Raises
    ------
    InputError
        If a fit has no such metric, or the space has settings that change its meaning.
    """
    if metric == "auto":
        return task.metrics[0]
    metrics = task.metrics
    legal = (*metrics, *_LOSSES)
    metric = metric.removeprefix("val/")
    if metric not in legal:
        raise unknown(metric, legal, f"metric of a {task.name}")
    losses = [path for path in searched if path.startswith("loss.")]
    if metric.endswith("_loss") and losses:
        raise InputError(
            f"Trials cannot be compared by {metric} where the space has {losses[0]}, which changes "
            f"its meaning: choose another metric ({', '.join(metrics)})."
        )
    return metric


@dataclass
class Objective:
    """What a search optimizes: all that its trials have in common. It is pickled for workers.

    Attributes
    ----------
    study : Study
    values : Series or DataFrame
        The target by sample id; of several targets a column each, which the study's metadata have.
    fit : callable
        ``fit_regressor`` or ``fit_classifier`` with what does not change.
    splits : list of Split
        One, or several folds.
    space : dict
        Search space, as in `aam_core.tuning.space`.
    config : Config
        Settings that are not in the space.
    metric : str
        Name of the metric, without ``val/``.
    """

    study: Study
    values: pd.Series | pd.DataFrame
    fit: Callable
    splits: list[Split]
    space: dict[str, dict]
    config: Config
    metric: str

    @property
    def direction(self) -> str:
        """Of the optimization, in Optuna's words."""
        return "maximize" if greater_is_better(self.metric) else "minimize"

    def best(self, values):
        """The best of some values of the metric."""
        return max(values) if self.direction == "maximize" else min(values)

    def settings(self, suggested: dict) -> dict:
        """Settings of a trial: those suggested, and others that depend on them."""
        # A fit keeps its best epoch, and stops early, by the metric that the trial is judged by.
        settings = {**suggested, "train.best_metric": self.metric}
        if "train.epochs" in suggested:
            settings.setdefault("train.min_steps", 0)
        if "data.rarefaction" in suggested:  # else a sampling depth would change these, too
            settings.setdefault("data.sampling_depth_max", self.config.data.sampling_depth_max)
            settings.setdefault("data.full_depth", self.config.data.full_depth)
        return settings


def run_trial(trial, objective: Objective) -> float:
    """Fit with the settings that an Optuna trial suggests.

    Returns
    -------
    float
        The metric in the best epoch; over several folds, their mean.

    Raises
    ------
    optuna.TrialPruned
    AAMError
        If a model cannot be fitted with these settings.
    """
    suggested = {
        path: space.suggest(trial, path, range_) for path, range_ in objective.space.items()
    }
    config = objective.config.replace({**TRIAL_SETTINGS, **objective.settings(suggested)})
    reporter = _TrialReporter(trial, objective)
    best_of_folds = []
    try:
        for fold, split in enumerate(objective.splits, start=1):
            best_of_folds.append(_fit(objective, split, config, reporter))
            if len(objective.splits) > 1:
                reporter.report(float(np.mean(best_of_folds)), fold)
    finally:
        trial.set_user_attr("epochs", reporter.epochs)
    return float(np.mean(best_of_folds))


def _fit(objective: Objective, split: Split, config: Config, reporter: _TrialReporter) -> float:
    """The metric in the best epoch of one fit."""
    reporter.values = []
    several = isinstance(objective.values, pd.DataFrame)
    target = list(objective.values) if several else objective.values
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # a search shows a line per trial, not per epoch
        objective.fit(
            objective.study,
            target,
            split=split,
            config=config,
            on_epoch=reporter.on_epoch,
        )
    return objective.best(reporter.values)


class _TrialReporter:
    """Reports the metric of each epoch to Optuna, and ends the trial where Optuna prunes it."""

    def __init__(self, trial, objective: Objective):
        self.trial = trial
        self.name = f"val/{objective.metric}"
        self.each_epoch = len(objective.splits) == 1
        self.values: list[float] = []
        self.epochs = 0

    def on_epoch(self, epoch: int, values: dict[str, float]) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # the search was killed: nobody waits for this worker
        value = values[self.name]
        if not math.isfinite(value):
            raise AAMError(f"{self.name} is not a number in epoch {epoch}.")
        self.values.append(value)
        self.epochs += 1
        if self.each_epoch:
            self.report(value, epoch)

    def report(self, value: float, step: int) -> None:
        import optuna

        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned
