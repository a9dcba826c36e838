from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.config import presets
from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.files.folders import MANIFEST
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model
from aam_core.model_card import CARD
from aam_core.model_files import FILES
from aam_core.plan import FitOptions, plan_fit
from aam_core.prediction import predict
from aam_core.preparation import splitter, usable_samples
from aam_core.pretraining import pretrain

OTHER_FORMATS = {name for name in FILES if name.endswith((".svg", ".pdf"))}
WRITTEN = {*FILES, MANIFEST, CARD, "logs", "checkpoint"} - OTHER_FORMATS


def lines(path):
    return path.read_text().splitlines()


# --- what is written -----------------------------------------------------------------------------


def test_the_folder_of_an_encoder(encoder):
    folder, model = encoder.folder, encoder.model
    names = {item.name for item in folder.iterdir()}
    of_predictors = {"targets.json", "val_predictions.tsv", "val_predictions.png"}
    of_predictors |= {"forest.json", "forest.safetensors", "novelty.safetensors"}
    assert names == WRITTEN - of_predictors
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == model.metrics
    assert set(metrics) == {"epoch", "held_out", "losses", "nucleotides", "distances"}
    assert (folder / "val_distances.png").read_bytes().startswith(b"\x89PNG")
    logged = [json.loads(line) for line in lines(folder / "logs" / "metrics.jsonl")]
    assert any("train/nucleotide_accuracy" in line for line in logged)
    assert list((folder / "logs" / "train").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    "kind, figures", [("regressor", "r2 mae rmse"), ("classifier", "accuracy")]
)
def test_the_folder_of_a_predictor(request, small, kind, figures):
    folder, model = request.getfixturevalue(kind).folder, request.getfixturevalue(kind).model
    names = {item.name for item in folder.iterdir()}
    assert names == WRITTEN - {"val_distances.png"}
    assert lines(folder / "train_samples.txt") == model.train_samples
    assert lines(folder / "val_samples.txt") == model.val_samples
    assert model.train_samples == model.val_samples == small.sample_ids
    table = pd.read_csv(folder / "val_predictions.tsv", sep="\t", dtype={"sample-id": str})
    assert list(table.columns)[:3] == ["sample-id", "actual", "prediction"]
    assert table["sample-id"].tolist() == model.val_samples
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(model.metrics))
    groups = small.metadata["host_subject_id"].nunique()
    assert metrics["held_out"] == {"samples": 60, "groups": groups, "folds": 2}
    for name in ("model", "network", "forest"):
        assert set(figures.split()) <= set(metrics[name])
    assert ("interval" in metrics) == ("coverage" in metrics["model"]) == (kind == "regressor")
    known = {"epoch", "held_out", "model", "network", "forest", "weights", "trees", "linear_share"}
    known |= {"interval"} if kind == "regressor" else {"sets", "calibration"}
    assert set(metrics) <= known  # losses are in the logs, and no metric stands there twice
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
    assert model.val_predictions is None and model.intervals == () and model.sets is None
    result = load_model(tmp_path / "m")
    assert result.val_samples == [] and result.val_predictions is None
    assert not (tmp_path / "m" / "val_predictions.png").exists()
    assert sorted(result.train_samples) == sorted(small.sample_ids)
    config = config.replace({"forest.trees": 0})
    fit_regressor(small, "gradient", config=config, output=tmp_path / "m")
    assert not list((tmp_path / "m").glob("forest*"))


# --- splits --------------------------------------------------------------------------------------


KINDS = [("regression", "gradient"), ("classification", "group")]


@pytest.mark.parametrize("task, target", KINDS)
def test_no_subject_on_both_sides_of_a_member(small, brief, task, target):
    config = brief("fitting", {"model.members": 3, "train.val_fraction": 0.25})
    options = FitOptions(group_by="host_subject_id", config=config)
    plan = plan_fit(task, small, target, options).plan
    subject = small.metadata["host_subject_id"].to_numpy()
    assert plan.held_out.shape == (3, 60)
    for held_out in plan.held_out:
        train, val = set(subject[~held_out]), set(subject[held_out])
        assert train and val and not train & val
        assert held_out.sum() == pytest.approx(15, abs=4)
    assert (plan.held_out.sum(axis=0) <= 1).all()
    assert plan.split.val == [
        small.sample_ids[i] for i in np.flatnonzero(plan.held_out.any(axis=0))
    ]


