"""A run that was cut short and gone on with is, bit for bit, one that was not."""

from __future__ import annotations

import itertools
import json
import os
import signal

import numpy as np
import pytest
import torch

from aam_core.data.batches import EVALUATION, Batcher
from aam_core.errors import InputError, Preempted
from aam_core.models.network import Parts
from aam_core.training.checkpoint import check_fields, load
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer

QUIET = Reporter(silent=True)
RANDOM = {
    "train.epochs": 3,
    "train.batch_size": 5,
    "train.checkpoint_every": 2,
    "data.sampling_depth": 60,
    "model.encoder.dropout": 0.1,
    "model.sample.dropout": 0.2,
    "model.sample.asv_dropout": 0.2,
}
"""Three epochs of three steps, with everything that draws."""

STEPS = 3
SCHEDULES = ("cosine", "restarts", "plateau", "one-cycle", "polynomial", "constant")
REGRESS = {"parts": Parts(distance=True, outputs=1), "target": "gradient"}
CONTRARY = {"optim.lr": 1e-3, "optim.warmup": 0.0, "optim.schedule": "constant"}
WRONG = {"parts": Parts(outputs=1), "target": np.repeat([1, -1], [15, 45]).astype(np.float32)}
"""What is true of the training samples is wrong of the others: learning makes it worse."""


class Stopped(Exception):
    """What cuts a run short."""


class Ending(Batcher):
    """Does something before the draw of a training step; steps count from 1."""

    def __init__(self, *args, at, do, **options):
        super().__init__(*args, **options)
        self.steps, self.at, self.do = itertools.count(1), at, do

    def draw(self, samples, epoch=EVALUATION, *args):
        if epoch != EVALUATION and next(self.steps) == self.at:
            self.do()
        return super().draw(samples, epoch, *args)


