"""``aam predict``."""

from __future__ import annotations

import click

from aam_core.cli.options import DIRECTORY, file_option, setting_option, study_options
from aam_core.cli.outputs import load, write_table


@click.command()
@study_options("table", "sequences", "metadata")
@click.option("--model", type=DIRECTORY, required=True, help="Output of 'aam fit-...'.")
@file_option("TSV to write, one line a sample.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples at a time.")
@setting_option("device")
@setting_option("precision")
def predict(inputs, model, output, **options):
    """Predict samples with a fitted model.

    Writes, beside the sample-id, a regressor's prediction in the target's own units with the bounds
    of its 90 % interval, or a classifier's class with the probability of each.
    """
    from aam_core import prediction

    predictions = prediction.predict(model, load(inputs), **options)
    write_table(predictions, output)
    click.echo(f"Predictions of {len(predictions)} samples written to {output}", err=True)
