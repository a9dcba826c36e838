"""The baseline: scikit-learn's random forest on relative abundances, to compare AAM with.

It has nothing to do with the ensemble's forest (`aam_core.ensemble`), which is part of a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags, hstack

from aam_core.data.covariates import Covariates, fit_covariates
from aam_core.data.study import Study
from aam_core.tasks import task_named

__all__ = ["baseline_forest", "relative_abundances"]

_TREES = 200
"""Trees of the forest."""


def baseline_forest(
    study: Study,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    values: pd.Series,
    task: str = "regression",
    seed: int = 0,
    covariates: Sequence[str] = (),
    depth_only: bool = False,
) -> pd.DataFrame:
    """Predictions of a random forest on relative abundances.

    Parameters
    ----------
    study : Study
    train_ids, test_ids : sequence of str
    values : Series
        Metadata column by sample id; only the training samples are read.
    task : {'regression', 'classification'}
    seed : int
    covariates : sequence of str
        Metadata columns that it reads too, so that a model with covariates meets its equal.
    depth_only : bool
        Read the number of reads of each sample instead of the abundances: what the depth of
        sequencing alone predicts.

    Returns
    -------
    DataFrame
        Index ``sample-id`` in the order of test_ids; ``prediction``, and of a classification a
        column of probabilities per class.

    Raises
    ------
    InputError
        If the target is unusable, or has one value only among the training samples.
    """
    train_ids, test_ids = list(train_ids), list(test_ids)
    train_values = values.loc[train_ids]
    fitted = task_named(task).fit(train_values)
    columns = fit_covariates(study.metadata, covariates, train_ids)
    train, test = (_inputs(study.select(ids), columns, depth_only) for ids in (train_ids, test_ids))
    forest = fitted.baseline(n_estimators=_TREES, random_state=seed, n_jobs=-1)
    forest.fit(train, fitted.forest_target(train_values))
    # Threads add up the trees in the order in which they end, which changes the last digit.
    forest.set_params(n_jobs=1)
    return fitted.frame(test_ids, fitted.baseline_predictions(forest, test))


def relative_abundances(counts: csr_matrix) -> csr_matrix:
    """``[N, F]`` reads -> shares of each sample's reads; a sample without reads stays 0.

    >>> relative_abundances(csr_matrix([[1, 3], [0, 0]])).toarray().tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    reads = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return (diags(1.0 / np.maximum(reads, 1.0)) @ counts).tocsr()


def _inputs(study: Study, covariates: Covariates | None, depth_only: bool) -> csr_matrix:
    """[N, F + V]: relative abundances and covariates; or [N, 1], the number of reads."""
    if depth_only:
        return csr_matrix(study.counts.sum(axis=1))
    shares = relative_abundances(study.counts)
    if covariates is None:
        return shares
    return hstack([shares, csr_matrix(covariates.matrix(study.metadata))], format="csr")
