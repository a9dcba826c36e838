from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from aam_core.ensemble.linear import LinearModel, linked


def test_coefficients_that_sum_to_zero_read_the_centred_log_ratio():
    rng = np.random.default_rng(0)
    counts, extra = rng.poisson(1.0, (6, 8)), rng.normal(size=(6, 2))
    columns = np.array([1, 2, 5, 7])
    weights = rng.normal(size=(6, 1))
    centred = weights.copy()
    centred[:4] -= weights[:4].mean()
    model = LinearModel(columns, centred, np.array([0.25]), 0.5, 0.1)
    logs = np.log(counts[:, columns] + 0.5)
    ratios = np.hstack([logs - logs.mean(axis=1, keepdims=True), extra])
    expected = ratios @ weights + 0.25
    assert model.predict(csr_matrix(counts), extra) == pytest.approx(expected)
    within = LinearModel(columns, centred, np.array([0.25]), 0.5, 0.1, (0.0, 0.3))
    assert within.predict(csr_matrix(counts), extra) == pytest.approx(expected.clip(0.0, 0.3))


def test_a_sample_is_predicted_alone_as_among_others():
    rng = np.random.default_rng(1)
    counts, extra = rng.poisson(1.0, (50, 30)), rng.normal(size=(50, 3))
    model = LinearModel(np.arange(30), rng.normal(size=(33, 3)), rng.normal(size=3), 0.5, 0.1)
    together = model.predict(csr_matrix(counts), extra)
    assert together.sum(axis=1) == pytest.approx(1)
    for row in (0, 17, 49):
        alone = model.predict(csr_matrix(counts[[row]]), extra[[row]])
        assert (alone[0] == together[row]).all()


def test_inputs_without_reads_may_be_left_out():
    rng = np.random.default_rng(2)
    counts, extra = rng.poisson(1.0, (5, 6)), rng.normal(size=(5, 1))
    counts[:, [0, 4]] = 0
    kept = np.array([False, True, True, True, False, True])
    model = LinearModel(np.arange(6), rng.normal(size=(7, 1)), np.zeros(1), 0.5, 0.1)
    fewer = model.of(kept).predict(csr_matrix(counts[:, kept]), extra)
    assert fewer == pytest.approx(model.predict(csr_matrix(counts), extra))


def test_scores_of_classes_are_linked_without_overflow():
    scores = np.array([[1e4, 0.0, -1e6], [0.0, np.log(3.0), -1e6]])
    expected = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0]])
    assert linked(scores, (0.0, 1.0)) == pytest.approx(expected)
