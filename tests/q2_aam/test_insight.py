"""What a model has learned, of new samples of the tiny study of the usage examples."""

from __future__ import annotations

import functools

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio
from qiime2.plugin import ValidationError
from qiime2.sdk import PluginManager

import aam_core
from aam_core.explanation.result import Explanation
from aam_core.model import Model
from q2_aam._explanations import AAMImportanceDirectoryFormat
from q2_aam._predictions import ImportanceFormat, read_importances
from q2_aam._vectors import AAMNeighboursFormat, AAMVectorsFormat
from q2_aam.examples import study as examples

FEW = {"repeats": 2, "references": 0, "n_jobs": 1}


@functools.lru_cache(maxsize=1)
def explained(kind="regressor"):
    run = PluginManager().get_plugin(id="aam").actions["explain"]
    return run(
        table=examples.new_table(),
        sequences=examples.sequences(),
        phylogeny=examples.phylogeny(),
        predictor=getattr(examples, kind)(),
        metadata=examples.new_metadata(),
        **FEW,
    )


def explain_new(methods, **arguments):
    given = {"table": examples.new_table(), "predictor": examples.regressor()}
    return methods.run("explain", **{**given, "metadata": examples.new_metadata()} | arguments)


def test_importances_equal_those_of_the_core():
    importance, explanation = explained()
    assert str(importance.type) == "FeatureData[Importance]"
    metadata = examples.new_metadata().to_dataframe()
    table = examples.new_table().view(biom.Table)
    study = aam_core.load_study(
        table, sequences=examples._study().sequences, metadata=metadata, tree=None
    )
    model = examples.regressor().view(Model)
    expected = aam_core.explain(
        model, study, repeats=2, references=0, clades=(), threads=1
    ).importance
    actual = read_importances(importance.view(ImportanceFormat))["importance"]
    np.testing.assert_allclose(actual[expected.index], expected["importance"], atol=1e-6)
    whole = explanation.view(pd.DataFrame)
    assert list(whole.index[: len(actual)]) == list(actual.index)


def test_the_explanation_opens_as_metadata():
    explanation = explained().explanation
    table = explanation.view(qiime2.Metadata).to_dataframe()
    assert set(table["kind"]) == {"asv", "clade"}
    assert {"importance", "importance_sd", "p", "q", "effect", "prevalence"} <= set(
        table.select_dtypes("number")
    )
    view = explanation.view(Explanation)
    group = view.groups.index[0]
    members = view.groups.loc[group, "members"].split(";")
    listed = table.index[[group in str(it).split(", ") for it in table["groups"]]]
    assert set(listed) == set(members)
    # What is read again is what was written.
    again = view.importance
    assert (
        again.index.name == "feature-id"
        and again["direction"].isin(["raises", "lowers", "none"]).all()
    )


def test_samples_of_the_fit_are_said_to_be_such(methods):
    outcome = methods.run(
        "explain",
        predictor=examples.regressor(),
        metadata=methods.metadata,
        clades=[0],
        **FEW,
    )
    view = outcome.explanation.view(Explanation)
    assert view.counts["out_of_fold"] is True
    (note,) = [line for line in view.notes if "all samples are of the fit" in line]
    assert "without the random forest" in note
    assert len(view.groups) == 0


def test_what_is_refused(methods):
    new = examples.new_metadata()
    methods.refuses(
        "'other'",
        "explain",
        table=examples.new_table(),
        predictor=examples.regressor(),
        metadata=new,
        target="other",
    )
    lacking = qiime2.Metadata(new.to_dataframe().iloc[:-2])
    given = {"table": examples.new_table(), "predictor": examples.regressor()}
    methods.refuses("2 of 16 samples have no value", "explain", **given, metadata=lacking)
    without = qiime2.Metadata(new.to_dataframe().drop(columns="gradient"))
    methods.refuses("gradient", "explain", **given, metadata=without)


def test_a_folder_without_importances_is_refused():
    folder = AAMImportanceDirectoryFormat()
    explained().explanation.export_data(str(folder))
    folder.validate("max")
    path = folder.path / "importance.tsv"
    path.write_text(path.read_text().replace("importance_sd", "spread"))
    with pytest.raises(ValidationError, match="lacks the column 'importance_sd'"):
        folder.validate("min")
    (folder.path / "explanation.json").write_text('{"target": "age", "attention": true}')
    with pytest.raises(ValidationError, match="has no importances"):
        folder.validate("min")


