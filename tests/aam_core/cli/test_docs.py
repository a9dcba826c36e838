"""The examples of ``docs/cli.md`` run in their order: on a smaller study, for one step."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from aam_core.cli import COMMANDS
from aam_core.config.resolve import read_settings

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_examples_run_in_their_order(aam, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)  # 2,000 take seconds
    shown = []
    for example in examples("bash"):
        program, *arguments = shlex.split(example.replace("\\\n", " "))
        assert program == "aam"
        if arguments[0] == "tune" and find_spec("optuna") is None:
            shown.append("tune")  # an extra, which not every environment has
            continue
        if arguments[0] == "simulate":
            arguments = ["simulate", "study", "--samples", "40", "--features", "60"]
        if "--preset" in arguments:
            arguments += ["--max-steps", "1", "--epochs", "1", "--set", "train.min_steps=0"]
            arguments += ["--set", "forest.trees=4", "--set", "train.val_fraction=0.5"]
        outcome = aam(*arguments)
        assert outcome.status == 0, (example, outcome.err)
        shown.append(arguments[0])
    assert set(COMMANDS) - set(shown) == {"fit-classifier"}
    written = {path.name for path in (tmp_path / "regressor").iterdir()}
    table = re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name.rstrip("/") for row in table for name in re.findall(r"`([^`]+)`", row)}
    assert named == written


def test_settings_example_is_legal(tmp_path):
    (example,) = examples("yaml")
    path = tmp_path / "settings.yaml"
    path.write_text(example)
    assert len(read_settings(path)) >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name):
    assert f"`aam {name}`" in PAGE.read_text(encoding="utf-8")
