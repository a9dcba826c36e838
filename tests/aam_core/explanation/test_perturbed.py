"""Changed samples are predicted as the model predicts a table with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from aam_core.data.splits import Split
from aam_core.ensemble.cross_fitting import predict_held_out
from aam_core.explanation.perturbed import Perturbed
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
    perturbed = Perturbed(model, small, model.config)
    np.testing.assert_allclose(perturbed.base, predicted(model, small), rtol=2e-5, atol=1e-6)
    rng = np.random.default_rng(0)
    copies, other = perturbed.of(3), perturbed.of(40)
    features = np.union1d(copies.features, other.features)
    mine, theirs = copies.on(features), other.on(features)
    shares = np.where(rng.random((20, len(features))) < 0.2, theirs, mine)
    counts = np.zeros((20, len(small.feature_ids)), np.int64)
    counts[:, features] = np.round(1e9 * shares)
    table = dataclasses.replace(
        small,
        sample_ids=[f"copy{i}" for i in range(20)],
        counts=csr_matrix(counts),
        metadata=small.rows(np.full(20, 3)),
    )
    found = copies.predict(features, shares)
    np.testing.assert_allclose(found, predicted(model, table), rtol=2e-4, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3  # they were changed


def test_a_sample_without_reads_is_predicted_as_it_was(small, regressor):
    perturbed = Perturbed(regressor.model, small, regressor.model.config)
    copies = perturbed.of(0)
    found = copies.predict(copies.features, np.zeros((1, len(copies.features))))
    np.testing.assert_allclose(found[0], perturbed.base[0])


def test_out_of_fold_each_sample_is_predicted_by_networks_that_held_it_out(small, regressor):
    model = regressor.model
    split = Split(model.train_samples, model.val_samples, model.val_folds)
    study = small.select(model.val_samples)
    held_out = split.held_out(model.val_samples, model.config.model.members)
    perturbed = Perturbed(model, study, model.config, held_out)
    its = predict_held_out(model.network, study, split, model.config, model.task)
    np.testing.assert_allclose(perturbed.base, its.out_of_fold(model.network), rtol=1e-4)


def test_the_reads_are_those_that_the_networks_read(small, regressor):
    config = regressor.model.config.replace({"data.max_asvs": 5})
    perturbed = Perturbed(regressor.model, small, config)
    assert np.diff(perturbed.shares.indptr).max() == 5
    np.testing.assert_allclose(perturbed.shares.sum(axis=1), 1)
