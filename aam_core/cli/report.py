"""``aam report``."""

from __future__ import annotations

import click

from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import DIRECTORY, directory_option, load_inputs, study_options
from aam_core.cli.settings import setting_option
from aam_core.files import own_output
from aam_core.log import logger


@command("report")
@click.option(
    "--model",
    type=DIRECTORY,
    help="Output of 'aam fit-...': its out-of-fold predictions are reported, unless --predictions "
    "is given; with --table, the page has the nearest training samples of the worst predictions.",
)
@click.option(
    "--predictions",
    type=click.Path(exists=True),
    help="Output of 'aam cross-validate' (the folder), or of 'aam predict' (the file; the true "
    "values are --target of --metadata).",
)
@study_options("table", "sequences", "metadata", required=())
@click.option(
    "--target", metavar="COLUMN", help="Metadata column that was predicted.  [default: the model's]"
)
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples with the same value in this column (a subject) are one group: intervals and "
    "tests are over groups.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column against which to draw errors. Repeatable.  [default: up to six that are "
    "associated with the error]",
)
@click.option(
    "--units",
    default="",
    help="Unit of the target, such as 'days'.  [default: the model's]",
)
@click.option("--title", default="", help="Title of the page.")
@click.option(
    "--learning-curve",
    is_flag=True,
    help="Refit --model and a random forest on parts of its training samples, to see how much "
    "more data would help. About 20 fits; a line says beforehand how long they take.",
)
@click.option(
    "--curve-members",
    type=click.IntRange(min=1),
    default=2,
    help="Number of networks of each refit. Fewer than the model has take less time, with "
    "slightly larger errors.",
)
@click.option(
    "--curve-folds",
    type=click.IntRange(min=2),
    default=3,
    help="Number of test folds of each refit.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Number of refits at a time.")
@setting_option("device")
@directory_option(own_output.is_report)
def report(inputs, model, predictions, output, device, **options):
    """Show where a model fails, on one page.

    --output receives report.html, which needs no other file, its plots as SVG and PDF and its
    tables as TSV: metrics with intervals; errors against the true value, reads, richness, known
    reads, novelty and metadata, and by group; the worst samples with their nearest training
    samples; coverage of intervals, or confusion matrix and calibration of classes; and the metadata
    columns that are associated with the error.
    """
    from aam_core.data.metadata import read_metadata
    from aam_core.reporting import report as module

    require(model is not None or predictions is not None, "Give --model or --predictions.")
    for name in ("curve_members", "curve_folds", "jobs"):
        given = is_given(name) and not options["learning_curve"]
        require(not given, f"--{name.replace('_', '-')} needs --learning-curve.")
    if options["learning_curve"]:
        complete = model is not None and inputs["table"] is not None
        require(complete, "--learning-curve needs --model and --table.")
    study = None
    if inputs["table"] is not None:
        study = load_inputs(inputs, require_sequences=False)
    else:
        for name in ("sequences", "where", "max_lost_reads", "device"):
            require(not is_given(name), f"--{name.replace('_', '-')} needs --table.")
        if inputs["metadata"] is not None:
            options["metadata"] = read_metadata(inputs["metadata"])
    if model is None and is_given("device"):
        logger.info("--device has no effect: without --model no networks are run.")
    module.report(model, predictions, study=study, output=output, device=device, **options)
    logger.info(f"Written to {output}: open report.html")
