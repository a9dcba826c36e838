"""``aam baseline``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.options import (
    covariate_option,
    directory_option,
    group_option,
    load_inputs,
    missing_option,
    split_options,
    study_options,
    task_option,
    without_missing,
)
from aam_core.cli.outputs import show_metrics
from aam_core.cli.settings import config_options
from aam_core.files import own_output
from aam_core.log import logger

_METHODS = ("random_forest", "extra_trees", "linear", "dummy", "reads")
"""Keys of `aam_core.baseline.BASELINES`, which are not imported for the help."""


@command("baseline")
@study_options("table", "metadata", "sequences", required=("table", "metadata"))
@click.option("--target", required=True, metavar="COLUMN", help="Metadata column to predict.")
@missing_option()
@task_option("What kind of column the target is.  [default: classification if it is text]")
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    default="random_forest",
    help="A random forest on relative abundances; extra trees on log abundances; ridge or logistic "
    "regression on CLR; the median or most common class; a forest on the number of reads alone.",
)
@group_option
@covariate_option
@split_options
@directory_option(own_output.is_baseline)
@config_options("fitting")
def baseline(inputs, target, missing_samples, split_of, output, **options):
    """Fit a baseline on the split of a fit, and score it.

    Give it the split of a fit (--train-samples, --val-samples, --folds-file) or the same settings,
    which make the same split. --output receives metrics.json, val_predictions.tsv, folds.tsv,
    train_samples.txt, val_samples.txt and a plot, as of a fit. No model is saved.
    """
    from aam_core import baseline_fits

    inputs = without_missing(inputs, target, missing_samples)
    study = load_inputs(inputs, require_sequences=False)
    result = baseline_fits.fit_baseline(
        study, target, split=split_of(study), output=output, **options
    )
    show_metrics({result.metrics["method"]: result.metrics["model"]})
    logger.info(f"Written to {output}")
