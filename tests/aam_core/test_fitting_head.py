"""Fits with the settings of the target head: what is refused, and what a saved model predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.prediction import predict

HEAD = {
    "model.head.hidden_layers": "12,8",
    "model.head.layer_norm": True,
    "model.head.residual": True,
    "model.head.initialization": "xavier",
    "model.head.scale": True,
    "model.head.scale_by": "group",
}


def refused(fit, *args, **options):
    with pytest.raises(InputError) as caught:
        fit(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def positive(small):
    """A target that is never negative, and often nearly 0."""
    values = small.metadata["gradient"].astype(float)
    return (values - values.min()).rename("positive")


@pytest.mark.parametrize("output", ["sigmoid", "softplus", "exp"])
def test_a_saved_model_predicts_the_same_within_its_range(small, positive, brief, tmp_path, output):
    config = brief("fitting", {**HEAD, "model.head.output": output, "forest.trees": 0})
    model = fit_regressor(small, positive, config=config, output=tmp_path / "model")
    before, after = predict(model, small), predict(load_model(tmp_path / "model"), small)
    pd.testing.assert_frame_equal(before, after)
    assert before["prediction"].std() > 0 and before["prediction"].min() >= 0
    if output == "sigmoid":
        assert before["prediction"].max() <= positive.max()
    # The head of each member reads the categories.
    other = replace(small, metadata=small.metadata.assign(group="another"))
    assert not np.allclose(predict(model, other)["prediction"], before["prediction"])


def test_the_columns_to_scale_by_are_needed_to_predict(small, brief, capsys):
    config = brief("fitting", {**HEAD, "forest.trees": 4})
    model = fit_classifier(small, "host_subject_id", config=config)
    assert "output scaled by group (2 categories)" in capsys.readouterr().err
    assert "this model reads 1 metadata column (group)" in refused(
        predict, model, replace(small, metadata=None)
    ).replace("This", "this")
    new = replace(small, metadata=small.metadata.assign(group="another"))
    predict(model, new)
    assert "scaled by 'group': 60 of 60 samples have a value" in capsys.readouterr().err


def test_what_makes_no_sense_is_refused(small, positive, brief):
    def line(fit, target, **changes):
        settings = {f"model.head.{name}": value for name, value in changes.items()}
        return refused(fit, small, target, config=brief("fitting", settings))

    assert "'group' has classes" in line(fit_classifier, "group", output="sigmoid")
    negative = (positive - 0.5).rename("centred")
    text = line(fit_regressor, negative, output="exp")
    assert "never negative" in text and "values of 'centred' are: -" in text
    assert "cannot be a covariate" in line(fit_regressor, "gradient", scale_by="gradient")
    assert "did you mean 'group'" in line(fit_regressor, "gradient", scale_by="groups")
    for text in ("0", "8,,4", "8.5", "eight", "70000"):
        with pytest.raises(InputError, match="widths from 1 to"):
            brief("fitting", {"model.head.hidden_layers": text})


def test_a_shift_by_category_is_learned_by_a_fit_with_it_and_not_without(small, brief):
    """The target is the group alone, of which the reads tell nothing here."""
    random = np.random.default_rng(0).integers(0, 2, 60)
    coin = pd.Series(random, index=small.sample_ids, name="coin")
    study = replace(small, metadata=small.metadata.assign(coin=coin.map({0: "a", 1: "b"})))
    values = (coin * 10.0).rename("target")
    settings = {"train.max_steps": 60, "train.epochs": 60, "forest.trees": 0, "model.members": 1}
    error = {}
    for by in ("", "coin"):
        config = brief("fitting", {**settings, "model.head.scale_by": by, "optim.lr": 1e-2})
        model = fit_regressor(study, values, config=config)
        error[by] = model.metrics["model"]["mae"]
    assert error["coin"] < 1.5 and error[""] > 3.0, error
    assert torch.isfinite(model.network.members[0].target.by_category[0].shift).all()


# --- what a column misses ------------------------------------------------------------------------


@pytest.fixture
def with_base(small):
    """A column that predicts the target but for noise."""
    noise = np.random.default_rng(0).normal(0, 0.5, 60)
    base = small.metadata["gradient"].astype(float) + noise
    return replace(small, metadata=small.metadata.assign(base=base))


def test_networks_and_forest_learn_what_a_column_misses(with_base, brief, tmp_path):
    settings = {"train.max_steps": 6, "loss.residual_on": "base"}
    plain = fit_regressor(with_base, "gradient", config=brief("fitting", {"train.max_steps": 6}))
    config = brief("fitting", settings)
    model = fit_regressor(with_base, "gradient", config=config, output=tmp_path / "model")
    for part in ("model", "network", "forest"):
        error = model.metrics[part]["mae"]
        assert error < 0.8 < plain.metrics[part]["mae"], part
    assert model.history[-1]["val/mae"] < 0.8  # in units, while it trains
    result = predict(load_model(tmp_path / "model"), with_base)
    pd.testing.assert_frame_equal(result, predict(model, with_base))
    moved = replace(with_base, metadata=with_base.metadata.assign(base=100.0))
    assert predict(model, moved)["prediction"].min() > 90
    assert model.columns() == ("base",)


def test_a_column_to_learn_beside_has_a_number_for_each_sample(with_base, small, brief):
    config = brief("fitting", {"loss.residual_on": "base"})
    blank = with_base.metadata.assign(base=with_base.metadata["base"].where(lambda x: x > 0))
    number = int(blank["base"].isna().sum())
    missing = replace(with_base, metadata=blank)
    if number:
        text = refused(fit_regressor, missing, "gradient", config=config)
        assert f"'base', which is blank for {number} of" in text
    text = replace(with_base, metadata=with_base.metadata.assign(base="low"))
    assert "not numbers" in refused(fit_regressor, text, "gradient", config=config)
    assert "base" in refused(fit_regressor, small, "gradient", config=config)
