from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

from aam_core.tasks.metrics import (
    BINS,
    ClassificationMetrics,
    RegressionMetrics,
    Reservoir,
    classification_metrics,
    merged,
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
        "spearman": spearmanr(actual, predicted).statistic,
    }


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_regression_in_parts_is_that_of_the_whole(rng, shift):
    actual = shift + rng.normal(size=101)
    predicted = actual + rng.normal(size=101)
    parts = [RegressionMetrics(ranks=True) for _ in range(3)]  # the last stays empty
    for start in range(0, 101, 7):
        rows = slice(start, start + 7)
        parts[start // 60].update(actual[rows], predicted[rows])
    whole = RegressionMetrics(ranks=True)
    for part in parts:
        whole.merge(part)
    assert whole.compute() == pytest.approx(expected_regression(actual, predicted))
    assert whole.compute() == pytest.approx(regression_metrics(actual, predicted))


def test_without_ranks_no_sample_is_kept(rng):
    metrics = RegressionMetrics()
    metrics.update(rng.normal(size=9), rng.normal(size=9))
    assert metrics.scored == [] and math.isnan(metrics.compute()["spearman"])
    assert list(metrics.compute(["mae", "r2"])) == ["r2", "mae"]


def test_ties_share_their_rank(rng):
    actual, predicted = rng.integers(0, 5, 50), rng.integers(0, 5, 50)
    expected = spearmanr(actual, predicted).statistic
    assert regression_metrics(actual, predicted)["spearman"] == pytest.approx(expected)
    assert math.isnan(regression_metrics([1, 2, 3], [7, 7, 7])["spearman"])


def test_regression_without_samples_or_spread():
    assert all(math.isnan(value) for value in RegressionMetrics().compute().values())
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
    probabilities = rng.random((samples, 3)) + np.eye(3)[actual] * 0.4
    return actual, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_classification_in_parts_is_that_of_the_whole(rng):
    actual, probabilities = three(rng)
    predicted = probabilities.argmax(axis=1)
    parts = [ClassificationMetrics(3), ClassificationMetrics(3)]
    for start in range(0, 150, 20):
        rows = slice(start, start + 20)
        parts[start // 80].update(actual[rows], predicted[rows], probabilities[rows])
    parts[0].merge(parts[1])
    assert parts[0].compute() == pytest.approx(
        {
            "accuracy": reference.accuracy_score(actual, predicted),
            "auc": reference.roc_auc_score(
                actual, probabilities, multi_class="ovr", average="macro"
            ),
            "f1": reference.f1_score(actual, predicted, average="macro"),
            "balanced_accuracy": reference.balanced_accuracy_score(actual, predicted),
            "brier": ((probabilities - np.eye(3)[actual]) ** 2).sum(axis=1).mean(),
            "ece": parts[0].compute(["ece"])["ece"],  # tested below
        }
    )


def test_classification_by_name(rng):
    places, probabilities = three(rng)
    names = np.array(["10", "9", "gut"])
    actual, predicted = names[places], names[probabilities.argmax(axis=1)]
    table = pd.DataFrame(probabilities, columns=names)[["gut", "10", "9"]]  # in any order
    values = classification_metrics(actual, predicted, table)
    assert values["auc"] == pytest.approx(
        reference.roc_auc_score(places, probabilities, multi_class="ovr")
    )
    assert values["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_two_classes_by_name(rng):
    actual = np.where(rng.random(80) < 0.4, "well", "sick")
    score = (actual == "well") * 0.3 + rng.random(80) * 0.7
    table = pd.DataFrame({"well": score, "sick": 1 - score})
    predicted = np.where(score > 0.5, "well", "sick")
    values = classification_metrics(actual, predicted, table)
    assert values["auc"] == pytest.approx(reference.roc_auc_score(actual == "well", score))
    brier = reference.brier_score_loss(actual == "well", score)
    assert values["brier"] == pytest.approx(2 * brier)
    assert values["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_f1_counts_a_class_that_is_only_predicted():
    actual, predicted = ["a", "a", "b"], ["a", "c", "b"]
    values = classification_metrics(actual, predicted)
    assert values["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro"))
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert math.isnan(values["auc"]) and math.isnan(values["brier"])


def test_a_class_the_model_does_not_know_counts_with_probability_zero():
    table = pd.DataFrame({"a": [0.9, 0.2, 0.5], "b": [0.1, 0.8, 0.5]})
    values = classification_metrics(["a", "b", "new"], ["a", "b", "a"], table)
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["auc"] == pytest.approx((1.0 + 1.0 + 0.5) / 3)


def test_classification_without_samples_or_with_one_class():
    assert all(math.isnan(value) for value in ClassificationMetrics(2).compute().values())
    one = classification_metrics(["a", "a"], ["a", "a"], pd.DataFrame({"a": [1, 1], "b": [0, 0]}))
    assert one["accuracy"] == 1.0 and math.isnan(one["auc"])


# --- areas from bins -----------------------------------------------------------------------------


def sure(rng, classes, samples=3000):
    """Probabilities of a model that is sure of itself: most are within 1e-4 of 0 or 1."""
    actual = rng.integers(0, classes, samples)
    logits = 9 * rng.normal(size=(samples, classes)) + 8 * np.eye(classes)[actual]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return actual, odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_binned_areas_are_near_the_exact_ones(rng, classes):
    actual, probabilities = sure(rng, classes)
    exact, binned = ClassificationMetrics(classes), ClassificationMetrics(classes, bins=BINS)
    for metrics in (exact, binned):
        metrics.update(actual, probabilities.argmax(1), probabilities)
    assert binned.compute() == pytest.approx(exact.compute(), abs=1e-3)
    assert binned.compute(["auc"]) != exact.compute(["auc"])
    assert binned.compute(["brier"]) == exact.compute(["brier"])
    coarse = ClassificationMetrics(classes, bins=2)  # all that is left is the side of one half
    coarse.update(actual, probabilities.argmax(1), probabilities)
    assert coarse.compute()["auc"] < exact.compute()["auc"] - 0.01


def test_binned_areas_take_no_more_memory_for_more_samples(rng):
    metrics = ClassificationMetrics(3, bins=64)
    for _ in range(5):
        actual, probabilities = three(rng)
        metrics.update(actual, probabilities.argmax(1), probabilities)
    assert metrics.scored == [] and metrics.histogram.shape == (3, 2, 64)
    assert metrics.histogram.sum(axis=(1, 2)).tolist() == [750] * 3


def test_bins_hold_every_probability_there_is():
    metrics = ClassificationMetrics(2, bins=16)
    score = np.array([0.0, 1e-300, 0.5, 1.0, 1.0 + 1e-7])
    metrics.update([0, 0, 1, 1, 1], [0, 0, 1, 1, 1], np.stack([1 - score, score], 1))
    assert metrics.compute()["auc"] == 1.0


def test_binned_areas_without_samples_or_with_one_class():
    metrics = ClassificationMetrics(2, bins=16)
    assert math.isnan(metrics.compute()["auc"])
    metrics.update([1, 1], [1, 1], [[0.2, 0.8], [0.4, 0.6]])
    assert math.isnan(metrics.compute()["auc"])


@pytest.mark.parametrize("bins", [None, 256])
def test_merging_in_any_order_is_the_whole(rng, bins):
    actual, probabilities = three(rng)
    whole, parts = (
        ClassificationMetrics(3, bins),
        [ClassificationMetrics(3, bins) for _ in range(4)],
    )
    whole.update(actual, probabilities.argmax(1), probabilities)
    for rank, part in enumerate(parts[:3]):  # the last process had no sample
        rows = slice(rank, None, 3)
        part.update(actual[rows], probabilities[rows].argmax(1), probabilities[rows])
    assert merged(parts).compute() == whole.compute() == merged(parts[::-1]).compute()
    assert merged(parts).compute() == whole.compute()  # they were left as they are


# --- samples of rows -----------------------------------------------------------------------------


def test_a_reservoir_keeps_the_same_rows_whatever_the_batches_order_and_ranks(rng):
    keys = rng.permutation(5000)
    values, names = keys * 0.5, keys.astype(str)
    whole = Reservoir(100)
    whole.update(keys, values, names)
    kept = whole.rows()
    assert len(kept[0]) == 100 and (np.diff(kept[0]) > 0).all()
    assert (kept[1].astype(int) * 0.5 == kept[0]).all()

    ranks = [Reservoir(100) for _ in range(4)]  # the last sees nothing
    for i, start in enumerate(range(0, 5000, 7)):
        rows = rng.permutation(np.arange(start, min(start + 7, 5000)))
        ranks[i % 3].update(keys[rows], values[rows], names[rows])
        assert all(len(kept) <= 100 for kept in ranks[i % 3].kept)
    for order in (ranks, ranks[::-1]):
        for ours, theirs in zip(merged(order).rows(), kept, strict=True):
            assert (ours == theirs).all()


def test_a_reservoir_keeps_all_of_a_few_rows():
    reservoir = Reservoir(5)
    assert reservoir.rows() == ()
    column = np.array([3.0, 1.0])
    reservoir.update([3, 1], column)
    column[:] = -1.0  # the caller's own
    reservoir.update([2], [2.0])
    (values,) = reservoir.rows()
    assert values.tolist() == [1.0, 2.0, 3.0]


def test_a_reservoir_is_a_uniform_sample():
    """Keys that follow each other, and those of pairs, of which i < j: no part is favoured."""
    reservoir = Reservoir(1000)
    reservoir.update(np.arange(20000), np.arange(20000))
    (keys,) = reservoir.rows()
    assert np.histogram(keys, 10, (0, 20000))[0] == pytest.approx(100, abs=40)
    assert np.bincount(keys % 7) == pytest.approx(1000 / 7, abs=50)
    reservoir, (i, j) = Reservoir(1000), np.triu_indices(400, 1)
    reservoir.update(i * 400 + j, i, j)
    left, right = reservoir.rows()
    assert left.mean() == pytest.approx(133, abs=12) and right.mean() == pytest.approx(266, abs=12)


def test_the_calibration_error_is_that_of_each_step_of_probabilities():
    chances = np.repeat([[0.95, 0.05], [0.65, 0.35]], 50, axis=0)
    actual = np.r_[np.zeros(40), np.ones(10), np.zeros(35), np.ones(15)].astype(int)
    halves = []
    for bins in (None, BINS):
        parts = [ClassificationMetrics(2, bins) for _ in range(2)]
        for part, rows in zip(parts, (slice(0, 30), slice(30, 100)), strict=True):
            part.update(actual[rows], chances[rows].argmax(1), chances[rows])
        halves.append(merged(parts).compute(["ece"])["ece"])
    # Of the first 50 samples 0.8 are of a class with probability 0.95; of the others 0.7, not 0.65.
    assert halves == pytest.approx([(50 * 0.15 + 50 * 0.05) / 100] * 2)
