"""``aam zero-distances``."""

from __future__ import annotations

import click

from aam_core import config
from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import directory_option, load_inputs, study_options
from aam_core.cli.outputs import readable, show_table
from aam_core.files import own_output
from aam_core.log import logger


@command("zero-distances")
@study_options("table", "tree", "distances", "metadata")
@click.option(
    "--metric", type=click.Choice(config.METRICS), default="unweighted", help="Distance to compute."
)
@click.option(
    "--alpha", type=click.FloatRange(0, 1), default=0.5, help="Exponent of generalized UniFrac."
)
@click.option(
    "--bound",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Count pairs up to this distance. With a value above 0 all pairs are compared, which "
    "takes longer.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column by which to count pairs. Repeatable.  [default: all]",
)
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(min=1),
    multiple=True,
    help="Number of reads to draw from each sample, to see which pairs are at 0 because of too "
    "few reads. Repeatable.  [default: up to five depths that half of the samples reach]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the draws.")
@directory_option(own_output.is_report)
def zero_distances(inputs, output, **options):
    """Find samples at distance 0: copies, or too few reads.

    Prints how many pairs there are and what to do. --output receives a page (report.html), the
    pairs and all counts as TSV: by metadata, by depth, and at several sampling depths, with the
    pairs that are at 0 there but not with all their reads. Distances are computed from --table and
    --tree, or read from --distances.
    """
    from aam_core.zero_distances import find_zero_distances

    metric, given = options["metric"], inputs["distances"] is not None
    require(
        given or inputs["tree"] is not None or metric in config.WITHOUT_TREE,
        f"Missing option '--tree': {metric} is computed on a phylogeny.",
    )
    for name in ("metric", "alpha", "depths", "seed"):
        require(
            not (given and is_given(name)),
            f"--{name.removesuffix('s')} is for distances that are computed, and --distances gives "
            "them.",
        )
    if is_given("alpha") and metric != "generalized":
        logger.info(
            f"--alpha has no effect: only generalized UniFrac has it, and the metric is {metric}."
        )
    if inputs["tree"] is not None and given:
        logger.info("--tree has no effect: --distances gives the distances.")
    elif inputs["tree"] is not None and metric in config.WITHOUT_TREE:
        logger.info(f"--tree only decides which features are read: {metric} needs no tree.")
    study = load_inputs(inputs, require_sequences=False)
    result = find_zero_distances(study, output, **options)
    values = result.summary["value"]
    show_table([[str(name).replace("_", " "), readable(value)] for name, value in values.items()])
    for line in result.advice:
        logger.info(line)
    logger.info(f"Written to {output}")
