"""``aam fit-regressor`` and ``aam fit-classifier``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.options import (
    directory_option,
    fit_study_options,
    init_from_option,
    load_inputs,
    split_options,
    target_options,
    with_any_value,
)
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import config_options
from aam_core.files import own_output
from aam_core.log import logger


def _fit_command(name: str, task: str, help: str) -> click.Command:
    """The subcommand ``name``, which fits a target of ``task``."""

    @command(name, help)
    @fit_study_options
    @init_from_option
    @target_options(several=task == "regression")
    @split_options
    @directory_option(own_output.is_model(name.removeprefix("fit-")))
    @config_options("fitting", resume=True)
    def fit(inputs, target, split_of, output, missing_samples=None, **options):
        from aam_core import fitting

        check_apart(options["encoder"], output)
        check_apart(options["init_from"], output, "--init-from")
        job = fitting.FITS[task]
        study = load_inputs(inputs)
        if missing_samples == "ignore":
            study = with_any_value(study, target)
        job(study, target, split=split_of(study), output=output, **options)
        logger.info(f"Model written to {output}")

    return fit


fit_regressor = _fit_command(
    "fit-regressor",
    "regression",
    """Fit a numeric metadata column, or several together.

    The model is an ensemble: several small networks, each of which holds out one fold of the
    samples (with an encoder that is not frozen, all hold out the same fold), blended with a random
    forest and a linear model. --output receives the model, its metrics on held-out samples
    (metrics.json), their out-of-fold predictions (val_predictions.tsv), a plot and the split.
    """,
)
fit_classifier = _fit_command(
    "fit-classifier",
    "classification",
    """Fit a categorical metadata column.

    The model is an ensemble: several small networks, each of which holds out one fold of the
    samples, stratified by class (with an encoder that is not frozen, all hold out the same fold),
    blended with a random forest and a linear model. --output receives the model, its metrics on
    held-out samples (metrics.json), their out-of-fold predictions (val_predictions.tsv), a plot and
    the split.
    """,
)
