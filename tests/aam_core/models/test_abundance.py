from __future__ import annotations

import math

import pytest
import torch

from aam_core.models.abundance import NUM_FEATURES, abundance_features


def test_features_are_of_relative_abundance():
    counts = torch.tensor([[30.0, 10.0, 0.0], [3.0, 1.0, 0.0]])
    mask = torch.tensor([[True, True, False]] * 2)
    features, log = abundance_features(counts, mask)
    assert features.shape == (2, 3, NUM_FEATURES)
    torch.testing.assert_close(features[0], features[1])
    torch.testing.assert_close(log[0, :2], torch.tensor([0.75, 0.25]).log())
    share = torch.tensor(0.25)
    expected = torch.stack(((share.log() + 6) / 3, share, share.sqrt()))
    torch.testing.assert_close(features[0, 1], expected)


def test_masked_asvs_have_no_share():
    features, log = abundance_features(torch.tensor([[2.0, 2.0]]), torch.tensor([[True, False]]))
    assert features[0, :, 1].tolist() == [1.0, 0.0]
    assert log[0, 1].item() == pytest.approx(math.log(1e-6))


def test_common_abundances_are_within_one():
    counts = torch.tensor([[1.0, 1000.0, 8999.0]])
    features, _ = abundance_features(counts, torch.ones(1, 3, dtype=torch.bool))
    assert features[0, :2, 0].abs().max() < 1.3
