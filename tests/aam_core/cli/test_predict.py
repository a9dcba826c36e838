"""``aam predict``: what it writes, and when."""

from __future__ import annotations

import functools

import pandas as pd
import pytest

from aam_core import prediction
from aam_core.errors import InputError


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made.write(folder)
    return ("--table", folder / "table.biom", "--sequences", folder / "rep-seqs.fasta")


@pytest.fixture(scope="module")
def long(made, tmp_path_factory):
    """The same table with sequences longer than any model reads by default."""
    folder = tmp_path_factory.mktemp("long")
    made.write(folder)
    fasta = folder / "rep-seqs.fasta"
    fasta.write_text("".join(f">{name}\n{dna * 20}\n" for name, dna in made.sequences.items()))
    return ("--table", folder / "table.biom", "--sequences", fasta)


def rows(path):
    return pd.read_csv(path, sep="\t", index_col="sample-id", dtype={"sample-id": str})


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_one_table_whatever_the_parts(request, aam, files, small, tmp_path, monkeypatch, kind):
    model, parts = request.getfixturevalue(kind).folder, tmp_path / "parts.tsv"
    whole = tmp_path / "whole.tsv"
    command = ("predict", *files, "--model", model, "--device", "cpu", "--output")
    outcome = aam(*command, whole)
    assert outcome.status == 0 and "Predictions of 60 samples written to" in outcome.err
    by_seven = functools.partial(prediction.predict_batches, chunk=7)
    monkeypatch.setattr(prediction, "predict_batches", by_seven)
    assert aam(*command, parts).status == 0
    expected = prediction.predict(model, small.select(rows(whole).index), device="cpu")
    for path in (whole, parts):
        pd.testing.assert_frame_equal(rows(path), expected, rtol=1e-5, atol=1e-5)


def test_rows_are_on_disk_before_the_next_are_asked_for(
    aam, files, regressor, tmp_path, monkeypatch
):
    """And what stood at the output stays until the last of them."""
    out, lines = tmp_path / "p.tsv", []
    out.write_text("an earlier file")
    make = prediction.predict_batches

    def failing(*given, **options):
        for part in make(*given, **options, chunk=20):
            yield part
            (temporary,) = (path for path in tmp_path.iterdir() if path != out)
            lines.append(len(temporary.read_text().splitlines()))
            if len(lines) == 2:
                raise InputError("The power is gone.")

    monkeypatch.setattr(prediction, "predict_batches", failing)
    command = ("predict", *files, "--model", regressor.folder, "--output", out)
    outcome = aam(*command)
    assert outcome.status == 2 and outcome.err.endswith("aam: error: The power is gone.\n")
    assert lines == [21, 41]
    assert out.read_text() == "an earlier file" and list(tmp_path.iterdir()) == [out]


def test_reads_in_the_other_direction(aam, made, regressor, tmp_path):
    made.write(tmp_path)
    turn, fasta = str.maketrans("ACGT", "TGCA"), tmp_path / "turned.fasta"
    turned = {name: dna.translate(turn)[::-1] for name, dna in made.sequences.items()}
    fasta.write_text("".join(f">{name}\n{dna}\n" for name, dna in turned.items()))
    command = ("predict", "--table", tmp_path / "table.biom", "--sequences", fasta)
    outcome = aam(*command, "--model", regressor.folder, "--output", tmp_path / "p.tsv")
    assert outcome.status == 0
    known, warning, trained, *far, written = outcome.err.splitlines()
    assert known.startswith("0.00 % of the reads are of ASVs that the model was fitted on (0 of 60")
    assert warning.startswith("warning: none of the 60 ASVs is one that the model was fitted on; ")
    assert warning.endswith("reverse complements of 60 are: turn the sequences round")
    assert trained.startswith("warning: 60 of these 60 samples") and "written to" in written
    predicted = rows(tmp_path / "p.tsv")
    assert (predicted["known_reads"] == 0).all() and predicted["in_training"].all()
    command = ("evaluate", "--predictions", tmp_path / "p.tsv", "--target", "gradient")
    outcome = aam(*command, "--metadata", tmp_path / "metadata.tsv", "--output", tmp_path / "e")
    assert outcome.status == 0 and outcome.err.startswith(trained)
    assert "in_training" in outcome.out.splitlines()[0]


def test_sequences_longer_than_the_model_reads(aam, refuses, long, regressor, tmp_path):
    out = tmp_path / "new" / "p.tsv"
    command = ("predict", *long, "--model", regressor.folder, "--output", out)
    error = refuses(*command)
    assert "60 of 60 sequences are longer" in error and "--long-sequences truncate" in error
    assert not out.parent.exists()
    outcome = aam(*command, "--long-sequences", "truncate")
    assert outcome.status == 0, outcome.err
    assert len(rows(out)) == 60
