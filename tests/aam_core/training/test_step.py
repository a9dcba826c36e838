from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.models.layers import Block
from aam_core.models.network import Parts, part_of
from aam_core.training.parallel import join_process_group
from aam_core.training.reporter import Reporter
from aam_core.training.step import Stepper
from aam_core.training.trainer import Trainer
from aam_core.training.validation import LossSums

DROPOUT = {
    "model.encoder.dropout": 0.1,
    "model.sample.dropout": 0.2,
    "model.sample.asv_dropout": 0.2,
    "model.head.target_dropout": 0.3,
}
REGRESS = {"parts": Parts(outputs=1), "target": "gradient"}
CLASSIFY = {"parts": Parts(nucleotide=True, outputs=2), "target": "group"}

MEMBERS = {
    "model.members": 3,
    "model.encoder.features": "profile",
    "model.encoder.components": 6,
}
HELD_OUT = np.arange(60) % 3 == np.arange(3)[:, None]

compiler = shutil.which("g++") or shutil.which("clang++")
headers = Path(sysconfig.get_path("include"), "Python.h").exists()


def learner_of(job):
    return Stepper(job, join_process_group(job.config.train), steps=10)


def computed(job, samples=range(16), epoch=0, step=3):
    """Losses of a batch and gradients, by name."""
    stepper = learner_of(job)
    sums, counts = stepper.gradients(np.array(samples), epoch, step)
    losses = LossSums(job.config.loss)
    losses.add(sums, counts)
    return losses.values(), gradients_of(job.network)


def gradients_of(network):
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def assert_alike(left, right, tolerance=1e-4):
    assert set(left) == set(right)
    for name, expected in left.items():
        bound = tolerance * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(right[name], expected, rtol=tolerance, atol=bound, msg=name)


def fit(job):
    return Trainer(job, Reporter(silent=True)).fit()


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


# --- micro-steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [REGRESS, CLASSIFY, {"parts": Parts(nucleotide=True)}])
@pytest.mark.parametrize("micro_steps", [2, 3, 16, 40])
def test_micro_steps_make_the_same_step(job, given, micro_steps):
    """Of 16 samples: whatever they are divided into, even one by one."""
    more = {**given, "train": 40}
    whole = computed(job(DROPOUT, **more))
    parts = computed(job({**DROPOUT, "train.accumulate": micro_steps}, **more))
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert_alike(whole[1], parts[1])
    assert max(float(gradient.abs().max()) for gradient in whole[1].values()) > 1e-3


def test_classes_keep_their_weights_over_micro_steps(job):
    actual = []
    for micro_steps in (1, 3):
        made = job({"train.accumulate": micro_steps}, **CLASSIFY)
        made.class_weight = torch.tensor([0.3, 2.0])
        actual.append(computed(made))
    assert actual[1][0] == pytest.approx(actual[0][0], rel=1e-5)
    assert_alike(actual[0][1], actual[1][1])
    plain, _ = computed(job({}, **CLASSIFY))
    assert plain["target_loss"] != pytest.approx(actual[0][0]["target_loss"], rel=1e-3)


@pytest.mark.parametrize("given", [REGRESS, {"parts": Parts(outputs=2), "target": "group"}])
def test_members_hold_out_the_same_samples_over_micro_steps(job, given):
    actual = []
    for micro_steps in (1, 3, 16):
        changes = {**DROPOUT, **MEMBERS, "train.accumulate": micro_steps}
        actual.append(computed(job(changes, **given, held_out=HELD_OUT)))
    for losses, gradients in actual[1:]:
        assert losses == pytest.approx(actual[0][0], rel=1e-5)
        assert_alike(actual[0][1], gradients)
    plain, _ = computed(job({**DROPOUT, **MEMBERS}, **given))
    assert plain["target_loss"] != pytest.approx(actual[0][0]["target_loss"], rel=1e-3)


def test_pairs_are_those_within_a_micro_step(job):
    made = job({"train.accumulate": 2}, parts=Parts(distance=True))
    stepper = learner_of(made)
    _, counts = stepper.gradients(np.arange(16), 0, 0)
    assert float(counts["distance"]) == 2 * (8 * 7 / 2)
    micros = stepper._micros(np.array_split(np.arange(16), 2), 0, 0)
    assert [len(micro.batch.sample_index) for micro in micros] == [8, 8]


def test_micro_steps_read_each_masked_asv_once(job):
    made = job({"train.accumulate": 4, "masking.asv_fraction": 1.0}, Parts(nucleotide=True))
    micros = learner_of(made)._micros(np.array_split(np.arange(16), 4), 0, 0)
    read = torch.cat([micro.batch.masked_index for micro in micros]).tolist()
    there = torch.cat([micro.batch.feature_index for micro in micros]).unique().tolist()
    assert sorted(read) == there


