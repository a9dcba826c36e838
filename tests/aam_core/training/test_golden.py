"""Losses of two short runs, epoch by epoch, against those that were noted.

What is meant to change them (a loss, a draw, an initial weight) renews the note; what is not has
found a mistake. ``python tests/aam_core/train/test_golden.py`` writes ``golden.json`` anew.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from aam_core.fitting import fit_regressor
from aam_core.pretraining import pretrain

NOTED = Path(__file__).with_name("golden.json")
RENEW = "AAM_RENEW_GOLDEN"
TOLERANCE = 1e-4
"""Relative: what other versions of torch and numpy, and other CPUs, may differ by."""

RANDOM = {
    "train.epochs": 3,
    "train.max_steps": 0,
    "train.patience": 0,
    "train.precision": "fp32",
    "train.threads": 1,
    "model.encoder.dropout": 0.1,
    "model.sample.dropout": 0.2,
    "model.sample.asv_dropout": 0.2,
    "model.head.target_dropout": 0.3,
}


def pretraining(study, brief):
    return pretrain(study, config=brief("pretraining", RANDOM), group_by="host_subject_id")


MEMBERS = {
    "model.members": 3,
    "model.encoder.features": "both",
    "model.encoder.components": 8,
    "data.sampling_depth_max": 600,
    "data.full_depth": 0.3,
    "train.val_fraction": 0.5,
    "loss.nucleotide": 0.0,
}


def regression(study, brief):
    """Two members hold out the same half."""
    config = brief("pretraining", {**RANDOM, **MEMBERS})
    return fit_regressor(study, "gradient", config=config, group_by="host_subject_id")


@pytest.mark.parametrize("run", [pretraining, regression])
def test_losses_are_those_that_were_noted(run, small, brief):
    result = losses(run(small, brief).history)
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    name = run.__name__
    if os.environ.get(RENEW):
        NOTED.write_text(json.dumps({**noted, name: result}, indent=1, sort_keys=True) + "\n")
        pytest.skip(f"{name} is noted anew in {NOTED.name}")
    wrong = differences(noted.get(name, []), result)
    assert not wrong, (
        f"{name}: {len(wrong)} losses are not those of {NOTED.name}: {'; '.join(wrong[:8])}. "
        "If what you changed is meant to change them, write that file anew with `python "
        f"{Path(*Path(__file__).parts[-4:])}`, and say in the commit why they differ; if not, it "
        "has found a mistake."
    )


def losses(history):
    """Of each epoch; six digits, for the tolerance has four."""
    return [
        {name: float(f"{value:.6g}") for name, value in epoch.items() if name.endswith("_loss")}
        for epoch in history
    ]


def differences(noted, result):
    """What differs, in words; first whether the same things were noted at all."""
    names = [[sorted(epoch) for epoch in curves] for curves in (noted, result)]
    if names[0] != names[1]:
        return [f"noted are {names[0]}, found {names[1]}"]
    return [
        f"{name} of epoch {number} is {epoch[name]}, not {before[name]}"
        for number, (before, epoch) in enumerate(zip(noted, result, strict=True), 1)
        for name in epoch
        if epoch[name] != pytest.approx(before[name], rel=TOLERANCE)
    ]


def test_differences_are_named():
    noted = [{"a_loss": 1.0, "b_loss": 2.0}, {"a_loss": 0.5, "b_loss": 1.0}]
    assert differences(noted, noted) == []
    near = [noted[0], {"a_loss": 0.5 * (1 + TOLERANCE / 2), "b_loss": 1.001}]
    assert differences(noted, near) == ["b_loss of epoch 2 is 1.001, not 1.0"]
    assert len(differences(noted, noted[:1])) == 1


if __name__ == "__main__":
    os.environ[RENEW] = "1"
    sys.exit(pytest.main(["-q", __file__]))
