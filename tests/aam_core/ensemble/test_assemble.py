"""The ensemble of a fit: its weights, and that no part is scored on what it was trained on."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.data.splits import Split, cross_fitting_split
from aam_core.ensemble import assemble, cross_fitting
from aam_core.ensemble.blending import forest_in_words, stable_weights
from aam_core.ensemble.cross_fitting import HeldOut, predict_held_out
from aam_core.ensemble.forest_training import _FEWER, ForestSettings, fit_forest, out_of_fold
from aam_core.ensemble.linear_training import Beside
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.prediction import predict
from aam_core.tasks.metrics import regression_metrics
from aam_core.training.reporter import Reporter


def without_forest(model):
    return dataclasses.replace(model, forest=None, intervals=(), sets=None)


def forest_alone(model):
    return dataclasses.replace(model, network_weight=0.0)


def predict_out_of_fold(model, study, groups="host_subject_id"):
    """Out-of-fold predictions of networks and forest, computed anew, and the truth."""
    config, task = model.config, model.target
    values = study.metadata[task.column]
    split = cross_fitting_split(
        study.sample_ids,
        config.model.members,
        fraction=config.train.val_fraction,
        seed=config.train.seed,
        groups=None if groups is None else study.metadata[groups],
        strata=task.strata(values),
    )
    assert split.val == model.val_samples
    network = predict_held_out(model.network, study, split, config, task).out_of_fold(model.network)
    rows = np.array([study.sample_ids.index(name) for name in split.val])
    truth, folds = task.forest_target(values.loc[split.val]), np.array(split.folds)
    settings = ForestSettings(task, -(-config.forest.trees // _FEWER), config.train.seed)
    trees = 0.0
    for kind, number in model.metrics["trees"].items():
        alone = dataclasses.replace(settings, shares={kind: 1.0})
        share = number / config.forest.trees
        trees = trees + share * out_of_fold(study, rows, truth, folds, alone)[0]
    linear = Beside.fit(study, split, values.loc[split.train], task, None, None).out_of_fold
    forest = trees + model.metrics.get("linear_share", 0.0) * (linear - trees)
    return network, forest, truth, folds


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_a_model_predicts_by_both_as_they_are_weighed(request, small, kind):
    model = request.getfixturevalue(kind).model
    name, weight = ("prediction" if kind == "regressor" else "case"), model.network_weight
    assert 0 <= weight <= 1 and len(model.forest.arrays["roots"]) == model.config.forest.trees
    both = predict(model, small)[name]
    network, trees = (predict(part(model), small)[name] for part in (without_forest, forest_alone))
    assert both.to_numpy() == pytest.approx(weight * network + (1 - weight) * trees)
    assert not np.allclose(network, trees)


def test_the_blend_weight_is_chosen_on_out_of_fold_predictions(regressor, small):
    model = regressor.model
    network, trees, truth, folds = predict_out_of_fold(model, small)
    weight, predictions = model.network_weight, model.val_predictions["prediction"]
    assert predictions.to_numpy() == pytest.approx((weight * network + (1 - weight) * trees)[:, 0])
    assert weight == stable_weights([network, trees], truth, model.target)[0]
    expected = regression_metrics(truth, network[:, 0])
    assert model.metrics["network"] == pytest.approx(expected)
    assert model.metrics["forest"] == pytest.approx(regression_metrics(truth, trees[:, 0]))


def test_the_blend_weight_of_a_classifier(classifier, small):
    model = classifier.model
    network, trees, truth, folds = predict_out_of_fold(model, small)
    weight, predictions = model.network_weight, model.val_predictions[["case", "control"]]
    assert predictions.to_numpy() == pytest.approx(weight * network + (1 - weight) * trees)
    assert weight == stable_weights([network, trees], truth, model.target)[0]


@pytest.mark.parametrize("kind, split", [("one", None), ("one", "fixed"), ("many", None)])
def test_trees_are_of_the_kinds_that_predict_better(small, brief, capsys, kind, split):
    """Those that try all inputs, where a single one tells the target; others, where many do."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 40, size=(60, 40))
    target = rng.normal(size=60) if kind == "many" else counts[:, 7] / counts.sum(axis=1)
    if kind == "many":
        counts[:, :30] = rng.poisson(30 * np.exp(0.15 * target[:, None]), size=(60, 30))
    sequences = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(40)]
    table = {"counts": csr_matrix(counts), "sequences": sequences, "feature_ids": sequences}
    study = dataclasses.replace(small, phylogeny=None, **table)
    config = brief("fitting", {"train.max_steps": 2, "forest.trees": 40, "model.members": 4})
    values = pd.Series(target, small.sample_ids, name="value")
    given = {} if split is None else {"split": (small.sample_ids[:30], small.sample_ids[30:])}
    model = fit_regressor(study, values, config=config, **given)
    numbers = model.metrics["trees"]
    assert sum(numbers.values()) == 40
    try_all = numbers.get("plain", 0) + numbers.get("extra-all", 0)
    assert try_all > 25 if kind == "one" else try_all < 25
    linear = model.metrics.get("linear_share", 0.0)
    assert linear == model.forest.linear_share
    assert linear < 0.1 if kind == "one" else linear > 0.1
    shares = {name: number / 40 * (1 - linear) for name, number in numbers.items()}
    shares |= {"linear": linear} if linear else {}
    said = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    assert f"{forest_in_words(linear)}: {said}" in capsys.readouterr().err
    place = np.array([study.sample_ids.index(name) for name in model.train_samples])
    settings = ForestSettings(model.target, 40, config.train.seed, shares=numbers)
    trees = fit_forest(study, place, target[place], settings)
    fold = dict(zip(model.val_samples, model.val_folds, strict=True))
    split = Split(model.train_samples, list(fold), list(fold.values()))
    beside = Beside.fit(study, split, values, model.target, None, None)
    if linear:
        trees = trees.with_linear(beside.model, beside.sequences, linear)
    assert np.array_equal(model.forest.predict(study), trees.predict(study))


