from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from aam_core import model_card
from aam_core.description import info
from aam_core.ensemble.blending import forest_in_words, parts_in_words
from aam_core.errors import InputError
from aam_core.files.folders import MANIFEST, write_manifest
from aam_core.model import load_model


def test_a_regressor_tells_how_it_was_validated(regressor):
    known = info(regressor.folder).facts
    held = known["validation"]
    assert (held["samples"], held["group_by"], held["folds"]) == (60, "host_subject_id", 2)
    assert held["trained_on_them"] and held["given_split"] is False
    assert known["metrics"] == json.loads((regressor.folder / "metrics.json").read_text())
    assert known["run"]["seconds"]["total"] >= known["run"]["seconds"]["networks"] > 0
    assert {"torch", "scikit-learn", "biom-format"} <= set(known["run"]["versions"])
    json.dumps(known)
    text = info(regressor.folder).to_text()
    forest = regressor.model.forest
    assert parts_in_words(regressor.model.network_weight, forest.linear_share) in text
    assert "60 of 15 groups" in text and "by host_subject_id" in text
    assert f"its {forest_in_words(forest.linear_share)} alone" in text and "aam 0.1" in text


def test_encoders_and_classifiers(encoder, classifier):
    known = info(encoder.folder).facts
    assert known["model"]["learned"] == ["masked nucleotides", "distances between samples"]
    learned = model_card.words(known)["Model"]["learned"]
    assert learned == "masked nucleotides, distances between samples (unweighted UniFrac)"
    # The distance is said beside its goal, and not behind the last one.
    known["model"]["learned"].append("taxonomy")
    learned = model_card.words(known)["Model"]["learned"]
    assert learned.endswith("distances between samples (unweighted UniFrac), taxonomy")
    known["model"]["given_distances"] = True
    assert "UniFrac" not in model_card.words(known)["Model"]["learned"]
    (target,) = info(classifier.folder).facts["model"]["targets"]
    assert target["classes"] == ["case", "control"]
    assert "case, control" in info(classifier.folder).to_markdown()


