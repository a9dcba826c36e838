"""The examples of the README run: on a small simulated study, for a step or an epoch."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from aam_core.config import presets
from aam_core.simulate.study import simulate

README = Path(__file__).parents[3] / "README.md"
QUICK = {"train.epochs": 1, "train.min_steps": 0, "train.max_steps": 1}
QUICK_FIT = {**QUICK, "forest.trees": 4, "train.val_fraction": 0.5}


def block(heading, language):
    text = README.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1]
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the README names, in the working folder."""
    made = simulate(40, 60, 3, sequence_length=50, depth=1200)
    names = {"gradient": "age", "host_subject_id": "subject"}
    replace(made, metadata=made.metadata.rename(columns=names)).write(tmp_path)
    (tmp_path / "new.biom").write_bytes((tmp_path / "table.biom").read_bytes())
    (tmp_path / "new.fasta").write_bytes((tmp_path / "rep-seqs.fasta").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)  # 2,000 take seconds
    return tmp_path


def test_command_line(files, aam):
    for line in block("Command line", "bash").replace("\\\n", " ").strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "aam"
        if arguments[0] != "predict":
            settings = QUICK if arguments[0] == "pretrain" else QUICK_FIT
            arguments += ["--preset", "tiny"]
            arguments += [f"--set={name}={value}" for name, value in settings.items()]
        outcome = aam(*arguments)
        assert outcome.status == 0, (line, outcome.err)
    assert (files / "predictions.tsv").read_text().startswith("sample-id\tprediction")
    assert (files / "scores" / "metrics.json").exists()


def test_python(files, monkeypatch):
    quick = {"pretraining": presets.pretraining("tiny").replace(QUICK)}
    quick["fitting"] = presets.fitting("tiny").replace(QUICK_FIT)
    monkeypatch.setattr("aam_core.config.resolve.find_preset", lambda kind, name: quick[kind])
    names = {}
    exec(block("Python", "python"), names)
    assert list(names["predictions"].columns)[:5] == [
        *("prediction", "lower", "upper", "novelty", "known_reads")
    ]
    assert set(names["scores"].metrics) == {
        *("held_out", "aam", "network", "random_forest", "extra_trees", "linear", "dummy", "reads"),
        *("interval", "network_weight", "comparison", "per_fold"),
    }
