from __future__ import annotations

import inspect
import json

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.artifact import FILES, load_model
from aam_core.data.distances import table_distances
from aam_core.data.simulate import simulate
from aam_core.metrics import regression_metrics
from aam_core.models.model import Network
from aam_core.prediction import predict
from aam_core.train.trainer import Trainer
from aam_core.workflows import (
    fit_classifier,
    fit_regressor,
    pretrain,
    pretrain_nucleotides,
    usable_samples,
)

LEARN = {
    "train.epochs": 15,
    "train.max_steps": 0,
    "train.val_fraction": 0.3,
    "optim.lr": 3e-3,
    "data.sampling_depth": 1000,
    "loss.distance": 0.0,
}
"""Enough to learn what a small simulated study says plainly."""


def weights(model):
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def lines(path):
    return path.read_text().splitlines()


# --- what is written -----------------------------------------------------------------------------


def test_the_folder_of_an_encoder(encoder):
    folder, model = encoder.folder, encoder.model
    names = {item.name for item in folder.iterdir()}
    predictors = {"targets.json", "val_predictions.tsv", "val_predictions.png"}
    assert names == {*FILES, "logs"} - predictors
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == model.metrics
    assert {"distance_r2", "distance_mae", "val/distance", "val/nucleotide_accuracy"} <= set(
        metrics
    )
    assert (folder / "val_distances.png").read_bytes().startswith(b"\x89PNG")
    logged = [json.loads(line) for line in lines(folder / "logs" / "metrics.jsonl")]
    assert any("train/nucleotide_accuracy" in line for line in logged)
    assert list((folder / "logs").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    "kind, figures", [("regressor", "r2 mae rmse"), ("classifier", "accuracy")]
)
def test_the_folder_of_a_predictor(request, small, kind, figures):
    folder, model = request.getfixturevalue(kind).folder, request.getfixturevalue(kind).model
    assert {item.name for item in folder.iterdir()} == {*FILES, "logs"} - {"val_distances.png"}
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


# --- transfer ------------------------------------------------------------------------------------


@pytest.fixture
def frozen(small, encoder, brief, monkeypatch):
    """A fit on a frozen encoder; counts the sequences that the bases read."""
    rows = []

    class Counted(Network):
        def __init__(self, *args):
            super().__init__(*args)
            self.bases.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))

    monkeypatch.setattr("aam_core.runs.Network", Counted)
    config = brief("fitting", {"train.max_steps": 0, "train.epochs": 3})
    options = {"encoder": encoder.folder, "freeze_encoder": True, "config": config}
    return fit_regressor(small, "gradient", **options), rows


def test_a_frozen_encoder_stays_bit_for_bit(frozen, encoder):
    model, _ = frozen
    before, after = weights(encoder.model), weights(model)
    bases = [name for name in before if name.startswith("bases.")]
    assert bases and all(torch.equal(before[name], after[name]) for name in bases)
    samples = [name for name in before if name.startswith("samples.")]
    assert not all(torch.equal(before[name], after[name]) for name in samples)
    assert not any(parameter.requires_grad for parameter in model.network.bases.parameters())
    assert model.run["frozen_encoder"] is True


def test_a_frozen_encoder_has_no_heads_of_pretraining(frozen, encoder):
    model, _ = frozen
    assert encoder.model.network.nucleotide is not None
    assert model.network.nucleotide is None and model.network.distance is None
    assert not any(name.startswith(("nucleotide.", "distance.")) for name in weights(model))
    assert {name for name in model.metrics if "/" in name} == {
        *("train/loss", "train/target", "val/loss", "val/target")
    }


def test_what_a_frozen_encoder_does_not_learn_is_said(
    small, made, as_study, encoder, brief, capsys
):
    config = brief("fitting", {"train.max_steps": 1})
    assert config.loss.distance > 0
    line = "regression: the encoder is frozen: distances are not learned\n"
    for study, frozen, said in (
        (small, True, True),
        (small, False, False),
        (as_study(made, tree=None), True, False),
    ):
        options = {"encoder": encoder.model, "freeze_encoder": frozen, "config": config}
        fit_regressor(study, "gradient", **options)
        assert (line in capsys.readouterr().err) == said


@pytest.mark.parametrize("fit", [fit_regressor, fit_classifier])
def test_help_shows_every_option(fit):
    names = "encoder freeze_encoder group_by split covariates config output label"
    assert list(inspect.signature(fit).parameters) == ["study", "target", *names.split()]


