"""``aam find-lr``."""

from __future__ import annotations

import os

import click

from aam_core.cli.command import command, require
from aam_core.cli.options import (
    check_frozen,
    covariate_option,
    directory_option,
    encoder_option,
    freeze_option,
    group_option,
    load_inputs,
    missing_option,
    study_options,
    task_option,
    without_missing,
)
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import config_options
from aam_core.files import own_output
from aam_core.log import logger


def _task(task: str | None, target: str | None) -> str:
    """What the rate is for, also where ``--task`` is not given."""
    return task or ("pretrain" if target is None else "regression")


def _kind(values: dict) -> str:
    """Whether the presets are those of a pretraining or of a fit."""
    is_pretraining = _task(values["task"], values["target"]) == "pretrain"
    return "pretraining" if is_pretraining else "fitting"


@command("find-lr")
@study_options("table", "metadata", "sequences", "tree", "distances", "taxonomy")
@click.option(
    "--target",
    metavar="COLUMN",
    help="Metadata column to fit; without it, the learning rate is for a pretraining.",
)
@task_option(
    "What the learning rate is for.  [default: regression with --target, else pretrain]",
    more=["pretrain"],
)
@missing_option()
@group_option
@encoder_option("Output of 'aam pretrain' to start from.")
@freeze_option
@covariate_option
@click.option("--low", type=float, default=1e-6, help="First learning rate.")
@click.option("--high", type=float, default=10.0, help="Last learning rate.")
@click.option(
    "--steps", type=click.IntRange(min=20), default=100, help="Number of steps between the two."
)
@directory_option(own_output.is_range_test)
@config_options("pretraining", kind_of=_kind)
def find_lr(inputs, target, task, missing_samples, config, output, **options):
    """Find the learning rate of a run by a range test.

    Trains with an increasing learning rate until the loss diverges, and suggests the rate at which
    the loss fell fastest. The trained weights are not kept: --output receives the losses (lr.tsv)
    and their plot. Give the inputs and options of the run that the rate is for; with --target,
    presets and defaults are those of a fit.
    """
    task = _task(task, target)
    if task == "pretrain":
        fit_alone = {
            "--target": target,
            "--covariate": options["covariates"],
            "--missing-samples ignore": missing_samples == "ignore",
        }
        refused = [name for name, value in fit_alone.items() if value]
        require(not refused, f"{', '.join(refused)}: a pretraining has none.")
        require(not options["freeze_encoder"], "--freeze-encoder: a pretraining changes it.")
    else:
        require(target is not None, f"--task {task} needs --target.")
        require(inputs["metadata"] is not None, "--target needs --metadata.")
        check_frozen(options["freeze_encoder"], options["encoder"])
    require(
        options["group_by"] is None or inputs["metadata"] is not None,
        "--group-by needs --metadata.",
    )
    check_apart(options["encoder"], output)
    from aam_core.tuning import learning_rate

    inputs = without_missing(inputs, target, missing_samples)
    study = load_inputs(inputs, keep_unplaced=task != "pretrain")
    result = learning_rate.find_lr(
        study, target, task=task, config=config, output=output, **options
    )
    if os.environ.get("RANK", "0") == "0":  # every rank has the result
        click.echo(f"--lr {result.suggestion:g}")
    logger.info(f"Give this to the run (or as optim.lr in --config); see {output / 'lr.png'}")
