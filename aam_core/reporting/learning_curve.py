"""How much more data would help: refits on nested parts of the training samples.

Two ways to have fewer: fewer groups (subjects), each with all of its samples; or all groups with
fewer samples each. Every fold is tested on the same samples at all sizes, which no fit has seen.
Letters: N tested samples, S sizes, D bootstrap draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aam_core import preparation
from aam_core.data.columns import missing_ids
from aam_core.data.covariates import infer_types
from aam_core.data.folds import Division, Fold
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.fold_fits import FoldFit, FoldInputs, predict_folds
from aam_core.log import duration, logger
from aam_core.model import Model
from aam_core.statistics import CONFIDENCE, draw, predictions_of
from aam_core.tasks import task_named

__all__ = [
    "GROUPS",
    "WITHIN",
    "CurvePlan",
    "LearningCurve",
    "PowerLaw",
    "fit_power_law",
    "learning_curve",
    "plan_curve",
    "run_curve",
]

FRACTIONS = (0.2, 0.35, 0.6, 1.0)
"""Parts of the training samples."""

_LEAST_GROUPS = 4
"""Groups, or samples without groups, of the smallest part: its own validation split needs some."""

_DRAWS = 400

_LEAST_POINTS = 4
"""Sizes below which no power law is fitted: it has three parameters."""

_EXPONENTS = np.geomspace(0.05, 2.0, 40)

_FALLS = 0.9
"""Share of the draws in which the error must be smaller with all samples than with the fewest."""

_MISFIT = 0.25
"""Largest root mean square residual of a power law, as a share of the range of the errors."""

GROUPS, WITHIN = "groups", "samples of all groups"
"""What is taken away: designs of the curve."""

_FOREST = "random_forest"

_LOSS = {"regression": "mean absolute error", "classification": "Brier score"}


@dataclass(frozen=True)
class PowerLaw:
    """An error as ``a * n ** -b + c`` of n training samples.

    Attributes
    ----------
    a, b, c : float
        None is negative.
    misfit : float
        Root mean square residual.
    """

    a: float
    b: float
    c: float
    misfit: float

    def at(self, n):
        """The error with n samples."""
        return self.a * np.asarray(n, np.float64) ** -self.b + self.c


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What `learning_curve` returns.

    Attributes
    ----------
    points : DataFrame
        Index ``design`` (what is taken away); ``method``, ``fraction``, ``groups`` and ``samples``
        (training ones, means over folds), ``value``, ``low``, ``high``.
    extrapolated : DataFrame
        Index ``design``; ``samples``, ``value``, ``low``, ``high``, and the power law's ``a``,
        ``b``, ``c``: empty where none fits.
    notes : list of str
    loss : str
        What ``value`` is.
    """

    points: pd.DataFrame
    extrapolated: pd.DataFrame
    notes: list[str]
    loss: str


def learning_curve(
    model: Model,
    study: Study,
    group_by: str | None = None,
    *,
    members: int = 2,
    folds: int = 3,
    jobs: int = 1,
    device: str | None = None,
) -> LearningCurve:
    """Refit a model's settings, and a random forest, on parts of its training samples.

    Parameters
    ----------
    model : Model
        Whose settings, target and samples are taken; its networks are not.
    study : Study
        With its samples and their metadata.
    group_by : str, optional
        Metadata column; where it is given, both samples and groups are made fewer.
    members : int
        Networks of each refit, at most as many as the model has: fewer take less time, and have a
        somewhat greater error.
    folds : int
        Test folds.
    jobs : int
        Fits at a time.
    device : str, optional

    Returns
    -------
    LearningCurve

    Raises
    ------
    InputError
        If the model started from another one, or has several targets; the study lacks its samples
        or metadata; or there are too few groups.
    """
    return run_curve(plan_curve(model, study, group_by, members, folds, device), jobs)


class CurvePlan(NamedTuple):
    """All fits of a learning curve, which can be made, and the (design, fraction) of each."""

    model: Model
    inputs: FoldInputs
    keys: list[tuple[str, float]]


