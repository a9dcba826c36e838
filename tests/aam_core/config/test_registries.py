"""The choices of a field that name what a registry holds are the names in that registry.

The configuration imports no torch, so the names stand there a second time.
"""

from __future__ import annotations

import importlib

import pytest

from aam_core.config import find, paths

REGISTRIES = {
    "data.rarefaction": "aam_core.data.rarefaction:RAREFACTIONS",
    "data.asv_selection": "aam_core.data.rarefaction:SELECTIONS",
    "ensemble.calibration": "aam_core.ensemble.probabilities:CALIBRATIONS",
    "model.head.distance": "aam_core.models.heads:DISTANCE_HEADS",
    "model.head.initialization": "aam_core.models.heads:INITIALIZATIONS",
    "model.head.output": "aam_core.models.heads:OUTPUTS",
    "model.fusion.kind": "aam_core.models.fusion:FUSIONS",
    "loss.metric": "aam_core.phylogeny.distances:DISTANCES",
    "loss.target": "aam_core.tasks.losses:LOSSES",
    "loss.classes": "aam_core.tasks.losses:LOSSES",
    "masking.strategy": "aam_core.models.masking:STRATEGIES",
    "optim.optimizer": "aam_core.training.optimizers:OPTIMIZERS",
    "optim.schedule": "aam_core.training.schedules:SCHEDULES",
    "loss.transform": "aam_core.tasks.transforms:TRANSFORMS",
    "train.attention": "aam_core.training.precision:ATTENTION_KERNELS",
}
"""Field -> module:name of the registry."""

NOT_CHOSEN = {
    "loss.target": {"cross_entropy", "ordinal"},  # of a classification
    "loss.classes": {"huber", "mse", "mae", "quantile", "asymmetric"},  # of a regression
}
"""Entries of a registry that are no choice of the field."""

MORE = {"train.attention": {"auto"}, "ensemble.calibration": {"auto", "none"}}
"""Choices that are no entry: they leave the choice to something else, or choose none."""

FIXED = {
    *("data.shallow_samples", "data.long_sequences", "model.encoder.features"),
    *("train.best_direction", "train.strategy", "train.precision", "ensemble.interval"),
    "figure.format",
}
"""Fields whose choices are cases in the code, not entries of a registry."""


def test_every_field_with_choices_is_here():
    assert {path for path in paths() if find(path).metadata["choices"]} == {*REGISTRIES, *FIXED}


@pytest.mark.parametrize("path", REGISTRIES)
def test_choices_are_the_names_of_the_registry(path):
    module, name = REGISTRIES[path].split(":")
    registry = getattr(importlib.import_module(module), name)
    choices = find(path).metadata["choices"]
    assert set(choices) - MORE.get(path, set()) == set(registry) - NOT_CHOSEN.get(path, set())
