from __future__ import annotations

import pytest
import torch

from aam_core import presets
from aam_core.config import Config
from aam_core.errors import InputError
from aam_core.models.model import Network, Parts

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


def test_an_encoder_fits_where_it_is_fitted():
    for name in presets.NAMES:
        mine, theirs = presets.pretraining(name).model, presets.fitting(name).model
        assert mine.encoder == theirs.encoder, name


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
