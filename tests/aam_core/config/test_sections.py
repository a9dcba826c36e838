from __future__ import annotations

import dataclasses
import json

import pytest

from aam_core.config import (
    AUTO,
    EVERYDAY,
    FLAGS,
    METRICS,
    WITHOUT_TREE,
    Config,
    OptimConfig,
    TrainConfig,
    find,
    paths,
)
from aam_core.config.fields import check
from aam_core.errors import InputError

FIELDS = {path: find(path) for path in paths()}


def test_through_json_and_back():
    config = Config().replace({"train.epochs": 7, "loss.target": "mae", "optim.lr": 1e-5})
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config != Config()


def test_absent_keys_take_their_defaults():
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"train": {"epochs": 7}}) == Config().replace({"train.epochs": 7})


def test_every_field_says_what_it_is_and_what_is_legal():
    for path, item in FIELDS.items():
        assert item.metadata["help"].endswith((".", ")")) or " " in item.metadata["help"], path
        assert check(item, item.default, path) == item.default
        bounded = item.metadata["minimum"] is not None or item.metadata["choices"] is not None
        assert bounded or type(item.default) in (str, bool), path


@pytest.mark.parametrize("path", FIELDS)
def test_bounds_and_choices_hold(path):
    item = FIELDS[path]
    meta = item.metadata
    if meta["minimum"] is not None:
        with pytest.raises(InputError, match="at least"):
            check(item, type(item.default)(meta["minimum"] - 1))
    if meta["maximum"] is not None:
        with pytest.raises(InputError, match="at most"):
            check(item, type(item.default)(meta["maximum"] + 1))
    if meta["choices"] is not None:
        with pytest.raises(InputError, match="one of " + meta["choices"][0]):
            check(item, "something else")


def test_flags_of_their_own_are_settings():
    assert set(FLAGS.values()) <= set(FIELDS)
    assert EVERYDAY.items() <= FLAGS.items()


# --- changes -------------------------------------------------------------------------------------


def test_a_copy_with_changes():
    before = Config()
    after = before.replace({"model.encoder.depth": 6, "train.batch_size": "8"})
    assert (after.model.encoder.depth, after.train.batch_size) == (6, 8)
    assert before == Config()


def test_differences_are_values_here_and_there():
    before = Config()
    changes = {"optim.lr": 0.5, "model.encoder.depth": 6, "train.compile": True}
    assert before.differences(before) == {}
    assert before.differences(before.replace(changes)) == {
        "model.encoder.depth": (before.model.encoder.depth, 6),
        "optim.lr": (before.optim.lr, 0.5),
        "train.compile": (False, True),
    }


def test_a_batch_size_may_be_left_to_the_memory():
    config = Config().replace({"train.batch_size": "auto"})
    assert config.train.batch_size == AUTO
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig(batch_size="AUTO").batch_size == TrainConfig(batch_size=AUTO).batch_size
    for wrong in (1, -1, "1", "automatic"):
        with pytest.raises(InputError, match="batch_size must be"):
            TrainConfig(batch_size=wrong)


def test_an_average_keeps_less_than_all():
    with pytest.raises(InputError, match="ema must be at most 0.99999"):
        OptimConfig(ema=1.0)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.epochs = 3


@pytest.mark.parametrize(
    "path, words",
    [
        ("train.epoch", "'train.epoch'; did you mean 'train.epochs'"),
        ("trian.epochs", "did you mean 'train.epochs'"),
        ("model.encoder.dept", "did you mean 'model.encoder.depth'"),
        ("model.encoder", "There is no setting 'model.encoder'"),
        ("train.epochs.more", "There is no setting 'train.epochs.more'"),
        ("epochs", "'train.epochs'"),
    ],
)
def test_unknown_settings_suggest_the_nearest(path, words):
    for look in (find, lambda path: Config().replace({path: 3})):
        with pytest.raises(InputError, match=words):
            look(path)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"train": {"epoch": 3}}, "run.json: There is no setting 'train.epoch'.*'train.epochs'"),
        ({"trian": {}}, "run.json: There is no setting 'trian'; did you mean 'train'"),
        ({"train": 3}, "run.json: train must be a mapping"),
        ({"model": {"encoder": None}}, "run.json: model.encoder must be a mapping"),
        (None, "run.json: the top level must be a mapping"),
        ({"train": {"epochs": 0}}, "train.epochs must be at least 1, not 0"),
        ({"train": {"epochs": 1.5}}, "train.epochs must be a whole number"),
        ({"train": {"epochs": True}}, "train.epochs must be a whole number"),
        ({"optim": {"clip": float("inf")}}, "optim.clip must be a finite number, not inf"),
        ({"optim": {"lr": float("nan")}}, "optim.lr must be a finite number, not nan"),
        ({"optim": {"lr": None}}, "optim.lr must be a number"),
        ({"loss": {"target": "hubert"}}, "loss.target must be one of huber, mse, mae"),
        ({"model": {"encoder": {"heads": 7}}}, "multiple of twice the heads"),
        ({"model": {"sample": {"heads": 7}}}, "model.sample.heads is 7"),
        ({"model": {"encoder": {"kernel": 8}}}, "must be odd"),
    ],
)
def test_illegal_dictionaries(values, words):
    with pytest.raises(InputError, match=words) as caught:
        Config.from_dict(values, "run.json")
    assert "\n" not in str(caught.value)


def test_every_seed_suits_every_library():
    """Torch, numpy and scikit-learn: the last takes 32 bits."""
    assert TrainConfig(seed=2**32 - 1).seed == 2**32 - 1
    with pytest.raises(InputError, match="seed must be at most"):
        TrainConfig(seed=2**32)


def test_metric_names():
    assert set(WITHOUT_TREE) < set(METRICS)
    assert find("loss.metric").metadata["choices"] == METRICS
    assert find("loss.metric").metadata["choices"][-2:] == WITHOUT_TREE  # as its help says
