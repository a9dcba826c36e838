"""A linear model on the centred log-ratio, beside the trees of a forest: predicts with numpy alone.

Fitted by `aam_core.ensemble.linear_training`. Letters: N samples; W inputs of a table, P of them in
the log-ratio, V inputs of covariates; T outputs: 1 of a regression, the classes of a
classification.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

__all__ = ["LinearModel", "linked"]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Coefficients of logarithms of counts and of covariates.

    Attributes
    ----------
    columns : ndarray
        ``[P]`` inputs of the log-ratio.
    coefficients : ndarray
        ``[P + V, T]`` float64: of log(1 + reads / ``reads``) of each, and of the covariates. Those
        of the P have sum 0, which centres the logarithms: an input without reads changes nothing.
    intercept : ndarray
        ``[T]`` float64.
    reads : float
        Reads that are added to each count.
    penalty : float
        L2 penalty over the sum of the squared features; it says how the model was fitted.
    ends : tuple of float or None
        Least and greatest value that it predicts.
    """

    columns: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    reads: float
    penalty: float
    ends: tuple[float, float] | None = None

    def of(self, kept: np.ndarray) -> LinearModel:
        """The same of tables that have these of the inputs, ``[P]`` bool, alone and in order."""
        rows = np.append(kept, np.ones(len(self.coefficients) - len(kept), bool))
        return replace(self, columns=np.arange(kept.sum()), coefficients=self.coefficients[rows])

    def predict(self, counts: sparse.csr_matrix, extra: np.ndarray) -> np.ndarray:
        """``[N, W]`` reads, ``[N, V]`` covariates -> ``[N, T]``: values, or probabilities."""
        logs = counts[:, self.columns].astype(np.float64)
        logs.data = np.log1p(logs.data / self.reads)
        # Sparse: a product of dense matrices rounds by how many samples there are.
        inputs = sparse.hstack([logs, sparse.csr_matrix(extra, dtype=np.float64)], format="csr")
        return linked(np.asarray(inputs @ self.coefficients) + self.intercept, self.ends)


def linked(scores: np.ndarray, ends: tuple[float, float] | None) -> np.ndarray:
    """``[N, T]`` scores of classes -> their softmax; of one output, the scores within ``ends``."""
    if scores.shape[1] == 1:
        return scores if ends is None else scores.clip(*ends)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
