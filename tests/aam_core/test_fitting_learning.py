"""Fits learn what a simulated study says, and nothing where it says nothing."""

from __future__ import annotations

import pytest

from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.prediction import predict
from aam_core.simulate.study import simulate
from aam_core.tasks.metrics import regression_metrics

LEARN = {
    "train.epochs": 15,
    "train.max_steps": 0,
    "optim.lr": 3e-3,
    "data.sampling_depth": 1000,
    "loss.distance": 0.0,
    "forest.trees": 20,
}
"""Enough to learn what a small simulated study says plainly."""


@pytest.fixture(scope="module")
def signal(as_study):
    """Make a study of 160 samples whose communities follow the gradient by ``effect``."""

    def make(effect):
        made = simulate(160, 60, 5, sequence_length=50, depth=3000, effect=effect)
        return as_study(made, tree=None)

    return make


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_a_gradient_is_learned_where_there_is_one(signal, brief, effect):
    study = signal(effect)
    config = brief("fitting", LEARN)
    model = fit_regressor(study, "gradient", group_by="host_subject_id", config=config)
    for name in ("model", "network"):
        if effect:
            assert model.metrics[name]["r2"] > 0.3
        else:
            assert model.metrics[name]["r2"] < 0.15


@pytest.mark.parametrize("effect", [1.5, 0.0])
def test_a_group_is_learned_where_there_is_one(signal, brief, effect):
    study = signal(effect)
    config = brief("fitting", LEARN)
    model = fit_classifier(study, "group", group_by="host_subject_id", config=config)
    for name in ("model", "network"):
        if effect:
            assert model.metrics[name]["auc"] > 0.8
        else:
            assert model.metrics[name]["auc"] < 0.8


def test_what_is_predicted_of_unseen_subjects_is_what_was_promised(signal, brief):
    """R2 on samples that neither trained nor stopped the model is that of validation, about."""
    study = signal(1.0)
    known, unseen = study.sample_ids[:112], study.sample_ids[112:]
    options = {"group_by": "host_subject_id", "config": brief("fitting", LEARN)}
    model = fit_regressor(study.select(known), "gradient", **options)
    result = predict(model, study.select(unseen))
    truth = study.metadata["gradient"][unseen]
    assert regression_metrics(truth, result["prediction"])["r2"] > 0.2
    assert ((truth > result["lower"]) & (truth < result["upper"])).mean() > 0.75
