"""``aam explain``."""

from __future__ import annotations

import click

from aam_core.cli import own_output
from aam_core.cli.command import command, is_given
from aam_core.cli.options import DIRECTORY, directory_option, load_inputs, study_options
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import setting_option
from aam_core.log import logger


@command("explain")
@study_options(
    *("table", "metadata", "sequences", "tree", "taxonomy"),
    required=("table", "metadata"),
    notes={
        "tree": " Its clades are explained too.",
        "taxonomy": " Its taxa are explained too.",
    },
)
@click.option("--model", type=DIRECTORY, required=True, help="Output of 'aam fit-...'.")
@click.option(
    "--target", metavar="COLUMN", help="Of a model of several targets, the one to explain."
)
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples of one value in this column (a subject) are not independent: abundances are "
    "exchanged with those of other groups, and targets are permuted among groups.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=10, help="Permutations of each ASV.")
@click.option(
    "--clades",
    default="10,30,100",
    metavar="NUMBERS",
    help="Into how many clades the tree is cut, joined by commas: one division for each. Without "
    "tree and taxonomy, clusters of like sequences. 'none' for no clades.",
)
@click.option(
    "--references",
    type=click.IntRange(min=0),
    default=10,
    help="Samples that each sample is compared with for its contributions; 0 for none.",
)
@click.option("--units", metavar="TEXT", help="Of the target, for the plots: days, say.")
@click.option("--title", metavar="TEXT", help="Of the plots.")
@setting_option("seed")
@setting_option("threads")
@setting_option("device")
@directory_option(own_output.is_explanation)
def explain(inputs, model, output, units, title, clades, **options):
    """Tell which ASVs, clades and taxa a model's predictions depend on.

    The samples must be new to the model, or all have been held out when it was fitted; the metadata
    has the actual values of the target. Writes importance.tsv (by how much the error rises where an
    ASV is permuted among samples, and in which direction the ASV moves the prediction), groups.tsv
    (of clades, taxa, or clusters), contributions.tsv and samples.tsv (what moved the prediction of
    each sample), deletion.tsv (the error without the most important ASVs), and plots of these.
    """
    from aam_core.explanation.explain import explain

    check_apart(model, output, "--model")
    sizes = read_sizes(clades)
    if is_given("clades") and inputs["taxonomy"] is not None and inputs["tree"] is None:
        logger.info("--clades has no effect: of a taxonomy without --tree, taxa are explained.")
    explanation = explain(model, load_inputs(inputs), clades=sizes, **options)
    explanation.save(output)
    explanation.draw(output, units=units, title=title)
    for table, name in ((explanation.importance, "ASVs"), (explanation.groups, "groups")):
        if len(table):
            count = int((table["q"] < 0.05).sum())
            logger.info(f"{count} of {len(table):,} {name} have an importance (q < 0.05)")
    logger.info(f"Written to {output}")


def read_sizes(text: str) -> tuple[int, ...]:
    """Numbers joined by commas, or none."""
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} are no numbers joined by commas (10,30,100), nor 'none'.",
            click.get_current_context(),
            param_hint="--clades",
        ) from None
