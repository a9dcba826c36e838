"""``aam evaluate``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.options import FILE, directory_option, missing_option, task_option
from aam_core.cli.outputs import show_metrics
from aam_core.cli.settings import setting_option
from aam_core.files import own_output
from aam_core.log import logger


@command("evaluate")
@click.option("--predictions", type=FILE, required=True, help="Output of 'aam predict'.")
@click.option("--metadata", type=FILE, required=True, help="Sample metadata with the true values.")
@click.option(
    "--target", required=True, metavar="COLUMN", help="Metadata column that was predicted."
)
@task_option(
    "What kind of column the target is.  [default: classification if the predictions are text or "
    "have probabilities]"
)
@missing_option("ignore", "predicted")
@setting_option("units")
@setting_option("title")
@setting_option("figure_format")
@directory_option(own_output.is_evaluation)
def evaluate(predictions, metadata, target, output, **options):
    """Compare predictions with the true values.

    Prints the metrics of the samples that have both, and writes metrics.json, predictions.tsv
    (sample-id, actual, prediction) and a plot. Samples that the model was trained on are counted,
    and a warning names them.
    """
    from aam_core import evaluation

    metrics = evaluation.evaluate(predictions, metadata, target, output, **options)
    # metrics.json keeps the name that programs read.
    words = {"left_out": "dropped"}
    show_metrics({"AAM": {words.get(name, name): value for name, value in metrics.items()}})
    logger.info(f"Written to {output}")
