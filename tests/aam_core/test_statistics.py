"""Metrics with intervals and tests over groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from sklearn.metrics import brier_score_loss, r2_score, roc_auc_score

from aam_core import statistics

SUBJECTS = np.repeat([f"S{i:02d}" for i in range(30)], [2, 5, 8] * 10)
N = len(SUBJECTS)


def numbers(error: float, seed: int = 0) -> statistics.Numbers:
    """Predictions off by a normal error, the same truth whatever the seed."""
    actual = np.random.default_rng(99).normal(50, 15, N)
    return statistics.Numbers(actual, actual + np.random.default_rng(seed).normal(0, error, N))


def classes(noise: float, seed: int = 0) -> pd.DataFrame:
    """A table as cross-validation gives it, of a class that each subject has."""
    rng = np.random.default_rng(seed)
    sick = (np.unique(SUBJECTS, return_inverse=True)[1] % 2).astype(float)
    table = pd.DataFrame({"actual": np.where(sick > 0, "Crohns", "Control")})
    for method, spread in (("aam", noise), ("random_forest", 2 * noise)):
        chance = 1 / (1 + np.exp(-(4 * sick - 2 + rng.normal(0, spread, N))))
        prefix, first = ("", "prediction") if method == "aam" else (f"{method}_", method)
        table[first] = np.where(chance > 0.5, "Crohns", "Control")
        table[f"{prefix}Crohns"], table[f"{prefix}Control"] = chance, 1 - chance
    return table


def test_metrics_of_numbers():
    table = pd.DataFrame(
        {"actual": [1.0, 2.0, 4.0], "prediction": [1.5, 2.0, 3.0], "network": [0.0, 2.0, 4.0]}
    )
    ours = statistics.predictions_of(table, "aam", "regression")
    assert ours.metrics(names=["r2", "mae"]) == pytest.approx(
        {"mae": 0.5, "r2": r2_score(table["actual"], table["prediction"])}
    )
    assert list(ours.metrics()) == ["r2", "mae", "rmse", "spearman"]
    assert ours.metrics(np.array([2, 2, 0]))["mae"] == pytest.approx(2.5 / 3)
    network = statistics.predictions_of(table, "network", "regression")
    assert network.losses.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("method, prefix", [("aam", ""), ("random_forest", "random_forest_")])
def test_metrics_of_classes(method, prefix):
    table = classes(2.0)
    ours = statistics.predictions_of(table, method, "classification")
    sick, chance = table["actual"] == "Crohns", table[f"{prefix}Crohns"]
    predicted = table[method if prefix else "prediction"]
    expected = {"auc": roc_auc_score(sick, chance), "accuracy": (predicted == table.actual).mean()}
    assert ours.metrics(names=expected) == pytest.approx(expected)
    assert ours.losses.mean() == pytest.approx(2 * brier_score_loss(sick, chance))


def test_bootstrap_draws_whole_subjects():
    seen = []

    def count(rows):
        seen.append(np.bincount(rows, minlength=N))
        return np.array([len(rows)])

    statistics.bootstrap(count, SUBJECTS, draws=20)
    for times in seen:
        by_subject = pd.Series(times).groupby(SUBJECTS)
        assert (by_subject.nunique() == 1).all()
        assert by_subject.first().sum() == 30
    assert len({tuple(times) for times in seen}) == 20


def test_bootstrap_interval_is_of_subjects():
    groups = np.repeat(np.arange(100), 10)
    offsets = np.random.default_rng(1).normal(0, 1, 100)
    values = offsets[groups]  # what samples a subject has adds nothing to what is known of it

    def mean(rows):
        return np.array([values[rows].mean()])

    low, high = statistics.bootstrap(mean, groups, seed=3)
    error = offsets.std() / 10
    assert low[0] == pytest.approx(offsets.mean() - 1.96 * error, abs=0.1 * error)
    assert high[0] == pytest.approx(offsets.mean() + 1.96 * error, abs=0.1 * error)
    again = statistics.bootstrap(mean, groups, seed=3)
    assert (low[0], high[0]) == (again[0][0], again[1][0])
    assert statistics.bootstrap(mean, groups, seed=4)[0][0] != low[0]


def test_draws_of_one_class_do_not_count():
    groups = np.array([0, 0, 1, 1])
    of = statistics.Classes(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.eye(2)[[0, 0, 1, 1]])
    low, high = statistics.bootstrap(lambda rows: np.array([of.metrics(rows)["auc"]]), groups)
    assert (low[0], high[0]) == (1.0, 1.0)


def test_paired_test_is_of_the_means_of_subjects():
    ours, theirs = numbers(5.0, seed=1).losses, numbers(6.0, seed=2).losses
    first, second = (pd.Series(x).groupby(SUBJECTS).mean() for x in (ours, theirs))
    better, p = statistics.paired_test(ours, theirs, SUBJECTS)
    assert p == pytest.approx(wilcoxon(first, second).pvalue)
    assert better == (first < second).sum()
    assert statistics.paired_test(theirs, ours, SUBJECTS) == (30 - better, pytest.approx(p))


def test_paired_test_of_the_same():
    losses = numbers(5.0).losses
    assert statistics.paired_test(losses, losses * (1 + 1e-9), SUBJECTS) == (0, 1.0)


def test_the_paired_test_does_not_depend_on_the_units():
    ours, theirs = numbers(5.0, seed=1).losses, numbers(6.0, seed=2).losses
    small = statistics.paired_test(ours * 1e-9, theirs * 1e-9, SUBJECTS)
    assert small == statistics.paired_test(ours, theirs, SUBJECTS) and small[1] < 1


def test_one_group_has_no_intervals(caplog):
    runs = {"ours": [numbers(5.0, 1)], "theirs": [numbers(10.0, 2)]}
    ours = statistics.compare_methods(runs, ["one"] * N, "theirs")["ours"]
    assert {*ours["interval"].values(), *ours["difference_interval"].values()} == {None}
    assert ours["difference"]["mae"] < 0 and ours["p"] == 1
    assert [line.getMessage() for line in caplog.records] == [
        "All samples are of one group: metrics have no intervals"
    ]


def test_an_interval_holds_its_value_or_there_is_none():
    runs = {"ours": [statistics.predictions_of(classes(2.0), "aam", "classification")]}
    (run,) = runs["ours"]
    interval = statistics.compare_methods(runs, SUBJECTS, None)["ours"]["interval"]
    assert interval.pop("ece") is None and None not in interval.values()
    values = run.metrics()
    assert all(low <= values[name] <= high for name, (low, high) in interval.items())
    table = statistics.scored(run, SUBJECTS)
    assert list(table.index[table["low"].isna()]) == ["ece"] and table["value"].notna().all()


def test_comparison_finds_what_is_better():
    result = statistics.compare([numbers(5.0, 1)], [numbers(10.0, 2)], SUBJECTS)
    assert result.value == pytest.approx(numbers(5.0, 1).losses.mean())
    assert result.difference == pytest.approx(result.value - numbers(10.0, 2).losses.mean())
    assert result.interval[0] < result.value < result.interval[1]
    assert result.difference_interval[0] < result.difference < result.difference_interval[1] < 0
    assert (result.subjects, result.p < 0.001, result.better > 20) == (30, True, True)


def test_comparison_of_classes():
    table = classes(2.0)
    pair = [
        [statistics.predictions_of(table, m, "classification")] for m in ("aam", "random_forest")
    ]
    result = statistics.compare(*pair, SUBJECTS)
    columns = ("Crohns", "random_forest_Crohns")
    areas = [roc_auc_score(table["actual"] == "Crohns", table[name]) for name in columns]
    assert (result.value, result.difference) == pytest.approx((areas[0], areas[0] - areas[1]))
    assert 0 < result.difference_interval[0] < result.difference < result.difference_interval[1]
    assert result.p < 0.05


def test_differences_are_paired():
    """Of two that err alike, each is uncertain and their difference is not."""
    one = numbers(10.0)
    other = statistics.Numbers(one.actual, one.actual + 1.1 * (one.predicted - one.actual))
    result = statistics.compare([one], [other], SUBJECTS)
    width, of_difference = (np.ptp(x) for x in (result.interval, result.difference_interval))
    assert of_difference == pytest.approx(0.1 * width)


def test_seeds_are_averaged():
    ours, theirs = [numbers(5.0, s) for s in (1, 2)], [numbers(6.0, s) for s in (3, 4)]
    result = statistics.compare(ours, theirs, SUBJECTS)
    means = [np.mean([run.losses for run in runs], axis=0) for runs in (ours, theirs)]
    assert result.value == pytest.approx(means[0].mean())
    assert result.difference == pytest.approx((means[0] - means[1]).mean())
    assert (result.better, result.p) == statistics.paired_test(*means, SUBJECTS)
    assert statistics.mean_metrics(ours)["r2"] == pytest.approx(
        np.mean([run.metrics()["r2"] for run in ours])
    )


def test_methods_are_compared_with_one_of_them(caplog):
    runs = {"ours": [numbers(5.0, 1)], "theirs": [numbers(10.0, 2)], "twin": [numbers(10.0, 2)]}
    compared = statistics.compare_methods(runs, SUBJECTS, "theirs")
    pair = statistics.compare(runs["ours"], runs["theirs"], SUBJECTS)
    ours = compared["ours"]
    assert tuple(ours["interval"]["mae"]) == pytest.approx(pair.interval)
    assert ours["difference"]["mae"] == pytest.approx(pair.difference)
    assert tuple(ours["difference_interval"]["mae"]) == pytest.approx(pair.difference_interval)
    assert (ours["better"], ours["p"]) == (pair.better, pair.p)
    assert set(compared["theirs"]) == {"interval"}
    assert compared["twin"]["difference_interval"]["spearman"] == [0, 0]
    assert compared["twin"]["p"] == 1
    caplog.clear()
    with caplog.at_level("INFO", logger="aam"):
        alone = statistics.compare_methods(runs, SUBJECTS, None, target="bmi")
    assert "Intervals of metrics of bmi: 2000 draws" in caplog.text
    assert alone["ours"] == {"interval": ours["interval"]}


def test_a_metric_that_no_draw_has_has_no_interval():
    one = statistics.Classes(np.zeros(4, int), np.zeros(4, int), np.tile([0.7, 0.3], (4, 1)))
    interval = statistics.compare_methods({"ours": [one]}, list("abcd"), None)["ours"]["interval"]
    assert interval["auc"] is None and interval["accuracy"] == [1, 1]


def test_benjamini_hochberg():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9])
    q = [0.025, 0.05, np.nan, 0.05, 0.025, 0.9]  # what is not tested does not count
    np.testing.assert_allclose(statistics.benjamini_hochberg(p), q)


def test_scored_has_an_interval_of_each_metric():
    ours = numbers(10)
    table = statistics.scored(ours, SUBJECTS)
    assert dict(table["value"]) == ours.metrics()
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    low, high = statistics.bootstrap(
        lambda rows: np.array([ours.metrics(rows, ["mae"])["mae"]]), SUBJECTS
    )
    alone = statistics.scored(ours, SUBJECTS, names=["mae"])
    assert list(alone.loc["mae", ["low", "high"]]) == pytest.approx([low[0], high[0]])


def test_scored_omits_what_is_not_defined():
    same = statistics.Numbers(np.ones(4), np.arange(4.0))
    table = statistics.scored(same, np.arange(4))
    assert np.isnan(table.loc["r2", "value"]) and np.isfinite(table.loc["mae", "high"])
    assert statistics.scored(same, np.zeros(4))["low"].isna().all()
