"""Preset < configuration < everyday settings < assignments, the same from every side."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import yaml

from aam_core.config import FLAGS, Config, find, paths, presets
from aam_core.config.everyday import EverydaySettings
from aam_core.config.resolve import configured, read_settings, resolve
from aam_core.errors import InputError


@pytest.fixture
def settings(tmp_path):
    """Write YAML; returns its path."""

    def write(content):
        path = tmp_path / "run.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def tiny(**more) -> Config:
    return resolve("fitting", preset="tiny", **more)


@pytest.mark.parametrize("kind", ["pretraining", "fitting"])
@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_by_its_name(kind, name):
    preset = getattr(presets, kind)(name)
    assert resolve(kind, preset=name) == resolve(kind, config=name) == preset


def test_without_a_name_the_preset_is_the_default_one():
    assert resolve("fitting") == presets.fitting(presets.DEFAULT)


def test_precedence(settings):
    file = settings("train: {epochs: 41, seed: 41, batch_size: 41}\noptim: {lr: 1e-2}")
    everyday = {"epochs": None, "seed": 42, "batch_size": 42}
    config = tiny(config=file, settings=everyday, assignments=["train.batch_size=43"])
    assert (config.train.epochs, config.train.seed, config.train.batch_size) == (41, 42, 43)
    assert config.optim.lr == 0.01
    touched = {"train.epochs", "train.min_steps", "train.seed", "train.batch_size", "optim.lr"}
    preset = presets.fitting("tiny")
    assert all(config.at(path) == preset.at(path) for path in touched ^ set(paths()))


def test_every_way_to_write_a_configuration_gives_the_same(settings):
    nested = {"train": {"epochs": 3}, "model": {"encoder": {"depth": 6}}}
    flat = {"train.epochs": 3, "model.encoder.depth": 6}
    file = settings(nested)
    expected = presets.fitting("tiny").replace(flat)
    for written in (nested, flat, file, str(file)):
        config = tiny(config=written)
        assert config == expected and config.explicit == expected.explicit
    assert resolve("fitting", config=presets.fitting("tiny"), settings={"epochs": 3}) == tiny(
        settings={"epochs": 3}
    )


def test_epochs_by_any_route_are_what_is_trained(settings):
    assert presets.fitting("small").train.min_steps > 0
    everyday, assignment = {"epochs": 3}, ["train.epochs=3"]
    file = settings("train: {epochs: 3}")
    for route in (
        {"settings": everyday},
        {"assignments": assignment},
        {"config": file},
        {"config": {"train.epochs": 3}},
        {"config": presets.fitting("small"), "settings": everyday},
        {"config": file, "settings": everyday, "assignments": assignment},
    ):
        config = resolve("fitting", **route)
        assert (config.train.epochs, config.train.min_steps) == (3, 0)


def test_steps_that_are_set_beside_epochs_stay(settings):
    steps, file = ["train.min_steps=70"], settings("train: {min_steps: 70, epochs: 3}")
    for route in (
        {"settings": {"epochs": 3}, "assignments": steps},
        {"config": file},
        {"config": file, "settings": {"epochs": 4}},
    ):
        assert resolve("fitting", **route).train.min_steps == 70
    assert resolve("fitting", settings={"epochs": None}) == presets.fitting("small")


def test_a_setting_is_assigned_once():
    with pytest.raises(InputError, match="train.seed is set twice, to 1 and 2"):
        tiny(assignments=["train.seed=1", " train.seed = 2 "])
    assert tiny(assignments=["train.seed=2", "train.seed=2"]).train.seed == 2


def test_a_saved_configuration_restores_itself(settings):
    config = resolve(
        "pretraining", preset="tiny", settings={"seed": 9}, assignments=["loss.metric=jaccard"]
    )
    assert resolve("fitting", preset="large", config=settings(config.to_dict())) == config


def test_settings_that_hold_only_together(settings):
    """The width suits the heads once all is read, whatever the preset's were."""
    heads = {name: {"heads": 3} for name in ("sample", "fusion")}
    file = settings({"model": {"encoder": {"width": 96, "heads": 3}, **heads}})
    assert resolve("pretraining", config=file).model.encoder.heads == 3


def test_empty_file_and_empty_section_change_nothing(settings):
    assert read_settings(settings("# nothing\n")) == {}
    assert read_settings(settings("train:\n  # epochs: 3\nmodel:\n  encoder:\n")) == {}
    assert tiny(config={}) == presets.fitting("tiny")


