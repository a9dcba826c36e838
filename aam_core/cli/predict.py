"""``aam predict``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.options import DIRECTORY, file_option, load_inputs, study_options
from aam_core.cli.outputs import write_tables
from aam_core.cli.settings import setting_option
from aam_core.config import find
from aam_core.log import logger


@command("predict")
@study_options("table", "sequences", "metadata")
@click.option("--model", type=DIRECTORY, required=True, help="Output of 'aam fit-...'.")
@file_option("TSV to write, one line per sample.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Number of samples that are predicted at a time.",
)
@setting_option("device")
@setting_option("precision")
@click.option(
    "--long-sequences",
    type=click.Choice(find("data.long_sequences").metadata["choices"]),
    help="Whether sequences longer than the model reads are an error or are truncated.  [default: "
    "as in training]",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Probability with which the prediction interval of a number (0.9 by default), or the set "
    "of classes (only predicted if this is given), should contain the true value.",
)
@setting_option("passes")
def predict(inputs, model, output, **options):
    """Predict samples with a fitted model.

    Writes for each sample-id the prediction in the target's own units with the bounds of its
    prediction interval, or the class with the probability of each class. More columns tell how much
    of the sample the model knows: known_reads, the share of its reads in ASVs that the model was
    fitted on; known_kmers, the share of its 12-mers that occur in these; novelty, the share of
    held-out samples that are no farther from the training samples; and in_training, whether the
    model was trained or validated on a sample with this id. If little is known, a warning says why.
    """
    from aam_core import prediction
    from aam_core.model import load_model

    model = load_model(model)
    reads = model.covariates is not None or model.columns()
    if inputs["metadata"] is not None and "where" not in inputs and not reads:
        logger.info(
            "--metadata only decides which samples are predicted: the model reads no covariates."
        )
    frames = prediction.predict_batches(model, load_inputs(inputs), **options)
    count = write_tables(frames, output)
    logger.info(f"Predictions of {count} samples written to {output}")
