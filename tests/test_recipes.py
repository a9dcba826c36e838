"""The recipes run: each for two steps on a small study, and the SLURM scripts in a fake SLURM."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aam_core.cli import cli
from aam_core.config.presets import find_preset
from aam_core.config.resolve import read_settings, resolve
from aam_core.simulate.study import simulate

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
KINDS = {"pretrain": "pretraining", "fit-regressor": "fitting", "fit-classifier": "fitting"}
SETTINGS = sorted(path.name for path in RECIPES.glob("*.yaml"))
SCRIPTS = sorted(path.name for path in (RECIPES / "slurm").glob("*.sh"))
BRIEF = ["--preset", "tiny", "--device", "cpu", "--threads", "1", "--max-steps", "2"]
STEPS = 60
"""Steps of a run that is interrupted: enough to be caught in the middle."""


def command_line(recipe) -> list[str]:
    """The command in the head of a recipe."""
    head = re.findall(r"^#   (.*)$", (RECIPES / recipe).read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(" ".join(line.removesuffix("\\") for line in head))


def arguments_of(line: list[str]) -> list[str]:
    """What follows ``aam``."""
    return line[1:] if line[0] == "aam" else line[line.index("aam_core") + 1 :]


def with_others(arguments: list, *more) -> list[str]:
    """The arguments with ``more`` in the place of the same options, which take one value each."""
    again = {it for it in map(str, more) if it.startswith("--") and it != "--set"}
    kept = [
        it
        for before, it in zip(["", *arguments], arguments, strict=False)
        if it not in again and before not in again
    ]
    return [str(it) for it in [*kept, *more]]


def aam(*arguments) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(it) for it in arguments], prog_name="aam")
    assert not stop.value.code, arguments


def environment(**more) -> dict[str, str]:
    """Of a process that imports this checkout; without what torchrun or SLURM have set here."""
    foreign = ("SLURM", "TORCHELASTIC", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**ours, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with the files that the recipes name, columns and all, and an encoder."""
    folder = tmp_path_factory.mktemp("study")
    made = simulate(40, 60, 3, sequence_length=50, depth=20_000)
    names = {"gradient": "age", "host_subject_id": "subject", "group": "disease"}
    replace(made, metadata=made.metadata.rename(columns=names)).write(folder)
    (folder / "recipes").symlink_to(RECIPES)
    here = Path.cwd()
    os.chdir(folder)
    try:
        aam(*with_others(arguments_of(command_line("pretrain-small.yaml")), *BRIEF))
    finally:
        os.chdir(here)
    return folder


@pytest.mark.parametrize("recipe", SETTINGS)
def test_a_recipe_says_only_what_differs_from_its_preset(recipe):
    arguments = arguments_of(command_line(recipe))
    preset = arguments[arguments.index("--preset") + 1]
    plain = find_preset(KINDS[arguments[0]], preset)
    config = resolve(KINDS[arguments[0]], preset=preset, config=RECIPES / recipe)
    settings = read_settings(RECIPES / recipe)
    assert settings
    for path, value in settings.items():
        assert config.at(path) == value != plain.at(path), path


def test_the_encoder_of_the_first_recipe(study):
    log = (study / "encoder" / "logs" / "metrics.jsonl").read_text()
    assert '{"step": 2, ' in log
    assert (study / "encoder" / "model.safetensors").exists()


@pytest.mark.parametrize("recipe", ["finetune-regression.yaml", "finetune-classification.yaml"])
def test_a_fit(recipe, study, monkeypatch, tmp_path):
    monkeypatch.chdir(study)
    arguments = arguments_of(command_line(recipe))
    assert Path(arguments[arguments.index("--config") + 1]).resolve() == RECIPES / recipe
    aam(*with_others(arguments, *BRIEF, "--output", tmp_path / "model"))
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert read_settings(RECIPES / recipe)["train.best_metric"] in metrics["model"]


