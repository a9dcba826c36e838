"""The benchmark across studies: what is trained on, what is centred, what the table says."""

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
def samples(across):
    """Four studies of ten samples each, whose ages have means of their own."""
    made = simulate(samples=40, features=30, seed=1)
    study = load_study(made.table, sequences=made.sequences)
    source = pd.Series(np.repeat(list(across.AGES)[:4], 10), study.sample_ids, name="study")
    ages = pd.Series(np.tile(np.arange(10.0), 4) + np.repeat([20, 30, 40, 50], 10), source.index)
    return across.Pooled(study, ages, source)


def test_the_tested_study_and_its_cohort_are_in_no_training(across, samples, monkeypatch):
    first, tested, *_ = across.AGES
    train, test = samples.sides(tested)
    assert len(train) == 30 and set(samples.source[test]) == {tested}
    monkeypatch.setattr(across, "COHORTS", ({first, tested},))
    assert len(samples.sides(tested)[0]) == 20


def test_a_centred_target_has_the_mean_0_in_each_study(samples):
    centred = samples.target(list(samples.ages.index), centred=True)
    assert centred.groupby(samples.source).mean().abs().max() < 1e-12


def test_inputs_are_asvs_that_two_training_studies_have(across, samples):
    counts = csr_matrix(np.full(samples.study.counts.shape, 3)).tolil()
    counts[12:, 0] = 0  # the first study, and two samples of the second, have it
    study = dataclasses.replace(samples.study, counts=counts.tocsr())
    changed = dataclasses.replace(samples, study=study)
    names = list(across.AGES)
    with_both, _ = changed.sides(names[3])
    without_second, _ = changed.sides(names[1])
    assert changed.log_abundances(with_both).shape == (40, 30)
    assert changed.log_abundances(without_second).shape == (40, 29)


@pytest.mark.parametrize("method", ["median", "forest", "forest-both"])
def test_a_method_is_measured_on_the_study_that_it_did_not_see(across, samples, method):
    result = across.measure(method, samples, list(across.AGES)[0], None)
    assert (result["train"], result["test"]) == (30, 10)
    assert ("spearman" in result) == (method != "median")
    assert ("mae" in result) == (method != "forest-both")


def test_the_table_has_a_row_a_method(across):
    one = {"train": 30, "test": 10, "cpu_s": 1.0}
    results = {
        name: {
            "median": one | {"mae": 10.0},
            "forest": one | {"mae": 9.0, "spearman": 0.2 + 0.1 * place},
        }
        for place, name in enumerate(list(across.AGES)[:3])
    }
    lines = across.table(results).splitlines()
    assert len(lines) == 4 and "| 3 |  |  |  | 1.000 |" in lines[2]
    assert "| 0.300 [0.200, 0.400] | 3 |" in lines[3] and "| 0.900 |" in lines[3]


def test_an_encoder_of_a_third_knows_no_study_of_it_nor_of_their_cohorts(across):
    thirds = {tuple(across.held_out_with(name)) for name in across.AGES}
    assert {name for third in thirds for name in third} == set(across.AGES)
    for third in thirds:
        assert all(not (cohort & set(third)) or cohort <= set(third) for cohort in across.COHORTS)
    assert all(name in across.held_out_with(name) for name in across.AGES)
