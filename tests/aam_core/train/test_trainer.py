from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from aam_core.data.batch import EVALUATION, Batcher
from aam_core.errors import AAMError, InputError
from aam_core.models.model import Network, Parts
from aam_core.train.report import Reporter
from aam_core.train.trainer import Job, Trainer, autocast, find_device


class Watched(Batcher):
    """Remembers which samples were asked for in which epoch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def batch(self, samples, epoch=EVALUATION):
        self.asked.append((epoch, list(samples)))
        return super().batch(samples, epoch)

    def of(self, epoch):
        return [samples for asked, samples in self.asked if asked == epoch]


PRETRAINING = Parts(nucleotide=True, distance=True)


@pytest.fixture
def job(small, brief):
    """Make a job of the small study: ``job(settings, parts, train, val, target)``."""

    def make(changes=(), parts=PRETRAINING, train=40, val=20, target=None, **more):
        changes = {"train.max_steps": 0, "train.patience": 0, **dict(changes)}
        config = brief("pretraining", changes)
        torch.manual_seed(config.train.seed)
        return Job(
            network=Network(config.model, parts),
            config=config,
            batcher=Watched(small, config.data, 0, distances=parts.distance, target=target),
            train=np.arange(train),
            val=np.arange(train, train + val),
            device=torch.device("cpu"),
            **more,
        )

    return make


def fit(job, reporter=None):
    torch.manual_seed(job.config.train.seed)
    return Trainer(job, reporter or Reporter()).fit()


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


# --- epochs and steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("val", [1, 7, 16, 17, 20])
def test_evaluation_scores_every_sample_once(job, val):
    trained = job({"train.batch_size": 8}, val=val)
    values = Trainer(trained, Reporter()).evaluate()
    scored = trained.batcher.of(EVALUATION)
    assert sorted(sum(scored, [])) == list(range(40, 40 + val))
    assert max(map(len, scored)) <= 8
    assert math.isfinite(values["val/loss"])


def test_the_validation_loss_is_the_mean_over_samples_whatever_the_batches(job):
    target = np.linspace(-1, 1, 60).astype(np.float32)
    found = [
        Trainer(
            job({"train.batch_size": size}, Parts(outputs=1), target=target), Reporter()
        ).evaluate()["val/target"]
        for size in (3, 8, 20)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)


def test_an_epoch_reads_every_training_sample_once_in_a_new_order(job):
    trained = job({"train.epochs": 3, "train.batch_size": 16})
    fit(trained)
    orders = [sum(trained.batcher.of(epoch), []) for epoch in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    sizes = [len(samples) for samples in trained.batcher.of(0)]
    assert len(sizes) == 3 and max(sizes) <= 16 and min(sizes) >= 13  # no crumb at the end


@pytest.mark.parametrize(
    "changes, steps, epochs",
    [
        ({"train.epochs": 2}, 6, 2),
        ({"train.epochs": 2, "train.max_steps": 4}, 4, 2),
        ({"train.epochs": 2, "train.max_steps": 2}, 2, 1),
        ({"train.epochs": 1, "train.min_steps": 7}, 9, 3),
        ({"train.epochs": 4, "train.min_steps": 7}, 12, 4),
        ({"train.epochs": 1, "train.min_steps": 7, "train.max_steps": 5}, 5, 2),
    ],
)
def test_how_long(job, changes, steps, epochs):
    result = fit(job({**changes, "train.batch_size": 16}))
    assert [epoch["epoch"] for epoch in result.history] == list(range(1, epochs + 1))
    assert result.history[-1]["step"] == steps


def test_the_rate_falls_to_nothing_within_a_short_run(job):
    trained = job({"train.epochs": 4, "optim.schedule": "cosine", "optim.warmup": 0.25})
    trainer = Trainer(trained, Reporter())
    peak = trained.config.optim.lr
    rates = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    trainer.fit()
    assert len(rates) == 12 and max(rates) == pytest.approx(peak)
    assert rates[0] < peak and rates[-1] < 0.05 * peak


# --- learning ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_losses_to_the_last_digit(job):
    settings = {"train.epochs": 3, "model.sample.dropout": 0.2, "model.sample.asv_dropout": 0.2}
    first, second = (fit(job(settings)).history for _ in range(2))
    assert first == second
    other = fit(job({**settings, "train.seed": 1})).history
    assert first[0]["train/loss"] != other[0]["train/loss"]


def test_losses_fall(job):
    history = fit(job({"train.epochs": 8, "optim.lr": 3e-3})).history
    for name in ("train/loss", "val/loss", "val/nucleotide"):
        assert history[-1][name] < 0.9 * history[0][name]
    assert history[-1]["val/nucleotide_accuracy"] > 0.2


def test_gradients_are_clipped(job):
    before = job({"optim.clip": 1e-9, "train.max_steps": 1, "train.epochs": 1})
    seen = []
    trainer = Trainer(before, Reporter())
    trainer.optimizer.register_step_pre_hook(
        lambda *_: seen.append(
            sum(
                p.grad.square().sum() for p in before.network.parameters() if p.grad is not None
            ).sqrt()
        )
    )
    trainer.fit()
    assert float(seen[0]) == pytest.approx(1e-9, rel=1e-3)


def test_frozen_parameters_stay_bit_for_bit(job):
    trained = job({"train.epochs": 2})
    trained.network.bases.requires_grad_(False)
    before = weights(trained.network)
    fit(trained)
    after = weights(trained.network)
    bases = [name for name in before if name.startswith("bases.")]
    assert bases and all(torch.equal(before[name], after[name]) for name in bases)
    assert not equal(before, after)


# --- best weights and early stopping -------------------------------------------------------------


@pytest.fixture
def contrary(job):
    """What is true of the training samples is wrong of the others: learning makes it worse."""

    def make(changes=(), **more):
        target = np.full(60, 1.0, np.float32)
        target[40:] = -1.0
        steady = {
            "train.epochs": 9,
            "optim.lr": 5e-5,
            "optim.warmup": 0.0,
            "optim.schedule": "constant",
            "model.head.target_dropout": 0.0,
            "model.sample.dropout": 0.0,
        }
        changes = {**steady, **dict(changes)}
        return job(changes, Parts(outputs=1), target=target, **more)

    return make


def test_early_stopping_and_the_best_weights(contrary, capsys):
    kept = []
    trained = contrary({"train.patience": 3})
    trained.keep = lambda epoch: kept.append((epoch, weights(trained.network)))
    result = fit(trained)
    assert len(result.history) == result.epoch + 3 < 9
    losses = [epoch["val/loss"] for epoch in result.history]
    assert losses[result.epoch - 1] == min(losses) < losses[-1]
    assert result.values["val/loss"] == min(losses)
    assert kept[-1][0] == result.epoch and equal(kept[-1][1], weights(trained.network))
    assert Trainer(trained, Reporter()).evaluate()["val/loss"] == min(losses)
    assert f"the weights of epoch {result.epoch} are kept" in capsys.readouterr().err


def test_no_patience_never_stops_and_still_keeps_the_best(contrary):
    trained = contrary({"train.patience": 0, "train.epochs": 5})
    result = fit(trained)
    assert len(result.history) == 5 and result.epoch < 5
    losses = [epoch["val/loss"] for epoch in result.history]
    assert Trainer(trained, Reporter()).evaluate()["val/loss"] == min(losses)


def test_without_validation_the_last_weights_stay(job):
    kept = []
    trained = job({"train.epochs": 3, "train.patience": 1}, val=0, keep=kept.append)
    result = fit(trained)
    assert (result.epoch, kept) == (3, [1, 2, 3])
    assert not any(name.startswith("val/") for name in result.values)
    assert trained.batcher.of(EVALUATION) == []


@pytest.mark.parametrize("rows, words", [(slice(0, 60), "epoch 1"), (slice(40, 60), "epoch 1")])
def test_a_loss_that_is_no_number_is_said(job, rows, words):
    target = np.zeros(60, np.float32)
    target[rows] = np.nan
    with pytest.raises(AAMError, match=f"not a number in {words}: lower the learning rate"):
        fit(job({}, Parts(outputs=1), target=target))


# --- logs ----------------------------------------------------------------------------------------


def test_what_is_logged(job):
    class Memory(Reporter):
        def __init__(self):
            super().__init__()
            self.seen = []

        def record(self, step, values):
            self.seen.append((step, values))

    memory = Memory()
    fit(job({"train.epochs": 2, "train.log_every": 2}), memory)
    steps = [step for step, values in memory.seen if "train/loss" in values]
    assert steps == [2, 4, 6]
    first = next(values for step, values in memory.seen if step == 2)
    expected = {"loss", "lr", "gradient_norm", "nucleotide", "nucleotide_accuracy", "distance"}
    assert {f"train/{name}" for name in expected} == set(first)
    scored = [(step, set(values)) for step, values in memory.seen if "val/loss" in values]
    assert [step for step, _ in scored] == [3, 6]
    assert "val/distance" in scored[0][1] and "val/nucleotide_accuracy" in scored[0][1]


# --- devices and precision -----------------------------------------------------------------------


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("toaster", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{name}' is not there") as caught:
            find_device(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "precision, dtype",
    [("fp32", torch.float32), ("auto", torch.float32), ("bf16", torch.bfloat16)],
)
def test_precision_of_the_forward_pass_on_a_cpu(precision, dtype):
    layer = torch.nn.Linear(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert layer(torch.ones(1, 2)).dtype == dtype


def test_training_in_bf16(job):
    history = fit(job({"train.precision": "bf16", "train.epochs": 1})).history
    exact = fit(job({"train.precision": "fp32", "train.epochs": 1})).history
    assert history[0]["train/loss"] == pytest.approx(exact[0]["train/loss"], rel=0.05)
    assert history[0]["train/loss"] != exact[0]["train/loss"]
