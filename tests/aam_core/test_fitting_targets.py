"""Fits with each kind of transform, loss and weight: from the settings to the saved model."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.prediction import predict


@pytest.fixture
def fit(small, brief, tmp_path):
    """A fit of a few steps, its model as it was saved, and what that predicts."""

    def run(changes, target="gradient", function=fit_regressor, study=None):
        study = small if study is None else study
        config = brief("fitting", {"train.max_steps": 3, **changes})
        made = function(study, target, config=config, output=tmp_path / "model")
        model = load_model(tmp_path / "model")
        assert model.target == made.target and model.network.parts == made.network.parts
        table = predict(model, study)
        pd.testing.assert_frame_equal(table, predict(made, study))
        return model, table

    return run


def test_quantiles(fit, small):
    model, table = fit({"loss.target": "quantile", "loss.quantiles": "0.1,0.9"})
    assert model.target.quantiles == (0.1, 0.5, 0.9)
    output = torch.tensor([[-9.0, 0.0, 9.0]])
    (quantiles,) = model.target.quantile_predictions(output, small.rows(slice(0, 1)))
    assert (np.diff(quantiles) > 0).all()
    assert model.target.predictions(output)[0, 0] == pytest.approx(quantiles[1])
    assert model.forest.outputs == 1 and set(table) >= {"prediction", "lower", "upper"}


def test_a_scale_by_category_needs_the_column_to_predict(fit, small):
    by = {"loss.transform": "zscore-by-category", "loss.normalize_by": "group"}
    model, table = fit(by)
    assert model.columns() == ("group",)
    assert table["prediction"].notna().all()
    for metadata, message in (
        (None, "reads the metadata column 'group' of each sample"),
        (small.metadata.assign(group=[None, *small.metadata["group"][1:]]), "blank for 1 of 60"),
        (small.metadata.drop(columns="group"), "no metadata column 'group'"),
    ):
        with pytest.raises(InputError, match=message):
            predict(model, dataclasses.replace(small, metadata=metadata))


def test_weights_of_samples_reach_networks_and_forest(fit, small):
    study = dataclasses.replace(small, metadata=small.metadata.assign(w=np.linspace(0.1, 9, 60)))
    plain, _ = fit({}, study=study)
    weighed, _ = fit({"loss.sample_weight": "w"}, study=study)
    assert weighed.columns() == ()  # nothing that a prediction needs
    for part in ("network", "forest"):
        mine, theirs = (model.metrics[part]["mae"] for model in (plain, weighed))
        assert mine != theirs


def test_ordered_classes(fit, small):
    names = pd.Series(pd.qcut(small.metadata["gradient"], 3, labels=["low", "mid", "high"]))
    study = dataclasses.replace(small, metadata=small.metadata.assign(level=names.astype(str)))
    settings = {"loss.classes": "ordinal", "loss.class_order": "low,mid,high"}
    model, table = fit(settings, "level", fit_classifier, study)
    assert list(table.columns[:4]) == ["prediction", "low", "mid", "high"]
    assert table[["low", "mid", "high"]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_predictions_of_the_validation_samples_are_described(regressor):
    lines = (regressor.folder / "logs" / "metrics.jsonl").read_text().splitlines()
    (last,) = [it for it in map(json.loads, lines) if "val/total_loss" in it][-1:]
    least, mean, most, spread = (
        last[f"val/prediction_{name}"] for name in ("min", "mean", "max", "std")
    )
    assert least < mean < most and 0 < spread < most - least
