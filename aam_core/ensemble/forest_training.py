"""How the forest of the ensemble is trained, by scikit-learn.

Of each kind of trees (`aam_core.ensemble.forest_kinds`) small forests predict the folds that they
have not seen; by these predictions the trees of the forest are shared out among the kinds, and a
linear model (`aam_core.ensemble.linear`) has a share of what they predict. A logarithm is monotone,
so every tree is kept as one on relative abundances. The baseline that a cross-validation compares
with is another forest, scikit-learn's default: `aam_core.baseline`.
Letters: as in `aam_core.ensemble.forest`; n samples to learn from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.blending import UNKNOWN, stable_weights
from aam_core.ensemble.forest import (
    Forest,
    columns_of,
    encode_covariates,
    relative_abundances,
)
from aam_core.ensemble.forest_kinds import grow, kinds_of, log_shares, share_out
from aam_core.ensemble.linear_training import MOST_SAMPLES, TRIED, Beside, linear_share, units_of
from aam_core.tasks import Task

__all__ = [
    "CrossFitted",
    "ForestSettings",
    "Progress",
    "cross_fit_forest",
    "estimated_seconds",
    "fit_forest",
    "out_of_fold",
]

_FEWER = 8
"""Times fewer trees in the forests that predict a held-out fold: there is one a fold."""

_MIN_SAMPLES, _MOST_FEATURES = 2, 30_000
"""Features of fewer samples are not split on; of more features, only the most prevalent are."""

# Of 5,037 features of 2,000 adults the best 1,500 predict their age as well as all, and trees that
# try some of them better, in a third of the time (docs/benchmarks.md).
_LEAST_READ, _MOST_READ = 1_000, 3_000_000
"""Samples times features that a regression reads at most: of more features those that the target
depends on most, but no fewer than `_LEAST_READ`."""


class Progress(Protocol):
    """Where the progress of the training is shown."""

    def begin(self, trees: int) -> None:
        """So many trees will be trained."""

    def advance(self, trees: int) -> None:
        """So many more are trained."""

    def end(self) -> None:
        """All are trained, or the training failed."""


@dataclass(frozen=True)
class ForestSettings:
    """How a forest is trained.

    Attributes
    ----------
    task : Task
        What it predicts; of a classification, ``task.classes`` need not all occur.
    trees : int
        Number of trees, of all kinds together.
    seed : int
        The same seed gives the same forest.
    covariates : Covariates, optional
        Metadata columns that it reads beside the abundances.
    jobs : int
        Threads; -1: as many as there are cores.
    weights : ndarray, optional
        ``[samples of the study]`` what each sample counts.
    shares : dict
        Of each kind of trees its share of them; as many of every kind of the task where empty.
    """

    task: Task
    trees: int
    seed: int
    covariates: Covariates | None = None
    jobs: int = 1
    weights: np.ndarray | None = None
    shares: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        assert self.trees >= 1
        assert set(self.shares) <= set(kinds_of(self.task.name))

    @property
    def numbers(self) -> dict[str, int]:
        """Trees of each kind that there are trees of."""
        return share_out(self.trees, self.shares or dict.fromkeys(kinds_of(self.task.name), 1.0))


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A forest, and what forests like it predict of samples that they did not see.

    Attributes
    ----------
    forest : Forest
        Trained on all training samples.
    out_of_fold : ndarray
        ``[N, T]`` float64 predictions of the validation samples, in the order of the split.
    spread : ndarray
        ``[N, T]`` standard deviation over the trees of those predictions.
    trees : dict
        Numbers of trees by kind; empty where no sample was held out. The share of a linear model is
        in the forest.
    """

    forest: Forest
    out_of_fold: np.ndarray
    spread: np.ndarray
    trees: dict[str, int]