@pytest.mark.parametrize("task, target", KINDS)
def test_no_subject_on_both_sides_of_a_single_one(small, brief, task, target):
    config = brief("fitting", {"model.members": 1, "train.val_fraction": 0.3})
    options = FitOptions(group_by="host_subject_id", config=config)
    plan = plan_fit(task, small, target, options).plan
    subject = small.metadata["host_subject_id"]
    train, val = set(subject[plan.split.train]), set(subject[plan.split.val])
    assert train and val and not train & val
    assert len(plan.split.val) == pytest.approx(18, abs=4)


def test_groups_may_be_given_as_values(small, brief):
    groups = pd.Series(["a", "b", "c"] * 20, index=small.sample_ids)
    config = brief("pretraining", {"train.max_steps": 1, "train.val_fraction": 0.3})
    model = pretrain(small, config=config, group_by=groups)
    held = set(groups[model.val_samples])
    assert len(held) == 1 and not held & set(groups[model.train_samples])


def test_classes_are_stratified(small, brief):
    rare = pd.Series(["rare" if i % 12 == 0 else "common" for i in range(60)], small.sample_ids)
    for members, share in ((1, 0.2), (5, 0.2)):
        changes = {"model.members": members, "train.val_fraction": share}
        for seed in range(4):
            options = FitOptions(config=brief("fitting", {**changes, "train.seed": seed}))
            plan = plan_fit("classification", small, rare, options).plan
            for held_out in plan.held_out:
                assert (rare.to_numpy()[held_out] == "rare").sum() == 1


def test_a_class_of_one_subject_is_trained_on(small, brief):
    """The members that leave this subject out never see it; a forest would not fail either."""
    subject = small.metadata["host_subject_id"]
    lone = subject.where(subject == subject.iloc[0], "other").rename("lone")
    options = {"group_by": "host_subject_id", "config": brief("fitting", {"train.max_steps": 1})}
    model = fit_classifier(small, lone, **options)
    assert model.target.classes == tuple(sorted({subject.iloc[0], "other"}))
    assert np.isfinite(predict(model, small)[subject.iloc[0]]).all()


def test_a_fixed_split(small, brief):
    train, val = small.sample_ids[:20:-1], small.sample_ids[5:15]
    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", split=(train, val), config=config)
    assert model.train_samples == sorted(train) and model.val_samples == val
    used = small.metadata["gradient"][train]
    assert model.target.mean == pytest.approx(used.mean())  # of the training samples alone
    assert model.target.std == pytest.approx(used.std(ddof=0))


def test_a_fixed_split_leaves_out_what_it_does_not_name(small, brief, capsys):
    values = small.metadata["gradient"].copy()
    ids = small.sample_ids
    values[ids[-3:]] = np.nan
    model = fit_regressor(
        small, values, split=(ids[:40], ids[40:50]), config=brief("fitting", {"train.max_steps": 1})
    )
    assert model.train_samples == ids[:40] and model.val_samples == ids[40:50]
    line = f"10 of 60 samples are on neither side of the split, and are not used: {ids[50]}"
    assert line in capsys.readouterr().err


def test_a_fixed_split_loses_shallow_samples_as_any_other(small, brief, capsys):
    reads = np.asarray(small.counts.sum(1)).ravel()
    least = int(np.sort(reads)[3]) + 1
    ids = small.sample_ids
    config = brief("fitting", {"train.max_steps": 1, "data.min_reads": least})
    model = fit_regressor(small, "gradient", split=(ids[:40], ids[40:]), config=config)
    deep = [name for name, n in zip(ids, reads, strict=True) if n >= least]
    assert model.train_samples + model.val_samples == deep
    assert f"4 samples with fewer than {least} reads dropped" in capsys.readouterr().err


def test_a_fixed_split_among_members(small, brief, capsys):
    """Whoever has too few reads is lost with their fold; a later fold stays as it is."""
    reads = np.asarray(small.counts.sum(1)).ravel()
    least = int(np.sort(reads)[3]) + 1
    ids = small.sample_ids
    config = brief("fitting", {"train.max_steps": 1, "data.min_reads": least, "model.members": 3})
    held = ids[:3:-1]
    fold = {name: place % 3 for place, name in enumerate(held)}
    split = Split(ids, held, list(fold.values()))
    model = fit_regressor(small, "gradient", split=split, config=config)
    deep = [name for name, n in zip(ids, reads, strict=True) if n >= least]
    assert model.train_samples == deep
    assert model.val_samples == [name for name in deep if name in fold]
    plan = plan_fit("regression", small, "gradient", FitOptions(split=split, config=config)).plan
    assert plan.split.folds == [fold[name] for name in plan.split.val]
    message = capsys.readouterr().err
    assert f"4 samples with fewer than {least} reads dropped" in message
    words = f"of {len(model.val_samples)} validation samples each member holds out one of 3 folds"
    assert f"56 training samples; {words}; " in message


