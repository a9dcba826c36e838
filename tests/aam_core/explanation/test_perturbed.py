"""Changed samples are predicted as the model predicts a table with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from aam_core.data.splits import Split
from aam_core.ensemble.cross_fitting import predict_held_out
from aam_core.explanation.clades import each_asv
from aam_core.explanation.importance import (
    deletion_curve,
    importances,
    permute_levels,
    shift_donors,
)
from aam_core.explanation.perturbed import Copies, Perturbed
from aam_core.models.network import Network
from aam_core.target_frames import target_frames


def predicted(model, study):
    """[N, T] as `aam_core.predict` computes them."""
    frame = next(target_frames(model, study, model.config, chunk=len(study.sample_ids)))
    return frame[list(model.task.classes or ["prediction"])].to_numpy()


def with_networks(model, changes, seed=0):
    """The model with untrained networks of other settings."""
    config = model.config.replace(changes)
    torch.manual_seed(seed)
    network = Network(config.model, model.network.parts).eval()
    network.load_state_dict(model.network.state_dict(), strict=False)
    return dataclasses.replace(model, config=config, network=network)


MODELS = {
    "both parts": lambda model: dataclasses.replace(model, network_weight=0.5),
    "networks": lambda model: dataclasses.replace(model, network_weight=1.0),
    "forest": lambda model: dataclasses.replace(model, network_weight=0.0),
    "attention between ASVs": lambda model: dataclasses.replace(
        with_networks(model, {"model.sample.depth": 1}), network_weight=0.5
    ),
}


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.parametrize("name", MODELS)
def test_changed_samples_equal_those_of_a_changed_table(name, kind, small, request):
    model = MODELS[name](request.getfixturevalue(kind).model)
    # Deep: a copy has the reads of its sample, and a table whole numbers of them.
    small = dataclasses.replace(small, counts=small.counts * 1_000_000)
    perturbed = Perturbed(model, small, model.config)
    np.testing.assert_allclose(perturbed.base, predicted(model, small), rtol=2e-5, atol=1e-6)
    rng = np.random.default_rng(0)
    copies, other = perturbed.of(3), perturbed.of(40)
    features = np.union1d(copies.features, other.features)
    mine, theirs = copies.on(features), other.on(features)
    taken = rng.random((20, len(features))) < 0.2
    found = copies.between(features, ~taken, other)
    shares = np.where(taken, theirs, mine)
    np.testing.assert_allclose(
        found, of_table(model, small, features, shares), rtol=2e-4, atol=1e-5
    )
    assert np.ptp(found, axis=0).max() > 1e-3  # they were changed
    # What is received is as in the other sample; the others share the rest.
    found = copies.receiving(features, taken, other)
    rest = np.where(taken, 0, mine)
    left = 1 - np.where(taken, theirs, 0).sum(1)
    shares = np.where(taken, theirs, rest * (left / rest.sum(1))[:, None])
    np.testing.assert_allclose(
        found, of_table(model, small, features, shares), rtol=2e-4, atol=1e-5
    )


def of_table(model, study, features, shares):
    """Predictions of a table with these shares, of sample 3 else."""
    counts = np.zeros((len(shares), len(study.feature_ids)), np.int64)
    reads = study.counts[3].sum()
    counts[:, features] = np.round(reads * shares / shares.sum(1, keepdims=True))
    table = dataclasses.replace(
        study,
        sample_ids=[f"copy{i}" for i in range(len(shares))],
        counts=csr_matrix(counts),
        metadata=study.rows(np.full(len(shares), 3)),
    )
    return predicted(model, table)


@pytest.mark.parametrize(
    "changes",
    [
        {"data.max_asvs": 5},
        {"data.rarefaction": "fixed", "data.sampling_depth": 100},
        {"ensemble.passes": 3},
    ],
)
def test_the_forest_reads_all_of_a_sample(changes, small, regressor, caplog):
    config = regressor.model.config.replace(changes)
    model = dataclasses.replace(regressor.model, config=config, network_weight=0.5)
    perturbed = Perturbed(model, small, config)
    np.testing.assert_allclose(perturbed.base, predicted(model, small), rtol=2e-5)
    assert ("one draw" in caplog.text) == ("ensemble.passes" in changes)


def test_predictions_keep_to_the_range_of_the_target(small, regressor):
    model = dataclasses.replace(regressor.model, network_weight=0.0)
    low, high = np.quantile(Perturbed(model, small, model.config).base, (0.3, 0.7))
    target = dataclasses.replace(model.target, limits=(low, high))
    model = dataclasses.replace(model, target=target)
    found = Perturbed(model, small, model.config).base
    np.testing.assert_allclose(found, predicted(model, small))
    assert found.min() == low and found.max() == high


def with_lone_asv(study):
    """A study whose first sample has one ASV, and the place of that."""
    counts = study.counts.tolil(copy=True)
    asv = int(study.counts[[0]].toarray().argmax())
    row = np.zeros((1, counts.shape[1]), counts.dtype)
    row[0, asv] = 100
    counts[0] = row
    return dataclasses.replace(study, counts=csr_matrix(counts)), asv


def test_a_sample_that_would_have_no_asv_is_dropped(small, regressor):
    model = dataclasses.replace(regressor.model, network_weight=0.0)
    study, asv = with_lone_asv(small)
    perturbed = Perturbed(model, study, model.config)
    assert np.isnan(perturbed.of(0).without(np.ones((1, 1), bool))).all()
    donors = shift_donors(60, None, 2, np.random.default_rng(0))
    truth = study.metadata["gradient"].to_numpy(float)
    groups, level = np.arange(60), each_asv(study)
    (sums,) = permute_levels(perturbed, [level], donors, truth, groups)
    assert sums.alone[asv] == 1 and sums.alone.sum() == 1
    assert sums.having[asv] == (study.counts[:, [asv]].toarray() > 0).sum() - 1
    assert sums.dropped[asv].tolist() == [1, 1] and sums.dropped.sum() == 2
    rng = np.random.default_rng(0)
    table = importances(perturbed, [level], [sums], rng)
    assert np.isfinite(table[["importance", "effect"]].to_numpy()).all()
    assert table["dropped"][study.feature_ids[asv]] == table["dropped"].sum() == 1
    # It is no zero of a mean over all samples.
    found = table["importance"][study.feature_ids[asv]]
    np.testing.assert_allclose(found, sums.rise[asv].sum() / 2 / 59)
    curve = deletion_curve(perturbed, sums, truth, groups, rng)
    assert np.isfinite(curve.to_numpy()).all() and curve["dropped"].max() >= 1


def test_what_is_received_is_as_in_the_donor(small, regressor, monkeypatch):
    counts = np.zeros((2, len(small.feature_ids)), np.int64)
    counts[:, :2] = [[90, 10], [50, 50]]
    study = dataclasses.replace(small.select(small.sample_ids[:2]), counts=csr_matrix(counts))
    model = dataclasses.replace(regressor.model, network_weight=0.0)
    perturbed = Perturbed(model, study, model.config)
    seen = []
    monkeypatch.setattr(
        Copies, "_predict", lambda *given: seen.append(given[-1]) or np.zeros((1, 1))
    )
    perturbed.of(0).receiving(np.arange(2), np.array([[True, False]]), perturbed.of(1))
    np.testing.assert_allclose(seen[0], [[0.5, 0.5]])


def test_out_of_fold_each_sample_is_predicted_by_networks_that_held_it_out(small, regressor):
    model = regressor.model
    split = Split(model.train_samples, model.val_samples, model.val_folds)
    study = small.select(model.val_samples)
    held_out = split.held_out(model.val_samples, model.config.model.members)
    # The calibrator is of the blend, which the networks alone are not.
    calibrated = dataclasses.replace(model, calibrator=lambda values: values + 1)
    apart = dataclasses.replace(calibrated, network_weight=0.5)
    perturbed = Perturbed(apart, study, model.config, held_out)
    whole = Perturbed(
        dataclasses.replace(calibrated, network_weight=1.0), study, model.config, held_out
    )
    np.testing.assert_allclose(whole.base, perturbed.base + 1)
    its = predict_held_out(model.network, study, split, model.config, model.task)
    np.testing.assert_allclose(perturbed.base, its.out_of_fold(model.network), rtol=1e-4)


def test_the_reads_are_those_that_the_networks_read(small, regressor):
    config = regressor.model.config.replace({"data.max_asvs": 5})
    model = dataclasses.replace(regressor.model, network_weight=1.0)
    perturbed = Perturbed(model, small, config)
    assert np.diff(perturbed.shares.indptr).max() == 5
    np.testing.assert_allclose(perturbed.shares.sum(axis=1), 1)
