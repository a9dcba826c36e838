"""Kill fits while they write, and look at what is there: the old model, the new one, or none.

``python tests/kills/kills.py 50`` (``make kills N=50``) kills 50 fits into new folders and 50 over
an earlier model, half of them while they save; a save at each of its file operations; and reads a
model while it is saved again and again. Every killed process is one of its own, ended by SIGKILL.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aam_core import load_model, load_study, predict
from aam_core.cli import cli
from aam_core.errors import InputError
from aam_core.files.folders import STAGE
from aam_core.simulate.study import simulate
from aam_core.training import checkpoint

SETTINGS = (
    *("--target", "gradient", "--preset", "tiny", "--device", "cpu", "--threads", "1"),
    *("--max-steps", "12", "--set", "model.members=2", "--val-fraction", "0.5"),
    *("--set", "forest.trees=10", "--set", "train.trackers=none"),
)

FORK = multiprocessing.get_context("fork")
"""So that a fit is killed while it works, and not while Python imports torch."""

OPERATIONS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")
"""Events of Python's audit hooks before which a save is killed."""


class Workshop(NamedTuple):
    """A study, a model of each of two seeds, and what each predicts."""

    folder: Path
    study: object
    fit: list[str]
    old: Path
    new: Path
    predictions: dict[str, np.ndarray]
    seconds: float


def prepare(folder: Path) -> Workshop:
    """Fit the two models, undisturbed."""
    data = folder / "study"
    simulate(24, 40, 3).write(data)
    names = {"table": "table.biom", "sequences": "rep-seqs.fasta", "metadata": "metadata.tsv"}
    paths = {name: str(data / file) for name, file in names.items()}
    fit = ["fit-regressor", *SETTINGS]
    for name, path in paths.items():
        fit += [f"--{name}", path]
    study = load_study(paths["table"], sequences=paths["sequences"], metadata=paths["metadata"])
    for name, seed in (("old", 1), ("new", 2)):
        began = time.monotonic()
        assert _run([*fit, "--seed", str(seed), "--output", str(folder / name)]) == 0
        seconds = time.monotonic() - began
    known = {name: _predictions(folder / name, study) for name in ("old", "new")}
    assert not np.array_equal(known["old"], known["new"])
    return Workshop(folder, study, fit, folder / "old", folder / "new", known, seconds)


def kill_fits(shop: Workshop, number: int, over: bool, seed: int = 0) -> Counter:
    """Kill ``number`` fits, into a new folder or ``over`` the old model; what was found, how often.

    Every second one is killed at any time, the others when the model is being saved. A fit that
    ends before it is killed is counted apart, and another one takes its place.
    """
    result: Counter = Counter()
    longest, kill = shop.seconds, 0
    draw = random.Random(seed)
    out = shop.folder / "killed"
    command = [*shop.fit, "--seed", "2", "--output", str(out)]
    while kill < number:
        shutil.rmtree(out, ignore_errors=True)
        if over:
            shutil.copytree(shop.old, out)
        child = FORK.Process(target=_fit, args=(command,))
        began = time.monotonic()
        child.start()
        if kill % 2:
            time.sleep(draw.uniform(0, longest))
        else:
            while child.is_alive() and not (out / STAGE).exists():
                pass
            time.sleep(draw.choice((0, draw.uniform(0, 0.002), draw.uniform(0, 0.05))))
        child.kill()
        child.join()
        killed = child.exitcode == -signal.SIGKILL
        what = _what_is_there(shop, out)
        if not killed:
            assert what == "new" and child.exitcode == 0, (what, child.exitcode)
            longest = min(longest, time.monotonic() - began)
            result["finished before it was killed"] += 1
            continue
        kill += 1
        result[what] += 1
        assert what in ("old", "new") or not over, f"kill {kill} left {what} of the earlier model"
        best = _what_is_there(shop, out / "checkpoint" / "best")
        assert best in ("none", "another"), best  # its networks alone predict otherwise
        if checkpoint.exists(out):
            checkpoint.load(checkpoint.find(out))
        if kill % 5 == 1:  # the next run clears up, and does what this one was to do
            assert _run(command) == 0
            assert _what_is_there(shop, out) == "new" and not _hidden(out), _hidden(out)
            result["clean after the next run"] += 1
    return result


