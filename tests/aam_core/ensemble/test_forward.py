"""Tests of aam_core.ensemble.forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aam_core.data.tokens import tokenize
from aam_core.ensemble import forward
from aam_core.simulate.study import simulate


@pytest.fixture(scope="module")
def unseen():
    """Sequences of three lengths."""
    made = simulate(4, 40, 99, sequence_length=70, depth=900).sequences
    return {name: dna[: 70 - 9 * (i % 3)] for i, (name, dna) in enumerate(made.items())}


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_each_asv_is_encoded_once_and_padding_changes_nothing(encoder, unseen, monkeypatch, chunk):
    monkeypatch.setitem(forward._ASVS_AT_A_TIME, "cpu", chunk)
    names = sorted(unseen)
    tokens = tokenize([unseen[name] for name in names], names)
    network, seen = encoder.model.network, []
    hook = network.bases.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    vectors = forward.encode_asvs(network, tokens, torch.device("cpu"), "fp32")
    hook.remove()
    assert sum(shape[0] for shape in seen) == len(names)
    assert max(shape[0] for shape in seen) <= chunk
    with torch.no_grad():
        for row in (0, 1, 2):
            dna = unseen[names[row]]
            alone = network.bases(torch.from_numpy(tokenize([dna], ["x"])), ragged=False)
            torch.testing.assert_close(vectors[row], alone[0], rtol=1e-5, atol=1e-5)


def test_members_and_their_mean(regressor, small):
    """What the members predict together is the weighted mean of what each predicts."""
    model = regressor.model
    outputs = forward.forward(model.network, small, model.config, ("members", "target"))
    members = model.config.model.members
    assert outputs["members"].shape == (60, members, 1)
    together = model.network.average(outputs["members"].transpose(0, 1))
    torch.testing.assert_close(outputs["target"], together)
    in_chunks = forward.forward_chunks(
        model.network, small, model.config, ("members",), batch_size=4, chunk=7
    )
    parts = torch.cat([part["members"] for part in in_chunks])
    torch.testing.assert_close(parts, outputs["members"], rtol=1e-5, atol=1e-5)


def test_compositions_are_mean_vectors_by_log_abundance(regressor, small):
    model = regressor.model
    few = small.select(small.sample_ids[:7])
    given = model.network, few, model.config, ("composition",)
    (first, *_) = forward.forward_chunks(*given, chunk=5)
    vectors = model.network.profile(torch.from_numpy(few.tokens(model.config.data))).numpy()
    weights = np.log1p(few.counts.toarray() / np.asarray(few.counts.sum(axis=1)) / 1e-3)
    expected = (weights @ vectors / weights.sum(axis=1, keepdims=True))[:5]
    assert first["composition"].numpy() == pytest.approx(expected, abs=1e-4)
