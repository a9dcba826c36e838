from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from aam_core.data.batches import EVALUATION, Batcher
from aam_core.errors import AAMError, InputError
from aam_core.models.network import Parts
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer

QUIET = Reporter(silent=True)


class Watched(Batcher):
    """Remembers which samples were asked for in which epoch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def draw(self, samples, epoch=EVALUATION, *args):
        self.asked.append((epoch, samples.tolist()))
        return super().draw(samples, epoch, *args)

    def of(self, epoch):
        return [samples for asked, samples in self.asked if asked == epoch]


def fit(job, reporter=QUIET):
    return Trainer(job, reporter).fit()


def score(job, weights=None):
    """What the validation samples say of these weights."""
    if weights is not None:
        job.network.load_state_dict(weights)
    return Trainer(job, QUIET).evaluate()


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


# --- epochs and steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("val", [1, 7, 16, 17, 20])
def test_evaluation_scores_every_sample_once(job, val):
    trained = job({"train.batch_size": 8}, val=val, batcher=Watched)
    values = score(trained)
    scored = trained.batcher.of(EVALUATION)
    assert sorted(sum(scored, [])) == list(range(40, 40 + val))
    assert max(map(len, scored)) <= 8
    assert math.isfinite(values["val/total_loss"])


def test_the_validation_loss_is_the_mean_over_samples_whatever_the_batches(job):
    target = np.linspace(-1, 1, 60).astype(np.float32)
    actual = [
        score(job({"train.batch_size": size}, Parts(outputs=1), target=target))["val/target_loss"]
        for size in (3, 8, 20)
    ]
    assert actual == pytest.approx([actual[0]] * 3, rel=1e-5)


def test_an_epoch_reads_every_training_sample_once_in_a_new_order(job):
    trained = job({"train.epochs": 3, "train.batch_size": 16}, batcher=Watched)
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
        ({"train.epochs": 2, "train.accumulate": 3}, 6, 2),
    ],
)
def test_how_long(job, changes, steps, epochs):
    made = job({**changes, "train.batch_size": 16}, Parts(nucleotide=True))
    trainer = Trainer(made, QUIET)
    assert (trainer.steps, trainer.epochs) == (steps, epochs)
    result = trainer.fit()
    assert [epoch["epoch"] for epoch in result.history] == list(range(1, epochs + 1))
    assert result.history[-1]["step"] == steps


def test_a_budget_of_asvs_makes_more_steps(job):
    made = job({"train.max_asvs_per_batch": 150, "train.epochs": 1}, Parts(nucleotide=True))
    trainer = Trainer(made, QUIET)
    assert trainer.steps > 3 == Trainer(job({"train.epochs": 1}), QUIET).steps
    assert trainer.fit().history[-1]["step"] == trainer.steps


def test_the_rate_falls_to_nothing_within_a_short_run(job):
    trained = job({"train.epochs": 4, "optim.schedule": "cosine", "optim.warmup": 0.25})
    trainer = Trainer(trained, QUIET)
    peak = trained.config.optim.lr
    rates = []
    trainer.stepper.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    trainer.fit()
    assert len(rates) == 12 and max(rates) == pytest.approx(peak)
    assert rates[0] < peak and rates[-1] < 0.05 * peak


def test_plateau_lowers_the_rate_where_validation_stalls(contrary):
    changes = {"optim.schedule": "plateau", "optim.plateau_patience": 2, "train.epochs": 9}
    trainer, rates = Trainer(contrary(changes), QUIET), []
    trainer.stepper.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    result = trainer.fit()
    first_of_epoch = rates[::3]
    waited = result.epoch + 2  # epochs after which it is lowered
    assert first_of_epoch[: waited - 1] == [rates[0]] * (waited - 1)
    assert first_of_epoch[waited] == pytest.approx(rates[0] / 2)


# --- learning ------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_losses_to_the_last_digit(job):
    """Whatever was drawn before."""
    settings = {"train.epochs": 3, "model.sample.dropout": 0.2, "model.sample.asv_dropout": 0.2}
    first = fit(job(settings)).history
    second = job(settings)
    torch.rand(7)
    assert first == fit(second).history
    other = fit(job({**settings, "train.seed": 1})).history
    assert first[0]["train/total_loss"] != other[0]["train/total_loss"]


def test_losses_fall(job):
    history = fit(job({"train.epochs": 8, "optim.lr": 3e-3})).history
    for name in ("train/total_loss", "val/total_loss", "val/nucleotide_loss"):
        assert history[-1][name] < 0.9 * history[0][name]
    assert history[-1]["val/nucleotide_accuracy"] > 0.2


def test_frozen_parameters_stay_bit_for_bit(job):
    trained = job({"train.epochs": 2})
    trained.network.bases.requires_grad_(False)
    before = weights(trained.network)
    after = fit(trained).weights
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
    trained.keep = lambda epoch, best: kept.append((epoch, best))
    result = fit(trained, Reporter())
    assert len(result.history) == result.epoch + 3 < 9
    losses = [epoch["val/total_loss"] for epoch in result.history]
    assert losses[result.epoch - 1] == min(losses) < losses[-1]
    assert result.values["val/total_loss"] == min(losses)
    assert result.step == 3 * result.epoch
    assert kept[-1][0] == result.epoch and equal(kept[-1][1], result.weights)
    assert score(trained, result.weights)["val/total_loss"] == min(losses)
    lines = "no better total_loss of the validation samples for 3 epochs; the weights of epoch"
    assert f"{lines} {result.epoch} are kept" in capsys.readouterr().err


def test_no_patience_never_stops_and_still_keeps_the_best(contrary):
    trained = contrary({"train.patience": 0, "train.epochs": 5})
    result = fit(trained)
    assert len(result.history) == 5 and result.epoch < 5
    losses = [epoch["val/total_loss"] for epoch in result.history]
    assert score(trained, result.weights)["val/total_loss"] == min(losses)


def test_the_best_weights_are_no_longer_trained(contrary):
    """They are a copy: what is trained on does not change them."""
    kept = []
    trained = contrary({"train.epochs": 4})
    trained.keep = lambda epoch, best: kept.append((best, weights(trained.network)))
    fit(trained)
    assert kept and all(equal(best, then) for best, then in kept)


def test_without_validation_the_last_weights_stay(job):
    kept = []
    changes = {"train.epochs": 3, "train.patience": 1}
    trained = job(changes, val=0, keep=lambda epoch, _: kept.append(epoch), batcher=Watched)
    result = fit(trained)
    assert (result.epoch, kept) == (3, [1, 2, 3])
    assert equal(result.weights, trained.network.state_dict())
    assert not any(name.startswith("val/") for name in result.values)
    assert trained.batcher.of(EVALUATION) == []


def test_without_validation_there_are_no_metrics(job):
    result = fit(job({"train.epochs": 1}, Parts(outputs=1), val=0, target="gradient"))
    assert not any(name.startswith("val/") for name in result.values)


@pytest.mark.parametrize(
    "metric, direction, best",
    [
        ("target_loss", "auto", min),
        ("mae", "auto", min),
        ("r2", "auto", max),
        ("r2", "min", min),
        ("mae", "max", max),
    ],
)
def test_the_best_metric(job, metric, direction, best):
    changes = {"train.best_metric": metric, "train.best_direction": direction, "optim.lr": 3e-2}
    made = job({**changes, "train.epochs": 5}, Parts(outputs=1), target="gradient")
    result = fit(made)
    values = [epoch[f"val/{metric}"] for epoch in result.history]
    assert len(set(values)) == 5
    assert result.epoch == 1 + values.index(best(values))
    assert score(made, result.weights)[f"val/{metric}"] == pytest.approx(best(values), rel=1e-5)


@pytest.mark.parametrize(
    "metric, parts, target, there",
    [
        ("r2", Parts(nucleotide=True), None, "nucleotide_accuracy, nucleotide_loss, "),
        ("accuracy", Parts(outputs=1), "gradient", "mae, r2, rmse, target_loss, "),
        ("mae", Parts(outputs=2), "group", "accuracy, auc, f1, target_loss, "),
        ("val/total_loss", Parts(distance=True), None, "distance_loss_weighted, .*, total_loss"),
    ],
)
def test_a_best_metric_that_the_run_does_not_have(job, metric, parts, target, there):
    made = job({"train.best_metric": metric}, parts, target=target)
    with pytest.raises(InputError, match=f"best_metric is '{metric}'; .*{there}") as caught:
        Trainer(made, QUIET)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts, target",
    [
        (Parts(nucleotide=True, distance=True), None),
        (Parts(distance=True, outputs=1), "gradient"),
        (Parts(outputs=2), "group"),
    ],
)
def test_every_metric_of_a_run_can_be_the_best_metric(job, parts, target):
    """What the logs have under val/ is what may be asked for, and the reverse."""
    values = fit(job({"train.epochs": 1}, parts, target=target)).values
    logged = {name.removeprefix("val/") for name in values if name.startswith("val/")}
    with pytest.raises(InputError) as caught:
        Trainer(job({"train.best_metric": "luck"}, parts, target=target), QUIET)
    legal = str(caught.value).split("this run has ")[1].removesuffix(".").split(", ")
    # What the predictions look like is no measure of how good they are.
    described = {name for name in logged if name.startswith("prediction_")}
    assert logged - described == set(legal) and bool(described) == (target == "gradient")


def test_without_a_choice_the_last_weights_are_kept(job):
    """Whatever the validation samples say; learning here makes it worse."""
    target = np.repeat([1, -1], [40, 20]).astype(np.float32)
    changes = {"train.epochs": 4, "optim.lr": 1e-2, "optim.warmup": 0.0}
    kept = []
    made = job(
        {**changes, "train.best_metric": "none", "train.patience": 0},
        Parts(outputs=1),
        target=target,
        on_epoch=lambda *_: kept.append(
            {name: value.clone() for name, value in made.network.state_dict().items()}
        ),
    )
    actual = fit(made)
    assert actual.epoch == len(actual.history) == 4
    assert all(torch.equal(kept[-1][name], value) for name, value in actual.weights.items())
    assert "val/target_loss" in actual.history[-1]


@pytest.mark.parametrize("changes", [{"train.patience": 1}, {"optim.schedule": "plateau"}])
def test_patience_and_plateau_need_a_best_metric(job, changes):
    """Whoever asks for patience asks for a choice; learning here makes it worse."""
    target = np.repeat([1, -1], [40, 20]).astype(np.float32)
    given = {"train.epochs": 3, "optim.lr": 1e-2, "train.best_metric": "none", "train.patience": 0}
    actual = fit(job({**given, **changes}, Parts(outputs=1), target=target))
    losses = [epoch["val/total_loss"] for epoch in actual.history]
    assert actual.epoch == np.argmin(losses) + 1 < len(losses)


def test_a_best_metric_that_is_not_a_number_is_an_error(job):
    """R2 of one sample, say: the run ends in a line that says so, not in no weights."""
    changes = {"train.best_metric": "r2", "train.epochs": 1}
    made = job(changes, Parts(outputs=1), val=1, target="gradient")
    with pytest.raises(AAMError, match="r2 of the validation samples is not a number") as caught:
        fit(made)
    assert "train.best_metric" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rows, words", [(slice(0, 60), "epoch 1"), (slice(40, 60), "epoch 1")])
def test_a_loss_that_is_not_a_number_is_an_error(job, rows, words):
    target = np.zeros(60, np.float32)
    target[rows] = np.nan
    with pytest.raises(AAMError, match=f"not a number in {words}: lower the learning rate"):
        fit(job({}, Parts(outputs=1), target=target))
