"""Every option of every command either acts, or is refused, or is named in one line.

`OPTIONS` has an entry for each: one that is new fails until it was looked at.
"""

from __future__ import annotations

import click
import pytest

from aam_core.cli import COMMANDS, cli
from aam_core.config.resolve import FLAGS

STUDY = {"table", "sequences", "metadata", "where"}  # read, matched, or refused
LEARNED = {"tree", "distances"}  # named by `preparation.unused`
LIMIT = {"max_lost_reads"}  # acts where it is met
RUN = {"output", "preset", "config_file", "assignments", "encoder", "group_by"} | set(FLAGS)
FITS = {"target", "freeze_encoder", "covariates"}  # refused, or named, where they cannot act
HELP = {"covariate_help"}
SPLIT = {"train_samples", "val_samples", "folds_file"}  # refused where they contradict
RESUME = {"resume", "accept_changed_inputs"}
TRAINS = STUDY | LEARNED | LIMIT | RUN
OPTIONS = {
    "simulate": {"out_dir", "samples", "features", "seed", "subjects", "depth", "effect"},
    "pretrain": TRAINS
    | RESUME
    | {"taxonomy", "study", "trim_length", "least_reads", "exclude_study", "held_out_study"}
    | {"study_column", "exclude_column"},
    "fit-regressor": TRAINS | FITS | HELP | RESUME | SPLIT | {"init_from"},
    "fit-classifier": TRAINS | FITS | HELP | RESUME | SPLIT | {"init_from"},
    "predict": STUDY
    | LIMIT
    | {"model", "output", "batch_size", "device", "precision", "long_sequences"}
    | {"confidence", "passes"},
    "info": {"directory", "form"},
    "embed": STUDY
    | LIMIT
    | {"model", "output", "batch_size", "device", "precision", "long_sequences"}
    | {"level", "metric", "axes", "color_by", "units", "title", "figure_format"}
    | {"neighbours", "taxonomy", "no_distances"},
    "explain": STUDY
    | LIMIT
    | {"model", "output", "tree", "taxonomy", "target", "group_by", "seed", "threads", "device"}
    | {"repeats", "clades", "references", "units", "title"}
    | {"importance", "attention", "bases", "long_sequences"},
    "evaluate": {"predictions", "metadata", "target", "task", "output"}
    | {"units", "title", "figure_format"},
    "cross-validate": TRAINS
    | FITS
    | HELP
    | {"init_from", "task", "folds", "fold_by", "test_where", "folds_file", "repeat", "jobs"}
    | {"baseline", "baselines", "importance_repeats"},
    "maturity": {"predictions", "metadata", "age", "group", "control", "bin_width", "output"},
    "distance-fit": STUDY - {"metadata", "where"}
    | LEARNED
    | LIMIT
    | {"encoder", "samples", "seed", "output"},
    "report": STUDY
    | LIMIT
    | {"model", "predictions", "target", "group_by", "columns", "units", "title", "device"}
    | {"output", "learning_curve", "curve_members", "curve_folds", "jobs"},
    "baseline": (STUDY | LIMIT | RUN | SPLIT | {"target", "covariates", "task", "method"})
    - {"encoder"},
    "find-lr": TRAINS | FITS | {"taxonomy"} | {"task", "low", "high", "steps"},
    "tune": TRAINS
    | FITS
    | HELP
    | {"task", "trials", "timeout", "jobs", "space_file", "metric", "folds"},
    "unifrac": {"table", "tree", "metric", "alpha", "output"} | LIMIT,
    "zero-distances": {"table", "tree", "distances", "metadata", "where", "output", "seed"}
    | {"metric", "alpha", "bound", "columns", "depths"}
    | LIMIT,
}
"""Command -> options that were looked at: each acts, or a test says how it is refused or named."""

