"""Small studies, and models trained on them once for the whole suite."""

from __future__ import annotations

from typing import NamedTuple

import pytest

BRIEF = {
    "data.sampling_depth": 300,
    "data.sampling_depth_max": 0,
    "train.epochs": 2,
    "train.min_steps": 0,
    "train.max_steps": 6,
    "train.batch_size": 16,
    "train.device": "cpu",
    "train.threads": 1,
}
"""Settings that make any run a matter of moments, whatever the presets say.

The depth is a pretraining's, and that of fits told to draw.
"""

BRIEF_FIT = {
    "data.rarefaction": "none",
    "model.members": 2,
    "train.val_fraction": 0.5,
    "forest.trees": 10,
}
"""Of a fit too: two members, each of which leaves out half of the samples, and few trees."""


class Saved(NamedTuple):
    """A model as it was returned, and the folder that it was written to."""

    model: object
    folder: object


@pytest.fixture(scope="session")
def brief():
    """Make a small configuration: ``brief("pretraining", {"section.field": value})``."""
    from aam_core.config import presets

    def make(kind="fitting", changes=()):
        preset = getattr(presets, kind)("tiny")
        fit = BRIEF_FIT if kind == "fitting" else {}
        return preset.adjust({**BRIEF, **fit, **dict(changes)})

    return make


@pytest.fixture(scope="session")
def as_study():
    """Load a simulated study; ``as_study(made, tree=None)`` leaves the tree out."""
    from aam_core.data.study import load_study

    def load(made, **given):
        parts = {"sequences": made.sequences, "tree": made.tree, "metadata": made.metadata}
        return load_study(made.table, **{**parts, **given})

    return load


@pytest.fixture(scope="session")
def made():
    """What `simulate` made of 60 samples of 15 subjects."""
    from aam_core.simulate.study import simulate

    return simulate(60, 60, 2, sequence_length=50, depth=1500, effect=1.5)


@pytest.fixture(scope="session")
def small(made, as_study):
    """The study of these 60 samples, with tree and metadata."""
    return as_study(made)


@pytest.fixture(scope="session")
def encoder(small, brief, tmp_path_factory):
    """An encoder pretrained for a few steps, with its folder."""
    from aam_core.pretraining import pretrain

    folder = tmp_path_factory.mktemp("models") / "encoder"
    return Saved(pretrain(small, config=brief("pretraining"), output=folder), folder)


@pytest.fixture(scope="session")
def regressor(small, brief, tmp_path_factory):
    """A regressor of 'gradient', grouped by subject, fitted for a few steps."""
    from aam_core.fitting import fit_regressor

    folder = tmp_path_factory.mktemp("models") / "regressor"
    options = {"config": brief(), "group_by": "host_subject_id", "output": folder}
    return Saved(fit_regressor(small, "gradient", **options), folder)


@pytest.fixture(scope="session")
def classifier(small, brief, tmp_path_factory):
    """A classifier of 'group', grouped by subject, fitted for a few steps."""
    from aam_core.fitting import fit_classifier

    folder = tmp_path_factory.mktemp("models") / "classifier"
    options = {"config": brief(), "group_by": "host_subject_id", "output": folder}
    return Saved(fit_classifier(small, "group", **options), folder)


@pytest.fixture
def stop_at(monkeypatch):
    """Raise an error in the place of an update of the weights: ``stop_at(3, KeyboardInterrupt)``.

    Updates count from 1; those of later runs are made.
    """
    from aam_core.training.step import Stepper

    def at(step, error):
        update, steps = Stepper.update, []

        def counted(self):
            steps.append(self)
            if len(steps) == step:
                monkeypatch.setattr(Stepper, "update", update)
                raise error
            return update(self)

        monkeypatch.setattr(Stepper, "update", counted)

    return at
