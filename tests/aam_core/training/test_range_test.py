from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.data.batches import Batcher
from aam_core.errors import InputError
from aam_core.models.network import Network, Parts
from aam_core.training.job import TrainingJob
from aam_core.training.optimizers import make_optimizer
from aam_core.training.parallel import join_process_group
from aam_core.training.range_test import find_lr, suggest
from aam_core.training.step import Stepper
from aam_core.training.validation import LossSums

STEPS = 24


@pytest.fixture
def make(small, brief):
    """Make a job of the small study: ``make(settings)``."""

    def job(changes=(), batcher=Batcher):
        config = brief("pretraining", {"train.batch_size": 16, **dict(changes)})
        torch.manual_seed(0)
        network = Network(config.model, Parts(nucleotide=True, distance=True)).eval()
        made = batcher(small, config.data, 0, distances=True)
        return TrainingJob(network, config, made, np.arange(40), np.arange(40, 60))

    return job


def find(job, **options):
    return find_lr(job, join_process_group(job.config.train), **{"steps": STEPS, **options})


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


class Watched(Stepper):
    """Remembers the samples of every step, and the rates of its groups."""

    seen: list = []

    def gradients(self, samples, epoch, step):
        self.seen.append((epoch, step, sorted(samples)))
        return super().gradients(samples, epoch, step)

    def update(self):
        groups = self.optimizer.param_groups
        self.seen.append({group["name"]: group["lr"] for group in groups})
        return super().update()


