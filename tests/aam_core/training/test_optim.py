from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from torch import nn

from aam_core.config import OptimConfig, presets
from aam_core.models.network import Network, Parts, part_of
from aam_core.training.optim import Lion, Schedule, factor, make_optimizer
from aam_core.training.parallel import shard_like


def choices(field):
    (found,) = (item for item in dataclasses.fields(OptimConfig) if item.name == field)
    return found.metadata["choices"]


OPTIMIZERS, SCHEDULES = choices("optimizer"), choices("schedule")


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
    found = groups(network, make_optimizer(network, OptimConfig(weight_decay=0.3)))
    assert set(found) == {name for name, _ in network.named_parameters()}
    spared = {name for name, group in found.items() if group["weight_decay"] == 0}
    assert {g["weight_decay"] for n, g in found.items() if n not in spared} == {0.3}
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.LayerNorm)}
    biases = {name for name in found if name.endswith(".bias")}
    single = {name for name, parameter in network.named_parameters() if parameter.ndim < 2}
    assert "members.0.fusion.tokens.bias" in biases - single
    assert spared == biases | single and {f"{name}.weight" for name in norms} <= spared


def test_groups_by_part(network):
    given = {"bases.start", "distance.branch.weight"}
    found = groups(network, make_optimizer(network, OptimConfig(), given))
    for name, group in found.items():
        part = part_of(name)
        expected = {"bases": "body", "samples": "body", "fusion": "metadata"}.get(part, "head")
        assert group["name"] == ("encoder" if name in given else expected), name
    assert {group["name"] for group in found.values()} == {"body", "encoder", "head", "metadata"}


def test_rates_of_groups(network):
    config = OptimConfig(
        lr=0.1, encoder_lr_ratio=0.5, head_lr_ratio=2.0, metadata_lr_ratio=3.0, optimizer="lion"
    )
    expected = {"body": 0.1, "encoder": 0.05, "head": 0.2, "metadata": 0.3}
    given = {name for name, _ in network.named_parameters() if name.startswith("bases.")}
    for name, group in groups(network, make_optimizer(network, config, given)).items():
        assert group["lr"] == group["base_lr"] == pytest.approx(expected[group["name"]]), name


def test_frozen_parameters_are_left_out(network):
    network.bases.requires_grad_(False)
    found = groups(network, make_optimizer(network, OptimConfig()))
    assert found and not any(name.startswith("bases.") for name in found)


# --- optimizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_lowers_a_loss(kind):
    network = small()
    optimizer = make_optimizer(network, OptimConfig(optimizer=kind, lr=0.03, weight_decay=0.01))
    losses = train(network, optimizer, 200)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_goes_on_from_its_state(kind):
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
    found = []
    for start in (0, 35):
        module = nn.Linear(1, 1, bias=False)
        module.weight = nn.Parameter(values[None, start:].clone())
        optimizer = make_optimizer(module, OptimConfig(optimizer=kind, lr=0.1))
        for step in range(1, 6):
            module.weight.grad = gradients[None, start:] / step
            optimizer.step()
        found.append(module.weight.detach()[0, 35 - start :])
    assert torch.equal(*found)


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


# --- schedule ------------------------------------------------------------------------------------


def factors(steps, **config):
    return [factor(OptimConfig(**config), steps, step) for step in range(steps)]