@pytest.mark.parametrize(
    "content, part",
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
def test_bad_file_names_itself_and_the_key(settings, content, part):
    file = settings(content)
    with pytest.raises(InputError) as refusal:
        tiny(config=file)
    message = str(refusal.value)
    assert str(file) in message and part in message and "\n" not in message


@pytest.mark.parametrize(
    "assignment, message",
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
def test_bad_assignment(assignment, message):
    with pytest.raises(InputError, match=message):
        tiny(assignments=[assignment])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"preset": "tinny"}, "no preset 'tinny'; there are: tiny, small"),
        ({"config": "tinny"}, r"neither a preset \(tiny, small, base, large\) nor a file"),
        ({"config": "absent.yaml"}, "absent.yaml"),
        ({"config": 3}, "mapping of settings, not int"),
        ({"config": {"train.epoch": 3}}, "config: .* did you mean 'train.epochs'"),
        ({"settings": {"epoch": 3}}, "no keyword 'epoch'; did you mean 'epochs'"),
        ({"settings": {"weight_decay": 1}}, "config={'optim.weight_decay': value}"),
        ({"settings": {"epochs": 0}}, "epochs must be at least 1, not 0"),
        ({"settings": {"epochs": True}}, "epochs must be a whole number, not True"),
        ({"preset": "tiny", "config": Config()}, "preset='tiny' beside a whole Config"),
        ({"preset": "tiny", "config": "base"}, "preset='tiny' beside config='base'"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        resolve("fitting", **arguments)


def test_a_resumed_run_keeps_its_settings_unless_a_start_is_named():
    saved = presets.fitting("base").replace({"optim.lr": 0.5})
    assert resolve("fitting", base=saved) == saved
    more = resolve("fitting", base=saved, settings={"seed": 3})
    assert (more.optim.lr, more.train.seed, more.explicit) == (
        0.5,
        3,
        saved.explicit | {"train.seed"},
    )
    assert resolve("fitting", base=saved, config={"optim.lr": 0.25}).model == saved.model
    for start in ({"preset": "tiny"}, {"config": "tiny"}, {"config": presets.fitting("tiny")}):
        assert resolve("fitting", base=saved, **start) == presets.fitting("tiny")


def test_numbers_of_numpy_are_numbers():
    config = tiny(settings={"lr": np.float32(0.5), "epochs": np.int64(3)})
    assert config == tiny(settings={"lr": 0.5, "epochs": 3})
    assert type(config.optim.lr) is float and type(config.train.epochs) is int


def test_a_sampling_depth_is_what_is_drawn():
    assert presets.fitting("small").data.rarefaction == "none"
    for route in (
        {"settings": {"sampling_depth": 700}},
        {"assignments": ["data.sampling_depth=700"]},
    ):
        data = resolve("fitting", **route).data
        assert (data.rarefaction, data.sampling_depth) == ("redraw", 700)
        assert data.full_depth == data.sampling_depth_max == 0
    kept = resolve(
        "fitting", settings={"sampling_depth": 700}, assignments=["data.rarefaction=fixed"]
    )
    assert kept.data.rarefaction == "fixed"
    for depth, more in ((1000, {}), (700, {"sampling_depth": 700})):
        data = resolve("fitting", settings=more, assignments=["data.rarefaction=redraw"]).data
        assert (data.sampling_depth, data.sampling_depth_max, data.full_depth) == (
            depth,
            10000,
            0.75,
        )


class TestConfigured:
    """A function that declares settings, and reads one configuration."""

    @staticmethod
    @configured("fitting", saved=lambda resume: presets.fitting("large"))
    def fit(study, *, config=None, preset=None, resume=None, encoder=None, **settings):
        """Fit."""
        assert preset is None and not settings
        return study, encoder, config

    def test_all_settings_become_one_configuration(self):
        study, encoder, config = self.fit("s", preset="tiny", epochs=3, encoder="e")
        assert (study, encoder) == ("s", "e")
        assert config == tiny(settings={"epochs": 3})
        assert self.fit.__doc__ == "Fit."

    def test_a_resumed_run_is_the_base(self):
        assert self.fit("s", resume="folder", seed=3)[2] == presets.fitting("large").replace(
            {"train.seed": 3}
        )

    @pytest.mark.parametrize(
        "keyword, message",
        [
            ("epoch", "did you mean 'epochs'"),
            ("encodr", "did you mean 'encoder'"),
            ("settings", "no keyword 'settings'"),
            ("members", "config={'model.members': value}"),
        ],
    )
    def test_an_unknown_keyword_suggests_the_nearest(self, keyword, message):
        with pytest.raises(InputError, match=message):
            self.fit("s", **{keyword: 3})

    def test_the_kind_may_follow_from_the_arguments(self):
        @configured(lambda options: options["task"])
        def find_lr(*, task, config=None):
            return config

        assert find_lr(task="pretraining") == presets.pretraining()
        assert find_lr(task="fitting") == presets.fitting()


def test_type_checkers_see_every_everyday_setting():
    """With the type of its field, a word where the field has words, and None for not given."""
    hints = typing.get_type_hints(EverydaySettings)
    assert list(hints) == list(FLAGS)
    for name, path in FLAGS.items():
        field = find(path)
        types = {type(field.default), type(None)} | ({str} if field.metadata["words"] else set())
        assert set(typing.get_args(hints[name])) == types, name
