"""Columns that tell the error are found, others not, and subjects do not count as many samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal, spearmanr

from aam_core.reporting.association import column_tests, rank_test


def study(rng, subjects=30, each=8):
    """Errors of samples of subjects, of which each has an error level of its own."""
    group = np.repeat([f"s{k}" for k in range(subjects)], each)
    level = np.repeat(rng.exponential(3, subjects), each)
    names = [f"x{k}" for k in range(len(group))]
    errors = pd.Series(level + rng.exponential(1, len(group)), index=names)
    return errors, pd.Series(group, index=names, name="subject")


def test_without_strata_it_is_the_test_of_kruskal_and_wallis_or_spearman():
    rng = np.random.default_rng(0)
    errors, kind = rng.random(60), rng.integers(0, 3, 60)
    one = np.zeros(60, int)
    p, freedom = rank_test(errors, np.eye(3)[kind], one)
    assert freedom == 2
    assert p == pytest.approx(kruskal(*(errors[kind == k] for k in range(3))).pvalue, rel=1e-6)
    x = rng.random(60)
    p, freedom = rank_test(errors, x, one)
    assert freedom == 1 and p == pytest.approx(spearmanr(errors, x).pvalue, rel=0.1)


def test_columns_of_subjects_and_of_samples():
    rng = np.random.default_rng(1)
    errors, group = study(rng)
    of_subject = np.repeat(rng.choice(["a", "b"], 30), 8)  # of no effect
    season = rng.choice(["dry", "wet"], 240)
    errors = errors + 1.5 * (season == "wet")
    frame = pd.DataFrame(
        {
            "site": of_subject,
            "season": season,
            "depth": rng.random(240).astype(str),
            "one": "x",
            "id": errors.index,
        },
        index=errors.index,
    )
    tests = column_tests(errors, frame, group)
    assert tests.loc["season", "level"] == "within groups" and tests.loc["season", "q"] < 0.001
    assert tests.loc["site", "level"] == "groups" and tests.loc["site", "units"] == 30
    assert tests.loc["site", "p"] > 0.05 and tests.loc["depth", "p"] > 0.01
    assert tests.loc["one", "skipped"] == "one value" and np.isnan(tests.loc["one", "q"])
    assert "categories" in tests.loc["id", "skipped"]


def test_p_of_columns_without_effect_are_uniform():
    rng = np.random.default_rng(2)
    below = 0
    for _ in range(200):
        errors, group = study(rng, 12, 4)
        frame = pd.DataFrame({"x": np.repeat(rng.permutation(12) % 3, 4)}, index=errors.index)
        frame["y"] = rng.permutation(48)
        below += (column_tests(errors, frame, group)["p"] < 0.05).sum()
    # Of 400 tests 20 are expected, with a standard deviation of 4.4.
    assert below <= 38


def test_a_few_wrong_cells_and_words_for_missing_change_no_kind():
    rng = np.random.default_rng(3)
    errors, group = study(rng)
    sex = np.repeat(rng.choice(["f", "m"], 30), 8)
    sex[0] = "m" if sex[0] == "f" else "f"
    age = rng.random(240).round(3).astype(str).astype(object)
    age[::7] = "not collected"
    frame = pd.DataFrame({"sex": sex, "age": age}, index=errors.index)
    tests = column_tests(errors, frame, group)
    assert tests.loc["sex", "level"] == "groups" and tests.loc["sex", "units"] == 30
    assert tests.loc["age", "kind"] == "numbers" and tests.loc["age", "units"] == 205
