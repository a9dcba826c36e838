"""A pretraining on many studies that two processes resume is that of one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core import load_model, load_studies, pretrain_studies
from aam_core.simulate.study import simulate

HERE = Path(__file__).parent
SETTINGS = {
    **{"loss.presence": 1.0, "train.batch_size": 8, "train.max_steps": 0, "train.min_steps": 0},
    **{"train.threads": 1, "train.device": "cpu", "train.trackers": "none"},
}


@pytest.fixture
def folder(tmp_path):
    """Three studies of 24 samples."""
    for number in range(3):
        made = simulate(24, 30, number, sequence_length=40, depth=2000)
        made.write(tmp_path / "many" / f"study{number}")
    return tmp_path / "many"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_stopped(folder, tmp_path, strategy):
    studies = load_studies(folder, least_reads=1)

    def train(epochs, output, **options):
        changes = SETTINGS | {"train.epochs": epochs}
        return pretrain_studies(studies, preset="tiny", config=changes, output=output, **options)

    train(1, tmp_path / "first", held_out=["study2"])
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    # Of a run that is resumed the settings hold, but for these.
    one = pretrain_studies(
        studies, config={"train.epochs": 2}, resume=tmp_path / "first", output=tmp_path / "first"
    )
    command = [
        *(sys.executable, "-m", "aam_core", "pretrain", "--study", str(folder)),
        *("--least-reads", "1", "--epochs", "2", "--devices", "2", "--strategy", strategy),
        *("--resume", str(tmp_path / "second"), "--output", str(tmp_path / "second")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    two = load_model(tmp_path / "second")
    assert two.run["held_out_studies"] == ["study2"]
    for name, weight in one.network.state_dict().items():
        torch.testing.assert_close(
            two.network.state_dict()[name], weight, rtol=1e-3, atol=1e-4, msg=name
        )
    ours, theirs = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("first", "second")
    )
    assert ours.keys() == theirs.keys() and ours["columns"]["columns"] == 2
    for name, value in ours["columns"].items():
        np.testing.assert_allclose(theirs["columns"][name], value, atol=1e-2, err_msg=name)
