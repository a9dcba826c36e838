"""The core's texts name options and commands as QIIME 2's users know them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from qiime2.sdk import PluginManager

import aam_core
from aam_core.errors import InputError
from aam_core.log import logger
from q2_aam._wording import COMMANDS, OPTIONS, in_qiime2, speaking
from q2_aam.pages import rendering

NOT_THERE = {
    *("--resume", "--accept-changed-inputs", "--max-restarts"),  # runs in folders of the user's
    *("--attention", "--level"),  # of actions that QIIME 2 does not have
    "--trim-length",  # many studies are read by the command line
    "--to-hdf5",  # of biom
    *("--input-path", "--output-path"),  # of qiime tools
}
"""Options in texts that cannot come up in QIIME 2, or that are not AAM's."""


def texts():
    """Texts of the library but for its command line: no docstrings, no bare names of options."""
    root = Path(aam_core.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if (root / "cli") in path.parents:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(it.value) for it in ast.walk(tree) if isinstance(it, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) not in docs and not re.fullmatch(r"--[a-z-]+", node.value):
                    yield f"{path.name}:{node.lineno}", node.value


def test_every_option_in_a_text_of_the_core_has_a_name_in_qiime2():
    named = {it for it in OPTIONS if " " not in it}
    phrases = [it for it in OPTIONS if " " in it]
    for place, text in texts():
        for phrase in phrases:
            text = text.replace(phrase, "")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
            if not any(it.startswith(f"{option} ") for it in phrases):
                assert option in named | NOT_THERE, (place, option)


def test_these_names_are_there():
    actions = PluginManager().get_plugin(id="aam").actions
    signatures = [it.signature for it in actions.values()]
    names = {name for it in signatures for name in {**it.inputs, **it.parameters}}
    for said in OPTIONS.values():
        if "feature-table" in said:
            continue
        for option in re.findall(r"--[ipm]-([a-z-]+)", said):
            assert re.sub("-(file|column)$", "", option).replace("-", "_") in names, said
    assert {it.replace("-", "_") for it in COMMANDS.values()} <= set(actions)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("less weight (--set loss.x=0.1)", "less weight (--p-settings loss.x=0.1)"),
        ("(--missing-samples ignore; in", "(--p-missing-samples ignore; in"),
        ("a --seed, not --seeds", "a --p-random-state, not --seeds"),
        ("`aam embed` and qiime aam predict", "`qiime aam embed-samples` and qiime aam predict"),
        ("(--normalize-by COLUMN, x)", "(--p-settings loss.normalize_by=COLUMN, x)"),
    ],
)
def test_sentences(text, said):
    assert in_qiime2(text) == in_qiime2(said) == said


def test_errors_and_lines_of_the_log_have_these_words(capfd):
    with pytest.raises(InputError, match=r"^name it \(--m-group-by-column\)$"), speaking():
        logger.warning("more by --target")
        raise InputError("name it (--group-by)")
    assert capfd.readouterr().err == "warning: more by --p-target\n"


def test_pages_have_these_words_and_tables_stay_as_they_are(tmp_path):
    table = rendering.rows(rendering.pd.DataFrame({"name": ["--set"]}))
    section = {"title": "T", "text": ["more (--group-by)"], "pictures": [], "tables": []}
    section["tables"].append({"rows": table, "caption": "by --target"})
    rendering.render("sections", str(tmp_path), {"title": "x", "sections": [section]})
    page = (tmp_path / "index.html").read_text()
    assert "more (--m-group-by-column)" in page and "by --p-target" in page
    assert "<td>--set</td>" in page
