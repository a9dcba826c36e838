"""Parameters of the actions, made from the configuration's own fields."""

from __future__ import annotations

from operator import attrgetter

from qiime2.plugin import Bool, Choices, Float, Int, List, Range, Str

from aam_core.config import EVERYDAY, Config, find, presets
from aam_core.config.resolve import preset_config, resolve, where_not_given

PRESET = "small"
"""The preset where none is named."""

STATED = ("seed", "device", "devices", "threads")
"""Everyday fields whose default is the same under every preset: it is stated, so that provenance
records the value itself. The others default to None: whatever the preset says."""

_PRIMITIVES = {int: Int, float: Float, str: Str, bool: Bool}


def primitive(path: str):
    """QIIME 2's type for the configuration field at ``section.field``, bounds included."""
    field = find(path)
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    kind = _PRIMITIVES[type(field.default)]
    if field.metadata["choices"] is not None:
        return kind % Choices(*field.metadata["choices"])
    if low is not None or high is not None:
        return kind % Range(low, high, inclusive_end=high is not None)
    return kind


def description(name: str, kind: str) -> str:
    """Help of an everyday field, with its value under `PRESET` unless its default says it."""
    field = find(EVERYDAY[name])
    text = field.metadata["help"]
    for word in field.metadata["words"]:
        text += f" The word goes into the settings: '{EVERYDAY[name]}={word}'."
    if name in STATED:
        return text
    config = preset_config(kind, PRESET)
    value = attrgetter(EVERYDAY[name])(config)
    default = f"Where not given, the preset's value ({PRESET}: {value})."
    return f"{text} {where_not_given(config, EVERYDAY[name]) or default}"


EVERYDAY_TYPES = {name: primitive(path) for name, path in EVERYDAY.items()}

TRAINING = {
    "preset": Str % Choices(*presets.NAMES),
    **EVERYDAY_TYPES,
    "settings": List[Str],
    "max_lost_reads": Float % Range(0.0, 1.0, inclusive_end=True),
}
"""Parameters of every action that trains."""

MAX_LOST_READS = (
    "Stop where features without a sequence, or not in the phylogeny, cost more than this share of "
    "the reads."
)


def training_descriptions(kind: str) -> dict[str, str]:
    """Help of `TRAINING`, for an action that is ``pretraining`` or ``fitting``."""
    return {
        "preset": "Configuration to start from: size of the network and length of the training. "
        "With an encoder, the encoder's sizes take the place of the preset's.",
        **{name: description(name, kind) for name in EVERYDAY},
        "settings": "Any other setting of the configuration, as 'section.field=value' (for "
        "example 'model.encoder.depth=4' or 'loss.metric=weighted_normalized').",
        "max_lost_reads": MAX_LOST_READS,
    }


PREDICTING = {
    "batch_size": Int % Range(1, None),  # training alone needs two samples to compare
    "device": EVERYDAY_TYPES["device"],
    "precision": EVERYDAY_TYPES["precision"],
    "max_lost_reads": TRAINING["max_lost_reads"],
}
"""Parameters of every action that predicts."""

PREDICTING_DESCRIPTIONS = {
    "batch_size": "Samples read at a time; no prediction depends on it. Where not given, the "
    "model's.",
    "device": find(EVERYDAY["device"]).metadata["help"],
    "precision": find(EVERYDAY["precision"]).metadata["help"] + " Where not given, the model's.",
    "max_lost_reads": MAX_LOST_READS,
}

MISSING = {"missing_samples": Str % Choices("error", "ignore")}
MISSING_DESCRIPTION = {
    "missing_samples": "Samples without a value in the metadata column: stop with an 'error', or "
    "'ignore' them."
}


def configure(kind: str, arguments: dict) -> Config:
    """The configuration that an action's arguments describe.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        The function of `aam_core.config.presets` to start from.
    arguments : dict
        Arguments of the action; those that `TRAINING` does not name are passed over.
    """
    everyday = {name: arguments[name] for name in EVERYDAY}
    return resolve(kind, arguments["preset"], None, everyday, arguments["settings"] or ())
