"""Metrics and curves of classes, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from aam_core.reporting.class_scores import class_scores
from aam_core.tasks.metrics import classification_metrics

CLASSES = ["a", "b", "c"]


def predicted(samples=120, classes=CLASSES, decimals=2, seed=0):
    """Probabilities with ties, which know something of the class."""
    rng = np.random.default_rng(seed)
    actual = rng.integers(len(classes), size=samples)
    logits = rng.normal(size=(samples, len(classes)))
    logits[np.arange(samples), actual] += 1.2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(shares.round(decimals), columns=classes)
    names = np.array(classes)
    return table.assign(actual=names[actual], prediction=names[shares.argmax(axis=1)])


def test_values_are_those_of_scikit_learn_and_of_our_metrics():
    table = predicted()
    scores = class_scores(table, CLASSES)
    for name in CLASSES:
        ours = table["actual"] == name
        row = scores.areas.loc[name]
        assert row["auc"] == pytest.approx(roc_auc_score(ours, table[name]))
        assert row["average_precision"] == pytest.approx(average_precision_score(ours, table[name]))
        assert row["share"] == pytest.approx(ours.mean())
    expected = classification_metrics(table["actual"], table["prediction"], table[CLASSES])
    assert set(scores.metrics.index) == set(expected)
    for name, value in expected.items():
        assert scores.metrics.loc[name, "value"] == pytest.approx(value), name


def test_the_curve_is_that_of_scikit_learn_at_each_rate():
    table = predicted()
    roc = class_scores(table, CLASSES).roc
    false, true, _ = roc_curve(table["actual"] == "b", table["b"], drop_intermediate=False)
    part = roc[roc["class"] == "b"]
    for rate, value in zip(part["false_positive_rate"], part["true_positive_rate"], strict=True):
        at = true[false == rate].max() if (false == rate).any() else np.interp(rate, false, true)
        assert value == pytest.approx(at)


def test_intervals_hold_the_values_and_are_wider_over_groups():
    table = predicted(60)
    table = pd.concat([table] * 5, ignore_index=True)  # five like samples of each subject
    alone = class_scores(table, CLASSES)
    grouped = class_scores(table, CLASSES, np.tile(np.arange(60), 5))
    for scores in (alone, grouped):
        bounded = scores.metrics.drop("ece")
        assert (bounded["low"] <= bounded["value"]).all()
        assert (bounded["value"] <= bounded["high"]).all()
        assert (scores.areas["auc_low"] <= scores.areas["auc"]).all()
        assert (scores.areas["auc"] <= scores.areas["auc_high"]).all()
    widths = [(s.areas["auc_high"] - s.areas["auc_low"]).mean() for s in (alone, grouped)]
    assert widths[1] == pytest.approx(np.sqrt(5) * widths[0], rel=0.3)


def test_a_class_that_no_sample_has_has_no_curve():
    table = predicted(classes=["a", "b", "c", "d"])
    table = table[table["actual"] != "d"]
    assert list(class_scores(table, ["a", "b", "c", "d"]).areas.index) == CLASSES


def test_without_probabilities_there_are_counts_alone():
    table = predicted()[["actual", "prediction"]]
    scores = class_scores(table, CLASSES)
    assert list(scores.metrics.index) == ["accuracy", "balanced_accuracy", "f1"]
    assert not len(scores.areas) and not len(scores.roc)


def test_a_class_that_the_model_does_not_know_counts_with_0():
    table = predicted()
    table["actual"] = table["actual"].mask(np.arange(len(table)) % 10 == 0, "new")
    scores = class_scores(table, [*CLASSES, "new"])
    expected = classification_metrics(table["actual"], table["prediction"], table[CLASSES])
    for name, value in expected.items():
        assert scores.metrics.loc[name, "value"] == pytest.approx(value), name
    auc = scores.metrics.loc["auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["value"] == pytest.approx((scores.areas["auc"].sum() + 0.5) / 4)
    brier = scores.metrics.loc["brier"]
    assert brier["low"] < brier["value"] < brier["high"]
    assert list(scores.areas.index) == CLASSES and set(scores.roc["class"]) == set(CLASSES)


def test_probabilities_may_be_apart_from_the_table():
    table = predicted()
    within = class_scores(table, CLASSES)
    apart = class_scores(table[["actual", "prediction"]], CLASSES, probabilities=table[CLASSES])
    pd.testing.assert_frame_equal(within.metrics, apart.metrics)
    pd.testing.assert_frame_equal(within.areas, apart.areas)


def test_one_group_or_one_class_has_no_intervals():
    table = predicted()
    scores = class_scores(table, CLASSES, np.zeros(len(table)))
    assert scores.metrics["low"].isna().all() and scores.areas["auc_low"].isna().all()
    assert scores.roc["low"].isna().all()
    one = class_scores(table[table["actual"] == "a"], CLASSES)
    assert not len(one.areas) and np.isnan(one.metrics.loc["auc", "value"])
