"""Tests of launch.processes, with two processes each (gloo where they speak to each other)."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aam_core.errors import AAMError, InputError
from aam_core.training.launch.processes import run_in_processes

TOYS = '''
import json, os, signal, time
from pathlib import Path

import torch
import torch.distributed as dist

from aam_core.errors import InputError, Preempted
from aam_core.training.launch.environment import is_launched, restart_count
from aam_core.training.launch.signals import Stopper

RANK = int(os.environ.get("RANK", -1))


def lives_twice(folder):
    """Rank 1 dies the first time, after a checkpoint; the second time both tell what they see."""
    dist.init_process_group("gloo")
    total = torch.tensor(RANK + 1)
    dist.all_reduce(total)
    checkpoint = Path(folder, "checkpoint")
    if RANK == 1 and not checkpoint.exists():
        checkpoint.write_text("half way")
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()
    seen = {"total": total.item(), "under": is_launched(), "restarts": restart_count()}
    Path(folder, f"{RANK}.json").write_text(json.dumps({**seen, **os.environ}))


def refuses(folder):
    """Rank 1 finds bad input while rank 0 is busy."""
    Path(folder, f"{RANK}-{restart_count()}").touch()
    if RANK == 1:
        raise InputError("column 'age': 2 blanks (a, b); fill them in.")
    time.sleep(600)


def breaks():
    """Rank 0 fails; rank 1 would wait for it, and does not listen."""
    dist.init_process_group("gloo")
    if RANK == 0:
        raise ValueError("not positive:\\nloss")
    with Stopper():
        dist.barrier()


def trains(folder, obedient):
    """A loop that stops between two steps, or never looks."""
    with Stopper() as stopper:
        Path(folder, f"up-{RANK}").write_text(str(os.getpid()))
        while not (obedient and stopper.signal):
            time.sleep(0.02)
        Path(folder, f"saved-{RANK}").write_text(str(stopper.signal))
        raise Preempted(f"stopped at step 7 of {folder}.", stopper.signal)
'''

SCRIPT = """
import sys
from aam_core.training.launch.processes import run_in_processes
from toys_of_launch import trains

folder = sys.argv[1]
try:
    run_in_processes(trains, {"folder": folder, "obedient": sys.argv[2] == "obedient"}, devices=2)
except BaseException as error:
    print(type(error).__name__, error, getattr(error, "signal", None))
"""
"""Not under ``if __name__ == "__main__"``: the workers must not run it again."""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A module that spawned processes can import, as they could not this one."""
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "toys_of_launch.py").write_text(TOYS)
    monkeypatch.syspath_prepend(tmp_path / "toys")
    monkeypatch.delitem(sys.modules, "toys_of_launch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return importlib.import_module("toys_of_launch")


def test_a_command_where_the_world_size_alone_is_set(tmp_path):
    """It trains in one process, as without."""
    from aam_core.simulate.study import simulate

    simulate(12, 20, 1, sequence_length=30, depth=200).write(tmp_path)
    command = "fit-regressor --table table.biom --sequences rep-seqs.fasta --metadata metadata.tsv"
    settings = "--target gradient --preset tiny --max-steps 2 --set forest.trees=5 --output out"
    environment = {**os.environ, "WORLD_SIZE": "4"}
    done = subprocess.run(
        [sys.executable, "-m", "aam_core", *command.split(), *settings.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_killed_worker_restarts_all(toys, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    handlers = [signal.getsignal(number) for number in (1, 2, 3, 10, 15)]
    environment = dict(os.environ)

    run_in_processes(toys.lives_twice, {"folder": str(tmp_path)}, devices=2, max_restarts=3)

    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.startswith("[")]  # gloo's
    cause = "rank 1 died (signal 9)"
    assert lines == [f"warning: {cause}; restart 1 of 3 from the last checkpoint"]
    assert shown.out == ""
    for rank in (0, 1):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert (seen["total"], seen["under"], seen["restarts"]) == (3, True, 1)
        assert (seen["RANK"], seen["LOCAL_RANK"], seen["WORLD_SIZE"]) == (str(rank),) * 2 + ("2",)
        assert seen["MASTER_ADDR"] == "localhost" and int(seen["MASTER_PORT"]) > 0
        assert seen["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert dict(os.environ) == environment
    assert [signal.getsignal(number) for number in (1, 2, 3, 10, 15)] == handlers


def test_an_error_of_the_users_comes_out_as_it_was(toys, tmp_path, capfd):
    with pytest.raises(InputError, match="^column 'age': 2 blanks \\(a, b\\); fill them in\\.$"):
        run_in_processes(toys.refuses, {"folder": str(tmp_path)}, devices=2, max_restarts=3)
    assert capfd.readouterr() == ("", "")
    # No second start; the one that fails first ends the other, perhaps before it has begun.
    assert {path.name for path in tmp_path.glob("?-?")} in ({"0-0"}, {"1-0"}, {"0-0", "1-0"})


def test_any_other_error_is_one_line(toys, caplog, monkeypatch):
    monkeypatch.setenv("AAM_DEBUG", "1")
    with pytest.raises(AAMError) as caught:
        run_in_processes(toys.breaks, {}, devices=2)
    message = str(caught.value)
    assert message.startswith("rank 0 failed (ValueError: not positive: loss): AAM_DEBUG=1 shows")
    assert "\n" not in message
    (trace, *_) = caplog.messages
    assert 'in breaks\n    raise ValueError("not positive' in trace


class Started:
    """A script that spreads a loop over two workers, up to where both are in it."""

    def __init__(self, tmp_path: Path, obedient: bool):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT)
        path = os.pathsep.join([str(tmp_path / "toys"), *filter(None, sys.path)])
        self.folder = tmp_path
        self.process = subprocess.Popen(
            [sys.executable, script, tmp_path, "obedient" if obedient else "deaf"],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.workers = [int(self.read(f"up-{rank}")) for rank in (0, 1)]

    def read(self, name: str) -> str:
        """What a worker wrote, once it has."""
        deadline = time.monotonic() + 60
        path = self.folder / name
        while not path.exists() or not path.read_text():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.02)
        return path.read_text()


def test_a_scheduler_stops_the_workers(toys, tmp_path):
    run = Started(tmp_path, obedient=True)
    run.process.send_signal(signal.SIGUSR1)
    out, err = run.process.communicate(timeout=60)
    assert out == f"Preempted stopped at step 7 of {tmp_path}. 10\n"
    assert err == ""
    assert [run.read(f"saved-{rank}") for rank in (0, 1)] == ["15", "15"]


def test_ctrl_c_in_a_terminal_stops_the_workers(toys, tmp_path):
    run = Started(tmp_path, obedient=True)
    os.killpg(run.process.pid, signal.SIGINT)  # a terminal sends it to the workers too
    out, err = run.process.communicate(timeout=60)
    assert out == f"KeyboardInterrupt stopped at step 7 of {tmp_path}. None\n"
    assert err == ""


def test_no_worker_outlives_its_parent(toys, tmp_path):
    run = Started(tmp_path, obedient=False)
    run.process.kill()
    run.process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(_alive(worker) for worker in run.workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in ("", "Z")