TESTED = {
    "missing_samples": "tests/aam_core/cli/test_fit.py",
}
"""Options that others test, and where."""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_was_looked_at(command):
    params = {param.name for param in cli.get_command(None, command).params}
    assert params - set(TESTED) == OPTIONS[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_of_one_value_is_refused_when_given_twice(refuses, command):
    made = cli.get_command(None, command)
    for param in made.params:
        if not isinstance(param, click.Option) or param.is_eager:
            continue
        name = max(param.opts, key=len)
        value = () if param.is_flag else ("1",)
        twice = (name, *value, name, *value)
        if param.multiple:
            assert "times" not in refuses(command, *twice, "--no-such-option")
        else:
            assert f"{name} is given 2 times: give it once" in refuses(command, *twice)


# --- what cannot act is refused or named ---------------------------------------------------------

BRIEF = ("--preset", "tiny", "--max-steps", 2, "--device", "cpu", "--threads", 1)
BRIEF += ("--set", "model.members=2", "--set", "forest.trees=4")


@pytest.fixture
def study(study_dir):
    return (
        *("--table", study_dir / "table.biom"),
        *("--sequences", study_dir / "rep-seqs.fasta"),
        *("--metadata", study_dir / "metadata.tsv"),
    )


@pytest.fixture
def named(aam, study, tmp_path):
    """Run a command and return the lines that say that something has no effect."""

    def run(command, *options):
        outcome = aam(command, *study, *options, "--output", tmp_path / "out")
        assert outcome.status == 0, outcome.err
        return [line for line in outcome.err.splitlines() if "no effect" in line]

    return run


def test_a_fit_names_what_it_was_given_for_nothing(named, study_dir):
    lines = named(
        *("fit-regressor", "--target", "gradient", *BRIEF, "--tree", study_dir / "tree.nwk"),
        *("--strategy", "fsdp", "--max-memory-gb", 3, "--set", "loss.nucleotide=1"),
        *("--set", "model.fusion.kind=gmu", "--set", "train.histograms=true"),
        *("--set", "train.trackers=none"),
    )
    assert [line.split(" has no")[0].split(": ")[-1] for line in lines] == [
        *("model.fusion.kind", "loss.nucleotide", "train.max_memory_gb", "train.strategy"),
        *("train.histograms", "The tree"),
    ]


def test_groups_that_group_nothing(named, refuses, study, study_dir, tmp_path):
    target = ("fit-regressor", "--target", "gradient", *BRIEF)
    refused = (*target[:1], *study, *target[1:], "--group-by", "gradient")
    line = refuses(*refused, "--output", tmp_path / "out")
    assert "grouped by 'gradient', which is the target" in line
    assert not (tmp_path / "out").exists()
    ids = [line.split("\t")[0] for line in open(study_dir / "metadata.tsv")][1:]
    (tmp_path / "train.txt").write_text("\n".join(ids[:30]))
    (tmp_path / "val.txt").write_text("\n".join(ids[30:]))
    split = [f"--{name}-samples={tmp_path / name}.txt" for name in ("train", "val")]
    grouped = ("--group-by", "host_subject_id", "--val-fraction", 0.3)
    both = named(*target, *split, *grouped)
    assert [line.split(" has no effect: ")[1] for line in both] == ["the split is given."] * 2


@pytest.mark.parametrize("command", ["cross-validate", "tune", "find-lr"])
def test_a_group_that_is_the_target_is_refused_everywhere(refuses, study, tmp_path, command):
    if command == "tune":
        pytest.importorskip("optuna")
    options = ("--target", "group", "--task", "classification", "--group-by", "group")
    line = refuses(command, *study, *options, *BRIEF, "--output", tmp_path / "out")
    assert "which is the target 'group'" in line and not (tmp_path / "out").exists()


def test_a_cross_validation_says_it_once(named, study_dir):
    lines = named(
        *("cross-validate", "--target", "gradient", *BRIEF, "--folds", 2, "--no-baseline"),
        *("--tree", study_dir / "tree.nwk", "--set", "train.checkpoint_every=7"),
    )
    assert len(lines) == 2
    assert lines[0].startswith("train.checkpoint_every has no effect: nothing is written")
    assert lines[1].startswith("The tree has no effect: loss.distance is 0")


def test_a_range_test_names_what_a_course_is_made_of(named):
    lines = named("find-lr", "--target", "gradient", *BRIEF, "--lr", 0.1, "--patience", 3)
    reasons = {line.split(" no effect: ")[1]: line for line in lines}
    assert "optim.lr has" in reasons["the range test looks for it."]
    assert (
        "train.max_steps, train.patience"
        in reasons["a range test has its own number of steps and schedule."]
    )


def test_options_of_other_metrics(aam, study_dir, tmp_path):
    common = ("unifrac", "--table", study_dir / "table.biom", "--tree", study_dir / "tree.nwk")
    out = ("--output", tmp_path / "dm.tsv")
    log = aam(*common, *out, "--metric", "jaccard", "--alpha", 0.5).err
    assert "--alpha has no effect" in log and "--tree only decides which features" in log
    assert "no effect" not in aam(*common, *out, "--metric", "generalized", "--alpha", 0.5).err


def test_sequences_alone_lose_no_reads(refuses, study_dir, tmp_path):
    alone = ("pretrain", "--sequences", study_dir / "rep-seqs.fasta", "--output", tmp_path / "out")
    assert "--max-lost-reads needs --table" in refuses(*alone, "--max-lost-reads", 0.5)


def test_sequences_alone_name_settings_of_samples(aam, study_dir, tmp_path):
    alone = ("pretrain", "--sequences", study_dir / "rep-seqs.fasta", "--output", tmp_path / "out")
    outcome = aam(
        *alone, *BRIEF[:6], "--threads", 1, "--sampling-depth", 50, "--set", "loss.alpha=1"
    )
    lines = [line for line in outcome.err.splitlines() if "no effect" in line]
    assert outcome.status == 0 and len(lines) == 2
    assert lines[0] == "pretrain: data.sampling_depth has no effect: data.rarefaction is 'none'."
    assert "loss.alpha has no effect: sequences without samples have no distances" in lines[1]


def test_options_of_a_report_that_cannot_act_are_refused(refuses, study, study_dir, tmp_path):
    given = ("--predictions", study_dir / "metadata.tsv", "--output", tmp_path / "out")
    assert "Give --model or --predictions" in refuses("report", *given[2:])
    metadata = ("--metadata", study_dir / "metadata.tsv")
    for option in (("--where", "group=case"), ("--device", "cpu"), ("--max-lost-reads", 1)):
        assert f"{option[0]} needs --table" in refuses("report", *given, *metadata, *option)
    for option in ("--jobs", "--curve-folds", "--curve-members"):
        line = refuses("report", *given, *study, option, 2)
        assert f"{option} needs --learning-curve" in line
    line = refuses("report", *given, *study, "--learning-curve")
    assert "--learning-curve needs --model and --table" in line
    assert not (tmp_path / "out").exists()


def test_options_of_zero_distances_that_cannot_act_are_refused(aam, refuses, study_dir, tmp_path):
    table = ("--table", study_dir / "table.biom", "--output", tmp_path / "out")
    assert "Missing option '--tree'" in refuses("zero-distances", *table)
    given = ("--distances", tmp_path / "dm.tsv")
    made = ("--tree", study_dir / "tree.nwk", "--output", given[1])
    assert aam("unifrac", *table[:2], *made).status == 0
    for option in (("--metric", "jaccard"), ("--depth", 9), ("--alpha", 1), ("--seed", 1)):
        line = refuses("zero-distances", *table, *given, *option)
        assert f"{option[0]} is for distances that are computed" in line
    outcome = aam("zero-distances", *table, "--metric", "jaccard", *made[:2], "--alpha", 1)
    assert outcome.status == 0 and "--alpha has no effect" in outcome.err
