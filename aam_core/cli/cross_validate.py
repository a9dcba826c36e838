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


@click.command()
@study_options(
    "table", "metadata", "sequences", "tree", "distances", required=("table", "metadata")
)
@target_options(
    "One pretrained on these samples has seen those held out too, without their labels."
)
@click.option(
    "--task",
    type=click.Choice(["regression", "classification"]),
    default="regression",
    help="What kind of column the target is.",
)
@click.option("--folds", type=click.IntRange(min=2), default=5, help="Parts of the samples.")
@click.option(
    "--baseline/--no-baseline", default=True, help="Score a random forest on the same folds."
)
@directory_option(earlier.cross_validation)
@config_options("fitting")
def cross_validate(inputs, target, output, **options):
    """Score every sample by models that never saw it.

    Prints the figures of AAM beside those of a random forest; --output receives predictions.tsv,
    metrics.json and a plot.
    """
    from aam_core import crossval

    require(
        options["encoder"] is not None or not options["freeze_encoder"],
        "--freeze-encoder needs --encoder.",
    )
    result = crossval.cross_validate(load(inputs), target, output=output, **options)
    rows = {"AAM": result.metrics["aam"]}
    if options["baseline"]:
        rows["random forest"] = result.metrics["random_forest"]
    show_metrics(rows)
    click.echo(f"Written to {output}", err=True)
