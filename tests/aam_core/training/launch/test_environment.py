from __future__ import annotations

import pytest

from aam_core.errors import InputError
from aam_core.training.launch.environment import (
    is_launched,
    launch_id,
    launched_by_torchrun,
    restart_count,
    world_size,
)

TORCHRUN = {"RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2"}


def test_a_lone_process():
    assert not is_launched() and not launched_by_torchrun()
    assert (world_size(), restart_count(), launch_id()) == (1, 0, None)


@pytest.mark.parametrize("size", ["1", "2"])
def test_a_scheduler_may_set_the_world_size_alone(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    assert not is_launched() and world_size() == 1


def test_torchrun_sets_more(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert is_launched() and launched_by_torchrun() and world_size() == 2
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE in the environment is 'two'"):
        is_launched()


def test_one_process_may_be_launched_too(monkeypatch):
    """For its restarts."""
    monkeypatch.setenv("AAM_LAUNCH", "aam-1")
    assert is_launched() and not launched_by_torchrun() and launch_id() == "aam-1"


def test_restarts_do_not_change_the_identity_of_a_launch(monkeypatch):
    for name, value in {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    before = launch_id()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert launch_id() == before and restart_count() == 1
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert launch_id() != before
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert launch_id().startswith("mine-")