def test_the_group_of_the_fit_is_used_where_the_metadata_have_it(methods, capfd):
    model = examples.regressor().view(Model)
    model.run["group_by"] = "host_subject_id"
    predictor = qiime2.Artifact.import_data("AAMRegressor", model)
    capfd.readouterr()
    outcome = explain_new(methods, predictor=predictor, clades=[0], **FEW)
    assert "grouped by 'host_subject_id', as in the fit" in capfd.readouterr().err
    assert outcome.explanation.view(Explanation).counts["groups"] == 4


# --- vectors -------------------------------------------------------------------------------------


def test_predicted_unifrac_and_its_axes(methods):
    pcoa, distances, vectors = methods.run("embed_samples", model=examples.encoder())
    study = examples._study()
    model = examples.encoder().view(Model)
    expected = aam_core.predicted_distances(model, study.table, sequences=study.sequences)
    square = distances.view(skbio.DistanceMatrix)
    assert list(square.ids) == list(expected.index)
    np.testing.assert_allclose(square.data, expected, atol=1e-5)
    axes = pcoa.view(skbio.OrdinationResults)
    assert axes.samples.shape == (24, 10) and list(axes.samples.index) == list(square.ids)
    table = vectors.view(qiime2.Metadata).to_dataframe()
    core = aam_core.embed(model, study.table, sequences=study.sequences)
    np.testing.assert_allclose(table.loc[core.index], core, rtol=1e-4, atol=1e-5)


def test_vectors_of_a_fit_have_no_predicted_distances(methods):
    methods.refuses(
        "this regressor learned no distances",
        "embed_samples",
        model=examples.regressor(),
        metric="predicted",
    )
    _, distances, vectors = methods.run(
        "embed_samples", model=examples.regressor(), number_of_dimensions=2
    )
    table = vectors.view(pd.DataFrame)
    expected = np.linalg.norm(table.iloc[0] - table.iloc[1])
    first, second = table.index[:2]
    assert distances.view(skbio.DistanceMatrix)[first, second] == pytest.approx(expected, rel=1e-3)


def test_features_and_their_neighbours(methods):
    names = list(examples._study().sequences)
    taxa = pd.DataFrame(
        {"Taxon": "k__Bacteria; p__Firmicutes"}, index=pd.Index(names[:-1], name="Feature ID")
    )
    taxonomy = qiime2.Artifact.import_data("FeatureData[Taxonomy]", taxa)
    vectors, neighbours, pcoa = methods.run(
        "embed_features", model=examples.encoder(), taxonomy=taxonomy, number_of_neighbours=2
    )
    table = neighbours.view(qiime2.Metadata).to_dataframe()
    assert sorted(table.index) == sorted(names)
    assert (table["distance_1"] <= table["distance_2"]).all()
    assert table.loc[names[0], "taxon"] == "k__Bacteria; p__Firmicutes"
    assert pd.isna(table.loc[names[-1], "taxon"])
    assert len(vectors.view(pd.DataFrame)) == len(names)
    assert pcoa.view(skbio.OrdinationResults).samples.shape == (30, 10)


@pytest.mark.parametrize(
    ("file_format", "text", "reason"),
    [
        (AAMVectorsFormat, "sample-id\tv1\ns1\tmany\n", "Line 2 has a cell that is no number"),
        (AAMVectorsFormat, "sample-id\tv1\ns1\t1\t2\n", "Line 2 has 3 fields, the header 2"),
        (AAMNeighboursFormat, "feature-id\n", "needs a header"),
        (AAMNeighboursFormat, "feature-id\tneighbour_1\n", "needs a line or more"),
    ],
)
def test_what_is_no_table_of_vectors(file_format, text, reason, tmp_path):
    (tmp_path / "table.tsv").write_text(text)
    with pytest.raises(ValidationError, match=reason):
        file_format(str(tmp_path / "table.tsv"), mode="r").validate("max")
