from __future__ import annotations

import pandas as pd
import pytest
import skbio

from aam_core.model import load_model


@pytest.fixture
def given(study_dir):
    return (
        *("--table", study_dir / "table.biom", "--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


def test_samples_of_an_encoder(aam, given, encoder, tmp_path):
    out = tmp_path / "out"
    options = ("--color-by", "gradient", "--units", "m", "--figure-format", "pdf", "--axes", 3)
    outcome = aam("embed", *given, "--model", encoder.folder, "--output", out, *options)
    assert outcome.status == 0, outcome.err
    assert "PCoA of predicted distances between 40 samples" in outcome.err
    names = {"vectors.tsv", "distances.tsv", "ordination.txt", "pcoa.pdf"}
    assert {path.name for path in out.iterdir()} == names
    matrix = skbio.DistanceMatrix.read(str(out / "distances.tsv"))
    axes = skbio.OrdinationResults.read(str(out / "ordination.txt")).samples
    assert list(axes.index) == list(matrix.ids) and axes.shape == (40, 3)
    # Again, over what is there; the figure of another format does not stay.
    assert aam("embed", *given, "--model", encoder.folder, "--output", out).status == 0
    assert {path.name for path in out.iterdir()} == names - {"pcoa.pdf"} | {"pcoa.svg"}


def test_asvs_of_a_fit(aam, given, regressor, study_dir, tmp_path):
    ids = [line[1:].strip() for line in open(study_dir / "rep-seqs.fasta") if line[0] == ">"]
    rows = [f"{name}\tk__Bacteria; g__{i % 7}" for i, name in enumerate(ids)]
    (tmp_path / "taxa.tsv").write_text("\n".join(["Feature ID\tTaxon", *rows]) + "\n")
    outcome = aam(
        *("embed", *given, "--model", regressor.folder, "--output", tmp_path / "out"),
        *("--level", "asv", "--neighbours", 2, "--taxonomy", tmp_path / "taxa.tsv"),
    )
    assert outcome.status == 0, outcome.err
    table = pd.read_csv(tmp_path / "out" / "neighbours.tsv", sep="\t", index_col=0)
    assert len(table) == 120 and table["neighbour_taxon"].str.startswith("k__").all()
    members = load_model(regressor.folder).config.model.members
    vectors = pd.read_csv(tmp_path / "out" / "vectors.tsv", sep="\t", index_col=0)
    assert vectors.shape[0] == 60 and vectors.shape[1] % members == 0


@pytest.mark.parametrize(
    "options, reason",
    [
        (("--level", "asv", "--axes", 3), "--axes has no effect at --level asv"),
        (("--level", "asv", "--color-by", "group"), "--color-by has no effect at --level asv"),
        (("--neighbours", 3), "--neighbours has no effect at --level sample"),
        (("--level", "asv", "--metric", "predicted"), "--metric predicted is of samples"),
        (("--units", "days"), "--units needs --color-by"),
        (("--level", "asv", "--batch-size", 2), "--batch-size has no effect at --level asv"),
        (("--no-distances", "--axes", 3), "--axes has no effect with --no-distances"),
        (("--metric", "predicted"), "this regressor learned no distances"),
    ],
)
def test_what_cannot_act_is_refused(refuses, given, regressor, tmp_path, options, reason):
    out = tmp_path / "out"
    arguments = ("embed", *given, "--model", regressor.folder, "--output", out, *options)
    assert reason in refuses(*arguments) and not (out / "vectors.tsv").exists()


def test_an_unknown_column_is_refused_before_anything_is_computed(aam, given, encoder, tmp_path):
    arguments = ("--model", encoder.folder, "--output", tmp_path / "out", "--color-by", "no-such")
    outcome = aam("embed", *given, *arguments)
    assert outcome.status == 2 and "no metadata column 'no-such'" in outcome.err
    assert not (tmp_path / "out" / "vectors.tsv").exists()


def test_vectors_without_distances_and_of_too_few_samples(aam, given, regressor, tmp_path):
    out, some = tmp_path / "out", ("--model", regressor.folder, "--output", tmp_path / "out")
    outcome = aam("embed", *given, *some, "--no-distances")
    assert outcome.status == 0, outcome.err
    assert {path.name for path in out.iterdir()} == {"vectors.tsv"}
    metadata = pd.read_csv(given[-1], sep="\t", index_col=0)
    two = metadata.index[:2]
    metadata.loc[two].to_csv(tmp_path / "two.tsv", sep="\t")
    outcome = aam("embed", *given[:-1], tmp_path / "two.tsv", *some)
    assert outcome.status == 0 and "no PCoA: An ordination needs 3 samples" in outcome.err
    assert {path.name for path in out.iterdir()} == {"vectors.tsv", "distances.tsv"}
