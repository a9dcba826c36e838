"""The fits of a cross-validation: each fold predicted by models that never saw it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch

from aam_core import fitting, preparation
from aam_core.baseline import predict_baseline
from aam_core.config import Config
from aam_core.data.folds import Fold
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import AAMError, Preempted
from aam_core.log import duration, logger
from aam_core.model import Model
from aam_core.prediction import override
from aam_core.target_frames import target_frames
from aam_core.tasks import Task
from aam_core.training.launch.jobs import run_jobs, threads_of_jobs

__all__ = ["FoldFit", "FoldInputs", "FoldPredictions", "of_repeat", "predict_folds"]


class FoldFit(NamedTuple):
    """A fold, how its training side is split for the fit, and what it is called in the log."""

    fold: Fold
    split: Split
    label: str


class FoldPredictions(NamedTuple):
    """Predictions of a fold's test samples by each method, and the blend weight of the networks."""

    frames: dict[str, pd.DataFrame]
    network_weight: float


@dataclass(frozen=True, eq=False)
class FoldInputs:
    """What all folds have in common, checked before anything is trained.

    Attributes
    ----------
    study : Study
        Without samples that have too few reads.
    values : Series
        The target of its samples.
    task : Task
        Fitted to all samples: it knows every class.
    groups : Series or None
    folds : list of _Fold
    config : Config
    options : dict
        Further arguments of all fits.
    baselines : tuple of str
    """

    study: Study
    values: pd.Series
    task: Task
    groups: pd.Series | None
    folds: list[FoldFit]
    config: Config
    options: dict[str, Any]
    baselines: tuple[str, ...]

    @property
    def repeats(self) -> int:
        """How often the samples are tested."""
        return max(fold.repeat for fold, *_ in self.folds)

    def count_held_out(self, samples: Sequence[str]) -> dict[str, int]:
        """Numbers of some samples and their groups."""
        groups = preparation.count_groups(self.groups, samples)
        return preparation.count_held_out(len(samples), groups)

    def scores(self, predictions: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
        """Metrics of each method, of the samples that it predicts."""
        schema = self.task.columns()
        return {
            method: self.task.compare(frame, self.values.loc[frame.index], schema)[1]
            for method, frame in predictions.items()
        }


def of_repeat(config: Config, repeat: int) -> Config:
    """The configuration of a repeat, which has a seed of its own."""
    return config.adjust({"train.seed": config.train.seed + repeat - 1})


def predict_folds(inputs: FoldInputs, jobs: int) -> list[FoldPredictions]:
    """The predictions of all folds, in their order."""
    places = range(len(inputs.folds))
    if jobs == 1 or len(places) == 1:
        return _one_by_one(inputs)
    jobs = min(jobs, len(places))
    threads = inputs.config.train.threads or threads_of_jobs(jobs)
    labels = [label for *_, label in inputs.folds]
    logger.info("%d folds, %d at a time, on %d threads each", len(places), jobs, threads)
    calls = [(place,) for place in places]
    return run_jobs(_in_job, inputs, calls, names=labels, jobs=jobs, threads=threads)


def _one_by_one(inputs: FoldInputs) -> list[FoldPredictions]:
    """The predictions of all folds; after each a line says how long the others will take."""
    predicted: list[FoldPredictions] = []
    began = time.perf_counter()
    for place, (*_, label) in enumerate(inputs.folds):
        start = time.perf_counter()
        predicted.append(_predict(inputs, place))
        now = time.perf_counter()
        left = (now - began) / len(predicted) * (len(inputs.folds) - len(predicted))
        more = f"; about {duration(left)} left" if len(predicted) < len(inputs.folds) else ""
        logger.info("%s: fit and baselines took %s%s", label, duration(now - start), more)
    return predicted


def _in_job(inputs: FoldInputs, place: int) -> FoldPredictions:
    """As `_predict`, on a GPU of its own where there are several."""
    devices, train = torch.cuda.device_count(), inputs.config.train
    if devices > 1 and train.device in ("auto", "cuda"):
        train = dataclasses.replace(train, device=f"cuda:{place % devices}")
        inputs = dataclasses.replace(inputs, config=dataclasses.replace(inputs.config, train=train))
    return _predict(inputs, place)


def _predict(inputs: FoldInputs, place: int) -> FoldPredictions:
    """The predictions of a fold; its errors name it."""
    label = inputs.folds[place].label
    try:
        return _predict_fold(inputs, *inputs.folds[place])
    except Preempted:
        raise
    except AAMError as error:
        raise type(error)(f"{label}: {error}") from error


def _predict_fold(inputs: FoldInputs, fold: Fold, split: Split, label: str) -> FoldPredictions:
    """Predictions of a fold's test samples by each method, trained on its training samples."""
    train, test = inputs.study.select(fold.train), inputs.study.select(fold.test)
    fit, config = fitting.FITS[inputs.task.name], of_repeat(inputs.config, fold.repeat)
    model = fit(
        train,
        inputs.values.loc[fold.train],
        split=split,
        label=label,
        config=config,
        **inputs.options,
    )
    device = config.train.device  # of the fit: with several jobs that of this one
    predictions = {"aam": _predict_target(model, test, device)}
    if model.forest is not None:
        # The interval is of residuals of networks and forest together: not of the networks alone.
        network = dataclasses.replace(model, forest=None, intervals=(), sets=None, calibrator=None)
        predictions["network"] = _predict_target(network, test, device)
    if inputs.baselines:
        logger.info("%s: fitting the baselines to compare with", label)
    for name in inputs.baselines:
        logger.info("%s: baseline %s", label, name)
        predictions[name] = predict_baseline(
            name,
            inputs.study,
            fold.train,
            fold.test,
            inputs.values,
            task=inputs.task.name,
            seed=config.train.seed,
            covariates=inputs.options["covariates"],
            groups=inputs.groups,
            threads=config.train.threads,
        )
    scores = inputs.scores({"aam": predictions["aam"]})["aam"]
    text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    logger.info("%s: %d test samples: %s", label, len(fold.test), text)
    return FoldPredictions(predictions, model.network_weight if model.forest is not None else 1.0)


def _predict_target(model: Model, study: Study, device: str) -> pd.DataFrame:
    """Predictions without the columns on how familiar the samples are: all are held out."""
    return pd.concat(target_frames(model, study, override(model.config, device)))
