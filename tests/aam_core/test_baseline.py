from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.baseline import BASELINES, baseline_forest, predict_baseline, relative_abundances
from aam_core.data.splits import make_folds
from aam_core.data.study import Study, load_study
from aam_core.evaluation import evaluate
from aam_core.simulate.study import simulate
from aam_core.tasks.metrics import regression_metrics


def test_relative_abundances_sum_to_one():
    shares = relative_abundances(csr_matrix([[1, 3, 0], [0, 0, 0], [0, 5, 0]]))
    assert shares.toarray().tolist() == [[0.25, 0.75, 0], [0, 0, 0], [0, 1, 0]]


@pytest.fixture(scope="module")
def study():
    made = simulate(120, 100, seed=3, effect=1.5)
    return load_study(made.table, sequences=made.sequences, tree=made.tree, metadata=made.metadata)


@pytest.fixture(scope="module")
def sides(study):
    groups = study.metadata["host_subject_id"]
    return make_folds(study.sample_ids, folds=4, seed=0, groups=groups)[0]


def test_the_forest_predicts_unseen_subjects(study, sides):
    train, test = sides
    y = study.metadata["gradient"]
    train_values = y.where(y.index.isin(train))  # it must not look at the rest
    predictions = baseline_forest(study, train, test, train_values, "regression", seed=1)
    assert list(predictions.index) == test and predictions.index.name == "sample-id"
    assert regression_metrics(y[test], predictions["prediction"])["r2"] > 0.3
    again = baseline_forest(study, train, test[::-1], train_values, "regression", seed=1)
    pd.testing.assert_frame_equal(again.loc[test], predictions)


def test_the_forest_classifies(study, sides):
    train, test = sides
    y = study.metadata["group"].map({"case": 1.0, "control": 0.0})
    predictions = baseline_forest(study, train, test, y, "classification", seed=1)
    assert list(predictions.columns) == ["prediction", "0", "1"]
    assert predictions[["0", "1"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert (predictions["prediction"] == predictions[["0", "1"]].idxmax(axis=1)).all()
    assert evaluate(predictions, study.metadata.assign(sick=y), "sick")["auc"] > 0.6


def test_the_forest_sees_shares_and_not_depth():
    counts = csr_matrix(np.array([[1, 3], [10, 30], [3, 1], [30, 10]], dtype=np.int64))
    toy = Study(sample_ids=list("abcd"), feature_ids=["x", "y"], counts=counts)
    y = pd.Series([0.0, 0.0, 1.0, 1.0], index=list("abcd"))
    predictions = baseline_forest(toy, ["a", "c"], ["b", "d"], y)["prediction"]
    same = baseline_forest(toy, ["a", "c"], ["a", "c"], y)["prediction"]
    assert predictions.tolist() == same.tolist()


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("task, target", [("regression", "gradient"), ("classification", "group")])
def test_every_baseline_reads_the_training_samples_alone(study, sides, name, task, target):
    train, test = sides
    values = study.metadata[target]
    values = values.where(values.index.isin(train))
    groups = study.metadata["host_subject_id"]
    options = {"task": task, "groups": groups}
    predictions = predict_baseline(name, study, train, test, values, **options)
    assert list(predictions.index) == test and predictions.notna().all(axis=None)
    metrics = evaluate(predictions, study.metadata, target, task=task)
    if name in ("extra_trees", "linear"):
        assert metrics["r2"] > 0 if task == "regression" else metrics["auc"] > 0.5
    if name == "dummy" and task == "regression":
        assert (predictions["prediction"] == values[train].median()).all()


def test_the_number_of_reads_is_read_alone(study, sides):
    values = study.metadata["gradient"]
    alone, beside = (
        predict_baseline("reads", study, *sides, values, covariates=covariates)
        for covariates in ((), ("group",))
    )
    pd.testing.assert_frame_equal(alone, beside)


def test_forests_learn_a_target_of_tiny_numbers(study, sides):
    values = study.metadata["gradient"]
    usual, tiny = (
        predict_baseline("extra_trees", study, *sides, values * unit)["prediction"] / unit
        for unit in (1, 1e-9)
    )
    errors = [(each - values[sides[1]]).abs().mean() for each in (usual, tiny)]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


def test_a_linear_model_on_the_log_ratio_does_not_see_depth():
    """Twice the reads of a sample, half a read more in each count: nearly the same."""
    made = simulate(60, 40, seed=3, effect=1.5, depth=20_000)
    table = load_study(made.table, sequences=made.sequences, metadata=made.metadata)
    ids, values = table.sample_ids, made.metadata["gradient"]
    twice = dataclasses.replace(table, counts=(table.counts * 2).tocsr())
    once, deep = (
        predict_baseline("linear", each, ids[:40], ids[40:], values)["prediction"]
        for each in (table, twice)
    )
    assert np.corrcoef(once, deep)[0, 1] > 0.9
