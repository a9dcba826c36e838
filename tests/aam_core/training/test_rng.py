from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from aam_core.training.rng import own_generators, rng_state, set_rng_state

DEVICES = [torch.device("cpu")]
if torch.cuda.is_available():
    DEVICES.append(torch.device("cuda"))


@pytest.fixture(params=DEVICES, ids=str)
def device(request):
    before = rng_state(request.param)
    yield request.param
    set_rng_state(before, request.param)


def draws(device):
    """Some of each generator, in the ways that make it keep half of a pair for later."""
    return (
        [random.random(), random.getrandbits(70), random.gauss(0, 1)],
        [*np.random.random(3), *np.random.standard_normal(3), np.random.randint(1 << 30)],
        [*torch.rand(3).tolist(), *torch.randn(17).tolist()],
        torch.rand(3, device=device).tolist(),
    )


def test_a_restored_state_gives_the_same_draws_of_every_generator(device):
    for _ in range(3):  # without a half of a pair of normal draws kept, with it, without
        state = rng_state(device)
        first = draws(device)
        others = draws(device)
        assert all(one != other for one, other in zip(first, others, strict=True))
        set_rng_state(state, device)
        assert draws(device) == first


def test_a_state_is_not_changed_by_later_draws(device):
    state = rng_state(device)
    copy = {name: value.clone() for name, value in state.items()}
    draws(device)
    assert all(torch.equal(state[name], copy[name]) for name in copy)
    assert all(value.device.type == "cpu" for value in state.values())


def test_the_state_of_a_gpu_is_left_aside_on_a_cpu(device):
    state = rng_state(torch.device("cpu"))
    first = draws(torch.device("cpu"))
    set_rng_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)}, torch.device("cpu"))
    assert draws(torch.device("cpu")) == first


def test_generators_of_ones_own(device):
    state = rng_state(device)
    expected = draws(device)
    set_rng_state(state, device)
    with pytest.raises(KeyError), own_generators(device):
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        draws(device)
        raise KeyError
    assert draws(device) == expected
