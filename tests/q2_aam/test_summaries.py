"""The pages on a model itself."""

from __future__ import annotations

import dataclasses
import html
import json
import zipfile

import biom
import numpy as np
import pandas as pd
import pytest
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat
from qiime2.sdk import PluginManager

from aam_core.errors import InputError
from aam_core.model import Model
from q2_aam._types_formats import ModelFolder
from q2_aam.actions.summaries import distance_fit, summarize, training_curves
from q2_aam.examples import study as examples


def folder_of(artifact, tmp_path):
    place = tmp_path / "model"
    artifact.export_data(str(place))
    return ModelFolder(str(place))


@pytest.mark.parametrize("kind", ["regressor", "classifier", "encoder"])
def test_a_model_of_each_kind_is_summarized(kind, tmp_path):
    model = folder_of(getattr(examples, kind)(), tmp_path)
    page = tmp_path / "page"
    page.mkdir()
    summarize(str(page), model)
    text = html.unescape((page / "index.html").read_text())
    known = json.loads((page / "model.json").read_text())
    assert known["model"]["kind"] == kind
    assert f"{known['training']['samples']} samples" in text
    for name in (*known["folder"]["files"], *known["run"]["versions"]):
        assert name in text
    for name in ("summary.tsv", "settings.tsv", "metrics.tsv", "model.json", "model_card.md"):
        assert f'href="{name}"' in text and (page / name).stat().st_size
    metrics = pd.read_csv(page / "metrics.tsv", sep="\t")
    assert set(metrics["n"]) != {"-"}


def test_what_was_dropped_is_said_once(tmp_path):
    fitted = examples.regressor().view(Model)
    line = "7 of 31 samples of the metadata are not in the table."
    run = fitted.run | {"left_out": [line], "notes": [line, "A note."]}
    dataclasses.replace(fitted, run=run).save(tmp_path / "model")
    page = tmp_path / "page"
    page.mkdir()
    summarize(str(page), ModelFolder(str(tmp_path / "model")))
    text = (page / "index.html").read_text()
    assert text.count(line) == 1 and "A note." in text
    assert line in (page / "summary.tsv").read_text()


def test_settings_that_differ_from_the_defaults_come_first(tmp_path):
    summarize(str(tmp_path), folder_of(examples.regressor(), tmp_path))
    settings = pd.read_csv(tmp_path / "settings.tsv", sep="\t", dtype=str).set_index("setting")
    assert settings.loc["train.max_steps", "value"] == "2"
    changed, everything = (tmp_path / "index.html").read_text().split("<details>")
    for name, row in settings.fillna("").iterrows():
        assert (f">{name}<" in changed) == (row["value"] != row["default"])
    assert all(f">{name}<" in everything for name in settings.index)


def test_every_kind_of_artifact_is_accepted():
    summarize = PluginManager().get_plugin(id="aam").visualizers["summarize"]
    for artifact in (examples.encoder(), examples.classifier()):
        (page,) = summarize(artifact)
        assert set(page.get_index_paths()) == {"html"}


@pytest.mark.parametrize("kind", ["regressor", "encoder"])
def test_the_course_of_a_training_of_an_artifact(kind, tmp_path):
    model = getattr(examples, kind)().view(Model)
    training_curves(str(tmp_path), model)
    history = pd.read_csv(tmp_path / "history.csv", float_precision="round_trip")
    rows = [row.dropna().to_dict() for _, row in history.iterrows()]
    assert rows == model.history
    curves = pd.read_csv(tmp_path / "curves.tsv", sep="\t")
    losses = curves[curves["quantity"] == "total_loss"].set_index(["samples", "epoch"])["value"]
    for row in model.history:
        assert losses["training", row["epoch"]] == pytest.approx(row["train/total_loss"])
    with zipfile.ZipFile(tmp_path / "tensorboard.zip") as archive:
        sides = {name.split("/")[1] for name in archive.namelist() if "tfevents" in name}
    assert sides == {"train", "val"}
    page = (tmp_path / "index.html").read_text()
    for quantity in curves["quantity"].unique():
        assert f'"equal": "{quantity}"' in page
    assert (tmp_path / "losses.pdf").read_bytes().startswith(b"%PDF")


def test_a_model_without_a_record_of_its_training(tmp_path):
    model = dataclasses.replace(examples.regressor().view(Model), history=[])
    with pytest.raises(InputError, match="no record of its training .history.tsv.: .*again"):
        training_curves(str(tmp_path), model)
    assert not list(tmp_path.iterdir())


def reads():
    return {
        "encoder": examples.encoder().view(Model),
        "table": examples.table().view(biom.Table),
        "sequences": examples.sequences().view(DNAFASTAFormat),
    }


def test_distances_are_compared_of_samples_that_were_held_out(tmp_path):
    inputs = reads()
    distance_fit(str(tmp_path), **inputs, phylogeny=examples.phylogeny().view(NewickFormat))
    metrics = pd.read_csv(tmp_path / "metrics.tsv", sep="\t", index_col=0)["value"]
    pairs = pd.read_csv(tmp_path / "pairs.tsv", sep="\t")
    held_out = set(inputs["encoder"].val_samples)
    assert {*pairs["sample"], *pairs["other"]} == held_out
    assert metrics["samples"] == len(held_out) and metrics["pairs"] == len(pairs)
    error = (pairs["prediction"] - pairs["actual"]).abs()
    assert metrics["mae"] == pytest.approx(error.mean())
    page = (tmp_path / "index.html").read_text()
    assert f"{metrics['r2']:.3f}" in page and "unweighted UniFrac" in page
    assert "was trained on some" not in page
    assert pd.read_csv(tmp_path / "bins.tsv", sep="\t")["pairs"].sum() == len(pairs)


def test_given_distances_are_the_true_ones(tmp_path):
    inputs = reads()
    ids = list(inputs["table"].ids())
    values = np.random.default_rng(0).random((len(ids), len(ids)))
    values = np.triu(values, 1) + np.triu(values, 1).T
    distance_fit(
        str(tmp_path), **inputs, distances=skbio.DistanceMatrix(values, ids), samples="all"
    )
    pairs = pd.read_csv(tmp_path / "pairs.tsv", sep="\t").set_index(["sample", "other"])
    assert pairs.loc[(ids[0], ids[1]), "actual"] == pytest.approx(values[0, 1], abs=1e-6)
    assert "was trained on some" in (tmp_path / "index.html").read_text()


def test_true_distances_come_from_one_place(tmp_path):
    inputs = reads()
    tree = examples.phylogeny().view(NewickFormat)
    with pytest.raises(InputError, match="UniFrac, which is computed on a tree: give the phylo"):
        distance_fit(str(tmp_path), **inputs)
    distances = skbio.DistanceMatrix(np.zeros((2, 2)), ["a", "b"])
    with pytest.raises(InputError, match="give one of them"):
        distance_fit(str(tmp_path), **inputs, phylogeny=tree, distances=distances)
    assert not list(tmp_path.iterdir())


def test_choices_of_samples_are_those_of_the_core():
    from aam_core.distance_fit import SAMPLES

    signature = PluginManager().get_plugin(id="aam").visualizers["distance_fit"].signature
    choices = signature.parameters["samples"].qiime_type.predicate.to_ast()["choices"]
    assert set(choices) == set(SAMPLES)
