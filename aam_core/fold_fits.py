"""The fits of a cross-validation: each fold predicted by models that never saw it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import torch

from aam_core import fitting, preparation
from aam_core.baseline import predict_baseline
from aam_core.config import Config
from aam_core.data.folds import Fold
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import AAMError, InputError, Preempted
from aam_core.explanation.explain import permutation_importance
from aam_core.log import duration, logger
from aam_core.model import Model
from aam_core.prediction import override
from aam_core.target_frames import target_frames
from aam_core.tasks import Targets, Task
from aam_core.training.launch.jobs import run_jobs, threads_of_jobs

__all__ = ["FoldFit", "FoldInputs", "FoldPredictions", "TargetInputs", "of_repeat", "predict_folds"]


class FoldFit(NamedTuple):
    """A fold, how its training side is split for the fit, and what it is called in the log."""

    fold: Fold
    split: Split
    label: str


class FoldPredictions(NamedTuple):
    """Predictions of a fold's test samples by each method, and the blend of the model.

    Of one target. The linear model has ``linear_share`` of what is not the networks'; the
    importance of each ASV for the test samples is there where it is asked for.
    """

    frames: dict[str, pd.DataFrame]
    network_weight: float
    linear_share: float = 0.0
    importance: pd.Series | None = None


@dataclass(frozen=True, eq=False)
class FoldInputs:
    """What all folds have in common, checked before anything is trained.

    Attributes
    ----------
    study : Study
        Without samples that have too few reads.
    values : Series or DataFrame
        The target of its samples; of several targets a column each, NaN where a value is missing.
    task : Task or Targets
        Fitted to all samples: it knows every class.
    groups : Series or None
    folds : list of _Fold
    config : Config
    options : dict
        Further arguments of all fits.
    baselines : tuple of str
    importance_repeats : int
        Permutations of each ASV; 0 where importances are not asked for.
    """

    study: Study
    values: pd.Series | pd.DataFrame
    task: Task | Targets
    groups: pd.Series | None
    folds: list[FoldFit]
    config: Config
    options: dict[str, Any]
    baselines: tuple[str, ...]
    importance_repeats: int = 0

    @cached_property
    def each(self) -> list[TargetInputs]:
        """Those of each target."""
        return [TargetInputs.of(self, task) for task in self.task.each]


@dataclass(frozen=True, eq=False)
class TargetInputs:
    """What all folds have in common of one target: the samples that have a value of it.

    Attributes
    ----------
    study, task, values, groups, folds, config
        As in `FoldInputs`; the folds have these samples alone, and those that test none are absent.
    places : list of int
        Of these folds among all.
    """

    study: Study
    task: Task
    values: pd.Series
    groups: pd.Series | None
    folds: list[FoldFit]
    places: list[int]
    config: Config

    @classmethod
    def of(cls, inputs: FoldInputs, task: Task) -> TargetInputs:
        """The part of a target.

        Raises
        ------
        InputError
            If no fold tests a sample that has a value of it.
        """
        values, folds = inputs.values, dict(enumerate(inputs.folds))
        if isinstance(values, pd.DataFrame):
            values = values[task.column].dropna()
            known = set(values.index)
            folds = {place: _of_samples(it, known) for place, it in folds.items()}
            folds = {place: it for place, it in folds.items() if it.fold.test}
        if not folds:
            raise InputError(f"Column {task.column!r} has no value in the tested samples.")
        places, fits = list(folds), list(folds.values())
        return cls(inputs.study, task, values, inputs.groups, fits, places, inputs.config)

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


def _of_samples(fit: FoldFit, known: set[str]) -> FoldFit:
    """A fold of these samples alone."""
    train, test = ([name for name in side if name in known] for side in fit.fold[2:])
    return fit._replace(fold=fit.fold._replace(train=train, test=test))


def of_repeat(config: Config, repeat: int) -> Config:
    """The configuration of a repeat, which has a seed of its own."""
    return config.adjust({"train.seed": config.train.seed + repeat - 1})


def predict_folds(inputs: FoldInputs, jobs: int) -> list[list[FoldPredictions]]:
    """The predictions of each target of `FoldInputs.each`, by its folds."""
    by_fold = _predict_all(inputs, jobs)
    columns = [one.task.column for one in inputs.each]
    return [[fold[name] for fold in by_fold if name in fold] for name in columns]


def _predict_all(inputs: FoldInputs, jobs: int) -> list[dict[str, FoldPredictions]]:
    """The predictions of all folds, in their order, by the column of the target."""
    places = range(len(inputs.folds))
    if jobs == 1 or len(places) == 1:
        return _one_by_one(inputs)
    jobs = min(jobs, len(places))
    threads = inputs.config.train.threads or threads_of_jobs(jobs)
    labels = [label for *_, label in inputs.folds]
    logger.info("%d folds, %d at a time, on %d threads each", len(places), jobs, threads)
    calls = [(place,) for place in places]
    return run_jobs(_in_job, inputs, calls, names=labels, jobs=jobs, threads=threads)


def _one_by_one(inputs: FoldInputs) -> list[dict[str, FoldPredictions]]:
    """The predictions of all folds; after each a line says how long the others will take."""
    predicted: list[dict[str, FoldPredictions]] = []
    began = time.perf_counter()
    for place, (*_, label) in enumerate(inputs.folds):
        start = time.perf_counter()
        predicted.append(_predict(inputs, place))
        now = time.perf_counter()
        left = (now - began) / len(predicted) * (len(inputs.folds) - len(predicted))
        more = f"; about {duration(left)} left" if len(predicted) < len(inputs.folds) else ""
        logger.info("%s: fit and baselines took %s%s", label, duration(now - start), more)
    return predicted


def _in_job(inputs: FoldInputs, place: int) -> dict[str, FoldPredictions]:
    """As `_predict`, on a GPU of its own where there are several."""
    devices, train = torch.cuda.device_count(), inputs.config.train
    if devices > 1 and train.device in ("auto", "cuda"):
        train = dataclasses.replace(train, device=f"cuda:{place % devices}")
        inputs = dataclasses.replace(inputs, config=dataclasses.replace(inputs.config, train=train))
    return _predict(inputs, place)


def _predict(inputs: FoldInputs, place: int) -> dict[str, FoldPredictions]:
    """The predictions of a fold; its errors name it."""
    label = inputs.folds[place].label
    try:
        return _predict_fold(inputs, place)
    except Preempted:
        raise
    except AAMError as error:
        raise type(error)(f"{label}: {error}") from error


def _predict_fold(inputs: FoldInputs, place: int) -> dict[str, FoldPredictions]:
    """Predictions of a fold's test samples, trained on its training samples, by target."""
    fold, split, label = inputs.folds[place]
    fit, config = fitting.FITS[inputs.task.name], of_repeat(inputs.config, fold.repeat)
    # Of several targets a fit reads the columns itself, as blanks are.
    several = isinstance(inputs.values, pd.DataFrame)
    target = list(inputs.values) if several else inputs.values.loc[fold.train]
    train = inputs.study.select(fold.train)
    model = fit(train, target, split=split, label=label, config=config, **inputs.options)
    predicted = {}
    for one, part in zip(model.each, inputs.each, strict=True):
        if place in part.places:
            own = part.folds[part.places.index(place)].fold
            named = f"{label}, {part.task.column}" if several else label
            predicted[part.task.column] = _predict_methods(inputs, part, own, one, named)
    return predicted


