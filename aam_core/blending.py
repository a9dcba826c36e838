"""A forest beside the network, and the weight of each in what they predict together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core.data.targets import ClassTarget, NumericTarget, as_numbers
from aam_core.forest import Forest, fit_forest, network_weight, out_of_fold
from aam_core.prediction import blend
from aam_core.runs import Run

UNKNOWN = 0.5
"""Weight of the network where the samples left out cannot tell it."""

LEAST = 30
"""Samples left out, fewer of which cannot tell the weight."""

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
    model.forest, beside = run.team.exchange(_forests(run, values) if run.team.first else None)[0]
    model.network_weight = UNKNOWN
    if held is None:
        return None
    if len(held) >= LEAST:
        truth = _truth(model.target, values.loc[split.val])
        model.network_weight = network_weight(held, beside, truth, _classes(model.target))
    return blend(model.network_weight, held, beside)


def _forests(run: Run, values: pd.Series) -> tuple[Forest, np.ndarray]:
    """The forest, and ``[n, T]`` that others like it predict of validation samples left out."""
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

    forest = fit_forest(run.study, *samples(split.train), **settings)
    if not set(split.train) & set(split.val):  # it has not seen them itself
        return forest, forest.predict(run.study, model.covariates, run.positions(split.val))
    fold = dict(zip(split.val, split.folds, strict=True))
    ids = [*split.val, *(name for name in split.train if name not in fold)]
    folds = np.array([fold.get(name, -1) for name in ids])
    settings["trees"] = -(-settings["trees"] // FEWER)
    beside = out_of_fold(run.study, *samples(ids), folds=folds, **settings)
    return forest, beside[: len(split.val)]


def _classes(target: NumericTarget | ClassTarget) -> int:
    return len(target.classes) if isinstance(target, ClassTarget) else 0


def _truth(target: NumericTarget | ClassTarget, values: pd.Series) -> np.ndarray:
    """Numbers as they are, or places among the classes."""
    if isinstance(target, ClassTarget):
        return target.encode(values)
    return as_numbers(values)
