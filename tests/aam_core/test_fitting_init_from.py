"""Fits that go on from a fitted model (init_from), and encoders that are trained later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.models.network import part_of
from aam_core.plan import FitOptions, plan_fit
from aam_core.run import Run

STILL = {"optim.lr": 0.0, "train.max_steps": 1, "forest.trees": 0}


def weights(model):
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def kept(before, after, parts):
    """Whether the tensors of these parts are those of before."""
    names = [name for name in before if part_of(name) in parts and name in after]
    assert names
    return all(torch.equal(before[name], after[name]) for name in names)


@pytest.fixture(scope="module")
def other(small):
    """Thirty samples as another study, whose target has another scale."""
    study = small.select(small.sample_ids[:30])
    values = study.metadata["gradient"].astype(float) * 2 + 1
    study = replace(study, sample_ids=[f"new{i}" for i in range(30)])
    metadata = study.metadata.assign(gradient=values).set_index(
        study.metadata.index.map(dict(zip(small.sample_ids, study.sample_ids, strict=False)))
    )
    return replace(study, metadata=metadata)


def test_the_whole_model_is_the_start(regressor, other, brief, capsys):
    """Its members, its k-mer components, its head and the scale of its target."""
    config = brief("fitting", {**STILL, "model.members": 5, "model.encoder.width": 64})
    model = fit_regressor(other, "gradient", init_from=regressor.folder, config=config)
    before, after = weights(regressor.model), weights(model)
    assert set(before) == set(after)
    assert kept(before, after, {"profile", "project", "samples", "target"})
    assert model.config.model.members == regressor.model.config.model.members == 2
    ours, theirs = model.target, regressor.model.target
    assert (ours.mean, ours.std, ours.power) == (theirs.mean, theirs.std, theirs.power)
    values = other.metadata["gradient"]
    assert ours.ends[0] <= values.min() and ours.ends[1] >= values.max()
    text = capsys.readouterr().err
    assert "regression: sizes are the model's: " in text and "members 2 (not 5)" in text
    assert "the target head of the model goes on, with the scale of 'gradient'" in text
    assert f"loaded {len(before) - 1} of {len(before) - 1} tensors" in text  # but member_weight
    assert "of the reads are of ASVs that the model was trained on" in text
    assert "was trained or validated on" not in text
    assert model.run["encoder"]["created"] == regressor.model.run["created"]


def test_what_the_model_learned_of_its_target_stays_and_is_said(regressor, other, brief, capsys):
    by = {"loss.transform": "zscore-by-category", "loss.normalize_by": "group"}
    config = brief("fitting", {**STILL, **by})
    model = fit_regressor(other, "gradient", init_from=regressor.model, config=config)
    assert model.target.transform_name == regressor.model.target.transform_name == "power"
    assert (
        "what is learned is the model's: loss.transform power (not zscore-by-category), "
        "loss.normalize_by none (not group)"
    ) in capsys.readouterr().err


def test_each_of_several_targets_goes_on_from_its_own_head(small, other, brief, capsys):
    config = brief("fitting", STILL)
    second = small.metadata["gradient"].astype(float).where(np.arange(60) >= 20) ** 2
    study = replace(small, metadata=small.metadata.assign(second=second))
    first = fit_regressor(study, ["second", "gradient"], config=config)
    model = fit_regressor(other, "gradient", init_from=first, config=config)
    (before,) = first.more
    assert kept(weights(before), weights(model), {"target"})
    assert not kept(weights(first), weights(model), {"target"})
    assert model.target.mean == before.target.mean
    assert "with the scale of 'gradient'" in capsys.readouterr().err
    assert len(first.train_samples) == 40 and len(first.trained_samples) == 60


def test_another_column_has_a_scale_of_its_own_and_classes_a_new_head(
    regressor, other, brief, capsys
):
    config = brief("fitting", STILL)
    renamed = other.metadata["gradient"].rename("age")
    model = fit_regressor(other, renamed, init_from=regressor.model, config=config)
    before, after = weights(regressor.model), weights(model)
    assert kept(before, after, {"target"}) and model.target.mean != regressor.model.target.mean
    assert "'age' is scaled by the new samples" in capsys.readouterr().err
    model = fit_classifier(other, "group", init_from=regressor.model, config=config)
    after = weights(model)
    assert kept(before, after, {"project", "samples"}) and not kept(before, after, {"target"})
    assert "the target head is new: the model predicts 'gradient'" in capsys.readouterr().err


def test_the_fusion_goes_along_where_the_covariates_are_the_same(small, other, brief, capsys):
    config = brief("fitting", {**STILL, "model.head.scale_by": "group"})
    options = {"config": config, "covariates": ["sequencing_run"]}
    first = fit_regressor(small, "gradient", **options)
    same = fit_regressor(other, "gradient", init_from=first, **options)
    assert same.covariates == first.covariates
    strange = replace(other, metadata=other.metadata.assign(sequencing_run="run-9"))
    capsys.readouterr()
    fit_regressor(strange, "gradient", init_from=first, **options)
    assert "30 of 30 samples have a value that was not there in training" in capsys.readouterr().err
    assert kept(weights(first), weights(same), {"fusion", "target"})
    without = fit_regressor(other, "gradient", init_from=first, config=config)
    assert "fusion" not in {part_of(name) for name in weights(without)}
    options["covariates"] = ["group"]
    new = fit_regressor(other, "gradient", init_from=first, **options)
    assert new.covariates.names == ["group"]
    assert not kept(weights(first), weights(new), {"fusion"})


def test_a_start_is_one_fitted_model(small, encoder, regressor, brief, capsys):
    config = brief("fitting", STILL)

    def refused(**options):
        with pytest.raises(InputError) as caught:
            fit_regressor(small, "gradient", config=config, **options)
        return str(caught.value)

    assert "this is an encoder" in refused(init_from=encoder.model)
    assert "give one of them" in refused(init_from=regressor.model, encoder=encoder.model)
    fit_regressor(small, "gradient", init_from=regressor.model, config=config)
    assert "60 of these 60 samples (by id) are ones" in capsys.readouterr().err


def test_less_a_column_the_target_has_a_scale_and_a_range_of_its_own(small, brief, capsys):
    study = replace(small, metadata=small.metadata.assign(base=small.metadata["gradient"] ** 2))
    bounded = {**STILL, "model.head.output": "sigmoid"}
    first = fit_regressor(study, "gradient", config=brief("fitting", bounded))
    config = brief("fitting", {**STILL, "loss.residual_on": "base"})
    made = fit_regressor(study, "gradient", init_from=first, config=config)
    assert made.target.residual_on == "base"
    ours, theirs = (it.network.members[0].target.range for it in (made, first))
    assert ours is not None and not torch.equal(ours, theirs)
    assert "as another number of it was learned (loss.residual_on)" in capsys.readouterr().err


def test_only_what_was_loaded_counts_as_pretrained(regressor, small, brief):
    """A head of distances that the model to start from lacks is a new one."""
    settings = {**STILL, "loss.distance": 1.0}
    options = FitOptions(config=brief("fitting", settings), init_from=regressor.model)
    plan, group, _, _ = plan_fit("regression", small, "gradient", options)
    pretrained = {part_of(name) for name in Run(plan, group).pretrained}
    assert "distance" not in pretrained and {"project", "samples"} <= pretrained


def test_it_goes_on_from_where_it_was(small, regressor, brief):
    """After more steps on the same samples it fits them better than after as many from scratch."""
    settings = {"train.max_steps": 20, "train.epochs": 20, "forest.trees": 0, "optim.warmup": 0.0}
    config = brief("fitting", settings)
    longer = fit_regressor(small, "gradient", config=config)
    again = fit_regressor(small, "gradient", init_from=longer, config=config)
    assert again.history[0]["train/total_loss"] < longer.history[0]["train/total_loss"]


# --- an encoder that is trained from an epoch on -------------------------------------------------


@pytest.mark.parametrize("epochs, moves", [(2, False), (3, True)])
def test_the_bases_keep_their_weights_until_their_epoch(
    small, encoder, brief, capsys, epochs, moves
):
    settings = {"train.epochs": epochs, "train.max_steps": 0, "train.unfreeze_from": 3}
    config = brief("fitting", {**settings, "forest.trees": 0, "model.members": 1})
    model = fit_regressor(small, "gradient", encoder=encoder.model, config=config)
    before, after = weights(encoder.model), weights(model)
    assert kept(before, after, {"bases"}) != moves
    assert not kept(before, after, {"samples"})
    never = "" if moves else ": not in these 2 epochs"
    assert f"the encoder's bases are trained from epoch 3 on{never}\n" in capsys.readouterr().err


def test_a_resumed_run_unfreezes_as_one_that_was_not_cut_short(
    small, encoder, brief, tmp_path, stop_at
):
    settings = {"train.epochs": 3, "train.max_steps": 0, "train.unfreeze_from": 3}
    config = brief("fitting", {**settings, "forest.trees": 0, "model.members": 1})
    config = config.replace({"train.checkpoint_every": 1})
    options = {"encoder": encoder.model, "config": config}
    whole = fit_regressor(small, "gradient", **options)
    steps = whole.history[0]["step"]
    for step in (steps + 1, 2 * steps + 2):  # before, and after the bases are trained
        stop_at(step, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            fit_regressor(small, "gradient", output=tmp_path / str(step), **options)
        resumed = fit_regressor(
            small, "gradient", resume=tmp_path / str(step), output=tmp_path / str(step), **options
        )
        ours, theirs = weights(resumed), weights(whole)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        np.testing.assert_array_equal(
            resumed.val_predictions["prediction"], whole.val_predictions["prediction"]
        )
