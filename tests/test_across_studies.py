"""The benchmark across studies: what is trained on, what is centred, what the tables say."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.data.study import load_study
from aam_core.simulate.study import simulate


@pytest.fixture
def across(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("across_studies")


@pytest.fixture
def pooled(across):
    """``pooled(name)``: four studies of ten samples each, whose values have means of their own."""

    def make(name):
        target = across.TARGETS[name]
        first, second, third, *_ = target.tables
        target = dataclasses.replace(
            target, folds=([first], [second, third], [next(reversed(target.tables))])
        )
        made = simulate(samples=40, features=30, seed=1)
        study = load_study(made.table, sequences=made.sequences)
        tables = [first, second, third, target.folds[2][0]]
        source = pd.Series(np.repeat(tables, 10), study.sample_ids, name="study")
        values = np.tile(np.arange(10.0), 4) + np.repeat([20, 30, 40, 50], 10)
        if target.task == "classification":
            values = np.where(values % 2, "disease", "control")
        return across.Pooled(target, study, pd.Series(values, source.index), source)

    return make


def test_no_study_of_a_fold_is_trained_on(across, pooled, monkeypatch):
    samples = pooled("age")
    train, test = samples.sides(1)
    assert set(samples.source[test]) == set(samples.target.folds[1])
    assert len(train) == len(test) == 20 and not set(train) & set(test)
    monkeypatch.setattr(across, "TRAINED", 4)
    train, test = samples.sides(1)
    assert samples.source[train].value_counts().tolist() == [4, 4] and len(test) == 20


@pytest.mark.parametrize("name", ["age", "disease", "site"])
def test_every_study_is_tested_once_and_with_its_cohort(across, name):
    """An encoder that a study is tested with knows it in no fold."""
    target = across.TARGETS[name]
    tested = [table for fold in target.folds for table in fold]
    assert sorted(tested) == sorted(target.tables)
    for cohort in (
        {"micb475-aim1qiime2data-table", "micb475-tanz-col-export-feature-table"},
        {"source-source-china-deblur-map-svs-1", "source-source-israel-deblur-map-svs-1"},
    ):
        folds = [number for number, fold in enumerate(target.folds) if cohort & set(fold)]
        assert len(folds) < 2
    if "pretrained" not in target.methods:
        return
    for number, name in enumerate(across.NAMES[:3]):
        held_out = set(across.tested_with(name)) & set(target.tables)
        assert held_out and held_out <= set(target.folds[number])


def test_a_centred_target_has_the_mean_0_in_each_study(pooled):
    samples = pooled("age")
    train, _ = samples.sides(0)
    values = samples.learned(train, centred=True)
    assert values.groupby(samples.source[train]).mean().abs().max() < 1e-12


def test_inputs_are_asvs_that_two_training_studies_have(pooled):
    samples = pooled("age")
    counts = csr_matrix(np.full(samples.study.counts.shape, 3)).tolil()
    counts[12:, 0] = 0  # the first study, and two samples of the second, have it
    study = dataclasses.replace(samples.study, counts=counts.tocsr())
    samples = dataclasses.replace(samples, study=study)
    assert samples.common(samples.sides(2)[0]).shape == (40, 30)
    assert samples.common(samples.sides(0)[0]).shape == (40, 29)


def test_abundances_of_centred_studies_have_one_geometric_mean(across, pooled):
    samples = pooled("age")
    train, _ = samples.sides(0)
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(1, 20, (4, 30)), 10, axis=0)  # of each study its own
    counts = csr_matrix(np.round(1000 * rng.lognormal(0, 0.3, (40, 30)) * level))
    study = dataclasses.replace(samples.study, counts=counts.astype(np.int64))

    def apart(study):
        logs = np.log(study.counts.toarray())
        logs -= logs.mean(axis=1, keepdims=True)
        means = pd.DataFrame(logs, samples.source.index).groupby(samples.source).mean()
        return float(means.std().mean())

    moved = across.centred(study, samples.source, train)
    assert apart(moved) < 0.05 * apart(study)
    assert (moved.counts > 0).nnz == (study.counts > 0).nnz


@pytest.mark.parametrize(
    ("name", "method"),
    [("age", "median"), ("age", "forest"), ("age", "linear-inputs-target"), ("disease", "linear")],
)
def test_a_method_is_scored_within_each_study_of_the_fold(across, pooled, name, method):
    samples = pooled(name)
    result = across.measure(method, samples, 1)
    assert set(result) == set(samples.target.folds[1])
    for one in result.values():
        assert (one["train"], one["test"]) == (20, 10)
        assert ("score" in one) == (method != "median")
        assert ("mae" in one) == (name == "age" and "target" not in method)


def test_a_score_of_sites_is_the_recall_of_those_of_the_study(across):
    truth = pd.Series(["gut", "gut", "gut", "skin"])
    frame = pd.DataFrame({"prediction": ["gut", "mouth", "gut", "skin"]})
    site = across.TARGETS["site"]
    assert across.scored(frame, truth, site, False)["score"] == pytest.approx((2 / 3 + 1) / 2)


def test_the_table_has_a_row_a_method(across):
    one = {"train": 30, "test": 10, "cpu_s": 1.0}
    results = {
        name: {
            "median": one | {"mae": 10.0},
            "forest": one | {"mae": 9.0, "score": 0.2 + 0.1 * place},
            "linear": one | {"mae": 8.0, "score": 0.3 + 0.1 * place},
        }
        for place, name in enumerate(list(across.TARGETS["age"].tables)[:3])
    }
    lines = across.tables({"age": results}).splitlines()
    assert lines[0] == "**Age of adults**" and len(lines) == 7
    assert lines[4].endswith("| 1.000 | 1 |")
    assert "| 3 | 0.300 [0.200, 0.400] | 3 of 3 | 0.25 |  |" in lines[5]
    assert "| random forest | +0.100 | 3 of 3 | 0.25 | 0.800 | 1 |" in lines[6]
