"""The forest beside the network: fitted by scikit-learn, kept as arrays, predicted by numpy alone.

It is a random forest on relative abundances (Breiman L 2001, Machine Learning 45: 5-32): of
classes by entropy, three samples in a leaf at least. Of numbers, half of the trees are extremely
randomized ones on the logarithms (Geurts P, Ernst D, Wehenkel L 2006, Machine Learning 63: 3-42).
A logarithm is monotone, so every tree is kept as one on relative abundances. Letters: N samples; M
DNA sequences, V covariates' inputs; T outputs: 1 of a regression, the classes of a classification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.inputs import Study
from aam_core.data.tokens import is_dna
from aam_core.errors import InputError

PSEUDO = 1e-4
"""Added to a relative abundance before its logarithm is taken."""

MIN_SAMPLES, MAX_FEATURES = 2, 10_000
"""Features of fewer samples are not split on; of more features, only the most prevalent are."""

MAX_TRIED = 300
"""Inputs that a split of a regression tries at most, of three tenths of all."""

LEAF = 3
"""Samples in a leaf of a classification at least."""

MAX_DRAWN = 5_000
"""Samples that a tree is grown from at most."""

DENSE = 100_000_000
"""Numbers up to which the inputs of a fit are a dense array, which is faster."""

CHUNK_BYTES = 100_000_000
"""Memory that predicting takes at a time, about."""

ARRAYS = {
    "roots": (np.int64, 1),
    "feature": (np.int32, 1),
    "threshold": (np.float32, 1),
    "left": (np.int32, 1),
    "right": (np.int32, 1),
    "value": (np.float32, 2),
    "units": (np.float64, 1),
}
"""Type and number of dimensions of each array."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees, flat.

    Attributes
    ----------
    sequences : list of str
        The M upper-case DNA sequences that some tree reads: inputs 0 to M - 1.
    covariates : int
        V, the inputs after those; see `covariate_inputs`.
    arrays : dict of ndarray
        ``roots`` [trees]; of each node ``feature`` (the input compared; -1 at a leaf),
        ``threshold`` (go left where the input is at most this), ``left`` and ``right`` (nodes; -1
        at a leaf) and ``value`` [nodes, T]; ``units`` [2]: mean and standard deviation that a
        regression's values were scaled by, else 0 and 1. Types: see `ARRAYS`.
    """

    sequences: list[str]
    covariates: int
    arrays: dict[str, np.ndarray]

    @property
    def outputs(self) -> int:
        """T."""
        return self.arrays["value"].shape[1]

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The arrays, as `from_parts` takes them."""
        return dict(self.arrays)

    @classmethod
    def from_parts(cls, sequences, covariates, arrays: dict[str, np.ndarray]) -> Forest:
        """The inverse of `to_tensors`, for parts that come from a file nobody vouches for.

        Raises
        ------
        InputError
            If they are no forest: predicting would fail, not end, or give what no fit can.
        """
        for problem in _problems(sequences, covariates, arrays):
            raise InputError(f"The forest of this model is damaged: {problem}.")
        return cls(sequences, covariates, dict(arrays))

    def predict(
        self,
        study: Study,
        covariates: Covariates | None = None,
        samples: slice | np.ndarray | None = None,
    ) -> np.ndarray:
        """Predictions of each sample: the mean over the trees.

        Parameters
        ----------
        study : Study
            Its features are matched by sequence; those that no tree reads count only to the reads
            of their samples.
        covariates : Covariates, optional
            As in the fit; the study's metadata has their columns.
        samples : slice or ndarray of int, optional
            Positions of the samples; all where not given.

        Returns
        -------
        ndarray
            [N, T] float64: values in the target's units, or probabilities.
        """
        assert covariate_inputs(covariates) == self.covariates, (covariates, self.covariates)
        rows = np.arange(len(study.sample_ids))
        rows = rows if samples is None else rows[samples]
        columns, width = _columns(study, self.sequences), len(self.sequences)
        each = 8 * (width + self.covariates) + 64 * len(self.arrays["roots"]) + 16 * self.outputs
        size = max(1, CHUNK_BYTES // each)
        found = np.zeros((len(rows), self.outputs))
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            shares = _shares(study.counts, chunk, columns, width).toarray()
            inputs = np.hstack([shares, _encode(study, covariates, chunk)])
            found[start : start + size] = self._mean(inputs)
        if self.outputs > 1:  # leaves are rounded
            return found / found.sum(axis=1, keepdims=True)
        mean, deviation = self.arrays["units"]
        return mean + deviation * found

    def _mean(self, inputs: np.ndarray) -> np.ndarray:
        """[N, M + V] float32 -> [N, T] float64: all samples go down all trees, level by level."""
        names = ("roots", "feature", "threshold", "left", "right", "value")
        roots, feature, threshold, left, right, value = (self.arrays[name] for name in names)
        node = np.tile(roots.astype(np.int32), len(inputs))
        going = np.arange(len(node))
        while len(going):
            at = node[going]
            inner = feature[at] >= 0
            going, at = going[inner], at[inner]
            low = inputs[going // len(roots), feature[at]] <= threshold[at]
            node[going] = np.where(low, left[at], right[at])
        found = np.zeros((len(inputs), self.outputs))
        for leaves in node.reshape(-1, len(roots)).T:
            found += value[leaves]
        return found / len(roots)


def fit_forest(
    study: Study,
    samples: np.ndarray,
    y: np.ndarray,
    classes: int,
    trees: int,
    seed: int,
    covariates: Covariates | None = None,
    jobs: int = 1,
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
    """
    assert trees >= 1 and classes != 1 and len(samples) == len(y) > 0
    known, shares = _training(study, samples)
    extra = _encode(study, covariates, samples)
    units = np.array([0.0, 1.0])
    if not classes:  # scikit-learn leaves values alone that differ by less than 1e-8.
        units = np.array([y.mean(), y.std() or 1.0])
        # Rounded: between equal splits the last digits would decide, which depend on the units.
        y = ((y - units[0]) / units[1]).astype(np.float32).astype(np.float64)
    flat = [
        _flatten(tree.tree_, model, len(known), logged, classes)
        for model, logged in _grow(shares, extra, y, classes, trees, seed, jobs)
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
) -> np.ndarray:
    """Predict each fold by a forest fitted on all other samples.

    Takes what `fit_forest` does, and ``folds``: [n] int, -1 where a sample is never left out.

    Returns
    -------
    ndarray
        [n, T] float64; NaN where the fold is -1.
    """
    found = np.full((len(samples), classes or 1), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        out = folds == fold
        forest = fit_forest(study, samples[~out], y[~out], classes, trees, seed, covariates, jobs)
        found[out] = forest.predict(study, covariates, samples[out])
    return found


def network_weight(network: np.ndarray, forest: np.ndarray, y: np.ndarray, classes: int) -> float:
    """Share of the network in the blend ``w * network + (1 - w) * forest`` that errs least.

    Parameters
    ----------
    network, forest : ndarray
        [n, T] predictions of samples that neither learned from; rows with NaN are left out.
    y, classes
        As in `fit_forest`.

    Returns
    -------
    float
        Of 0, 0.05, ..., 1 the one of least absolute error, or of least log loss of probabilities
        that are at least 0.001; of equals, the nearest to 0.5.
    """
    known = np.isfinite(network).all(axis=1) & np.isfinite(forest).all(axis=1)
    network, forest, y = network[known], forest[known], y[known]

    def loss(weight: float) -> float:
        blend = forest + weight * (network - forest)
        if classes:
            return -np.log(blend[np.arange(len(y)), y].clip(1e-3)).sum()
        return np.abs(blend[:, 0] - y).sum()

    return min(sorted((i / 20 for i in range(21)), key=lambda w: abs(w - 0.5)), key=loss)


def covariate_inputs(covariates: Covariates | None) -> int:
    """V: one input per level of each column, the unknown one included, and two per number."""
    return 0 if covariates is None else sum(covariates.sizes) + 2 * len(covariates.numeric)


def _encode(study, covariates, rows) -> np.ndarray:
    """[N, V] float32."""
    if covariates is None:
        return np.zeros((len(rows), 0), np.float32)
    return covariates.matrix(study.metadata.iloc[rows])


def _columns(study, sequences) -> np.ndarray:
    """[F] int64: the input that each feature of the study adds to, or -1."""
    place = {dna: i for i, dna in enumerate(sequences)}
    return np.array([place.get(dna, -1) for dna in study.sequences], dtype=np.int64)


def _shares(counts, rows, columns, width) -> sparse.csr_matrix:
    """[N, width] float32: relative abundances; the reads of all features are the whole."""
    part = counts[rows]
    reads = np.asarray(part.sum(axis=1)).ravel()
    row, column = np.repeat(np.arange(len(rows)), np.diff(part.indptr)), columns[part.indices]
    kept = column >= 0
    # Features of one sequence are added up before they are rounded: in any order, the same.
    entries = (part.data[kept], (row[kept], column[kept]))
    found = sparse.csr_matrix(entries, shape=(len(rows), width))
    shares = (found.data / np.repeat(reads, np.diff(found.indptr))).astype(np.float32)
    return sparse.csr_matrix((shares, found.indices, found.indptr), shape=found.shape)


def _training(study, samples) -> tuple[list[str], sparse.csr_matrix]:
    """Sequences that may be split on, sorted, and their relative abundances."""
    sequences = sorted(set(study.sequences))
    columns = _columns(study, sequences)
    blocks = np.split(samples, range(4096, len(samples), 4096))
    shares = [_shares(study.counts, rows, columns, len(sequences)) for rows in blocks]
    shares = sparse.vstack(shares, format="csr")
    prevalence = shares.getnnz(axis=0)
    least = MIN_SAMPLES if (prevalence >= MIN_SAMPLES).sum() >= 3 else 1
    kept = np.argsort(-prevalence, kind="stable")[:MAX_FEATURES]
    kept = np.sort(kept[prevalence[kept] >= least])
    return [sequences[i] for i in kept], shares[:, kept]


def _grow(shares, extra, y, classes: int, trees: int, seed: int, jobs: int) -> list[tuple]:
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
        common["max_features"] = min(max(1, round(0.3 * width)), MAX_TRIED)
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


def _problems(sequences, covariates, arrays) -> Iterator[str]:
    """What is wrong with the parts of a forest; each check trusts those before it."""
    if not isinstance(sequences, list) or not all(
        isinstance(dna, str) and is_dna(dna) and dna == dna.upper() for dna in sequences
    ):
        yield "its sequences are no list of upper-case DNA"
    if len(set(sequences)) < len(sequences):
        yield "a sequence occurs twice"
    if type(covariates) is not int or covariates < 0:
        yield f"{covariates!r} is no number of inputs"
    if set(arrays) != set(ARRAYS):
        yield f"its arrays are {', '.join(sorted(arrays)) or 'missing'}"
    for name, (dtype, dimensions) in ARRAYS.items():
        if (arrays[name].dtype, arrays[name].ndim) != (dtype, dimensions):
            yield f"{name} must be {np.dtype(dtype)} of {dimensions} dimensions"
        if not np.isfinite(arrays[name]).all():
            yield f"{name} has values that are not finite"
    roots, feature, value, units = (arrays[k] for k in ("roots", "feature", "value", "units"))
    nodes = len(feature)
    if any(len(arrays[name]) != nodes for name in ("threshold", "left", "right", "value")):
        yield "its arrays differ in length"
    if not len(roots) or roots[0] != 0 or roots[-1] >= nodes or (roots[1:] <= roots[:-1]).any():
        yield "its roots are no nodes in order"
    if feature.min() < -1 or feature.max() >= len(sequences) + covariates:
        yield "it reads inputs that there are not"
    for child in (arrays["left"], arrays["right"]):
        below = (child > np.arange(nodes)) & (child < nodes)
        if not np.where(feature >= 0, below, child == -1).all():
            yield "a child does not come after its parent"
    if len(units) != 2 or units[1] <= 0 or not value.shape[1]:
        yield "its values or their units are missing"
    chances = value.min() >= 0 and value.max() <= 1 and np.allclose(value.sum(axis=1), 1, atol=1e-3)
    if value.shape[1] > 1 and not (chances and units.tolist() == [0, 1]):
        yield "its values are no probabilities"
