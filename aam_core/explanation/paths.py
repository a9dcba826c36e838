"""The paths of samples through the forest, and what becomes of them where some inputs change.

A linear model beside the trees reads counts: a changed copy has the reads of the sample.

Letters: P changed copies of one sample, U features of these, T trees, O outputs, M + V inputs.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from aam_core.ensemble.forest import Forest, columns_of, encode_covariates

__all__ = ["ForestPaths", "SamplePaths"]


class ForestPaths:
    """The forest of a model, and how the samples of a study go through it.

    Parameters
    ----------
    forest : Forest
    study : Study
        Its features are matched by sequence.
    shares : csr_matrix
        ``[N, F]`` relative abundances that it reads.
    covariates : Covariates or None
        As in the fit.
    """

    def __init__(self, forest: Forest, study, shares, covariates):
        self.forest = forest
        self.columns = columns_of(study, forest.sequences)
        self.width = len(forest.sequences)
        self.shares = shares
        self.reads = np.asarray(study.counts.sum(axis=1), dtype=np.float64).ravel()
        self.linear = forest.linear
        self.covariates = encode_covariates(study, covariates, np.arange(len(study.sample_ids)))

    def of(self, sample: int) -> SamplePaths:
        """The paths of one sample, by its position."""
        return SamplePaths(self, sample)


class SamplePaths:
    """The path of one sample through each tree.

    A changed copy of it ends at the same leaf of a tree unless a comparison on that path comes out
    otherwise: only then the tree is walked again.
    """

    def __init__(self, paths: ForestPaths, sample: int):
        self.paths = paths
        arrays = paths.forest.arrays
        row = slice(paths.shares.indptr[sample], paths.shares.indptr[sample + 1])
        dense = np.zeros(paths.width + paths.covariates.shape[1], np.float32)
        columns = paths.columns[paths.shares.indices[row]]
        summed = np.zeros(paths.width)
        np.add.at(summed, columns[columns >= 0], paths.shares.data[row][columns >= 0])
        dense[: paths.width] = summed
        dense[paths.width :] = paths.covariates[sample]
        node = arrays["roots"].copy()
        tree = np.arange(len(node))
        nodes, trees = [], []
        while len(tree):
            at = node[tree]
            inner = arrays["feature"][at] >= 0
            tree, at = tree[inner], at[inner]
            nodes.append(at)
            trees.append(tree)
            low = dense[arrays["feature"][at]] <= arrays["threshold"][at]
            node[tree] = np.where(low, arrays["left"][at], arrays["right"][at])
        at, tree = np.concatenate(nodes), np.concatenate(trees)
        order = np.argsort(tree, kind="stable")
        self.tree, at = tree[order], at[order]
        self.feature, self.threshold = arrays["feature"][at], arrays["threshold"][at]
        self.low = dense[self.feature] <= self.threshold
        self.own = dense[paths.width :]
        self.reads = paths.reads[sample]
        self.leaf = node
        self.total = arrays["value"][node].astype(np.float64).sum(0)

    def predict(self, features: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Predictions ``[P, O]``, as `Forest.predict` gives them.

        Parameters
        ----------
        features : ndarray
            ``[U]`` positions in the study, with all that the sample has.
        shares : ndarray
            ``[P, U]`` relative abundances of the copies; each row sums to 1.
        """
        forest = self.paths.forest
        summed, place = self._inputs(features, shares)
        inputs = summed.astype(np.float32)
        column = place[self.feature]
        read = column < inputs.shape[1] - 1 - len(self.own)  # others are as they were
        total = np.repeat(self.total[None], len(shares), axis=0)
        if read.any():
            low = inputs[:, column[read]] <= self.threshold[read]
            turned = low != self.low[read]
            trees, starts = np.unique(self.tree[read], return_index=True)
            copy, at = np.nonzero(np.logical_or.reduceat(turned, starts, axis=1))
            tree = trees[at]
            value = forest.arrays["value"]
            leaf = self._walk(inputs, place, copy, tree)
            np.add.at(total, copy, value[leaf].astype(np.float64) - value[self.leaf[tree]])
        by_linear = None
        if self.paths.linear is not None:
            linear = self.paths.linear
            column = place[linear.columns]
            read = column < inputs.shape[1] - 1 - len(self.own)  # of others no copy has reads
            counts = sparse.csr_matrix(summed[:, column[read]] * self.reads)
            own = np.repeat(self.own[None], len(shares), axis=0)
            by_linear = linear.of(read).predict(counts, own)
        return forest.mixed(total / len(self.leaf), by_linear)

    def _inputs(self, features, shares) -> tuple[np.ndarray, np.ndarray]:
        """Those that may differ, a column of zeros, and covariates; and the column of each input.

        The columns are [P, ...] float64.
        """
        width = self.paths.width
        inputs = self.paths.columns[features]
        kept = inputs >= 0
        distinct, column = np.unique(inputs[kept], return_inverse=True)
        count = len(distinct)
        summed = np.zeros((count + 1 + len(self.own), len(shares)))
        # Features of one sequence are one input.
        np.add.at(summed, column.reshape(-1), shares.T[kept])
        summed[count + 1 :] = self.own[:, None]
        place = np.full(width + len(self.own), count)
        place[distinct] = np.arange(count)
        place[width:] = count + 1 + np.arange(len(self.own))
        return summed.T, place

    def _walk(self, inputs, place, copy, tree) -> np.ndarray:
        """The leaf of each pair of a copy and a tree."""
        names = ("roots", "feature", "threshold", "left", "right")
        roots, feature, threshold, left, right = (self.paths.forest.arrays[it] for it in names)
        node = roots[tree]
        active = np.arange(len(node))
        while len(active):
            at = node[active]
            inner = feature[at] >= 0
            active, at = active[inner], at[inner]
            low = inputs[copy[active], place[feature[at]]] <= threshold[at]
            node[active] = np.where(low, left[at], right[at])
        return node
