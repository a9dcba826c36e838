"""``aam explain``: its folder, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

QUICK = ("--repeats", 1, "--references", 1, "--threads", 1, "--clades", "4")


@pytest.fixture
def command(made, regressor, tmp_path):
    made.write(tmp_path / "study")
    parts = (("table", "table.biom"), ("sequences", "rep-seqs.fasta"), ("metadata", "metadata.tsv"))
    files = [word for name, file in parts for word in (f"--{name}", tmp_path / "study" / file)]
    # The networks count, out of fold, too.
    model = dataclasses.replace(regressor.model, network_weight=0.5)
    model.save(tmp_path / "model", durable=False)
    return ("explain", *files, "--model", tmp_path / "model", *QUICK)


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
    without[without.index("--clades") + 1] = "none"
    assert aam(*without).status == 0
    assert not {"contributions.tsv", "groups.svg", "groups.pdf"} & names_in(out)
    assert {"groups.tsv", "importance.svg"} <= names_in(out)


def test_what_is_no_number_of_clades(refuses, command, tmp_path):
    line = refuses(*command[:-1], "many", "--output", tmp_path / "out")
    assert "'many' are no numbers joined by commas" in line


LOOKS = {"attention.tsv", "attention_by_sample.tsv", "attention.svg", "attention.pdf"}


def names_in(folder):
    return {it.name for it in folder.iterdir() if not it.name.startswith(".")}


def test_where_the_networks_look(aam, command, tmp_path):
    out = tmp_path / "out"
    files = command[:9]
    outcome = aam(*files, "--attention", "--no-importance", "--output", out)
    assert outcome.status == 0, outcome.err
    assert "attention is of the networks alone; the predictions are of networks" in outcome.err
    assert names_in(out) == {*LOOKS, "explanation.json"}
    # Beside importances, and gone where they are not asked for any more.
    assert aam(*command, "--attention", "--output", out).status == 0
    assert LOOKS < names_in(out) and "importance.tsv" in names_in(out)
    assert aam(*files, "--attention", "--no-importance", "--output", out).status == 0
    assert names_in(out) == {*LOOKS, "explanation.json"}


def test_bases_of_an_encoder(aam, command, encoder, tmp_path):
    out = tmp_path / "out"
    files = ("explain", *command[1:5], "--model", encoder.folder, "--output", out)
    outcome = aam(*files, "--bases", "top", "--units", "years")
    assert outcome.status == 0, outcome.err
    assert "--units has no effect" in outcome.err
    assert names_in(out) == {"bases.tsv", "bases.svg", "bases.pdf", "explanation.json"}
    assert json.loads((out / "explanation.json").read_text())["bases"] == ["top"]


def test_looks_that_a_model_does_not_have_are_refused(refuses, command, encoder, tmp_path):
    files, out = command[:9], ("--output", tmp_path / "out")
    of_encoder = ("explain", *command[1:5], "--model", encoder.folder, *out)
    for words, text in (
        ((*command, *out, "--bases", "top"), "nothing is learned along the bases"),
        ((*files, *out, "--no-importance"), "needs --attention or --bases"),
        ((*command, *out, "--no-importance", "--attention"), "without effect: no importances"),
        ((*files[:5], *files[7:], *out), "Missing option '--metadata'"),
        (of_encoder, "--model is an encoder, which predicts nothing: give --bases"),
        ((*of_encoder, "--attention"), "--attention is of the output of 'aam fit"),
        ((*of_encoder, "--bases", "top", "--repeats", 2), "--repeats without effect"),
    ):
        assert text in refuses(*words), words
    assert not (tmp_path / "out").exists()
