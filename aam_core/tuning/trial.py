"""One trial: settings from a space, a fit with them, and its figure.

Optuna is told the figure after each epoch (with folds, after each fold), and may prune the trial.
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
from aam_core.tasks import task_named
from aam_core.tasks.metrics import greater_is_better
from aam_core.tuning import space

LOSSES = ("total_loss", "target_loss", "distance_loss", "distance_mae", "distance_r2")
"""The others that a fit may have."""

ALONE = {
    "train.best_direction": "auto",
    "train.max_restarts": 0,
    "train.trackers": "none",
    "train.histograms": False,
    "forest.trees": 0,
}
"""Settings of every trial, which has no folder; what it logs goes to Optuna. Its figure is of the
networks, beside which trees would be grown for nothing."""


def check_metric(metric: str, task: str, searched) -> str:
    """The name of the figure that trials are compared by.

    Parameters
    ----------
    metric : str
        As in the logs, without ``val/``; 'auto' is the task's default.
    task : {'regression', 'classification'}
    searched : collection of str
        Settings of the space.
    """
    if metric == "auto":
        return task_named(task).metrics[0]
    metrics = task_named(task).metrics
    legal = (*metrics, *LOSSES)
    metric = metric.removeprefix("val/")
    if metric not in legal:
        raise unknown(metric, legal, f"figure of a {task}")
    losses = [path for path in searched if path.startswith("loss.")]
    if metric.endswith("_loss") and losses:
        raise InputError(
            f"Trials cannot be compared by {metric} where the space has {losses[0]}, which changes "
            f"what it means: choose another metric ({', '.join(metrics)})."
        )
    return metric


@dataclass
class Task:
    """What every trial has in common; pickled for workers.

    Attributes
    ----------
    study : Study
    values : Series
        The target by sample id.
    fit : callable
        ``fit_regressor`` or ``fit_classifier`` with what does not change.
    splits : list of Split
        One, or several folds.
    space : dict
    config : Config
        What the space does not name.
    metric : str
        Figure under ``val/``.
    """

    study: Study
    values: pd.Series
    fit: Callable
    splits: list[Split]
    space: dict[str, dict]
    config: Config
    metric: str

    @property
    def direction(self) -> str:
        """As Optuna has it."""
        return "maximize" if greater_is_better(self.metric) else "minimize"

    def best(self, values):
        """The best of some figures."""
        return max(values) if self.direction == "maximize" else min(values)

    def settings(self, chosen: dict) -> dict:
        """The settings of a trial: those chosen, and what they bring with them."""
        # The epoch that a fit keeps, and stops early by, is the one that the trial is judged by.
        settings = {**chosen, "train.best_metric": self.metric}
        if "train.epochs" in chosen:
            settings.setdefault("train.min_steps", 0)
        if "data.rarefaction" in chosen:  # a sampling depth beside it would decide these anew
            settings.setdefault("data.sampling_depth_max", self.config.data.sampling_depth_max)
            settings.setdefault("data.full_depth", self.config.data.full_depth)
        return settings


def run(trial, task: Task) -> float:
    """Fit with the settings that ``trial`` suggests; the best figure of an epoch.

    Over several folds it is their mean.

    Raises
    ------
    optuna.TrialPruned
    AAMError
        If these settings cannot be fitted.
    """
    chosen = {path: space.suggest(trial, path, given) for path, given in task.space.items()}
    config = task.config.replace({**ALONE, **task.settings(chosen)})
    watch = _Watch(trial, task)
    bests = []
    try:
        for fold, split in enumerate(task.splits, start=1):
            bests.append(_fit(task, split, config, watch))
            if len(task.splits) > 1:
                watch.report(float(np.mean(bests)), fold)
    finally:
        trial.set_user_attr("epochs", watch.epochs)
    return float(np.mean(bests))


def _fit(task: Task, split, config: Config, watch: _Watch) -> float:
    """The best figure of an epoch of one fit."""
    watch.figures = []
    with contextlib.redirect_stderr(io.StringIO()):  # the search has a line a trial, not an epoch
        task.fit(task.study, task.values, split=split, config=config, on_epoch=watch.on_epoch)
    return task.best(watch.figures)


class _Watch:
    """Takes the figures of a trial as they come, and ends it where Optuna says so."""

    def __init__(self, trial, task: Task):
        self.trial = trial
        self.name = f"val/{task.metric}"
        self.each_epoch = len(task.splits) == 1
        self.figures: list[float] = []
        self.epochs = 0

    def on_epoch(self, epoch: int, values: dict[str, float]) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # a worker whose search was killed: what it finds, no one waits for
        value = values[self.name]
        if not math.isfinite(value):
            raise AAMError(f"{self.name} is not a number in epoch {epoch}.")
        self.figures.append(value)
        self.epochs += 1
        if self.each_epoch:
            self.report(value, epoch)

    def report(self, value: float, step: int) -> None:
        import optuna

        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned
