"""Parameters that actions share, made from the configuration's own fields.

To give every training action a parameter, make its field of the configuration an everyday one
(``EVERYDAY`` of `aam_core.config`; `NAMES` has the names that differ here); to give them one that
is no field, add it to `TRAINING`, its default to `_TRAINING_DEFAULTS` and its help to
`training_descriptions`. A field for fits alone goes into `OF_FITS`, and what a fit reads into
`_FIT_READS`. For the predicting actions it is `PREDICTING`, `_PREDICTING_DEFAULTS` and
`PREDICTING_DESCRIPTIONS`. In either case
tests/q2_aam/test_every_parameter.py wants an entry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter

import qiime2
import qiime2.plugin
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat
from qiime2.plugin import Bool, Choices, Float, Int, List, Range, Str

from aam_core import config as core
from aam_core.config import Config, find, presets
from aam_core.config.everyday import default_in_words
from aam_core.config.presets import find_preset
from aam_core.config.resolve import resolve
from aam_core.model import Model

__all__ = [
    "EVERYDAY",
    "FITTING",
    "MISSING",
    "MISSING_DESCRIPTION",
    "NAMES",
    "OF_FITS",
    "PREDICTING",
    "PREDICTING_DESCRIPTIONS",
    "PRESET",
    "STATED",
    "TRAINING",
    "configure",
    "primitive",
    "shares_fitting",
    "shares_predicting",
    "shares_training",
    "thread_count",
    "training_descriptions",
]

PRESET = "small"
"""The preset where none is named."""

NAMES = {"seed": "random_state", "threads": "n_jobs"}
"""Everyday settings that QIIME 2's users know by another name."""

EVERYDAY = {NAMES.get(name, name): path for name, path in core.EVERYDAY.items()}
"""Parameter -> ``section.field`` of the settings that every training has a parameter for."""

OF_FITS = {"n_estimators": "forest.trees"}
"""Those of fits alone: a pretraining has no forest."""

STATED = ("random_state", "device", "devices", "n_jobs")
"""Everyday fields whose default is the same under every preset: it is stated, so that provenance
records the value itself. The others default to None, which stands for the preset's value."""

_FIRST = ("preset", "epochs", "n_estimators", "random_state", "n_jobs")
"""Shared parameters that stand before the rarer ones of an action, as in `_with_parameters`."""

_RARE = ("freeze_encoder", "covariates", "covariate_columns", "more_targets")
"""Parameters of an action, or of fits, that stand after those."""

_HELP = {
    "epochs": "Number of passes over the training samples.",
    "sampling_depth": "Sampling depth: number of reads to which each sample is rarefied, in the "
    "training and in predictions.",
    "random_state": "Seed of everything random: with the same seed a run can be repeated.",
    "device": "Where to compute: 'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:1' or 'mps' "
    "(Apple).",
    "n_jobs": "Number of CPU cores (0: all); with several devices, of each.",
    "n_estimators": "Number of trees of the random forest, which is averaged with the networks "
    "and a linear model (0: networks alone).",
}
"""Help of parameters whose fields are described for those who know the configuration."""

_PRIMITIVES = {int: Int, float: Float, str: Str, bool: Bool}

_OWN_TYPES = {"train.threads": "Threads"}
"""Fields for which newer versions of QIIME 2 have a type: a count, or 'auto' (which is 0)."""


def primitive(path: str):
    """QIIME 2's type for the configuration field at ``section.field``, bounds included."""
    own = getattr(qiime2.plugin, _OWN_TYPES.get(path, ""), None)
    if own is not None:
        return own
    field = find(path)
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    kind = _PRIMITIVES[type(field.default)]
    if field.metadata["choices"] is not None:
        return kind % Choices(*field.metadata["choices"])
    if low is not None or high is not None:
        return kind % Range(low, high, inclusive_end=high is not None)
    return kind


def _description(name: str, kind: str) -> str:
    """Help of an everyday field, with its value under `PRESET` unless it is a stated default."""
    path = (EVERYDAY | OF_FITS)[name]
    field = find(path)
    text = _HELP.get(name, field.metadata["help"])
    for word in field.metadata["words"]:
        text += f" The word goes into the settings: '{path}={word}'."
    if name in STATED:
        return text
    config = find_preset(kind, PRESET)
    value = attrgetter(path)(config)
    default = f"Where not given, the preset's value ({PRESET}: {value})."
    return f"{text} {default_in_words(config, path) or default}"


_EVERYDAY_TYPES = {name: primitive(path) for name, path in EVERYDAY.items()}

TRAINING = {
    "preset": Str % Choices(*presets.NAMES),
    **_EVERYDAY_TYPES,
    "settings": List[Str],
    "max_lost_reads": Float % Range(0.0, 1.0, inclusive_end=True),
}
"""Parameters of every action that trains."""

FITTING = {**{name: primitive(path) for name, path in OF_FITS.items()}, **TRAINING}
"""Parameters of every action that fits a metadata column."""

_TRAINING_DEFAULTS = {
    "preset": (str, PRESET),
    **{
        name: (type(find(path).default), find(path).default if name in STATED else None)
        for name, path in EVERYDAY.items()
    },
    "settings": (list, None),
    "max_lost_reads": (float, 0.5),
}
"""What Python gets of each: its type and default."""

_FIT_READS = {
    "sequences": (DNAFASTAFormat, None),
    "phylogeny": (NewickFormat, None),
    "distances": (skbio.DistanceMatrix, None),
    "encoder": (Model, None),
    "init_from": (Model, None),
    "group_by": (qiime2.MetadataColumn, None),
    "missing_samples": (str, "error"),
}
"""What every fit reads beside its table and its column."""

