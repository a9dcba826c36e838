"""``aam cross-validate``."""

from __future__ import annotations

import click

from aam_core.cli import earlier
from aam_core.cli.options import (
    config_options,
    directory_option,
    require,
    study_options,
    target_options,
)
from aam_core.cli.outputs import load, show_metrics
from aam_core.log import logger


@click.command()
@study_options(
    "table",
    "metadata",
    "sequences",
    "tree",
    "distances",
    required=("table", "metadata"),
    fits=True,
)
@target_options(
    "One pretrained on these samples has seen those held out too, without their labels."
)
@click.option(
    "--task",
    type=click.Choice(["regression", "classification"]),
    help="What kind of column the target is.  [default: classification where it is text]",
)
@click.option("--folds", type=click.IntRange(min=2), default=5, help="Number of folds.")
@click.option(
    "--baseline/--no-baseline",
    default=True,
    help="Score a random forest on the same folds, and one that knows the number of reads of a "
    "sample alone.",
)
@directory_option(earlier.cross_validation)
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

    require(
        options["encoder"] is not None or not options["freeze_encoder"],
        "--freeze-encoder needs --encoder.",
    )
    result = crossval.cross_validate(load(inputs), target, output=output, **options)
    metrics = result.metrics
    logger.info(f"{held_out_in_words(metrics['held_out'])}:")
    show_metrics({label: metrics[key] for key, label in crossval.LABELS.items() if key in metrics})
    if "interval" in metrics:
        share = metrics["interval"]["nominal_coverage"]
        logger.info(f"coverage: share of these samples within the {share:.0%} interval")
    logger.info(f"Written to {output}")
