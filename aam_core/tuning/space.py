"""Search space: the settings of a search, and the values that each may take.

A space is ``{"section.field": range}``. A range is ``{"low": ..., "high": ...}``, both included,
with ``"log": True`` for a setting whose orders of magnitude count or ``"step": ...`` for a grid; or
it is ``{"choices": [...]}``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from aam_core.config import Config, find
from aam_core.config.fields import check, parse, unknown
from aam_core.config.unused import RULES, RunContext
from aam_core.errors import InputError, first_five
from aam_core.files.reading import read_yaml

__all__ = [
    "DEFAULT",
    "check_effect",
    "check_space",
    "contains",
    "default_space",
    "range_ends",
    "read_space",
    "suggest",
]

DEFAULT: dict[str, dict[str, Any]] = {
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "optim.encoder_lr_ratio": {"low": 0.03, "high": 1.0, "log": True},
    "optim.weight_decay": {"low": 1e-3, "high": 1.0, "log": True},
    "model.sample.depth": {"low": 0, "high": 4},
    "model.sample.dropout": {"low": 0.0, "high": 0.6},
    "model.sample.asv_dropout": {"low": 0.0, "high": 0.6},
    "model.head.target_dropout": {"low": 0.0, "high": 0.6},
    "data.rarefaction": {"choices": ["none", "redraw"]},
    "train.batch_size": {"choices": [16, 32, 64]},
}
"""The default space; see `default_space`."""

_SEARCHED_OF_TRAIN = (
    "epochs",
    "min_steps",
    "max_steps",
    "batch_size",
    "max_asvs_per_batch",
    "accumulate",
    "patience",
)
"""Settings of the section ``train`` that can be searched. Its others say where a run
takes place and how it is compared."""

_NOT_SEARCHED = ("model.members", "model.encoder.features", "forest.trees")
"""Settings that change which samples are held out, or on which the metric of a trial does not
depend."""

_NOT_OF_ENCODER = (
    "model.members",
    "model.encoder.dropout",
    "model.sample.dropout",
    "model.sample.asv_dropout",
    "model.head.target_hidden",
    "model.head.target_dropout",
    *(f"model.head.{name}" for name in ("hidden_layers", "layer_norm", "residual")),
    *(f"model.head.{name}" for name in ("initialization", "output", "scale", "scale_by")),
    "model.fusion.kind",
    "model.fusion.latents",
    "model.fusion.layers",
)
"""Settings of the section ``model`` that a pretrained encoder does not determine."""

_OF_RAREFACTION = {
    "data.sampling_depth": ("redraw", "fixed"),
    "data.sampling_depth_max": ("redraw",),
    "data.full_depth": ("redraw",),
}
"""Settings of the rarefaction, and the values of ``data.rarefaction`` with which they act."""

_EXAMPLE = "{low: 0.0001, high: 0.01, log: true}, or {choices: [16, 32]}"

_KEYS = {"low", "high", "log", "step"}


def default_space(encoder: bool) -> dict[str, dict]:
    """The default space, without settings that have no effect with (or without) an encoder."""
    if not encoder:
        return {path: DEFAULT[path] for path in DEFAULT if path != "optim.encoder_lr_ratio"}
    return {path: DEFAULT[path] for path in DEFAULT if not _determined_by_encoder(path)}


def read_space(file) -> dict[str, dict]:
    """Read a space from YAML, and check it.

    Raises
    ------
    InputError
        If the file is not a YAML mapping, or the space is not valid.
    """
    return check_space(read_yaml(file), str(file))


def check_space(space, where: str = "space") -> dict[str, dict]:
    """Check a space; its values get the types of their settings.

    Parameters
    ----------
    space : dict
    where : str
        Where the space comes from, for the messages.

    Raises
    ------
    InputError
        Names the setting, what is wrong with its range, and what is valid.
    """
    if not isinstance(space, dict) or not space:
        raise InputError(f"{where} must map settings to ranges, as in 'optim.lr: {_EXAMPLE}'.")
    checked = {}
    for path, range_ in space.items():
        try:
            checked[path] = _check_range(str(path), range_)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return checked


def check_effect(
    space: dict[str, dict], encoder: bool, config: Config, context: RunContext | None = None
) -> None:
    """Refuse settings without effect: because of others, or of a pretrained encoder or its absence.

    Parameters
    ----------
    space : dict
    encoder : bool
        Whether the fits start from a pretrained encoder.
    config : Config
        Settings that are not in the space.
    context : RunContext, optional
        What else is known of the fits. With it, the rules of `config.unused` are checked, too: each
        setting at the ends of its range, together with one other setting at the ends of its own.

    Raises
    ------
    InputError
    """
    ways = space.get("data.rarefaction", {"choices": [config.data.rarefaction]})["choices"]
    drawing = {path: acting for path, acting in _OF_RAREFACTION.items() if path in space}
    unused = [path for path, acting in drawing.items() if not {*acting} & {*ways}]
    if unused:
        raise InputError(
            f"{' and '.join(unused)}: no effect where data.rarefaction is {' or '.join(ways)}; "
            "set that to 'redraw', in the configuration or in the space."
        )
    if encoder:
        unused = [path for path in space if _determined_by_encoder(path)]
        if unused:
            raise InputError(
                f"The pretrained encoder determines {first_five(unused)}: they cannot be searched."
            )
    elif "optim.encoder_lr_ratio" in space:
        raise InputError("optim.encoder_lr_ratio has no effect without a pretrained encoder.")
    if context is None:
        return
    for path in space:
        reasons = [RULES[path](variant, context) for variant in _variants(space, path, config)]
        if reasons and all(reasons):
            raise InputError(f"{path} has no effect in any trial: {reasons[0]}.")


def _variants(space: dict[str, dict], path: str, config: Config) -> Iterator[Config]:
    """Configurations with a setting and one other, each at the ends of its range."""
    for value in range_ends(space[path]):
        for other in space:
            for other_value in range_ends(space[other]):
                with contextlib.suppress(InputError):  # such a trial would fail
                    yield config.replace({other: other_value, path: value})


def range_ends(range_: dict) -> list:
    """The choices of a range, or its lowest and highest value."""
    return range_.get("choices") or [range_["low"], range_["high"]]


def suggest(trial, path: str, range_: dict):
    """The value of a setting that an Optuna trial suggests."""
    if "choices" in range_:
        return trial.suggest_categorical(path, range_["choices"])
    if type(find(path).default) is int:
        return trial.suggest_int(path, **range_)
    return trial.suggest_float(path, **range_)


def contains(range_: dict, value) -> bool:
    """Whether a value is in a range."""
    if "choices" in range_:
        return value in range_["choices"]
    if not range_["low"] <= value <= range_["high"]:
        return False
    steps = (value - range_["low"]) / range_.get("step", 1)
    return "step" not in range_ or abs(steps - round(steps)) < 1e-9


def _check_range(path: str, range_) -> dict:
    field = find(path)
    section, _, name = path.rpartition(".")
    if section == "train" and name not in _SEARCHED_OF_TRAIN:
        legal = ", ".join(f"train.{name}" for name in _SEARCHED_OF_TRAIN)
        raise InputError(f"{path} cannot be searched; settings of its section that can: {legal}.")
    if path in _NOT_SEARCHED:
        raise InputError(f"{path} cannot be searched: metrics of such trials are not comparable.")
    if not isinstance(range_, dict):
        raise InputError(f"{path} must have a range, as in {_EXAMPLE}; not {range_!r}.")
    if "choices" in range_:
        return _check_choices(path, field, range_)
    for key in range_:
        if key not in _KEYS:
            raise unknown(key, sorted({*_KEYS, "choices"}), f"key of a range ({path})")
    kind = type(field.default)
    if kind not in (int, float):
        choices = field.metadata["choices"] or ("true", "false")
        raise InputError(f"{path} is not a number: use {{choices: [{', '.join(choices)}]}}.")
    if not {"low", "high"} <= set(range_):
        raise InputError(f"{path} needs both low and high, as in {_EXAMPLE}.")
    ends = {key: _number(f"{path}: {key}", field, range_[key]) for key in ("low", "high")}
    if ends["low"] >= ends["high"]:
        raise InputError(f"{path}: low ({ends['low']}) must be below high ({ends['high']}).")
    log, step = range_.get("log", False), range_.get("step")
    if not isinstance(log, bool):
        raise InputError(f"{path}: log must be true or false, not {log!r}.")
    if log and (step is not None or ends["low"] <= 0):
        raise InputError(f"{path}: with log, low must be above 0, and step is not allowed.")
    if step is None:
        return {**ends, "log": log}
    step = parse(str(step), kind, f"{path}: step")
    if not step > 0:
        raise InputError(f"{path}: step must be above 0, not {step}.")
    return {**ends, "step": step}


def _number(name: str, field, value):
    """An end of a range: within the field's bounds, and no word such as 'auto'."""
    number, least = check(field, value, name), field.metadata["minimum"]
    if least is not None and number < least:
        raise InputError(f"{name} must be at least {least}, not {value!r}.")
    return number


def _check_choices(path: str, field, range_: dict) -> dict:
    values = range_["choices"]
    if set(range_) != {"choices"} or not isinstance(values, list) or not values:
        raise InputError(f"{path}: choices must be a list of values, without other keys.")
    values = [check(field, value, path) for value in values]
    if len(set(values)) < len(values):
        raise InputError(f"{path}: the choices have a value twice: {first_five(values)}.")
    return {"choices": values}


def _determined_by_encoder(path: str) -> bool:
    return path.startswith("model.") and path not in _NOT_OF_ENCODER
