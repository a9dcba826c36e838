"""``aam distance-fit``."""

from __future__ import annotations

import click

from aam_core.cli.command import command, require
from aam_core.cli.options import DIRECTORY, file_option, load_inputs, study_options
from aam_core.cli.outputs import show_metrics, write_tables
from aam_core.config import WITHOUT_TREE
from aam_core.log import logger

_SAMPLES = ("held-out", "all")
"""Keys of `aam_core.distance_fit.SAMPLES`, which are not imported for the help."""


@command("distance-fit")
@study_options("table", "sequences", "tree", "distances")
@click.option("--encoder", type=DIRECTORY, required=True, help="Output of 'aam pretrain'.")
@click.option(
    "--samples",
    type=click.Choice(_SAMPLES),
    default="held-out",
    help="Which samples to compare: those that the encoder was not trained on, or all.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Seed of the rarefaction and of the permutations.",
)
@file_option("TSV to write, one line per sample.")
def distance_fit(inputs, encoder, samples, seed, output):
    """Compare the distances of an encoder with the true ones.

    Prints R2, mean absolute error and Spearman's correlation of the predicted with the true
    distances between pairs of samples, p of Mantel's test, and M2 and p of Procrustes. Writes for
    each sample-id its mean true (actual) and predicted distance from the others, and the mean
    absolute error. True distances are computed from --tree, or read from --distances.
    """
    from aam_core import distance_fit as core
    from aam_core.model import load_model

    model = load_model(encoder)
    metric, given = model.config.loss.metric, inputs["distances"] is not None
    require(not (given and inputs["tree"] is not None), "--tree and --distances: give one of them.")
    require(
        given or inputs["tree"] is not None or metric in WITHOUT_TREE,
        f"Missing option '--tree': {metric} is computed on a phylogeny (or give --distances).",
    )
    study = load_inputs(inputs, keep_unplaced=False)
    fit = core.distance_fit(model, study, samples, seed)
    show_metrics({"the given distances" if given else metric: fit.metrics})
    words = {
        "new": "new to the encoder",
        "validation": "of its validation",
        "trained": "trained on",
    }
    counts = ", ".join(f"{fit.where[key]} {text}" for key, text in words.items() if fit.where[key])
    logger.info(f"samples: {counts}")
    write_tables([fit.by_sample()], output)
    logger.info(f"Written to {output}")