@pytest.mark.parametrize("grouped", [False, True])
def test_noise_is_not_predicted_out_of_fold(small, brief, grouped):
    """Nor, where its samples stay together, what is random of a subject; of itself it is known."""
    rng = np.random.default_rng(4)
    subject = small.metadata["host_subject_id"]
    values = pd.Series(rng.normal(size=60), small.sample_ids, name="noise")
    if grouped:
        levels = dict(zip(subject.unique(), rng.normal(size=subject.nunique()), strict=True))
        values = subject.map(levels).rename("noise")
    changes = {"train.max_steps": 60, "train.epochs": 60, "forest.trees": 40, "optim.lr": 3e-3}
    config = brief("fitting", changes | {"train.val_fraction": 0.25, "model.members": 4})
    options = {"group_by": "host_subject_id"} if grouped else {}
    model = fit_regressor(small, values, config=config, **options)
    message = model.val_predictions
    assert sorted(message.index) == sorted(small.sample_ids)
    assert regression_metrics(message["actual"], message["prediction"])["r2"] < 0.1
    assert model.metrics["network"]["r2"] < 0.1
    settings = ForestSettings(model.target, 40, config.train.seed, shares={"random": 1.0})
    seen = fit_forest(small, np.arange(60), values.to_numpy(), settings).predict(small)[:, 0]
    assert regression_metrics(values, seen)["r2"] > 0.5


def test_without_validation_both_weigh_alike(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 2, "train.val_fraction": 0.0})
    model = fit_regressor(small, "gradient", config=config, output=tmp_path / "model")
    assert model.network_weight == 0.5 and model.intervals == ()
    assert model.val_samples == [] and model.val_predictions is None
    assert set(model.metrics) == {"epoch"}
    assert model.train_samples == small.sample_ids
    result = load_model(tmp_path / "model")
    assert result.network_weight == 0.5
    pd.testing.assert_frame_equal(predict(result, small), predict(model, small))
    assert "lower" not in predict(result, small)


def test_of_a_fixed_split_neither_has_seen_the_validation_samples(small, brief):
    """So what was said of them is what the model itself predicts."""
    split = small.sample_ids[:40], small.sample_ids[40:]
    config = brief("fitting", {"train.max_steps": 3})
    model = fit_regressor(small, "gradient", split=split, config=config)
    message = model.val_predictions["prediction"]
    assert message.index.tolist() == split[1]
    again = predict(model, small)["prediction"][split[1]]
    assert again.to_numpy() == pytest.approx(message.to_numpy(), rel=1e-5)
    values = small.metadata["gradient"].copy()
    values[split[1]] = 1000.0 + np.arange(20)
    other = fit_regressor(small, values, split=split, config=config)
    for part in (without_forest, forest_alone):
        pd.testing.assert_frame_equal(
            predict(part(other), small)[["prediction"]], predict(part(model), small)[["prediction"]]
        )


def test_without_trees_the_networks_are_the_model(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 2, "forest.trees": 0})
    model = fit_classifier(small, "group", config=config, output=tmp_path / "model")
    assert model.forest is None and model.network_weight == 1.0
    assert "model" in model.metrics and not {"network", "forest"} & set(model.metrics)
    assert not list((tmp_path / "model").glob("forest*"))


def test_the_end_of_a_fit_says_what_the_metrics_are_of(small, brief, capsys, tmp_path):
    config = brief("fitting", {"train.max_steps": 2})
    capsys.readouterr()
    options = {"group_by": "host_subject_id", "config": config, "label": "a fit"}
    model = fit_regressor(small, "gradient", **options, output=tmp_path / "model")
    lines = capsys.readouterr().err.splitlines()
    assert "a fit: predicting held-out samples" in lines
    assert any(re.fullmatch(r"a fit: fitting forests \(\d+ trees\)", line) for line in lines)
    assert re.fullmatch(
        r"a fit: took .* s: networks .* s, .*random forest.*, held-out .* s", lines[-1]
    )
    counts = model.metrics["held_out"]
    head = f"a fit: metrics on 60 held-out samples of {counts['groups']} groups, in 2 folds:"
    place = lines.index(head)
    for line, name in zip(lines[place + 1 :], ("model", "network", "forest"), strict=False):
        label, text = line.split(": ", 1)[1].rsplit(": ", 1)
        assert ("saved model" in label) == (name == "model") and (name in label)
        metrics = {k: float(v) for k, v in (item.split() for item in text.split(", "))}
        assert metrics == pytest.approx({k: model.metrics[name][k] for k in metrics}, rel=1e-3)
        assert set(metrics) == {"r2", "mae", "rmse", "spearman"}
    half = model.metrics["model"]["width"] / 2
    assert any(line.startswith(f"a fit: 90% prediction interval: ± {half:.4g} ") for line in lines)
    assert not any("weight 0.00" in line for line in lines)


