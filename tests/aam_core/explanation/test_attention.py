"""What the networks pool; what a fusion attends to and lets through, in the logs too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core import attention_shares, fit_regressor, fusion_weights
from aam_core.data.batches import Batcher
from aam_core.ensemble.forward import encode_asvs
from aam_core.errors import InputError
from aam_core.simulate.study import simulate

COVARIATES = ["group", "gradient"]


def with_both(study):
    """With a target of gradient and site together, which neither of them tells alone."""
    site = np.random.default_rng(0).choice(["gut", "skin"], len(study.sample_ids))
    gradient = study.metadata["gradient"]
    scaled = (gradient - gradient.mean()) / gradient.std()
    metadata = study.metadata.assign(site=site, both=np.where(site == "gut", scaled, -scaled))
    return dataclasses.replace(study, metadata=metadata)


@pytest.fixture(scope="module")
def study(small):
    return with_both(small)


@pytest.fixture(scope="module")
def plain_study(as_study):
    """Of 200 samples, whose reads tell the gradient well."""
    made = simulate(200, 60, 2, sequence_length=50, depth=1500, effect=4.0)
    return with_both(as_study(made, tree=None))


@pytest.fixture(scope="module")
def fitted(study, brief):
    """A model of each kind, made once: ``fitted("gmu")``."""
    models = {}

    def fit(kind):
        if kind not in models:
            config = brief("fitting", {"model.fusion.kind": kind, "train.max_steps": 2})
            models[kind] = fit_regressor(study, "both", covariates=COVARIATES, config=config)
        return models[kind]

    return fit


def test_each_sample_and_query_shares_out_one(regressor, small):
    shares = attention_shares(regressor.folder, small, queries=True)
    members, queries = 2, regressor.model.config.model.sample.pool_queries
    own = [f"member_{m + 1}_query_{q + 1}" for m in range(members) for q in range(queries)]
    assert list(shares.samples) == ["reads", "attention", "block_1", *own]
    assert len(shares.samples) == small.counts.nnz  # no padding
    assert (shares.samples > 0).all(axis=None)
    sums = shares.samples.groupby(level="sample-id").sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5) and len(sums) == len(small.sample_ids)
    assert shares.features[["attention", "reads", "block_1", *own]].sum().to_numpy() == (
        pytest.approx(1, abs=1e-5)
    )
    assert shares.features["attention"].is_monotonic_decreasing
    table = pd.DataFrame(small.counts.toarray(), small.sample_ids, small.feature_ids)
    reads = table.div(table.sum(axis=1), axis=0).stack().loc[shares.samples.index]
    assert shares.samples["reads"].to_numpy() == pytest.approx(reads.to_numpy())
    there = shares.features["samples"]
    assert (there == (table > 0).sum()[there.index]).all()
    product = shares.features["attention_where_present"] * there / len(small.sample_ids)
    assert product.to_numpy() == pytest.approx(shares.features["attention"].to_numpy())


def test_the_order_of_asvs_and_samples_changes_no_share(regressor, small):
    shares = attention_shares(regressor.model, small)
    order = np.random.default_rng(0).permutation(len(small.feature_ids))
    turned = dataclasses.replace(
        small.select(small.sample_ids[::-1]),
        feature_ids=[small.feature_ids[i] for i in order],
        sequences=[small.sequences[i] for i in order],
        counts=small.counts[::-1][:, order].sorted_indices(),
        phylogeny=None,
    )
    other = attention_shares(regressor.model, turned, batch_size=7)
    for one, two in ((shares.samples, other.samples), (shares.features, other.features)):
        pd.testing.assert_frame_equal(two.loc[one.index], one, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_shares_equal_those_by_hand(regressor, small):
    network, config = regressor.model.network, regressor.model.config
    vectors = encode_asvs(network, small.tokens(config.data), torch.device("cpu"), "fp32")
    batch = Batcher(small, config.data, 0, asv_vectors=vectors).batch(np.array([3]))
    total = torch.zeros(batch.asv_mask.shape[1])
    for member, weight in zip(network.members, network.member_shares, strict=True):
        asvs = member.read(batch.asv_vectors, batch, None)
        pool = member.samples.pool
        logits = (
            pool.score(pool.norm(asvs.vectors[0])) + asvs.log_abundance[0, :, None] * pool.prior
        )
        total += weight * (logits.exp() / logits.exp().sum(0)).mean(1)
    ids = [small.feature_ids[i] for i in batch.feature_index[batch.asv_index[0]]]
    shares = attention_shares(regressor.model, small).samples.loc[small.sample_ids[3], "attention"]
    assert shares[ids].to_numpy() == pytest.approx(total.numpy(), rel=1e-4)
    assert network.member_shares.sum() == pytest.approx(1)


def test_asvs_that_a_fusion_changes_are_those_that_are_pooled(fitted, study):
    model = fitted("cross-attention")
    shares = attention_shares(model, study).samples["attention"]
    changed = study.metadata.assign(group=study.metadata["group"].to_numpy()[::-1])
    other = attention_shares(model, dataclasses.replace(study, metadata=changed)).samples
    assert (other["attention"] - shares).abs().max() > 1e-6


def test_an_encoder_predicts_nothing_to_attend_for(encoder, small):
    with pytest.raises(InputError, match="is an encoder"):
        attention_shares(encoder.model, small)


def test_shares_of_each_asv(fitted, study):
    model = fitted("cross-attention")
    shares = fusion_weights(model, study)
    assert list(shares.columns) == COVARIATES and shares.index.names == ["sample-id", "feature-id"]
    assert len(shares) == study.counts.nnz
    table = pd.DataFrame(study.counts.toarray(), study.sample_ids, study.feature_ids).stack()
    assert set(shares.index) == set(table[table > 0].index)
    assert (shares > 0).all(axis=None) and (shares.sum(axis=1) < 1).all()
    turned = fusion_weights(model, study.select(study.sample_ids[::-1]), batch_size=7)
    pd.testing.assert_frame_equal(turned.loc[shares.index], shares, rtol=1e-4)


def test_shares_of_the_latent_vectors(fitted, study):
    shares = fusion_weights(fitted("perceiver"), study)
    assert list(shares.index) == study.sample_ids and list(shares.columns) == COVARIATES
    assert (shares > 0).all(axis=None) and (shares.sum(axis=1) < 1).all()


def test_gates_of_each_sample(fitted, study):
    gates = fusion_weights(fitted("gmu"), study)
    assert list(gates.index) == study.sample_ids and list(gates.columns) == [
        "gate_mean",
        "gate_std",
    ]
    assert gates["gate_mean"].between(0, 1).all() and (gates["gate_std"] > 0).all()


@pytest.mark.parametrize(
    "kind, names",
    [
        ("cross-attention", ["attention_group", "attention_gradient"]),
        ("perceiver", ["attention_group", "attention_gradient"]),
        ("gmu", ["gate"]),
        ("concat", []),
    ],
)
def test_each_validation_logs_them(fitted, kind, names):
    for epoch in fitted(kind).history:
        logged = {name for name in epoch if "attention_" in name or "gate_" in name}
        assert logged == {f"val/{name}_{what}" for name in names for what in ("mean", "std")}
        assert all(0 < epoch[name] < 1 for name in logged if name.endswith("_mean"))


def test_a_model_without_weights_is_refused(fitted, regressor, study):
    for model, text in (
        (regressor.folder, "reads no covariates"),
        (fitted("concat"), "(concat) has no weights to show"),
    ):
        with pytest.raises(InputError, match=r".") as caught:
            fusion_weights(model, study)
        assert text in str(caught.value)


def test_an_interaction_is_learned_by_a_fit(plain_study, brief):
    changes = {
        **{"model.fusion.kind": "cross-attention", "model.sample.depth": 0, "forest.trees": 0},
        **{"train.max_steps": 100, "train.epochs": 200, "train.batch_size": 64, "optim.lr": 5e-3},
    }
    config = brief("fitting", changes | {"train.val_fraction": 0.25})
    error = {
        names: fit_regressor(plain_study, "both", covariates=names, config=config).metrics["model"][
            "mae"
        ]
        for names in ((), ("site",))
    }
    assert error[("site",)] < 0.7 * error[()]
