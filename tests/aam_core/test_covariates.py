"""The job with metadata covariates: fit, save, load, predict, cross-validate."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core import cross_validate, fit_classifier, fit_regressor, load_model, predict
from aam_core.data.covariates import UNKNOWN
from aam_core.errors import InputError
from aam_core.files.folders import write_manifest
from aam_core.model import validate
from aam_core.model_files import FILES
from aam_core.models.fusion import FUSIONS

COVARIATES = ("group", "gradient", "weight")


@pytest.fixture(scope="module")
def study(made, as_study):
    """The small study with a target that the reads do not know, and a number with a blank."""
    metadata = made.metadata.copy()
    rng = np.random.default_rng(0)
    metadata["hidden"] = rng.normal(50, 10, len(metadata))
    metadata["twin"] = metadata["hidden"] * 3
    metadata["weight"] = rng.normal(70, 5, len(metadata))
    metadata.iloc[::7, metadata.columns.get_loc("weight")] = np.nan
    return as_study(made, metadata=metadata)


@pytest.fixture(scope="module")
def saved(study, brief, tmp_path_factory):
    """A regressor with covariates of both kinds, and its folder."""
    folder = tmp_path_factory.mktemp("models") / "regressor"
    options = {"group_by": "host_subject_id", "config": brief(), "output": folder}
    return fit_regressor(study, "hidden", covariates=COVARIATES, **options), folder


def with_metadata(study, **columns):
    """The study with other values in some columns."""
    return dataclasses.replace(study, metadata=study.metadata.assign(**columns))


def refused(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- saving --------------------------------------------------------------------------------------


def test_a_loaded_model_gives_the_same_numbers(saved, study):
    model, folder = saved
    again = load_model(folder)
    assert again.covariates == model.covariates and again.network.parts == model.network.parts
    assert validate(folder) == "regressor"
    pd.testing.assert_frame_equal(predict(model, study), predict(folder, study))


def test_levels_and_scale_are_those_of_the_training_samples(saved, study):
    model, _ = saved
    train = study.metadata.loc[model.train_samples]
    ((name, levels),) = model.covariates.categorical
    assert (name, levels) == ("group", tuple(sorted(set(train["group"]))))
    assert [item[0] for item in model.covariates.numeric] == ["gradient", "weight"]
    assert model.covariates.numeric[1][1] == pytest.approx(train["weight"].mean())


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_kind_is_saved_whole(kind, study, brief, tmp_path):
    config = brief("fitting", {"model.fusion.kind": kind, "train.max_steps": 1})
    model = fit_classifier(study, "group", covariates=["weight"], config=config)
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(predict(model, study), predict(tmp_path / "model", study))


@pytest.mark.parametrize(
    "edit, text",
    [
        (lambda values: values["categorical"].clear(), "its covariates differ"),
        (lambda values: values["categorical"][0][1].append("x"), "its covariates differ"),
        (lambda values: values["categorical"][0][1].reverse(), "not covariates that AAM saved"),
        (lambda values: values["numeric"][0].pop(), "not covariates that AAM saved"),
        (lambda values: values["numeric"].pop(), "its covariates differ"),
    ],
)
def test_an_edited_folder_is_refused(saved, tmp_path, edit, text):
    model, _ = saved
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "targets.json"
    values = json.loads(path.read_text())
    edit(values["covariates"])
    path.write_text(json.dumps(values))
    write_manifest(tmp_path / "model", FILES)
    assert text in refused(load_model, tmp_path / "model")


# --- predicting ----------------------------------------------------------------------------------


def test_predictions_answer_to_the_covariates_alone_where_the_reads_are_silent(study, brief):
    """The target is random to the reads, and three times itself is among the covariates."""
    changes = {"train.max_steps": 60, "train.epochs": 60, "optim.lr": 5e-3, "forest.trees": 0}
    config = brief("fitting", changes)
    r2 = {
        names: fit_regressor(study, "hidden", covariates=names, config=config).metrics["model"][
            "r2"
        ]
        for names in ((), ("twin",))
    }
    assert r2[()] < 0.3 and r2[("twin",)] > 0.8


def test_the_order_of_samples_does_not_matter(saved, study):
    model, _ = saved
    turned = study.select(study.sample_ids[::-1])
    pd.testing.assert_frame_equal(predict(model, turned)[::-1], predict(model, study), rtol=1e-5)


def test_new_levels_and_blanks_are_read_as_unknown(saved, study):
    model, _ = saved
    strange = with_metadata(study, group="sea", gradient=np.nan)
    blank = with_metadata(study, group=None, gradient=np.nan)
    assert (model.covariates.encode(strange.metadata)[0] == UNKNOWN).all()
    actual = predict(model, strange)
    assert np.isfinite(actual.to_numpy(float)).all()
    pd.testing.assert_frame_equal(actual, predict(model, blank))


def test_what_prediction_refuses(saved, study):
    model, _ = saved
    bare = dataclasses.replace(study, metadata=None)
    assert "3 metadata columns (group, gradient, weight)" in refused(predict, model, bare)
    metadata = study.metadata.rename(columns={"weight": "wieght"})
    renamed = dataclasses.replace(study, metadata=metadata)
    assert "did you mean 'wieght'" in refused(predict, model, renamed)
    heavy = study.metadata["weight"].astype(object)
    heavy.iloc[2] = "heavy"
    assert study.sample_ids[2] in refused(predict, model, with_metadata(study, weight=heavy))


def test_metadata_may_come_beside_the_table(saved, study, made):
    model, _ = saved
    actual = predict(model, made.table, sequences=made.sequences, metadata=study.metadata)
    pd.testing.assert_frame_equal(actual, predict(model, study), rtol=1e-5)


# --- fitting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [fit_regressor, fit_classifier, cross_validate])
def test_the_target_cannot_be_a_covariate(study, brief, tmp_path, fit):
    options = {"covariates": ("weight", "hidden"), "config": brief(), "output": tmp_path / "out"}
    message = refused(fit, study, "hidden", **options)
    assert "'hidden' cannot be a covariate" in message and "given away" in message
    assert list(tmp_path.iterdir()) == []


def test_the_target_as_values_cannot_be_a_covariate_either(study, brief):
    values = study.metadata["hidden"]
    message = refused(fit_regressor, study, values, covariates=["hidden"], config=brief())
    assert "cannot be a covariate" in message


@pytest.mark.parametrize("fit", [fit_regressor, cross_validate])
def test_what_fitting_refuses(study, brief, tmp_path, capsys, fit):
    blank = with_metadata(study, blank=pd.Series([None] * 60, study.metadata.index, dtype=object))
    for names, text in (
        (["wieght"], "did you mean 'weight'"),
        (["weight", "weight"], "named twice"),
        (["blank"], "'blank' has no value"),
    ):
        options = {"covariates": names, "config": brief(), "output": tmp_path / "out"}
        assert text in refused(fit, blank, "gradient", **options)
    assert list(tmp_path.iterdir()) == []
    assert "epoch" not in capsys.readouterr().err


def test_cross_validation_refuses_before_it_trains(study, brief, capsys):
    """A column that only one host has is blank in the fold that holds this host out."""
    hosts = study.metadata["host_subject_id"]
    options = {"covariates": ["rare"], "group_by": "host_subject_id", "folds": 3}
    for host in hosts.unique():
        rare = with_metadata(study, rare=np.where(hosts == host, 1.0, np.nan))
        assert "'rare'" in refused(cross_validate, rare, "gradient", config=brief(), **options)
    assert "fold" not in capsys.readouterr().err


def test_a_pretrained_encoder_does_not_decide_how_covariates_join(encoder, study, brief):
    config = brief("fitting", {"model.fusion.kind": "gmu", "train.max_steps": 1})
    model = fit_regressor(
        study, "hidden", encoder=encoder.folder, covariates=["weight"], config=config
    )
    assert model.config.model.fusion == config.model.fusion
    assert any(name.startswith("members.0.fusion.join.gate") for name in model.network.state_dict())


def test_a_frozen_encoder_with_covariates(encoder, study, brief):
    options = {"encoder": encoder.folder, "freeze_encoder": True, "covariates": ["group"]}
    model = fit_regressor(study, "hidden", config=brief(), **options)
    val, ours = encoder.model.network.state_dict(), model.network.state_dict()
    frozen = [name for name in ours if name.startswith("bases.")]
    assert frozen and all(torch.equal(ours[name], val[name]) for name in frozen)
    assert np.isfinite(predict(model, study)["prediction"]).all()


def test_cross_validation_reads_covariates(study, brief):
    options = {"covariates": ["twin"], "folds": 2, "baseline": False, "config": brief()}
    result = cross_validate(study, "hidden", **options)
    without = cross_validate(study, "hidden", **{**options, "covariates": ()})
    assert set(result.predictions.index) == set(study.sample_ids)
    assert not np.allclose(result.predictions["prediction"], without.predictions["prediction"])


@pytest.mark.parametrize("kind", ["attention", "perceiver"])
def test_a_kind_that_had_another_name_up_to_format_5(kind, study, brief, tmp_path):
    config = brief("fitting", {"model.fusion.kind": f"sample-{kind}", "train.max_steps": 1})
    model = fit_regressor(study, "hidden", covariates=["group"], config=config)
    model.save(tmp_path)
    path = tmp_path / "config.json"
    head = json.loads(path.read_text())
    fusion = head["config"]["model"]["fusion"]
    fusion["kind"] = {"attention": "cross-attention"}.get(kind, kind)
    del fusion["layers"]
    path.write_text(json.dumps(head | {"format_version": 5}))
    write_manifest(tmp_path, FILES)
    assert validate(tmp_path) == "regressor"
    pd.testing.assert_frame_equal(predict(model, study), predict(tmp_path, study))