def run_curve(curve: CurvePlan, jobs: int = 1) -> LearningCurve:
    """The fits, and what they tell."""
    model, inputs, plan = curve
    logger.info(_beforehand(model, inputs, len(plan)))
    (predicted,) = predict_folds(inputs, jobs)  # of one target
    methods = ["aam", _FOREST]
    losses = _losses(inputs, plan, [it.frames for it in predicted], methods)
    groups = losses.index if inputs.groups is None else inputs.groups.loc[losses.index]
    drawn = draw(
        lambda rows: losses.to_numpy()[rows].mean(axis=0), np.asarray(groups, str), draws=_DRAWS
    )
    points = _points(inputs, plan, losses, drawn)
    extrapolated, notes = _extrapolate(points, losses, drawn)
    return LearningCurve(points, extrapolated, notes, _LOSS[inputs.task.name])


def fit_power_law(n: np.ndarray, values: np.ndarray) -> PowerLaw:
    """The power law of the least squared error; a and c are found for each of a grid of b.

    >>> n = np.array([50, 100, 200, 400])
    >>> round(fit_power_law(n, 30 * n**-0.5 + 1).b, 1)
    0.5
    """
    from scipy.optimize import nnls

    best = PowerLaw(0.0, 0.0, float(np.mean(values)), float("inf"))
    for b in _EXPONENTS:
        powers = np.asarray(n, np.float64) ** -b
        scale = powers.max()  # else a and c differ by many orders of magnitude
        (a, c), residual = nnls(np.column_stack([powers / scale, np.ones(len(powers))]), values)
        misfit = float(residual / np.sqrt(len(powers)))
        if misfit < best.misfit:
            best = PowerLaw(float(a / scale), float(b), float(c), misfit)
    return best


# --- what is refitted -----------------------------------------------------------------------------


def plan_curve(
    model: Model,
    study: Study,
    group_by: str | None,
    members: int = 2,
    folds: int = 3,
    device: str | None = None,
) -> CurvePlan:
    """All fits; parameters and errors as `learning_curve`, which makes them."""
    if model.target is None or model.more:
        raise InputError("A learning curve is of a model of one target.")
    if model.run.get("encoder") is not None:
        raise InputError(
            "This model started from another one, which a learning curve does not: it refits from "
            "scratch. Fit the same settings without --encoder or --init-from to see its curve."
        )
    if group_by is None and (model.metrics or {}).get("held_out", {}).get("groups"):
        raise InputError(
            "The model's samples were held out by groups, and their column is not known: without "
            "it a refit would be tested on groups that it was trained on. Name it (--group-by)."
        )
    if study.metadata is None:
        raise InputError("A learning curve needs the metadata of the training samples.")
    used = set(model.train_samples) | set(model.val_samples)
    column = model.task.column
    values = preparation.values_by_sample(study, column)
    blank = set(missing_ids(values))
    kept = [name for name in study.sample_ids if name in used and name not in blank]
    if len(kept) < len(used):
        raise InputError(
            f"{len(used) - len(kept):,} of the model's {len(used):,} samples are not in the table, "
            "or have no value: a learning curve is of all of them."
        )
    study = study.select(kept)
    covariates = [] if model.covariates is None else list(model.covariates.fused)
    study = dataclasses.replace(study, metadata=infer_types(study.metadata, covariates)[0])
    values = values.loc[kept]
    groups = preparation.values_by_sample(study, group_by, "group_by")
    changes: dict[str, Any] = {"model.members": min(members, model.config.model.members)}
    if device is not None:
        changes["train.device"] = device
    config = model.config.replace(changes).reported()
    kind = task_named(model.task.name)
    task = kind.fit(values)
    seed = config.train.seed
    classes = kind.strata(values)
    made = Division(folds=folds).make(
        kept, study.metadata, seed, groups, classes, classes=classes is not None
    )
    fits, plan = [], []
    parts = [list(_parts(fold, groups, classes, seed)) for fold in made]
    # Of parts that every fold has: each tested sample has an error at each size.
    common = set.intersection(*({it[:2] for it in each} for each in parts))
    for fold, each in zip(made, parts, strict=True):
        for design, fraction, train in (it for it in each if it[:2] in common):
            what = f"learning curve: {fraction:.0%} of {design}, fold {fold.number}/{len(made)}"
            strata = preparation.strata_of(kind, values.loc[train], config, groups)
            inner = preparation.splitter(config)(train, groups=groups, strata=strata)
            part = Fold(1, fold.number, train, fold.test)
            fits.append(FoldFit(part, inner, what))
            plan.append((design, fraction))
    options: dict[str, Any] = {
        "encoder": None,
        "init_from": None,
        "freeze_encoder": False,
        "covariates": covariates,
    }
    inputs = FoldInputs(study, values, task, groups, fits, config, options, (_FOREST,))
    return CurvePlan(model, inputs, plan)