_FITTING_DEFAULTS = {
    **_FIT_READS,
    "freeze_encoder": (bool, False),
    "covariates": (qiime2.Metadata, None),
    "covariate_columns": (list, None),
    **{name: (type(find(path).default), None) for name, path in OF_FITS.items()},
    **_TRAINING_DEFAULTS,
}

_MAX_LOST_READS = (
    "Stop if features without a sequence, or not in the phylogeny, have more than this share of "
    "the reads."
)


def training_descriptions(kind: str) -> dict[str, str]:
    """Help of `TRAINING` (``pretraining``) or of `FITTING` (``fitting``)."""
    own = OF_FITS if kind == "fitting" else ()
    return {
        **{name: _description(name, kind) for name in own},
        "preset": "Size of the networks and length of the training: 'tiny' for a quick look, "
        "'small' for a computer without a GPU, 'base' and 'large' for a GPU. With an encoder, the "
        "encoder's sizes replace those of the preset.",
        **{name: _description(name, kind) for name in EVERYDAY},
        "settings": "Any other setting, as 'section.field=value', which overrides all parameters: "
        "such as optim.lr=0.0005 (the learning rate), train.batch_size=16 (samples per step: "
        "fewer take less memory), train.precision=bf16, train.patience=5, data.max_asvs=1000 or "
        "loss.metric=weighted_normalized. The documentation on prediction and training describes "
        "them; 'summarize' shows all settings of a model.",
        "max_lost_reads": _MAX_LOST_READS,
    }


PREDICTING = {
    "confidence": Float % Range(0.0, 1.0, inclusive_start=False),
    "n_jobs": _EVERYDAY_TYPES["n_jobs"],
    "batch_size": Int % Range(1, None),  # training alone needs two samples to compare
    "device": _EVERYDAY_TYPES["device"],
    "precision": primitive("train.precision"),
    "passes": primitive("ensemble.passes"),
    "max_lost_reads": TRAINING["max_lost_reads"],
}
"""Parameters of every action that predicts."""

_PREDICTING_DEFAULTS = {
    "confidence": (float, None),
    "n_jobs": (int, 0),
    "batch_size": (int, None),
    "device": (str, "auto"),
    "precision": (str, None),
    "passes": (int, None),
    "max_lost_reads": (float, 0.5),
}

PREDICTING_DESCRIPTIONS = {
    "confidence": "Probability with which the prediction interval of a number, in the details, "
    "should contain the true value (0.9 if not given). For a classifier, the details get the set "
    "of classes that contains the true one with this probability (no set if not given).",
    "n_jobs": "Number of CPU cores (0: all).",
    "batch_size": "Number of samples that are read at a time; predictions do not depend on it. If "
    "not given, that of the model.",
    "device": _HELP["device"],
    "precision": find("train.precision").metadata["help"] + " Where not given, the model's.",
    "passes": find("ensemble.passes").metadata["help"] + " Where not given, the model's.",
    "max_lost_reads": _MAX_LOST_READS,
}

MISSING = {"missing_samples": Str % Choices("error", "ignore")}
MISSING_DESCRIPTION = {
    "missing_samples": "Samples without a value in the metadata column: stop with an 'error', or "
    "'ignore' (drop) them."
}


def configure(kind: str, arguments: dict) -> Config:
    """The configuration that an action's arguments describe.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        The function of `aam_core.config.presets` to start from.
    arguments : dict
        Its arguments that `TRAINING` or `FITTING` names.
    """
    given = {
        path: arguments[name]
        for name, path in (EVERYDAY | OF_FITS).items()
        if arguments.get(name) is not None
    }
    if "train.threads" in given:
        given["train.threads"] = thread_count(given["train.threads"])
    return resolve(
        kind,
        preset=arguments["preset"],
        config=given,
        assignments=arguments["settings"] or (),
    )


def thread_count(n_jobs: int | str) -> int:
    """The threads that ``n_jobs`` asks for: a newer QIIME 2 has 'auto', which is 0, for all."""
    return 0 if n_jobs == "auto" else int(n_jobs)


def shares_training(action: Callable) -> Callable:
    """Decorate an action whose ``**training`` stands for the parameters of `TRAINING`."""
    return _with_parameters(action, _TRAINING_DEFAULTS)


def shares_fitting(action: Callable) -> Callable:
    """Decorate an action whose ``**fitting`` stands for what a fit reads and for `FITTING`."""
    return _with_parameters(action, _FITTING_DEFAULTS)


def shares_predicting(action: Callable) -> Callable:
    """Decorate an action whose ``**predicting`` stands for the parameters of `PREDICTING`."""
    return _with_parameters(action, _PREDICTING_DEFAULTS)


def _with_parameters(action: Callable, defaults: dict) -> Callable:
    """Put parameters in the place of the ``**`` of a signature: QIIME 2 reads each by name.

    Help shows them in this order: what says which samples are read, the action's own, those of
    `_FIRST`, those of `_RARE`, and the others.
    """
    signature = inspect.signature(action)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [it for it in signature.parameters.values() if it.kind is kind]
    shared = [
        inspect.Parameter(name, kind, default=default, annotation=view)
        for name, (view, default) in defaults.items()
        if name not in signature.parameters
    ]

    def place(it: inspect.Parameter) -> tuple[int, int]:
        if it.default is it.empty:
            return 0, 0
        if it.name in _FIT_READS:
            return 1, 0
        if it.name in _RARE:
            return 4, 0
        if it.name in signature.parameters:
            return 2, 0
        return (3, _FIRST.index(it.name)) if it.name in _FIRST else (5, 0)

    merged = signature.replace(parameters=sorted([*own, *shared], key=place))
    action.__signature__ = merged  # type: ignore[attr-defined]
    return action
