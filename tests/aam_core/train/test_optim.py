from __future__ import annotations

import pytest
import torch

from aam_core import presets
from aam_core.config import OptimConfig
from aam_core.models.model import Network, Parts
from aam_core.train.optim import make_optimizer, schedule


@pytest.fixture
def network():
    return Network(presets.fitting("tiny").model, Parts(nucleotide=True, distance=True, outputs=1))


def settings(network, optimizer):
    """(learning rate, weight decay) of every parameter that the optimizer has."""
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        name_of[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


# --- optimizer -----------------------------------------------------------------------------------


def test_decay_is_for_matrices_alone(network):
    found = settings(network, make_optimizer(network, OptimConfig(weight_decay=0.3)))
    assert set(found) == {name for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        assert found[name][1] == (0.3 if parameter.ndim > 1 else 0.0), name
    spared = {name for name, (_, decay) in found.items() if decay == 0}
    norms = {n for n, m in network.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert {f"{name}.weight" for name in norms} <= spared
    assert {name for name in found if name.endswith(".bias")} <= spared


def test_what_a_pretrained_encoder_gave_has_a_rate_of_its_own(network):
    config = OptimConfig(lr=0.1, encoder_lr_ratio=0.5)
    given = {name for name, _ in network.named_parameters() if name.startswith("bases.")}
    assert given
    for name, (lr, _) in settings(network, make_optimizer(network, config, given)).items():
        assert lr == pytest.approx(0.05 if name in given else 0.1), name
    for name, (lr, _) in settings(network, make_optimizer(network, config)).items():
        assert lr == pytest.approx(0.1), name


def test_frozen_parameters_are_left_out(network):
    network.bases.requires_grad_(False)
    found = settings(network, make_optimizer(network, OptimConfig()))
    assert found and not any(name.startswith("bases.") for name in found)


# --- schedule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 5, 10, 100, 5000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_warm_up_then_cosine(steps, warmup):
    factor = schedule(OptimConfig(warmup=warmup, schedule="cosine"), steps)
    rates = [factor(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0) and min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1.5
    assert factor(steps) == pytest.approx(0.0, abs=1e-9)
    if steps >= 100:
        assert rates[-1] < 0.01
        middle = (top + steps) // 2
        assert rates[middle] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_short_run_leaves_the_warm_up(steps):
    factor = schedule(OptimConfig(warmup=0.1), steps)
    assert factor(0) == 1.0


def test_warm_up_is_linear():
    factor = schedule(OptimConfig(warmup=0.5), 20)
    assert [factor(step) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])


def test_constant():
    factor = schedule(OptimConfig(warmup=0.2, schedule="constant"), 10)
    assert [factor(step) for step in range(10)] == pytest.approx([0.5, *[1.0] * 9])
