from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from aam_core.metrics import (
    Classification,
    Regression,
    classification_metrics,
    regression_metrics,
    roc_auc,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def expected_regression(actual, predicted):
    return {
        "r2": reference.r2_score(actual, predicted),
        "mae": reference.mean_absolute_error(actual, predicted),
        "rmse": reference.mean_squared_error(actual, predicted) ** 0.5,
    }


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_regression_in_parts_is_that_of_the_whole(rng, shift):
    actual = shift + rng.normal(size=101)
    predicted = actual + rng.normal(size=101)
    parts = [Regression(), Regression(), Regression()]  # the last stays empty
    for start in range(0, 101, 7):
        rows = slice(start, start + 7)
        parts[start // 60].update(actual[rows], predicted[rows])
    whole = Regression()
    for part in parts:
        whole.merge(part)
    assert whole.compute() == pytest.approx(expected_regression(actual, predicted))
    assert whole.compute() == pytest.approx(regression_metrics(actual, predicted))


def test_regression_without_samples_or_spread():
    assert all(math.isnan(value) for value in Regression().compute().values())
    constant = regression_metrics([0.1] * 7, [0.2] * 7)
    assert math.isnan(constant["r2"]) and constant["mae"] == pytest.approx(0.1)
    single = regression_metrics([3.0], [1.0])
    assert math.isnan(single["r2"]) and single["rmse"] == 2.0


@pytest.mark.parametrize("ties", [False, True])
def test_auc_of_two_classes(rng, ties):
    actual = rng.integers(0, 2, 200)
    score = actual * 0.5 + rng.random(200)
    score = score.round(1) if ties else score
    assert roc_auc(actual == 1, score) == pytest.approx(reference.roc_auc_score(actual, score))
    assert roc_auc(actual == 1, actual) == 1.0
    assert roc_auc(actual == 1, np.zeros(200)) == 0.5


def three(rng, samples=150):
    actual = rng.integers(0, 3, samples)
    chances = rng.random((samples, 3)) + np.eye(3)[actual] * 0.4
    return actual, chances / chances.sum(axis=1, keepdims=True)


def test_classification_in_parts_is_that_of_the_whole(rng):
    actual, chances = three(rng)
    predicted = chances.argmax(axis=1)
    parts = [Classification(3), Classification(3)]
    for start in range(0, 150, 20):
        rows = slice(start, start + 20)
        parts[start // 80].update(actual[rows], predicted[rows], chances[rows])
    parts[0].merge(parts[1])
    assert parts[0].compute() == pytest.approx({
        "accuracy": reference.accuracy_score(actual, predicted),
        "auc": reference.roc_auc_score(actual, chances, multi_class="ovr", average="macro"),
        "f1": reference.f1_score(actual, predicted, average="macro"),
    })


def test_classification_by_name(rng):
    places, chances = three(rng)
    names = np.array(["10", "9", "gut"])
    actual, predicted = names[places], names[chances.argmax(axis=1)]
    table = pd.DataFrame(chances, columns=names)[["gut", "10", "9"]]  # in any order
    found = classification_metrics(actual, predicted, table)
    assert found["auc"] == pytest.approx(
        reference.roc_auc_score(places, chances, multi_class="ovr")
    )
    assert found["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_two_classes_by_name(rng):
    actual = np.where(rng.random(80) < 0.4, "well", "sick")
    score = (actual == "well") * 0.3 + rng.random(80) * 0.7
    table = pd.DataFrame({"well": score, "sick": 1 - score})
    predicted = np.where(score > 0.5, "well", "sick")
    found = classification_metrics(actual, predicted, table)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(actual == "well", score))
    assert found["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_f1_counts_a_class_that_is_only_predicted():
    actual, predicted = ["a", "a", "b"], ["a", "c", "b"]
    found = classification_metrics(actual, predicted)
    assert found["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert math.isnan(found["auc"])


def test_a_class_the_model_does_not_know_counts_with_probability_zero():
    table = pd.DataFrame({"a": [0.9, 0.2, 0.5], "b": [0.1, 0.8, 0.5]})
    found = classification_metrics(["a", "b", "new"], ["a", "b", "a"], table)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["auc"] == pytest.approx((1.0 + 1.0 + 0.5) / 3)


def test_classification_without_samples_or_with_one_class():
    assert all(math.isnan(value) for value in Classification(2).compute().values())
    one = classification_metrics(["a", "a"], ["a", "a"], pd.DataFrame({"a": [1, 1], "b": [0, 0]}))
    assert one["accuracy"] == 1.0 and math.isnan(one["auc"])
