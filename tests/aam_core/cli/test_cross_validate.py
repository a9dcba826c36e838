"""``aam cross-validate``."""

from __future__ import annotations

import json

import pandas as pd
import pytest

BRIEF = ("--preset", "tiny", "--max-steps", 2, "--sampling-depth", 200, "--device", "cpu")


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


@pytest.mark.parametrize(
    "task, target, figures",
    [
        ("regression", "gradient", {"r2", "mae", "rmse"}),
        ("classification", "group", {"accuracy", "auc", "f1"}),
    ],
)
def test_scores_every_sample_beside_a_random_forest(
    aam, files, study_dir, tmp_path, task, target, figures
):
    out = tmp_path / "cv"
    outcome = aam(
        *("cross-validate", *files, "--target", target, "--task", task, "--baseline"),
        *("--group-by", "host_subject_id", "--folds", 2, "--output", out, *BRIEF),
    )
    assert outcome.status == 0, outcome.err
    metrics = json.loads((out / "metrics.json").read_text())
    assert figures <= set(metrics["aam"]) and figures <= set(metrics["random_forest"])
    header, aam_line, forest_line = outcome.out.splitlines()
    assert aam_line.startswith("AAM ") and forest_line.startswith("random forest ")
    columns = header.split()
    shown = dict(zip(columns, forest_line.split()[2:], strict=True))
    for figure in figures:
        assert float(shown[figure]) == pytest.approx(metrics["random_forest"][figure], rel=1e-3)
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
    assert "random_forest" not in json.loads((out / "metrics.json").read_text())


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
    assert "given away" in refuses("cross-validate", *files, *out, "--covariate", "gradient")
    assert list(tmp_path.iterdir()) == []
