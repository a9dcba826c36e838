"""``aam maturity``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aam_core.cli.command import command
from aam_core.cli.options import FILE, file_option, missing_option
from aam_core.cli.outputs import readable, show_table, write_tables
from aam_core.errors import InputError, first_five
from aam_core.log import logger

if TYPE_CHECKING:
    import pandas as pd


@command("maturity")
@click.option(
    "--predictions",
    type=FILE,
    required=True,
    help="Predicted ages: output of 'aam predict', predictions.tsv of 'aam cross-validate' "
    "(without repeats, as each sample may occur only once), or val_predictions.tsv of a fit.",
)
@click.option("--metadata", type=FILE, required=True, help="Sample metadata with ages and groups.")
@click.option(
    "--age",
    required=True,
    metavar="COLUMN",
    help="Metadata column of the true age, which was predicted.",
)
@click.option(
    "--group",
    required=True,
    metavar="COLUMN",
    help="Metadata column that distinguishes control samples.",
)
@click.option(
    "--control", required=True, metavar="VALUE", help="Value of this column in control samples."
)
@click.option(
    "--bin-width",
    type=click.FloatRange(min=0, min_open=True),
    help="Width of an age bin, in the unit of the ages.  [default: only samples of exactly the "
    "same age are compared]",
)
@missing_option("ignore", "predicted")
@file_option("TSV to write, one line per sample.")
def maturity(predictions, metadata, age, group, control, bin_width, missing_samples, output):
    """Compute microbial maturity: z-scores of predicted ages.

    Writes for each sample-id its age, the median and standard deviation of the predicted ages of
    control samples in its age bin, its relative maturity (predicted - median) and the
    microbiota-for-age z-score (maz; Subramanian et al. 2014). Prints the mean of each group. Use
    predictions of samples that were held out.
    """
    import pandas as pd

    from aam_core.data.columns import as_classes, as_numbers, missing_ids
    from aam_core.data.metadata import column, read_metadata
    from aam_core.evaluation import warn_of_training
    from aam_core.maturity import maturity as core
    from aam_core.prediction_files import read_predictions

    predicted = read_predictions(predictions, "regression", age)
    warn_of_training(predicted)
    known = read_metadata(metadata)
    ages, groups = column(known, age), column(known, group)
    blank = {*missing_ids(ages), *missing_ids(groups)}
    kept = [name for name in predicted.index if name in known.index and name not in blank]
    without = [name for name in predicted.index if name not in set(kept)]
    if not kept or (without and missing_samples == "error"):
        raise InputError(
            f"{len(without)} of {len(predicted)} predicted samples have no {age!r} or no "
            f"{group!r}: {first_five(without)}."
        )
    names = as_classes(groups.loc[kept])
    if not (names == control).any():
        raise InputError(
            f"No predicted sample has the value {control!r} in {group!r}: it has "
            f"{first_five(sorted(set(names)))}."
        )
    true = pd.Series(as_numbers(ages.loc[kept]), index=kept)
    table = core(true, predicted["prediction"], names == control, width=bin_width)
    table.insert(0, "group", names)
    if without:
        logger.info(
            f"{len(without)} predicted samples without {age!r} or {group!r} dropped: "
            f"{first_five(without)}"
        )
    show_table(_by_group(table))
    write_tables([table], output)
    scored = int(table["maz"].notna().sum())
    logger.info(f"{scored} of {len(table)} samples have a score; written to {output}")


def _by_group(table: pd.DataFrame) -> list[list[str]]:
    """A row of texts for each group, below a header."""
    rows = [["group", "samples", "mean relative maturity", "mean maz"]]
    for name, part in table.groupby("group"):
        means = (readable(float(part[key].mean())) for key in ("relative", "maz"))
        rows.append([str(name), f"{len(part):,}", *means])
    return rows
