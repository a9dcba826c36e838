"""What a search goes through: settings, and the values that each may take.

A space is ``{"section.field": range}``. A range is ``{"low": ..., "high": ...}``, both included,
with ``"log": True`` for a setting whose orders of magnitude count or ``"step": ...`` for a grid; or
it is ``{"choices": [...]}``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aam_core.config import Config, find
from aam_core.config.fields import check, parse, unknown
from aam_core.config.unused import RULES, Setup
from aam_core.errors import InputError, first_five
from aam_core.files.reading import read_yaml

DEFAULT = {
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
"""What is searched where no space is given; see `default`."""

OF_TRAIN = (
    "epochs",
    "min_steps",
    "max_steps",
    "batch_size",
    "max_asvs_per_batch",
    "accumulate",
    "patience",
)
"""The rest of the section says where a run takes place and how it is compared with others."""

NOT_SEARCHED = ("model.members", "model.encoder.features", "forest.trees")
"""What decides who validates, and what the figure of a trial does not see."""

BESIDE_ENCODER = (
    "model.members",
    "model.encoder.dropout",
    "model.sample.dropout",
    "model.sample.asv_dropout",
    "model.head.target_hidden",
    "model.head.target_dropout",
    "model.fusion.kind",
    "model.fusion.latents",
)
"""Of ``model``, what a pretrained encoder does not bring with it."""

DRAWING = {
    "data.sampling_depth": ("redraw", "fixed"),
    "data.sampling_depth_max": ("redraw",),
    "data.full_depth": ("redraw",),
}
"""Settings of a draw of reads, and the values of ``data.rarefaction`` under which they count."""

EXAMPLE = "{low: 0.0001, high: 0.01, log: true}, or {choices: [16, 32]}"

_KEYS = {"low", "high", "log", "step"}


def default(encoder: bool) -> dict[str, dict]:
    """The default space, without what has no effect with, or without, a pretrained encoder."""
    if not encoder:
        return {path: DEFAULT[path] for path in DEFAULT if path != "optim.encoder_lr_ratio"}
    return {path: DEFAULT[path] for path in DEFAULT if not _brought(path)}


def read(file) -> dict[str, dict]:
    """Read a space from YAML, and `check_space` it.

    Raises
    ------
    InputError
        For a file that is not a YAML mapping, or a space that is not legal.
    """
    return check_space(read_yaml(file), str(file))


def check_space(space, where: str = "space") -> dict[str, dict]:
    """The space with every value as its setting's type.

    Parameters
    ----------
    space : dict
    where : str
        What it came from, for the messages.

    Raises
    ------
    InputError
        Names the setting, what is wrong with its range, and what is legal.
    """
    if not isinstance(space, dict) or not space:
        raise InputError(f"{where} must map settings to ranges, as in 'optim.lr: {EXAMPLE}'.")
    checked = {}
    for path, given in space.items():
        try:
            checked[path] = _range(str(path), given)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return checked


def check_effect(
    space: dict[str, dict], encoder: bool, config: Config, setup: Setup | None = None
) -> None:
    """Refuse settings that others, a pretrained encoder or its absence take the effect from.

    Parameters
    ----------
    space : dict
    encoder : bool
        Whether the fits start from a pretrained encoder.
    config : Config
        What the space does not name.
    setup : Setup, optional
        What else the fits are: with it, the rules of `config.unused` hold wherever the space
        reaches, as far as one other setting of it at a time tells.
    """
    reached = space.get("data.rarefaction", {"choices": [config.data.rarefaction]})["choices"]
    idle = [path for path, ways in DRAWING.items() if path in space and not {*ways} & {*reached}]
    if idle:
        raise InputError(
            f"{' and '.join(idle)}: no effect where data.rarefaction is {' or '.join(reached)}; "
            "set that to 'redraw', beside the space or in it."
        )
    if encoder:
        idle = [path for path in space if _brought(path)]
        if idle:
            raise InputError(
                f"The pretrained encoder decides {first_five(idle)}: leave them out of the space."
            )
    elif "optim.encoder_lr_ratio" in space:
        raise InputError("optim.encoder_lr_ratio has no effect without a pretrained encoder.")
    for path in space if setup is not None else ():
        reasons = [RULES[path](reached, setup) for reached in _reached(space, path, config)]
        if reasons and all(reasons):
            raise InputError(f"{path} has no effect in any trial: {reasons[0]}.")


def _reached(space: dict[str, dict], path: str, config: Config) -> Iterator[Config]:
    """Configurations at the ends of a setting's range, and at those of one more at a time."""
    for value in _ends(space[path]):
        for other in space:
            for beside in _ends(space[other]):
                with contextlib.suppress(InputError):  # what does not go together is no trial
                    yield config.replace({other: beside, path: value})


