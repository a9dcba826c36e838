"""Methods of the benchmark of few labels, and what they err on one draw."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from few_labels_draws import Draw

from aam_core.baseline import predict_baseline
from aam_core.config import Config
from aam_core.config.presets import fitting
from aam_core.fitting import FITS
from aam_core.model import Model, as_model
from aam_core.prediction import predict
from aam_core.pretrained import with_sizes_of
from aam_core.tasks.metrics import classification_metrics

__all__ = [
    "BASELINES",
    "FITTED",
    "MAIN",
    "METHODS",
    "WITH_ENCODER",
    "Setting",
    "configuration",
    "measure",
]

BASELINES = {
    "forest": "random_forest",
    "extra": "extra_trees",
    "linear": "linear",
    "reads": "reads",
    "dummy": "dummy",
}
"""Method -> its name in `aam_core.baseline`."""

FITTED = ("scratch", "pretrained", "like", "shuffled")
"""Fits of AAM: without an encoder; with one; without, but configured like a fit with one; with one
that was pretrained on shuffled targets."""

METHODS = (*BASELINES, *FITTED)

WITH_ENCODER = ("pretrained", "like", "shuffled")
"""Methods that need an encoder."""

MAIN = {"regression": "mae", "classification": "log_loss"}
"""The error that methods are compared by. That of classes is smooth where labels are few."""

_FLOOR = 0.005
"""Added to each probability before the log loss, which has no value where all trees are wrong: one
of 200 trees."""


@dataclass(frozen=True)
class Setting:
    """How AAM is fitted, beside the draw.

    Attributes
    ----------
    changes : mapping
        ``section.field`` -> value: of every fit.
    with_encoder : mapping
        The same, of fits with an encoder, and of those that are like them.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    with_encoder: Mapping[str, Any] = field(default_factory=dict)

    def config(self, encoder: bool = False) -> Config:
        """Of a fit; one thread, as the jobs are processes."""
        whole = {"train.threads": 1, "train.device": "cpu", **self.changes}
        return fitting().replace(whole | (dict(self.with_encoder) if encoder else {}))


def configuration(config: Config) -> str:
    """A hash of the settings of a fit, by which results of other settings are seen.

    Of those that differ from `Config`: a setting that is new and has no effect changes no hash.
    """
    changes = {path: value for path, (_, value) in Config().differences(config).items()}
    text = json.dumps(changes, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def errors(draw: Draw, frame: pd.DataFrame) -> dict[str, float]:
    """Errors of predictions of the test samples, by name; `MAIN` is the first.

    Of numbers ``mae`` and ``rmse``; of classes ``log_loss``, ``balanced`` (1 - balanced accuracy)
    and ``brier``.
    """
    truth = draw.loaded.values.loc[draw.test]
    frame = frame.loc[draw.test]
    if draw.task == "regression":
        residual = frame["prediction"].to_numpy(float) - truth.to_numpy(float)
        rmse = float(np.sqrt(np.mean(residual**2)))
        return {"mae": float(np.abs(residual).mean()), "rmse": rmse}
    classes = sorted(set(draw.loaded.values))
    known = frame.reindex(columns=classes, fill_value=0.0)
    metrics = classification_metrics(truth, frame["prediction"], known)
    places = truth.map({name: place for place, name in enumerate(classes)}).to_numpy()
    floored = (known.to_numpy(float) + _FLOOR) / (1 + _FLOOR * len(classes))
    return {
        "log_loss": float(-np.log(floored[np.arange(len(places)), places]).mean()),
        "balanced": 1 - metrics["balanced_accuracy"],
        "brier": metrics["brier"],
    }


def measure(
    method: str, draw: Draw, setting: Setting, encoder: Model | Path | None = None
) -> dict[str, Any]:
    """What a method errs on a draw, and what it cost.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    draw : Draw
    setting : Setting
    encoder : Model or path, optional
        Of 'pretrained' and 'shuffled', and of 'like', which takes no weight of it but its sizes.

    Returns
    -------
    dict
        ``errors`` by name, ``cpu_s``, ``train`` and ``test`` (samples), ``date``; of AAM also
        ``parts`` (errors of its networks and of its forest alone), ``network_weight``, ``weights``
        (of all parts), ``members`` and ``configuration``.
    """
    common = {
        "train": len(draw.train),
        "test": len(draw.test),
        "date": date.today().isoformat(),
    }
    start = time.process_time()
    if method in BASELINES:
        frame = predict_baseline(
            BASELINES[method],
            draw.loaded.study,
            draw.train,
            draw.test,
            draw.loaded.values,
            task=draw.task,
            seed=draw.seed,
            groups=draw.loaded.groups,
            threads=1,
        )
        result: dict[str, Any] = {"errors": errors(draw, frame)}
    else:
        model, asked_for = _FITS[method](draw, setting, encoder)
        result = _of_model(draw, model) | {"configuration": configuration(asked_for)}
    return result | {"cpu_s": round(time.process_time() - start, 2)} | common


def _of_model(draw: Draw, model: Model) -> dict[str, Any]:
    """Errors of a model and of its parts alone."""
    study = draw.loaded.study.select(draw.test)
    alone = functools.partial(dataclasses.replace, model, calibrator=None)
    parts = {
        "network": alone(forest=None, network_weight=1.0),
        "forest": alone(network_weight=0.0),
    }
    return {
        "errors": errors(draw, predict(model, study)),
        "parts": {name: errors(draw, predict(part, study)) for name, part in parts.items()},
        "network_weight": model.network_weight,
        "weights": (model.metrics or {}).get("weights", {}),
        "members": model.config.model.members,
    }


def _fit(draw: Draw, config: Config, encoder: Model | Path | None = None) -> Model:
    config = config.replace({"train.seed": draw.seed})
    return FITS[draw.task](
        draw.study, draw.values, group_by=draw.groups, encoder=encoder, config=config
    )


def _scratch(draw: Draw, setting: Setting, encoder: Model | Path | None) -> tuple[Model, Config]:
    config = setting.config()
    return _fit(draw, config), config


def _pretrained(draw: Draw, setting: Setting, encoder: Model | Path | None) -> tuple[Model, Config]:
    assert encoder is not None
    config = setting.config(encoder=True)
    return _fit(draw, config, encoder), config


def _like(draw: Draw, setting: Setting, encoder: Model | Path | None) -> tuple[Model, Config]:
    """Without an encoder, by the configuration that a fit with one has: members, sizes, steps."""
    assert encoder is not None
    config = with_sizes_of(setting.config(encoder=True), as_model(encoder))
    return _fit(draw, config), config


_FITS: dict[str, Callable[[Draw, Setting, Model | Path | None], tuple[Model, Config]]] = {
    "scratch": _scratch,
    "like": _like,
    "pretrained": _pretrained,
    "shuffled": _pretrained,
}
"""By method: the model, and the configuration that was asked for (but for the seed)."""
