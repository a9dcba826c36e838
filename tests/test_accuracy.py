"""The accuracy benchmark: its studies, and the table that it keeps."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from aam_core.data.splits import make_folds
from benchmarks import accuracy_studies as studies

ROOT = Path(__file__).resolve().parents[1]

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
    first, second = studies.METRICS[task]
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