def test_what_is_said_of_members_that_leave_out_the_same(small, brief, capsys):
    config = brief("fitting", {"train.max_steps": 1, "model.members": 2})
    split = Split.holdout(small.sample_ids[:40], small.sample_ids[40:])
    fit_regressor(small, "gradient", split=split, config=config)
    assert ": 40 training samples, 20 validation samples; " in capsys.readouterr().err


def test_fewer_members_than_parts(small, brief, capsys):
    changes = {"train.max_steps": 1, "model.members": 2, "train.val_fraction": 0.1}
    fit_regressor(small, "gradient", config=brief("fitting", changes))
    words = "60 training samples; of 12 validation samples each member holds out one of 2 folds; "
    assert words in capsys.readouterr().err


def test_shallow_samples(small, brief, capsys):
    reads = np.asarray(small.counts.sum(1)).ravel()
    depth = int(np.sort(reads)[20]) + 1
    drawn = {"data.rarefaction": "redraw", "data.sampling_depth": depth}
    config = brief("fitting", drawn | {"data.shallow_samples": "drop", "train.max_steps": 1})
    kept, text = usable_samples(small, config)
    assert kept == [s for s, n in zip(small.sample_ids, reads, strict=True) if n >= depth]
    assert text.startswith(f"21 samples with fewer than {depth} reads dropped: ")
    model = fit_regressor(small, "gradient", config=config)
    assert model.train_samples == model.val_samples == kept
    assert text in capsys.readouterr().err
    keep = config.replace({"data.shallow_samples": "keep"})
    assert usable_samples(small, keep) == (small.sample_ids, "")
    none = config.replace({"data.rarefaction": "none"})
    assert usable_samples(small, none) == (small.sample_ids, "")
    assert len(usable_samples(small, keep.replace({"data.min_reads": depth}))[0]) == len(kept)


# --- real units ----------------------------------------------------------------------------------


def test_targets_come_back_in_real_units(small, brief):
    """The same study in other units: the same model, and predictions in those units."""
    # Degrees have no range: 0 is another temperature in the other unit.
    config = brief("fitting", {"train.max_steps": 3, "loss.target_range": "none"})
    celsius = small.metadata["gradient"]
    fahrenheit = (celsius * 1.8 + 32).rename("gradient")
    cold = fit_regressor(small, celsius, config=config)
    warm = fit_regressor(small, fahrenheit, config=config)
    result = predict(warm, small)
    expected = predict(cold, small)
    for name in ("prediction", "lower", "upper"):
        assert result[name].to_numpy() == pytest.approx(expected[name] * 1.8 + 32, rel=1e-4)
    ours, theirs = warm.metrics["model"], cold.metrics["model"]
    assert ours["mae"] == pytest.approx(theirs["mae"] * 1.8, rel=1e-3)
    assert ours["r2"] == pytest.approx(theirs["r2"], rel=1e-3, abs=1e-4)
    assert celsius.min() - 30 < expected["prediction"].mean() < celsius.max() + 30


def test_the_interval_holds_the_validation_samples(regressor, small):
    """As they were predicted by what did not see them."""
    model = regressor.model
    error = (model.val_predictions["actual"] - model.val_predictions["prediction"]).abs()
    (interval,) = model.intervals
    assert (error <= interval.half_width).mean() >= interval.coverage == 0.9
    half = interval.half_width
    assert error.min() < half <= error.max()
    frame = predict(model, small)
    assert (frame["lower"] <= frame["prediction"]).all()
    assert (frame["prediction"] <= frame["upper"]).all()
    half = predict(model, small, confidence=0.5)
    assert (half["upper"] - half["lower"] < frame["upper"] - frame["lower"]).all()
    with pytest.raises(InputError, match="confidence is 1; it must be between 0 and 1"):
        predict(model, small, confidence=1.0)


# --- losses and draws ----------------------------------------------------------------------------


