"""What counts as an earlier output of the same command."""

from __future__ import annotations

import json

import pytest

from aam_core.errors import InputError
from aam_core.files import own_output
from aam_core.files.folders import MANIFEST, STAGE
from aam_core.files.locks import LOCK

KINDS = ("encoder", "regressor", "classifier")


def head(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "config.json").write_text(text)


@pytest.mark.parametrize("place", [".", "checkpoint/best"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_of_one_kind(tmp_path, kind, place):
    head(tmp_path / place, {"format": "aam", "kind": kind})
    assert [other for other in KINDS if own_output.is_model(other)(tmp_path)] == [kind]


@pytest.mark.parametrize(
    "content", [{"kind": "encoder"}, {"format": "aam"}, ["aam"], "{truncated", "\0", "3"]
)
def test_the_configuration_of_something_else(tmp_path, content):
    head(tmp_path, content)
    assert not any(own_output.is_model(kind)(tmp_path) for kind in KINDS)


def test_a_run_cut_short_before_its_first_checkpoint(tmp_path):
    (tmp_path / "logs").mkdir()
    assert own_output.is_model("encoder")(tmp_path)
    (tmp_path / "thesis.tex").touch()
    assert not own_output.is_model("encoder")(tmp_path)


def test_scores_are_of_folds_or_not(tmp_path):
    (tmp_path / "predictions.tsv").touch()
    tests = (own_output.is_cross_validation, own_output.is_evaluation)
    assert [test(tmp_path) for test in tests] == [False, False]  # perhaps that of 'aam predict'
    metrics = tmp_path / "metrics.json"
    metrics.write_text('{"aam": {}, "per_fold": []}')
    assert [test(tmp_path) for test in tests] == [True, False]
    metrics.write_text('{"r2": 0.5}')
    assert [test(tmp_path) for test in tests] == [False, True]
    head(tmp_path, {"format": "aam", "kind": "regressor"})
    assert [test(tmp_path) for test in tests] == [False, False]


def test_a_table_alone_is_no_simulated_study(tmp_path):
    names = ("table.biom", "rep-seqs.fasta", "tree.nwk", "metadata.tsv")
    for name in names[:-1]:
        (tmp_path / name).touch()
        assert not own_output.is_study(tmp_path)
    (tmp_path / names[-1]).touch()
    assert own_output.is_study(tmp_path)


def test_what_a_killed_run_left_hidden_is_that_runs(tmp_path):
    """Its lock and its stage, alone and with other files in the folder."""
    tests = [own_output.is_model(kind) for kind in KINDS]
    tests += [
        own_output.is_cross_validation,
        own_output.is_evaluation,
        own_output.is_range_test,
        own_output.is_study,
    ]
    (tmp_path / LOCK).touch()
    assert own_output.is_empty(tmp_path)
    stage = tmp_path / STAGE
    head(stage, {"format": "aam", "kind": "encoder"})
    assert own_output.is_empty(tmp_path)  # it was killed before that was whole
    (stage / MANIFEST).touch()
    assert not own_output.is_empty(tmp_path)
    assert [test(tmp_path) for test in tests] == [True, *[False] * 6]
    (stage / "config.json").unlink()
    (stage / "predictions.tsv").touch()
    (stage / "metrics.json").write_text('{"r2": 0.5}')
    assert [test(tmp_path) for test in tests[3:5]] == [False, True]
    (tmp_path / "thesis.tex").touch()
    assert not own_output.is_empty(tmp_path) and not own_output.is_range_test(tmp_path)


def test_a_baseline_is_none_of_the_others(tmp_path):
    (tmp_path / "val_predictions.tsv").touch()
    (tmp_path / "metrics.json").write_text('{"method": "linear"}')
    assert own_output.is_baseline(tmp_path) and not own_output.is_evaluation(tmp_path)
    (tmp_path / "metrics.json").write_text('{"held_out": {}}')
    assert not own_output.is_baseline(tmp_path)
    (tmp_path / "metrics.json").write_text('{"method": "linear"}')
    head(tmp_path, {"format": "aam", "kind": "regressor"})
    assert not own_output.is_baseline(tmp_path)


FILES = {
    "a model": {"config.json": '{"format": "aam", "kind": "encoder"}', MANIFEST: "{}"},
    "a cross-validation": {"metrics.json": '{"per_fold": []}', "predictions.tsv": ""},
    "an evaluation": {"metrics.json": "{}", "predictions.tsv": ""},
    "a baseline": {"metrics.json": '{"method": "linear"}', "val_predictions.tsv": ""},
    "a report": {"report.html": "", MANIFEST: "{}"},
    "an explanation": {"explanation.json": "{}"},
    "an embedding": {"vectors.tsv": ""},
}


def test_an_output_of_another_kind_is_refused(tmp_path):
    for kind, files in FILES.items():
        folder = tmp_path / kind
        own_output.check_output(folder, kind)  # absent
        folder.mkdir()
        (folder / "thesis.tex").touch() if kind != "an embedding" else None
        own_output.check_output(folder, kind)  # with a file of the user's
        for name, text in files.items():
            (folder / name).write_text(text)
        for other in FILES:
            if other == kind:
                own_output.check_output(folder, kind)
                continue
            with pytest.raises(InputError, match=f"holds {kind}, which {other} would") as refusal:
                own_output.check_output(folder, other)
            assert "\n" not in str(refusal.value)


def test_the_checkpoints_of_a_fit_are_a_model(tmp_path):
    head(tmp_path / "checkpoint" / "best", {"format": "aam", "kind": "regressor"})
    with pytest.raises(InputError, match="holds a model"):
        own_output.check_output(tmp_path, "a report")
