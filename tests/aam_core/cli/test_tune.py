"""``aam tune``."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import yaml

from aam_core.config.resolve import read_settings
from aam_core.files import own_output

BRIEF = ("--preset", "tiny", "--max-steps", 2, "--sampling-depth", 200, "--device", "cpu")
BRIEF += ("--set", "model.members=2", "--val-fraction", 0.5)

SPACE = "optim.lr: {low: 1e-4, high: 1e-2, log: true}\nmodel.sample.depth: {choices: [1, 2]}\n"


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom", "--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_searches_and_goes_on(aam, files, space, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    call = ("tune", *files, "--target", "gradient", "--group-by", "host_subject_id")
    call = (*call, "--space", space, "--output", out, *BRIEF)
    outcome = aam(*call, "--trials", 1)
    assert outcome.status == 0, outcome.err
    outcome = aam(*call, "--trials", 3)
    assert outcome.status == 0, outcome.err
    lines = outcome.err.splitlines()
    assert [line[:10] for line in lines[1:3]] == ["tune: 2/3 ", "tune: 3/3 "]
    trials = pd.read_csv(out / "trials.tsv", sep="\t")
    assert len(trials) == 3
    best = trials.loc[trials["value"].idxmin()]
    assert lines[-1] == f"Best val/mae: {best['value']:.4g}; written to {out}"
    shown = yaml.safe_load(outcome.out)
    assert shown == yaml.safe_load((out / "best.yaml").read_text())
    assert shown["optim"]["lr"] == pytest.approx(best["optim.lr"])
    assert set(read_settings(out / "best.yaml")) == {
        "optim.lr",
        "model.sample.depth",
        "train.best_metric",
    }
    fit = ("fit-regressor", *files, "--target", "gradient", *BRIEF, "--config", out / "best.yaml")
    fit += ("--set", "forest.trees=10")
    assert aam(*fit, "--output", tmp_path / "model").status == 0


@pytest.mark.slow
def test_several_jobs(aam, files, space, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    call = ("tune", *files, "--target", "group", "--task", "classification", "--jobs", 2)
    call = (*call, "--space", space)
    outcome = aam(*call, "--trials", 2, "--metric", "accuracy", "--output", out, *BRIEF)
    assert outcome.status == 0, outcome.err
    trials = pd.read_csv(out / "trials.tsv", sep="\t")
    assert len(trials) == 2 and set(trials["state"]) == {"complete"}
    assert "Best val/accuracy" in outcome.err


def test_refusals(refuses, aam, files, space, tmp_path):
    pytest.importorskip("optuna")
    call = ("tune", *files, "--target", "gradient", "--output", tmp_path / "search", *BRIEF)
    assert "--freeze-encoder needs --encoder" in refuses(*call, "--freeze-encoder")
    assert "1" in refuses(*call, "--trials", 0)
    space.write_text("optim.lrr: {low: 1, high: 2}")
    line = refuses(*call, "--space", space)
    assert f"{space}: There is no setting 'optim.lrr'; did you mean 'optim.lr'?" in line
    assert list(tmp_path.iterdir()) == [space]


def test_another_target_in_the_same_folder(refuses, aam, files, space, tmp_path):
    pytest.importorskip("optuna")
    out = ("--space", space, "--output", tmp_path / "search", "--trials", 1, *BRIEF)
    assert aam("tune", *files, "--target", "gradient", *out).status == 0
    call = ("tune", *files, "--target", "group", "--task", "classification", *out)
    line = refuses(*call)
    assert "task ('regression' there, 'classification' here), target ('gradient' there" in line


def test_only_the_folder_of_a_search_is_gone_on_with(refuses, files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tune.db").write_text("mine")
    assert not own_output.is_search(other)
    call = ("tune", *files, "--target", "gradient", "--output", other)
    assert "holds what this command did not write (tune.db)" in refuses(*call)
    (other / "tune.db").write_bytes(b"SQLite format 3\0 and so on")
    assert own_output.is_search(other)


def test_without_optuna(refuses, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    call = ("tune", *files, "--target", "gradient", "--output", tmp_path / "search")
    assert "Tuning needs Optuna: pip install optuna." in refuses(*call)
    assert list(tmp_path.iterdir()) == []
