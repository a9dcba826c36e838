"""How the forest of the ensemble is trained, by scikit-learn.

A classification has a random forest by entropy with at least three samples in a leaf (Breiman L
2001, Machine Learning 45: 5-32). Of a regression, half of the trees are extremely randomized ones
on log abundances (Geurts P, Ernst D, Wehenkel L 2006, Machine Learning 63: 3-42); a logarithm is
monotone, so every tree is kept as one on relative abundances. The baseline that a cross-validation
compares with is another forest, scikit-learn's default: `aam_core.baseline`.
Letters: as in `aam_core.ensemble.forest`; n samples to learn from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.forest import (
    Forest,
    columns_of,
    encode_covariates,
    relative_abundances,
)
from aam_core.tasks import Task

__all__ = [
    "CrossFitted",
    "ForestSettings",
    "Progress",
    "cross_fit_forest",
    "fit_forest",
    "out_of_fold",
]

# Where few ASVs tell the target 'some' errs more by 25 to 50 %, elsewhere 'all' is equal or
# worse (docs/benchmarks.md), so that a slight gain does not count.
_BETTER = 0.95
"""'all' is chosen where its out-of-fold error is below this times that of 'some'."""

_FEWER = 4
"""Times fewer trees in the forests that predict a held-out fold: there is one a fold."""

_PSEUDO = 1e-4
"""Added to a relative abundance before its logarithm is taken."""

_MIN_SAMPLES, _MOST_FEATURES = 2, 10_000
"""Features of fewer samples are not split on; of more features, only the most prevalent are."""

_MOST_TRIED = 300
"""Inputs that a split of a regression tries at most under 'some'."""

_MOST_READ = 1_000_000
"""Samples times features that are read at most under 'all': of more features those that the target
depends on most, but no fewer than `_MOST_TRIED`."""

# With entropy it improved the forest of each of five classifications (docs/benchmarks.md).
_LEAF = 3
"""Samples in a leaf of a classification at least."""

_MOST_DRAWN = 5_000
"""Samples that a tree is trained on at most."""

_DENSE = 100_000_000
"""Numbers up to which the inputs of a fit are a dense array, which is faster."""


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
        Number of trees; of a regression, of both kinds together.
    seed : int
        The same seed gives the same forest.
    covariates : Covariates, optional
        Metadata columns that it reads beside the abundances.
    jobs : int
        Threads; -1: as many as there are cores.
    max_features : {'some', 'all'}
        Inputs that a split tries: 'some' is three tenths of them in a regression, which is best
        where many ASVs tell the target, and the square root of their number in a classification;
        'all' finds the few ASVs that tell it alone.
    weights : ndarray, optional
        ``[samples of the study]`` what each sample counts.
    """

    task: Task
    trees: int
    seed: int
    covariates: Covariates | None = None
    jobs: int = 1
    max_features: str = "some"
    weights: np.ndarray | None = None

    def __post_init__(self):
        assert self.trees >= 1
        assert self.max_features in self.task.max_features


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A forest, and what forests like it predict of samples that they did not see.

    Attributes
    ----------
    forest : Forest
        Trained on all training samples.
    out_of_fold : ndarray
        ``[N, T]`` float64 predictions of the validation samples, in the order of the split.
    max_features : str
        The kind that was chosen; empty where there was no choice.
    spread : ndarray or None
        ``[N, T]`` standard deviation over the trees of those predictions.
    """

    forest: Forest
    out_of_fold: np.ndarray
    max_features: str
    spread: np.ndarray | None = None


def cross_fit_forest(
    study: Study,
    split: Split,
    values: pd.Series,
    settings: ForestSettings,
    *,
    choose: bool,
    progress: Progress,
) -> CrossFitted:
    """Train the forest of an ensemble, and predict its validation samples out of fold.

    Parameters
    ----------
    split : Split
        Where no sample is on both sides, the forest itself predicts the validation samples; else
        each fold is predicted by a smaller forest that was trained on all other samples.
    values : Series
        Target by sample id.
    settings : ForestSettings
    choose : bool
        Whether there are samples enough to choose ``max_features`` by their out-of-fold error.
    progress : Progress
        Told before the work how many trees there will be, and after each forest.
    """
    task, positions = settings.task, {name: i for i, name in enumerate(study.sample_ids)}
    kinds = task.max_features if choose else task.max_features[:1]
    disjoint = not set(split.train) & set(split.val)
    # Rounded up: one tree at least.
    fewer = -(-settings.trees // _FEWER)
    trees = settings.trees * len(kinds)
    if not disjoint:
        # Every kind predicts the folds, but only the chosen one is trained on all samples.
        trees = settings.trees + fewer * len(set(split.folds)) * len(kinds)
    progress.begin(trees)

    def rows(ids):
        return np.array([positions[name] for name in ids], np.int64)

    def truth(ids):
        return task.forest_target(values.loc[ids])

    # Cached: of a disjoint split, the forest that is kept is the one whose error was compared.
    @functools.cache
    def fit(kind):
        chosen = replace(settings, max_features=kind)
        forest = fit_forest(study, rows(split.train), truth(split.train), chosen)
        progress.advance(settings.trees)
        return forest

    def predict(kind):
        if disjoint:
            return fit(kind).predict_spread(study, settings.covariates, rows(split.val))
        fold = dict(zip(split.val, split.folds, strict=True))
        # Validation samples first: the predictions of the split are then the first rows.
        ids = [*split.val, *(name for name in split.train if name not in fold)]
        folds = np.array([fold.get(name, -1) for name in ids])
        smaller = replace(settings, trees=fewer, max_features=kind)
        both = out_of_fold(study, rows(ids), truth(ids), folds, smaller, progress.advance)
        return tuple(part[: len(split.val)] for part in both)

    predictions = {kind: predict(kind) for kind in kinds}
    if len(kinds) == 1:
        out, spread = predictions[kinds[0]]
        return CrossFitted(fit(kinds[0]), out, "", spread)
    # Only regressions have a second kind, so that there is one column of predictions.
    errors = (np.abs(predictions[kind][0][:, 0] - truth(split.val)).sum() for kind in kinds)
    some, every = errors
    chosen = "all" if every < _BETTER * some else "some"
    out, spread = predictions[chosen]
    return CrossFitted(fit(chosen), out, chosen, spread)


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
    if settings.max_features == "all":
        sequences, abundances = _best(sequences, abundances, y)
    extra = encode_covariates(study, settings.covariates, samples)
    units = np.array([0.0, 1.0])
    if (
        not settings.task.classes
    ):  # scikit-learn does not split values that differ by less than 1e-8.
        # A target of one value has deviation 0, by which nothing can be divided.
        units = np.array([y.mean(), y.std() or 1.0])
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

    most = max(_MOST_TRIED, _MOST_READ // len(y))
    if len(sequences) <= most:
        return sequences, abundances
    with np.errstate(all="ignore"):  # a constant target has no F
        test = f_regression(np.sqrt(abundances), y)[0]
    kept = np.sort(np.argsort(-np.nan_to_num(test), kind="stable")[:most])
    return [sequences[i] for i in kept], abundances[:, kept]


def _fit(abundances, extra, y, weights, settings: ForestSettings) -> list[tuple[Any, bool]]:
    """Forests of scikit-learn, fitted; and of each, whether it reads logarithms."""
    from sklearn import ensemble

    trees, many = settings.trees, len(y) > _MOST_DRAWN
    drawn: dict[str, Any] = {"bootstrap": True, "max_samples": _MOST_DRAWN if many else None}
    common: dict[str, Any] = {"random_state": settings.seed, "n_jobs": settings.jobs}
    if settings.task.classes:
        common |= {"max_features": "sqrt", "criterion": "entropy", "min_samples_leaf": _LEAF}
        kinds: list[tuple] = [(ensemble.RandomForestClassifier, trees, False, drawn)]
    else:
        width = abundances.shape[1] + extra.shape[1]
        some = min(max(1, round(0.3 * width)), _MOST_TRIED)
        common["max_features"] = some if settings.max_features == "some" else None
        # Extremely randomized trees see all samples (Geurts), but max_samples needs bootstrap.
        whole = drawn if many else {"bootstrap": False}
        kinds = [
            (ensemble.RandomForestRegressor, trees - trees // 2, False, drawn),
            (ensemble.ExtraTreesRegressor, trees // 2, True, whole),
        ]
    fitted = []
    for kind, number, logged, options in kinds:
        if number:
            # By columns: abundances are one block, before the covariates. Made anew for each
            # kind, as the logarithm is taken in place.
            inputs = sparse.hstack([abundances, sparse.csr_matrix(extra)], format="csc")
            if logged:
                values = inputs.data[: inputs.indptr[abundances.shape[1]]]
                values[:] = _log(values)
            if inputs.shape[0] * inputs.shape[1] <= _DENSE:
                inputs = inputs.toarray()
            forest = kind(number, **options, **common).fit(inputs, y, sample_weight=weights)
            fitted.append((forest, logged))
    return fitted


def _log(shares: np.ndarray) -> np.ndarray:
    """float32 [...]: log(share + _PSEUDO) - log(_PSEUDO), which leaves 0 where it is."""
    return np.log1p(shares.astype(np.float64) / _PSEUDO).astype(np.float32)


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
    """float32: the greatest share whose `_log` is at most the threshold, which 0 is and 1 is not.

    Found by bisection over the bit patterns, which are in the order of the numbers.
    """
    low = np.zeros(len(threshold), np.int32)
    high = np.full(len(threshold), np.float32(1.0).view(np.int32))
    # 30 halvings: the bit pattern of 1.0 is below 2**30.
    for _ in range(30):
        middle = low + (high - low) // 2
        left = _log(middle.view(np.float32)) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low.view(np.float32)