def test_the_bar_of_the_forests_ends_when_all_are_fitted(small, brief, monkeypatch):
    """Of each way in which a forest is fitted: known before what there is to do."""
    seen = []
    begin, advance = Reporter.begin, Reporter.advance

    def began(self, steps, *args, **options):
        seen.append([options.get("stage", "training"), steps, 0])
        begin(self, steps, *args, **options)

    def advanced(self, shown=None, steps=1):
        seen[-1][2] += steps
        advance(self, shown, steps)

    monkeypatch.setattr(Reporter, "begin", began)
    monkeypatch.setattr(Reporter, "advance", advanced)
    config = brief("fitting", {"train.max_steps": 1, "forest.trees": 10})
    split = small.sample_ids[:30], small.sample_ids[30:]
    fit_regressor(small, "gradient", config=config)
    fit_regressor(small, "gradient", config=config, split=split)
    fit_classifier(small, "group", config=config)
    fit_classifier(small, "group", config=config, split=split)
    fit_regressor(small, "gradient", config=config.replace({"train.val_fraction": 0.0}))
    stages = [(total, done) for stage, total, done in seen if stage == "fitting forests"]
    assert stages == [(30, 30), (60, 60), (26, 26), (50, 50), (10, 10)]


def test_trees_read_covariates_too(small, brief):
    """The target is random to the reads, and among the covariates."""
    rng = np.random.default_rng(0)
    metadata = small.metadata.assign(hidden=rng.normal(size=60))
    metadata["twin"] = metadata["hidden"] * 3
    study = dataclasses.replace(small, metadata=metadata)
    config = brief("fitting", {"train.max_steps": 2, "forest.trees": 40})
    model = fit_regressor(study, "hidden", covariates=["twin"], config=config)
    assert model.network_weight < 0.5 and model.metrics["model"]["r2"] > 0.3


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.parametrize("better, share", [("fourier", 0.95), ("plain", 0.05), ("neither", 0.5)])
def test_the_weight_of_members_with_fourier_features(
    small, brief, monkeypatch, kind, better, share
):
    """Chosen on out-of-fold predictions, of which those of one kind of member are made right."""
    changes = {"train.max_steps": 2, "model.members": 4, "train.val_fraction": 0.5}
    changes |= {"ensemble.calibration": "none"}  # probabilities as they are blended
    config = brief("fitting", changes | {"forest.trees": 4, "model.encoder.codes": 8})
    right = small.metadata["gradient"].to_numpy(float)[:, None]
    if kind == "classifier":
        right = np.eye(2)[(small.metadata["group"] == "control").to_numpy(int)] * 0.98 + 0.01
    out_of_fold = HeldOut.out_of_fold

    def known(self, network, members=None):
        if members is None or better == "neither":
            return out_of_fold(self, network, members)
        is_right = (members == network.fourier_members).all() == (better == "fourier")
        return right if is_right else right[::-1]

    if better == "neither":  # too few to choose
        monkeypatch.setattr(assemble, "LEAST", 1000)
    monkeypatch.setattr(HeldOut, "out_of_fold", known)
    fit = fit_regressor if kind == "regressor" else fit_classifier
    model = fit(small, "gradient" if kind == "regressor" else "group", config=config)
    monkeypatch.undo()
    weights = model.network.member_weight
    assert weights[2:].sum() / weights.sum() == pytest.approx(share)
    assert model.network.fourier_members.tolist() == [False, False, True, True]
    # The predictions that are saved are those of the networks as they are weighed now.
    network, trees, _, _ = predict_out_of_fold(model, small, groups=None)
    both = model.network_weight * network + (1 - model.network_weight) * trees
    column = "prediction" if kind == "regressor" else "case"
    assert both[:, 0] == pytest.approx(model.val_predictions[column].to_numpy(), rel=1e-4)


def test_one_forward_pass_over_the_held_out_samples(small, brief, monkeypatch):
    """Whatever is chosen from it: members, weights, metrics."""
    passes, forward = [], cross_fitting.forward

    def counted(network, study, *args, **options):
        passes.append(study.sample_ids)
        return forward(network, study, *args, **options)

    monkeypatch.setattr(cross_fitting, "forward", counted)
    changes = {"train.max_steps": 2, "model.members": 4, "model.encoder.codes": 8}
    model = fit_regressor(small, "gradient", config=brief("fitting", changes))
    assert passes == [model.val_samples]