def _ends(given: dict) -> list:
    return given.get("choices") or [given["low"], given["high"]]


def suggest(trial, path: str, given: dict):
    """The value of a setting in an Optuna trial."""
    if "choices" in given:
        return trial.suggest_categorical(path, given["choices"])
    if type(find(path).default) is int:
        return trial.suggest_int(path, **given)
    return trial.suggest_float(path, **given)


def holds(given: dict, value) -> bool:
    """Whether a range has this value."""
    if "choices" in given:
        return value in given["choices"]
    if not given["low"] <= value <= given["high"]:
        return False
    steps = (value - given["low"]) / given.get("step", 1)
    return "step" not in given or abs(steps - round(steps)) < 1e-9


def _range(path: str, given) -> dict:
    field = find(path)
    section, _, name = path.rpartition(".")
    if section == "train" and name not in OF_TRAIN:
        legal = ", ".join(f"train.{name}" for name in OF_TRAIN)
        raise InputError(f"{path} cannot be searched; of its section there are: {legal}.")
    if path in NOT_SEARCHED:
        raise InputError(f"{path} cannot be searched: the figures of such trials do not compare.")
    if not isinstance(given, dict):
        raise InputError(f"{path} must be given a range, as in {EXAMPLE}; not {given!r}.")
    if "choices" in given:
        return _choices(path, field, given)
    for key in given:
        if key not in _KEYS:
            raise unknown(key, sorted({*_KEYS, "choices"}), f"key of a range ({path})")
    kind = type(field.default)
    if kind not in (int, float):
        some = field.metadata["choices"] or ("true", "false")
        raise InputError(f"{path} is no number: give it as {{choices: [{', '.join(some)}]}}.")
    if not {"low", "high"} <= set(given):
        raise InputError(f"{path} needs both low and high, as in {EXAMPLE}.")
    ends = {key: _number(f"{path}: {key}", field, given[key]) for key in ("low", "high")}
    if ends["low"] >= ends["high"]:
        raise InputError(f"{path}: low ({ends['low']}) must be below high ({ends['high']}).")
    log, step = given.get("log", False), given.get("step")
    if not isinstance(log, bool):
        raise InputError(f"{path}: log must be true or false, not {log!r}.")
    if log and (step is not None or ends["low"] <= 0):
        raise InputError(f"{path}: with log, low must be above 0 and there is no step.")
    if step is None:
        return {**ends, "log": log}
    step = parse(str(step), kind, f"{path}: step")
    if not step > 0:
        raise InputError(f"{path}: step must be above 0, not {step}.")
    return {**ends, "step": step}


def _number(name: str, field, value):
    """An end of a range: within the field's bounds, which a word such as 'auto' is not."""
    number, least = check(field, value, name), field.metadata["minimum"]
    if least is not None and number < least:
        raise InputError(f"{name} must be at least {least}, not {value!r}.")
    return number


def _choices(path: str, field, given: dict) -> dict:
    values = given["choices"]
    if set(given) != {"choices"} or not isinstance(values, list) or not values:
        raise InputError(f"{path}: choices must be a list of values, and stand alone.")
    values = [check(field, value, path) for value in values]
    if len(set(values)) < len(values):
        raise InputError(f"{path}: the choices name a value twice: {first_five(values)}.")
    return {"choices": values}


def _brought(path: str) -> bool:
    return path.startswith("model.") and path not in BESIDE_ENCODER
