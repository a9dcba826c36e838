"""Fits with each kind of transform, loss and weight: from the settings to the saved model."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core import fitting
from aam_core.config import LossConfig
from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.evaluation import evaluate
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import load_model, validate
from aam_core.plan import FitOptions, plan_fit
from aam_core.prediction import predict
from aam_core.run import Run
from aam_core.tasks import Targets


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


def test_groups_of_intervals_are_needed_of_the_samples_of_the_fit_alone(small, brief):
    ids = list(small.sample_ids)
    blank = small.metadata["group"].where(small.metadata.index != ids[-1])
    study = dataclasses.replace(small, metadata=small.metadata.assign(site=blank))
    config = brief("fitting", {"ensemble.interval_by": "site"})
    split = (ids[:40], ids[40:-1])
    plan = plan_fit("regression", study, "gradient", FitOptions(config=config, split=split)).plan
    assert ids[-1] not in plan.split.val
    with pytest.raises(InputError, match="'site', which is blank for 1"):
        plan_fit("regression", study, "gradient", FitOptions(config=config))


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


# --- several targets -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(small, brief, tmp_path_factory):
    """A study of two targets, the second of which half of the samples lack; its model, saved."""
    values = small.metadata["gradient"]
    second = (1000 - 10 * values).where(np.arange(60) % 2 == 0)
    study = dataclasses.replace(small, metadata=small.metadata.assign(second=second))
    folder = tmp_path_factory.mktemp("two") / "model"
    figures = {"figure.units": "m,kg", "figure.format": "svg"}
    changes = {"train.max_steps": 20, "loss.target_weights": "second=0.5", **figures}
    config = brief("fitting", changes)
    return study, fit_regressor(study, ["gradient", "second"], config=config, output=folder), folder


def test_each_target_has_its_model(two):
    study, model, folder = two
    first, second = model.each
    assert [it.task.column for it in model.each] == ["gradient", "second"]
    assert len(first.val_samples) == 60 and len(second.val_samples) == 30
    assert set(second.val_samples) == set(study.sample_ids[::2])
    known = study.metadata["second"].dropna()
    assert second.target.mean == pytest.approx(known.mean())
    assert second.val_predictions["actual"].tolist() == known[second.val_samples].tolist()
    for one in model.each:
        assert one.forest is not None and one.intervals and one.network.parts.outputs == 1
    assert set(model.metrics["targets"]) == {"gradient", "second"}
    assert model.metrics["targets"]["second"]["held_out"]["samples"] == 30
    # what is not of the target is shared
    mine, theirs = (it.network.state_dict() for it in model.each)
    differ = {name for name in mine if not torch.equal(mine[name], theirs[name])}
    assert differ and all(".target.out." in name or name == "member_weight" for name in differ)


def test_several_targets_are_saved_and_predicted_side_by_side(two, tmp_path):
    study, model, folder = two
    opened = load_model(folder)
    table = predict(opened, study)
    pd.testing.assert_frame_equal(table, predict(model, study))
    assert validate(folder) == "regressor"
    wanted = [
        f"{c}_{it}" for c in ("gradient", "second") for it in ("prediction", "lower", "upper")
    ]
    assert [name for name in table if name in wanted] == wanted and "known_reads" in table
    for name, one in zip(("gradient", "second"), opened.each, strict=True):
        alone = predict(one, study)["prediction"]
        pd.testing.assert_series_equal(table[f"{name}_prediction"], alone, check_names=False)
    (place,) = (folder / "targets").iterdir()
    assert place.name.startswith("2-second-") and (place / "val_predictions.svg").is_file()
    assert "Actual second (kg)" in (place / "val_predictions.svg").read_text()
    assert "Actual gradient (m)" in (folder / "val_predictions.svg").read_text()
    with pytest.raises(InputError, match="figure.units has 1 units .m., and there are 2 targets"):
        fit_regressor(study, ["gradient", "second"], units="m")
    model.save(folder)
    assert list((folder / "targets").iterdir()) == [place]
    dataclasses.replace(model, more=[]).save(tmp_path / "one")
    assert not (tmp_path / "one" / "targets").exists()


def test_what_a_user_keeps_in_a_folder_called_targets_stays(two, tmp_path):
    _, model, _ = two
    own = tmp_path / "targets" / "mine" / "values.tsv"
    own.parent.mkdir(parents=True)
    own.write_text("of the user")
    alone = dataclasses.replace(model, more=[])
    for one, folders in ((alone, 1), (model, 2), (alone, 1)):
        one.save(tmp_path)
        assert own.read_text() == "of the user"
        assert len(list((tmp_path / "targets").iterdir())) == folders
        assert len(load_model(tmp_path).each) == folders


def test_how_long_the_forests_take_is_estimated_without_the_networks(two, brief):
    """Under FSDP one process estimates it, while each has a shard of the networks alone."""
    study, _, _ = two
    config = brief("fitting")
    plan, group, _, values = plan_fit(
        "regression", study, ["gradient", "second"], FitOptions(config=config)
    )
    run = Run(plan, group)
    run.model.network = None
    both = fitting._forest_seconds(run, values)
    run.plan = dataclasses.replace(plan, task=plan.task.each[0])
    assert both > fitting._forest_seconds(run, values) > 0


def test_each_of_several_targets_is_evaluated_by_its_name(two, tmp_path):
    study, model, _ = two
    table = predict(model, study)
    table.to_csv(tmp_path / "p.tsv", sep="\t")
    metrics = evaluate(tmp_path / "p.tsv", study.metadata, "second")
    assert metrics == pytest.approx(evaluate(table, study.metadata, "second"))
    known = study.metadata["second"].dropna()
    error = (table["second_prediction"][known.index] - known).abs().mean()
    assert metrics["samples"] == 30 and metrics["mae"] == pytest.approx(error)
    assert 0 <= metrics["coverage"] <= 1
    with pytest.raises(InputError, match="no column 'prediction'"):
        evaluate(table, study.metadata.assign(third=1.0), "third")


def test_a_missing_further_target_is_said(two, tmp_path):
    _, _, folder = two
    shutil.copytree(folder, tmp_path / "copy")
    (place,) = (tmp_path / "copy" / "targets").iterdir()
    (place / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="2-second-.* is missing or was edited"):
        load_model(tmp_path / "copy")


def test_the_epochs_log_each_target(two):
    _, _, folder = two
    lines = (folder / "logs" / "metrics.jsonl").read_text().splitlines()
    (last,) = [it for it in map(json.loads, lines) if "val/total_loss" in it][-1:]
    for name in ("gradient", "second"):
        assert {f"val/{name}/mae", f"val/{name}/r2", f"val/{name}/prediction_std"} <= set(last)
    parts = [last[f"val/{name}/loss_weighted"] for name in ("gradient", "second")]
    assert sum(parts) == pytest.approx(last["val/target_loss"], rel=1e-5) and min(parts) > 0
    # half of the samples have the second, which weighs half
    losses = [last[f"val/{name}/loss"] for name in ("gradient", "second")]
    mean = (losses[0] * 60 + 0.5 * losses[1] * 30) / (60 + 0.5 * 30)
    assert last["val/target_loss"] == pytest.approx(mean, rel=1e-5)
    assert last["val/r2"] == pytest.approx((last["val/gradient/r2"] + last["val/second/r2"]) / 2)
    best = load_model(folder / "checkpoint" / "best")
    assert [it.task.column for it in best.each] == ["gradient", "second"]


def test_what_targets_share_is_said_once(two, brief, caplog):
    by = {"loss.transform": "zscore-by-category", "loss.normalize_by": "group"}
    config = brief("fitting", {"train.max_steps": 1, "forest.trees": 0, **by})
    model = fit_regressor(two[0], ["gradient", "second"], config=config)
    caplog.clear()
    predict(model, two[0])
    assert sum("scaled as all training samples" in line for line in caplog.messages) == 1


def test_quantiles_of_several_targets(two, brief):
    study, _, _ = two
    config = brief("fitting", {"train.max_steps": 2, "loss.target": "quantile", "forest.trees": 0})
    model = fit_regressor(study, ["gradient", "second"], config=config)
    assert [one.network.parts.outputs for one in model.each] == [3, 3]
    assert {"gradient_prediction", "second_upper"} <= set(predict(model, study))


@pytest.mark.parametrize(
    "targets, settings, message",
    [
        (["gradient", "gradient"], {}, "named twice"),
        (["gradient", "group"], {}, "is text"),
        (["gradient", "second"], {"loss.target_range": "0,1"}, "a range of one target"),
        (["gradient", "second"], {"loss.target_weights": "third=2"}, "names third"),
        (["gradient", "second"], {"model.head.output": "sigmoid"}, "for one target"),
        (["gradient", "blank"], {}, "no value for any of 60"),
    ],
)
def test_several_targets_that_cannot_be_learned(two, brief, targets, settings, message):
    study = two[0]
    study = dataclasses.replace(study, metadata=study.metadata.assign(blank=np.nan))
    with pytest.raises(InputError, match=message):
        fit_regressor(study, targets, config=brief("fitting", settings))


def test_classes_are_one_target(two, brief):
    with pytest.raises(InputError, match="has one target, and 2 are given"):
        fit_classifier(two[0], ["gradient", "second"], config=brief())


def test_samples_without_any_value_are_named(two, brief):
    study = two[0]
    gone = study.metadata["gradient"].where(np.arange(60) != 1)
    study = dataclasses.replace(study, metadata=study.metadata.assign(gradient=gone))
    with pytest.raises(InputError, match="1 of 60 samples have no value of any target: S001.02"):
        fit_regressor(study, ["gradient", "second"], config=brief())


@pytest.fixture
def sparse(small):
    """A study whose second target its first 12 samples have alone."""
    known = small.metadata["gradient"].where(np.arange(60) < 12)
    return dataclasses.replace(small, metadata=small.metadata.assign(second=known))


def test_the_groups_of_a_target_are_those_of_its_values(sparse, brief):
    options = {"group_by": "host_subject_id", "config": brief("fitting", {"train.max_steps": 1})}
    model = fit_regressor(sparse, ["gradient", "second"], **options)
    counts = [model.metrics["targets"][name]["held_out"] for name in ("gradient", "second")]
    subjects = sparse.metadata["host_subject_id"][:12].nunique()
    assert [it["samples"] for it in counts] == [60, 12]
    assert [it["groups"] for it in counts] == [15, subjects]


def test_a_target_of_one_fold_is_refused_before_the_training(sparse, brief, capsys):
    ids = sparse.sample_ids
    split = Split(ids, ids, [0] * 30 + [1] * 30)
    with pytest.raises(InputError, match="All 12 training samples .* of 'second' are in one fold"):
        fit_regressor(sparse, ["gradient", "second"], config=brief(), split=split)
    assert "epoch" not in capsys.readouterr().err


def test_a_confidence_names_the_target_without_held_out_values(sparse, brief):
    ids = sparse.sample_ids
    options = {"config": brief("fitting", {"train.max_steps": 1}), "split": (ids[:30], ids[30:])}
    model = fit_regressor(sparse, ["gradient", "second"], **options)
    assert {"gradient_lower", "second_prediction"} <= set(predict(model, sparse))
    with pytest.raises(InputError, match="neither intervals nor prediction sets of 'second'"):
        predict(model, sparse, confidence=0.5)


def test_a_value_that_is_missing_counts_in_no_loss():
    columns = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [10.0, np.nan, 30.0]}, ["x", "y", "z"])
    config = LossConfig(target_weights="a=3", target="mae")
    targets = Targets.fit(columns, config=config)
    assert Targets.from_dict(json.loads(json.dumps(targets.to_dict()))) == targets
    truth = torch.from_numpy(targets.encode(columns))
    assert truth.isnan().tolist() == [[False, False], [False, True], [False, False]]
    output = torch.randn(2, 3, 2, requires_grad=True)
    loss = targets.loss(output, truth, config)
    error = (output - truth).abs()
    torch.testing.assert_close(loss[:, 1], error[:, 1, 0])
    torch.testing.assert_close(loss[:, 0], (3 * error[:, 0, 0] + error[:, 0, 1]) / 4)
    assert targets.known(truth.numpy()).tolist() == [1.0, 0.75, 1.0]
    loss.sum().backward()
    assert output.grad[:, 1, 1].abs().sum() == 0 and output.grad.isfinite().all()


def test_several_targets_are_resumed(two, brief, tmp_path, stop_at):
    study, _, _ = two
    config = brief("fitting", {"train.max_steps": 6, "train.checkpoint_every": 2})
    names = ["gradient", "second"]
    stop_at(5, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_regressor(study, names, config=config, output=tmp_path / "a")
    with pytest.raises(InputError, match="values of the target of .* samples changed"):
        fit_regressor(study, names[::-1], resume=tmp_path / "a")
    resumed = fit_regressor(study, names, output=tmp_path / "a", resume=tmp_path / "a")
    whole = fit_regressor(study, names, config=config)
    for mine, theirs in zip(resumed.each, whole.each, strict=True):
        assert mine.target == theirs.target
        pd.testing.assert_frame_equal(mine.val_predictions, theirs.val_predictions)
