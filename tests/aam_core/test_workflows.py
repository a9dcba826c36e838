from __future__ import annotations

import inspect
import json
import random

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.artifact import FILES, load_model
from aam_core.prediction import predict
from aam_core.preparation import usable_samples
from aam_core.train.rng import rng_state
from aam_core.workflows import fit_classifier, fit_regressor, pretrain


def lines(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize("fit", [fit_regressor, fit_classifier])
def test_help_shows_every_option(fit):
    names = "encoder freeze_encoder group_by split covariates config output label resume on_epoch"
    assert list(inspect.signature(fit).parameters) == ["study", "target", *names.split()]


# --- what is written -----------------------------------------------------------------------------


def test_the_folder_of_an_encoder(encoder):
    folder, model = encoder.folder, encoder.model
    names = {item.name for item in folder.iterdir()}
    predictors = {"targets.json", "val_predictions.tsv", "val_predictions.png"}
    assert names == {*FILES, "logs", "checkpoint"} - predictors
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == model.metrics
    figures = {"distance_r2", "val/distance_r2", "val/distance_loss", "val/nucleotide_accuracy"}
    assert figures <= set(metrics)
    assert (folder / "val_distances.png").read_bytes().startswith(b"\x89PNG")
    logged = [json.loads(line) for line in lines(folder / "logs" / "metrics.jsonl")]
    assert any("train/nucleotide_accuracy" in line for line in logged)
    assert list((folder / "logs").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    "kind, figures", [("regressor", "r2 mae rmse"), ("classifier", "accuracy")]
)
def test_the_folder_of_a_predictor(request, small, kind, figures):
    folder, model = request.getfixturevalue(kind).folder, request.getfixturevalue(kind).model
    names = {item.name for item in folder.iterdir()}
    assert names == {*FILES, "logs", "checkpoint"} - {"val_distances.png"}
    assert lines(folder / "train_samples.txt") == model.train_samples
    assert lines(folder / "val_samples.txt") == model.val_samples
    assert sorted(model.train_samples + model.val_samples) == sorted(small.sample_ids)
    table = pd.read_csv(folder / "val_predictions.tsv", sep="\t", dtype={"sample-id": str})
    assert list(table.columns)[:3] == ["sample-id", "actual", "prediction"]
    assert table["sample-id"].tolist() == model.val_samples
    assert set(figures.split()) <= set(json.loads((folder / "metrics.json").read_text()))
    assert (folder / "val_predictions.png").read_bytes().startswith(b"\x89PNG")


def test_where_a_model_came_from(small, encoder, brief):
    config = brief("fitting", {"train.max_steps": 1, "train.seed": 5})
    run = fit_regressor(small, "gradient", encoder=encoder.folder, config=config).run
    assert run["seed"] == 5 and (run["samples"], run["features"]) == small.counts.shape
    assert {"aam", "torch", "numpy", "python"} <= set(run["versions"])
    assert run["device"] == "cpu"
    assert run["encoder"] == encoder.model.run and run["frozen_encoder"] is False


def test_nothing_is_written_where_no_folder_is_named(small, brief, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit_regressor(small, "gradient", config=brief("fitting", {"train.max_steps": 1}))
    assert list(tmp_path.iterdir()) == []


def test_an_older_run_leaves_nothing_in_a_new_model(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 1})
    fit_regressor(small, "gradient", config=config, output=tmp_path / "m")
    config = config.replace({"train.val_fraction": 0.0})
    model = fit_regressor(small, "gradient", config=config, output=tmp_path / "m")
    assert model.val_predictions is None and model.interval is None
    found = load_model(tmp_path / "m")
    assert found.val_samples == [] and found.val_predictions is None
    assert not (tmp_path / "m" / "val_predictions.png").exists()
    assert sorted(found.train_samples) == sorted(small.sample_ids)


# --- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_no_subject_on_both_sides(request, small, kind):
    model = request.getfixturevalue(kind).model
    subject = small.metadata["host_subject_id"]
    train, val = set(subject[model.train_samples]), set(subject[model.val_samples])
    assert train and val and not train & val
    assert len(model.val_samples) == pytest.approx(18, abs=4)


def test_groups_may_be_given_as_values(small, brief):
    groups = pd.Series(["a", "b", "c"] * 20, index=small.sample_ids)
    config = brief("pretraining", {"train.max_steps": 1, "train.val_fraction": 0.3})
    model = pretrain(small, config=config, group_by=groups)
    held = set(groups[model.val_samples])
    assert len(held) == 1 and not held & set(groups[model.train_samples])


def test_classes_are_stratified(small, brief):
    rare = pd.Series(["rare" if i % 12 == 0 else "common" for i in range(60)], small.sample_ids)
    config = brief("fitting", {"train.max_steps": 1, "train.val_fraction": 0.2})
    for seed in range(4):
        model = fit_classifier(small, rare, config=config.replace({"train.seed": seed}))
        assert rare[model.val_samples].tolist().count("rare") == 1


def test_a_fixed_split(small, brief):
    train, val = small.sample_ids[:20:-1], small.sample_ids[5:15]
    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", split=(train, val), config=config)
    assert model.train_samples == sorted(train) and model.val_samples == val
    used = small.metadata["gradient"][train]
    assert model.target.mean == pytest.approx(used.mean())  # of the training samples alone
    assert model.target.std == pytest.approx(used.std(ddof=0))


def test_a_fixed_split_leaves_out_what_it_does_not_name(small, brief):
    values = small.metadata["gradient"].copy()
    ids = small.sample_ids
    values[ids[-3:]] = np.nan
    model = fit_regressor(
        small, values, split=(ids[:40], ids[40:50]), config=brief("fitting", {"train.max_steps": 1})
    )
    assert model.train_samples == ids[:40] and model.val_samples == ids[40:50]


def test_a_fixed_split_loses_shallow_samples_as_any_other(small, brief, capsys):
    reads = np.asarray(small.counts.sum(1)).ravel()
    least = int(np.sort(reads)[3]) + 1
    ids = small.sample_ids
    config = brief("fitting", {"train.max_steps": 1, "data.min_reads": least})
    model = fit_regressor(small, "gradient", split=(ids[:40], ids[40:]), config=config)
    deep = [name for name, n in zip(ids, reads, strict=True) if n >= least]
    assert model.train_samples + model.val_samples == deep
    assert f"4 samples with fewer than {least} reads left out" in capsys.readouterr().err


def test_shallow_samples(small, brief, capsys):
    reads = np.asarray(small.counts.sum(1)).ravel()
    depth = int(np.sort(reads)[20]) + 1
    changes = {"data.sampling_depth": depth, "train.max_steps": 1, "data.shallow_samples": "drop"}
    config = brief("fitting", changes)
    kept, text = usable_samples(small, config)
    assert kept == [s for s, n in zip(small.sample_ids, reads, strict=True) if n >= depth]
    assert text.startswith(f"21 samples with fewer than {depth} reads left out: ")
    model = fit_regressor(small, "gradient", config=config)
    assert sorted(model.train_samples + model.val_samples) == sorted(kept)
    assert text in capsys.readouterr().err
    keep = config.replace({"data.shallow_samples": "keep"})
    assert usable_samples(small, keep) == (small.sample_ids, "")
    none = config.replace({"data.rarefaction": "none"})
    assert usable_samples(small, none) == (small.sample_ids, "")
    assert len(usable_samples(small, keep.replace({"data.min_reads": depth}))[0]) == len(kept)


# --- real units ----------------------------------------------------------------------------------


def test_targets_come_back_in_real_units(small, brief):
    """The same study in other units: the same model, and predictions in those units."""
    config = brief("fitting", {"train.max_steps": 3})
    celsius = small.metadata["gradient"]
    fahrenheit = (celsius * 1.8 + 32).rename("gradient")
    cold = fit_regressor(small, celsius, config=config)
    warm = fit_regressor(small, fahrenheit, config=config)
    found = predict(warm, small)
    expected = predict(cold, small)
    for name in ("prediction", "lower", "upper"):
        assert found[name].to_numpy() == pytest.approx(expected[name] * 1.8 + 32, rel=1e-4)
    assert warm.metrics["mae"] == pytest.approx(cold.metrics["mae"] * 1.8, rel=1e-3)
    assert warm.metrics["r2"] == pytest.approx(cold.metrics["r2"], rel=1e-3, abs=1e-4)
    assert celsius.min() - 30 < expected["prediction"].mean() < celsius.max() + 30


def test_the_interval_holds_the_validation_samples(regressor, small):
    model = regressor.model
    frame = predict(model, small).loc[model.val_samples]
    truth = small.metadata["gradient"][model.val_samples]
    inside = (truth >= frame["lower"] - 1e-3) & (truth <= frame["upper"] + 1e-3)
    assert inside.mean() >= model.interval["coverage"] == 0.9
    width = frame["upper"] - frame["lower"]
    assert width.to_numpy() == pytest.approx(2 * model.interval["half_width"], rel=1e-5)
    error = (model.val_predictions["actual"] - model.val_predictions["prediction"]).abs()
    assert error.min() < model.interval["half_width"] <= error.max()


# --- losses and draws ----------------------------------------------------------------------------


def test_class_weights(small, brief):
    rare = pd.Series(["rare" if i % 6 == 0 else "common" for i in range(60)], small.sample_ids)
    changes = {"train.max_steps": 1, "optim.lr": 0.0, "loss.distance": 0.0}
    changes |= {"model.head.target_dropout": 0.0, "model.sample.dropout": 0.0}
    changes |= {"loss.label_smoothing": 0.0}
    split = (small.sample_ids[:36], small.sample_ids[36:])

    def loss_and_chances(how):
        config = brief("fitting", {**changes, "loss.class_weight": how})
        model = fit_classifier(small, rare, split=split, config=config)
        return model.metrics["val/target_loss"], predict(model, small).loc[split[1]]

    plain, chances = loss_and_chances("none")
    balanced, _ = loss_and_chances("balanced")
    truth = rare[split[1]]
    log = -np.log([chances.loc[name, label] for name, label in truth.items()])
    assert plain == pytest.approx(log.mean(), rel=1e-4)
    weight = truth.map({"rare": 1 / 6, "common": 1 / 30}).to_numpy()  # of 36 training samples
    assert balanced == pytest.approx((log * weight).sum() / weight.sum(), rel=1e-4)


def test_the_same_seed_gives_the_same_model_to_the_last_digit(small, brief):
    config = brief("fitting", {"train.max_steps": 4})

    def fit(seed, prelude):
        torch.manual_seed(prelude)  # what was drawn before has no part in it
        return fit_regressor(small, "gradient", config=config.replace({"train.seed": seed}))

    first, second, other = fit(0, 1), fit(0, 2), fit(3, 1)
    assert first.history == second.history
    pd.testing.assert_frame_equal(first.val_predictions, second.val_predictions, check_exact=True)
    assert first.history != other.history and first.val_samples != other.val_samples


def test_a_fit_leaves_the_global_generators_alone(small, brief, tmp_path):
    """And one that is gone on with, whose checkpoint holds some of its own."""
    options = {"config": brief("fitting", {"train.max_steps": 2}), "output": tmp_path / "a"}
    fit_regressor(small, "gradient", **options)
    for more in ({}, {"resume": tmp_path / "a"}):
        random.seed(7)
        before = rng_state(torch.device("cpu"))
        fit_regressor(small, "gradient", **options, **more)
        after = rng_state(torch.device("cpu"))
        assert all(torch.equal(before[name], after[name]) for name in before)
