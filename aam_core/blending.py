"""A forest beside the networks, and the weight of each in what they predict together."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from aam_core.ensemble.forest import Forest
from aam_core.ensemble.forest_training import TRIED, fit_forest, out_of_fold
from aam_core.model import Model
from aam_core.prediction import blend
from aam_core.runs import Run
from aam_core.scoring import left_out
from aam_core.tasks import Task

UNKNOWN = 0.5
"""Weight of the network where the samples left out cannot tell it."""

LEAST = 30
"""Samples left out, fewer of which can tell neither the weight nor the better kind of forest."""

STEPS = 20
"""Weights are parts of so many."""

BETTER = 0.95
"""Splits try all inputs where that errs at most so much, times what it does where they try some."""

FEWER = 4
"""Times fewer trees that predict a left-out fold: there are as many such forests as folds."""


def add_forest(run: Run, values: pd.Series) -> np.ndarray:
    """Fit a forest on the training samples of a run.

    Parameters
    ----------
    run : Run
        Its networks are trained; its model receives the forest.
    values : Series
        Target by sample id.

    Returns
    -------
    ndarray
        ``[n, T]``, what forests like it predict of the validation samples that they left out.
    """
    # One process fits for all: scikit-learn has the threads of a machine to itself.
    try:
        forest, beside = run.process_group.all_gather(
            _forest(run, values) if run.process_group.is_first else None
        )[0]
    finally:
        run.reporter.end()
    run.model.forest, run.model.network_weight = forest, UNKNOWN
    return beside


def weigh(
    run: Run, values: pd.Series, held: np.ndarray, beside: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose what the networks with codes, those without and the forest count.

    Parameters
    ----------
    run : Run
        Its model receives the weights.
    values : Series
        Target by sample id.
    held, beside : ndarray
        ``[n, T]``, what the networks and the forest, if there is one, predict of the validation
        samples that they left out.

    Returns
    -------
    tuple of ndarray
        The same, of the networks as they are weighed now, and of all together.
    """
    model, split, forest = run.model, run.split, [] if beside is None else [beside]
    truth, classes = _truth(model.target, values.loc[split.val]), _classes(model.target)
    masks, coded = split.held_out(split.val, len(model.network.members)), model.network.coded
    if (masks[coded].any(axis=0) & masks[~coded].any(axis=0)).sum() >= LEAST:
        kinds = [left_out(model, run.study, split, among=kind) for kind in (~coded, coded)]
        plain, codes, *_ = run.process_group.broadcast(
            best_weights([*kinds, *forest], truth, classes)
        )
        if plain + codes:
            model.network.weigh_codes(codes / (plain + codes))
            held = left_out(model, run.study, split)
    if beside is None:
        return held, held
    if len(held) >= LEAST:
        weight, _ = run.process_group.broadcast(best_weights([held, beside], truth, classes))
        model.network_weight = weight
    return held, blend(model.network_weight, held, beside)


def weights(model: Model) -> dict[str, float]:
    """What counts how much in a prediction, by name; nothing where there is nothing to weigh.

    Returns
    -------
    dict
        ``network`` and ``forest``, together 1; and ``members_with_codes``, the share among the
        networks of those that read random Fourier features of whole sequences, where some do.
    """
    network, found = model.network, {}
    if model.forest is not None:
        found = {"network": model.network_weight, "forest": 1 - model.network_weight}
    if network.member_weight is not None:
        coded = network.member_weight[torch.from_numpy(network.coded)].sum()
        found["members_with_codes"] = round(float(coded / network.member_weight.sum()), 4)
    return found


def in_words(model: Model, samples: int) -> list[str]:
    """Sentences on the `weights`, to follow the metrics of so many held-out samples."""
    count, found = weights(model), []
    if "network" in count:
        network, forest = count["network"], count["forest"]
        if samples < LEAST:
            told = f"{samples} held-out samples are too few to tell more"
            found.append(f"the networks and the forest count half each: {told}")
        elif 0 < network < 1:
            found.append(f"the networks count {network:.2f}, the forest {forest:.2f}")
        else:
            one, other = "the forest alone predicts", "the networks"
            if network:
                one, other = "the networks alone predict", "the forest"
            found.append(f"{one}: {other} did not help on held-out samples (weight 0)")
    if "members_with_codes" in count and count.get("network", 1.0):
        share = count["members_with_codes"]
        kind = "networks with random Fourier features"
        found.append(f"{kind} count {share:.2f}, others {1 - share:.2f}")
    return found


