from __future__ import annotations

import numpy as np

from aam_core.explanation.importance import few_groups, shift_donors
from aam_core.explanation.significance import (
    flipped_together,
    least_p,
    p_values,
)

SUBJECTS, EACH = 20, 8


def p_of_features(effect, seeds, *, of_subject=True, grouped=True):
    """p of a feature that the model uses, of which the target has ``effect`` beside all else.

    The model knows the rest of the target up to a residual. Residual and feature are those of the
    subject and of the sample, or of the sample alone.
    """
    subject = np.repeat(np.arange(SUBJECTS), EACH)
    groups = subject if grouped else None
    sums = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        feature, residual = rng.normal(size=(2, len(subject)))
        if of_subject:
            own = rng.normal(size=(2, SUBJECTS))[:, subject]
            feature, residual = feature * 0.1 + own[0], residual * 0.5 + own[1]
        truth = effect * feature + residual
        donors = shift_donors(len(subject), groups, 3, rng)
        rise = (np.abs(truth - feature[donors]) - np.abs(truth - feature)).mean(axis=0)
        codes = flipped_together(len(subject), groups, rng)
        sums.append(np.bincount(codes, rise))
    return p_values(np.array(sums), np.random.default_rng(0))


def test_a_feature_that_tells_nothing_has_a_small_p_as_seldom_as_p_says():
    for options in ({}, {"of_subject": False}, {"of_subject": False, "grouped": False}):
        p = p_of_features(0.0, 200, **options)
        assert (p <= 0.05).mean() <= 0.1, options
        assert (p <= 0.01).mean() <= 0.04, options


def test_a_feature_that_tells_the_target_is_found():
    assert (p_of_features(2.0, 20) <= 0.01).mean() >= 0.9


def test_few_groups_bound_p():
    rng = np.random.default_rng(0)
    # All flips: two sums as great (none and that of the 0), of 2^3.
    assert p_values(np.array([[1.0, 2.0, 0.0]]), rng)[0] == 2 / 8
    sums = np.stack([np.ones(8), -np.ones(8), np.zeros(8)])
    np.testing.assert_allclose(p_values(sums, rng), [1 / 256, 1, 1])
    assert least_p(8) == 1 / 256 and least_p(5000) == 1 / 100_000
    assert p_values(np.ones((1, 15)), rng)[0] == 1 / 2**15  # exact
    line = few_groups(8, {"ASVs": 995, "groups": 89})
    assert line.endswith("takes 78 of 995 ASVs or 7 of 89 groups with that p")
    assert "nothing can have a q below 0.05" in few_groups(4, {"ASVs": 995, "groups": 0})
    assert few_groups(5000, {"ASVs": 995}) == few_groups(8, {"ASVs": 10}) == ""


def test_more_flips_where_none_is_as_great(monkeypatch):
    sums = np.ones((3, 40))
    sums[1] = np.random.default_rng(1).normal(size=40)
    sums[2, :32] = 0  # 1 of 2^8 flips is as great
    whole = p_values(sums, np.random.default_rng(0))
    assert whole[0] == 1 / 100_000 and 0.01 < whole[1] <= 1
    assert abs(whole[2] - 1 / 256) < 0.003
    rng = np.random.default_rng(0)
    p_values(sums, rng)
    after = rng.random()
    # In parts, the same; and what is drawn later does not depend on the last round.
    monkeypatch.setattr("aam_core.explanation.significance._AT_A_TIME", 10_000)
    np.testing.assert_array_equal(p_values(sums, np.random.default_rng(0)), whole)
    monkeypatch.setattr("aam_core.explanation.significance._ROUNDS", {999: None, 9_999: 10})
    rng = np.random.default_rng(0)
    assert p_values(sums, rng)[0] == 1 / 10_000
    assert rng.random() == after
    # 1,000 groups and as many sums take no more memory than `_AT_A_TIME` says.
    assert (p_values(np.ones((4, 1000)), rng) == 1 / 10_000).all()


def test_samples_of_a_group_are_flipped_together():
    rng = np.random.default_rng(0)
    assert flipped_together(5, np.array([4, 4, 7, 2, 7]), rng).tolist() == [1, 1, 2, 0, 2]
    assert flipped_together(3, None, rng).tolist() == [0, 1, 2]
    many = flipped_together(5000, np.repeat(np.arange(2500), 2), rng)
    assert (many[::2] == many[1::2]).all()
    assert set(np.bincount(many)) == {4, 6}
