"""Reports of a search."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import yaml

from aam_core.errors import InputError
from aam_core.tasks import Classification, Regression, Targets
from aam_core.tuning.results import as_yaml, best_row, counted
from aam_core.tuning.trial import check_metric


@pytest.fixture
def frame():
    states = ["complete", "failed", "complete", "pruned", "complete", "interrupted", "complete"]
    values = [3.0, None, 2.0, 900.0, 2.0, None, 2.5]
    return pd.DataFrame({"number": range(7), "state": states, "value": values})


def test_the_best_is_the_first_of_equals(frame, objective):
    assert best_row(frame, objective)["number"] == 2
    assert best_row(frame, replace(objective, metric="auc"))["number"] == 0
    assert best_row(frame[frame["state"] != "complete"], objective) is None
    assert list(counted(frame)["number"]) == [0, 1, 2, 3, 4, 6]


def test_settings_of_a_trial(objective):
    chosen = {"optim.lr": 0.1}
    assert objective.settings(chosen) == {"optim.lr": 0.1, "train.best_metric": "mae"}
    # As on the command line: epochs that were asked for are what is trained.
    assert objective.settings({"train.epochs": 3})["train.min_steps"] == 0
    assert objective.settings({"train.epochs": 3, "train.min_steps": 9})["train.min_steps"] == 9


def test_yaml_is_nested():
    settings = {"optim.lr": 1e-05, "model.sample.depth": 2, "model.head.distance": "union"}
    assert yaml.safe_load(as_yaml(settings)) == {
        "optim": {"lr": 1e-05},
        "model": {"sample": {"depth": 2}, "head": {"distance": "union"}},
    }


def test_names_of_metrics():
    assert check_metric("auto", Regression, []) == "mae"
    assert check_metric("auto", Classification, []) == "auc"
    assert check_metric("auto", Targets, []) == "r2"
    assert check_metric("val/r2", Regression, []) == "r2"
    assert check_metric("mae", Regression, ["loss.distance"]) == "mae"
    with pytest.raises(InputError, match="target_loss where the space has loss.huber_delta"):
        check_metric("target_loss", Regression, ["optim.lr", "loss.huber_delta"])