def _parts(fold: Fold, groups: pd.Series | None, classes: pd.Series | None, seed: int):
    """(design, fraction, training samples) of a fold: each part holds those before it."""
    rng = np.random.default_rng((seed, fold.number))
    names = np.array(fold.train, object)
    codes = np.arange(len(names)) if groups is None else pd.factorize(groups.loc[fold.train])[0]
    strata = None if classes is None else classes.loc[fold.train]
    order = _order(codes, strata, rng)  # place of each group in the order that they are taken
    count = int(codes.max()) + 1
    within = pd.Series(rng.random(len(names))).groupby(codes).rank(pct=True).to_numpy()
    seen = set()
    for fraction in FRACTIONS:
        size = min(count, max(_LEAST_GROUPS, round(fraction * count)))
        if size not in seen:
            seen.add(size)
            share = 1.0 if size == count else fraction
            yield GROUPS, share, names[order[codes] < size].tolist()
    if groups is None:
        return
    least, last = within == pd.Series(within).groupby(codes).transform("min").to_numpy(), 0
    for fraction in FRACTIONS[:-1]:
        # At least one sample of each group: no group is lost.
        kept = (within <= fraction) | least
        size = int(kept.sum())
        if max(last + 1, 2 * _LEAST_GROUPS) <= size < len(names):
            last = size
            yield WITHIN, fraction, names[kept].tolist()


def _order(codes: np.ndarray, classes: pd.Series | None, rng: np.random.Generator) -> np.ndarray:
    """A place for each group, at random; of classes each comes as often in every part."""
    count = int(codes.max()) + 1
    key = rng.permutation(count).astype(float)
    if classes is not None:
        common = pd.Series(classes.to_numpy()).groupby(codes).agg(lambda part: part.mode().iloc[0])
        # Within a class groups are spread evenly over (0, 1).
        key = pd.Series(key).groupby(common.to_numpy()).rank(pct=True).to_numpy()
        key = key + rng.uniform(0, 1e-6, count)
    return np.argsort(np.argsort(key))


def _beforehand(model: Model, inputs: FoldInputs, fits: int) -> str:
    """How many fits there are, and about how long they take."""
    members, whole = inputs.config.model.members, model.config.model.members
    text = f"learning curve: {fits} fits of {members} of {whole} networks, a forest each"
    seconds = model.run.get("seconds")
    if not isinstance(seconds, dict):
        return f"{text}; after the first a line says how long the others will take"
    # A fit has a least number of steps: of fewer samples it hardly takes less time.
    networks = float(seconds.get("networks", 0.0)) * members / whole
    rest = sum(float(value) for name, value in seconds.items() if name != "networks")
    return f"{text}: up to {duration(fits * (networks + rest))}"


# --- errors by size -------------------------------------------------------------------------------


def _losses(
    inputs: FoldInputs,
    plan: Sequence[tuple[str, float]],
    frames: Sequence[dict[str, pd.DataFrame]],
    methods: Sequence[str],
) -> pd.DataFrame:
    """[N tested samples, points] losses; columns (design, fraction, method)."""
    task = inputs.task
    parts: dict[tuple[str, float, str], list[pd.Series]] = {}
    for (design, fraction), each in zip(plan, frames, strict=True):
        for method in methods:
            table = each[method].copy()
            for name in task.classes:
                if name not in table:
                    table[name] = 0.0  # a class that this part of the samples lacks
            table["actual"] = task.read(inputs.values.loc[table.index])
            run = predictions_of(table, "aam", task.name, task.classes)
            losses = pd.Series(run.losses, index=table.index)
            parts.setdefault((design, fraction, method), []).append(losses)
    losses = pd.DataFrame({key: pd.concat(value) for key, value in parts.items()})
    assert not losses.isna().any(axis=None), "a sample was not tested at all sizes"
    return losses


