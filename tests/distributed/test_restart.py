"""Runs on two processes that die, are told to stop, or are run by torchrun: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aam_core.files.locks import LOCK, lock_folder
from aam_core.simulate.study import simulate

HERE = Path(__file__).parent
SETTINGS = [
    *("--preset", "tiny", "--epochs", "6", "--batch-size", "8", "--threads", "1"),
    *("--device", "cpu", "--set", "train.checkpoint_every=2", "--set", "train.log_every=1"),
    *("--set", "model.sample.dropout=0.2", "--set", "train.trackers=none"),
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """``start(output, *more, torchrun=False)``: begin `aam pretrain` on two processes."""
    data = tmp_path_factory.mktemp("study")
    simulate(40, 40, 3, sequence_length=40, depth=3000).write(data)
    study = [
        *("--table", str(data / "table.biom"), "--sequences", str(data / "rep-seqs.fasta")),
        *("--tree", str(data / "tree.nwk")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}

    def begin(output, *more, torchrun=False):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [
            *(sys.executable, *(launcher if torchrun else [])),
            *("-m", "aam_core", "pretrain", *study, *SETTINGS, "--output", str(output), *more),
            *([] if torchrun else ["--devices", "2"]),
        ]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    return begin


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """Logs of a run that nothing befell."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    run = start(folder)
    errors = run.communicate()[1]
    assert run.returncode == 0, errors
    return logs(folder)


def logs(folder: Path) -> dict:
    """Losses by step, without what depends on the clock."""
    result: dict = {}
    for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        kept = {k: v for k, v in values.items() if "second" not in k and "memory" not in k}
        result.setdefault(step, {}).update(kept)
    return result


def until(folder: Path, step: int) -> None:
    """Wait until that step is logged."""
    log = folder / "logs" / "metrics.jsonl"
    for _ in range(2400):
        if log.exists() and f'"step": {step},' in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} never came")


def workers(parent: int) -> list[int]:
    """Process ids of the training processes under ``parent``."""
    result = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(words[1]) == parent and b"spawn_main" in command:
                result.append(int(entry.name))
    return sorted(result)


def same(result: dict, whole: dict) -> None:
    assert sorted(result) == sorted(whole)
    for step, values in whole.items():
        assert result[step] == pytest.approx(values, rel=1e-9), step


linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")


@linux
def test_a_process_that_dies_is_started_again(start, whole, tmp_path):
    run = start(tmp_path / "out", "--max-restarts", "1")
    until(tmp_path / "out", 7)
    os.kill(workers(run.pid)[-1], signal.SIGKILL)
    errors = run.communicate()[1]
    assert run.returncode == 0, errors
    assert "restart 1 of 1" in errors and "resuming after step" in errors
    same(logs(tmp_path / "out"), whole)


@linux
def test_without_restarts_it_is_an_error_and_the_run_can_be_resumed(start, whole, tmp_path):
    run = start(tmp_path / "out")
    until(tmp_path / "out", 7)
    os.kill(workers(run.pid)[0], signal.SIGKILL)
    errors = run.communicate()[1]
    assert run.returncode == 2 and "Traceback" not in errors
    assert [line for line in errors.splitlines() if line.startswith("aam: error:")]
    again = start(tmp_path / "out", "--resume", str(tmp_path / "out"))
    assert again.communicate()[1] and again.returncode == 0
    same(logs(tmp_path / "out"), whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_first(start, whole, tmp_path, number):
    run = start(tmp_path / "out")
    until(tmp_path / "out", 5)
    run.send_signal(number)
    errors = run.communicate()[1]
    assert run.returncode == 128 + number and f"--resume {tmp_path / 'out'}" in errors
    again = start(tmp_path / "elsewhere", "--resume", str(tmp_path / "out"), torchrun=True)
    errors = again.communicate()[1]
    assert again.returncode == 0, errors
    assert errors.count("resuming after step") == 1  # one of the processes says it
    same(logs(tmp_path / "elsewhere"), whole)


SCRIPT = """
import sys
from aam_core import load_study, presets, pretrain, fit_classifier

here = sys.argv[1]
study = load_study(f"{here}/table.biom", sequences=f"{here}/rep-seqs.fasta",
                   tree=f"{here}/tree.nwk", metadata=f"{here}/metadata.tsv")
brief = {"train.max_steps": 2, "train.min_steps": 0, "train.device": "cpu", "train.threads": 1,
         "train.strategy": "fsdp"}
encoder = pretrain(study, config=presets.pretraining("tiny").replace(brief))
config = presets.fitting("tiny").replace(brief)
model = fit_classifier(study, "group", encoder=encoder, config=config)
assert model.run["processes"] == 2 and len(model.val_predictions)
"""


def test_a_script_of_ones_own_runs_several_workflows(tmp_path):
    simulate(40, 40, 3, sequence_length=40, depth=3000).write(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(tmp_path / "script.py"), str(tmp_path)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@linux
def test_a_restart_does_not_go_on_from_an_earlier_run(start, tmp_path):
    """The folder holds the checkpoint of another run; this one dies before its first."""
    first = start(tmp_path / "out", "--max-steps", "1")
    assert first.communicate()[1] and first.returncode == 0
    run = start(tmp_path / "out", "--max-restarts", "1", "--seed", "7", "--max-steps", "3")
    while run.poll() is None and len(workers(run.pid)) < 2:
        time.sleep(0.05)
    os.kill(workers(run.pid)[-1], signal.SIGKILL)
    errors = run.communicate()[1]
    assert run.returncode == 0, errors
    assert "restart 1 of 1" in errors and "resuming after step" not in errors
    assert max(logs(tmp_path / "out")) == 3


@linux
@pytest.mark.parametrize("torchrun", [False, True])
def test_a_second_run_is_refused_before_any_work(start, tmp_path, torchrun):
    """However either is started: the first process holds the folder for all, until it is gone."""
    out = tmp_path / "out"
    first = start(out, "--set", "train.min_steps=1000000", torchrun=torchrun)
    try:
        until(out, 3)
        for how in (False, True):
            second = start(out, "--seed", "7", torchrun=how)
            errors = second.communicate()[1]
            lines = [line for line in errors.splitlines() if line.startswith("aam: error: ")]
            assert lines and f"another aam is writing {out} (process " in lines[0], errors
            assert second.returncode == (1 if how else 2)  # torchrun has a status of its own
    finally:
        first.terminate()
        first.communicate()
    with lock_folder(out):
        assert sorted(path.name for path in out.iterdir()) == [LOCK, "checkpoint", "logs"]
