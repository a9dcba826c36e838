"""How the forest beside the network is grown, by scikit-learn.

Of classes it is a random forest by entropy with three samples in a leaf at least (Breiman L 2001,
Machine Learning 45: 5-32). Of numbers, half of the trees are extremely randomized ones on the
logarithms (Geurts P, Ernst D, Wehenkel L 2006, Machine Learning 63: 3-42); a logarithm is monotone,
so every tree is kept as one on relative abundances. Where many ASVs tell a number, splits that try
some of them do best; where few do, splits that try all find them (`TRIED`). Letters: as in
`aam_core.ensemble.forest`; n samples to learn from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.study import Study
from aam_core.ensemble.forest import Forest, columns_of, encode_covariates, shares_of

TRIED = ("some", "all")
"""Inputs that a split tries: of a regression three tenths of them, or all. Of a classification it
is always some, the root of their number: all are too many for the few subjects of a class."""

PSEUDO = 1e-4
"""Added to a relative abundance before its logarithm is taken."""

MIN_SAMPLES, MAX_FEATURES = 2, 10_000
"""Features of fewer samples are not split on; of more features, only the most prevalent are."""

MAX_TRIED = 300
"""Inputs that a split of a regression tries at most where it tries some."""

MAX_READ = 1_000_000
"""Samples times features that are read at most where splits try all: of more features, but of no
fewer than `MAX_TRIED`, those that go with the target best."""

LEAF = 3
"""Samples in a leaf of a classification at least."""

MAX_DRAWN = 5_000
"""Samples that a tree is grown from at most."""

DENSE = 100_000_000
"""Numbers up to which the inputs of a fit are a dense array, which is faster."""


def fit_forest(
    study: Study,
    samples: np.ndarray,
    y: np.ndarray,
    classes: int,
    trees: int,
    seed: int,
    covariates: Covariates | None = None,
    jobs: int = 1,
    tried: str = "some",
) -> Forest:
    """Fit a forest.

    Parameters
    ----------
    study : Study
        With sequences. The order of its features does not matter.
    samples : ndarray of int
        Positions in the study of the n samples to learn from.
    y : ndarray
        [n] float64 values, or int64 places among the classes, not all of which need to occur.
    classes : int
        How many there are; 0: a regression.
    trees : int
        How many; of both kinds together.
    seed : int
        The same seed gives the same forest.
    covariates : Covariates, optional
        Metadata columns that it reads beside the reads.
    jobs : int
        Threads; -1: as many as there are cores.
    tried : {'some', 'all'}
        Inputs that a split tries; see `TRIED`.
    """
    assert trees >= 1 and classes != 1 and len(samples) == len(y) > 0
    assert tried in TRIED and not (classes and tried == "all")
    known, shares = _training(study, samples)
    if tried == "all":
        known, shares = _best(known, shares, y)
    extra = encode_covariates(study, covariates, samples)
    units = np.array([0.0, 1.0])
    if not classes:  # scikit-learn leaves values alone that differ by less than 1e-8.
        units = np.array([y.mean(), y.std() or 1.0])
        # Rounded: between equal splits the last digits would decide, which depend on the units.
        y = ((y - units[0]) / units[1]).astype(np.float32).astype(np.float64)
    flat = [
        _flatten(tree.tree_, model, len(known), logged, classes)
        for model, logged in _grow(shares, extra, y, classes, trees, seed, jobs, tried)
        for tree in model.estimators_
    ]
    sizes = [len(tree["feature"]) for tree in flat]
    roots = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    arrays = {name: np.concatenate([tree[name] for tree in flat]) for name in flat[0]}
    inner = arrays["feature"] >= 0
    for name in ("left", "right"):
        arrays[name] = np.where(inner, arrays[name] + np.repeat(roots, sizes), -1).astype(np.int32)
    used = np.bincount(arrays["feature"][inner], minlength=len(known) + extra.shape[1]) > 0
    used[len(known) :] = True
    arrays["feature"][inner] = (np.cumsum(used) - 1)[arrays["feature"][inner]]
    sequences = [known[i] for i in np.flatnonzero(used[: len(known)])]
    return Forest(sequences, extra.shape[1], arrays | {"roots": roots, "units": units})


def out_of_fold(
    study: Study,
    samples: np.ndarray,
    y: np.ndarray,
    classes: int,
    folds: np.ndarray,
    trees: int,
    seed: int,
    covariates: Covariates | None = None,
    jobs: int = 1,
    tried: str = "some",
    fitted: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Predict each fold by a forest fitted on all other samples.

    Takes what `fit_forest` does; ``folds``: [n] int, -1 where a sample is never left out; and
    ``fitted``, which is called with the number of trees after each forest.

    Returns
    -------
    ndarray
        [n, T] float64; NaN where the fold is -1.
    """
    settings = (classes, trees, seed, covariates, jobs, tried)
    found = np.full((len(samples), classes or 1), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        out = folds == fold
        forest = fit_forest(study, samples[~out], y[~out], *settings)
        found[out] = forest.predict(study, covariates, samples[out])
        if fitted is not None:
            fitted(trees)
    return found


def _training(study, samples) -> tuple[list[str], sparse.csr_matrix]:
    """Sequences that may be split on, sorted, and their relative abundances."""
    sequences = sorted(set(study.sequences))
    columns = columns_of(study, sequences)
    blocks = np.split(samples, range(4096, len(samples), 4096))
    shares = [shares_of(study.counts, rows, columns, len(sequences)) for rows in blocks]
    shares = sparse.vstack(shares, format="csr")
    prevalence = shares.getnnz(axis=0)
    least = MIN_SAMPLES if (prevalence >= MIN_SAMPLES).sum() >= 3 else 1
    kept = np.argsort(-prevalence, kind="stable")[:MAX_FEATURES]
    kept = np.sort(kept[prevalence[kept] >= least])
    return [sequences[i] for i in kept], shares[:, kept]


def _best(known, shares, y) -> tuple[list[str], sparse.csr_matrix]:
    """The features that the target goes with best, by F tests on square roots of the shares."""
    from sklearn.feature_selection import f_regression

    most = max(MAX_TRIED, MAX_READ // len(y))
    if len(known) <= most:
        return known, shares
    with np.errstate(all="ignore"):  # of a target that is the same everywhere nothing is known
        test = f_regression(np.sqrt(shares), y)[0]
    kept = np.sort(np.argsort(-np.nan_to_num(test), kind="stable")[:most])
    return [known[i] for i in kept], shares[:, kept]


def _grow(shares, extra, y, classes: int, trees: int, seed: int, jobs: int, tried: str) -> list:
    """Fitted forests of scikit-learn; of each, whether it reads logarithms."""
    from sklearn import ensemble

    many = len(y) > MAX_DRAWN
    drawn = {"bootstrap": True, "max_samples": MAX_DRAWN if many else None}
    common = {"random_state": seed, "n_jobs": jobs}
    if classes:
        common |= {"max_features": "sqrt", "criterion": "entropy", "min_samples_leaf": LEAF}
        kinds = [(ensemble.RandomForestClassifier, trees, False, drawn)]
    else:
        width = shares.shape[1] + extra.shape[1]
        some = min(max(1, round(0.3 * width)), MAX_TRIED)
        common["max_features"] = some if tried == "some" else None
        whole = drawn if many else {"bootstrap": False}
        kinds = [
            (ensemble.RandomForestRegressor, trees - trees // 2, False, drawn),
            (ensemble.ExtraTreesRegressor, trees // 2, True, whole),
        ]
    found = []
    for kind, number, logged, options in kinds:
        if number:
            inputs = sparse.hstack([shares, sparse.csr_matrix(extra)], format="csc")
            if logged:
                on_shares = inputs.data[: inputs.indptr[shares.shape[1]]]
                on_shares[:] = _log(on_shares)
            if inputs.shape[0] * inputs.shape[1] <= DENSE:
                inputs = inputs.toarray()
            found.append((kind(number, **options, **common).fit(inputs, y), logged))
    return found


def _log(shares: np.ndarray) -> np.ndarray:
    """float32 [...]: log(share + PSEUDO) - log(PSEUDO), which leaves 0 where it is."""
    return np.log1p(shares.astype(np.float64) / PSEUDO).astype(np.float32)


def _flatten(tree, model, features: int, logged: bool, classes: int) -> dict[str, np.ndarray]:
    """Arrays of one tree that send any sample where scikit-learn does.

    It compares float32 inputs with float64 thresholds; the greatest float32 that goes left is the
    same bound.
    """
    inner = tree.children_left >= 0
    threshold = np.where(inner, tree.threshold, 0.0)
    bound = threshold.astype(np.float32)
    bound = np.where(bound > threshold, np.nextafter(bound, np.float32(-np.inf)), bound)
    if logged:
        on_share = inner & (tree.feature < features)
        bound[on_share] = _greatest_share(threshold[on_share])
    value = tree.value[:, 0]
    if classes:
        value = np.zeros((len(inner), classes))
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
    for _ in range(30):
        middle = low + (high - low) // 2
        left = _log(middle.view(np.float32)) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low.view(np.float32)
