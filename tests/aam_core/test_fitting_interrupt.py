"""Runs that are interrupted, or that begin in the folder of an older one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.errors import InputError
from aam_core.fitting import fit_regressor
from aam_core.model import load_model
from aam_core.prediction import predict
from aam_core.training import checkpoint

CHECKPOINTS = {
    "train.epochs": 9,
    "train.max_steps": 0,
    "train.patience": 0,
    "train.checkpoint_every": 2,
    "train.trackers": "none",
}


@pytest.fixture
def interrupted(small, brief, tmp_path, stop_at, capsys):
    """Press Ctrl-C at a step of a run of four steps an epoch; the folder, and what was said."""

    def press(step):
        config = brief("fitting", CHECKPOINTS)
        stop_at(step, KeyboardInterrupt)
        capsys.readouterr()
        with pytest.raises(KeyboardInterrupt):
            fit_regressor(small, "gradient", config=config, output=tmp_path / "out")
        return tmp_path / "out", capsys.readouterr().err.splitlines()[-1]

    return press


def test_ctrl_c_leaves_the_best_model_so_far_and_says_where(interrupted, small):
    out, line = interrupted(8)
    best = out / "checkpoint" / "best"
    assert line.endswith(f"the best model so far is in {best}; continue with --resume {out}")
    assert sorted(item.name for item in out.iterdir()) == ["checkpoint", "logs"]
    result = predict(load_model(best), small)
    known = ["known_reads", "known_kmers", "in_training"]
    assert list(result.columns) == ["prediction", *known]  # it was not validated: no interval
    assert np.isfinite(result["prediction"]).all()


def test_ctrl_c_before_the_first_epoch_is_over_promises_no_model(interrupted):
    out, line = interrupted(3)
    assert line.endswith(f"interrupted; continue with --resume {out}")
    assert [item.name for item in (out / "checkpoint").iterdir()] == ["last"]


def test_ctrl_c_at_once_promises_nothing(interrupted):
    out, line = interrupted(1)
    assert "resume" not in line
    assert [item.name for item in out.iterdir()] == ["logs"]


# --- a new run in the folder of an older one -----------------------------------------------------


def test_a_new_run_has_checkpoints_of_its_own(small, brief, tmp_path, interrupted):
    out, _ = interrupted(8)
    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", config=config, output=out)
    val = checkpoint.load(checkpoint.find(out))
    assert val.progress["history"] == model.history
    assert val.run["config"] == config.to_dict()
    best = load_model(out / "checkpoint" / "best")
    mine, theirs = best.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.fixture
def finished(regressor, tmp_path):
    """A regressor that was fitted to the end, with a copy of its folder."""
    return regressor.model, Path(shutil.copytree(regressor.folder, tmp_path / "done"))


def test_a_new_run_that_ends_early_leaves_none_of_the_older(small, brief, finished, stop_at):
    """Which would be gone on from by mistake; the model itself stays until there is a new one."""
    model, folder = finished
    assert checkpoint.exists(folder)
    stop_at(1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_regressor(small, "gradient", config=brief("fitting", CHECKPOINTS), output=folder)
    with pytest.raises(InputError):
        checkpoint.load(checkpoint.find(folder))
    assert load_model(folder).metrics == model.metrics


def test_a_run_that_is_refused_leaves_the_older_one(small, brief, finished):
    _, folder = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError):
        fit_regressor(small, "host_subject_id", config=brief("fitting", CHECKPOINTS), output=folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
