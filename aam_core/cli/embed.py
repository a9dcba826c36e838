"""``aam embed``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import DIRECTORY, FILE, directory_option, load_inputs, study_options
from aam_core.cli.outputs import write_square
from aam_core.cli.settings import setting_option
from aam_core.config import find
from aam_core.errors import InputError
from aam_core.files import own_output
from aam_core.files.folders import replacing_in
from aam_core.log import logger

if TYPE_CHECKING:
    import pandas as pd

    from aam_core.data.study import Study

_READING = ("batch_size", "device", "precision", "long_sequences")

_OF_A_LEVEL = {
    "sample": (
        *("axes", "color_by", "units", "title", "figure_format"),
        *("no_distances", "batch_size"),
    ),
    "asv": ("neighbours", "taxonomy"),
}
"""Options that act at one level alone."""

_OF_DISTANCES = ("metric", "axes", "color_by", "units", "title", "figure_format")
"""Options that act where there are distances between samples."""


@command("embed")
@study_options("table", "sequences", "metadata")
@click.option(
    "--model", type=DIRECTORY, required=True, help="Output of 'aam fit-...' or 'aam pretrain'."
)
@click.option(
    "--level",
    type=click.Choice(["sample", "asv"]),
    default="sample",
    help="Compute vectors of samples or of ASVs.",
)
@click.option(
    "--metric",
    type=click.Choice(["predicted", "euclidean", "cosine"]),
    help="Distance: 'predicted' by a model that learned distances (UniFrac, without a tree), or "
    "'euclidean' or 'cosine' between the vectors.  [default: for samples 'predicted' with an "
    "encoder that learned distances, else 'euclidean'; for ASVs 'cosine']",
)
@click.option(
    "--no-distances",
    is_flag=True,
    help="Write only the vectors of samples: N samples have N^2 distances.",
)
@click.option("--axes", type=click.IntRange(min=2), default=10, help="Number of axes of the PCoA.")
@click.option("--color-by", metavar="COLUMN", help="Metadata column that colours the PCoA.")
@click.option("--units", help="Unit of that column, such as 'days', in the figure.")
@click.option("--title", help="Title of the figure.")
@click.option(
    "--figure-format",
    type=click.Choice(["svg", "pdf", "png"]),
    default="svg",
    help="Format of the plot of the PCoA.",
)
@click.option(
    "--neighbours",
    type=click.IntRange(min=1),
    default=5,
    help="Number of nearest ASVs to write for each ASV.",
)
@click.option(
    "--taxonomy", type=FILE, help="Taxa to name beside the ASVs: TSV (Feature ID, Taxon) or .qza."
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Number of samples that are read at a time."
)
@setting_option("device")
@setting_option("precision")
@click.option(
    "--long-sequences",
    type=click.Choice(find("data.long_sequences").metadata["choices"]),
    help="Whether sequences longer than the model reads are an error or are truncated.  [default: "
    "as in training]",
)
@directory_option(own_output.is_embedding)
def embed(inputs, model, level, output, metric, taxonomy, **options):
    """Compute vectors of samples or ASVs, distances and a PCoA.

    For samples, writes vectors.tsv, their distances (distances.tsv; with an encoder the UniFrac
    that it predicts without a tree), the principal coordinates of these (ordination.txt, which
    'qiime tools import --type PCoAResults' takes and emperor opens) and a figure (pcoa.svg). For
    ASVs, writes vectors.tsv and the nearest ASVs of each (neighbours.tsv).
    """
    from aam_core import embedding, plots
    from aam_core.data.metadata import column
    from aam_core.model import load_model

    _check_options(inputs, level, metric, options | {"taxonomy": taxonomy})
    model = load_model(model)
    embedding.check_level(model, level)
    if level == "sample" and not options["no_distances"]:
        metric = embedding.metric_of(model, metric)
    study = load_inputs(inputs)
    colours = None if options["color_by"] is None else column(study.metadata, options["color_by"])
    if inputs["metadata"] is not None and colours is None and "where" not in inputs:
        logger.info("--metadata only decides which samples are read: no --color-by is given.")
    reading = {name: options[name] for name in _READING}
    vectors = embedding.embed(model, study, level=level, **reading)
    ordination = None
    with replacing_in(output, own_output.EMBEDDING) as folder:
        vectors.to_csv(folder / "vectors.tsv", sep="\t", float_format="%.6g")
        if level == "asv":
            _write_neighbours(folder, study, vectors, options["neighbours"], metric, taxonomy)
        elif not options["no_distances"]:
            distances = embedding.sample_distances(model, study, vectors, metric, **reading)
            write_square(folder / "distances.tsv", study.sample_ids, distances.to_numpy())
            try:
                ordination = embedding.ordinate(distances, options["axes"])
            except InputError as error:  # of few samples, or samples that are all alike
                logger.warning(f"no PCoA: {error}")
            else:
                ordination.to_skbio().write(str(folder / "ordination.txt"))
    if ordination is not None:
        texts = {name: options[name] for name in ("units", "title")}
        draw = functools.partial(
            plots.ordination, ordination.coordinates, ordination.explained, colours=colours, **texts
        )
        plots.attempt(output / f"pcoa.{options['figure_format']}", draw)
        logger.info(
            f"PCoA of {metric} distances between {len(vectors):,} samples: PC1 "
            f"{ordination.explained[0]:.1%}, PC2 {ordination.explained[1]:.1%}"
        )
    logger.info(f"{len(vectors):,} vectors of {vectors.shape[1]:,} numbers written to {output}")


def _check_options(inputs: dict, level: str, metric: str | None, options: dict) -> None:
    """Refuse what cannot act."""
    (other,) = _OF_A_LEVEL.keys() - {level}
    for name in _OF_A_LEVEL[other]:
        flag = f"--{name.replace('_', '-')}"
        require(not is_given(name), f"{flag} has no effect at --level {level}: leave it out.")
    for name in _OF_DISTANCES if options["no_distances"] else ():
        flag = f"--{name.replace('_', '-')}"
        require(not is_given(name), f"{flag} has no effect with --no-distances: leave it out.")
    colour = options["color_by"]
    require(colour is None or inputs["metadata"] is not None, "--color-by needs --metadata.")
    require(options["units"] is None or colour is not None, "--units needs --color-by.")
    require(level == "sample" or metric != "predicted", "--metric predicted is of samples.")


def _write_neighbours(
    folder: Path,
    study: Study,
    vectors: pd.DataFrame,
    count: int,
    metric: str | None,
    taxonomy: str | None,
) -> None:
    from aam_core.data.taxonomy import with_taxonomy
    from aam_core.embedding import nearest_neighbours

    if len(vectors) < 2:
        logger.warning("no neighbours: the table has a single ASV")
        return
    taxa = None
    if taxonomy is not None:
        names = with_taxonomy(study, taxonomy).taxonomy
        assert names is not None
        taxa = dict(zip(study.feature_ids, names, strict=True))
    table = nearest_neighbours(vectors, count, metric or "cosine", taxa)
    table.to_csv(folder / "neighbours.tsv", sep="\t", float_format="%.6g")
