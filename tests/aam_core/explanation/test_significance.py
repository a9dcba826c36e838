from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from aam_core.explanation.significance import benjamini_hochberg, p_values, permuted_targets
from aam_core.tasks import Classification, Regression


def test_targets_of_a_group_are_those_of_one_other():
    groups = np.repeat([0, 1, 2, 3], [5, 3, 2, 2])
    drawn = permuted_targets(12, groups, 200, np.random.default_rng(0))
    for row in drawn[:50]:
        for group in range(4):
            assert len(set(groups[row[groups == group]])) == 1
    assert {len(set(groups[row])) for row in drawn} == {4}
    plain = permuted_targets(12, None, 50, np.random.default_rng(0))
    assert (np.sort(plain, axis=1) == np.arange(12)).all()


def null_p(task, truth_of, prediction_of, count=200):
    """p values of features in which a model believes, and that tell nothing."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        truth, base, changed = truth_of(rng), prediction_of(rng), prediction_of(rng)
        rise = task.blend_losses(changed, truth) - task.blend_losses(base, truth)
        entries = (np.zeros(30, int), np.arange(30), changed)
        found.append(
            p_values(task, rise.mean(keepdims=True), entries, base, truth, None, 1, rng)[0]
        )
    return np.array(found)


def test_p_is_uniform_where_the_target_has_nothing_to_do_with_the_samples(monkeypatch):
    from aam_core.explanation import significance

    monkeypatch.setattr(significance, "_ROUNDS", (99,))
    task = object.__new__(Regression)
    p = null_p(task, lambda rng: rng.normal(size=30), lambda rng: rng.normal(size=(30, 1)))
    # Importances of 0 or less have p 1, which may only make it larger.
    assert kstest(p[p < 0.4], "uniform", args=(0, 0.4)).pvalue > 0.01
    assert 0.01 <= (p <= 0.05).mean() <= 0.1


def test_p_of_a_feature_that_tells_all_is_the_least():
    rng = np.random.default_rng(0)
    task = Classification("column", ("a", "b"))
    truth = np.arange(40) % 2
    base = np.where(truth[:, None] == [0, 1], 0.95, 0.05)
    changed = base[rng.permutation(40)]
    rise = task.blend_losses(changed, truth) - task.blend_losses(base, truth)
    entries = (np.zeros(40, int), np.arange(40), changed)
    p = p_values(task, rise.mean(keepdims=True), entries, base, truth, None, 1, rng)
    assert p[0] == 1 / 10_000


def test_benjamini_hochberg():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.025, 0.05, 0.05, 0.025, 0.9])
