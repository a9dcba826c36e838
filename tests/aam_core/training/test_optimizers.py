from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from aam_core.config import OptimConfig, presets
from aam_core.errors import InputError
from aam_core.models.network import Network, Parts, part_of
from aam_core.training.optimizers import OPTIMIZERS, Lion, make_optimizer
from aam_core.training.parallel import shard_like


@pytest.fixture
def network():
    parts = Parts(nucleotide=True, distance=True, outputs=1, sizes=(3,), numbers=2)
    return Network(presets.pretraining("tiny").model, parts)


def groups(network, optimizer):
    """The group of every parameter that the optimizer has, by the parameter's name."""
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        name_of[id(parameter)]: group
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def train(network, optimizer, steps, start=0):
    """Losses of some steps towards a sum of squares, each on numbers of its own."""
    losses = []
    for step in range(start, start + steps):
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        loss = (network(x)[:, 0] - x.square().sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def one(value, gradient=0.0, **config):
    """A 1x1 weight with its gradient, and an optimizer of it."""
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(value)
    module.weight.grad = torch.full((1, 1), gradient)
    return module.weight, make_optimizer(module, OptimConfig(lr=0.1, **config))


# --- groups --------------------------------------------------------------------------------------


def test_decay_is_for_matrices_alone(network):
    result = groups(network, make_optimizer(network, OptimConfig(weight_decay=0.3)))
    assert set(result) == {name for name, _ in network.named_parameters()}
    spared = {name for name, group in result.items() if group["weight_decay"] == 0}
    assert {g["weight_decay"] for n, g in result.items() if n not in spared} == {0.3}
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.LayerNorm)}
    biases = {name for name in result if name.endswith(".bias")}
    single = {name for name, parameter in network.named_parameters() if parameter.ndim < 2}
    assert "members.0.fusion.tokens.bias" in biases - single
    assert spared == biases | single and {f"{name}.weight" for name in norms} <= spared


def test_groups_by_part(network):
    given = {"bases.start", "distance.branch.weight"}
    result = groups(network, make_optimizer(network, OptimConfig(), given))
    for name, group in result.items():
        part = part_of(name)
        expected = {"bases": "body", "samples": "body", "fusion": "metadata"}.get(part, "head")
        assert group["name"] == ("encoder" if name in given else expected), name
    assert {group["name"] for group in result.values()} == {"body", "encoder", "head", "metadata"}


def test_rates_of_groups(network):
    config = OptimConfig(
        lr=0.1, encoder_lr_ratio=0.5, head_lr_ratio=2.0, metadata_lr_ratio=3.0, optimizer="lion"
    )
    expected = {"body": 0.1, "encoder": 0.05, "head": 0.2, "metadata": 0.3}
    given = {name for name, _ in network.named_parameters() if name.startswith("bases.")}
    for name, group in groups(network, make_optimizer(network, config, given)).items():
        assert group["lr"] == group["base_lr"] == pytest.approx(expected[group["name"]]), name


def test_frozen_parameters_are_not_optimized(network):
    network.bases.requires_grad_(False)
    result = groups(network, make_optimizer(network, OptimConfig()))
    assert result and not any(name.startswith("bases.") for name in result)


# --- optimizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss(kind):
    network = small()
    optimizer = make_optimizer(network, OptimConfig(optimizer=kind, lr=0.03, weight_decay=0.01))
    losses = train(network, optimizer, 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_resumes_from_its_state(kind):
    config = OptimConfig(optimizer=kind, lr=0.01)
    network, resumed = small(), small(1)
    optimizer = make_optimizer(network, config)
    train(network, optimizer, 5)
    resumed.load_state_dict(network.state_dict())
    other = make_optimizer(resumed, config)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(network, optimizer, 5, start=5) == train(resumed, other, 5, start=5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("adamw", 3.8), ("lion", 3.8), ("sgd", 3.8), ("adam", 3.9)],  # a penalty, of which the sign
)
def test_decay_without_a_gradient(kind, expected):
    weight, optimizer = one(4.0, optimizer=kind, weight_decay=0.5)
    optimizer.step()
    assert weight.item() == pytest.approx(expected, abs=1e-6)


def test_sgd_has_momentum():
    weight, optimizer = one(1.0, gradient=1.0, optimizer="sgd", beta1=0.5, weight_decay=0.0)
    optimizer.step()
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.1 * (1.0 + 1.5))


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_adam_by_hand(kind):
    weight, optimizer = one(1.0, 1.0, optimizer=kind, beta1=0.5, beta2=0.75, weight_decay=0.0)
    optimizer.step()
    weight.grad.fill_(-1.0)
    optimizer.step()
    mean, square = (0.5 * 0.5 - 0.5) / (1 - 0.5**2), 1.0  # both divided by what they weigh
    assert weight.item() == pytest.approx(1.0 - 0.1 - 0.1 * mean / square**0.5)


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_fused_on_a_gpu_alone(kind):
    for device, fused in (("cuda", True), ("cpu", None)):
        optimizer = make_optimizer(small(), OptimConfig(optimizer=kind), (), torch.device(device))
        assert all(group["fused"] is fused for group in optimizer.param_groups)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_weight_does_not_depend_on_its_place(kind):
    values, gradients = torch.randn(2, 63, generator=torch.Generator().manual_seed(0))
    result = []
    for start in (0, 35):
        module = nn.Linear(1, 1, bias=False)
        module.weight = nn.Parameter(values[None, start:].clone())
        optimizer = make_optimizer(module, OptimConfig(optimizer=kind, lr=0.1))
        for step in range(1, 6):
            module.weight.grad = gradients[None, start:] / step
            optimizer.step()
        result.append(module.weight.detach()[0, 35 - start :])
    assert torch.equal(*result)


def two_steps_of_lion(weight):
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.2)
    for gradient in ([0.5, -1.0, 0.0], [-0.03, 0.2, -1.0]):
        weight.grad = shard_like(torch.tensor(gradient), weight)
        optimizer.step()
    return optimizer.state[weight]["momentum"]


def test_lion_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    momentum = two_steps_of_lion(weight)
    # After the first step: weights .88, -1.86, 2.94; momentum .005, -.01, 0. At the second, the
    # signs of .0045 - .003, -.009 + .02 and -.1 are those of the momentum, gradient, gradient.
    torch.testing.assert_close(weight.data, torch.tensor([0.7624, -1.9228, 2.9812]))
    torch.testing.assert_close(momentum, torch.tensor([0.00465, -0.0079, -0.01]))


def test_lion_of_a_sharded_weight(mesh):
    from torch.distributed.tensor import Shard, distribute_tensor

    whole = torch.tensor([1.0, -2.0, 3.0])
    weight = nn.Parameter(distribute_tensor(whole, mesh, [Shard(0)]))
    momentum = two_steps_of_lion(weight)
    torch.testing.assert_close(weight.full_tensor().data, torch.tensor([0.7624, -1.9228, 2.9812]))
    torch.testing.assert_close(momentum.full_tensor(), torch.tensor([0.00465, -0.0079, -0.01]))


def test_lion_leaves_what_has_no_gradient():
    one, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Lion([{"params": [one, other]}, {"params": [nn.Parameter(torch.ones(1))]}])
    loss = optimizer.step(lambda: one.sum().backward() or 7.0)
    assert loss == 7.0
    assert (one < 1).all() and (other == 1).all()


def test_an_unknown_optimizer_is_refused(network):
    config = OptimConfig()
    object.__setattr__(config, "optimizer", "adagrad")
    with pytest.raises(InputError, match="optimizer must be one of adamw, adam, sgd, lion"):
        make_optimizer(network, config)