@pytest.fixture
def seen(monkeypatch):
    monkeypatch.setattr("aam_core.training.range_test.Stepper", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    return Watched.seen


# --- the test ------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_leaves_everything_as_it_was(make, training):
    job = make({"optim.ema": 0.9})
    job.network.train(training)
    before, drawn = weights(job.network), torch.get_rng_state()
    result = find(job)
    assert equal(before, weights(job.network))
    assert all(parameter.grad is None for parameter in job.network.parameters())
    assert all(parameter.requires_grad for parameter in job.network.parameters())
    assert all(module.training is training for module in job.network.modules())
    assert torch.equal(drawn, torch.get_rng_state())
    assert job.config.optim.ema == 0.9 and job.config.optim.lr == make().config.optim.lr
    again = find(job)
    assert again.suggestion == result.suggestion
    pd.testing.assert_frame_equal(again.table, result.table)


class Broken(Batcher):
    """Fails after some batches."""

    left = 5

    def draw(self, *args):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().draw(*args)


def test_leaves_everything_as_it_was_when_it_breaks_off(make):
    job = make(batcher=Broken)
    before = weights(job.network)
    with pytest.raises(KeyboardInterrupt):
        find(job)
    assert equal(before, weights(job.network)) and not job.network.training
    assert all(parameter.grad is None for parameter in job.network.parameters())


def test_an_optimizer_of_before_is_left_alone(make):
    job = make()
    optimizer = make_optimizer(job.network, job.config.optim)
    rates = [group["lr"] for group in optimizer.param_groups]
    find(job)
    assert not optimizer.state and [group["lr"] for group in optimizer.param_groups] == rates


def test_the_rate_rises_over_the_batches_of_epochs(make, seen):
    changes = {"optim.head_lr_ratio": 0.5, "optim.lr": 0.0, "optim.schedule": "one-cycle"}
    table = find(make(changes), low=1e-5, high=1e-1).table
    expected = np.geomspace(1e-5, 1e-1, STEPS)[: len(table)]
    assert len(table) > 15 and table["lr"].to_numpy() == pytest.approx(expected)
    rates = [entry for entry in seen if isinstance(entry, dict)]
    assert [rate["body"] for rate in rates] == pytest.approx(expected)
    assert [rate["head"] for rate in rates] == pytest.approx(expected / 2)
    steps = [entry for entry in seen if isinstance(entry, tuple)]
    assert [step for _, step, _ in steps] == list(range(len(steps)))
    epochs = [epoch for epoch, _, _ in steps]
    assert epochs == [step // 3 for step in range(len(steps))]
    for epoch in range(4):
        drawn = [sample for number, _, samples in steps if number == epoch for sample in samples]
        assert sorted(drawn) == list(range(40))


def test_smoothing_and_the_end(make):
    table = find(make(), low=1e-4, high=1e4, steps=60).table
    assert len(table) < 60
    loss, rate = table["loss"].to_numpy(), 0.9
    for step in range(len(loss)):
        share = rate ** np.arange(step, -1, -1)
        mean = (share * loss[: step + 1]).sum() / share.sum()
        assert table["smoothed"][step] == pytest.approx(mean)
    assert np.isfinite(table.to_numpy()).all()
    assert (table["smoothed"] <= 4 * table["smoothed"].cummin()).all()


def test_suggestion_trains(make):
    """From the same weights, a rate that was suggested gets further than one far below or above."""
    suggestion = find(make(), steps=60).suggestion
    reached = []
    for factor in (1e-3, 1.0, 1e3):
        trial = make({"optim.lr": suggestion * factor, "optim.schedule": "constant"})
        stepper = Stepper(trial, join_process_group(trial.config.train), 20)
        for step in range(20):
            sums, counts = stepper.gradients(np.arange(40), 0, step)
            stepper.update()
        losses = LossSums(trial.config.loss)
        losses.add(sums, counts)
        reached.append(losses.values()["total_loss"])
    low, suggested, high = np.nan_to_num(reached, nan=np.inf)
    assert suggested < 0.8 * low and suggested < 0.8 * high


@pytest.mark.parametrize(
    "options", [{"low": 0.0}, {"low": 1.0, "high": 1.0}, {"low": 1.0, "high": 0.1}, {"steps": 5}]
)
def test_no_range(make, options):
    with pytest.raises(InputError, match="range test goes from"):
        find(make(), **options)


def test_everything_diverges(make):
    job = make()
    before = weights(job.network)
    with pytest.raises(InputError, match="falls at no learning rate.*try another range"):
        find(job, low=1e3, high=1e6)
    assert equal(before, weights(job.network))


def test_nothing_moves(make):
    with pytest.raises(InputError, match="falls at no learning rate"):
        find(make(), low=1e-12, high=1e-11)


# --- the suggestion ------------------------------------------------------------------------------


def curve(loss):
    rates = np.geomspace(1e-6, 10, len(loss))
    smoothed = pd.Series(loss, dtype=float).ewm(alpha=0.1).mean() if loss is NOISE else loss
    return pd.DataFrame({"lr": rates, "loss": loss, "smoothed": smoothed})


def sigmoid(place, at):
    return 1 / (1 + np.exp(-6 * (place - at)))


PLACE = np.linspace(-6, 1, 100)
RISE = np.exp(3 * (PLACE - 0.5))


@pytest.mark.parametrize("at", [-2, -1.5, -1])
def test_steepest_descent(at):
    result = suggest(curve(2 - 1.5 * sigmoid(PLACE, at) + RISE))
    assert result == pytest.approx(10.0**at, rel=0.2)
    assert result == float(f"{result:.1e}")


def test_what_any_rate_would_learn_is_no_suggestion():
    falls = 5 - 3 * sigmoid(PLACE, -5) - 0.5 * sigmoid(PLACE, -2)
    assert suggest(curve(falls + RISE)) == pytest.approx(1e-2, rel=0.2)


def test_what_falls_after_the_minimum_is_no_suggestion():
    cliff = np.where(PLACE > -1, 6.0 - 3 * (PLACE > 0), 0.0)
    result = suggest(curve(2 - 1.5 * sigmoid(PLACE, -1.5) + cliff))
    assert result == pytest.approx(10**-1.5, rel=0.2)


NOISE = np.random.default_rng(0).normal(2, 0.1, 100)


@pytest.mark.parametrize(
    "loss",
    [np.ones(100), np.linspace(1, 3, 100), np.r_[1.0, 0.9, np.full(98, 2.0)], NOISE, [], [1.0]],
)
def test_nothing_to_suggest(loss):
    with pytest.raises(InputError, match="falls at no learning rate"):
        suggest(curve(loss))
