"""The plugin's parameters are fields of the configuration."""

from __future__ import annotations

from operator import attrgetter

import pytest
import qiime2.plugin
from qiime2.plugin import Bool, Choices, Float, Int, Range, Str
from qiime2.sdk import PluginManager

from aam_core import config as core
from aam_core.config import find, paths, presets
from aam_core.errors import InputError
from q2_aam import _parameters
from q2_aam._parameters import (
    EVERYDAY,
    FITTING,
    OF_FITS,
    PRESET,
    STATED,
    TRAINING,
    configure,
    primitive,
)

TRAINERS = ("pretrain", "fit_regressor", "fit_classifier")
PREDICTORS = ("predict", "predict_regression", "predict_classification")


def action(name):
    return PluginManager().get_plugin(id="aam").actions[name]


def arguments(**given):
    return {name: None for name in FITTING} | {"preset": "tiny"} | given


@pytest.mark.parametrize("path", paths())
def test_a_type_admits_what_the_field_admits_and_no_more(path):
    field = find(path)
    meta, kind = field.metadata, primitive(path)
    assert field.default in kind
    ends = {"minimum": -1, "maximum": 1}
    if kind == getattr(qiime2.plugin, "Threads", None):
        assert "auto" in kind
        del ends["maximum"]  # a newer QIIME 2's type has none: the configuration refuses it
        with pytest.raises(InputError, match=path):
            configure("fitting", arguments(n_jobs=meta["maximum"] + 1))
    for end, step in ends.items():
        if meta[end] is not None:
            assert meta[end] in kind
            assert meta[end] + step not in kind
    if meta["choices"] is not None:
        assert all(choice in kind for choice in meta["choices"])
        assert "no such choice" not in kind


def test_what_divides_the_work_has_the_types_of_newer_versions():
    own = [getattr(qiime2.plugin, name, None) for name in ("Jobs", "Threads")]
    if None in own:
        pytest.skip("this QIIME 2 has neither Jobs nor Threads")
    for name, it in PluginManager().get_plugin(id="aam").actions.items():
        if "n_jobs" in it.signature.parameters:
            assert it.signature.parameters["n_jobs"].qiime_type in own, name


def test_types_in_qiime2_words():
    assert primitive("train.epochs") == Int % Range(1, None)
    assert primitive("train.val_fraction") == Float % Range(0.0, 0.9, inclusive_end=True)
    assert primitive("train.device") == Str
    assert primitive("train.precision") == Str % Choices("auto", "fp32", "bf16", "fp16")
    assert Bool not in {primitive(path) for path in EVERYDAY.values()}


@pytest.mark.parametrize("name", TRAINERS)
def test_every_everyday_field_is_a_parameter_with_its_type_and_help(name):
    signature = action(name).signature.parameters
    fields = EVERYDAY if name == "pretrain" else EVERYDAY | OF_FITS
    for field, path in fields.items():
        assert signature[field].qiime_type == primitive(path), field
        help = signature[field].description
        assert help.startswith(_parameters._HELP.get(field, find(path).metadata["help"])), field
        if field == "sampling_depth" and name != "pretrain":
            assert help.endswith(" Where not given, all reads are read.")
        elif field == "epochs" and name != "pretrain":
            assert "Where not given, 10, or as many as make 500 steps" in help
        elif field not in STATED:
            preset = presets.pretraining if name == "pretrain" else presets.fitting
            assert f"(small: {attrgetter(path)(preset(PRESET))})" in help, field
    assert signature["preset"].qiime_type == Str % Choices(*presets.NAMES)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predicting_parameters_have_the_types_of_their_fields(name):
    signature = action(name).signature.parameters
    for field in ("device", "precision"):
        assert signature[field].qiime_type == primitive(f"train.{field}")
    assert 1 in signature["batch_size"].qiime_type
    assert 0 not in signature["batch_size"].qiime_type


@pytest.mark.parametrize("name", TRAINERS)
def test_defaults_are_the_configurations(name):
    signature = action(name).signature.parameters
    assert signature["preset"].default == PRESET
    for field, path in EVERYDAY.items():
        expected = find(path).default if field in STATED else None
        assert signature[field].default == expected, field


@pytest.mark.parametrize("make", [presets.pretraining, presets.fitting])
@pytest.mark.parametrize("preset", presets.NAMES)
def test_no_preset_changes_what_has_a_stated_default(make, preset):
    config = make(preset)
    for field in STATED:
        assert attrgetter(EVERYDAY[field])(config) == find(EVERYDAY[field]).default, field


def test_names_are_those_that_users_of_qiime2_know():
    assert set(EVERYDAY.values()) == set(core.EVERYDAY.values())
    assert not {"seed", "threads"} & set(FITTING)
    assert EVERYDAY["random_state"] == "train.seed" and EVERYDAY["n_jobs"] == "train.threads"
    assert "n_estimators" not in TRAINING


def test_a_type_of_a_newer_qiime2_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.delattr(_parameters.qiime2.plugin, "Threads", raising=False)
    assert primitive("train.threads") == Int % Range(0, 4096, inclusive_end=True)
    monkeypatch.setattr(_parameters.qiime2.plugin, "Threads", "a type", raising=False)
    assert primitive("train.threads") == "a type"
    assert configure("fitting", arguments(n_jobs="auto")).train.threads == 0


def test_configure_starts_from_the_preset():
    assert configure("pretraining", arguments()) == presets.pretraining("tiny")
    assert configure("fitting", arguments()) == presets.fitting("tiny")


def test_configure_takes_parameters_and_then_settings():
    config = configure(
        "fitting", arguments(epochs=3, settings=["model.sample.depth=1", "train.epochs=4"])
    )
    assert (config.train.epochs, config.model.sample.depth) == (4, 1)


def test_epochs_asked_for_are_what_is_trained():
    assert presets.fitting("small").train.min_steps > 0
    for given in ({"epochs": 3}, {"settings": ["train.epochs=3"]}):
        train = configure("fitting", arguments(preset="small", **given)).train
        assert (train.epochs, train.min_steps) == (3, 0)
    given = {"epochs": 3, "settings": ["train.min_steps=70"]}
    assert configure("fitting", arguments(**given)).train.min_steps == 70


@pytest.mark.parametrize("name, path", (EVERYDAY | OF_FITS).items())
def test_each_everyday_parameter_reaches_its_field(name, path):
    field = find(path)
    other = {int: 7, float: 0.25, str: "cpu"}[type(field.default)]
    if field.metadata["choices"] is not None:
        other = field.metadata["choices"][-1]
    assert attrgetter(path)(configure("fitting", arguments(**{name: other}))) == other


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.encoder.dpeth=4", "model.encoder.depth"),
        ("model.encoder.depth", "section.field=value"),
        ("model.encoder.depth=deep", "whole number"),
        ("train.val_fraction=2", "at most 0.9"),
        ("lr=0.1", "optim.lr=0.1"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(setting, message):
    with pytest.raises(InputError, match=message) as caught:
        configure("fitting", arguments(settings=[setting]))
    assert "\n" not in str(caught.value)