@pytest.mark.parametrize("steps", [2, 5, 10, 100, 5000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_warm_up_then_cosine(steps, warmup):
    rates = factors(steps, warmup=warmup, schedule="cosine")
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0) and min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1.5
    end = factor(OptimConfig(warmup=warmup), steps, steps)
    assert end == pytest.approx(0.0, abs=1e-9)
    if steps >= 100:
        assert rates[-1] < 0.01
        middle = (top + steps) // 2
        assert rates[middle] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"schedule": "cosine"}, [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
        ({"schedule": "restarts", "cycles": 2}, [0.5, 1, 1, 0.5, 1, 0.5]),
        ({"schedule": "restarts", "cycles": 1}, [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
        ({"schedule": "polynomial"}, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ({"schedule": "polynomial", "power": 2.0}, [0.5, 1, 1, 0.5625, 0.25, 0.0625]),
        ({"schedule": "polynomial", "power": 0.0}, [0.5, 1, 1, 1, 1, 1]),
        ({"schedule": "one-cycle"}, [0.04, 0.52, 1, 0.853568, 0.50005, 0.146532]),
        ({"schedule": "constant"}, [0.5, 1, 1, 1, 1, 1]),
        ({"schedule": "plateau"}, [0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_shapes(config, expected):
    assert factors(6, warmup=1 / 3, **config) == pytest.approx(expected, abs=1e-6)


def test_ends():
    ends = {kind: factor(OptimConfig(schedule=kind), 50, 50) for kind in SCHEDULES}
    falling = {"cosine": 0, "restarts": 0, "polynomial": 0, "one-cycle": 1e-4}
    assert ends == pytest.approx(dict.fromkeys(SCHEDULES, 1) | falling, abs=1e-12)
    assert {kind: factor(OptimConfig(schedule=kind), 50, 60) for kind in SCHEDULES} == ends


def test_restarts_are_where_they_belong():
    rates = factors(100, warmup=0.1, schedule="restarts", cycles=3)
    assert [step for step in range(11, 100) if rates[step] > rates[step - 1]] == [40, 70]
    assert rates[10] == rates[40] == rates[70] == 1.0


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_short_run_leaves_the_warm_up(kind, warmup, steps):
    rates = factors(steps, schedule=kind, warmup=warmup)
    assert rates[-1] > 0
    assert max(rates) == 1.0
    if warmup == 0.9:
        assert rates[-1] == 1.0


def test_warm_up_is_linear():
    expected = [(step + 1) / 10 for step in range(10)]
    assert factors(20, warmup=0.5)[:10] == pytest.approx(expected)


def test_a_schedule_sets_the_rate_of_every_group(network):
    config = OptimConfig(lr=0.1, head_lr_ratio=2.0, warmup=0.2, schedule="polynomial")
    optimizer = make_optimizer(network, config)
    schedule = Schedule(optimizer, config, 10)
    for expected in (0.5, 1, 1, 0.875, 0.75):
        for group in optimizer.param_groups:
            peak = 0.2 if group["name"] == "head" else 0.1
            assert group["lr"] == pytest.approx(peak * expected)
        schedule.advance()


def test_rates_that_differ_are_shown(network):
    config = OptimConfig(lr=0.1, warmup=0.5, encoder_lr_ratio=0.5, head_lr_ratio=1.0)
    assert Schedule(make_optimizer(network, config), config, 4).rates() == {"lr": 0.05}
    given = {"bases.start", "bases.embed"}
    schedule = Schedule(make_optimizer(network, config, given), config, 4)
    assert schedule.rates() == {"lr": 0.05, "lr_encoder": 0.025}
    config = OptimConfig(lr=0.1, warmup=0.5, head_lr_ratio=2.0, metadata_lr_ratio=4.0)
    schedule = Schedule(make_optimizer(network, config), config, 4)
    schedule.advance()
    assert schedule.rates() == pytest.approx({"lr": 0.1, "lr_head": 0.2, "lr_metadata": 0.4})


def plateau(network, lr=1.0, **config):
    config = {"warmup": 0.0, "plateau_factor": 0.1, "plateau_patience": 2} | config
    config = OptimConfig(lr=lr, schedule="plateau", **config)
    return Schedule(make_optimizer(network, config), config, 100)


def test_plateau_waits_and_counts_anew():
    schedule, rates = plateau(small()), []
    for better in (True, False, True, False, False, False, False, True, False):
        schedule.observe(better)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])
    schedule.advance()
    assert schedule.rates() == pytest.approx({"lr": 0.01})


def test_plateau_scales_the_warm_up_too():
    schedule = plateau(small(), warmup=0.5, plateau_patience=1)
    schedule.observe(False)
    assert schedule.rates()["lr"] == pytest.approx(0.1 / 50)


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "plateau"])
def test_only_plateau_hears_of_validation(kind):
    config = OptimConfig(schedule=kind, plateau_patience=0)
    schedule = Schedule(make_optimizer(small(), config), config, 20)
    before = schedule.rates()
    schedule.observe(False)
    assert schedule.rates() == before


def test_a_schedule_goes_on_from_its_state():
    schedule = plateau(small())
    for better in (False, False, False):
        schedule.observe(better)
        schedule.advance()
    state = json.loads(json.dumps(schedule.state_dict()))
    resumed = plateau(small())
    resumed.load_state_dict(state)
    assert resumed.rates() == schedule.rates()
    assert resumed.state_dict() == schedule.state_dict()
    schedule.observe(False)
    resumed.observe(False)
    assert resumed.rates() == schedule.rates() == pytest.approx({"lr": 0.01})


def test_a_rate_changed_on_resume_holds():
    before = plateau(small())
    before.observe(False)
    before.observe(False)
    resumed = plateau(small(), lr=0.5)
    resumed.load_state_dict(before.state_dict())
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_schedule_changed_on_resume_drops_the_scale():
    before = plateau(small(), plateau_patience=1)
    before.observe(False)
    config = OptimConfig(lr=1.0, schedule="constant", warmup=0.0)
    resumed = Schedule(make_optimizer(small(), config), config, 100)
    resumed.load_state_dict(before.state_dict())
    assert resumed.rates() == {"lr": 1.0}