def test_class_weights(small, brief):
    rare = pd.Series(["rare" if i % 6 == 0 else "common" for i in range(60)], small.sample_ids)
    changes = {"train.max_steps": 1, "optim.lr": 0.0, "loss.distance": 0.0}
    changes |= {"model.members": 1, "forest.trees": 0}
    changes |= {"model.head.target_dropout": 0.0, "model.sample.dropout": 0.0}
    changes |= {"loss.label_smoothing": 0.0}
    split = (small.sample_ids[:36], small.sample_ids[36:])

    def loss_and_chances(how):
        config = brief("fitting", {**changes, "loss.class_weight": how})
        model = fit_classifier(small, rare, split=split, config=config)
        return model.history[-1]["val/target_loss"], predict(model, small).loc[split[1]]

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
    assert first.history == second.history and first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.val_predictions, second.val_predictions, check_exact=True)
    weights = second.network.state_dict()
    assert all(torch.equal(value, weights[k]) for k, value in first.network.state_dict().items())
    arrays = second.forest.arrays
    assert all(np.array_equal(value, arrays[k]) for k, value in first.forest.arrays.items())
    assert first.network_weight == second.network_weight
    pd.testing.assert_frame_equal(predict(first, small), predict(second, small), check_exact=True)
    assert first.history != other.history
    assert not first.val_predictions.equals(other.val_predictions)


def test_the_default_configuration(small, encoder, brief, capsys):
    """Cut short; from scratch, and from an encoder that was pretrained on the bases."""
    short = {name: brief().to_dict()["train"][name] for name in ("max_steps", "min_steps")}
    config = presets.fitting().replace({f"train.{name}": value for name, value in short.items()})
    model = fit_regressor(small, "gradient", config=config, group_by="host_subject_id")
    members = model.config.model.members
    assert len(model.network.members) == members > 1 and model.forest is not None
    parts = min(round(1 / config.train.val_fraction), 15)
    assert f"of which each member holds out one of {parts} folds" in capsys.readouterr().err
    assert model.val_samples == model.train_samples == small.sample_ids
    assert len(predict(model, small)) == 60
    config = config.replace({"optim.lr": 0.0})
    warm = fit_regressor(small, "gradient", config=config, encoder=encoder.model)
    held, ours = encoder.model.network.state_dict(), warm.network.state_dict()
    for number in range(len(warm.network.members)):
        for name, value in held.items():
            if name.startswith("members.0."):
                mine = ours[name.replace("members.0.", f"members.{number}.")]
                assert torch.equal(mine, value)
    assert np.isfinite(predict(warm, small)["prediction"]).all()


def test_parts_are_left_out_by_as_many_networks_as_an_encoder_gets(small, encoder):
    split = splitter(presets.fitting(), encoder.model, freeze_encoder=True)
    assert set(split(small.sample_ids).folds) == {0, 1, 2}
    assert set(splitter(presets.fitting(), encoder.model)(small.sample_ids).folds) == {0}
    assert len(set(splitter(presets.fitting())(small.sample_ids).folds)) == 5


def test_a_fit_leaves_the_global_generators_alone(small, brief, tmp_path):
    """It draws nothing from them and seeds none, nor does a run that is resumed."""

    def states():
        words = np.random.get_state()[1].tolist()
        return random.getstate(), words, torch.get_rng_state().tolist()

    options = {"config": brief("fitting", {"train.max_steps": 2}), "output": tmp_path / "a"}
    fit_regressor(small, "gradient", **options)
    for more in ({}, {"resume": tmp_path / "a"}):
        random.seed(7)
        before = states()
        fit_regressor(small, "gradient", **options, **more)
        assert states() == before


def test_pictures_that_fail_cost_one_line_each(small, brief, tmp_path, monkeypatch, capsys):
    """Whatever matplotlib says, in the logs and at the end: the model and its figures are there."""

    def broken(*_, **__):
        raise ValueError("Image size of 2000000x100 pixels is too large")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", broken)
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.draw", broken)
    config = brief("fitting", {"train.max_steps": 2, "train.trackers": "tensorboard"})
    out = tmp_path / "out"
    model = fit_regressor(small, "gradient", config=config, output=out)
    assert load_model(out).metrics == model.metrics and not list(out.glob("*.png"))
    message = [x for x in capsys.readouterr().err.splitlines() if "could not be drawn" in x]
    assert len(message) == 3, message  # of the logs, of the losses, of the predictions


def test_names_that_are_formulas_or_endless(small, brief, tmp_path):
    config = brief("fitting", {"train.max_steps": 1})
    names = ["gradient", *(c for c in small.metadata if c != "gradient")]
    for new in (r"delta15N ($\permil$)", "g" * 3000):
        study = dataclasses.replace(
            small, metadata=small.metadata[names].rename(columns={"gradient": new})
        )
        fit_regressor(study, new, config=config, output=tmp_path / new[:9])
        assert (tmp_path / new[:9] / "val_predictions.png").stat().st_size > 1000
