"""The benchmarks: what they compare is comparable, and they write what they say."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.config import Config
from aam_core.data.batches import Batcher
from aam_core.data.study import load_study
from aam_core.models.network import Network, Parts
from aam_core.simulate.study import simulate
from aam_core.training.job import TrainingJob
from aam_core.training.parallel import join_process_group
from aam_core.training.step import Stepper
from benchmarks.plain_reference import PADDED, OnePassNetwork, PlainBatcher

ROOT = Path(__file__).resolve().parents[1]
KEYS = {
    "pretrain_ratio",
    "predict_samples_per_cpu_s",
    "predict_samples_per_cpu_s_bf16",
    "distance_share",
    "peak_rss_gb",
}


def run(script: str, *options: str) -> subprocess.CompletedProcess:
    """Run a benchmark as a user does."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *options],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def setting():
    made = simulate(samples=6, features=60, seed=1)
    study = load_study(made.table, sequences=made.sequences, tree=made.tree)
    config = Config().replace(
        {"model.encoder.width": 32, "masking.asv_fraction": 0.5, "train.device": "cpu"}
    )
    steppers = []
    for network, batcher in ((Network, Batcher), (OnePassNetwork, PlainBatcher)):
        torch.manual_seed(1)
        network = network(config.model, Parts(nucleotide=True, distance=True))
        batcher = batcher(study, config.data, 0, distances=True)
        job = TrainingJob(network, config, batcher, np.arange(6), np.arange(0))
        steppers.append(Stepper(job, join_process_group(config.train), steps=1))
    return config, steppers


def test_reference_computes_the_same(setting):
    _, steppers = setting
    distinct, every = (stepper.job.batcher.batch(np.arange(6)) for stepper in steppers)
    assert len(every.asv_tokens) == 6 * PADDED > len(distinct.asv_tokens)
    with torch.no_grad():
        mine, other = (
            stepper.network.eval()(batch)
            for stepper, batch in zip(steppers, (distinct, every), strict=True)
        )
    torch.testing.assert_close(other.sample, mine.sample, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.distance, mine.distance, rtol=1e-4, atol=1e-5)


def one_step(stepper):
    """The batch that the network saw in a step, and what the blocks over its bases read."""
    batches, read = [], []
    network = stepper.network
    hooks = [
        network.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0])),
        network.bases.blocks[0].register_forward_pre_hook(
            lambda _, inputs: read.append(len(inputs[0]))
        ),
    ]
    stepper.gradients(np.arange(6), epoch=0, step=0)
    for hook in hooks:
        hook.remove()
    assert all(weight.grad is not None for weight in network.nucleotide.parameters())
    (batch,) = batches
    return batch, read


def test_reference_hides_the_same_share(setting):
    config, steppers = setting
    shares = []
    for stepper in steppers:
        batch, _ = one_step(stepper)
        bases = batch.asv_tokens.shape[1] - 1
        shares.append(len(batch.masked_truth) / (len(batch.asv_tokens) * bases))
    expected = config.masking.mask_ratio * config.masking.asv_fraction
    assert shares == pytest.approx([expected, expected], rel=0.15)


def test_reference_reads_each_sequence_once(setting):
    _, (ours, plain) = setting
    distinct, read = one_step(ours)
    assert read == [len(distinct.asv_tokens), len(distinct.masked_tokens)]
    batch, read = one_step(plain)
    assert read == [6 * PADDED]
    network = plain.network.eval()
    with torch.no_grad():
        once, apart = network(batch), Network.forward(network, batch)
    torch.testing.assert_close(once.nucleotide, apart.nucleotide, rtol=1e-4, atol=1e-5)
    assert torch.equal(once.nucleotide_truth, apart.nucleotide_truth)
    assert not torch.allclose(once.distance, apart.distance)  # which sees the masks, too


@pytest.mark.real_data
@pytest.mark.slow
def test_quick_run_writes_every_result(real_data, tmp_path):
    output = tmp_path / "speed.json"
    done = run("speed.py", "--quick", "--output", str(output))
    values = json.loads(output.read_text())
    for part in (values, values["base_resolution"]):
        assert KEYS <= set(part)
        assert all(part[name] > 0 for name in KEYS)
    # Few samples share few ASVs, so how much is gained is no matter here; that it is, is.
    assert values["pretrain_ratio"] > 1
    assert 0.1 < values["peak_rss_gb"] < 1.5
    assert str(ROOT.parent) not in output.read_text()
    assert "prediction, samples per CPU second" in done.stdout


@pytest.mark.slow
def test_scale_on_one_and_two_processes(tmp_path):
    output = tmp_path / "scale.json"
    done = run(
        "scale.py", "--quick", "--device", "cpu", "--peak-tflops", "1", "--output", str(output)
    )
    results = json.loads(output.read_text())
    runs = [(row["processes"], row["strategy"]) for row in results["scaling"]]
    assert runs == [(1, ""), (2, "ddp"), (2, "fsdp")]
    alone, ddp, fsdp = results["scaling"]
    assert ddp["samples"] == fsdp["samples"] == 2 * alone["samples"]
    assert ddp["state_gb"] == alone["state_gb"]
    assert fsdp["state_gb"] == pytest.approx(alone["state_gb"] / 2, rel=0.05)
    for row in results["scaling"] + results["checkpointing"] + results["usage"]:
        assert 0.1 < row["peak_gb"] < 2
        assert row["wall_s"] > 0 < row["cpu_s"]
    assert [row["recomputed"] for row in results["checkpointing"]] == [False, True]
    assert all(0 < row["estimate_gb"] < 0.1 for row in results["checkpointing"])
    (usage,) = results["usage"]
    assert usage["mfu"] == pytest.approx(usage["flops"] / usage["wall_s"] / 1e12)
    assert str(ROOT.parent) not in output.read_text()
    lines = [line for line in done.stdout.splitlines() if line]
    assert all(line.startswith("|") for line in lines)
    assert "| 2 fsdp | 4 |" in done.stdout


def test_operations_are_counted_whatever_the_attention_kernel(setting, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    steps = importlib.import_module("scale_steps")
    _, (ours, _) = setting
    counts = []
    for kernel in ("auto", "math"):  # of the latter, torch counts every product by itself
        changes = {"train.device": "cpu", "train.attention": kernel}
        case = steps.Case("tiny", 4, warmup=0, steps=1, changes=changes)
        group = join_process_group(case.config(1).train)
        counts.append(steps._flops(ours.job.batcher.study, case, group))
    assert counts[0] == counts[1] > 0
