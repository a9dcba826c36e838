"""A forest beside the network, and the weight of each in what they predict together."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from aam_core.data.targets import ClassTarget, NumericTarget, as_numbers
from aam_core.forest import Forest
from aam_core.growing import TRIED, fit_forest, out_of_fold
from aam_core.prediction import blend
from aam_core.runs import Run

UNKNOWN = 0.5
"""Weight of the network where the samples left out cannot tell it."""

LEAST = 30
"""Samples left out, fewer of which can tell neither the weight nor the better kind of forest."""

BETTER = 0.95
"""Splits try all inputs where that errs at most so much, times what it does where they try some."""

FEWER = 4
"""Times fewer trees that predict a left-out fold: there are as many such forests as folds."""


def add_forest(run: Run, values: pd.Series, held: np.ndarray | None) -> np.ndarray | None:
    """Fit a forest on the training samples of a run, and weigh it on those that were left out.

    Parameters
    ----------
    run : Run
        Its network is trained; its model receives the forest and the network's weight.
    values : Series
        Target by sample id.
    held : ndarray or None
        ``[n, T]``, what the network predicts of the validation samples by members that left them
        out; None where there are none.

    Returns
    -------
    ndarray or None
        The same of both together.
    """
    model, split = run.model, run.split
    # One process fits for all: scikit-learn has the threads of a machine to itself.
    model.forest, beside = run.team.exchange(_forest(run, values) if run.team.first else None)[0]
    model.network_weight = UNKNOWN
    if held is None:
        return None
    if len(held) >= LEAST:
        truth = _truth(model.target, values.loc[split.val])
        model.network_weight = network_weight(held, beside, truth, _classes(model.target))
    return blend(model.network_weight, held, beside)


def network_weight(network: np.ndarray, forest: np.ndarray, y: np.ndarray, classes: int) -> float:
    """Share of the network in the blend ``w * network + (1 - w) * forest`` that errs least.

    Parameters
    ----------
    network, forest : ndarray
        [n, T] predictions of samples that neither learned from; rows with NaN are left out.
    y : ndarray
        [n] float64 values, or int64 places among the classes.
    classes : int
        How many there are; 0: a regression.

    Returns
    -------
    float
        Of 0, 0.05, ..., 1 the one of least absolute error, or of least log loss of probabilities
        that are at least 0.001; of equals, the nearest to 0.5.
    """
    known = np.isfinite(network).all(axis=1) & np.isfinite(forest).all(axis=1)
    network, forest, y = network[known], forest[known], y[known]

    def loss(weight: float) -> float:
        return _loss(forest + weight * (network - forest), y, classes)

    return min(sorted((i / 20 for i in range(21)), key=lambda w: abs(w - 0.5)), key=loss)


def _loss(predicted: np.ndarray, y: np.ndarray, classes: int) -> float:
    if classes:
        return -np.log(predicted[np.arange(len(y)), y].clip(1e-3)).sum()
    return np.abs(predicted[:, 0] - y).sum()


def _forest(run: Run, values: pd.Series) -> tuple[Forest, np.ndarray]:
    """The forest, and ``[n, T]`` that others like it predict of validation samples left out.

    Its splits try some of the inputs (`growing.TRIED`), or all where that predicts those better.
    """
    model, split = run.model, run.split
    settings = {
        "classes": _classes(model.target),
        "trees": run.config.forest.trees,
        "seed": run.config.train.seed,
        "covariates": model.covariates,
        "jobs": run.config.train.threads or -1,
    }

    def samples(ids):
        return run.positions(ids), _truth(model.target, values.loc[ids])

    @functools.cache
    def fit(tried):
        return fit_forest(run.study, *samples(split.train), **settings, tried=tried)

    def left_out(tried):
        """Of the validation samples, in their order."""
        if not set(split.train) & set(split.val):
            return fit(tried).predict(run.study, model.covariates, run.positions(split.val))
        fold = dict(zip(split.val, split.folds, strict=True))
        ids = [*split.val, *(name for name in split.train if name not in fold)]
        folds = np.array([fold.get(name, -1) for name in ids])
        fewer = settings | {"trees": -(-settings["trees"] // FEWER)}
        beside = out_of_fold(run.study, *samples(ids), folds=folds, **fewer, tried=tried)
        return beside[: len(split.val)]

    if len(split.val) < LEAST:
        return fit("some"), left_out("some")
    beside, (_, truth) = {tried: left_out(tried) for tried in TRIED}, samples(split.val)
    some, every = (_loss(beside[tried], truth, settings["classes"]) for tried in TRIED)
    tried = "all" if every < BETTER * some else "some"
    run.say(f"forest: splits try {tried} inputs")
    return fit(tried), beside[tried]


def _classes(target: NumericTarget | ClassTarget) -> int:
    return len(target.classes) if isinstance(target, ClassTarget) else 0


def _truth(target: NumericTarget | ClassTarget, values: pd.Series) -> np.ndarray:
    """Numbers as they are, or places among the classes."""
    if isinstance(target, ClassTarget):
        return target.encode(values)
    return as_numbers(values)
