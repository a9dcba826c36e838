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
    help="Output of 'aam fit-...': its out-of-fold predictions are reported, unless others are "
    "given; with --table it tells the nearest training samples of those predicted worst.",
)
@click.option(
    "--predictions",
    type=click.Path(exists=True),
    help="Output of 'aam cross-validate' (the folder), or of 'aam predict' (the file; --target of "
    "--metadata has the truth).",
)
@study_options("table", "sequences", "metadata", required=())
@click.option("--target", metavar="COLUMN", help="What was predicted.  [default: the model's]")
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples with the same value in this column (a subject) belong together: intervals and "
    "tests are over its groups.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column to draw errors by. Repeatable.  [default: up to six that tell the error]",
)
@click.option("--units", default="", help="Of the target, such as days.")
@click.option("--title", default="", help="Of the page.")
@click.option(
    "--learning-curve",
    is_flag=True,
    help="Refit --model on parts of its training samples, beside a random forest: how much would "
    "more data help? Some 20 fits; a line says beforehand how long they take.",
)
@click.option(
    "--curve-members",
    type=click.IntRange(min=1),
    default=2,
    help="Networks of each refit. Fewer than the model has take less time, and err a little more.",
)
@click.option("--curve-folds", type=click.IntRange(min=2), default=3, help="Test folds of it.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Refits at a time.")
@setting_option("device")
@directory_option(own_output.is_report)
def report(inputs, model, predictions, output, device, **options):
    """Show where a model fails, on one page.

    --output receives report.html, which needs no other file, its plots as SVG and PDF and its
    tables as TSV: metrics with intervals; errors against the truth, reads, richness, known reads,
    novelty and metadata; by group; the worst samples with their nearest training samples; coverage
    of intervals, or confusion and calibration of classes; and which metadata columns tell the
    error.
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
