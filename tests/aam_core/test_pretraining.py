"""Pretraining: what is learned of which study, and that it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core import pretraining
from aam_core.errors import InputError
from aam_core.fitting import fit_regressor
from aam_core.phylogeny.distances import table_distances
from aam_core.prediction import predicted_distances
from aam_core.pretraining import held_out_distances, pretrain, pretrain_nucleotides
from aam_core.tasks.metrics import regression_metrics


def weights(model):
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def test_sequences_alone_pretrain_the_bases(small, brief, made, tmp_path):
    config = brief("pretraining", {"train.batch_size": 2, "train.max_steps": 2})
    model = pretrain_nucleotides(
        list(made.sequences.values()), config=config, output=tmp_path / "n"
    )
    assert model.kind == "encoder" and model.network.distance is None
    assert {"losses", "nucleotides"} <= set(model.metrics)
    config = brief("pretraining", {"train.max_steps": 1, "optim.lr": 0.0})
    whole = pretrain(small, encoder=tmp_path / "n", config=config)
    before, after = weights(model), weights(whole)
    assert whole.network.distance is not None
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_one_network_is_pretrained_whatever_a_fit_is_to_have(small, brief):
    changes = {"train.max_steps": 1, "model.members": 3}
    model = pretrain(small, config=brief("pretraining", changes))
    assert len(model.network.members) == model.config.model.members == 1
    assert not set(model.train_samples) & set(model.val_samples)


def test_a_profile_has_no_nucleotides_to_learn(small, brief):
    changes = {"train.max_steps": 1, "model.encoder.features": "profile"}
    with pytest.raises(InputError, match="features is 'profile', which has no weights that mask"):
        pretrain(small, config=brief("pretraining", changes))
    model = pretrain(small, config=brief("pretraining", {**changes, "loss.nucleotide": 0.0}))
    assert "distances" in model.metrics


def test_heads_of_losses_with_weight_0_are_not_built(small, brief):
    for gone, there in (("nucleotide", "distance"), ("distance", "nucleotide")):
        config = brief("pretraining", {f"loss.{gone}": 0.0, "train.max_steps": 1})
        model = pretrain(small, config=config)
        assert getattr(model.network, gone) is None
        assert getattr(model.network, there) is not None
        assert set(model.metrics["losses"]) == {"total", there}
        assert f"{gone}s" not in model.metrics and f"{there}s" in model.metrics


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
    result, computed = pretrain(given, config=config), pretrain(small, config=config)
    for name in ("losses", "distances"):
        assert result.metrics[name] == pytest.approx(computed.metrics[name], rel=1e-3, abs=1e-5)


def test_distances_without_a_tree(made, as_study, brief):
    treeless = as_study(made, tree=None)
    config = brief("pretraining", {"loss.metric": "braycurtis", "train.max_steps": 1})
    assert "distances" in pretrain(treeless, config=config).metrics
    model = fit_regressor(treeless, "gradient", config=brief("fitting", {"train.max_steps": 1}))
    assert model.network.distance is None  # a fit learns distances only where there is a tree


def test_pretraining_learns_distances(small, encoder, brief):
    """Those of samples never trained on, far better than after a few steps."""
    changes = {"train.epochs": 40, "train.max_steps": 0, "optim.lr": 4e-3, "loss.nucleotide": 0.0}
    model = pretrain(small, config=brief("pretraining", changes))
    r2, before = (one.metrics["distances"]["r2"] for one in (model, encoder.model))
    assert r2 > before + 0.2 and r2 > 0.3


def test_masked_training_learns_and_does_not_saturate(small, brief):
    changes = {"train.epochs": 15, "train.max_steps": 0, "optim.lr": 4e-3, "loss.distance": 0.0}
    history = pretrain(small, config=brief("pretraining", changes)).history
    accuracy = [epoch["val/nucleotide_accuracy"] for epoch in history]
    assert accuracy[-1] > 0.4 and accuracy[-1] > accuracy[0] + 0.15
    assert all(epoch["train/nucleotide_loss"] > 0.1 for epoch in history)


@pytest.mark.parametrize("changes", [{"train.accumulate": 16}, {"train.best_metric": "auc"}])
def test_what_cannot_be_trained_is_said_before_anything_is_written(small, brief, tmp_path, changes):
    with pytest.raises(InputError):
        pretrain(small, config=brief("pretraining", changes), output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_every_pair_of_validation_samples_once(encoder, small):
    model = encoder.model
    pairs = held_out_distances(model, small)
    val = model.val_samples
    assert len(pairs) == len(val) * (len(val) - 1) // 2
    predicted = predicted_distances(model, small.select(val)).to_numpy()
    row, column = np.triu_indices(len(val), 1)
    assert pairs["prediction"].to_numpy() == pytest.approx(predicted[row, column], abs=1e-6)
    scores = regression_metrics(pairs["actual"], pairs["prediction"])
    assert model.metrics["distances"] == pytest.approx({"pairs": len(pairs), **scores}, abs=1e-5)
    assert model.metrics["held_out"]["samples"] == len(val)


def test_actual_distances_are_of_the_rarefied_reads(encoder, small):
    """Near those of the whole samples, and not the same."""
    model = encoder.model
    val = small.select(model.val_samples)
    pairs = held_out_distances(model, small)
    metric = model.config.loss.metric
    whole = table_distances(val.counts, val.phylogeny, metric)
    whole = whole[np.triu_indices(len(whole), 1)]
    assert np.corrcoef(pairs["actual"], whole)[0, 1] > 0.5
    assert np.abs(pairs["actual"] - whole).max() > 1e-3


def test_no_more_pairs_than_needed(encoder, small, monkeypatch):
    monkeypatch.setattr(pretraining, "_MOST_SAMPLES", 5)
    first, second = (
        held_out_distances(encoder.model, small),
        held_out_distances(encoder.model, small),
    )
    assert len(first) == 10
    pd.testing.assert_frame_equal(first, second)
