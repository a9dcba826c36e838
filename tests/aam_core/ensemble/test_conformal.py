"""Tests of aam_core.ensemble.conformal; those of intervals are beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.ensemble.conformal import PredictionSets, Scores, labels


def test_groups_are_joined_values():
    table = pd.DataFrame({"site": ["gut", "skin"], "sex": ["F", "M"]})
    assert labels(table, ["site", "sex"]) == ["gut, F", "skin, M"]


def test_a_group_is_the_same_as_number_and_as_text():
    """A column with a blank elsewhere is of floats; what is predicted may have it as text."""
    tables = [pd.DataFrame({"run": column}) for column in ([1.0, 2.0], [1, 2], ["1", "2"])]
    assert [labels(table, ["run"]) for table in tables] == [["1", "2"]] * 3


def test_samples_of_groups_without_scores_are_named():
    scores = Scores.of(np.arange(35.0), ["run"], ["1"] * 31 + ["2"] * 4)
    line = scores.pooled(pd.DataFrame({"run": [1.0, 2.0, 3.0]}))
    assert line.startswith("2 of 3 samples are of groups of run") and "(2, 3)" in line
    assert scores.pooled(pd.DataFrame({"run": ["1"]})) == ""


def drawn(size, seed):
    """Probabilities of three classes that are calibrated, and the classes."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([0.4, 0.4, 0.4], size)
    return chances, np.array([rng.choice(3, p=row) for row in chances])


def test_sets_hold_the_class_as_often_as_they_say():
    sets, (chances, truth) = PredictionSets.fit(*drawn(500, 0)), drawn(3000, 1)
    sizes = []
    for confidence in (0.6, 0.8, 0.9, 0.99):
        chosen = sets.members(chances, confidence)
        held = chosen[np.arange(3000), truth].mean()
        assert held >= confidence - 0.03 and chosen.any(axis=1).all()
        sizes.append(chosen.sum(1).mean())
    assert sizes == sorted(sizes) and sizes[0] < 1.3 < sizes[-1]


def test_sets_by_group():
    chances, truth = drawn(200, 2)
    names = np.array(["a", "b"] * 100)
    # In group b the classes are drawn at random: nothing but all three holds them.
    wrong = np.where(names == "b", np.random.default_rng(3).integers(0, 3, 200), truth)
    sets = PredictionSets.fit(chances, wrong, ["site"], names)
    size = {name: sets.members(chances, 0.9, [name] * 200).sum(1).mean() for name in "ab"}
    assert size["b"] > size["a"] + 0.5
    assert Scores.from_dict(sets.scores.to_dict()) == sets.scores
    pooled = sets.members(chances, 0.9, ["new"] * 200)
    assert (pooled == sets.members(chances, 0.9)).all()


@pytest.mark.parametrize("count", [1, 10, 1999, 2001, 7000])
def test_a_quantile_of_thinned_scores_is_never_too_small(count):
    values = np.random.default_rng(count).normal(size=count)
    scores, ordered = Scores.of(values), np.sort(values)
    for coverage in (0.5, 0.9, 0.999):
        place = min(count, int(np.ceil((count + 1) * coverage))) - 1
        found = scores.quantile(coverage)
        assert found >= ordered[place] and found <= ordered[min(place + 4, count - 1)]


def test_a_group_too_small_for_a_confidence_has_the_scores_of_all():
    values = np.arange(200.0)
    names = np.repeat(["few", "many"], [40, 160])
    scores = Scores.of(values, ["site"], names)
    assert scores.quantile(0.9, "few") == 36  # the 37th of 40
    assert scores.quantile(0.99, "few") == scores.quantile(0.99) == 198
    assert scores.shortage(0.9) == ""
    assert scores.shortage(0.99).startswith("1 of 2 groups of site have too few held-out samples")
    assert "(few)" in scores.shortage(0.99)
    assert scores.shortage(0.999).startswith("200 held-out samples are too few for a confidence")
    assert "takes 999:" in scores.shortage(0.999)
    assert Scores.of(values[:9]).shortage(0.9) == "" and Scores.of(values[:8]).shortage(0.9)
