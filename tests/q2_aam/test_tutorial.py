"""The tutorial, ``docs/qiime2.md``, runs: its commands, in their order, on a part of ECAM.

All are run by one process of the real ``qiime``, as each process loads every plugin for seconds.
What trains is made quick; the rest of each command is as it stands on the page.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import biom
import pandas as pd
import pytest
from biom.util import biom_open
from qiime2.sdk import PluginManager

PAGE = Path(__file__).parents[2] / "docs" / "qiime2.md"

RUN = """
import contextlib, json, sys, tempfile, time, traceback
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="qiime")
qiime = command.load()
out = []
for words in json.load(sys.stdin):
    start, status = time.process_time(), 0
    with tempfile.TemporaryFile("w+") as said:  # a file, as QIIME 2 asks for its number
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                ended = qiime(words, prog_name="qiime", standalone_mode=False)
                status = ended or 0  # what a command exits with is returned in this mode
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                status = 1
                traceback.print_exc()
        said.seek(0)
        out.append([status, said.read(), time.process_time() - start])
    if status:
        break
json.dump(out, sys.stdout)
"""

TRAINING = ["--p-preset", "tiny", "--p-settings", "train.max_steps=2", "train.batch_size=16"]
FOREST = ["model.members=2", "--p-n-estimators", "8"]
NCV = ["--p-cv", "2", "--p-baselines", "random_forest", "--p-importance-repeats", "1"]
QUICK = {
    "pretrain": [*TRAINING, "--p-sampling-depth", "500"],
    "fit-regressor": [*TRAINING, *FOREST],
    "fit-classifier": [*TRAINING, *FOREST],
    "regress-samples-ncv": [*TRAINING, *FOREST, *NCV],
    "regress-samples": [*TRAINING, *FOREST, "--p-baselines", "random_forest"],
    "explain": ["--p-repeats", "1", "--p-references", "1", "--p-clades", "10"],
}
"""Actions that take long -> what makes them quick."""


def commands(text=None):
    """The words of each command of the page, or of another text."""
    text = PAGE.read_text(encoding="utf-8") if text is None else text
    lines = []
    for example in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        lines += [line for line in example.replace("\\\n", " ").splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def part_of_ecam(source, folder):
    """Some samples of 12 children, of both kinds of delivery, and a few of mothers."""
    metadata = pd.read_csv(source / "metadata.tsv", sep="\t", dtype=str).set_index("sample-id")
    table = biom.load_table(str(source / "table.biom"))
    metadata = metadata.loc[metadata.index.intersection(table.ids())]
    children = metadata[metadata["mom_child"] == "C"]
    sizes = children.groupby(["delivery", "host_subject_id"]).size().sort_values(ascending=False)
    hosts = [host for kind in ("Vaginal", "Cesarean") for host in sizes[kind].index[:6]]
    some = children[children["host_subject_id"].isin(hosts)].groupby("host_subject_id").head(6)
    mothers = metadata[metadata["mom_child"] == "M"].head(4)
    chosen = [*some.index, *mothers.index]
    table = table.filter(chosen, inplace=False).remove_empty("observation", inplace=False)
    folder.mkdir()
    with biom_open(str(folder / "table.biom"), "w") as file:
        table.to_hdf5(file, "part of ECAM")
    metadata.loc[chosen].to_csv(folder / "metadata.tsv", sep="\t")
    for name in ("rep-seqs.fasta", "tree.nwk"):
        (folder / name).symlink_to(source / name)


def run(words, folder, home, options=(), **variables):
    """Run commands in ``folder``: status, output and seconds of each."""
    environment = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "MPLCONFIGDIR": str(home),
                    "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}  # fmt: skip
    quick = [[*it[1:], *QUICK.get(it[2] if it[1] == "aam" else "", [])] for it in words]
    done = subprocess.run(
        [sys.executable, *options, "-c", RUN],
        cwd=folder,
        env={**environment, **variables},
        input=json.dumps(quick),
        capture_output=True,
        text=True,
        timeout=2700,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(words, outcomes):
    """All commands ran, and ended well."""
    for each, (status, said, _) in zip(words, outcomes, strict=False):
        assert status == 0, (shlex.join(each), said[-3000:])
    assert len(outcomes) == len(words)


@pytest.fixture(scope="module")
def ecam(real_data, tmp_path_factory):
    """A folder with the folder ``ecam`` of the tutorial."""
    place = tmp_path_factory.mktemp("tutorial")
    part_of_ecam(real_data / "ecam", place / "ecam")
    return place


@pytest.fixture(scope="module")
def tutorial(ecam, tmp_path_factory):
    """Run all commands; the folder, and what came of each."""
    return ecam, run(commands(), ecam, tmp_path_factory.mktemp("home"))


@pytest.mark.slow
@pytest.mark.real_data
def test_every_command_runs(tutorial):
    _, outcomes = tutorial
    check(commands(), outcomes)


@pytest.mark.slow
@pytest.mark.real_data
def test_it_runs_without_q2_sample_classifier(ecam, tmp_path, without_sample_classifier):
    """From the import to the pages of predictions, whose types are then the plugin's own."""
    (tmp_path / "ecam").symlink_to(ecam / "ecam")
    chosen = {"import", "filter-samples", "split-table", "fit-classifier"}
    chosen |= {"predict-classification", "confusion-matrix"}
    words = [["qiime", "info"], *(it for it in commands() if it[2] in chosen)]
    # -S: no packages but these
    outcomes = run(words, tmp_path, tmp_path, ["-S"], PYTHONPATH=without_sample_classifier)
    check(words, outcomes)
    assert "aam:" in outcomes[0][1] and "sample-classifier:" not in outcomes[0][1]
    assert (tmp_path / "confusion-matrix.qzv").exists()


