"""The forest beside the networks: what weighs them, and that nobody judges what it has seen."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core import blending, scoring
from aam_core.blending import FEWER, best_weights
from aam_core.data.splits import cross_fitting_split
from aam_core.ensemble.forest_training import fit_forest, out_of_fold
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.prediction import predict
from aam_core.tasks.metrics import regression_metrics
from aam_core.training.reporter import Reporter


def alone(model):
    """The networks of a model, without its trees."""
    return dataclasses.replace(model, forest=None, interval=None)


def trees_alone(model):
    return dataclasses.replace(model, network_weight=0.0)


def apart(model, study, truth, classes=0, groups="host_subject_id"):
    """What networks and trees predict of the samples that they left out, computed anew."""
    config = model.config
    held = cross_fitting_split(
        study.sample_ids,
        config.model.members,
        fraction=config.train.val_fraction,
        seed=config.train.seed,
        groups=None if groups is None else study.metadata[groups],
        strata=study.metadata["group"] if classes else None,
    )
    assert held.val == model.val_samples
    network = scoring.left_out(model, study, held)
    place = np.array([study.sample_ids.index(name) for name in held.val])
    settings = {"trees": -(-config.forest.trees // FEWER), "seed": config.train.seed}
    given = (study, place, truth, classes, np.array(held.folds))
    some = out_of_fold(*given, **settings)
    if classes:
        return network, some
    every = out_of_fold(*given, **settings, tried="all")
    errors = [np.abs(trees[:, 0] - truth).mean() for trees in (some, every)]
    return network, every if errors[1] < 0.95 * errors[0] else some


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_a_model_predicts_by_both_as_they_are_weighed(request, small, kind):
    model = request.getfixturevalue(kind).model
    name, weight = ("prediction" if kind == "regressor" else "case"), model.network_weight
    assert 0 <= weight <= 1 and len(model.forest.arrays["roots"]) == model.config.forest.trees
    both = predict(model, small)[name]
    network, trees = (predict(part(model), small)[name] for part in (alone, trees_alone))
    assert both.to_numpy() == pytest.approx(weight * network + (1 - weight) * trees)
    assert not np.allclose(network, trees)


def test_the_weight_is_chosen_on_what_both_left_out(regressor, small):
    model = regressor.model
    truth = small.metadata["gradient"].to_numpy(float)
    network, trees = apart(model, small, truth)
    weight, told = model.network_weight, model.val_predictions["prediction"]
    assert told.to_numpy() == pytest.approx((weight * network + (1 - weight) * trees)[:, 0])
    assert weight == best_weights([network, trees], truth, 0)[0]
    expected = regression_metrics(truth, network[:, 0])
    assert model.metrics["network"] == pytest.approx(expected)
    assert model.metrics["forest"] == pytest.approx(regression_metrics(truth, trees[:, 0]))


def test_of_classes_too(classifier, small):
    model = classifier.model
    truth = (small.metadata["group"] == "control").to_numpy(int)
    network, trees = apart(model, small, truth, classes=2)
    weight, told = model.network_weight, model.val_predictions[["case", "control"]]
    assert told.to_numpy() == pytest.approx(weight * network + (1 - weight) * trees)
    assert weight == best_weights([network, trees], truth, 2)[0]


@pytest.mark.parametrize("kind, split", [("one", None), ("one", "fixed"), ("many", None)])
def test_splits_try_what_predicts_better(small, brief, capsys, kind, split):
    """All inputs, where a single one tells the target; some, where many tell it alike."""
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
    tried = {"one": "all", "many": "some"}[kind]
    assert f"forest: splits try {tried} inputs" in capsys.readouterr().err
    place = np.array([study.sample_ids.index(name) for name in model.train_samples])
    seed = config.train.seed
    expected = fit_forest(study, place, target[place], 0, 40, seed=seed, tried=tried)
    assert np.array_equal(model.forest.predict(study), expected.predict(study))


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
    told = model.val_predictions
    assert sorted(told.index) == sorted(small.sample_ids)
    assert regression_metrics(told["actual"], told["prediction"])["r2"] < 0.1
    assert model.metrics["network"]["r2"] < 0.1
    seen = predict(trees_alone(model), small)["prediction"]
    assert regression_metrics(values, seen)["r2"] > 0.5


def test_without_validation_both_weigh_alike(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 2, "train.val_fraction": 0.0})
    model = fit_regressor(small, "gradient", config=config, output=tmp_path / "model")
    assert model.network_weight == 0.5 and model.interval is None
    assert model.val_samples == [] and model.val_predictions is None
    assert set(model.metrics) == {"epoch"}
    assert model.train_samples == small.sample_ids
    found = load_model(tmp_path / "model")
    assert found.network_weight == 0.5
    pd.testing.assert_frame_equal(predict(found, small), predict(model, small))
    assert "lower" not in predict(found, small)


def test_of_a_fixed_split_neither_has_seen_the_validation_samples(small, brief):
    """So what was said of them is what the model itself predicts."""
    split = small.sample_ids[:40], small.sample_ids[40:]
    config = brief("fitting", {"train.max_steps": 3})
    model = fit_regressor(small, "gradient", split=split, config=config)
    told = model.val_predictions["prediction"]
    assert told.index.tolist() == split[1]
    again = predict(model, small)["prediction"][split[1]]
    assert again.to_numpy() == pytest.approx(told.to_numpy(), rel=1e-5)
    values = small.metadata["gradient"].copy()
    values[split[1]] = 1000.0 + np.arange(20)
    other = fit_regressor(small, values, split=split, config=config)
    for part in (alone, trees_alone):
        pd.testing.assert_frame_equal(
            predict(part(other), small)[["prediction"]], predict(part(model), small)[["prediction"]]
        )


def test_without_trees_the_networks_are_the_model(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 2, "forest.trees": 0})
    model = fit_classifier(small, "group", config=config, output=tmp_path / "model")
    assert model.forest is None and model.network_weight == 1.0
    assert "model" in model.metrics and not {"network", "forest"} & set(model.metrics)
    assert not list((tmp_path / "model").glob("forest*"))


@pytest.mark.parametrize(
    "weight, samples, sentence",
    [
        (0.63, 60, "the networks count 0.63, the forest 0.37"),
        (
            0.0,
            60,
            "the forest alone predicts: the networks did not help on held-out samples (weight 0)",
        ),
        (
            1.0,
            60,
            "the networks alone predict: the forest did not help on held-out samples (weight 0)",
        ),
        (0.5, 29, "the networks and the forest count half each: 29 held-out samples are too few"),
    ],
)
def test_weights_are_said_in_words(regressor, weight, samples, sentence):
    model = dataclasses.replace(regressor.model, network_weight=weight)
    assert blending.in_words(model, samples)[0].startswith(sentence)
    found = blending.weights(model)
    assert (found["network"], found["forest"]) == (weight, pytest.approx(1 - weight))


def test_what_members_with_codes_count_is_said_where_networks_count(regressor):
    network = copy.deepcopy(regressor.model.network)
    model = dataclasses.replace(regressor.model, network=network, network_weight=0.4)
    network.weigh_codes(0.75)
    assert blending.weights(model)["members_with_codes"] == 0.75
    codes = "networks with random Fourier features count 0.75, others 0.25"
    assert blending.in_words(model, 60)[-1] == codes
    forest = dataclasses.replace(model, network_weight=0.0)
    assert codes not in blending.in_words(forest, 60)
    assert blending.in_words(dataclasses.replace(model, forest=None), 60) == [codes]


def test_the_end_of_a_fit_says_what_the_metrics_are_of(small, brief, capsys, tmp_path):
    config = brief("fitting", {"train.max_steps": 2})
    capsys.readouterr()
    options = {"group_by": "host_subject_id", "config": config, "label": "a fit"}
    model = fit_regressor(small, "gradient", **options, output=tmp_path / "model")
    lines = capsys.readouterr().err.splitlines()
    assert "a fit: predicting held-out samples" in lines and "a fit: fitting forests" in lines
    counts = model.metrics["held_out"]
    head = f"a fit: metrics on 60 held-out samples of {counts['groups']} groups, in 2 folds:"
    place = lines.index(head)
    for line, name in zip(lines[place + 1 :], ("model", "network", "forest"), strict=False):
        label, told = line.split(": ", 1)[1].rsplit(": ", 1)
        assert ("saved model" in label) == (name == "model") and (name in label)
        found = {k: float(v) for k, v in (item.split() for item in told.split(", "))}
        assert found == pytest.approx({k: model.metrics[name][k] for k in found}, rel=1e-3)
        assert set(found) == {"r2", "mae", "rmse"}
    half = model.interval["half_width"]
    assert any(line.startswith(f"a fit: 90% interval: ± {half:.4g} (") for line in lines)
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
    assert stages == [(22, 22), (20, 20), (16, 16), (10, 10), (10, 10)]


def test_trees_read_covariates_too(small, brief):
    """The target is random to the reads, and among the covariates."""
    rng = np.random.default_rng(0)
    metadata = small.metadata.assign(hidden=rng.normal(size=60))
    metadata["twin"] = metadata["hidden"] * 3
    study = dataclasses.replace(small, metadata=metadata)
    config = brief("fitting", {"train.max_steps": 2, "forest.trees": 40})
    model = fit_regressor(study, "hidden", covariates=["twin"], config=config)
    assert model.network_weight < 0.5 and model.metrics["model"]["r2"] > 0.3


def test_the_weight_of_the_network_regression():
    y = np.array([1.0, 2, 3, 4, 9])
    network, random = (y + 3)[:, None], (y - 1)[:, None]
    assert best_weights([network, random], y, 0)[0] == 0.25
    assert best_weights([y[:, None], random], y, 0)[0] == 1
    assert best_weights([network, y[:, None]], y, 0)[0] == 0
    assert best_weights([network, network], y, 0)[0] == 0.5
    network[3], random[4] = 1e9, 1e9
    network[4], random[3] = np.nan, np.nan
    assert best_weights([network, random], y, 0)[0] == 0.25
    assert best_weights([network * np.nan, random], y, 0)[0] == 0.5


def test_the_weights_of_three():
    y = np.arange(1.0, 9.0)
    parts = [(y + 4)[:, None], (y - 4)[:, None], (y + 100)[:, None]]
    assert best_weights(parts, y, 0) == (0.5, 0.5, 0)
    assert best_weights([parts[0], parts[0], y[:, None]], y, 0) == (0, 0, 1)
    found = best_weights([parts[0]] * 3, y, 0)
    assert max(found) == 0.35 and sum(found) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.parametrize("better, share", [("coded", 0.95), ("plain", 0.05), ("neither", 0.5)])
def test_what_codes_count_is_chosen_on_what_was_left_out(
    small, brief, monkeypatch, kind, better, share
):
    changes = {"train.max_steps": 2, "model.members": 4, "train.val_fraction": 0.5}
    config = brief("fitting", changes | {"forest.trees": 4, "model.encoder.codes": 8})
    right = small.metadata["gradient"].to_numpy(float)[:, None]
    if kind == "classifier":
        right = np.eye(2)[(small.metadata["group"] == "control").to_numpy(int)] * 0.98 + 0.01
    kinds, left_out = [], blending.left_out

    def known(model, study, split, among=None):
        if among is None or better == "neither":
            return left_out(model, study, split, among)
        kinds.append(among.tolist())
        is_right = (among == model.network.coded).all() == (better == "coded")
        assert split.val == small.sample_ids
        return right if is_right else right[::-1]

    if better == "neither":  # fewer than tell it
        monkeypatch.setattr(blending, "LEAST", 1000)
    monkeypatch.setattr(blending, "left_out", known)
    fit = fit_regressor if kind == "regressor" else fit_classifier
    model = fit(small, "gradient" if kind == "regressor" else "group", config=config)
    weights = model.network.member_weight
    assert weights[2:].sum() / weights.sum() == pytest.approx(share)
    assert model.network.coded.tolist() == [False, False, True, True]
    if better != "neither":
        assert kinds == [[True, True, False, False], [False, False, True, True]]
    told = model.val_predictions  # of the networks as they are weighed
    again = fit_again(model, small)
    column = "prediction" if kind == "regressor" else "case"
    assert again[column].to_numpy() == pytest.approx(told[column].to_numpy(), rel=1e-4)


def fit_again(model, study):
    """What networks and trees that left a sample out predict of it, computed anew."""
    classes = 2 if model.kind == "classifier" else 0
    truth = study.metadata["gradient"].to_numpy(float)
    if classes:
        truth = (study.metadata["group"] == "control").to_numpy(int)
    network, trees = apart(model, study, truth, classes, groups=None)
    both = model.network_weight * network + (1 - model.network_weight) * trees
    return pd.DataFrame(both, columns=["case", "control"] if classes else ["prediction"])


def test_the_weight_of_the_network_classification():
    y = np.array([0, 1, 1])
    sure, even = np.eye(2)[y], np.full((3, 2), 0.5)
    assert best_weights([sure, even], y, 2)[0] == 1
    assert best_weights([even, sure], y, 2)[0] == 0
    # One of four wrong for sure: p of being right maximizes 3 log(p) + log(1 - p) at 3/4.
    y = np.array([0, 1, 1, 0])
    wrong = np.eye(2)[[0, 1, 1, 1]]
    assert best_weights([wrong, np.full((4, 2), 0.5)], y, 2)[0] == 0.5
    assert best_weights([wrong, wrong[:, ::-1]], y, 2)[0] == 0.75
    # Without a bound of 0.001 a single 0 would rule the network out.
    y, guess = np.arange(200) % 2, np.full((200, 2), 0.5)
    network = np.eye(2)[y]
    network[0] = 1 - network[0]
    assert best_weights([network, guess], y, 2)[0] == 1
