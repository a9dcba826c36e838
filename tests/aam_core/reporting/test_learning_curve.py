"""Parts are nested and whole groups; a power law is found where there is one, and none else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from aam_core.data.folds import Fold
from aam_core.errors import InputError
from aam_core.reporting import learning_curve as module
from aam_core.reporting.learning_curve import GROUPS, WITHIN, fit_power_law, learning_curve


@pytest.mark.parametrize("a, b, c", [(40.0, 0.5, 3.0), (10.0, 0.3, 0.0), (500.0, 1.0, 20.0)])
def test_a_power_law_is_found(a, b, c):
    n = np.array([40, 80, 160, 320])
    law = fit_power_law(n, a * n**-b + c)
    assert law.at(640) == pytest.approx(a * 640**-b + c, rel=0.02)
    assert law.misfit < 0.01 * a


def test_parts_are_nested_and_groups_stay_whole():
    names = [f"x{k}" for k in range(120)]
    groups = pd.Series(np.repeat(np.arange(24), 5).astype(str), index=names)
    classes = pd.Series(np.repeat(["a", "b", "b", "b"] * 6, 5), index=names)
    fold = Fold(1, 1, names, [])
    parts = list(module._parts(fold, groups, classes, seed=0))
    of_groups = [set(train) for design, _, train in parts if design == GROUPS]
    within = [set(train) for design, _, train in parts if design == WITHIN]
    assert [len(part) for part in of_groups] == [25, 40, 70, 120]
    assert [len(part) for part in within] == [24, 72]
    for chain in (of_groups, [*within, set(names)]):
        assert all(one <= other for one, other in zip(chain, chain[1:], strict=False))
    # A group is there with all of its samples or with none; each part has both classes.
    assert all(groups.loc[sorted(part)].value_counts().eq(5).all() for part in of_groups)
    assert all(classes.loc[sorted(part)].nunique() == 2 for part in of_groups)
    assert all(groups.loc[sorted(part)].nunique() == 24 for part in within)


def points(values, n=(50, 100, 200, 400)):
    """What `_extrapolate` takes, of 30 tested samples whose errors scatter round these values."""
    rng = np.random.default_rng(0)
    keys = [(GROUPS, fraction, "aam") for fraction in module.FRACTIONS]
    noise = rng.normal(0, 1, (30, 1)) + rng.normal(0, 0.2, (30, 4))
    losses = pd.DataFrame(np.array(values) + noise, columns=pd.MultiIndex.from_tuples(keys))
    drawn = np.array([losses.to_numpy()[rng.integers(30, size=30)].mean(0) for _ in range(60)])
    frame = pd.DataFrame(
        {
            "design": GROUPS,
            "method": "aam",
            "fraction": module.FRACTIONS,
            "samples": np.array(n, float),
            "value": losses.mean().to_numpy(),
        }
    ).set_index("design")
    return frame, losses, drawn


def test_an_error_that_falls_is_extrapolated_and_one_that_does_not_is_not():
    n = np.array([50, 100, 200, 400])
    law, notes = module._extrapolate(*points(60 * n**-0.5 + 4))
    last = law[law["samples"] == 800].iloc[0]
    assert last["low"] < 60 * 800**-0.5 + 4 < last["high"] and "Twice as many groups" in notes[0]
    law, notes = module._extrapolate(*points([7.0, 7.0, 7.0, 7.0]))
    assert not len(law) and "no power law is fitted" in notes[0]
    law, notes = module._extrapolate(*points([9.0, 5.0, 8.8, 5.0]))
    assert not len(law) and "none follows" in notes[0]


def test_refits_of_a_model(regressor, small, monkeypatch):
    monkeypatch.setattr(module, "FRACTIONS", (0.5, 1.0))
    monkeypatch.setattr(module, "_DRAWS", 20)
    curve = learning_curve(regressor.model, small, "host_subject_id", members=1, folds=2)
    whole = curve.points.loc[GROUPS].query("fraction == 1.0 and method == 'aam'").iloc[0]
    assert whole["samples"] == 30 and whole["groups"] == pytest.approx(7.5)
    assert whole["low"] < whole["value"] < whole["high"] and curve.loss == "mean absolute error"
    assert set(curve.points["method"]) == {"aam", "random_forest"}
    half = curve.points.loc[WITHIN].query("fraction == 0.5")
    assert (half["groups"] == 7.5).all() and (half["samples"] < 20).all()
    assert all("2 sizes" in note for note in curve.notes)


def test_what_cannot_be_refitted_is_refused(regressor, small):
    with pytest.raises(InputError, match="learning curve is of all of them"):
        learning_curve(regressor.model, small.select(small.sample_ids[:30]), "host_subject_id")
    with pytest.raises(InputError, match="--group-by"):
        learning_curve(regressor.model, small)


def test_uneven_groups_have_the_same_parts_in_all_folds(regressor, small):
    """Every tested sample has an error at each size, however the samples lie in groups."""
    metadata = small.metadata.copy()
    ids = metadata["host_subject_id"].astype(str).to_numpy()
    metadata["uneven"] = np.where(np.arange(60) < 30, ids[0], ids)  # one has half of the samples
    study = dataclasses.replace(small, metadata=metadata)
    curve = module.plan_curve(regressor.model, study, "uneven", 1, 3)
    of_fold = {}
    for it, key in zip(curve.inputs.folds, curve.keys, strict=True):
        of_fold.setdefault(it.fold.number, []).append(key)
    first, *others = of_fold.values()
    assert len(of_fold) == 3 and all(keys == first for keys in others) and (GROUPS, 1.0) in first
