from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from aam_core.models.network import Parts
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer


class Memory(Reporter):
    """Remembers what was recorded."""

    def __init__(self):
        super().__init__(silent=True)
        self.seen, self.figures, self.tensors = [], [], []

    def record(self, step, values):
        self.seen.append((step, values))

    def figure(self, step, name, draw):
        self.figures.append((step, name))

    def histograms(self, step, tensors):
        self.tensors.append((step, set(tensors)))


def fit(job, reporter=None):
    return Trainer(job, reporter or Memory()).fit()


WEIGHTED = ("", "_weighted")


def test_what_is_logged(job):
    memory = Memory()
    fit(job({"train.epochs": 2, "train.log_every": 2}), memory)
    trained = [(step, values) for step, values in memory.seen if "train/total_loss" in values]
    assert [step for step, _ in trained] == [2, 4, 6]
    losses = {f"{part}_loss{end}" for part in ("nucleotide", "distance") for end in WEIGHTED}
    losses |= {"total_loss", "nucleotide_accuracy"}
    more = {"lr", "gradient_norm", "samples_per_second", "memory_gb"}
    for _, values in trained:
        assert set(values) == {f"train/{name}" for name in losses | more}
        assert all(math.isfinite(value) for value in values.values())
    scored = [(step, values) for step, values in memory.seen if "val/total_loss" in values]
    assert [step for step, _ in scored] == [3, 6]
    figures = {"distance_r2", "distance_mae"}
    assert set(scored[0][1]) == {f"val/{name}" for name in losses | figures}
    assert memory.figures == [(3, "val/distances"), (6, "val/distances")]
    assert memory.tensors == []


def test_the_total_is_the_sum_of_the_weighted_losses(job):
    changes = {"loss.nucleotide": 3.0, "loss.distance": 7.0, "train.epochs": 1}
    values = fit(job(changes)).values
    for side in ("train", "val"):
        parts = [values[f"{side}/{part}_loss"] for part in ("nucleotide", "distance")]
        weighted = [values[f"{side}/{part}_loss_weighted"] for part in ("nucleotide", "distance")]
        assert weighted == pytest.approx([3 * parts[0], 7 * parts[1]])
        assert values[f"{side}/total_loss"] == pytest.approx(sum(weighted))


def test_rates_of_groups_are_logged(job):
    memory = Memory()
    ratios = {"optim.head_lr_ratio": 0.5, "optim.encoder_lr_ratio": 0.25}
    made = job({"train.log_every": 1, "train.epochs": 1, **ratios})
    made.pretrained = [n for n, _ in made.network.named_parameters() if n.startswith("bases.")]
    fit(made, memory)
    values = memory.seen[0][1]
    assert values["train/lr_head"] == pytest.approx(values["train/lr"] / 2)
    assert values["train/lr_encoder"] == pytest.approx(values["train/lr"] / 4)


@pytest.mark.parametrize("target, outputs", [("gradient", 1), ("group", 2)])
def test_histograms_and_figures(job, target, outputs):
    memory = Memory()
    made = job({"train.histograms": True}, Parts(outputs=outputs), target=target)
    fit(made, memory)
    weights = {f"weights/{name}" for name in made.network.state_dict()}
    gradients = {name.replace("weights/", "gradients/", 1) for name in weights}
    assert [step for step, _ in memory.tensors] == [3, 6]
    assert all(weights < names <= weights | gradients for _, names in memory.tensors)
    assert memory.figures == [(3, "val/predictions"), (6, "val/predictions")]


def test_a_long_run_plots_about_ten_times_and_at_the_end(job):
    memory = Memory()
    changes = {"train.epochs": 25, "train.batch_size": 60, "data.sampling_depth": 50}
    fit(job(changes, Parts(outputs=1), target="gradient"), memory)
    assert [step for step, _ in memory.figures] == [3, 6, 9, 12, 15, 18, 21, 24, 25]


def test_on_epoch_is_called_after_each_epoch(job):
    message = []
    result = fit(job({"train.epochs": 3}, on_epoch=lambda *values: message.append(values)))
    assert [epoch for epoch, _ in message] == [1, 2, 3]
    for (_, values), line in zip(message, result.history, strict=True):
        assert {**values, "epoch": line["epoch"], "step": line["step"]} == line


def test_on_epoch_may_end_the_run(job):
    class Enough(Exception):
        pass

    def end(epoch, values):
        if epoch == 2:
            raise Enough

    trainer = Trainer(job({"train.epochs": 4}, on_epoch=end), Memory())
    with pytest.raises(Enough):
        trainer.fit()
    assert (trainer.progress.epoch, trainer.progress.step) == (2, 6)


def test_the_history_is_json(job):
    history = fit(job({"train.epochs": 2}, Parts(outputs=1), target="gradient")).history
    assert json.loads(json.dumps(history)) == history
    assert not pd.DataFrame(history).isna().any(axis=None)
