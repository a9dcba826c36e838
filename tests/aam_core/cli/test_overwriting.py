"""No command replaces what another one wrote; each may repeat itself."""

from __future__ import annotations

import pytest

BRIEF = ("--preset", "tiny", "--max-steps", 1, "--sampling-depth", 200, "--device", "cpu")
BRIEF += ("--set", "model.members=2", "--val-fraction", 0.5, "--set", "forest.trees=10")


@pytest.fixture(scope="module")
def commands(study_dir):
    """Name of each command -> how it is called, but for --output."""
    reads = ("--table", study_dir / "table.biom", "--sequences", study_dir / "rep-seqs.fasta")
    metadata = ("--metadata", study_dir / "metadata.tsv")
    numeric = (*reads, *metadata, "--target", "gradient", *BRIEF)
    return {
        "pretrain": ("pretrain", *reads, "--tree", study_dir / "tree.nwk", *BRIEF),
        "fit-regressor": ("fit-regressor", *numeric),
        "fit-classifier": ("fit-classifier", *numeric[: -len(BRIEF) - 1], "group", *BRIEF),
        "cross-validate": ("cross-validate", *numeric, "--folds", 2, "--no-baseline"),
        "evaluate": ("evaluate", *metadata, "--target", "gradient"),
    }


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_its_own_output_is_replaced(aam, refuses, commands, tmp_path):
    predictions = tmp_path / "fit-regressor" / "val_predictions.tsv"
    for name, call in commands.items():
        more = ("--predictions", predictions) if name == "evaluate" else ()
        for _ in range(2):
            outcome = aam(*call, *more, "--output", tmp_path / name)
            assert outcome.status == 0, (name, outcome.err)
    before = content(tmp_path)
    for name, call in commands.items():
        more = ("--predictions", predictions) if name == "evaluate" else ()
        for other in set(commands) - {name}:
            line = refuses(*call, *more, "--output", tmp_path / other)
            assert "holds what this command did not write" in line, (name, other)
    assert content(tmp_path) == before


def test_the_encoder_that_is_read_stays(aam, refuses, commands, tmp_path):
    encoder = tmp_path / "encoder"
    assert aam(*commands["pretrain"], "--output", encoder).status == 0
    before = content(tmp_path)
    for name in ("pretrain", "fit-regressor", "fit-classifier", "cross-validate"):
        for output in (encoder, encoder / ".." / "encoder"):
            refuses(*commands[name], "--encoder", encoder, "--output", output)
    assert "written over --encoder" in refuses(
        *commands["pretrain"], "--encoder", encoder, "--output", encoder
    )
    assert content(tmp_path) == before
