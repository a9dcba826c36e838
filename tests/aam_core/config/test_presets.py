from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from aam_core.config import Config, presets
from aam_core.errors import InputError
from aam_core.models.network import Network, Parts
from aam_core.pretrained import MOST_MEMBERS, with_sizes_of

KINDS = (presets.pretraining, presets.fitting)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_is_a_whole_configuration(make, name):
    config = make(name)
    assert isinstance(config, Config)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("make", KINDS)
def test_small_where_nothing_is_said(make):
    assert make() == make("small")


@pytest.mark.parametrize("name", presets.NAMES)
def test_an_encoder_decides_the_sizes_and_the_fit_its_members(name):
    theirs, ours = presets.pretraining(name), presets.fitting(name)
    encoder = SimpleNamespace(config=theirs, network=SimpleNamespace(of_many_studies=False))
    resized = with_sizes_of(ours, encoder).model
    assert resized.encoder == replace(theirs.model.encoder, dropout=ours.model.encoder.dropout)
    assert resized.members == min(ours.model.members, MOST_MEMBERS) > 1 == theirs.model.members
    assert resized.sample.asv_dropout == ours.model.sample.asv_dropout


def test_a_fit_blends_a_forest_and_a_pretraining_has_none():
    assert presets.fitting().forest.trees > 0 == presets.pretraining().forest.trees


def parameters(config):
    with torch.device("meta"):
        network = Network(config.model, Parts(nucleotide=True, distance=True, outputs=1))
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("make", KINDS)
def test_sizes_grow(make):
    sizes = [parameters(make(name)) for name in presets.NAMES]
    assert presets.NAMES == ("tiny", "small", "base", "large")
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("make", KINDS)
def test_unknown_name(make):
    with pytest.raises(InputError, match="no preset 'huge'; there are: tiny, small, base, large"):
        make("huge")