def cross_fit_forest(
    study: Study,
    split: Split,
    values: pd.Series,
    settings: ForestSettings,
    *,
    by_networks: np.ndarray | None,
    progress: Progress,
) -> CrossFitted:
    """Train the forest of an ensemble, and predict its validation samples out of fold.

    Parameters
    ----------
    split : Split
        Where no sample is on both sides, the forest itself predicts the validation samples; else
        each fold is predicted by smaller forests that were trained on all other samples.
    values : Series
        Target by sample id.
    settings : ForestSettings
        Without shares: they are chosen here.
    by_networks : ndarray or None
        ``[N, T]`` out-of-fold predictions of the networks, which the trees are to complement; None
        where there are too few samples to choose by: every kind has as many trees.
    progress : Progress
        Told before the work how many trees there will be, and after each forest.
    """
    task, positions = settings.task, {name: i for i, name in enumerate(study.sample_ids)}
    disjoint = not set(split.train) & set(split.val)
    kinds = list(settings.numbers)
    fewer, folds = _trees_by_fold(split, settings)
    progress.begin(settings.trees + fewer * folds * len(kinds))

    def rows(ids):
        return np.array([positions[name] for name in ids], np.int64)

    def truth(ids):
        return task.forest_target(values.loc[ids])

    def fit(shares):
        chosen = replace(settings, shares=shares)
        forest = fit_forest(study, rows(split.train), truth(split.train), chosen)
        progress.advance(settings.trees)
        return forest

    def predict(kind):
        smaller = replace(settings, trees=fewer, shares={kind: 1.0})
        ids, fold = split.val, dict(zip(split.val, split.folds, strict=True))
        # Validation samples first: the predictions of the split are then the first rows.
        ids = [*ids, *(name for name in split.train if name not in fold)]
        folds = np.array([fold.get(name, -1) for name in ids])
        both = out_of_fold(study, rows(ids), truth(ids), folds, smaller, progress.advance)
        return tuple(part[: len(split.val)] for part in both)

    if not split.val:
        nothing = np.zeros((0, task.outputs))
        return CrossFitted(fit({}), nothing, nothing, {})
    predictions = {kind: predict(kind) for kind in kinds}
    shares = dict.fromkeys(kinds, 1 / len(kinds))
    y = truth(split.val)
    if by_networks is not None:
        parts = [predictions[kind][0] for kind in kinds]
        shares = _shares(parts, by_networks, y, kinds, task)
    numbers = share_out(settings.trees, shares)
    shares = {kind: number / settings.trees for kind, number in numbers.items()}
    forest = fit(shares)
    if disjoint:  # the forest itself has not seen them
        mean, spread = forest.predict_spread(study, settings.covariates, rows(split.val))
    else:
        mean, spread = _mixture(predictions, shares)
    if len(split.train) <= MOST_SAMPLES:
        linear, share = _beside(study, split, values, settings), UNKNOWN
        if by_networks is not None:
            share = linear_share([by_networks, mean, linear.out_of_fold], y, task)
        if share:
            forest = forest.with_linear(linear.model, linear.sequences, share)
            mean = mean + share * (linear.out_of_fold - mean)
    return CrossFitted(forest, mean, spread, numbers)


def estimated_seconds(
    study: Study, split: Split, values: pd.Series, settings: ForestSettings
) -> float:
    """About how long `cross_fit_forest` will take.

    Timed are one tree and three of each kind, and a linear model of one penalty.
    """
    cores = settings.jobs if settings.jobs > 0 else os.cpu_count() or 1
    place = {name: i for i, name in enumerate(study.sample_ids)}
    rows = np.array([place[name] for name in split.train], np.int64)
    truth = settings.task.forest_target(values.loc[split.train])

    def timed(kind, trees):
        began = time.perf_counter()
        fit_forest(study, rows, truth, replace(settings, trees=trees, shares={kind: 1.0}))
        return time.perf_counter() - began

    trees, folds = _trees_by_fold(split, settings)
    seconds = 0.0
    for kind, number in settings.numbers.items():
        one = timed(kind, 1)
        tree = max(timed(kind, 3) - one, 0.0) / 2
        inputs = max(one - tree, 0.0)  # once for each forest, however many trees it has
        seconds += inputs * (folds + 1) + tree * (trees * folds + number) / cores
    if split.val and len(split.train) <= MOST_SAMPLES:
        began = time.perf_counter()
        _beside(study, split, values, settings, TRIED[:1])
        # Features are made once, and of classes each fit is shorter than the one before.
        seconds += (time.perf_counter() - began) * len(TRIED) / 2
    return seconds


