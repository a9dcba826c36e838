"""``aam maturity``."""

from __future__ import annotations

import pandas as pd
import pytest

from aam_core.maturity import maturity


@pytest.fixture
def files(tmp_path):
    """Predicted ages, and the metadata of these samples: the last has no group."""
    ids = pd.Index([f"s{k}" for k in range(9)], name="sample-id")
    predicted = [1.0, 3.0, 2.0, 0.0, 12.0, 14.0, 13.0, 9.0, 5.0]
    table = pd.DataFrame({"prediction": predicted, "in_training": False}, index=ids)
    table.to_csv(tmp_path / "predictions.tsv", sep="\t")
    ages = [1.0, 1.5, 1.2, 1.9, 11.0, 12.0, 13.0, 14.0, 3.0]
    group = ["well", "well", "well", "ill"] * 2 + [None]
    metadata = pd.DataFrame({"age": ages, "state": group}, index=ids)
    metadata.to_csv(tmp_path / "metadata.tsv", sep="\t")
    given = ("--predictions", tmp_path / "predictions.tsv", "--metadata", tmp_path / "metadata.tsv")
    return (*given, "--age", "age", "--group", "state"), table, metadata


def test_scores_are_those_of_the_function(aam, files, tmp_path):
    options, predicted, metadata = files
    out = tmp_path / "maturity.tsv"
    outcome = aam("maturity", *options, "--control", "well", "--bin-width", 10, "--output", out)
    assert outcome.status == 0, outcome.err
    written = pd.read_csv(out, sep="\t", index_col="sample-id")
    known = metadata.iloc[:8]
    expected = maturity(known["age"], predicted["prediction"], known["state"] == "well", width=10.0)
    assert written["maz"].tolist() == pytest.approx(expected["maz"].tolist())
    assert written.loc["s3", "maz"] == -2 and written.loc["s3", "group"] == "ill"
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        *(["group", "samples"], ["ill", "2"], ["well", "6"]),
    ]
    assert "1 predicted samples without 'age' or 'state' dropped" in outcome.err


def test_what_cannot_be_scored(refuses, files, tmp_path):
    options, *_ = files
    out = ("--output", tmp_path / "maturity.tsv")
    line = refuses("maturity", *options, "--control", "healthy", *out)
    assert "'healthy' in 'state': it has ill, well" in line
    line = refuses("maturity", *options, "--control", "well", "--missing-samples", "error", *out)
    assert "1 of 9 predicted samples have no 'age' or no 'state': s8" in line
    assert "give a wider age bin" in refuses("maturity", *options, "--control", "well", *out)
    assert not (tmp_path / "maturity.tsv").exists()