@pytest.mark.slow
def test_the_large_model_on_two_processes(study, tmp_path):
    program, *line = command_line("pretrain-large-fsdp.yaml")
    assert program == "torchrun" and line[line.index("--nproc-per-node") + 1] == "gpu"
    line[line.index("gpu")] = "2"
    # What compiling is, and that it changes no number, has tests of its own: here it takes minutes.
    more = [*BRIEF, "--set", "train.compile=false", "--output", str(tmp_path / "encoder")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *with_others(line, *more)],
        cwd=study,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "2 x cpu (fsdp)" in done.stderr and "bf16, gradient checkpointing" in done.stderr
    assert (tmp_path / "encoder" / "model.safetensors").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_command_of_a_script_is_one(script, study, monkeypatch):
    monkeypatch.chdir(study)
    text = (RECIPES / "slurm" / script).read_text(encoding="utf-8")
    variables = dict(re.findall(r"^(COMMAND|SETTINGS)=\((.*)\)$", text, re.MULTILINE))
    check(shlex.split(f"{variables['COMMAND']} {variables['SETTINGS']} --output somewhere"))


@pytest.mark.parametrize("page", ["README.md", "apptainer.md"])
def test_the_commands_of_a_page(page, study, monkeypatch):
    monkeypatch.chdir(study)
    text = (RECIPES / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [re.split(r"\baam_core |^aam |run --nv aam.sif ", line) for line in lines]
    commands = [parts[1] for parts in split if len(parts) == 2]
    assert len(commands) == {"README.md": 4, "apptainer.md": 2}[page]
    for command in commands:
        check(shlex.split(command))
    for path in re.findall(r"\brecipes/[\w./-]+", text):
        assert (ROOT / path).exists(), path


def check(arguments: list[str]) -> None:
    """That ``aam`` takes these arguments: the command, its options, and the files they name."""
    cli.get_command(None, arguments[0]).make_context(arguments[0], arguments[1:])


def test_the_image_has_all_that_the_package_is_made_of():
    text = (RECIPES / "aam.def").read_text(encoding="utf-8")
    section = text.split("%files\n")[1].split("\n\n")[0].splitlines()
    copied = {source: target for source, target in map(str.split, section)}
    assert all((ROOT / source).exists() for source in copied)
    assert all(target == f"/opt/aam/{source}" for source, target in copied.items())
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "aam_core", "q2_aam"} == set(
        copied
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_bash(script):
    path = RECIPES / "slurm" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    head = path.read_text(encoding="utf-8").split("\nset -euo pipefail\n")[0].splitlines()
    assert all(line.startswith("#") for line in head)  # sbatch reads no further
    for option in ("--requeue", "--signal=B:USR1@120", "--open-mode=append"):
        assert f"#SBATCH {option}" in head


# A fake SLURM: the two nodes are this machine, and srun answers to signals as the real one.
FAKES = {
    "python": 'exec {python} "$@"',
    "torchrun": 'exec {python} -m torch.distributed.run "$@"',
    "scontrol": """
        case "$1 $2" in
            "show hostnames") echo localhost; echo localhost ;;
            requeue*) echo "$@" >>"$FAKE/requeued" ;;
            *) exit 1 ;;
        esac""",
    "scancel": """
        [ "$*" = "--signal=TERM $SLURM_JOB_ID" ] && xargs kill -TERM <"$FAKE/tasks" """,
    "srun": """
        while [ "${{1#-}}" != "$1" ]; do shift; done
        "$@" & first=$!
        "$@" & second=$!
        echo "$first $second" >"$FAKE/tasks"
        trap 'kill -KILL $first $second' TERM
        wait "$first"; status=$?
        wait "$second" && exit "$status" """,
}


class Job:
    """One of the scripts, with the variables that are for the user to edit set for a small study.

    Parameters
    ----------
    script : str
    study, folder : Path
        Where the inputs are, and where all is written.
    """

    def __init__(self, script: str, study: Path, folder: Path):
        self.folder, self.output = folder, folder / "encoder"
        inputs = "--table table.biom --sequences rep-seqs.fasta --tree tree.nwk"
        edits = {
            "OUTPUT": str(self.output),
            "COMMAND": f"(pretrain {inputs})",
            "SETTINGS": f"({shlex.join(long_run())})",
            "PROCESSES": "1",
            "export OMP_NUM_THREADS": "1",
            "PORT": str(free_port()),
        }
        text = (RECIPES / "slurm" / script).read_text(encoding="utf-8")
        for name, value in edits.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert count == (name != "PORT" or script == "several-nodes.sh"), name
        (folder / "job.sh").write_text(text)
        (folder / "bin").mkdir()
        for name, body in FAKES.items():
            program = folder / "bin" / name
            program.write_text("#!/bin/bash\n" + body.format(python=shlex.quote(sys.executable)))
            program.chmod(0o755)
        self.study = study
        self.log = folder / "job.log"

    def start(self) -> subprocess.Popen:
        """Execute it, as SLURM does: in a session of its own, the log continued."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        job = {"SLURM_JOB_ID": "4242", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}
        with open(self.log, "a") as log:
            return subprocess.Popen(
                ["bash", self.folder / "job.sh"],
                cwd=self.study,
                env=environment(PATH=path, FAKE=str(self.folder), **job),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, running: subprocess.Popen) -> int:
        """Wait for it; its exit status."""
        try:
            return running.wait(120)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)

    def wait_for_steps(self, running: subprocess.Popen, number: int) -> None:
        """Wait until ``number`` steps are in the log."""
        until = time.monotonic() + 60
        while len(self.steps()) < number:
            if running.poll() is not None or time.monotonic() > until:
                self.end(running)
                raise AssertionError(self.log.read_text())
            time.sleep(0.01)

    def steps(self) -> list[int]:
        return [line["step"] for line in read_log(self.output) if "train/total_loss" in line]

    def saved_step(self) -> int:
        """The step of its last checkpoint."""
        head = json.loads((self.output / "checkpoint" / "last" / "checkpoint.json").read_text())
        return head["progress"]["step"]

    def requeued(self) -> list[str]:
        path = self.folder / "requeued"
        return path.read_text().splitlines() if path.exists() else []


def long_run() -> list[str]:
    """Settings of a run that is interrupted."""
    more = ["--max-steps", STEPS, "--batch-size", 2, "--sampling-depth", 500]
    sets = ["--set", "train.log_every=1", "--set", "train.trackers=none"]
    return with_others(BRIEF, *more, *sets)


def read_log(output: Path) -> list[dict]:
    path = output / "logs" / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("localhost", 0))
        return it.getsockname()[1]


@pytest.fixture(scope="module")
def uninterrupted(study, tmp_path_factory):
    """The log of a run that nothing happens to, in one process."""
    output = tmp_path_factory.mktemp("uninterrupted") / "encoder"
    inputs = {"table": "table.biom", "sequences": "rep-seqs.fasta", "tree": "tree.nwk"}
    files = [it for name, file in inputs.items() for it in (f"--{name}", study / file)]
    aam("pretrain", *files, *long_run(), "--output", output)
    return read_log(output)


@pytest.mark.slow
@pytest.mark.parametrize("script, precision", [("one-node.sh", 1e-12), ("several-nodes.sh", 1e-3)])
def test_a_signalled_job_saves_queues_again_and_resumes(
    script, precision, study, tmp_path, uninterrupted
):
    job = Job(script, study, tmp_path)
    running = job.start()
    job.wait_for_steps(running, 3)
    os.kill(running.pid, signal.SIGUSR1)  # as by --signal=B:USR1@120: to the script alone
    assert job.end(running) == 0
    stopped = job.saved_step()
    assert 3 <= stopped < STEPS
    assert job.steps() == list(range(1, stopped + 1))  # all that was done is kept
    assert not (job.output / "model.safetensors").exists()
    assert job.requeued() == ["requeue incomplete 4242"]

    assert job.end(job.start()) == 0
    assert f"resuming after step {stopped}" in job.log.read_text()
    assert (job.output / "model.safetensors").exists()
    assert job.requeued() == ["requeue incomplete 4242"]
    assert job.steps() == list(range(1, STEPS + 1))
    for ours, theirs in zip(read_log(job.output)[-2:], uninterrupted[-2:], strict=True):
        losses = {name: value for name, value in theirs.items() if name.endswith("_loss")}
        assert losses and ours["step"] == theirs["step"] == STEPS
        assert {name: ours[name] for name in losses} == pytest.approx(losses, rel=precision)


@pytest.mark.slow
def test_a_job_that_is_signalled_whole_saves_too(study, tmp_path):
    """As SLURM ends a job: SIGTERM to the script and to what it runs, which gets it twice."""
    job = Job("one-node.sh", study, tmp_path)
    running = job.start()
    job.wait_for_steps(running, 3)
    os.killpg(running.pid, signal.SIGTERM)
    assert job.end(running) == 0
    assert job.steps() == list(range(1, job.saved_step() + 1))
    assert job.requeued() == ["requeue incomplete 4242"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_job_that_fails_is_not_queued_again(script, study, tmp_path):
    job = Job(script, study, tmp_path)
    (tmp_path / "bin" / "torchrun").write_text("#!/bin/bash\nexit 3\n")
    assert job.end(job.start()) == 3
    assert not job.requeued() and not job.output.exists()
