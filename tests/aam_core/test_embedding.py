from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from skbio.stats.ordination import pcoa

from aam_core import embedding
from aam_core.embedding import distances_between, embed, nearest_neighbours, ordinate
from aam_core.ensemble.forward import forward
from aam_core.errors import InputError
from aam_core.prediction import override, predicted_distances
from aam_core.pretraining import pretrain


@pytest.fixture(scope="module")
def vectors():
    """Forty vectors, of which the second is the first."""
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    values[1] = values[0]
    return pd.DataFrame(values, index=[f"f{i}" for i in range(40)])


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


# --- distances, neighbours, ordinations ----------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_between_vectors(vectors, metric, monkeypatch):
    from scipy.spatial.distance import pdist, squareform

    monkeypatch.setattr(embedding, "_NUMBERS", 100)  # two rows at a time
    result = distances_between(vectors, metric)
    assert result.to_numpy() == pytest.approx(squareform(pdist(vectors, metric)), abs=1e-5)
    assert result.loc["f0", "f1"] == 0
    skbio.DistanceMatrix(result.to_numpy(), vectors.index)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_neighbours(vectors, metric):
    taxa = {"f0": "k__Bacteria", "f1": "k__Archaea"}
    result = nearest_neighbours(vectors, 3, metric, taxa)
    between = distances_between(vectors, metric)
    assert result.shape == (120, 5) and result.index.name == "feature-id"
    for name, rows in result.groupby(level=0):
        others = between[name].drop(name).sort_values()
        assert list(rows["rank"]) == [1, 2, 3]
        assert rows["distance"].to_numpy() == pytest.approx(others[:3].to_numpy(), abs=1e-5)
    first = result.loc["f0"].iloc[0]
    assert first[["neighbour", "taxon", "neighbour_taxon"]].tolist() == ["f1", *taxa.values()]


def test_neighbours_of_few_or_many_alike_asvs():
    same = pd.DataFrame(np.ones((30, 2)), index=[f"f{i}" for i in range(30)])
    result = nearest_neighbours(same, 4)
    assert len(result) == 120 and (result["neighbour"] != result.index).all()
    assert len(nearest_neighbours(same[:2], 4)) == 2
    for vectors, count, reason in ((same[:1], 1, "single ASV"), (same, 0, "at least 1")):
        with pytest.raises(InputError, match=reason):
            nearest_neighbours(vectors, count)
    with pytest.raises(InputError, match="30 vectors are zero, and have no cosine"):
        nearest_neighbours(same * 0)


@pytest.mark.parametrize("exact", [2000, 1])
def test_an_ordination_is_scikit_bios(encoder, small, exact, monkeypatch, tmp_path):
    monkeypatch.setattr(embedding, "_EXACT", exact)
    distances = predicted_distances(encoder.model, small)
    result = ordinate(distances, 4)
    expected = pcoa(skbio.DistanceMatrix(distances.to_numpy(), small.sample_ids))
    axes = expected.samples.iloc[:, :4].to_numpy()
    assert np.abs(result.coordinates).to_numpy() == pytest.approx(np.abs(axes), abs=1e-3)
    if exact == 2000:
        shares = expected.proportion_explained[:4].to_numpy()
        assert result.explained == pytest.approx(shares, abs=1e-6)
    result.to_skbio().write(str(tmp_path / "ordination.txt"))
    again = skbio.OrdinationResults.read(str(tmp_path / "ordination.txt"))
    assert list(again.samples.index) == small.sample_ids


def test_what_has_no_ordination(vectors):
    between = distances_between(vectors)
    with pytest.raises(InputError, match="3 samples or more; there are 2"):
        ordinate(between.iloc[:2, :2])
    with pytest.raises(InputError, match="All distances are 0"):
        ordinate(between * 0)
    with pytest.raises(InputError, match="at least 1"):
        ordinate(between, 0)
