"""``aam pretrain``."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys

import pytest

from aam_core.config import Config
from aam_core.simulate.study import simulate

BRIEF = ("--preset", "tiny", "--max-steps", 2, "--sampling-depth", 200, "--device", "cpu")


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--tree", study_dir / "tree.nwk"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
    )


def test_writes_an_encoder_with_the_configuration_asked_for(aam, files, tmp_path):
    out = tmp_path / "new" / "encoder"
    settings = tmp_path / "run.yaml"
    settings.write_text("train: {seed: 5, batch_size: 8}\nmodel: {sample: {dropout: 0.25}}")
    outcome = aam(
        *("pretrain", *files, "--output", out, *BRIEF, "--config", settings),
        *("--seed", 6, "--set", "train.log_every=1"),
    )
    assert outcome.status == 0, outcome.err
    saved = json.loads((out / "config.json").read_text())
    assert saved["kind"] == "encoder"
    config = Config.from_dict(saved["config"])
    assert (config.train.seed, config.train.batch_size, config.train.max_steps) == (6, 8, 2)
    assert (config.model.sample.dropout, config.train.log_every) == (0.25, 1)
    assert str(out) in outcome.err.splitlines()[-1]


def test_report_of_the_study_is_said_once(aam, files, study_dir, tmp_path):
    lines = (study_dir / "metadata.tsv").read_text().splitlines()
    metadata = tmp_path / "metadata.tsv"
    metadata.write_text("\n".join(lines[:-2]) + "\n")  # two samples of the table are not in it
    outcome = aam(
        *("pretrain", *files, "--metadata", metadata, "--group-by", "host_subject_id"),
        *("--output", tmp_path / "out", *BRIEF),
    )
    assert outcome.status == 0, outcome.err
    assert sum("metadata" in line for line in outcome.err.splitlines()) == 1


def test_distances_instead_of_a_tree(aam, files, study_dir, tmp_path):
    matrix = tmp_path / "dm.tsv"
    assert aam("unifrac", *files[:4], "--output", matrix).status == 0
    out = tmp_path / "out"
    outcome = aam(
        "pretrain", *files[:2], *files[4:], "--distances", matrix, "--output", out, *BRIEF
    )
    assert outcome.status == 0, outcome.err
    assert (out / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["rep-seqs.fasta", "corpus.txt.gz"])
def test_sequences_alone_then_a_table(aam, files, study_dir, tmp_path, name):
    corpus = study_dir / name
    if name == "corpus.txt.gz":
        lines = (study_dir / "rep-seqs.fasta").read_text().splitlines()
        corpus = tmp_path / name
        corpus.write_bytes(gzip.compress("\n".join(lines[1::2]).encode()))
    first, second = tmp_path / "nucleotides", tmp_path / "encoder"
    outcome = aam("pretrain", "--sequences", corpus, "--output", first, *BRIEF)
    assert outcome.status == 0, outcome.err
    outcome = aam("pretrain", *files, "--encoder", first, "--output", second, *BRIEF)
    assert outcome.status == 0, outcome.err
    assert (second / "model.safetensors").is_file()


def test_what_belongs_together(refuses, files, study_dir, tmp_path):
    table, tree, sequences = files[:2], files[2:4], files[4:]
    out = ("--output", tmp_path / "out")
    metadata = ("--metadata", study_dir / "metadata.tsv")
    assert "--tree" in refuses("pretrain", *table, *sequences, *out)
    assert "--table" in refuses("pretrain", *tree, *sequences, *out)
    assert "--table" in refuses("pretrain", *out)
    assert "--metadata" in refuses("pretrain", *files, *out, "--group-by", "host_subject_id")
    assert "--metadata" in refuses("pretrain", *files, *out, "--where", "group=case")
    assert "--table" in refuses("pretrain", *sequences, *metadata, *out)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="session")
def studies_dir(tmp_path_factory):
    """Three small studies, each a folder."""
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in enumerate("abc"):
        simulate(30, 40, seed).write(folder / name)
    return folder


def test_many_studies(aam, studies_dir, tmp_path):
    out = tmp_path / "out"
    outcome = aam(
        *("pretrain", "--study", studies_dir, "--exclude-study", "c", "--least-reads", 10),
        *("--held-out-study", "b", "--exclude-column", "group", "--trim-length", 100),
        *("--tree", studies_dir / "a" / "tree.nwk"),
        *("--output", out, "--preset", "tiny", "--max-steps", 1, "--device", "cpu"),
    )
    assert outcome.status == 0, outcome.err
    assert "excluded, by name or cohort: c" in outcome.err
    assert "Studies: 2 of 2 cohorts, 60 samples" in outcome.err
    assert "ASVs (" in outcome.err and "are in the tree" in outcome.err
    assert "The tree has no effect: loss.distance is 0" in outcome.err
    record = json.loads((out / "run.json").read_text())
    assert [it["name"] for it in record["studies"]] == ["a"]
    assert record["held_out_studies"] == ["b"]


def test_what_does_not_belong_to_many_studies(refuses, files, studies_dir, tmp_path):
    out = ("--output", tmp_path / "out")
    many = ("pretrain", "--study", studies_dir, *out)
    assert "--table, --sequences cannot be given with --study" in refuses(*many, *files)
    assert "--group-by cannot be given" in refuses(*many, "--group-by", "group")
    for option in (("--trim-length", 100), ("--exclude-study", "a"), ("--study-column", "age")):
        assert f"{option[0]} needs --study" in refuses("pretrain", *files, *out, *option)
    assert "There is no study of the name d" in refuses(*many, "--exclude-study", "d")
    assert "There is no study of the name d" in refuses(*many, "--held-out-study", "d")
    both = refuses(*many, "--exclude-study", "a", "--held-out-study", "a")
    assert "--held-out-study a: excluded by --exclude-study" in both
    assert "to learn are in no study" in refuses(*many, "--study-column", "no such")
    assert not (tmp_path / "out").exists()


def test_foreign_folder_is_refused_before_the_work(refuses, files, tmp_path):
    (tmp_path / "thesis.tex").touch()
    assert "thesis.tex" in refuses("pretrain", *files, "--output", tmp_path, *BRIEF)


def test_interrupt_leaves_a_checkpoint_and_says_where(files, tmp_path):
    out = tmp_path / "out"
    arguments = ["pretrain", *files, "--output", out, "--preset", "tiny", "--epochs", 10000]
    arguments += ["--patience", 0, "--sampling-depth", 200, "--device", "cpu", "--threads", 1]
    with subprocess.Popen(
        [sys.executable, "-m", "aam_core", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as run:
        for line in run.stderr:
            if "epoch 2" in line.lower():
                run.send_signal(signal.SIGINT)
                break
        rest = run.stderr.read()
    assert run.returncode == 130, rest
    assert "Traceback" not in rest
    assert "Interrupted." in rest and str(out) in rest
