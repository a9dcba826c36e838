"""``aam find-lr``."""

from __future__ import annotations

import pandas as pd
import pytest

SIZED = ("--preset", "tiny", "--sampling-depth", 200, "--device", "cpu")
BRIEF = (*SIZED, "--batch-size", 16)
STEPS = ("--steps", 30, "--low", 1e-4)


@pytest.fixture
def files(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--tree", study_dir / "tree.nwk"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
    )


@pytest.fixture
def metadata(study_dir):
    return ("--metadata", study_dir / "metadata.tsv")


def suggestion(outcome) -> float:
    assert outcome.status == 0, outcome.err
    flag, value = outcome.out.split()
    assert flag == "--lr" and outcome.out.count("\n") == 1
    return float(value)


def test_of_a_pretraining(aam, files, tmp_path):
    out = tmp_path / "new" / "lr"
    outcome = aam("find-lr", *files, "--output", out, *BRIEF, *STEPS)
    assert 1e-4 <= suggestion(outcome) <= 10
    assert "--lr" not in outcome.err and str(out / "lr.png") in outcome.err
    assert {path.name for path in out.iterdir()} == {"lr.tsv", "lr.png"}
    assert (out / "lr.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(out / "lr.tsv", sep="\t")
    assert list(table.columns) == ["lr", "loss", "smoothed"]
    assert table["lr"][0] == pytest.approx(1e-4) and table["lr"].is_monotonic_increasing
    again = aam("find-lr", *files, "--output", out, *BRIEF, *STEPS)
    assert suggestion(again) == suggestion(outcome)


@pytest.mark.parametrize(
    ("target", "options"),
    [("gradient", ("--group-by", "host_subject_id")), ("group", ("--task", "classification"))],
)
def test_of_a_fit(aam, files, metadata, tmp_path, target, options):
    out = tmp_path / "out"
    outcome = aam(
        *("find-lr", *files, *metadata, "--target", target, *options, "--output", out),
        *(*SIZED, *STEPS, "--batch-size", 40, "--set", "train.val_fraction=0.3"),
    )
    assert 1e-4 <= suggestion(outcome) <= 10
    assert len(pd.read_csv(out / "lr.tsv", sep="\t")) > 10


def test_presets_are_those_of_the_task(files, metadata, tmp_path, aam, monkeypatch):
    calls = []

    def find_lr(study, target, *, task, config, output, **options):
        calls.append((target, task, config, options))
        raise KeyboardInterrupt

    from aam_core.config import presets
    from aam_core.tuning import learning_rate

    monkeypatch.setattr(learning_rate, "find_lr", find_lr)
    common = (*files, *metadata, "--output", tmp_path / "out", "--preset", "tiny", "--seed", 7)
    aam("find-lr", *common, "--set", "optim.clip=2")
    aam("find-lr", *common, "--set", "optim.clip=2", "--target", "gradient", "--low", 0.01)
    changes = {"train.seed": 7, "optim.clip": 2.0}
    expected = [presets.pretraining("tiny"), presets.fitting("tiny")]
    assert [config for _, _, config, _ in calls] == [c.replace(changes) for c in expected]
    assert [(target, task) for target, task, _, _ in calls] == [
        (None, "pretrain"),
        ("gradient", "regression"),
    ]
    assert calls[1][3]["low"] == 0.01 and calls[1][3]["steps"] == 100


def test_on_several_devices_as_on_one(aam, files, tmp_path):
    """The rates that are tried and the losses are those of one process."""
    outs = [tmp_path / name for name in ("one", "two")]
    common = ("find-lr", *files, *BRIEF, "--steps", 20, "--threads", 1)
    rates = [
        suggestion(aam(*common, "--devices", count, "--output", out))
        for count, out in zip((1, 2), outs, strict=True)
    ]
    one, two = (pd.read_csv(out / "lr.tsv", sep="\t") for out in outs)
    assert one["lr"].tolist() == two["lr"].tolist()
    assert two["loss"].to_numpy() == pytest.approx(one["loss"].to_numpy(), rel=1e-3)
    assert rates[1] == pytest.approx(rates[0], rel=0.5)


def test_what_belongs_together(refuses, files, metadata, tmp_path):
    out = ("--output", tmp_path / "out")
    fit = ("find-lr", *files, *metadata, *out)
    assert "--target" in refuses(*fit, "--task", "classification")
    assert "--target" in refuses(*fit, "--task", "pretrain", "--target", "gradient")
    assert "--covariate" in refuses(*fit, "--covariate", "group")
    assert "--encoder" in refuses(*fit, "--target", "gradient", "--freeze-encoder")
    assert "--freeze-encoder" in refuses(*fit, "--freeze-encoder")
    assert "--metadata" in refuses("find-lr", *files, *out, "--target", "gradient")
    assert "--metadata" in refuses("find-lr", *files, *out, "--group-by", "host_subject_id")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_where_nothing_is_found(refuses, files, tmp_path):
    out = tmp_path / "out"
    line = refuses("find-lr", *files, *BRIEF, "--output", out, "--low", 1, "--high", 0.1)
    assert "range test goes from" in line
    assert not out.exists()


def test_foreign_folder_is_refused_before_the_work(refuses, files, tmp_path):
    (tmp_path / "lr.tsv").touch()
    (tmp_path / "thesis.tex").touch()
    assert "thesis.tex" in refuses("find-lr", *files, "--output", tmp_path, *BRIEF)


def test_blank_targets_are_left_out_where_calls_for(aam, refuses, files, study_dir, tmp_path):
    rows = (study_dir / "metadata.tsv").read_text().splitlines()
    rows = [f"{row}\t{'ph' if not k else '' if k == 3 else k}" for k, row in enumerate(rows)]
    path = tmp_path / "metadata.tsv"
    path.write_text("\n".join(rows) + "\n")
    call = ("find-lr", *files, "--metadata", path, "--output", tmp_path / "out", *BRIEF, *STEPS)
    call = (*call, "--set", "train.val_fraction=0.3", "--set", "train.batch_size=40")
    assert "--missing-samples ignore" in refuses(*call, "--target", "ph")
    outcome = aam(*call, "--target", "ph", "--missing-samples", "ignore")
    assert suggestion(outcome) > 0
    assert "have no value in the metadata column 'ph' and were dropped" in outcome.err
    message = refuses(*call, "--missing-samples", "ignore")
    assert "--missing-samples ignore: a pretraining has none" in message
