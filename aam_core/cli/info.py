"""``aam info``."""

from __future__ import annotations

import json

import click

from aam_core.cli.command import command

_FORMATS = {
    "text": lambda known: known.to_text(),
    "json": lambda known: json.dumps(known.facts, indent=2),
    "markdown": lambda known: known.to_markdown(),
}


@command("info")
@click.argument("directory", type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="text",
    help="Lines, all facts as JSON, or the model card.",
)
def info(directory, form):
    """Show what a model is, and how it was trained and validated.

    DIRECTORY is the output of 'aam pretrain' or 'aam fit-...'. Shows the samples and inputs of the
    training, groups, folds and seed of the validation, metrics and their n, blend weights in words,
    versions, command and duration. Every model has the same as model_card.md.
    """
    from aam_core import description

    click.echo(_FORMATS[form](description.info(directory)))
