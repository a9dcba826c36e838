"""Fits on a pretrained encoder, and pretraining that goes on with one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aam_core.fitting import fit_regressor
from aam_core.models.network import Network, part_of
from aam_core.pretraining import pretrain
from aam_core.simulate.study import simulate


def weights(model):
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


@pytest.fixture
def frozen(small, encoder, brief, monkeypatch):
    """A fit on a frozen encoder; counts the sequences that the bases read."""
    rows = []

    class Counted(Network):
        def __init__(self, *args):
            super().__init__(*args)
            self.bases.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))

    monkeypatch.setattr("aam_core.run.Network", Counted)
    config = brief("fitting", {"train.max_steps": 0, "train.epochs": 3})
    options = {"encoder": encoder.folder, "freeze_encoder": True, "config": config}
    return fit_regressor(small, "gradient", **options), rows


def test_a_frozen_encoder_stays_bit_for_bit(frozen, encoder):
    model, _ = frozen
    before, after = weights(encoder.model), weights(model)
    bases = [name for name in before if name.startswith("bases.")]
    assert bases and all(torch.equal(before[name], after[name]) for name in bases)
    samples = [name for name in before if name.startswith("members.0.samples.")]
    assert not all(torch.equal(before[name], after[name]) for name in samples)
    assert model.run["frozen_encoder"] is True


def test_a_frozen_encoder_has_no_heads_of_pretraining(frozen, encoder):
    model, _ = frozen
    assert encoder.model.network.nucleotide is not None
    assert model.network.nucleotide is None and model.network.distance is None
    assert not any(name.startswith(("nucleotide.", "distance.")) for name in weights(model))
    losses = {name for name in model.history[-1] if name.endswith("_loss")}
    assert losses == {f"{s}/{n}_loss" for s in ("train", "val") for n in ("total", "target")}


def test_a_frozen_encoder_reads_every_asv_once_for_all_epochs(frozen, small):
    model, rows = frozen
    # Once before training, and once for the predictions of the samples left out: theirs.
    val = small.select(model.val_samples).counts
    assert sum(rows) == len(small.feature_ids) + np.count_nonzero(val.getnnz(axis=0))


def test_what_a_frozen_encoder_does_not_learn_is_said(
    small, made, as_study, encoder, brief, capsys
):
    config = brief("fitting", {"train.max_steps": 1, "loss.distance": 1.0})
    line = (
        "regression: The tree has no effect: the encoder is frozen, so no distances are learned.\n"
    )
    for study, frozen, text in (
        (small, True, True),
        (small, False, False),
        (as_study(made, tree=None), True, False),
    ):
        options = {"encoder": encoder.model, "freeze_encoder": frozen, "config": config}
        fit_regressor(study, "gradient", **options)
        assert (line in capsys.readouterr().err) == text


def test_an_encoder_brings_its_weights_and_its_sizes(small, encoder, brief, capsys):
    changes = {"optim.lr": 0.0, "model.encoder.width": 96, "loss.distance": 1.0}
    config = brief("fitting", {"train.max_steps": 1, **changes})
    model = fit_regressor(small, "gradient", encoder=encoder.model, config=config)
    before, after = weights(encoder.model), weights(model)
    common = set(before) & set(after)
    assert {part_of(name) for name in common} == {"bases", "samples", "distance"}
    assert all(torch.equal(before[name], after[name]) for name in common)
    for name in common:  # each member starts from it
        assert torch.equal(before[name], after[name.replace("members.0.", "members.1.")])
    assert model.config.model.encoder == encoder.model.config.model.encoder
    assert model.network.nucleotide is None
    text = capsys.readouterr().err
    assert "regression: loaded " in text
    (line,) = (it for it in text.splitlines() if "regression: sizes are the encoder's: " in it)
    assert "encoder.width 32 (not 96)" in line


def test_going_on_with_an_encoder(small, encoder, brief, capsys):
    config = brief("pretraining", {"train.max_steps": 1, "optim.lr": 0.0})
    model = pretrain(small, encoder=encoder.folder, config=config)
    before, after = weights(encoder.model), weights(model)
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert "sizes are" not in capsys.readouterr().err
    wide = config.replace({"model.encoder.width": 96})
    pretrain(small, encoder=encoder.model, config=wide)
    assert "pretrain: sizes are the encoder's: encoder.width 32 (" in capsys.readouterr().err


def test_members_that_learn_one_encoder_leave_out_the_same_samples(small, brief):
    """What one of them has seen, the encoder has; a fixed profile learns nothing."""
    own, shared = brief("fitting"), {"model.encoder.features": "bases"}
    apart = fit_regressor(small, "gradient", config=own)
    assert apart.val_samples == apart.train_samples == small.sample_ids
    together = fit_regressor(small, "gradient", config=own.replace(shared))
    assert together.val_samples and not set(together.val_samples) & set(together.train_samples)


def test_a_frozen_encoder_with_covariates_and_random_asvs_improves_over_epochs(as_study, brief):
    made = simulate(200, 60, 2, sequence_length=50, depth=1500, effect=4.0)
    study = as_study(made)
    # A dozen epochs: each ends with a validation.
    settings = {"train.max_steps": 120, "train.epochs": 12, "train.batch_size": 16}
    settings |= {"train.val_fraction": 0.25}
    encoder = pretrain(study, config=brief("pretraining", settings))
    config = brief(
        "fitting",
        settings
        | {"model.fusion.kind": "cross-attention", "model.members": 1, "forest.trees": 0}
        | {"data.max_asvs": 20, "data.asv_selection": "random", "optim.lr": 3e-3},
    )
    options = {"encoder": encoder, "freeze_encoder": True, "group_by": "host_subject_id"}
    options["covariates"] = ["sequencing_run"]
    model = fit_regressor(study, "gradient", config=config, **options)
    losses = [epoch["val/target_loss"] for epoch in model.history]
    assert len(losses) == 12 and np.mean(losses[-3:]) < 0.7 * losses[0]
    assert model.metrics["model"]["r2"] > 0.5
