"""Named configurations: a function returns a complete one.

A preset is an entry of `SIZES`, over the changes that all pretrainings or all fits have in common.
"""

from __future__ import annotations

from typing import Any

from aam_core.config.config import Config
from aam_core.errors import InputError, lookup

__all__ = [
    "DEFAULT",
    "ENCODER_SIZES",
    "NAMES",
    "SIZES",
    "find_preset",
    "fitting",
    "pretraining",
    "studies",
]

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model.encoder.width": 32,
        "model.encoder.depth": 1,
        "model.sample.depth": 1,
        "model.encoder.heads": 2,
        "model.sample.heads": 2,
        "model.fusion.heads": 2,
        "model.head.distance_width": 64,
    },
    "small": {},
    "base": {
        "model.encoder.width": 192,
        "model.encoder.heads": 6,
        "model.encoder.depth": 4,
        "model.encoder.stride": 2,
        "model.sample.heads": 6,
        "model.sample.depth": 4,
        "model.head.distance_width": 512,
        "model.fusion.heads": 6,
    },
    "large": {
        "model.encoder.width": 512,
        "model.encoder.heads": 8,
        "model.encoder.depth": 8,
        "model.encoder.stride": 1,
        "model.encoder.mlp_ratio": 4.0,
        "model.sample.heads": 8,
        "model.sample.depth": 8,
        "model.sample.mlp_ratio": 4.0,
        "model.head.distance_width": 1024,
        "model.fusion.heads": 8,
        "optim.lr": 3e-4,
    },
}
"""The presets: name -> changes of the defaults of `Config`. A new one is an entry here."""

NAMES = tuple(SIZES)

DEFAULT = "small"
"""The preset of a run that names none; helps show its values."""

ENCODER_SIZES = (
    "Its sizes (model.encoder, model.sample, the distance head) replace those of the preset; a "
    "fit then has at most 3 networks."
)
"""A sentence for helps on what a pretrained encoder does to a preset."""

_PRETRAINING: dict[str, Any] = {
    "data.rarefaction": "redraw",
    "data.sampling_depth": 1000,
    "data.shallow_samples": "drop",
    "train.epochs": 60,
    "optim.lr": 4e-3,
    "optim.weight_decay": 0.05,
    "train.patience": 0,
}

_FITTING: dict[str, Any] = {
    "data.rarefaction": "none",
    "data.sampling_depth": 1000,
    "data.sampling_depth_max": 10000,
    "data.full_depth": 0.75,  # as sampling_depth*, it has an effect under 'redraw' alone
    "data.shallow_samples": "keep",
    "model.members": 10,
    "model.encoder.features": "profile",
    "model.encoder.codes": 64,
    "model.encoder.width": 96,
    "model.sample.depth": 0,
    "model.sample.asv_dropout": 0.3,
    "model.sample.pool_queries": 8,
    "model.sample.pool_prior": 0.0,
    "model.head.target_hidden": 96,
    "loss.target": "mae",
    "loss.transform": "power",
    "loss.nucleotide": 0.0,
    "loss.distance": 0.0,
    "forest.trees": 200,
    "train.epochs": 10,
    "train.min_steps": 500,
    "train.val_fraction": 0.2,
    "train.patience": 0,
    "train.best_metric": "none",
    "optim.lr": 1e-3,
    "optim.weight_decay": 0.1,
    "optim.schedule": "one-cycle",
    "optim.warmup": 0.25,
}


_STUDIES: dict[str, Any] = {
    **_FITTING,
    "model.members": 5,
    "model.encoder.codes": 0,
    "model.encoder.profile_bases": 100,
    "train.epochs": 20,
    "train.min_steps": 0,
    "train.batch_size": 64,
    "train.val_fraction": 0.1,
    "optim.lr": 2e-3,
    "optim.weight_decay": 0.05,
    "forest.trees": 0,
}

_FITTING_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"model.members": 4, "forest.trees": 50},
    "base": {"model.members": 3},
    "large": {"model.members": 2},
}
"""Further changes of a size in a fit: an ensemble of large networks needs fewer of them."""


def pretraining(name: str = DEFAULT) -> Config:
    """Configuration for `aam_core.pretrain`.

    Parameters
    ----------
    name : {'tiny', 'small', 'base', 'large'}
        'tiny' for a trial, 'small' for a laptop, 'base' and 'large' for a GPU.
    """
    return _preset(name, _PRETRAINING)


def fitting(name: str = DEFAULT) -> Config:
    """Configuration for `aam_core.fit_regressor` and `aam_core.fit_classifier`.

    All reads are read, and there are at least 500 steps. To rarefy to N reads, replace
    ``data.sampling_depth``; to train N epochs, ``train.epochs`` (see `Config.replace`).

    Parameters
    ----------
    name : {'tiny', 'small', 'base', 'large'}
        As in `pretraining`.
    """
    return _preset(name, _FITTING).adjust(_FITTING_SIZES.get(name, {}))


def studies(name: str = DEFAULT) -> Config:
    """Configuration for `aam_core.pretrain_studies`: the network of a fit.

    Its members are those of a fit that do not read random Fourier features.

    Parameters
    ----------
    name : {'tiny', 'small', 'base', 'large'}
        As in `pretraining`.
    """
    sizes = _FITTING_SIZES.get(name, {})
    members = {"model.members": -(-sizes["model.members"] // 2)} if sizes else {}
    return _preset(name, _STUDIES).adjust(members)


_KINDS = {"pretraining": pretraining, "fitting": fitting, "studies": studies}


def find_preset(kind: str, name: str | None = None) -> Config:
    """The named preset of a kind of run.

    Parameters
    ----------
    kind : {"pretraining", "fitting", "studies"}
    name : str, optional
        `DEFAULT` where there is none.
    """
    return lookup(_KINDS, kind, "kind of presets")(DEFAULT if name is None else name)


def _preset(name: str, changes: dict[str, Any]) -> Config:
    if name not in SIZES:
        raise InputError(f"There is no preset {name!r}; there are: {', '.join(NAMES)}.")
    return Config().adjust({**changes, **SIZES[name]})