def best_weights(parts: Sequence[np.ndarray], y: np.ndarray, classes: int) -> tuple[float, ...]:
    """Shares of predictions in the mean of them that errs least.

    Parameters
    ----------
    parts : sequence of ndarray
        [n, T] predictions of samples that none of them learned from; rows with NaN are left out.
    y : ndarray
        [n] float64 values, or int64 places among the classes.
    classes : int
        How many there are; 0: a regression.

    Returns
    -------
    tuple of float
        Of each part 0, 0.05, ..., 1, all together 1: those of least absolute error, or of least
        log loss of probabilities that are at least 0.001; of equals, the most even ones.
    """
    known = np.all([np.isfinite(part).all(axis=1) for part in parts], axis=0)
    y = y[known]
    *others, last = (_told(part[known], y, classes) for part in parts)

    def loss(shares) -> float:  # so that of equal parts every mean is the same to the last digit
        apart = zip(shares[:-1], others, strict=True)
        return _loss(last + sum(share * (part - last) for share, part in apart), y, classes)

    grid = itertools.product(range(STEPS + 1), repeat=len(others))
    grid = [(*few, STEPS - sum(few)) for few in grid if sum(few) <= STEPS]
    grid.sort(key=lambda shares: sum(share**2 for share in shares))
    return min((tuple(share / STEPS for share in shares) for shares in grid), key=loss)


def _told(predicted: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """Of ``[n, T]`` what an error depends on, ``[n]``: values, or probabilities of the truth."""
    return predicted[np.arange(len(y)), y] if classes else predicted[:, 0]


def _loss(told: np.ndarray, y: np.ndarray, classes: int) -> float:
    return -np.log(told.clip(1e-3)).sum() if classes else np.abs(told - y).sum()


def _forest(run: Run, values: pd.Series) -> tuple[Forest, np.ndarray]:
    """The forest, and ``[n, T]`` that others like it predict of validation samples left out.

    Its splits try some of the inputs (`growing.TRIED`), or all where that predicts those clearly
    better.
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

    apart = not set(split.train) & set(split.val)
    kinds = TRIED if not settings["classes"] and len(split.val) >= LEAST else TRIED[:1]
    fewer = -(-settings["trees"] // FEWER)
    # Fitted apart, the forest itself predicts the held-out samples: of each kind, then.
    trees = settings["trees"] * len(kinds)
    if not apart:
        trees = settings["trees"] + fewer * len(set(split.folds)) * len(kinds)
    run.reporter.begin(trees, stage="fitting forests", unit="trees")

    def fitted(number):
        run.reporter.advance(steps=number)

    @functools.cache
    def fit(tried):
        made = fit_forest(run.study, *samples(split.train), **settings, tried=tried)
        fitted(settings["trees"])
        return made

    def unseen(tried):
        """Of the validation samples, in their order."""
        if apart:
            return fit(tried).predict(run.study, model.covariates, run.positions(split.val))
        fold = dict(zip(split.val, split.folds, strict=True))
        ids = [*split.val, *(name for name in split.train if name not in fold)]
        folds = np.array([fold.get(name, -1) for name in ids])
        options = settings | {"trees": fewer, "tried": tried, "fitted": fitted}
        beside = out_of_fold(run.study, *samples(ids), folds=folds, **options)
        return beside[: len(split.val)]

    beside = {tried: unseen(tried) for tried in kinds}
    if len(kinds) == 1:
        return fit("some"), beside["some"]
    _, truth = samples(split.val)
    some, every = (np.abs(beside[tried][:, 0] - truth).sum() for tried in kinds)
    tried = "all" if every < BETTER * some else "some"
    forest = fit(tried)
    run.reporter.end()
    run.say(f"forest: splits try {tried} inputs")
    return forest, beside[tried]


def _classes(target: Task) -> int:
    return len(target.classes)


def _truth(target: Task, values: pd.Series) -> np.ndarray:
    """Numbers as they are, or places among the classes."""
    return target.forest_target(values)
