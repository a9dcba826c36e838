"""Attention and integrated gradients along the bases of ASVs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core import base_attributions, fit_classifier, fit_regressor, predict, vocab
from aam_core.errors import InputError
from aam_core.explanation.bases import like_asvs


@pytest.fixture(scope="module")
def of_bases(small, brief):
    """A regressor whose networks read bases and k-mer profiles, without a forest."""
    changes = {"model.encoder.features": "both", "model.members": 1, "forest.trees": 0}
    return fit_regressor(small, "gradient", config=brief("fitting", changes))


def test_attributions_along_an_encoder_are_complete(encoder, small, caplog):
    ids = small.feature_ids[2:5]
    table = base_attributions(encoder.folder, small, ids)
    assert list(table) == ["feature-id", "position", "base", "attention", "attribution"]
    network = encoder.model.network
    tokens = torch.from_numpy(small.tokens(encoder.model.config.data)[2:5])
    hidden = torch.where(tokens >= vocab.A, vocab.MASK, tokens)
    with torch.no_grad():
        distance = (network.vectors(tokens) - network.vectors(hidden)).norm(dim=1)
    sums = table.groupby("feature-id", sort=False)["attribution"].sum()
    assert sums.to_numpy() == pytest.approx(distance.numpy(), rel=0.02)
    for name, part in table.groupby("feature-id"):
        assert "".join(part["base"]) == small.sequences[small.feature_ids.index(name)]
        assert list(part["position"]) == list(range(1, len(part) + 1))
        assert (part["attention"] > 0).all() and 0 < part["attention"].sum() < 1
    assert not caplog.records


def test_attributions_of_a_prediction_are_its_difference_from_masked_bases(of_bases, small):
    """In the target's units, of samples that have the ASV; its fixed features stay."""
    row = int(small.counts.getnnz(axis=0).argmax())
    name, network = small.feature_ids[row], of_bases.network
    table = base_attributions(of_bases, small, [name], samples=len(small.sample_ids))
    with_it = small.select(
        [s for s, n in zip(small.sample_ids, small.counts[:, row].toarray(), strict=True) if n]
    )
    whole = predict(of_bases, with_it)["prediction"]
    vectors, width = network.vectors, network.config.encoder.width

    def without(tokens, ragged=True):
        made = vectors(tokens, ragged).clone()
        own = torch.from_numpy(small.tokens(of_bases.config.data)[row])
        same = (tokens == own[: tokens.shape[1]]).all(1)
        hidden = torch.where(tokens >= vocab.A, vocab.MASK, tokens)
        made[same, -width:] = vectors(hidden, ragged)[same, -width:]
        return made

    network.vectors = without
    try:
        hidden = predict(of_bases, with_it)["prediction"]
    finally:
        del network.vectors  # the method again
    assert table["attribution"].sum() == pytest.approx((whole - hidden).mean(), rel=0.02)
    assert abs((whole - hidden).mean()) > 1e-4


def test_of_a_classifier_it_is_the_probability_of_the_class(small, brief):
    changes = {"model.encoder.features": "bases", "model.members": 1, "forest.trees": 0}
    model = fit_classifier(small, "group", config=brief("fitting", changes))
    table = base_attributions(model, small, small.feature_ids[:2], samples=3, points=4)
    assert np.isfinite(table["attribution"]).all() and table["attribution"].abs().max() > 0
    assert (table.groupby("feature-id")["attribution"].sum().abs() < 1).all()


def test_only_bases_that_differ_from_mask_have_attributions(encoder, small):
    """With A, C and T embedded as MASK is, and no k-mers, only G moves the vector."""
    model = dataclasses.replace(encoder.model, network=_only_g(encoder.model.network))
    table = base_attributions(model, small, small.feature_ids[:2])
    own, kernel = table["attribution"], model.network.bases.kernel
    assert kernel > 1 and (own[table["base"] != "G"] == 0).all()
    assert (own[table["base"] == "G"] != 0).all()


def _only_g(network):
    import copy

    network = copy.deepcopy(network)
    with torch.no_grad():
        slots = network.bases.embed.view(-1, vocab.SIZE, network.bases.embed.shape[1])
        for base in (vocab.A, vocab.C, vocab.T):
            slots[:, base] = slots[:, vocab.MASK]
        network.bases.kmers.vectors.zero_()
    return network


def test_lengths_may_differ(encoder, small):
    cut = [dna[: 50 - 3 * (row % 4)] for row, dna in enumerate(small.sequences)]
    study = dataclasses.replace(small, sequences=cut, phylogeny=None)
    table = base_attributions(encoder.model, study, study.feature_ids[:4], points=4)
    assert list(table.groupby("feature-id", sort=False).size()) == [50, 47, 44, 41]
    whole = base_attributions(encoder.model, small, small.feature_ids[:1], points=4)
    pd.testing.assert_frame_equal(table[table["feature-id"] == small.feature_ids[0]], whole)


def test_long_sequences_are_refused_or_cut(encoder, small):
    limited = encoder.model.config.replace({"data.max_bp": 30})
    model = dataclasses.replace(encoder.model, config=limited)
    ids = small.feature_ids[:1]
    with pytest.raises(InputError, match="--long-sequences truncate"):
        base_attributions(model, small, ids, points=2)
    table = base_attributions(model, small, ids, points=2, long_sequences="truncate")
    assert "".join(table["base"]) == small.sequences[0][:30]


def test_a_model_that_learns_no_bases_and_absent_asvs_are_refused(regressor, encoder, small):
    for model, ids, text in (
        (regressor.model, small.feature_ids[:1], "k-mer profiles, which are fixed.*--encoder"),
        (encoder.model, ["nobody"], r"1 ASVs are not in the table \(nobody\)"),
        (encoder.model, [], "No ASV is named"),
    ):
        with pytest.raises(InputError, match=text):
            base_attributions(model, small, ids)
    with pytest.raises(InputError, match="points is 0"):
        base_attributions(encoder.model, small, small.feature_ids[:1], points=0)


def test_like_asvs_are_those_of_like_sequences(small):
    rng = np.random.default_rng(0)
    dna = small.sequences[0]
    other = "".join(rng.permutation(list(dna)))
    near = dna[:20] + ("A" if dna[20] != "A" else "C") + dna[21:]
    made = dataclasses.replace(
        small, feature_ids=["own", "near", "far", "cut"], sequences=[dna, near, other, dna[:40]]
    )
    assert like_asvs(made, "own") == ["own", "cut", "near"]
    assert like_asvs(made, "near", most=2) == ["near", "own"]
    assert like_asvs(made, "own", similarity=0.95) == ["own"]
    with pytest.raises(InputError, match="not in the table"):
        like_asvs(made, "nobody")