# --- draws ---------------------------------------------------------------------------------------


def test_draws_are_keyed_by_the_step_and_the_seed_alone(job):
    def losses(step, changes=()):
        torch.rand(5)  # what a generator was used for before has no part in it
        return computed(job({**DROPOUT, **dict(changes)}, **CLASSIFY), step=step)[0]

    assert losses(3) == losses(3)
    assert losses(3)["nucleotide_loss"] != losses(4)["nucleotide_loss"]
    assert losses(3)["target_loss"] != losses(4)["target_loss"]
    assert losses(3)["nucleotide_loss"] != losses(3, {"train.seed": 1})["nucleotide_loss"]


def test_an_evaluation_is_always_the_same(job):
    stepper = learner_of(job(DROPOUT, **CLASSIFY))
    batches = [np.arange(40, 50), np.arange(50, 60)]
    first = stepper.evaluate(batches).values()
    stepper.gradients(np.arange(16), 0, 0)
    assert stepper.evaluate(batches).values() == first
    assert first["nucleotide_loss"] > 0 and not torch.is_inference_mode_enabled()


def test_an_evaluation_leaves_the_gradients(job):
    stepper = learner_of(job())
    stepper.gradients(np.arange(16), 0, 0)
    before = gradients_of(stepper.network)
    stepper.evaluate([np.arange(40, 60)])
    after = gradients_of(stepper.network)
    assert before and set(before) == set(after) and equal(before, after)


# --- updates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1e-9, 0.0, 1e9])
def test_gradients_are_clipped(job, limit):
    made = job({"optim.clip": limit})
    stepper = learner_of(made)
    stepper.gradients(np.arange(16), 0, 0)
    parameters = [p for p in made.network.parameters() if p.grad is not None]
    before = torch.stack([p.grad.norm() for p in parameters]).norm()
    seen = []
    stepper.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.stack([p.grad.norm() for p in parameters]).norm())
    )
    norm = stepper.update()
    assert float(norm) == pytest.approx(float(before))
    expected = limit if limit == 1e-9 else float(before)
    assert float(seen[0]) == pytest.approx(expected, rel=1e-3)


def test_gradients_are_of_one_step(job):
    """Those of the step before are still there, for histograms, and have no part in it."""
    stepper = learner_of(job({"optim.lr": 0.0}))
    for step in (3, 4, 3):
        stepper.gradients(np.arange(16), 0, step)
        stepper.update()
    again, (_, alone) = gradients_of(stepper.network), computed(job({"optim.clip": 1.0}))
    limit = min(1.0, 1 / float(torch.stack([g.norm() for g in alone.values()]).norm()))
    assert_alike({name: gradient * limit for name, gradient in alone.items()}, again)


def test_distributions_are_of_weights_and_gradients(job):
    stepper = learner_of(job())
    weights = {f"weights/{name}" for name in stepper.network.state_dict()}
    assert set(stepper.distributions()) == weights
    stepper.gradients(np.arange(16), 0, 0)
    gradients = {f"gradients/{name}" for name in gradients_of(stepper.network)}
    assert gradients and set(stepper.distributions()) == weights | gradients


def test_parts_that_no_head_reads_stay(job):
    made = job({}, Parts(nucleotide=True))
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    after = fit(made).weights
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert {part_of(name) for name in still} <= {"samples", "bases"}
    assert {name for name in before if part_of(name) == "samples"} <= still
    assert any(name not in still for name in before if name.startswith("bases.blocks."))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_member_is_the_same_whatever_it_leaves_out(job, optimizer):
    """After some steps: its samples reach it neither by its loss nor by another member."""
    changes = {**DROPOUT, **MEMBERS, "optim.optimizer": optimizer, "optim.clip": 0.0}
    truth = np.linspace(-1, 1, 60, dtype=np.float32)
    other = np.where(HELD_OUT[1], -3 * truth, truth)
    actual = []
    for target in (truth, other):
        given = {"target": target, "held_out": HELD_OUT, "val": 0}
        actual.append(fit(job(changes, Parts(outputs=1), **given)).weights)
    differ = {n.split(".")[1] for n in actual[0] if not torch.equal(actual[0][n], actual[1][n])}
    assert differ == {"0", "2"}


# --- moving average ------------------------------------------------------------------------------


