"""``aam cross-validate``."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from aam_core.comparison import labels_of

BRIEF = ("--preset", "tiny", "--max-steps", 2, "--sampling-depth", 200, "--device", "cpu")
BRIEF += ("--set", "model.members=2", "--val-fraction", 0.5, "--set", "forest.trees=10")


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Intervals of few bootstrap draws, which take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
        yield


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


@pytest.mark.parametrize(
    "task, target, expected",
    [
        ("regression", "gradient", {"r2", "mae", "rmse"}),
        ("classification", "group", {"accuracy", "auc", "f1"}),
    ],
)
def test_scores_every_sample_beside_a_random_forest(
    aam, files, study_dir, tmp_path, task, target, expected
):
    out = tmp_path / "cv"
    outcome = aam(
        *("cross-validate", *files, "--target", target, "--task", task, "--baseline"),
        *("--group-by", "host_subject_id", "--folds", 2, "--output", out, *BRIEF),
    )
    assert outcome.status == 0, outcome.err
    metrics = json.loads((out / "metrics.json").read_text())
    header, *lines = outcome.out.splitlines()
    shown_names = labels_of(task)
    assert len(lines) == len(shown_names)
    for line, (name, label) in zip(lines, shown_names.items(), strict=True):
        assert line.startswith(f"{label} ") and expected <= set(metrics[name])
        assert line.count("[") == (1 if name == "random_forest" else 2)
        cells = list(zip(header.split(), line.removeprefix(label).split(), strict=False))
        shown = dict(reversed(cells))  # the difference of a metric stands behind the metric
        for metric in expected:
            assert float(shown[metric]) == pytest.approx(metrics[name][metric], rel=1e-3)
    log = outcome.err.splitlines()
    subjects = metrics["held_out"]["groups"]
    assert any(
        f"{len(metrics['per_fold'])} folds" in line and str(subjects) in line for line in log
    )
    for stage in ("fold 1/2: fitting forests", "fold 2/2: fitting the baselines to compare"):
        assert any(line.startswith(stage) for line in log)
    first = metrics["per_fold"][0]["held_out"]["samples"]
    assert any(f"fold 1/2: {first} test samples: " in line for line in log)
    assert any("coverage: share" in line for line in log) == (task == "regression")
    predictions = pd.read_csv(out / "predictions.tsv", sep="\t", index_col="sample-id")
    metadata = pd.read_csv(study_dir / "metadata.tsv", sep="\t", index_col="sample-id")
    assert set(predictions.index) == set(metadata.index)
    folds = predictions["fold"].groupby(metadata["host_subject_id"]).nunique()
    assert (folds == 1).all()
    assert list(out.glob("*.png"))


def test_without_the_baseline(aam, files, tmp_path):
    out = tmp_path / "cv"
    outcome = aam(
        *("cross-validate", *files, "--target", "gradient", "--no-baseline"),
        *("--folds", 2, "--output", out, *BRIEF),
    )
    assert outcome.status == 0, outcome.err
    assert "forest" not in outcome.out
    metrics = json.loads((out / "metrics.json").read_text())
    summaries = {"network_weight", "comparison", "per_fold"}
    assert set(metrics) == {"held_out", "aam", "network", "interval"} | summaries
    assert {"aam", "network"} == set(pd.read_csv(out / "comparison.tsv", sep="\t")["method"])


def test_folds_that_were_written_come_back(aam, files, study_dir, tmp_path):
    call = ("cross-validate", *files, "--target", "gradient", *BRIEF, "--baselines", "dummy")
    metadata = pd.read_csv(study_dir / "metadata.tsv", sep="\t", index_col="sample-id")
    runs = sorted(set(metadata["sequencing_run"]))[:1]
    given = [text for run in runs for text in ("--test-where", f"sequencing_run={run}")]
    outcome = aam(*call, *given, "--output", tmp_path / "one")
    assert outcome.status == 0, outcome.err
    tested = pd.read_csv(tmp_path / "one" / "predictions.tsv", sep="\t", index_col="sample-id")
    assert set(tested.index) == set(metadata.index[metadata["sequencing_run"].isin(runs)])
    assert "dummy" in tested and "random_forest" not in tested and "median" in outcome.out
    again = aam(*call, "--folds-file", tmp_path / "one" / "folds.tsv", "--output", tmp_path / "two")
    assert again.status == 0, again.err
    assert again.out == outcome.out
    for name in ("predictions.tsv", "folds.tsv", "comparison.tsv", "metrics.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_covariates(aam, files, tmp_path):
    predictions = []
    for covariates in ((), ("--covariate", "group")):
        out = tmp_path / f"cv{len(covariates)}"
        outcome = aam(
            *("cross-validate", *files, "--target", "gradient", "--no-baseline", *covariates),
            *("--folds", 2, "--output", out, *BRIEF),
        )
        assert outcome.status == 0, outcome.err
        predictions.append(pd.read_csv(out / "predictions.tsv", sep="\t", index_col="sample-id"))
    without, given = predictions
    assert set(given.index) == set(without.index)
    assert not given["prediction"].equals(without["prediction"])


def test_refusals(refuses, files, tmp_path):
    out = ("--target", "gradient", "--output", tmp_path / "cv", *BRIEF)
    assert "2" in refuses("cross-validate", *files, *out, "--folds", 1)
    assert "folds" in refuses("cross-validate", *files, *out, "--folds", 1000)
    assert "--encoder" in refuses("cross-validate", *files, *out, "--freeze-encoder")
    two = (*("--folds", 2), *("--test-where", "group=case"))
    assert "--folds and --test-where divide" in refuses("cross-validate", *files, *out, *two)
    both = ("--baselines", "reads", "--no-baseline")
    assert "exclude each other" in refuses("cross-validate", *files, *out, *both)
    assert "must be one of" in refuses("cross-validate", *files, *out, "--baselines", "oracle")
    assert "given away" in refuses("cross-validate", *files, *out, "--covariate", "gradient")
    assert list(tmp_path.iterdir()) == []


def test_several_targets_have_a_table_each(aam, files, study_dir, tmp_path):
    table = pd.read_csv(study_dir / "metadata.tsv", sep="\t", index_col=0)
    table["second"] = (2 * table["gradient"]).where(np.arange(len(table)) % 3 > 0)
    table.iloc[:1, table.columns.get_indexer(["gradient", "second"])] = np.nan
    table.to_csv(tmp_path / "two.tsv", sep="\t")
    call = ("cross-validate", *files[:-1], tmp_path / "two.tsv", "--folds", 2, *BRIEF)
    call += ("--target", "gradient", "--target", "second", "--baselines", "dummy")
    outcome = aam(*call, "--missing-samples", "ignore", "--output", tmp_path / "cv")
    assert outcome.status == 0, outcome.err
    assert "1 samples without a value of any target dropped" in outcome.err
    starts = [line.split()[0] for line in outcome.out.splitlines()]
    assert [it for it in starts if it in ("gradient", "second")] == ["gradient", "second"]
    assert (tmp_path / "cv" / "targets" / "2-second" / "comparison.tsv").is_file()


def test_the_task_is_told_from_the_target(aam, files, tmp_path):
    call = ("cross-validate", *files, "--target", "group", "--folds", 2, "--no-baseline", *BRIEF)
    outcome = aam(*call, "--output", tmp_path / "cv")
    assert outcome.status == 0, outcome.err
    assert "Column 'group' is text: its values are classes" in outcome.err
    assert "accuracy" in outcome.out


def test_regression_of_text_is_refused_where_it_is_asked_for(refuses, files, tmp_path):
    call = ("cross-validate", *files, "--target", "group", "--task", "regression", *BRIEF)
    assert "--task classification" in refuses(*call, "--output", tmp_path / "cv")
