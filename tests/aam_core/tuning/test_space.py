"""Search spaces."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest

from aam_core.config import Config, find, paths
from aam_core.config.presets import fitting, pretraining
from aam_core.errors import InputError
from aam_core.pretrained import with_sizes_of
from aam_core.tuning import space

OTHER = {
    bool: lambda value: not value,
    int: lambda value: 1 if value == 2 else 2,
    float: lambda value: 0.5 * value + 0.25,
}
"""A legal value that is another."""


ANY = {"low": 1, "high": 2}


def at(config, path):
    return functools.reduce(getattr, path.split("."), config)


def test_the_default_is_legal_and_holds_the_presets():
    assert space.check_space(space.DEFAULT)
    for path, given in space.DEFAULT.items():
        assert space.contains(given, at(fitting("small"), path)), path
    with_encoder, without = space.default_space(True), space.default_space(False)
    assert set(without) - set(with_encoder) == {"model.sample.depth"}
    assert set(with_encoder) - set(without) == {"optim.encoder_lr_ratio"}
    space.check_effect(with_encoder, True, fitting())
    space.check_effect(without, False, fitting())


def test_values_become_what_their_settings_are(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "optim.lr: {low: 1e-4, high: 1, log: true}\n"  # to YAML, 1e-4 is text
        "model.sample.depth: {low: 1, high: 7, step: 2}\n"
        "train.batch_size: {choices: [16, '32', auto]}\n"
        "data.rarefaction: {choices: [redraw, none]}\n"
        "optim.warmup: {low: 0, high: 0.5}\n"
    )
    assert space.read_space(file) == {
        "optim.lr": {"low": 1e-4, "high": 1.0, "log": True},
        "model.sample.depth": {"low": 1, "high": 7, "step": 2},
        "train.batch_size": {"choices": [16, 32, 0]},
        "data.rarefaction": {"choices": ["redraw", "none"]},
        "optim.warmup": {"low": 0.0, "high": 0.5, "log": False},
    }


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "must map settings to ranges"),
        ("[optim.lr]", "must map settings to ranges"),
        ("optim.lr: {low: 0", "is not YAML"),
        ("optim.lrr: {low: 0.1, high: 1}", "no setting 'optim.lrr'; did you mean 'optim.lr'"),
        ("optim: {lr: {low: 0.1, high: 1}}", "no setting 'optim'"),
        ("optim.lr: 0.1", "optim.lr must have a range, as in {low"),
        ("optim.lr: {low: 0.1}", "needs both low and high"),
        ("optim.lr: {low: 1, high: 0.1}", r"low \(1.0\) must be below high \(0.1\)"),
        ("optim.lr: {low: -1, high: 1}", "optim.lr: low must be at least 0.0, not -1.0"),
        ("optim.lr: {low: 0, high: 1, log: true}", "with log, low must be above 0"),
        ("optim.lr: {low: 0.1, high: 1, log: true, step: 0.1}", "step is not allowed"),
        ("optim.lr: {low: 0.1, high: 1, log: 2}", "log must be true or false, not 2"),
        ("optim.lr: {low: 0.1, high: 1, step: 0}", "step must be above 0"),
        ("optim.lr: {low: 0.1, high: 1, steps: 0.1}", "'steps'.*did you mean 'step'"),
        ("model.sample.depth: {low: 1, high: 2.5}", "model.sample.depth: high must be a whole"),
        ("train.batch_size: {low: auto, high: 64}", "at least 2, not 'auto'"),
        ("data.rarefaction: {low: 1, high: 2}", r"{choices: \[redraw, fixed, none\]}"),
        ("data.rarefaction: {choices: [draw]}", "must be one of redraw, fixed, none"),
        ("train.batch_size: {choices: []}", "choices must be a list"),
        ("train.batch_size: {choices: [16], low: 2}", "without other keys"),
        ("train.batch_size: {choices: [16, 16]}", "have a value twice"),
        ("model.members: {low: 1, high: 9}", "model.members cannot be searched: metrics"),
        ("train.seed: {low: 0, high: 9}", "train.seed cannot be searched.*train.epochs"),
    ],
)
def test_a_range_that_cannot_be_searched_names_file_setting_and_what_is_legal(
    tmp_path, text, words
):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        space.read_space(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_settings_that_an_encoder_determines_are_not_searched():
    network = SimpleNamespace(of_many_studies=False)
    encoder = SimpleNamespace(config=fitting("small"), network=network)
    others = {
        "model.encoder.features": "both",
        "model.encoder.width": 128,
        "model.encoder.kernel": 3,
        "model.head.distance": "ruzicka",
        "model.head.hidden_layers": "16",
        "model.head.initialization": "xavier",
        "model.head.output": "exp",
        "model.head.scale_by": "sex",
        "model.fusion.kind": "add",
    }
    for path in (path for path in paths() if path.startswith("model.")):
        theirs = at(encoder.config, path)
        other = others[path] if path in others else OTHER[type(theirs)](theirs)
        kept = at(with_sizes_of(Config().replace({path: other}), encoder), path) == other
        if kept:
            space.check_effect({path: ANY}, True, Config())
        else:
            with pytest.raises(InputError, match=path):
                space.check_effect({path: ANY}, True, Config())
    with pytest.raises(InputError, match="no effect without a pretrained encoder"):
        space.check_effect({"optim.encoder_lr_ratio": ANY}, False, Config())


@pytest.mark.parametrize("name", ["sampling_depth", "sampling_depth_max", "full_depth"])
def test_settings_of_the_rarefaction_are_searched_where_they_act(name):
    drawn, fixed, none = pretraining(), Config().replace({"data.rarefaction": "fixed"}), fitting()
    path = f"data.{name}"

    def refused(config, *choices):
        beside = {"data.rarefaction": {"choices": list(choices)}} if choices else {}
        try:
            space.check_effect({path: ANY, **beside}, False, config)
        except InputError as error:
            return str(error)

    assert not refused(drawn) and not refused(none, "none", "redraw")
    assert refused(none).startswith(f"{path}: no effect where data.rarefaction is none; set")
    assert refused(none, "none") == refused(drawn, "none") == refused(none)
    for result in (refused(fixed), refused(none, "none", "fixed")):
        assert bool(result) == (name != "sampling_depth")  # of one depth, all samples'


def test_suggested_values_lie_in_their_ranges():
    import optuna

    ranges = space.check_space(
        {
            "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "data.sampling_depth": {"low": 10, "high": 1000, "log": True},
            "model.sample.depth": {"low": 1, "high": 7, "step": 3},
            "optim.warmup": {"low": 0.0, "high": 0.5, "step": 0.25},
            "train.batch_size": {"choices": [16, 32]},
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    result = {path: set() for path in ranges}
    for _ in range(40):
        trial = study.ask()
        for path, given in ranges.items():
            value = space.suggest(trial, path, given)
            assert space.contains(given, value) and type(value) is type(find(path).default)
            result[path].add(value)
    assert result["model.sample.depth"] == {1, 4, 7}
    assert result["optim.warmup"] == {0.0, 0.25, 0.5}
    assert result["train.batch_size"] == {16, 32}
    assert min(result["optim.lr"]) < 5e-4 and max(result["optim.lr"]) > 2e-3
    assert not space.contains(ranges["model.sample.depth"], 2)
    assert not space.contains(ranges["optim.lr"], 0.02)
