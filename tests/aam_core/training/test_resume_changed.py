"""Resuming with other settings than the run was started with, or from a damaged checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aam_core.errors import AAMError, InputError
from aam_core.models.network import Parts
from aam_core.training.checkpoint import load
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer

REGRESSION = {"parts": Parts(outputs=1), "target": "gradient"}


@pytest.fixture
def train(job, tmp_path, monkeypatch):
    """``train(settings, resume=False)``: three steps an epoch, unless told otherwise."""
    monkeypatch.setattr("aam_core.files.folders.sync", lambda path: None)
    folder = tmp_path / "run" / "checkpoint" / "last"

    def run(changes, resume=False, held=None, **given):
        changes = {"train.batch_size": 5, "train.epochs": 3, **changes}
        held = held or (load(folder) if resume else None)
        given = {"train": 15, "val": 5, "folder": folder, "resume": held, **given}
        trainer = Trainer(job(changes, **given), Reporter())
        return trainer, trainer.fit()

    run.folder = folder
    return run


def steps(result):
    return [(epoch["epoch"], epoch["step"]) for epoch in result.history]


def test_a_run_that_max_steps_ended_resumes_within_its_epoch(train):
    whole = train({})[1]
    short = train({"train.max_steps": 4})[1]
    assert steps(short) == [(1, 3), (2, 4)]
    longer = train({"train.max_steps": 5}, resume=True)[1]
    assert steps(longer)[-1] == (2, 5)
    trainer, last = train({}, resume=True)
    assert steps(last) == [(1, 3), (2, 4), (2, 5), (2, 6), (3, 9)] and trainer.steps == 9
    assert last.history[-1]["train/total_loss"] != whole.history[-1]["train/total_loss"]
    assert trainer.stepper.rates["lr"] == 0  # the schedule came to its end


def test_the_log_says_what_ended_a_run(train, capsys):
    train({"train.max_steps": 4})
    train({"train.max_steps": 4}, resume=True)
    assert "4 steps are done of 4 (train.epochs, train.max_steps)" in capsys.readouterr().err


@pytest.mark.parametrize("size, end", [(15, 5), (8, 7), (2, 19)])
def test_batches_of_another_size_are_counted_from_here_on(train, size, end):
    train({"train.max_steps": 3})
    trainer, result = train({"train.batch_size": size}, resume=True)
    assert steps(result)[-1] == (3, end) and trainer.steps == end
    assert all("train/total_loss" in epoch for epoch in result.history)


def test_an_epoch_of_other_batches_begins_again(train, capsys):
    train({"train.max_steps": 4})
    _, result = train({"train.batch_size": 15}, resume=True)
    assert steps(result) == [(1, 3), (2, 4), (2, 5), (3, 6)]
    assert "the batches changed: the epoch begins again" in capsys.readouterr().err


@pytest.mark.parametrize("direction", ["auto", "max"])
def test_another_best_metric_starts_from_its_own_value(train, direction):
    """R2 lies below 1, a loss above 0: compared with one another, none would ever be better."""
    train({"train.best_metric": "r2", "train.max_steps": 3}, **REGRESSION)
    changes = {"train.best_metric": "total_loss", "train.best_direction": direction}
    trainer, result = train({**changes, "optim.lr": 3e-3}, resume=True, **REGRESSION)
    losses = [epoch["val/total_loss"] for epoch in result.history]
    best = max(losses) if direction == "max" else min(losses)
    assert result.values["val/total_loss"] == best


def test_weights_that_went_astray_are_not_kept(train):
    changes = {"train.checkpoint_every": 1, "optim.lr": 1e-3}
    train({**changes, "train.max_steps": 1})
    target = np.full(60, np.nan, np.float32)
    with pytest.raises(AAMError, match="not a number in epoch 1"):
        train(changes, parts=Parts(outputs=1), target=target)
    held = load(train.folder)
    assert all(weight.isfinite().all() for weight in held.weights.values())


def test_distances_need_two_samples_at_a_time(train):
    with pytest.raises(InputError, match="No micro-step has two samples") as caught:
        train({"train.accumulate": 5})
    assert "\n" not in str(caught.value)


def spoil_optimizer(held):
    del next(iter(held.optimizer.values()))["exp_avg"]


def spoil_schedule(held):
    held.progress["schedule"] = {}


def spoil_best(held):
    held.best.popitem()


@pytest.mark.parametrize(
    "spoil, words",
    [
        (spoil_optimizer, "optimizer of .* lacks exp_avg"),
        (spoil_schedule, "its schedule lacks scale, step, waited"),
        (spoil_best, "1 missing"),
    ],
    ids=["optimizer", "schedule", "best"],
)
def test_what_a_damaged_checkpoint_lacks_is_named(train, spoil, words):
    train({"train.max_steps": 3})
    held = load(train.folder)
    spoil(held)
    with pytest.raises(InputError, match=words) as caught:
        train({}, held=held)
    assert "\n" not in str(caught.value)


def test_an_average_resumes_with_another_decay(train):
    train({"optim.ema": 0.5, "train.max_steps": 3})
    trainer, result = train({"optim.ema": 0.9}, resume=True)
    assert trainer.stepper.average.count == 9
    kept, averaged = result.weights, trainer.stepper.average.weights
    assert all(torch.isfinite(kept[name]).all() for name in averaged)