def _predict_methods(
    inputs: FoldInputs, part: TargetInputs, fold: Fold, model: Model, label: str
) -> FoldPredictions:
    """Predictions of a target by its model and by the baselines."""
    config = of_repeat(inputs.config, fold.repeat)
    device = config.train.device  # of the fit: with several jobs that of this one
    test = inputs.study.select(fold.test)
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
            part.values,
            task=part.task.name,
            seed=config.train.seed,
            covariates=inputs.options["covariates"],
            groups=inputs.groups,
            threads=config.train.threads,
        )
    scores = part.scores({"aam": predictions["aam"]})["aam"]
    text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    logger.info("%s: %d test samples: %s", label, len(fold.test), text)
    importance = (
        _importance(inputs, part, test, model, label) if inputs.importance_repeats else None
    )
    blend = (1.0, 0.0)
    if model.forest is not None:
        blend = model.network_weight, model.forest.linear_share
    return FoldPredictions(predictions, *blend, importance)


def _importance(
    inputs: FoldInputs, part: TargetInputs, test: Study, model: Model, label: str
) -> pd.Series:
    """The importance of each ASV for the predictions of a fold's test samples."""
    logger.info("%s: importances of %s test samples", label, len(test.sample_ids))
    train = inputs.config.train
    return permutation_importance(
        model,
        test,
        part.values,
        groups=inputs.groups,
        repeats=inputs.importance_repeats,
        seed=train.seed,
        device=train.device,
        threads=train.threads or None,
    )


def _predict_target(model: Model, study: Study, device: str) -> pd.DataFrame:
    """Predictions without the columns on how familiar the samples are: all are held out."""
    return pd.concat(target_frames(model, study, override(model.config, device)))
