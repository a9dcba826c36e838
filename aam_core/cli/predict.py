"""``aam predict``."""

from __future__ import annotations

import click

from aam_core.cli.options import DIRECTORY, file_option, setting_option, study_options
from aam_core.cli.outputs import load
from aam_core.config import find
from aam_core.files.writing import replacing
from aam_core.log import logger


@click.command()
@study_options("table", "sequences", "metadata")
@click.option("--model", type=DIRECTORY, required=True, help="Output of 'aam fit-...'.")
@file_option("TSV to write, one line a sample.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples at a time.")
@setting_option("device")
@setting_option("precision")
@click.option(
    "--long-sequences",
    type=click.Choice(find("data.long_sequences").metadata["choices"]),
    help="What to do with a sequence longer than the model reads; as in training unless given.",
)
def predict(inputs, model, output, **options):
    """Predict samples with a fitted model.

    Writes, beside the sample-id, a regressor's prediction in the target's own units with the bounds
    of its 90 % interval, or a classifier's class with the probability of each. Then comes how much
    of the sample the model knows: known_reads, the share of its reads in ASVs that the model was
    fitted on; known_kmers, the share of its 12-mers that occur in these; and in_training, whether
    the model was trained on a sample of this id. Where little is known a line on stderr says why.
    """
    from aam_core import prediction
    from aam_core.model import load_model

    model = load_model(model)
    if inputs["metadata"] is not None and "where" not in inputs and model.covariates is None:
        logger.info(
            "--metadata has no effect but on which samples are predicted: the model reads no "
            "covariates."
        )
    frames = prediction.predict_batches(model, load(inputs), **options)
    count = write(frames, output)
    logger.info(f"Predictions of {count} samples written to {output}")


def write(frames, path) -> int:
    """Write tables indexed by sample one after the other as a TSV, all or none.

    Parameters
    ----------
    frames : iterable of DataFrame
        With the same columns; each is written before the next is asked for.
    path : path

    Returns
    -------
    int
        Lines, without that of the names.
    """
    count = 0
    with replacing(path) as temporary:
        for frame in frames:
            how = {"mode": "a", "header": False} if count else {"mode": "w"}
            frame.to_csv(temporary, sep="\t", index_label="sample-id", **how)
            count += len(frame)
    return count
