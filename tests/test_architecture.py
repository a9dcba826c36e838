"""Habits of the code that no linter checks: declared public names, and one vocabulary."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("aam_core", "q2_aam")

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def declared(tree: ast.Module) -> set[str] | None:
    """Names in ``__all__``; None where a module has none."""
    names = None
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node.value, ast.List | ast.Tuple)
            texts = [it for it in node.value.elts if not isinstance(it, ast.Starred)]
            names = (names or set()) | {ast.literal_eval(text) for text in texts}
    return names


def imports(name: str, tree: ast.Module):
    """``(module, names)`` of each import from another of our modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES and node.module != name:
            yield node.module, {alias.name for alias in node.names}


def test_names_imported_by_other_modules_are_declared():
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    public = {name: declared(tree) for name, tree in trees.items()}
    undeclared = {
        f"{module}.{imported} (in {name})"
        for name, tree in trees.items()
        for module, names in imports(name, tree)
        for imported in names - (public[module] or set())
        if f"{module}.{imported}" not in MODULES and not imported.startswith("__")
    }
    assert not undeclared, sorted(undeclared)


@pytest.mark.parametrize("name", MODULES)
def test_declared_names_exist(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    there = {
        leaf.id if isinstance(leaf, ast.Name) else leaf.name
        for node in tree.body
        for leaf in ast.walk(node)
        if (isinstance(leaf, ast.Name) and isinstance(leaf.ctx, ast.Store))
        or isinstance(leaf, ast.FunctionDef | ast.ClassDef)
    } | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    }
    assert (declared(tree) or set()) <= there


# --- vocabulary ----------------------------------------------------------------------------------

INSTEAD = {
    r"teams?\b": "ensemble; process group",
    r"(?:left|leaves?|leaving)[ _]out\b": "held out (of a fold); dropped, filtered (samples)",
    r"grow(?:n|s|ing)? (?:a |the |its |their )?(?:forest|trees)\b": "fit a forest",
    r"figures\b": "metrics; results",
    r"figure of the\b": "metric of the",
    r"chances\b": "probabilities",
    r"flatters?\b": "is too good",
    r"weigh(?:ed)? by how\b": "ensemble weights, blend weights",
}
"""Words of the first version -> those of the field (docs/architecture.md has the vocabulary)."""

EMPTY_NAMES = {"found", "held", "told", "beside", "left_out", "asked"}
"""Names that do not say what they hold: predictions, checkpoint, message, columns, ..."""

ALLOWED = {
    "aam_core/evaluation.py": {"left_out"},  # a key of metrics.json
    "aam_core/cli/evaluate.py": {"left_out"},
    "aam_core/run.py": {"left_out"},  # a key of run.json
    "aam_core/model_card.py": {"left_out"},
    "benchmarks/ablation_results.py": {"figures"},  # a key of its JSON, as below
    "benchmarks/ablation_tables.py": {"figures"},
    "benchmarks/accuracy.py": {"figures"},
    "benchmarks/across_studies_targets.py": {"team"},  # in the names of tables
    "benchmarks/accuracy_corpus_studies.py": {"team"},  # in the name of a table
    **{f"aam_core/plots/{name}.py": {"figures"} for name in ("__init__", "style", "scatter")},
}
"""Keys of saved files, and figures that are drawn."""

TEXTS = [
    path
    for pattern in ("aam_core/**/*.py", "q2_aam/**/*.py", "q2_aam/**/*.html", "benchmarks/*.py")
    + ("scripts/*.*", "recipes/**/*.*", "docs/*.md", "*.md", "Makefile")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"
]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_field(path):
    allowed = ALLOWED.get(str(path.relative_to(ROOT)), set())
    hits = [
        f"line {number}: {hit} (say: {instead})"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for old, instead in INSTEAD.items()
        for hit in re.findall(rf"(?i)\b(?:{old})", line)
        if hit not in allowed
    ]
    assert not hits


def names_bound(tree: ast.Module) -> dict[str, int]:
    """Variables, parameters, attributes and functions that a module binds -> line."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] = node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound[node.attr] = node.lineno
        elif isinstance(node, ast.arg):
            bound[node.arg] = node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound[node.name] = node.lineno
    return bound


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".py"], ids=str)
def test_names_say_what_they_hold(path):
    bound = names_bound(ast.parse(path.read_text(encoding="utf-8")))
    assert not {f"{name} (line {bound[name]})" for name in EMPTY_NAMES & set(bound)}