def _points(
    inputs: FoldInputs, plan: Sequence[tuple[str, float]], losses: pd.DataFrame, drawn: np.ndarray
) -> pd.DataFrame:
    tail = (1 - CONFIDENCE) / 2
    rows = []
    for place, (design, fraction, method) in enumerate(losses.columns):
        both = zip(inputs.folds, plan, strict=True)
        folds = [it.fold for it, key in both if key == (design, fraction)]
        samples = float(np.mean([len(fold.train) for fold in folds]))
        groups = samples
        if inputs.groups is not None:
            groups = float(np.mean([inputs.groups.loc[fold.train].nunique() for fold in folds]))
        low, high = np.quantile(drawn[:, place], (tail, 1 - tail))
        value = float(losses.iloc[:, place].mean())
        rows.append((design, method, fraction, groups, samples, value, float(low), float(high)))
    names = ["design", "method", "fraction", "groups", "samples", "value", "low", "high"]
    frame = pd.DataFrame(rows, columns=names)
    whole = frame[(frame["design"] == GROUPS) & (frame["fraction"] == 1.0)]
    if (frame["design"] == WITHIN).any():
        # All samples of all groups end both curves.
        frame = pd.concat([frame, whole.assign(design=WITHIN)])
    order = ["design", "method", "samples"]
    return frame.sort_values(order, kind="stable", ignore_index=True).set_index("design")


def _extrapolate(
    points: pd.DataFrame, losses: pd.DataFrame, drawn: np.ndarray
) -> tuple[pd.DataFrame, list[str]]:
    """The power law of each design, up to twice the samples; and sentences."""
    columns = list(losses.columns)
    tail = (1 - CONFIDENCE) / 2
    rows, notes = [], []
    for design in dict.fromkeys(points.index):
        own = points.loc[[design]]
        own = own[own["method"] == "aam"].sort_values("samples")
        # The last point of both designs is the same one.
        keys = [(GROUPS if f == 1.0 else design, f, "aam") for f in own["fraction"]]
        sample = drawn[:, [columns.index(key) for key in keys]]
        n, values = own["samples"].to_numpy(), own["value"].to_numpy()
        reason = _no_law(n, values, sample)
        if reason:
            notes.append(f"Fewer {design}: no power law is fitted, as {reason}.")
            continue
        law = fit_power_law(n, values)
        if law.misfit > _MISFIT * np.ptp(values):
            notes.append(f"Fewer {design}: no power law is fitted, as none follows the errors.")
            continue
        targets = n[-1] * np.geomspace(1, 2, 5)
        laws = [fit_power_law(n, one) for one in sample]
        spread = np.quantile([it.at(targets) for it in laws], (tail, 1 - tail), axis=0)
        for size, value, low, high in zip(targets, law.at(targets), *spread, strict=True):
            rows.append((design, size, float(value), low, high, law.a, law.b, law.c))
        change = float(law.at(targets[-1]) - law.at(n[-1]))
        # Of each draw the change: both ends of it move together.
        changes = [float(it.at(targets[-1]) - it.at(n[-1])) for it in laws]
        low, high = np.quantile(changes, (tail, 1 - tail))
        notes.append(
            f"Twice as many {design}: the error would change by {change:.3g} ({low:.3g} to "
            f"{high:.3g}), if it goes on as {law.a:.3g} n^-{law.b:.2f} + {law.c:.3g}."
        )
    names = ["design", "samples", "value", "low", "high", "a", "b", "c"]
    return pd.DataFrame(rows, columns=names).set_index("design"), notes


def _no_law(n: np.ndarray, values: np.ndarray, sample: np.ndarray) -> str:
    """Why no power law is fitted; empty where one may be."""
    if len(n) < _LEAST_POINTS:
        return f"there are {len(n)} sizes, and it needs {_LEAST_POINTS}"
    falls = float((sample[:, -1] < sample[:, 0]).mean())
    if falls < _FALLS:
        return (
            "the error with all samples is smaller than with the fewest in only "
            f"{falls:.0%} of the bootstrap draws"
        )
    return ""
