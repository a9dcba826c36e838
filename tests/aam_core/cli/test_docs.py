"""The examples of ``docs/cli.md`` run in their order: on a smaller study, for one step.

What all pages name is there: links and their headings, options of ``aam``, settings.
"""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from aam_core.cli import COMMANDS, cli
from aam_core.config.config import paths
from aam_core.config.resolve import read_settings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "cli.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


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
            arguments += ["--set", "forest.trees=4"]
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


def anchors(text):
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", it.strip().lower()).replace(" ", "-") for it in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), link


def spans(page):
    """Inline code of a page, without its examples."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [" ".join(it.split()) for it in re.findall(r"`([^`]+)`", text)]


OF_AAM = ("cli", "prediction", "training", "understanding")
"""Pages whose options are those of ``aam``, or of QIIME 2 by its own prefixes."""

OTHERS = {"--type", "--logdir"}
"""Of ``qiime tools import`` and ``tensorboard``."""


@pytest.mark.parametrize("name", OF_AAM)
def test_options_exist(name):
    commands = [cli.get_command(None, each) for each in COMMANDS]
    known = {it for each in commands for param in each.params for it in param.opts}
    known |= {it for each in commands for param in each.params for it in param.secondary_opts}
    known |= {"--help", *OTHERS}
    named = {
        it
        for span in spans(ROOT / "docs" / f"{name}.md")
        for it in re.findall(r"(?<![\w-])--(?![ipm]-)[a-z][a-z0-9-]*", span)
    }
    assert named and named <= known, named - known


KEYS = {"model.coverage", "model.width"}
"""Of metrics.json."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_exist(page):
    sections = "|".join({it.split(".")[0] for it in paths()})
    files = r"\.(py|json|safetensors|tsv|qza|zip)$"
    for span in spans(page):
        for it in re.findall(rf"(?<![\w./])(?:{sections})\.[a-z_.]+(?<!\.)", span):
            if it not in KEYS and not re.search(files, it):
                assert any(path == it or path.startswith(f"{it}.") for path in paths()), it
