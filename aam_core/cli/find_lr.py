"""``aam find-lr``."""

from __future__ import annotations

import os

import click

from aam_core.cli import earlier
from aam_core.cli.options import (
    config_options,
    directory_option,
    encoder_option,
    group_option,
    missing_option,
    require,
    study_options,
    without_missing,
)
from aam_core.cli.outputs import check_apart, load
from aam_core.log import logger


def _task(task: str | None, target: str | None) -> str:
    """What the rate is for, where the command does not name it either."""
    return task or ("pretrain" if target is None else "regression")


def _kind(values: dict) -> str:
    """Whose presets those of the command are."""
    is_pretraining = _task(values["task"], values["target"]) == "pretrain"
    return "pretraining" if is_pretraining else "fitting"


@click.command("find-lr")
@study_options("table", "metadata", "sequences", "tree", "distances")
@click.option("--target", metavar="COLUMN", help="What is fitted; without it, a pretraining is.")
@click.option(
    "--task",
    type=click.Choice(["pretrain", "regression", "classification"]),
    help="What the rate is for.  [default: regression with --target, else pretrain]",
)
@missing_option()
@group_option
@encoder_option("Output of 'aam pretrain' to start from.")
@click.option("--freeze-encoder", is_flag=True, help="Leave the ASV vectors as pretrained.")
@click.option(
    "--covariate",
    "covariates",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column that the fit reads beside the reads. Repeatable.",
)
@click.option("--low", type=float, default=1e-6, help="First learning rate.")
@click.option("--high", type=float, default=10.0, help="Last learning rate.")
@click.option("--steps", type=click.IntRange(min=20), default=100, help="Steps between the two.")
@directory_option(earlier.range_test)
@config_options("pretraining", kind_of=_kind)
def find_lr(inputs, target, task, missing_samples, config, output, **options):
    """Look for the learning rate of a run.

    Trains for some steps, each at a higher rate than the last, until the loss gets out of hand, and
    suggests the rate at which it fell fastest. Nothing that is trained is kept: --output receives
    the losses (lr.tsv) and their plot. Give the inputs and options of the run that the rate is
    for; with --target, presets and defaults are those of a fit.
    """
    task = _task(task, target)
    if task == "pretrain":
        fit_alone = {
            "--target": target,
            "--covariate": options["covariates"],
            "--missing-samples ignore": missing_samples == "ignore",
        }
        given = [name for name, value in fit_alone.items() if value]
        require(not given, f"{', '.join(given)}: a pretraining has none.")
        require(not options["freeze_encoder"], "--freeze-encoder: a pretraining changes it.")
    else:
        require(target is not None, f"--task {task} needs --target.")
        require(inputs["metadata"] is not None, "--target needs --metadata.")
        require(
            options["encoder"] is not None or not options["freeze_encoder"],
            "--freeze-encoder needs --encoder.",
        )
    require(
        options["group_by"] is None or inputs["metadata"] is not None,
        "--group-by needs --metadata.",
    )
    check_apart(options["encoder"], output)
    from aam_core.tuning import learning_rate

    inputs = without_missing(inputs, target, missing_samples)
    study = load(inputs, keep_unplaced=task != "pretrain")
    found = learning_rate.find_lr(study, target, task=task, config=config, output=output, **options)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"--lr {found.suggestion:g}")
    logger.info(
        f"Give that to the run (or optim.lr in a file of settings); see {output / 'lr.png'}"
    )