def test_a_frozen_encoder_reads_every_asv_once_for_all_epochs(frozen, small):
    _, rows = frozen
    # Once before training, and once for the predictions of the validation samples.
    assert sum(rows) == 2 * len(small.feature_ids)


def test_an_encoder_brings_its_weights_and_its_sizes(small, encoder, brief, capsys):
    config = brief("fitting", {"train.max_steps": 1, "optim.lr": 0.0, "model.encoder.width": 96})
    model = fit_regressor(small, "gradient", encoder=encoder.model, config=config)
    before, after = weights(encoder.model), weights(model)
    common = set(before) & set(after)
    assert {name.split(".")[0] for name in common} == {"bases", "samples", "distance"}
    assert all(torch.equal(before[name], after[name]) for name in common)
    assert model.config.model.encoder == encoder.model.config.model.encoder
    assert model.network.nucleotide is None
    said = capsys.readouterr().err
    assert "regression: loaded " in said
    assert "regression: sizes are the encoder's: encoder.width 32 (not 96)\n" in said


def test_going_on_with_an_encoder(small, encoder, brief, capsys):
    config = brief("pretraining", {"train.max_steps": 1, "optim.lr": 0.0})
    model = pretrain(small, encoder=encoder.folder, config=config)
    before, after = weights(encoder.model), weights(model)
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert "sizes are" not in capsys.readouterr().err
    wide = config.replace({"model.encoder.width": 96})
    pretrain(small, encoder=encoder.model, config=wide)
    assert "pretrain: sizes are the encoder's: encoder.width 32 (" in capsys.readouterr().err


def test_sequences_alone_pretrain_the_bases(small, brief, made, tmp_path):
    config = brief("pretraining", {"train.batch_size": 2, "train.max_steps": 2})
    model = pretrain_nucleotides(
        list(made.sequences.values()), config=config, output=tmp_path / "n"
    )
    assert model.kind == "encoder" and model.network.distance is None
    assert {"val/nucleotide", "val/nucleotide_accuracy"} <= set(model.metrics)
    config = brief("pretraining", {"train.max_steps": 1, "optim.lr": 0.0})
    whole = pretrain(small, encoder=tmp_path / "n", config=config)
    before, after = weights(model), weights(whole)
    assert whole.network.distance is not None
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- losses --------------------------------------------------------------------------------------


def test_heads_without_a_penalty_are_left_out(small, brief):
    for gone, there in (("nucleotide", "distance"), ("distance", "nucleotide")):
        config = brief("pretraining", {f"loss.{gone}": 0.0, "train.max_steps": 1})
        model = pretrain(small, config=config)
        assert getattr(model.network, gone) is None
        assert getattr(model.network, there) is not None
        assert not any(f"/{gone}" in name for name in model.metrics)


def test_given_distances_are_used_by_sample_id(made, small, as_study, brief):
    import skbio

    order = np.random.default_rng(0).permutation(60)
    matrix = table_distances(small.counts, small.phylogeny, "weighted_normalized")
    matrix = (matrix + matrix.T) / 2
    ids = np.array(small.sample_ids)[order].tolist()
    shuffled = skbio.DistanceMatrix(matrix[order][:, order].astype(float), ids)
    given = as_study(made, tree=None, distances=shuffled)
    config = brief(
        "pretraining",
        {"data.rarefaction": "none", "loss.metric": "weighted_normalized", "train.max_steps": 3},
    )
    found, computed = pretrain(given, config=config), pretrain(small, config=config)
    for name, value in computed.metrics.items():
        assert found.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_distances_without_a_tree(made, as_study, brief):
    treeless = as_study(made, tree=None)
    config = brief("pretraining", {"loss.metric": "braycurtis", "train.max_steps": 1})
    assert "distance_r2" in pretrain(treeless, config=config).metrics
    model = fit_regressor(treeless, "gradient", config=brief("fitting", {"train.max_steps": 1}))
    assert model.network.distance is None  # a fit learns distances only where there is a tree


def test_class_weights(small, brief):
    rare = pd.Series(["rare" if i % 6 == 0 else "common" for i in range(60)], small.sample_ids)
    changes = {"train.max_steps": 1, "optim.lr": 0.0, "loss.distance": 0.0}
    changes |= {"model.head.target_dropout": 0.0, "model.sample.dropout": 0.0}
    changes |= {"loss.label_smoothing": 0.0}
    split = (small.sample_ids[:36], small.sample_ids[36:])

    def loss_and_chances(how):
        config = brief("fitting", {**changes, "loss.class_weight": how})
        model = fit_classifier(small, rare, split=split, config=config)
        return model.metrics["val/target"], predict(model, small).loc[split[1]]

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


