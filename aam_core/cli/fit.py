"""``aam fit-regressor`` and ``aam fit-classifier``."""

from __future__ import annotations

import click

from aam_core.cli import earlier
from aam_core.cli.options import (
    FILE,
    config_options,
    directory_option,
    read_ids,
    require,
    study_options,
    target_options,
)
from aam_core.cli.outputs import check_apart, load
from aam_core.log import logger


def _command(name: str, help: str):
    """The subcommand ``name``, which calls the workflow of that name."""

    @click.command(name, help=help)
    @study_options(
        "table",
        "metadata",
        "sequences",
        "tree",
        "distances",
        required=("table", "metadata"),
        fits=True,
    )
    @target_options()
    @click.option("--train-samples", type=FILE, help="Sample ids to train on, one a line.")
    @click.option("--val-samples", type=FILE, help="Sample ids to validate on, one a line.")
    @directory_option(earlier.model_of(name.removeprefix("fit-")))
    @config_options("fitting", resume=True)
    def command(inputs, target, train_samples, val_samples, output, **options):
        from aam_core import fitting

        require(
            (train_samples is None) == (val_samples is None),
            "--train-samples and --val-samples go together.",
        )
        require(
            bool(options["encoder"] or options["resume"]) or not options["freeze_encoder"],
            "--freeze-encoder needs --encoder.",
        )
        check_apart(options["encoder"], output)
        split = None
        if train_samples is not None:
            split = (read_ids(train_samples), read_ids(val_samples))
        fit = {
            "fit-regressor": fitting.fit_regressor,
            "fit-classifier": fitting.fit_classifier,
        }[name]
        fit(load(inputs), target, split=split, output=output, **options)
        logger.info(f"Model written to {output}")

    return command


fit_regressor = _command(
    "fit-regressor",
    """Fit a numeric metadata column.

    Several small networks, each of which leaves out a share of the samples (all the same one,
    from an encoder that is not frozen), and a forest beside them predict together. --output
    receives the model, its figures on the samples left out (metrics.json), its predictions of them
    (val_predictions.tsv), a plot and the split itself.
    """,
)
fit_classifier = _command(
    "fit-classifier",
    """Fit a categorical metadata column.

    Several small networks, each of which leaves out a share of the samples (all the same one,
    from an encoder that is not frozen), alike in classes, and a forest beside them predict
    together. --output receives the model, its figures on the samples left out (metrics.json), its
    predictions of them (val_predictions.tsv), a plot and the split itself.
    """,
)
