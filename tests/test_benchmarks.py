"""The speed benchmark: what it compares is comparable, and it writes what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.config import Config
from aam_core.data.batch import Batcher
from aam_core.data.inputs import load_study
from aam_core.data.simulate import simulate
from aam_core.models.model import Network, Parts
from benchmarks.plain_reference import PADDED, OnePassNetwork, PlainBatcher

ROOT = Path(__file__).resolve().parents[1]
KEYS = {
    "pretrain_ratio",
    "predict_samples_per_cpu_s",
    "predict_samples_per_cpu_s_bf16",
    "distance_share",
    "peak_rss_gb",
}


@pytest.fixture(scope="module")
def setting():
    made = simulate(samples=6, features=60, seed=1)
    study = load_study(made.table, sequences=made.sequences, tree=made.tree)
    config = Config().replace({"model.encoder.width": 32, "masking.asv_fraction": 0.5})
    networks = []
    for network_type in (Network, OnePassNetwork):
        torch.manual_seed(1)
        networks.append(network_type(config.model, Parts(nucleotide=True, distance=True)).eval())
    batches = [
        kind(study, config.data, 0, distances=True).batch(np.arange(6))
        for kind in (Batcher, PlainBatcher)
    ]
    return config, networks, batches


def test_reference_computes_the_same(setting):
    _, (ours, plain), (distinct, every) = setting
    assert len(every.asv_tokens) == 6 * PADDED > len(distinct.asv_tokens)
    with torch.no_grad():
        mine, other = ours(distinct), plain(every)
    torch.testing.assert_close(other.sample, mine.sample, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.distance, mine.distance, rtol=1e-4, atol=1e-5)


def test_reference_hides_the_same_share_in_one_pass(setting):
    config, (ours, plain), (distinct, every) = setting
    shares, passes = [], []
    for network, batch in ((ours, distinct), (plain, every)):
        read = []
        hook = network.bases.pool.register_forward_pre_hook(
            lambda _, given, read=read: read.append(len(given[0]))
        )
        with torch.no_grad():
            output = network(batch, config.masking, torch.Generator().manual_seed(1))
        hook.remove()
        bases = batch.asv_tokens.shape[1] - 1
        shares.append(len(output.nucleotide_truth) / (len(batch.asv_tokens) * bases))
        passes.append(read)
    expected = config.masking.mask_ratio * config.masking.asv_fraction
    assert shares == pytest.approx([expected, expected], rel=0.15)
    assert passes[1] == [len(every.asv_tokens)]


@pytest.mark.real_data
@pytest.mark.slow
def test_quick_run_writes_every_figure(real_data, tmp_path):
    output = tmp_path / "speed.json"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "--quick", "--output", str(output)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    for part in (figures, figures["base_resolution"]):
        assert KEYS <= set(part)
        assert all(part[name] > 0 for name in KEYS)
    # Few samples share few ASVs, so how much is gained is no matter here; that it is, is.
    assert figures["pretrain_ratio"] > 1
    assert 0.1 < figures["peak_rss_gb"] < 1.5
    assert str(ROOT.parent) not in output.read_text()
    assert "prediction, samples per CPU second" in done.stdout
