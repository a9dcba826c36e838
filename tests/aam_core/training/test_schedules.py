from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from aam_core.config import OptimConfig, presets
from aam_core.errors import InputError
from aam_core.models.network import Network, Parts
from aam_core.training.optimizers import make_optimizer
from aam_core.training.schedules import SCHEDULES, Schedule, lr_factor


@pytest.fixture
def network():
    parts = Parts(nucleotide=True, distance=True, outputs=1, sizes=(3,), numbers=2)
    return Network(presets.pretraining("tiny").model, parts)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def factors(steps, **config):
    return [lr_factor(OptimConfig(**config), steps, step) for step in range(steps)]


@pytest.mark.parametrize("steps", [2, 5, 10, 100, 5000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_warm_up_then_cosine(steps, warmup):
    rates = factors(steps, warmup=warmup, schedule="cosine")
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0) and min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1.5
    end = lr_factor(OptimConfig(warmup=warmup), steps, steps)
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
    ends = {kind: lr_factor(OptimConfig(schedule=kind), 50, 50) for kind in SCHEDULES}
    falling = {"cosine": 0, "restarts": 0, "polynomial": 0, "one-cycle": 1e-4}
    assert ends == pytest.approx(dict.fromkeys(SCHEDULES, 1) | falling, abs=1e-12)
    assert {kind: lr_factor(OptimConfig(schedule=kind), 50, 60) for kind in SCHEDULES} == ends


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
        schedule.end_epoch(better)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])
    schedule.advance()
    assert schedule.rates() == pytest.approx({"lr": 0.01})


def test_plateau_scales_the_warm_up_too():
    schedule = plateau(small(), warmup=0.5, plateau_patience=1)
    schedule.end_epoch(False)
    assert schedule.rates()["lr"] == pytest.approx(0.1 / 50)


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "plateau"])
def test_only_plateau_depends_on_validation(kind):
    config = OptimConfig(schedule=kind, plateau_patience=0)
    schedule = Schedule(make_optimizer(small(), config), config, 20)
    before = schedule.rates()
    schedule.end_epoch(False)
    assert schedule.rates() == before


def test_a_schedule_resumes_from_its_state():
    schedule = plateau(small())
    for better in (False, False, False):
        schedule.end_epoch(better)
        schedule.advance()
    state = json.loads(json.dumps(schedule.state_dict()))
    resumed = plateau(small())
    resumed.load_state_dict(state)
    assert resumed.rates() == schedule.rates()
    assert resumed.state_dict() == schedule.state_dict()
    schedule.end_epoch(False)
    resumed.end_epoch(False)
    assert resumed.rates() == schedule.rates() == pytest.approx({"lr": 0.01})


def test_a_rate_changed_on_resume_holds():
    before = plateau(small())
    before.end_epoch(False)
    before.end_epoch(False)
    resumed = plateau(small(), lr=0.5)
    resumed.load_state_dict(before.state_dict())
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_schedule_changed_on_resume_drops_the_scale():
    before = plateau(small(), plateau_patience=1)
    before.end_epoch(False)
    config = OptimConfig(lr=1.0, schedule="constant", warmup=0.0)
    resumed = Schedule(make_optimizer(small(), config), config, 100)
    resumed.load_state_dict(before.state_dict())
    assert resumed.rates() == {"lr": 1.0}


def test_an_unknown_schedule_is_refused():
    config = OptimConfig()
    object.__setattr__(config, "schedule", "cosin")
    with pytest.raises(InputError, match="schedule must be one of cosine, restarts, plateau"):
        lr_factor(config, 10, 0)