def test_the_average_is_what_is_validated_and_kept(job):
    kept = []
    changes = {"optim.ema": 0.6, "train.epochs": 1}
    made = job(changes, **REGRESS, keep=lambda _, weights: kept.append(weights))
    trainer = Trainer(made, Reporter(silent=True))
    average, seen = {n: p.detach().clone() for n, p in made.network.named_parameters()}, []

    def take(*_):
        decay = min(0.6, (1 + len(seen)) / (10 + len(seen)))
        for name, parameter in made.network.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * parameter.detach()
        seen.append({n: p.detach().clone() for n, p in made.network.named_parameters()})

    trainer.stepper.optimizer.register_step_post_hook(take)
    result = trainer.fit()
    assert len(seen) == 3
    assert_alike(average, {name: result.weights[name] for name in average}, 1e-6)
    assert equal(kept[0], result.weights)
    assert equal(seen[-1], made.network.state_dict())  # which is trained on
    assert not equal(seen[-1], result.weights)
    made.network.load_state_dict(result.weights)
    again = learner_of(made).evaluate(trainer.val).values()
    assert {f"val/{name}": value for name, value in again.items()}.items() <= result.values.items()


# --- precision, kernels, memory ------------------------------------------------------------------


@pytest.mark.parametrize("precision, tolerance", [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_computes_about_the_same(job, precision, tolerance):
    exact, _ = computed(job(DROPOUT))
    actual, gradients = computed(job({**DROPOUT, "train.precision": precision}))
    assert actual == pytest.approx(exact, rel=tolerance)
    assert actual["total_loss"] != exact["total_loss"]
    assert all(gradient.dtype == torch.float32 for gradient in gradients.values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns(job, precision):
    made = job({"train.precision": precision, "train.epochs": 8, "optim.lr": 3e-3})
    history = fit(made).history
    assert history[-1]["val/total_loss"] < 0.9 * history[0]["val/total_loss"]
    assert all(p.dtype == torch.float32 for p in made.network.parameters())


def test_fp16_scales_the_loss_and_passes_over_what_overflows(job):
    stepper = learner_of(job({"train.precision": "fp16"}))
    before = stepper.weights()
    for scale, changed in ((1e30, False), (2.0**10, True)):
        state = stepper.scaler.state_dict() | {"scale": scale}
        stepper.scaler.load_state_dict(state)
        stepper.gradients(np.arange(16), 0, 0)
        norm = stepper.update()
        assert equal(before, stepper.weights()) != changed
        assert bool(torch.isfinite(norm)) == changed
        assert stepper.scaler.get_scale() == (scale if changed else pytest.approx(scale / 2))
        assert all(value.isfinite().all() for value in stepper.weights().values())


def test_the_norm_is_of_the_unscaled_gradients(job):
    norms = []
    for precision in ("fp32", "fp16"):
        stepper = learner_of(job({"train.precision": precision}))
        if precision == "fp16":
            stepper.scaler.load_state_dict(stepper.scaler.state_dict() | {"scale": 2.0**10})
        stepper.gradients(np.arange(16), 0, 0)
        norms.append(float(stepper.update()))
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


@pytest.mark.parametrize("given", [{}, REGRESS])
def test_recomputed_blocks_have_the_same_gradients(job, given):
    exact = computed(job(DROPOUT, **given))
    actual = computed(job({**DROPOUT, "train.gradient_checkpointing": True}, **given))
    assert actual[0] == exact[0]
    assert_alike(exact[1], actual[1], 1e-6)


def test_the_kernel_changes_nothing(job):
    exact = computed(job(DROPOUT))
    actual = computed(job({**DROPOUT, "train.attention": "math"}))
    assert actual[0] == pytest.approx(exact[0], rel=1e-5)
    assert_alike(exact[1], actual[1])


def compiled_is_the_same(job, steps):
    torch.compiler.reset()
    changes = {**DROPOUT, "train.epochs": 1, "train.max_steps": steps}
    exact = fit(job(changes, Parts(nucleotide=True), val=0))
    made = job({**changes, "train.compile": True}, Parts(nucleotide=True), val=0)
    actual = fit(made)
    torch.compiler.reset()
    assert all(block._compiled_call_impl for block in made.network.blocks())
    assert actual.values == pytest.approx(exact.values, rel=1e-4)
    assert set(actual.weights) == set(exact.weights)
    assert not any("_orig_mod" in name for name, _ in made.network.named_parameters())


def test_a_traced_network_trains_alike(job, monkeypatch):
    """All of torch.compile but for the C++ that it writes, which takes its time."""
    compile_ = Block.compile
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(
        Block, "compile", lambda block, **given: compile_(block, backend="eager", **given)
    )
    compiled_is_the_same(job, 3)


@pytest.mark.slow
@pytest.mark.skipif(not (compiler and headers), reason="no C++ compiler, or no headers of Python")
def test_a_compiled_network_trains_alike(job):
    compiled_is_the_same(job, 2)
