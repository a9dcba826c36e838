"""``aam tune``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.options import (
    FILE,
    directory_option,
    fit_study_options,
    load_inputs,
    target_options,
    task_option,
    with_any_value,
)
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import config_options
from aam_core.files import own_output
from aam_core.log import logger


@command("tune")
@fit_study_options
@target_options(several=True)
@task_option("What kind of column the target is.  [default: classification if it is text]")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=50,
    help="Number of trials, including those of earlier calls.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="Seconds after which no trial is started."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    help="Number of trials at a time: processes of one thread each, unless --threads is given.",
)
@click.option(
    "--space",
    "space_file",
    type=FILE,
    help="YAML file of the settings to search, such as 'optim.lr: {low: 0.0001, high: 0.01, log: "
    "true}' or 'train.batch_size: {choices: [16, 32]}'.  [default: learning rate, weight decay, "
    "dropouts, depth over samples, rarefaction and batch size]",
)
@click.option(
    "--metric",
    default="auto",
    help="Validation metric to improve: any name under val/ in the logs. 'auto': mae for a "
    "regression, auc for a classification, the mean r2 for several targets.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=0),
    default=0,
    help="Fit every trial on this many folds and take the mean metric: slower, but less noisy on "
    "a small study (0: one split).",
)
@directory_option(own_output.is_search, "an earlier search, which is continued")
@config_options("fitting")
def tune(inputs, target, space_file, output, missing_samples=None, **options):
    """Search for the best settings of a fit.

    Each trial fits the same training samples with other settings; trials that do worse than most
    are stopped early. --output receives best.yaml, for --config of a fit, a table of the trials
    and a plot. Repeat the command to continue a search that was stopped.
    """
    from aam_core import tuning
    from aam_core.tuning import results, space

    tuning.require_optuna()
    check_apart(options["encoder"], output)
    searched = None if space_file is None else space.read_space(space_file)
    study = load_inputs(inputs)
    if missing_samples == "ignore":
        study = with_any_value(study, target)
    result = tuning.tune(study, target, space=searched, output=output, **options)
    click.echo(results.as_yaml(result.settings), nl=False)
    logger.info(f"Best val/{result.metric}: {result.value:.4g}; written to {output}")
