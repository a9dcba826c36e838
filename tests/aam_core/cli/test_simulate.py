"""``aam simulate``."""

from __future__ import annotations

import inspect

from aam_core.cli import cli
from aam_core.simulate.study import simulate

FILES = {"table.biom", "rep-seqs.fasta", "tree.nwk", "metadata.tsv"}


def test_defaults_are_the_function_s(tmp_path):
    context = cli.get_command(None, "simulate").make_context("simulate", [str(tmp_path)])
    defaults = {name: value for name, value in context.params.items() if name != "out_dir"}
    signature = inspect.signature(simulate).parameters
    assert defaults == {name: signature[name].default for name in defaults}


def test_study_is_that_of_the_python_call(aam, tmp_path):
    out = tmp_path / "new" / "study"
    arguments = ("--samples", 12, "--features", 20, "--seed", 7, "--subjects", 3)
    outcome = aam("simulate", out, *arguments)
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.count("\n") == 1 and str(out) in outcome.err
    assert {path.name for path in out.iterdir()} == FILES
    expected = simulate(12, 20, 7, subjects=3)
    assert (out / "tree.nwk").read_text().strip() == expected.tree
    assert len((out / "metadata.tsv").read_text().splitlines()) == 13
    assert aam("simulate", out, *arguments).status == 0  # its own output may be replaced


def test_foreign_folder_is_left_alone(refuses, tmp_path):
    (tmp_path / "thesis.tex").touch()
    assert "thesis.tex" in refuses("simulate", tmp_path, "--samples", 12, "--features", 20)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_size_that_cannot_be_simulated(refuses, tmp_path):
    assert "samples is 1" in refuses("simulate", tmp_path / "out", "--samples", 1)
    assert not (tmp_path / "out").exists()
