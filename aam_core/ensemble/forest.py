"""The forest of the ensemble: saved as arrays, predicts with numpy alone.

A linear model (`aam_core.ensemble.linear`) may have a share of what it predicts. Trained by
`aam_core.ensemble.forest_training`. Letters: N samples; M DNA sequences, of which the linear model
reads P, V covariates' inputs; T outputs: 1 of a regression, the classes of a classification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from aam_core.data.covariates import Covariates
from aam_core.data.study import Study
from aam_core.data.tokens import is_dna
from aam_core.ensemble.linear import LinearModel
from aam_core.errors import InputError

__all__ = [
    "Forest",
    "columns_of",
    "covariate_inputs",
    "encode_covariates",
    "relative_abundances",
    "summed_counts",
]

_CHUNK_BYTES = 100_000_000
"""Memory that predicting takes at a time, about."""

_ARRAYS = {
    "roots": (np.int64, 1),
    "feature": (np.int32, 1),
    "threshold": (np.float32, 1),
    "left": (np.int32, 1),
    "right": (np.int32, 1),
    "value": (np.float32, 2),
    "units": (np.float64, 1),
}
"""Type and number of dimensions of each array."""

_LINEAR = {
    "linear_share": (np.float64, 1),
    "linear_penalty": (np.float64, 1),
    "linear_reads": (np.float64, 1),
    "linear_ends": (np.float64, 1),
    "linear_inputs": (np.int64, 1),
    "linear_coefficients": (np.float64, 2),
    "linear_intercept": (np.float64, 1),
}
"""The same of the arrays of a linear model: all are there or none."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees, flat; and a linear model beside them, in some.

    Attributes
    ----------
    sequences : list of str
        The M upper-case DNA sequences that some part of it reads: inputs 0 to M - 1.
    covariates : int
        V, the inputs after those; see `covariate_inputs`.
    arrays : dict of ndarray
        ``roots`` [trees]; of each node ``feature`` (the input compared; -1 at a leaf),
        ``threshold`` (go left where the input is at most this), ``left`` and ``right`` (nodes; -1
        at a leaf) and ``value`` [nodes, T]; ``units`` [2]: mean and standard deviation that a
        regression's values were scaled by, else 0 and 1. Types: see `_ARRAYS`. With a linear model
        its ``linear_share`` of the prediction, in (0, 1], and the attributes of
        `aam_core.ensemble.linear.LinearModel` (``linear_inputs``: its columns), of values in
        ``units``; the numbers as arrays of one.
    """

    sequences: list[str]
    covariates: int
    arrays: dict[str, np.ndarray]

    @property
    def outputs(self) -> int:
        """T."""
        return self.arrays["value"].shape[1]

    @property
    def linear_share(self) -> float:
        """What the linear model counts in a prediction; 0 without one."""
        return float(self.arrays["linear_share"][0]) if "linear_share" in self.arrays else 0.0

    @property
    def linear(self) -> LinearModel | None:
        """The model beside the trees."""
        if not self.linear_share:
            return None
        one = {name: self.arrays[f"linear_{name}"] for name in ("reads", "penalty", "ends")}
        low, high = one["ends"].tolist()
        return LinearModel(
            self.arrays["linear_inputs"],
            self.arrays["linear_coefficients"],
            self.arrays["linear_intercept"],
            float(one["reads"][0]),
            float(one["penalty"][0]),
            (low, high),
        )

    def with_linear(self, model: LinearModel, sequences: list[str], share: float) -> Forest:
        """The forest with a linear model, whose columns are of these sequences.

        Its share is in (0, 1]; the trees keep the rest, and their spread.
        """
        assert 0 < share <= 1 and model.ends is not None
        read = [sequences[column] for column in model.columns]
        known = set(self.sequences)
        more = [dna for dna in read if dna not in known]
        names = [*self.sequences, *more]
        place = {dna: i for i, dna in enumerate(names)}
        feature = self.arrays["feature"]
        # Covariates come after the sequences, of which there are more now.
        moved = np.where(feature >= len(self.sequences), feature + len(more), feature)
        arrays = {
            "feature": moved.astype(np.int32),
            "linear_share": np.array([share]),
            "linear_penalty": np.array([model.penalty]),
            "linear_reads": np.array([model.reads]),
            "linear_ends": np.array(model.ends),
            "linear_inputs": np.array([place[dna] for dna in read], np.int64),
            "linear_coefficients": model.coefficients,
            "linear_intercept": model.intercept,
        }
        return Forest(names, self.covariates, self.arrays | arrays)

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
        """Predictions of each sample: the mean over the trees, and the linear model's share.

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
        return self.predict_spread(study, covariates, samples)[0]

    def predict_spread(
        self,
        study: Study,
        covariates: Covariates | None = None,
        samples: slice | np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `predict`; and the standard deviation over the trees, [N, T], in the same units."""
        assert covariate_inputs(covariates) == self.covariates, (covariates, self.covariates)
        rows = np.arange(len(study.sample_ids))
        rows = rows if samples is None else rows[samples]
        columns, width = columns_of(study, self.sequences), len(self.sequences)
        # Bytes of a sample: dense inputs and their hstack, nodes and indices of trees, outputs.
        each = 8 * (width + self.covariates) + 64 * len(self.arrays["roots"]) + 16 * self.outputs
        size = max(1, _CHUNK_BYTES // each)
        predictions = np.zeros((len(rows), self.outputs))
        spread = np.zeros_like(predictions)
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            abundances = relative_abundances(study.counts, chunk, columns, width).toarray()
            extra = encode_covariates(study, covariates, chunk)
            part = slice(start, start + size)
            by_trees, spread[part] = self._mean_and_spread(np.hstack([abundances, extra]))
            by_linear = None
            if self.linear is not None:
                counts = summed_counts(study.counts, chunk, columns, width)
                by_linear = self.linear.predict(counts, extra)
            predictions[part] = self.mixed(by_trees, by_linear)
        return predictions, self.arrays["units"][1] * spread

    def mixed(self, by_trees: np.ndarray, by_linear: np.ndarray | None) -> np.ndarray:
        """``[N, T]`` means over the trees, and what the linear model predicts -> predictions."""
        if self.outputs > 1:  # leaves are rounded to float32
            by_trees = by_trees / by_trees.sum(axis=1, keepdims=True)
        if by_linear is not None:
            by_trees = by_trees + self.linear_share * (by_linear - by_trees)
        mean, deviation = self.arrays["units"]
        return mean + deviation * by_trees

    def _mean_and_spread(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[N, M + V] float32 -> [N, T] float64 twice: mean and standard deviation of the trees.

        All samples go down all trees, level by level.
        """
        names = ("roots", "feature", "threshold", "left", "right", "value")
        roots, feature, threshold, left, right, value = (self.arrays[name] for name in names)
        node = np.tile(roots.astype(np.int32), len(inputs))
        active = np.arange(len(node))  # pairs of sample and tree that are not at a leaf yet
        while len(active):
            at = node[active]
            inner = feature[at] >= 0
            active, at = active[inner], at[inner]
            # np.tile repeats all roots for each sample: pair // trees is the sample.
            low = inputs[active // len(roots), feature[at]] <= threshold[at]
            node[active] = np.where(low, left[at], right[at])
        total = np.zeros((len(inputs), self.outputs))
        squares = np.zeros_like(total)
        # Tree by tree: the leaves of all trees at once would take as many times the memory.
        for leaves in node.reshape(-1, len(roots)).T:
            total += value[leaves]
            squares += value[leaves].astype(np.float64) ** 2
        mean = total / len(roots)
        # Rounding may leave a variance of equal leaves just below 0.
        return mean, np.sqrt(np.maximum(squares / len(roots) - mean**2, 0.0))


def covariate_inputs(covariates: Covariates | None) -> int:
    """V: one input per level of each column, the unknown one included, and two per number."""
    return 0 if covariates is None else sum(covariates.sizes) + 2 * len(covariates.numeric)


def encode_covariates(study, covariates, rows) -> np.ndarray:
    """Inputs of some samples' covariates.

    Parameters
    ----------
    study : Study
    covariates : Covariates or None
    rows : ndarray of int
        Positions of the samples.

    Returns
    -------
    ndarray
        [N, V] float32.
    """
    if covariates is None:
        return np.zeros((len(rows), 0), np.float32)
    return covariates.matrix(study.metadata.iloc[rows])


def columns_of(study, sequences) -> np.ndarray:
    """The input that each feature of a study adds to.

    Parameters
    ----------
    study : Study
    sequences : list of str
        Of inputs 0, 1, ...

    Returns
    -------
    ndarray
        [F] int64; -1 where there is none.
    """
    place = {dna: i for i, dna in enumerate(sequences)}
    return np.array([place.get(dna, -1) for dna in study.sequences], dtype=np.int64)


def relative_abundances(counts, rows, columns, width) -> sparse.csr_matrix:
    """`summed_counts` over the reads of all features of the sample, [N, width] float32."""
    reads = np.asarray(counts[rows].sum(axis=1)).ravel()
    summed = summed_counts(counts, rows, columns, width)
    shares = (summed.data / np.repeat(reads, np.diff(summed.indptr))).astype(np.float32)
    return sparse.csr_matrix((shares, summed.indices, summed.indptr), shape=summed.shape)


def summed_counts(counts, rows, columns, width) -> sparse.csr_matrix:
    """Reads of each input, of all features of its sequence.

    Parameters
    ----------
    counts : csr_matrix
        [samples, F] reads.
    rows : ndarray of int
        Positions of N samples.
    columns : ndarray of int
        [F], as `columns_of` gives it.
    width : int
        Number of inputs.

    Returns
    -------
    csr_matrix
        [N, width], in the type of the counts.
    """
    part = counts[rows]
    row, column = np.repeat(np.arange(len(rows)), np.diff(part.indptr)), columns[part.indices]
    kept = column >= 0
    # Features of one sequence are added up before they are rounded: in any order, the same.
    entries = (part.data[kept], (row[kept], column[kept]))
    return sparse.csr_matrix(entries, shape=(len(rows), width))


def _problems(sequences, covariates, arrays) -> Iterator[str]:
    """What is wrong with the parts of a forest; each check trusts those before it."""
    if not isinstance(sequences, list) or not all(
        isinstance(dna, str) and is_dna(dna) and dna == dna.upper() for dna in sequences
    ):
        yield "its sequences are no list of upper-case DNA"
    if len(set(sequences)) < len(sequences):
        yield "a sequence occurs twice"
    # Not isinstance: True is an int, too.
    if type(covariates) is not int or covariates < 0:
        yield f"{covariates!r} is no number of inputs"
    linear = any(name in _LINEAR for name in arrays)
    expected = _ARRAYS | (_LINEAR if linear else {})
    if set(arrays) != set(expected):
        yield f"its arrays are {', '.join(sorted(arrays)) or 'missing'}"
    for name, (dtype, dimensions) in expected.items():
        if (arrays[name].dtype, arrays[name].ndim) != (dtype, dimensions):
            yield f"{name} must be {np.dtype(dtype)} of {dimensions} dimensions"
        if not np.isfinite(arrays[name]).all():
            yield f"{name} has values that are not finite"
    roots, feature, value, units = (arrays[k] for k in ("roots", "feature", "value", "units"))
    nodes = len(feature)
    if any(len(arrays[name]) != nodes for name in ("threshold", "left", "right", "value")):
        yield "its arrays differ in length"
    # Compared, not subtracted: differences of damaged int64 roots may overflow to a legal value.
    # Forests without nodes end here, too: below, the minimum of an empty array is an error.
    if not len(roots) or roots[0] != 0 or roots[-1] >= nodes or (roots[1:] <= roots[:-1]).any():
        yield "its roots are no nodes in order"
    if feature.min() < -1 or feature.max() >= len(sequences) + covariates:
        yield "it reads inputs that there are not"
    for child in (arrays["left"], arrays["right"]):
        # Children behind their parents: no path is a loop, so that predicting ends.
        below = (child > np.arange(nodes)) & (child < nodes)
        if not np.where(feature >= 0, below, child == -1).all():
            yield "a child does not come after its parent"
    if len(units) != 2 or units[1] <= 0 or not value.shape[1]:
        yield "its values or their units are missing"
    probabilities = (
        value.min() >= 0 and value.max() <= 1 and np.allclose(value.sum(axis=1), 1, atol=1e-3)
    )
    if value.shape[1] > 1 and not (probabilities and units.tolist() == [0, 1]):
        yield "its values are no probabilities"
    if linear:
        yield from _linear_problems(len(sequences), covariates, arrays)


def _linear_problems(width: int, covariates: int, arrays) -> Iterator[str]:
    """What is wrong with the linear model of a forest, whose trees are sound."""
    names = ("share", "penalty", "reads")
    numbers = [arrays[f"linear_{name}"] for name in names]
    if any(len(number) != 1 or number[0] <= 0 for number in numbers) or numbers[0][0] > 1:
        yield f"its linear {', '.join(names)} are no positive numbers, or the share is above 1"
    ends = arrays["linear_ends"]
    if len(ends) != 2 or ends[0] > ends[1]:
        yield "its linear ends are no range"
    inputs = arrays["linear_inputs"]
    if ((inputs < 0) | (inputs >= width)).any() or len(np.unique(inputs)) < len(inputs):
        yield "its linear model reads inputs that there are not, or one twice"
    outputs = arrays["value"].shape[1]
    shapes = [arrays[f"linear_{name}"].shape for name in ("coefficients", "intercept")]
    if shapes != [(len(inputs) + covariates, outputs), (outputs,)]:
        yield "its linear coefficients do not fit its inputs and outputs"
