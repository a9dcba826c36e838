from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import skbio
import torch

from aam_core import embedding
from aam_core.embedding import embed
from aam_core.ensemble.forward import forward
from aam_core.errors import InputError
from aam_core.prediction import override, predicted_distances
from aam_core.pretraining import pretrain
from aam_core.vectors import distances_between


def test_distances_of_a_fits_vectors_are_the_weighted_means_of_its_members(regressor, small):
    model = dataclasses.replace(regressor.model)
    result = embed(model, small)
    assert result.index.tolist() == small.sample_ids and result.index.name == "sample-id"
    config = override(model.config)
    outputs = forward(model.network, small, config, ("samples", "target"), model.covariates)
    each = outputs["samples"].numpy().astype(float)
    assert result.shape == (60, each.shape[1] * each.shape[2])
    weight = model.network.member_weight.numpy()
    expected = sum(
        share * np.square(each[:, None, k] - each[None, :, k]).sum(-1)
        for k, share in enumerate(weight / weight.sum())
    )
    squares = np.square(distances_between(result).to_numpy())
    assert squares == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_an_encoders_samples_are_compared_as_its_distance_head_does(encoder, small):
    model = encoder.model
    result = embed(encoder.folder, small, batch_size=7)
    between = model.network.distance.compare(*[torch.from_numpy(result.to_numpy())] * 2)
    between.fill_diagonal_(0)  # what soft branches leave between a sample and itself
    predicted = predicted_distances(model, small).to_numpy()
    assert between.numpy() == pytest.approx(predicted, abs=1e-5)


def test_predicted_distances_are_symmetric_to_the_last_digit(encoder, small, monkeypatch):
    expected = predicted_distances(encoder.model, small)
    monkeypatch.setattr("aam_core.ensemble.forward._NUMBERS", 1)  # a row at a time
    result = predicted_distances(encoder.model, small)
    pd.testing.assert_frame_equal(result, expected, rtol=1e-5, atol=1e-6)
    skbio.DistanceMatrix(result.to_numpy(), small.sample_ids)  # which refuses others


def test_asv_vectors_do_not_depend_on_the_samples(encoder, regressor, small):
    for model in (encoder.model, regressor.model):
        result = embed(model, small, level="asv")
        assert result.index.tolist() == small.feature_ids and result.index.name == "feature-id"
        fewer = embed(model, small.select(small.sample_ids[:3]), level="asv")
        pd.testing.assert_frame_equal(result, fewer, rtol=1e-4, atol=1e-5)
        assert (result.std() > 0).any()


def test_covariates_are_not_needed(small, brief):
    from aam_core.fitting import fit_regressor

    config = brief("fitting", {"train.max_steps": 1, "forest.trees": 0})
    model = fit_regressor(small, "gradient", covariates=["group"], config=config)
    assert len(embed(model, dataclasses.replace(small, metadata=None))) == 60


def test_an_encoder_of_abundances_has_sample_vectors_and_one_of_bases_has_not(small, brief, caplog):
    base = {"train.max_steps": 1, "train.epochs": 1, "loss.distance": 0.0}
    model = pretrain(small, config=brief("pretraining", {**base, "loss.count": 1.0}))
    assert embed(model, small).shape == (60, model.config.model.encoder.width)
    assert embedding.metric_of(model) == "euclidean"
    with pytest.raises(InputError, match="learned no distances: choose euclidean or cosine"):
        embedding.metric_of(model, "predicted")
    model = pretrain(small, config=brief("pretraining", base))
    with pytest.raises(InputError, match="vectors of ASVs alone"):
        embed(model, small)
    with caplog.at_level("WARNING", "aam_core"):
        embed(model, small, level="asv")
    assert "was not trained" in caplog.text


def test_an_unknown_level_is_refused(encoder, small):
    with pytest.raises(InputError, match="batch_size is of samples"):
        embed(encoder.model, small, level="asv", batch_size=3)
    with pytest.raises(InputError, match="level must be one of sample, asv, not 'feature'"):
        embed(encoder.model, small, level="feature")
