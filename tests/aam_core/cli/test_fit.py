"""``aam fit-regressor``, ``fit-classifier``, ``predict`` and ``evaluate``: the job in one go."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from aam_core.config.model import COVARIATE_HELP, FUSION_KINDS

SHORT = ("--preset", "tiny", "--max-steps", 3, "--sampling-depth", 200, "--device", "cpu")
SHORT += ("--set", "forest.trees=10")
BRIEF = (*SHORT, "--set", "model.members=2", "--val-fraction", 0.5)


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


def truth(study_dir):
    return pd.read_csv(study_dir / "metadata.tsv", sep="\t", index_col="sample-id", dtype=str)


def read(path):
    return pd.read_csv(path, sep="\t", index_col="sample-id")


@pytest.mark.parametrize(
    "command, target, expected",
    [
        ("fit-regressor", "gradient", {"r2", "mae", "rmse"}),
        ("fit-classifier", "group", {"accuracy", "auc", "f1"}),
    ],
)
def test_fit_predict_evaluate(aam, files, study_dir, tmp_path, command, target, expected):
    model, predictions, scores = tmp_path / "model", tmp_path / "p.tsv", tmp_path / "scores"
    outcome = aam(
        *(command, *files, "--target", target, "--group-by", "host_subject_id"),
        *("--output", model, *BRIEF),
    )
    assert outcome.status == 0, outcome.err
    subject = truth(study_dir)["host_subject_id"]
    for name in ("train_samples.txt", "val_samples.txt"):  # of each member, one half or the other
        assert set((model / name).read_text().split()) == set(subject.index)

    outcome = aam("predict", *files[:4], "--model", model, "--output", predictions)
    assert (outcome.status, outcome.out) == (0, ""), outcome.err
    assert set(read(predictions).index) == set(subject.index)
    assert set(read(model / "val_predictions.tsv").index) == set(subject.index)

    outcome = aam(
        *("evaluate", "--predictions", predictions, "--metadata", study_dir / "metadata.tsv"),
        *("--target", target, "--output", scores),
    )
    assert outcome.status == 0, outcome.err
    measured = json.loads((scores / "metrics.json").read_text())
    assert expected <= set(measured)
    assert all(metric in outcome.out for metric in expected)
    assert "dropped" in outcome.out and "left_out" in measured
    assert list(scores.glob("*.png"))


def test_a_single_network_holds_out_a_share(aam, files, study_dir, tmp_path):
    model, out = tmp_path / "model", tmp_path / "p.tsv"
    outcome = aam(
        *("fit-regressor", *files, "--target", "gradient", "--group-by", "host_subject_id"),
        *("--output", model, *SHORT, "--set", "model.members=1", "--val-fraction", 0.3),
    )
    assert outcome.status == 0, outcome.err
    train = set((model / "train_samples.txt").read_text().split())
    val = set((model / "val_samples.txt").read_text().split())
    subject = truth(study_dir)["host_subject_id"]
    assert train and val and not set(subject[list(train)]) & set(subject[list(val)])
    assert aam("predict", *files[:4], "--model", model, "--output", out).status == 0
    held_out = read(model / "val_predictions.tsv")["prediction"]
    assert (read(out)["prediction"][held_out.index] - held_out).abs().max() < 1e-3


def test_fixed_split(aam, refuses, files, study_dir, tmp_path):
    ids = list(truth(study_dir).index)
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_text("\n".join(ids[:25]))
    val.write_text("\n".join(ids[25:32]) + "\n")
    fit = ("fit-regressor", *files, "--target", "gradient", *BRIEF)
    split = ("--train-samples", train, "--val-samples", val)
    outcome = aam(*fit, *split, "--output", tmp_path / "model")
    assert outcome.status == 0, outcome.err
    assert set((tmp_path / "model" / "val_samples.txt").read_text().split()) == set(ids[25:32])
    val.write_text("\n".join(ids[24:32]))
    assert ids[24] in refuses(*fit, *split, "--output", tmp_path / "refused")
    assert "--val-samples" in refuses(
        *fit, "--train-samples", train, "--output", tmp_path / "refused"
    )
    assert not (tmp_path / "refused").exists()


def test_frozen_encoder(aam, refuses, files, study_dir, tmp_path):
    encoder, model = tmp_path / "encoder", tmp_path / "model"
    tree = ("--tree", study_dir / "tree.nwk")
    assert aam("pretrain", *files[:4], *tree, "--output", encoder, *BRIEF).status == 0
    fit = ("fit-regressor", *files, "--target", "gradient", *BRIEF, "--freeze-encoder")
    outcome = aam(*fit, "--encoder", encoder, "--output", model)
    assert outcome.status == 0, outcome.err
    assert "--encoder" in refuses(*fit, "--output", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_where_keeps_only_those_samples(aam, files, study_dir, tmp_path):
    fit = ("fit-regressor", *files, "--target", "gradient", *BRIEF, "--output", tmp_path / "model")
    outcome = aam(*fit, "--where", "group=case")
    assert outcome.status == 0, outcome.err
    metadata = truth(study_dir)
    used = [
        name
        for part in ("train_samples.txt", "val_samples.txt")
        for name in (tmp_path / "model" / part).read_text().split()
    ]
    assert set(used) == set(metadata.index[metadata["group"] == "case"])


def test_covariates(aam, refuses, files, study_dir, tmp_path):
    model, out = tmp_path / "model", tmp_path / "p.tsv"
    fit = ("fit-regressor", *files, "--target", "gradient", *BRIEF)
    outcome = aam(*fit, "--covariate", "group", "--covariate", "sequencing_run", "--output", model)
    assert outcome.status == 0, outcome.err
    saved = json.loads((model / "targets.json").read_text())["covariates"]
    assert [name for name, _ in saved["categorical"]] == ["group", "sequencing_run"]

    predict = ("predict", *files[:4], "--model", model, "--output", out)
    error = refuses(*predict)
    assert "2 metadata columns (group, sequencing_run)" in error and "give the metadata" in error
    assert not out.exists()
    outcome = aam(*predict, *files[4:])
    assert outcome.status == 0, outcome.err
    # The values count: with those of other samples the predictions are others.
    metadata, swapped = truth(study_dir), tmp_path / "swapped.tsv"
    metadata["group"] = metadata["group"].map({"case": "control", "control": "case"})
    metadata.to_csv(swapped, sep="\t")
    other = tmp_path / "other.tsv"
    outcome = aam(*predict[:-1], other, "--metadata", swapped)
    assert outcome.status == 0, outcome.err
    assert not read(other)["prediction"].equals(read(out)["prediction"])
    metadata.drop(columns="group").assign(groups="case").to_csv(swapped, sep="\t")
    assert "did you mean 'groups'" in refuses(*predict, "--metadata", swapped)


def test_bad_covariates_are_one_line_and_write_nothing(refuses, files, tmp_path):
    fit = ("fit-classifier", *files, "--target", "group", "--output", tmp_path / "model", *BRIEF)
    assert "given away" in refuses(*fit, "--covariate", "gradient", "--covariate", "group")
    assert "did you mean 'gradient'" in refuses(*fit, "--covariate", "gradeint")
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_one_line_and_write_nothing(refuses, files, tmp_path):
    out = ("--output", tmp_path / "model", *BRIEF)
    assert "'gradient'" in refuses("fit-regressor", *files, "--target", "gradiant", *out)
    assert "group" in refuses("fit-regressor", *files, "--target", "group", *out)
    where = ("--where", "group=nobody")
    assert "nobody" in refuses("fit-regressor", *files, "--target", "gradient", *where, *out)
    assert list(tmp_path.iterdir()) == []


def test_predict_without_a_model(refuses, files, tmp_path):
    (tmp_path / "model").mkdir()
    out = tmp_path / "p.tsv"
    assert "model" in refuses("predict", *files[:4], "--model", tmp_path / "model", "--output", out)
    assert "does not exist" in refuses(
        "predict", *files[:4], "--model", tmp_path / "absent", "--output", out
    )
    assert not out.exists()


# --- columns --------------------------------------------------------------------------------------


@pytest.fixture
def with_column(study_dir, tmp_path):
    """The files with one more column in the metadata: ``with_column("ph", lambda k: ...)``."""

    def write(name, value):
        rows = (study_dir / "metadata.tsv").read_text().splitlines()
        rows = [f"{rows[0]}\t{name}", *(f"{row}\t{value(k)}" for k, row in enumerate(rows[1:]))]
        path = tmp_path / "spoilt.tsv"
        path.write_text("\n".join(rows) + "\n")
        inputs = ("--table", study_dir / "table.biom", "--sequences", study_dir / "rep-seqs.fasta")
        return (*inputs, "--metadata", path)

    return write


def test_blank_targets_are_refused_or_left_out(aam, refuses, with_column, tmp_path):
    files = with_column("ph", lambda k: "" if k in (3, 5) else 5 + k / 10)
    command = ("fit-regressor", *files, "--target", "ph", "--output", tmp_path / "m", *BRIEF)
    assert "--missing-samples ignore" in refuses(*command)
    outcome = aam(*command, "--missing-samples", "ignore")
    assert outcome.status == 0, outcome.err
    assert "samples have no value in the metadata column 'ph' and were dropped" in outcome.err


def test_classes_are_text_and_their_sizes_are_shown(aam, with_column, tmp_path):
    labels = ["1.1", "1.10", "NA", "02"]
    files = with_column("cluster", lambda k: labels[k % 4])
    command = ("fit-classifier", *files, "--target", "cluster", "--output", tmp_path / "m")
    outcome = aam(*command, *SHORT, "--set", "model.members=1", "--val-fraction", 0.2)
    assert outcome.status == 0, outcome.err
    target = json.loads((tmp_path / "m" / "targets.json").read_text())["target"]
    assert target["classes"] == sorted(labels)
    (line,) = (line for line in outcome.err.splitlines() if "classes: 02 " in line)
    assert all(f"{label} " in line for label in labels)
    assert "in column 'cluster' is read as a class, not as missing" in outcome.err


def test_covariates_are_named_as_they_are_read(aam, with_column, tmp_path):
    files = with_column("bmi", lambda k: "NA" if k == 4 else 20 + k * 0.37)
    command = ("fit-regressor", *files, "--target", "gradient", "--output", tmp_path / "m", *BRIEF)
    outcome = aam(*command, "--covariate", "bmi", "--covariate", "group")
    assert outcome.status == 0, outcome.err
    assert "covariate bmi is read as categories" in outcome.err and "('NA')" in outcome.err
    assert "covariates: bmi (" in outcome.err and "group (2 categories)" in outcome.err
    new = with_column("bmi", lambda k: 99 if k == 0 else "NA")
    outcome = aam("predict", *new, "--model", tmp_path / "m", "--output", tmp_path / "p.tsv")
    assert outcome.status == 0, outcome.err
    assert "covariate 'bmi': 1 of " in outcome.err and "('99')" in outcome.err


# --- which way of reading covariates -------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit-regressor", "fit-classifier", "cross-validate"])
def test_help_on_covariates_needs_nothing_else(aam, command):
    outcome = aam(command, "--covariate-help")
    assert outcome.status == 0 and outcome.out == COVARIATE_HELP


def test_the_page_says_what_the_help_says():
    page = Path(__file__).parents[3] / "docs" / "prediction.md"
    assert f"```text\n{COVARIATE_HELP}```" in page.read_text(encoding="utf-8")


def test_the_help_names_every_kind():
    assert all(kind in COVARIATE_HELP for kind in FUSION_KINDS)