def test_a_fit_leaves_the_global_generator_alone(small, brief):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    fit_regressor(small, "gradient", config=brief("fitting", {"train.max_steps": 2}))
    assert torch.equal(torch.get_rng_state(), state)


# --- interruption --------------------------------------------------------------------------------


@pytest.fixture
def interrupted(small, brief, tmp_path, monkeypatch, capsys):
    """Press Ctrl-C in the middle of an epoch (from 1); returns the folder and what was said."""

    def press(epoch, earlier=None):
        take = Trainer._step

        def step(self, samples, number):
            if number == epoch - 1 and self.step % self.batches == 1:
                raise KeyboardInterrupt
            return take(self, samples, number)

        monkeypatch.setattr(Trainer, "_step", step)
        config = brief("fitting", {"train.max_steps": 0, "train.epochs": 9, "train.patience": 0})
        capsys.readouterr()
        with pytest.raises(KeyboardInterrupt):
            fit_regressor(small, "gradient", config=config, output=tmp_path / "out")
        monkeypatch.setattr(Trainer, "_step", take)
        return tmp_path / "out", capsys.readouterr().err

    return press


def test_ctrl_c_leaves_the_best_model_so_far_and_says_where(interrupted, small):
    out, said = interrupted(3)
    assert said.splitlines()[-1].endswith(f"the best model so far is in {out / 'checkpoint'}")
    assert sorted(item.name for item in out.iterdir()) == ["checkpoint", "logs"]
    model = load_model(out / "checkpoint")
    found = predict(model, small)
    assert list(found.columns) == ["prediction"]  # it was not validated: no interval
    assert np.isfinite(found["prediction"]).all()


def test_ctrl_c_in_the_first_epoch_promises_nothing(interrupted):
    out, said = interrupted(1)
    assert "checkpoint" not in said
    assert [item.name for item in out.iterdir()] == ["logs"]


def test_a_whole_run_clears_the_checkpoint_of_an_interrupted_one(interrupted, small, brief):
    out, _ = interrupted(3)
    config = brief("fitting", {"train.max_steps": 1})
    fit_regressor(small, "gradient", config=config, output=out)
    assert not (out / "checkpoint").exists()
    assert load_model(out).metrics is not None


# --- does it learn -------------------------------------------------------------------------------


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
    if effect:
        assert model.metrics["r2"] > 0.3
    else:
        assert model.metrics["r2"] < 0.15


@pytest.mark.parametrize("effect", [1.5, 0.0])
def test_a_group_is_learned_where_there_is_one(signal, brief, effect):
    study = signal(effect)
    config = brief("fitting", LEARN)
    model = fit_classifier(study, "group", group_by="host_subject_id", config=config)
    if effect:
        assert model.metrics["auc"] > 0.8
    else:
        assert model.metrics["auc"] < 0.8


def test_pretraining_learns_distances(small, encoder, brief):
    """Those of samples never trained on, far better than after a few steps."""
    changes = {"train.epochs": 40, "train.max_steps": 0, "optim.lr": 4e-3, "loss.nucleotide": 0.0}
    model = pretrain(small, config=brief("pretraining", changes))
    assert model.metrics["distance_r2"] > encoder.model.metrics["distance_r2"] + 0.2
    assert model.metrics["distance_r2"] > 0.3


def test_masked_training_learns_and_does_not_saturate(small, brief):
    changes = {"train.epochs": 15, "train.max_steps": 0, "optim.lr": 4e-3, "loss.distance": 0.0}
    history = pretrain(small, config=brief("pretraining", changes)).history
    accuracy = [epoch["val/nucleotide_accuracy"] for epoch in history]
    assert accuracy[-1] > 0.4 and accuracy[-1] > accuracy[0] + 0.15
    assert all(epoch["train/nucleotide"] > 0.1 for epoch in history)


def test_what_is_predicted_of_unseen_subjects_is_what_was_promised(signal, brief):
    """R2 on samples that neither trained nor stopped the model is that of validation, about."""
    study = signal(1.0)
    known, unseen = study.sample_ids[:112], study.sample_ids[112:]
    options = {"group_by": "host_subject_id", "config": brief("fitting", LEARN)}
    model = fit_regressor(study.select(known), "gradient", **options)
    found = predict(model, study.select(unseen))
    truth = study.metadata["gradient"][unseen]
    assert regression_metrics(truth, found["prediction"])["r2"] > 0.2
    assert ((truth > found["lower"]) & (truth < found["upper"])).mean() > 0.75


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
