"""The accuracy benchmark: its statistics, its studies, and the table that it keeps."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from sklearn.metrics import brier_score_loss, r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from aam_core.data.splits import make_folds
from benchmarks import accuracy_statistics as statistics
from benchmarks import accuracy_studies as studies

ROOT = Path(__file__).resolve().parents[1]
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


# --- statistics ----------------------------------------------------------------------------------


def test_metrics_of_numbers():
    table = pd.DataFrame(
        {"actual": [1.0, 2.0, 4.0], "prediction": [1.5, 2.0, 3.0], "network": [0.0, 2.0, 4.0]}
    )
    ours = statistics.predictions_of(table, "aam", "regression")
    assert ours.metrics() == pytest.approx(
        {"mae": 0.5, "r2": r2_score(table["actual"], table["prediction"])}
    )
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
    assert ours.metrics() == pytest.approx(expected)
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


def test_comparison_finds_what_is_better():
    result = statistics.compare([numbers(5.0, 1)], [numbers(10.0, 2)], SUBJECTS, "regression")
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
    result = statistics.compare(*pair, SUBJECTS, "classification")
    columns = ("Crohns", "random_forest_Crohns")
    areas = [roc_auc_score(table["actual"] == "Crohns", table[name]) for name in columns]
    assert (result.value, result.difference) == pytest.approx((areas[0], areas[0] - areas[1]))
    assert 0 < result.difference_interval[0] < result.difference < result.difference_interval[1]
    assert result.p < 0.05


def test_differences_are_paired():
    """Of two that err alike, each is uncertain and their difference is not."""
    one = numbers(10.0)
    other = statistics.Numbers(one.actual, one.actual + 1.1 * (one.predicted - one.actual))
    result = statistics.compare([one], [other], SUBJECTS, "regression")
    width, of_difference = (np.ptp(x) for x in (result.interval, result.difference_interval))
    assert of_difference == pytest.approx(0.1 * width)


def test_seeds_are_averaged():
    ours, theirs = [numbers(5.0, s) for s in (1, 2)], [numbers(6.0, s) for s in (3, 4)]
    result = statistics.compare(ours, theirs, SUBJECTS, "regression")
    means = [np.mean([run.losses for run in runs], axis=0) for runs in (ours, theirs)]
    assert result.value == pytest.approx(means[0].mean())
    assert result.difference == pytest.approx((means[0] - means[1]).mean())
    assert (result.better, result.p) == statistics.paired_test(*means, SUBJECTS)
    assert statistics.mean_metrics(ours)["r2"] == pytest.approx(
        np.mean([run.metrics()["r2"] for run in ours])
    )


# --- studies -------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_folds_of_ecam_are_those_of_scikit_learn(real_data):
    """Of the subjects as numbers: as text they are ordered, and ties broken, in another way."""
    study = studies.ecam(real_data)
    subjects = study.metadata[studies.SUBJECT]
    ours = make_folds(study.sample_ids, folds=5, seed=0, groups=subjects)
    theirs = GroupKFold(5).split(subjects, groups=subjects)
    names = np.array(study.sample_ids)
    assert [test for _, test in ours] == [names[test].tolist() for _, test in theirs]


SHARES = [0.46, 0.37, 0.41, 0.35, 0.42]


@pytest.mark.real_data
def test_folds_of_ibd_are_those_of_scikit_learn(real_data):
    study = studies.ibd(real_data)
    assert len(study.sample_ids) == 449
    subjects, ill = study.metadata[studies.SUBJECT], study.metadata["ibd"]
    ours = make_folds(study.sample_ids, folds=5, seed=0, groups=subjects, strata=ill)
    # StratifiedGroupKFold(5, shuffle=True, random_state=0) of scikit-learn 1.8; earlier ones differ
    assert [len(test) for _, test in ours] == [90, 100, 82, 96, 81]
    assert [round((ill[test] == "Crohns").mean(), 2) for _, test in ours] == SHARES


@pytest.mark.real_data
def test_rarefied_beforehand(real_data):
    deep, even = studies.ibd(real_data), studies.ibd_rarefied(real_data)
    assert (even.counts.sum(axis=1) == studies.MIN_READS).all()
    assert even.sample_ids == deep.sample_ids
    place = {name: i for i, name in enumerate(deep.feature_ids)}
    of_even = deep.counts[:, [place[name] for name in even.feature_ids]]
    assert (of_even - even.counts).min() >= 0
    assert even.counts.getnnz(axis=0).min() > 0
    assert [deep.sequences[place[name]] for name in even.feature_ids] == even.sequences


@pytest.mark.real_data
def test_parts_of_ecam(real_data):
    young, few = studies.first_days(real_data), studies.few_subjects(real_data)
    assert young.metadata["day_of_life"].max() < 180
    whole = studies.ecam(real_data).metadata[studies.SUBJECT]
    drawn = few.metadata[studies.SUBJECT]
    assert drawn.nunique() == 12
    assert len(drawn) == whole.isin(drawn.unique()).sum()  # all that they gave
    for study in (young, few):
        assert study.counts.shape == (len(study.sample_ids), len(study.feature_ids))
        assert len(study.sequences) == len(study.feature_ids)
        assert study.counts.getnnz(axis=0).min() > 0


def test_simulated_study():
    study = studies.STUDIES["simulated-200"].load(Path("nowhere"))
    assert len(study.sample_ids) == 200
    assert study.metadata[studies.SUBJECT].nunique() == 50


# --- the script ----------------------------------------------------------------------------------


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("accuracy")


def result(task: str, ours: float, forest: float, day: str = "2025-01-02") -> dict:
    first, second = statistics.METRICS[task]
    metrics = {m: {first: forest, second: 0.5} for m in ("random_forest", "network", "reads")}
    return {
        "date": day,
        "mode": "quick",
        "seeds": 1,
        "task": task,
        "samples": 1234,
        "figures": {**metrics, "aam": {first: ours, second: 0.6}},
        "aam_against_random_forest": {
            "interval": (ours, ours),
            "difference": ours - forest,
            "difference_interval": (ours - forest, ours - forest),
            "subjects": 42,
            "p": 0.00004,
        },
        "cpu_s": 567.8,
    }


def test_table(accuracy):
    made = accuracy.table(
        {"ibd": result("classification", 0.9444, 0.95), "ecam": result("regression", 73.98, 87.0)}
    )
    head, rule, *rows = made.splitlines()
    assert {row.count("|") for row in (head, rule, *rows)} == {head.count("|")}
    assert rows[0] == (
        "| `ecam`, children: day of life | 1,234 (42) | MAE | 87.0 | 87.0 | **74.0** | 87.0 | "
        "[74.0, 74.0] | -13.0 [-13.0, -13.0] | 4e-05 | 568 | 2025-01-02, quick, 1 seed |"
    )
    assert rows[1].startswith("|  |  | R2 | 0.500 | 0.500 | 0.600 | 0.500 |")
    assert "| AUC | **0.950** | 0.950 | 0.944 | 0.950 |" in rows[2]
    assert "| accuracy | 0.500 |" in rows[3]


def test_results_are_kept_one_by_one(accuracy, tmp_path):
    output, docs = tmp_path / "results" / "accuracy.json", tmp_path / "page.md"
    docs.write_text("# Benchmarks\n\nText.\n")
    accuracy.save("ibd", result("classification", 0.9, 0.8, "2025-01-01"), output, docs)
    page = docs.read_text()
    assert page.startswith("# Benchmarks\n\nText.\n\n## Accuracy\n")
    docs.write_text(page + "\n## More\n")
    accuracy.save("ecam", result("regression", 70.0, 87.0, "2025-02-02"), output, docs)
    accuracy.save("ecam", result("regression", 74.0, 87.0, "2025-03-03"), output, None)
    assert list(json.loads(output.read_text())) == ["ecam", "ibd"]
    assert json.loads(output.read_text())["ecam"]["date"] == "2025-03-03"
    page = docs.read_text()
    assert page.endswith(f"{accuracy.END}\n\n## More\n")
    assert page.count(accuracy.BEGIN) == page.count("## Accuracy") == 1
    assert "2025-01-01" in page and "2025-02-02" in page and "2025-03-03" not in page


def test_studies_whose_data_are_absent_are_left_out(accuracy, tmp_path, capsys):
    args = argparse.Namespace(study=None, mode="quick", data=tmp_path)
    assert accuracy.choose(args) == ["simulated-200", "simulated-500"]
    messages = capsys.readouterr().err
    assert messages.count("\n") == 1 and "ecam, ibd, ibd-rarefied" in messages
    (tmp_path / "ibd").mkdir()
    args = argparse.Namespace(study=["ibd-rarefied", "ibd"], mode="quick", data=tmp_path)
    assert accuracy.choose(args) == ["ibd", "ibd-rarefied"]
    assert capsys.readouterr().err == ""


def test_settings_are_the_default(accuracy):
    assert accuracy.config(0, 0) == accuracy.fitting()
    changed = accuracy.config(2, 1)
    assert changed.differences(accuracy.fitting()).keys() == {"train.seed", "train.threads"}