def _beside(study, split, values, settings: ForestSettings, penalties=TRIED) -> Beside:
    """The linear model that is tried beside the trees."""
    learned = settings.task, settings.covariates, settings.weights
    return Beside.fit(study, split, values, *learned, penalties)


def _trees_by_fold(split: Split, settings: ForestSettings) -> tuple[int, int]:
    """Trees of each kind that predict a fold, and the number of folds; 0 without any."""
    if not split.val:
        return settings.trees, 0
    if not set(split.train) & set(split.val):
        return settings.trees, 1
    # Rounded up: one tree at least.
    return -(-settings.trees // _FEWER), len(set(split.folds))


def _shares(parts, by_networks, y, kinds, task) -> dict[str, float]:
    """Shares of the kinds that predict best together with the networks, or 'plain' alone."""
    plain = kinds.index("plain")
    network, *weights = stable_weights([by_networks, *parts], y, task, prior=plain + 1)
    if not sum(weights):  # the networks alone are best: of the forest, what is best alone
        weights = list(stable_weights(parts, y, task, prior=plain))
    return {kind: weight / sum(weights) for kind, weight in zip(kinds, weights, strict=True)}


def _mixture(predictions, shares) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and standard deviation over the trees, of several kinds of trees together."""
    mean = np.sum([share * predictions[kind][0] for kind, share in shares.items()], axis=0)
    second = [
        share * (predictions[kind][0] ** 2 + predictions[kind][1] ** 2)
        for kind, share in shares.items()
    ]
    # Rounding may leave a variance of equal trees just below 0.
    return mean, np.sqrt(np.maximum(np.sum(second, axis=0) - mean**2, 0.0))


def fit_forest(
    study: Study, samples: np.ndarray, y: np.ndarray, settings: ForestSettings
) -> Forest:
    """Train a forest.

    Parameters
    ----------
    study : Study
        With sequences. The order of its features does not matter.
    samples : ndarray of int
        Positions in the study of the n samples to learn from.
    y : ndarray
        [n] true values, as ``task.forest_target`` gives them.
    """
    assert len(samples) == len(y) > 0
    sequences, abundances = _training(study, samples)
    if not settings.task.classes:
        sequences, abundances = _best(sequences, abundances, y)
    extra = encode_covariates(study, settings.covariates, samples)
    units = np.array([0.0, 1.0])
    if not settings.task.classes:
        # scikit-learn does not split values that differ by less than 1e-8.
        units = np.array(units_of(y))
        # Rounded: between equal splits the last digits would decide, which depend on the units.
        y = ((y - units[0]) / units[1]).astype(np.float32).astype(np.float64)
    weights = None if settings.weights is None else settings.weights[samples]
    flat = [
        _flatten(tree.tree_, model, len(sequences), logged, len(settings.task.classes))
        for model, logged in _fit(abundances, extra, y, weights, settings)
        for tree in model.estimators_
    ]
    sizes = [len(tree["feature"]) for tree in flat]
    roots = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    arrays = {name: np.concatenate([tree[name] for tree in flat]) for name in flat[0]}
    inner = arrays["feature"] >= 0
    for name in ("left", "right"):
        arrays[name] = np.where(inner, arrays[name] + np.repeat(roots, sizes), -1).astype(np.int32)
    # Sequences that no tree reads are dropped, and the inputs numbered anew.
    used = np.bincount(arrays["feature"][inner], minlength=len(sequences) + extra.shape[1]) > 0
    # Inputs of covariates all stay: a prediction encodes the columns as a whole.
    used[len(sequences) :] = True
    arrays["feature"][inner] = (np.cumsum(used) - 1)[arrays["feature"][inner]]
    kept = [sequences[i] for i in np.flatnonzero(used[: len(sequences)])]
    return Forest(kept, extra.shape[1], arrays | {"roots": roots, "units": units})


def out_of_fold(
    study: Study,
    samples: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
    settings: ForestSettings,
    advance: Callable[[int], None] = lambda trees: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict each fold by a forest trained on all other samples.

    Parameters
    ----------
    study, samples, y, settings
        As in `fit_forest`.
    folds : ndarray of int
        [n] fold of each sample; -1 where a sample is never held out.
    advance : callable
        Called with the number of trees after each forest.

    Returns
    -------
    tuple of ndarray
        [n, T] float64 predictions, and the standard deviation over the trees; NaN where the fold
        is -1.
    """
    predictions = np.full((len(samples), settings.task.forest_outputs), np.nan)
    spread = predictions.copy()
    for fold in np.unique(folds[folds >= 0]):
        test = folds == fold
        forest = fit_forest(study, samples[~test], y[~test], settings)
        parts = forest.predict_spread(study, settings.covariates, samples[test])
        predictions[test], spread[test] = parts
        advance(settings.trees)
    return predictions, spread


def _training(study, samples) -> tuple[list[str], sparse.csr_matrix]:
    """Sequences that may be split on, sorted, and their relative abundances."""
    # Sorted: the order of the features in the table must not change the forest.
    sequences = sorted(set(study.sequences))
    columns = columns_of(study, sequences)
    blocks = np.split(samples, range(4096, len(samples), 4096))  # bounds the memory
    parts = [relative_abundances(study.counts, rows, columns, len(sequences)) for rows in blocks]
    abundances = sparse.vstack(parts, format="csr")
    prevalence = abundances.getnnz(axis=0)
    # With fewer than three such features, rare ones stay: else there is little to split on.
    least = _MIN_SAMPLES if (prevalence >= _MIN_SAMPLES).sum() >= 3 else 1
    kept = np.argsort(-prevalence, kind="stable")[:_MOST_FEATURES]
    kept = np.sort(kept[prevalence[kept] >= least])
    return [sequences[i] for i in kept], abundances[:, kept]


def _best(sequences, abundances, y) -> tuple[list[str], sparse.csr_matrix]:
    """The features that the target depends on most, by F tests on square roots of abundances."""
    from sklearn.feature_selection import f_regression

    most = max(_LEAST_READ, _MOST_READ // len(y))
    if len(sequences) <= most:
        return sequences, abundances
    with np.errstate(all="ignore"):  # a constant target has no F
        test = f_regression(np.sqrt(abundances), y)[0]
    kept = np.sort(np.argsort(-np.nan_to_num(test), kind="stable")[:most])
    return [sequences[i] for i in kept], abundances[:, kept]


def _fit(abundances, extra, y, weights, settings: ForestSettings) -> list[tuple[Any, bool]]:
    """Trees of each kind that the settings have trees of; and whether they read logarithms."""
    kinds = kinds_of(settings.task.name)
    return [
        (
            grow(kinds[name], trees, abundances, extra, (y, weights), settings.seed, settings.jobs),
            kinds[name].logged,
        )
        for name, trees in settings.numbers.items()
    ]


def _flatten(tree, model, features: int, logged: bool, classes: int) -> dict[str, np.ndarray]:
    """Arrays of one tree that send any sample where scikit-learn does.

    It compares float32 inputs with float64 thresholds; the greatest float32 that goes left is the
    same bound.
    """
    inner = tree.children_left >= 0
    threshold = np.where(inner, tree.threshold, 0.0)
    bound = threshold.astype(np.float32)
    # Rounded up, a bound would send inputs left that scikit-learn sends right.
    bound = np.where(bound > threshold, np.nextafter(bound, np.float32(-np.inf)), bound)
    if logged:
        on_share = inner & (tree.feature < features)
        bound[on_share] = _greatest_share(threshold[on_share])
    value = tree.value[:, 0]
    if classes:
        value = np.zeros((len(inner), classes))
        # Divided by their sum: scikit-learn before 1.3 has counts of samples here, not shares.
        value[:, model.classes_] = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
    return {
        "feature": np.where(inner, tree.feature, -1).astype(np.int32),
        "threshold": bound,
        "left": tree.children_left,
        "right": tree.children_right,
        "value": value.astype(np.float32),
    }


def _greatest_share(threshold: np.ndarray) -> np.ndarray:
    """float32: the greatest share whose logarithm is at most the threshold: 0's is, 1's is not.

    Found by bisection over the bit patterns, which are in the order of the numbers.
    """
    low = np.zeros(len(threshold), np.int32)
    high = np.full(len(threshold), np.float32(1.0).view(np.int32))
    # 30 halvings: the bit pattern of 1.0 is below 2**30.
    for _ in range(30):
        middle = low + (high - low) // 2
        left = log_shares(middle.view(np.float32)) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low.view(np.float32)