def test_the_card_beside_the_weights_may_be_edited_or_removed(regressor, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(regressor.folder, folder)
    place = folder / model_card.CARD
    assert place.read_text() == info(folder).to_markdown()
    assert model_card.CARD not in json.loads((folder / MANIFEST).read_text())["files"]
    place.write_text("# Ours\n")
    load_model(folder)
    place.unlink()
    load_model(folder)


def test_a_card_that_fails_costs_no_model(regressor, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(model_card, "facts", lambda model: 1 / 0)
    with caplog.at_level("WARNING", "aam_core"):
        regressor.model.save(tmp_path / "model")
    assert "saved without a description (ZeroDivisionError" in caplog.text
    assert load_model(tmp_path / "model").kind == "regressor"
    assert "could not be described" in (tmp_path / "model" / model_card.CARD).read_text()


def test_what_an_earlier_aam_did_not_record_is_left_out(regressor, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(regressor.folder, folder)
    run = json.loads((folder / "run.json").read_text())
    early = ("created", "versions", "device", "seed", "samples", "features", "encoder")
    (folder / "run.json").write_text(json.dumps({name: run[name] for name in early}))
    for name in ("metrics.json", "train_samples.txt", "val_samples.txt", "known.safetensors"):
        (folder / name).unlink()
    write_manifest(folder, published=True)
    text = info(folder).to_text()
    assert "nothing is known of its errors" in text and "command" not in text
    assert info(folder).to_markdown()


def test_folders_of_something_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="There is no model folder"):
        info(tmp_path / "no-such")
    (tmp_path / "predictions.tsv").touch()
    with pytest.raises(InputError, match="holds predictions.tsv, and no model"):
        info(tmp_path)
    (tmp_path / "metrics.json").touch()
    with pytest.raises(InputError, match="scores of a cross-validation, an evaluation"):
        info(tmp_path)
    (tmp_path / "checkpoint" / "best").mkdir(parents=True)
    # A run that was killed: predicting says the same.
    for opens in (info, load_model):
        with pytest.raises(
            InputError, match=r"has not ended: resume it .*, or take its best model"
        ):
            opens(tmp_path)


def test_paths_of_a_command_become_names():
    command = "aam fit-regressor --table /home/me/a.biom --tree='/x/b c.nwk' --target age/d --lr 1"
    expected = "aam fit-regressor --table a.biom '--tree=b c.nwk' --target age/d --lr 1"
    assert model_card.without_folders(command) == expected


def test_metrics_that_are_not_defined_are_dashes():
    scores = {"held_out": {"samples": 9}, "model": {"auc": None, "r2": float("nan"), "mae": 2.0}}
    header, row = model_card.metric_table({"metrics": scores})
    assert dict(zip(header, row, strict=True)) == {
        **{"of": "the model", "n": "9", "auc": "-", "r2": "-", "mae": "2"}
    }


@pytest.mark.parametrize(
    "run, said",
    [
        ({"group_by": None, "given_split": False}, "no: several samples"),
        ({"group_by": None, "given_split": True}, None),  # whoever gave it may have grouped
        ({}, None),  # an AAM of before did not record it
    ],
)
def test_only_what_is_known_of_groups_is_said(regressor, run, said):
    metrics = {"held_out": {"samples": 60, "folds": 2}}
    model = dataclasses.replace(regressor.model, run=run, metrics=metrics)
    known = model_card.facts(model)
    grouped = model_card.words(known)["Validated on"].get("grouped")
    assert grouped is None if said is None else grouped.startswith(said)
    assert ("not grouped" in model_card.card(known)) == (said is not None)


def test_a_report_names_no_samples(regressor):
    run = {"left_out": ["2 of 9 samples were dropped (patient-1, patient-2)."]}
    model = dataclasses.replace(regressor.model, run=run)
    card = model_card.card(model_card.facts(model))
    assert "2 of 9 samples were dropped." in card and "patient" not in card


def test_intervals_have_units_and_encoders_have_none(regressor, encoder):
    changes = {"figure.units": "days"}
    known = []
    for model in (regressor.model, encoder.model):
        model = dataclasses.replace(model, config=model.config.adjust(changes))
        known.append(model_card.words(model_card.facts(model))["Model"])
    assert " days" in known[0]["interval"] and "interval" not in known[1]


def test_intervals_that_differ_by_sample_are_said_by_their_mean(regressor):
    model = regressor.model
    metrics = {**model.metrics, "model": {**model.metrics["model"], "width": 12.0}}
    for width, said in (
        (12.0, "90% within ± 6 in the mean"),
        (2 * model.intervals[0].half_width, ""),
    ):
        metrics["model"]["width"] = width
        known = model_card.facts(dataclasses.replace(model, metrics=metrics))
        text = model_card.words(known)["Model"]["interval"]
        assert text == said if said else "in the mean" not in text


def test_taxa_are_scored_on_asvs_and_not_on_samples():
    scores = {"held_out": {"samples": 9}, "taxonomy": {"accuracy": 0.5}}
    scores["distances"] = {"pairs": 36, "r2": 0.1}
    rows = {row[0]: row[1] for row in model_card.metric_rows({"metrics": scores})}
    assert rows == {"distances between samples": 36, "taxa of new ASVs": None}


def test_metrics_of_several_targets_have_their_names():
    scores = {"held_out": {"samples": 9}, "model": {"r2": 0.5}, "forest": {"r2": 0.4}}
    known = {
        "metrics": {**scores, "targets": {"age": {**scores, "linear_share": 0.5}, "ph": scores}}
    }
    rows = model_card.metric_rows(known)
    assert [row[0] for row in rows] == [
        *("age, the model", "age, its random forest and linear model alone"),
        *("ph, the model", "ph, its random forest alone"),
    ]
    assert rows[0][1:] == (9, {"r2": 0.5})
