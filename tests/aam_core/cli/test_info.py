from __future__ import annotations

import hashlib
import json

import pytest


@pytest.fixture(scope="module")
def run_by_command(study_dir, tmp_path_factory):
    """Folder of an encoder that the command line pretrained for a step."""
    from aam_core.cli import cli

    folder = tmp_path_factory.mktemp("info") / "encoder"
    arguments = [
        *("pretrain", "--table", study_dir / "table.biom", "--preset", "tiny"),
        *("--sequences", study_dir / "rep-seqs.fasta", "--tree", study_dir / "tree.nwk"),
        *("--metadata", study_dir / "metadata.tsv", "--group-by", "host_subject_id"),
        *("--max-steps", 1, "--threads", 1, "--output", folder),
    ]
    with pytest.raises(SystemExit):
        cli.main([str(it) for it in arguments], prog_name="aam")
    return folder


def test_the_record_has_command_inputs_and_groups(aam, run_by_command, study_dir, monkeypatch):
    outcome = aam("info", run_by_command, "--format", "json")
    assert outcome.status == 0, outcome.err
    run = json.loads(outcome.out)["run"]
    assert run["command"].startswith("aam pretrain --table table.biom --preset tiny")
    assert run["group_by"] == "host_subject_id" and not run["resumed"]
    assert set(run["inputs"]) == {"table", "sequences", "tree", "metadata"}
    content = (study_dir / "table.biom").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    table = {"file": "table.biom", "bytes": len(content), "sha256": sha256}
    assert run["inputs"]["table"] == table
    assert sha256[:12] in aam("info", run_by_command).out


def test_the_card_names_no_folder(aam, run_by_command, study_dir):
    card = (run_by_command / "model_card.md").read_text()
    assert "--table table.biom" in card and str(study_dir) not in card
    assert aam("info", run_by_command, "--format", "markdown").out.strip() == card.strip()


def test_other_folders_are_refused_in_one_line(refuses, tmp_path):
    assert "no model" in refuses("info", tmp_path)
    assert "There is no model folder" in refuses("info", tmp_path / "absent")


def test_of_an_artifact_it_is_said_how_to_export_it(refuses, tmp_path):
    path = tmp_path / "model.qza"
    path.touch()
    predict = ("predict", "--model", path, "--table", path, "--output", tmp_path / "p.tsv")
    for command in (("info", path), predict):
        assert "qiime tools export --input-path model.qza" in refuses(*command)
