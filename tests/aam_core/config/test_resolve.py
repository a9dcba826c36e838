"""Preset < ``--config`` < flags < ``--set``."""

from __future__ import annotations

import pytest
import yaml

from aam_core.config import Config, paths, presets
from aam_core.config.resolve import read_settings, resolve
from aam_core.errors import InputError


@pytest.fixture
def settings(tmp_path):
    """Write YAML; returns its path."""

    def write(content):
        path = tmp_path / "run.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize("kind", ["pretraining", "fitting"])
@pytest.mark.parametrize("name", presets.NAMES)
def test_preset_alone_is_the_preset(kind, name):
    assert resolve(kind, name) == getattr(presets, kind)(name)


def test_precedence(settings):
    file = settings("train: {epochs: 41, seed: 41, batch_size: 41}\noptim: {lr: 1e-2}")
    flags = {"epochs": None, "seed": 42, "batch_size": 42}
    config = resolve("fitting", "tiny", file, flags, ["train.batch_size=43"])
    assert (config.train.epochs, config.train.seed, config.train.batch_size) == (41, 42, 43)
    assert config.optim.lr == 0.01
    touched = {"train.epochs", "train.min_steps", "train.seed", "train.batch_size", "optim.lr"}
    untouched = touched ^ set(paths())
    preset = presets.fitting("tiny")
    assert all(config.at(path) == preset.at(path) for path in untouched)


def test_epochs_asked_for_by_any_route_are_what_is_trained(settings):
    assert presets.fitting("small").train.min_steps > 0
    flag, assignment = {"epochs": 3}, ["train.epochs=3"]
    file = settings("train: {epochs: 3}")
    for route in ((None, flag), (None, None, assignment), (file,), (file, flag, assignment)):
        config = resolve("fitting", "small", *route)
        assert (config.train.epochs, config.train.min_steps) == (3, 0)


def test_steps_asked_for_beside_epochs_stay(settings):
    steps, file = ["train.min_steps=70"], settings("train: {min_steps: 70, epochs: 3}")
    for route in ((None, {"epochs": 3}, steps), (file,), (file, {"epochs": 4})):
        assert resolve("fitting", "small", *route).train.min_steps == 70
    assert resolve("fitting", "small", None, {"epochs": None}) == presets.fitting("small")


def test_a_setting_is_assigned_once():
    with pytest.raises(InputError, match="train.seed is set twice, to 1 and 2"):
        resolve("fitting", "tiny", None, {}, ["train.seed=1", " train.seed = 2 "])
    assert resolve("fitting", "tiny", None, {}, ["train.seed=2", "train.seed=2"]).train.seed == 2


def test_a_saved_configuration_restores_itself(settings):
    config = resolve("pretraining", "tiny", None, {"seed": 9}, ["loss.metric=jaccard"])
    assert resolve("fitting", "large", settings(config.to_dict())) == config


def test_settings_that_hold_only_together(settings):
    """The width suits the heads once all is read, whatever the preset's were."""
    heads = {name: {"heads": 3} for name in ("sample", "fusion")}
    file = settings({"model": {"encoder": {"width": 96, "heads": 3}, **heads}})
    assert resolve("pretraining", "small", file).model.encoder.heads == 3


def test_empty_file_and_empty_section_change_nothing(settings):
    assert read_settings(settings("# nothing\n")) == {}
    assert read_settings(settings("train:\n  # epochs: 3\nmodel:\n  encoder:\n")) == {}


@pytest.mark.parametrize(
    "content, said",
    [
        ("train: {epoch: 3}", "train.epochs"),
        ("trian: {epochs: 3}", "trian.epochs"),
        ("epochs: 3", "train.epochs"),
        ("train: 3", "'train'"),
        ("train: {epochs: {a: 1}}", "train.epochs.a"),
        ("train: {epochs: many}", "whole number"),
        ("train: {epochs: 0}", "at least 1"),
        ("train: {epochs: }", "train.epochs"),
        ("loss: {metric: euclid}", "unweighted"),
        ("- train", "map sections"),
        ("train: {epochs", "not YAML"),
        ("\0", "not YAML"),
    ],
)
def test_bad_file_names_itself_and_the_key(settings, content, said):
    file = settings(content)
    with pytest.raises(InputError) as refusal:
        resolve("fitting", "tiny", file)
    message = str(refusal.value)
    assert str(file) in message and said in message and "\n" not in message


@pytest.mark.parametrize(
    "assignment, said",
    [
        ("train.epochs", "section.field=value"),
        ("train.epoch=3", "did you mean 'train.epochs'"),
        ("train=3", "'train'"),
        ("train.epochs=many", "train.epochs must be a whole number"),
        ("train.epochs=0", "train.epochs must be at least 1"),
        ("loss.metric=euclid", "unweighted"),
        ("model.encoder.heads=7", "multiple"),
    ],
)
def test_bad_assignment(assignment, said):
    with pytest.raises(InputError, match=said):
        resolve("fitting", "tiny", None, {}, [assignment])


def test_presets_are_configurations():
    assert all(isinstance(presets.fitting(name), Config) for name in presets.NAMES)


def test_a_sampling_depth_is_what_is_drawn():
    assert presets.fitting("small").data.rarefaction == "none"
    for route in ({"flags": {"sampling_depth": 700}}, {"assignments": ["data.sampling_depth=700"]}):
        data = resolve("fitting", "small", **route).data
        assert (data.rarefaction, data.sampling_depth) == ("redraw", 700)
        assert data.full_depth == data.sampling_depth_max == 0
    kept = resolve("fitting", "small", None, {"sampling_depth": 700}, ["data.rarefaction=fixed"])
    assert kept.data.rarefaction == "fixed"
    for depth, more in ((1000, {}), (700, {"sampling_depth": 700})):
        asked = resolve("fitting", "small", None, more, ["data.rarefaction=redraw"]).data
        found = (asked.sampling_depth, asked.sampling_depth_max, asked.full_depth)
        assert found == (depth, 10000, 0.75)
