"""``aam explain``: its folder, and what it refuses."""

from __future__ import annotations

import json

import pandas as pd
import pytest

QUICK = ("--repeats", 1, "--references", 1, "--threads", 1, "--clades", "4")


@pytest.fixture
def command(made, regressor, tmp_path):
    made.write(tmp_path / "study")
    parts = (("table", "table.biom"), ("sequences", "rep-seqs.fasta"), ("metadata", "metadata.tsv"))
    files = [word for name, file in parts for word in (f"--{name}", tmp_path / "study" / file)]
    return ("explain", *files, "--model", regressor.folder, *QUICK)


def test_a_folder_of_tables_and_figures(aam, command, tmp_path):
    out = tmp_path / "out"
    tree = ("--tree", tmp_path / "study" / "tree.nwk", "--units", "years")
    outcome = aam(*command, *tree, "--group-by", "host_subject_id", "--output", out)
    assert outcome.status == 0, outcome.err
    assert "ASVs have an importance (q < 0.05)" in outcome.err
    assert {it.name for it in out.iterdir() if not it.name.startswith(".")} == {
        *("importance.tsv", "groups.tsv", "deletion.tsv", "contributions.tsv", "samples.tsv"),
        *("importance.svg", "importance.pdf", "groups.svg", "groups.pdf", "deletion.svg"),
        *("deletion.pdf", "explanation.json"),
    }
    assert (out / "importance.tsv").read_text().startswith("feature-id\timportance\t")
    assert json.loads((out / "explanation.json").read_text())["target"] == "gradient"
    assert set(pd.read_csv(out / "groups.tsv", sep="\t")["kind"]) == {"clade"}
    # An earlier output is replaced, with what is not asked for any more.
    without = [*command, "--output", out]
    without[without.index("--references") + 1] = 0
    assert aam(*without).status == 0
    assert not (out / "contributions.tsv").exists() and (out / "groups.tsv").exists()


def test_what_is_no_number_of_clades(refuses, command, tmp_path):
    line = refuses(*command[:-1], "many", "--output", tmp_path / "out")
    assert "'many' are no numbers joined by commas" in line