class Watched(Batcher):
    """Remembers the training samples of each epoch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def draw(self, samples, epoch=EVALUATION, *args):
        self.asked += [(epoch, int(sample)) for sample in samples]
        return super().draw(samples, epoch, *args)

    def of_epoch(self, number):
        return [sample for epoch, sample in self.asked if epoch == number]


def stop(*_):
    raise Stopped


def ending(at, do=stop):
    return lambda *args, **options: Ending(*args, at=at, do=do, **options)


def fit(job):
    return Trainer(job, QUIET).fit()


def same(left, right):
    """To the last bit; as JSON, for NaN equals nothing."""
    for one, other in ((left.history, right.history), (left.values, right.values)):
        assert json.dumps(one) == json.dumps(other)
    assert (left.epoch, left.step) == (right.epoch, right.step)
    assert set(left.weights) == set(right.weights)
    for name, value in left.weights.items():
        assert torch.equal(value, right.weights[name]), name


@pytest.fixture
def job(job, monkeypatch):
    """Fifteen samples to train on, five to validate on; no checkpoint need outlive the machine."""
    monkeypatch.setattr("aam_core.files.folders.sync", lambda path: None)
    return lambda changes, **given: job(changes, **{"train": 15, "val": 5, **given})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoint" / "last"


@pytest.fixture
def cut(job, folder):
    """Start a run that ends early: ``cut(settings, epoch=2)`` or ``cut(settings, step=8)``."""

    def run(changes, epoch=None, step=None, **given):
        def tell(number, _):
            if number == epoch:
                raise Stopped

        changes = {**RANDOM, **changes}
        draws = (step - 1) * changes.get("train.accumulate", 1) + 1 if step else 0
        batcher = ending(draws) if step else Batcher
        with pytest.raises(Stopped):
            fit(job(changes, folder=folder, on_epoch=tell, batcher=batcher, **given))
        return load(folder)

    return run


@pytest.fixture
def resumed(job, folder):
    """Go on, in a network that starts from other weights."""

    def run(changes=(), kept=None, **given):
        changes = {**RANDOM, **dict(changes)}
        torch.manual_seed(99)
        made = job(changes, folder=folder, resume=kept or load(folder), weights=99, **given)
        return made, Trainer(made, QUIET)

    return run


# --- the same run --------------------------------------------------------------------------------

KINDS = [
    *({"optim.schedule": name, "optim.optimizer": "adamw"} for name in SCHEDULES),
    {"optim.schedule": "plateau", "optim.optimizer": "lion"},
    {"optim.optimizer": "sgd"},
    {"optim.optimizer": "sgd", "optim.beta1": 0.0},
    {"train.accumulate": 3},
    {"train.precision": "fp16"},
    {"train.precision": "bf16", "train.gradient_checkpointing": True},
    {"data.rarefaction": "none", "train.best_metric": "distance_r2"},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(map(str, kind.values())))
def test_cut_within_an_epoch_and_at_the_end_of_one(job, cut, resumed, kind):
    """The first time a step after the last checkpoint; averages of the weights go on too."""
    changes = {"optim.ema": 0.7, "optim.plateau_patience": 1, "optim.lr": 1e-2, **kind}
    kept = cut(changes, step=6)
    assert (kept.progress["epoch"], kept.progress["step"]) == (1, 4)
    made, trainer = resumed(changes)
    made.on_epoch = stop
    with pytest.raises(Stopped):
        trainer.fit()
    made, trainer = resumed(changes)
    now = made.resume.progress
    assert (now["epoch"], now["batch"], now["step"]) == (2, 0, 2 * STEPS)
    same(trainer.fit(), fit(job({**RANDOM, **changes})))


@pytest.mark.parametrize(
    "given",
    [REGRESS, {"parts": Parts(outputs=2), "target": "group"}, {"val": 0}],
    ids=["regression", "classification", "without validation"],
)
def test_whatever_is_learned(job, cut, resumed, given):
    cut({}, step=6, **given)
    _, trainer = resumed(**given)
    same(trainer.fit(), fit(job(RANDOM, **given)))


def test_members_and_their_held_out_samples(job, cut, resumed):
    changes = {"model.members": 3, "model.encoder.features": "both", "optim.ema": 0.7}
    given = {"held_out": np.arange(60) % 3 == np.arange(3)[:, None], **REGRESS}
    cut(changes, step=6, **given)
    _, trainer = resumed(changes, **given)
    same(trainer.fit(), fit(job({**RANDOM, **changes}, **given)))


def test_cut_again_and_again(job, folder, resumed):
    """At every step: each time the run gets no further than its next checkpoint."""
    changes = {**RANDOM, "train.checkpoint_every": 1, "optim.ema": 0.7}
    with pytest.raises(Stopped):
        fit(job(changes, folder=folder, batcher=ending(2)))
    for _ in range(3 * STEPS - 2):
        made, trainer = resumed(changes, batcher=ending(2))
        with pytest.raises(Stopped):
            trainer.fit()
    _, trainer = resumed(changes)
    same(trainer.fit(), fit(job(changes)))


@pytest.mark.parametrize(
    "number, step",
    [
        (signal.SIGUSR1, 1),
        (signal.SIGUSR1, STEPS),
        (signal.SIGTERM, STEPS - 1),
        (signal.SIGTERM, 3 * STEPS - 1),
    ],
)
def test_a_signal_is_heeded_after_the_next_step(job, folder, resumed, number, step):
    """Which all processes know it in; it is saved though no checkpoint was due."""
    before = [signal.getsignal(which) for which in (signal.SIGUSR1, signal.SIGTERM)]
    changes = {"train.checkpoint_every": 100, "optim.ema": 0.7}
    message = ending(step, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Preempted) as caught:
        fit(job({**RANDOM, **changes}, folder=folder, batcher=message))
    assert caught.value.signal == number
    text = f"Stopped by a signal after step {step + 1}; continue with --resume "
    assert str(caught.value) == f"{text}{folder.parent.parent}."
    assert load(folder).progress["step"] == step + 1
    assert [signal.getsignal(which) for which in (signal.SIGUSR1, signal.SIGTERM)] == before
    _, trainer = resumed(changes)
    same(trainer.fit(), fit(job({**RANDOM, **changes})))


def test_a_signal_in_the_last_step_lets_the_run_end(job, folder):
    message = ending(3 * STEPS, lambda: os.kill(os.getpid(), signal.SIGTERM))
    same(fit(job(RANDOM, folder=folder, batcher=message)), fit(job(RANDOM)))


def test_a_signal_without_a_folder_saves_nothing(job):
    message = ending(2, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(Preempted, match=r"^Stopped by a signal after step \d+\.$"):
        fit(job(RANDOM, batcher=message))


# --- what a checkpoint holds ---------------------------------------------------------------------


def test_the_weights_that_are_trained_and_the_best_of_their_averages(job, folder):
    made = job({**RANDOM, "optim.ema": 0.7}, folder=folder, run={"mine": [1]})
    result = fit(made)
    kept = load(folder)
    assert kept.run == {"mine": [1]}
    assert kept.progress["history"] == result.history
    trained = made.network.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in kept.weights.items())
    assert all(torch.equal(value, kept.best[name]) for name, value in result.weights.items())
    assert not all(torch.equal(value, kept.best[name]) for name, value in kept.weights.items())
    assert kept.average is not None
    assert (kept.progress["epoch"], kept.progress["step"], kept.progress["batch"]) == (3, 9, 0)


def test_how_often(job, folder):
    seen = []

    class Seen(Trainer):
        def _save(self):
            super()._save()
            seen.append((self.progress.step, self.progress.epoch))

    changes = {**RANDOM, "train.epochs": 2, "train.checkpoint_every": 2}
    Seen(job(changes, folder=folder), QUIET).fit()
    assert seen == [(2, 0), (3, 1), (4, 1), (6, 2)]


def test_before_the_first_validation_there_is_no_best(cut):
    kept = cut({}, step=3)
    assert kept.best is None and kept.progress["step"] == 2
    assert kept.sums and kept.progress["history"] == []


def test_the_best_may_be_of_before(job, cut, resumed):
    """Here the greatest loss is the best, and learning lowers it."""
    changes = {**CONTRARY, "train.epochs": 4, "train.best_direction": "max"}
    cut(changes, epoch=2)
    _, trainer = resumed(changes)
    actual = trainer.fit()
    assert actual.epoch < 3
    same(actual, fit(job({**RANDOM, **changes})))


def test_patience_is_resumed(job, cut, resumed):
    """That of early stopping, and that of the schedule."""
    changes = {**CONTRARY, "train.epochs": 9, "train.patience": 3}
    changes |= {"optim.schedule": "plateau", "optim.plateau_patience": 2}
    whole = fit(job({**RANDOM, **changes}, **WRONG))
    assert len(whole.history) < 9
    cut(changes, epoch=whole.epoch + 1, **WRONG)
    _, trainer = resumed(changes, **WRONG)
    same(trainer.fit(), whole)


# --- going on otherwise --------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_another_rate_is_used(cut, resumed, schedule):
    changes = {"optim.schedule": schedule, "optim.lr": 1e-3}
    cut(changes, epoch=2)
    _, same_rate = resumed(changes)
    made, trainer = resumed({**changes, "optim.lr": 5e-4})
    assert trainer.stepper.rates["lr"] == pytest.approx(same_rate.stepper.rates["lr"] / 2)
    assert {group["base_lr"] for group in trainer.stepper.optimizer.param_groups} == {5e-4}
    trainer.fit()


def test_more_epochs(job, cut, resumed):
    """At a constant rate, what comes after is what would have come."""
    changes = {"optim.schedule": "constant", "optim.warmup": 0.0}
    cut({**changes, "train.epochs": 2}, epoch=2)
    _, trainer = resumed({**changes, "train.epochs": 4})
    same(trainer.fit(), fit(job({**RANDOM, **changes, "train.epochs": 4})))


def test_other_batches_begin_the_epoch_anew(cut, resumed):
    """Within an epoch, what was read of it says nothing of other batches."""
    cut({}, step=6)
    made, trainer = resumed({"train.batch_size": 4}, batcher=Watched)
    assert (trainer.progress.epoch, trainer.progress.batch, trainer.losses.sums) == (1, 0, {})
    trainer.fit()
    assert sorted(made.batcher.of_epoch(1)) == list(range(15))
    cut({}, step=6)
    _, trainer = resumed({"train.accumulate": 2})
    assert trainer.progress.batch == 1


def test_another_best_metric_on_resume(cut, resumed):
    """The best so far is still the best, by what it has of that figure."""
    kept = cut({}, epoch=2)
    for metric, sign in (("distance_r2", -1), ("nucleotide_loss", 1)):
        _, trainer = resumed({"train.best_metric": metric})
        assert trainer.progress.best == sign * kept.progress["best_values"][f"val/{metric}"]
        assert trainer.progress.best_epoch == kept.progress["best_epoch"]


def test_another_optimizer_starts_without_memory(cut, resumed):
    for before, after in (("adamw", "lion"), ("lion", "adamw"), ("sgd", "adam")):
        cut({"optim.optimizer": before}, epoch=1)
        _, trainer = resumed({"optim.optimizer": after, "train.epochs": 2})
        assert not trainer.stepper.optimizer.state
        assert len(trainer.fit().history) == 2


def test_an_average_may_begin_later(cut, resumed):
    """It begins at the weights of the checkpoint, and not at those that a network starts from."""
    kept = cut({}, epoch=2)
    _, trainer = resumed({"optim.ema": 0.9})
    for name, value in trainer.stepper.average.weights.items():
        assert torch.equal(value, kept.weights[name]), name
    assert trainer.stepper.average.count == 0


def test_an_average_may_end(cut, resumed):
    cut({"optim.ema": 0.9}, epoch=2)
    made, trainer = resumed()
    result = trainer.fit()
    if result.epoch == 3:
        trained = made.network.state_dict()
        assert all(torch.equal(value, trained[name]) for name, value in result.weights.items())


@pytest.mark.parametrize("before, after", [("fp32", "fp16"), ("fp16", "fp32")])
def test_another_precision(cut, resumed, before, after):
    cut({"train.precision": before}, epoch=1)
    _, trainer = resumed({"train.precision": after, "train.epochs": 2})
    assert len(trainer.fit().history) == 2


def test_a_finished_run_does_nothing_and_has_its_best(job, folder, resumed):
    whole = fit(job(RANDOM, folder=folder))
    before = load(folder).progress
    seen = []
    _, trainer = resumed(batcher=ending(1, lambda: seen.append("a step")))
    same(trainer.fit(), whole)
    assert not seen and load(folder).progress == before


def test_a_run_that_early_stopping_ended_does_nothing(job, folder, resumed):
    changes = {**CONTRARY, "train.epochs": 9, "train.patience": 1}
    whole = fit(job({**RANDOM, **changes}, folder=folder, **WRONG))
    assert len(whole.history) < 9
    _, trainer = resumed(changes, **WRONG)
    same(trainer.fit(), whole)


# --- what cannot be gone on from -----------------------------------------------------------------


@pytest.mark.parametrize(
    "gone", ["epoch", "batch", "best_values", "waited", "history", "schedule", "average_count"]
)
def test_a_field_of_progress_that_is_gone_is_named(cut, resumed, gone):
    kept = cut({}, epoch=1)
    del kept.progress[gone]
    with pytest.raises(InputError, match=f"its progress lacks {gone}") as caught:
        resumed(kept=kept)
    assert "is damaged or of another AAM" in str(caught.value) and "\n" not in str(caught.value)


def test_fields_that_are_gone_are_all_named(tmp_path):
    with pytest.raises(InputError, match="its run lacks a, c\\."):
        check_fields(tmp_path, "run", {"b": 1}, ["c", "b", "a"])


def test_weights_of_another_network(cut, resumed):
    cut({}, epoch=1)
    with pytest.raises(InputError, match="of another model; .* missing .*of another shape"):
        resumed({"model.encoder.width": 16, "model.encoder.depth": 2})