@pytest.mark.slow
@pytest.mark.real_data
def test_every_page_stands_alone(tutorial):
    place, _ = tutorial
    pages = sorted(place.rglob("*.qzv"))
    named = {word for words in commands() for word in words if word.endswith(".qzv")}
    assert named <= {str(path.relative_to(place)) for path in pages}
    for path in pages:
        with zipfile.ZipFile(path) as archive:
            (index,) = (it for it in archive.namelist() if it.endswith("/data/index.html"))
            page = archive.read(index).decode()
        assert not re.search(r"<(script|link|img)[^>]*(src|href)=.https?:", page), path


def of_the_readme():
    text = PAGE.parents[1].joinpath("README.md").read_text(encoding="utf-8")
    return commands(text.split("## QIIME 2\n")[1].split("\n## ")[0])


def test_commands_are_those_of_the_plugin():
    """All that an action needs is there, and nothing else."""
    actions = PluginManager().get_plugin(id="aam").actions
    for words in [*commands(), *of_the_readme()]:
        assert words[0] == "qiime", words
        if words[1] != "aam":
            continue
        signature = actions[words[2].replace("-", "_")].signature
        parts = (signature.inputs, signature.parameters, signature.outputs)
        named = {re.sub("-(file|column)$", "", it) for it in words[3:] if it.startswith("--m-")}
        named |= {it for it in words[3:] if re.match("--[ipo]-", it)}
        given = {re.sub("^--(p-no-|[ipom]-)", "", it).replace("-", "_") for it in named}
        assert given - {"output_dir"} <= {name for part in parts for name in part}, words
        needed = {name for part in parts[:2] for name, it in part.items() if not it.has_default()}
        if "--output-dir" not in words:
            needed |= set(parts[2])
        assert needed <= given, words
        for name in signature.parameters:
            option = f"--m-{name.replace('_', '-')}"
            if "Column" in str(signature.parameters[name].qiime_type) and name in given:
                assert {f"{option}-file", f"{option}-column"} <= set(words), (words, option)


def test_every_action_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for name in PluginManager().get_plugin(id="aam").actions:
        assert re.search(rf"(`|aam ){name.replace('_', '-')}[` ]", text), name


def test_the_table_has_every_action_and_option_of_both():
    manager = PluginManager()
    text = PAGE.read_text(encoding="utf-8").split("## Compared with q2-sample-classifier")[1]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    for column, plugin in ((1, "sample_classifier"), (2, "aam")):
        if plugin not in (it.id for it in manager.plugins.values()):
            pytest.skip("q2-sample-classifier is not installed")
        actions = manager.get_plugin(id=plugin).actions
        words = " ".join(row[column] for row in rows)
        options = set(re.findall(r"--[pim]-(?:no-)?([a-z-]+)", words))
        known = {name for it in actions.values() for name in it.signature.inputs}
        known |= {name for it in actions.values() for name in it.signature.parameters}
        named = {re.sub("-(file|column)$", "", name).replace("-", "_") for name in options}
        assert named <= known, named - known
        if plugin == "sample_classifier":
            assert not [it for it in actions if f"`{it.replace('_', '-')}" not in words]
