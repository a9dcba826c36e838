"""``aam unifrac``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aam_core import config
from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import file_option, load_inputs, study_options
from aam_core.cli.outputs import write_square, write_tables
from aam_core.files.writing import replacing
from aam_core.log import logger

if TYPE_CHECKING:
    import pandas as pd

    from aam_core.data.study import Study

METRICS = (*config.METRICS, "faith_pd")


@command("unifrac")
@study_options("table", "tree")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="unweighted",
    help="Distance, or Faith's PD, to compute.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.5,
    help="Exponent of generalized UniFrac.",
)
@file_option("TSV to write: a square matrix, or one line per sample for faith_pd.")
def unifrac(inputs, metric, alpha, output):
    """Compute distances between samples, or Faith's PD.

    The reads of the table are used as they are. Bray-Curtis and Jaccard need no --tree.
    """
    require(
        inputs["tree"] is not None or metric in config.WITHOUT_TREE,
        f"Missing option '--tree': {metric} is computed on a phylogeny.",
    )
    from aam_core.phylogeny import distances

    if is_given("alpha") and metric != "generalized":
        logger.info(
            f"--alpha has no effect: only generalized UniFrac has it, and the metric is {metric}."
        )
    if inputs["tree"] is not None and metric in config.WITHOUT_TREE:
        logger.info(f"--tree only decides which features are read: {metric} needs no tree.")
    study = load_inputs(inputs, require_sequences=False, keep_unplaced=False)
    if metric == "faith_pd":
        write_tables([_faith_pd(study)], output)
    else:
        matrix = distances.table_distances(study.counts, study.phylogeny, metric, alpha)
        with replacing(output) as temporary:
            write_square(temporary, study.sample_ids, matrix)
    logger.info(f"Wrote {metric} of {len(study.sample_ids)} samples to {output}")


def _faith_pd(study: Study, block: int = 256) -> pd.DataFrame:
    """Faith's PD of each sample; ``block`` samples at a time, as dense counts."""
    import pandas as pd
    import torch

    from aam_core.phylogeny.distances import faith_pd

    features = torch.arange(len(study.feature_ids))
    values = []
    for start in range(0, len(study.sample_ids), block):
        counts = torch.from_numpy(study.counts[start : start + block].toarray())
        values += faith_pd(counts, features, study.phylogeny).tolist()
    return pd.DataFrame({"faith_pd": values}, index=study.sample_ids)
