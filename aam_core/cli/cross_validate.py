"""``aam cross-validate``."""

from __future__ import annotations

import click

from aam_core.cli import own_output
from aam_core.cli.command import command
from aam_core.cli.options import (
    directory_option,
    fit_study_options,
    init_from_option,
    load_inputs,
    target_options,
    task_option,
)
from aam_core.cli.outputs import show_metrics
from aam_core.cli.settings import config_options
from aam_core.log import logger


@command("cross-validate")
@fit_study_options
@target_options(
    "An encoder pretrained on these samples has seen the held-out ones, too, without their labels."
)
@init_from_option
@task_option("What kind of column the target is.  [default: classification where it is text]")
@click.option("--folds", type=click.IntRange(min=2), default=5, help="Number of folds.")
@click.option(
    "--baseline/--no-baseline",
    default=True,
    help="Score a random forest on the same folds, and one that knows the number of reads of a "
    "sample alone.",
)
@directory_option(own_output.is_cross_validation)
@config_options("fitting")
def cross_validate(inputs, target, output, **options):
    """Score every sample by models that never saw it.

    Prints the metrics of AAM, of its networks without the forest that is blended with them, of a
    random forest, and of one that knows the number of reads of a sample alone: where that does
    well, sequencing depth predicts the target. --output receives predictions.tsv, metrics.json and
    a plot.
    """
    from aam_core import crossval
    from aam_core.preparation import held_out_in_words

    result = crossval.cross_validate(load_inputs(inputs), target, output=output, **options)
    metrics = result.metrics
    logger.info(f"{held_out_in_words(metrics['held_out'])}:")
    show_metrics({label: metrics[key] for key, label in crossval.LABELS.items() if key in metrics})
    if "interval" in metrics:
        share = metrics["interval"]["nominal_coverage"]
        logger.info(f"coverage: share of these samples within the {share:.0%} interval")
    logger.info(f"Written to {output}")