def kill_saves(shop: Workshop, over: bool = True, every: int = 1) -> Counter:
    """Kill a save before each (or every third, ...) of its file operations; what was found."""
    result: Counter = Counter()
    old, model, out = load_model(shop.old), load_model(shop.new), shop.folder / "saved"
    for at in range(1, 1000, every):
        shutil.rmtree(out, ignore_errors=True)
        if over:
            old.save(out)
        child = FORK.Process(target=_save, args=(model, out, at))
        child.start()
        child.join()
        what = _what_is_there(shop, out)
        assert what in (("old", "new") if over else ("none", "new")), f"operation {at}: {what}"
        assert not (result["new"] and what != "new"), f"operation {at}: what was new is {what}"
        if child.exitcode == 0:
            assert what == "new" and not _hidden(out)
            return result
        result[what] += 1
        model.save(out)
        assert _what_is_there(shop, out) == "new" and not _hidden(out), _hidden(out)
    raise AssertionError("a save has no end")


def read_while_saving(shop: Workshop, saves: int) -> Counter:
    """Open the model as often as can be while it is replaced ``saves`` times."""
    result: Counter = Counter()
    out = shop.folder / "read"
    shutil.copytree(shop.old, out, dirs_exist_ok=True)
    child = FORK.Process(target=_save_in_turn, args=(shop.new, shop.old, out, saves))
    child.start()
    while child.is_alive():
        what = _what_is_there(shop, out)
        assert what in ("old", "new"), what
        result[what] += 1
    child.join()
    assert child.exitcode == 0
    return result


def _fit(command: list[str]) -> None:
    os.setpgrp()
    sys.exit(_run(command))


def _run(command: list[str]) -> int:
    """Run ``aam`` in this process, in silence."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        try:
            cli.main(command, prog_name="aam")
        except SystemExit as stop:
            return stop.code or 0
    return 0


def _save(model, out: Path, at: int) -> None:
    """Save, and die before the ``at``-th file operation."""
    done = 0

    def hook(event, args):
        nonlocal done
        if event in OPERATIONS:
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    model.save(out)
    os._exit(0)


def _save_in_turn(one: Path, other: Path, out: Path, saves: int) -> None:
    models = [load_model(one), load_model(other)]
    for number in range(saves):
        models[number % 2].save(out)
        time.sleep(0.3)


def _predictions(folder: Path, study) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was trained on these very samples
        return predict(load_model(folder), study).to_numpy(dtype=float)


def _what_is_there(shop: Workshop, folder: Path) -> str:
    """'old', 'new', 'none', of the best so far 'another', or what must not be."""
    try:
        result = _predictions(folder, shop.study)
    except InputError as error:
        missing = "There is no model folder" in str(error) or "config.json is missing" in str(error)
        return "none" if missing else f"refused: {error}"
    same = [name for name, known in shop.predictions.items() if np.array_equal(result, known)]
    if not same and folder.name == "best" and np.isfinite(result).all():
        return "another"
    return same[0] if same else "a mixture"


def _hidden(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".*")]


def main(number: int) -> None:
    """Print what was found, a line each."""
    with tempfile.TemporaryDirectory(prefix="aam-kills-") as folder:
        shop = prepare(Path(folder))
        print(f"a fit takes {shop.seconds:.1f} s undisturbed")
        rows = {
            f"{number} fits killed, new folder": lambda: kill_fits(shop, number, over=False),
            f"{number} fits killed, over an earlier model": lambda: kill_fits(
                shop, number, over=True, seed=1
            ),
            "a save killed at each operation, new folder": lambda: kill_saves(shop, over=False),
            "a save killed at each operation, over a model": lambda: kill_saves(shop),
            f"read during {number} saves": lambda: read_while_saving(shop, number),
        }
        for name, row in rows.items():
            counts = ", ".join(f"{what} {times}" for what, times in sorted(row().items()))
            print(f"{name}: {counts}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
