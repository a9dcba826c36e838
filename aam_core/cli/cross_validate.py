"""``aam cross-validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import (
    FILE,
    directory_option,
    fit_study_options,
    init_from_option,
    load_inputs,
    target_options,
    task_option,
    with_any_value,
)
from aam_core.cli.outputs import readable, show_table
from aam_core.cli.settings import config_options
from aam_core.files import own_output
from aam_core.log import logger

if TYPE_CHECKING:
    from aam_core.crossval import CrossValidation

_WAYS = ("folds", "fold_by", "test_where", "folds_file")
"""Options that divide the samples, of which one is given."""


@command("cross-validate")
@fit_study_options
@target_options(
    "An encoder pretrained on these samples has seen the held-out ones, too, without their labels.",
    several=True,
)
@init_from_option
@task_option("What kind of column the target is.  [default: classification where it is text]")
@click.option("--folds", type=click.IntRange(min=2), help="Number of folds.  [default: 5]")
@click.option(
    "--fold-by",
    metavar="COLUMN",
    help="A fold for each value of this column instead (leave one group out).",
)
@click.option(
    "--test-where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="One fold instead, which tests these samples and trains on all others. Repeatable: tests "
    "those with any of the values.",
)
@click.option(
    "--folds-file",
    type=FILE,
    help="The folds instead: a TSV with sample-id, fold and repeat, as folds.tsv is written. "
    "Samples that are not in it are trained on in every fold.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    help="How often all is done, each time with the next seed.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    help="Folds at a time, each in a process of its own with a share of the cores.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    help="Score other methods on the same folds, too.",
)
@click.option(
    "--baselines",
    metavar="NAME[,NAME]",
    help="Which ones: random_forest, extra_trees (on log abundances), linear (ridge or logistic "
    "regression on CLR), dummy (median or most common class), reads (a forest that knows the "
    "number of reads of a sample alone).  [default: all]",
)
@click.option(
    "--importance-repeats",
    type=click.IntRange(min=0),
    default=0,
    help="Permute each ASV so often among the test samples of each fold, and write by how much the "
    "error rises (importance.tsv); 0 for no importances. Three are enough.",
)
@directory_option(own_output.is_cross_validation)
@config_options("fitting")
def cross_validate(inputs, target, output, baseline, baselines, missing_samples=None, **options):
    """Score every sample by models that never saw it.

    Prints the metrics of AAM, of its networks without the forest that is blended with them, and of
    other methods on the same folds: with intervals over groups (samples, where there are none), the
    difference from a random forest and p. Where the number of reads of a sample alone does well,
    sequencing depth predicts the target. --output receives predictions.tsv, metrics.json,
    comparison.tsv, folds.tsv, importance.tsv (with --importance-repeats) and a plot; of several
    targets there is a table each, and those after the first are written to folders in targets/.
    """
    from aam_core import crossval
    from aam_core.config.fields import names_in
    from aam_core.preparation import held_out_in_words

    given = [f"--{name.replace('_', '-')}" for name in _WAYS if is_given(name)]
    require(len(given) < 2, f"{' and '.join(given)} divide the samples in two ways: give one.")
    require(baseline or baselines is None, "--baselines and --no-baseline exclude each other.")
    chosen = baseline if baselines is None else names_in(baselines)
    study = load_inputs(inputs)
    if missing_samples == "ignore":
        study = with_any_value(study, target)
    result = crossval.cross_validate(study, target, output=output, baseline=chosen, **options)
    for one in result.each:
        name = one.target if result.more else ""
        start = f"{name}: " if name else ""
        logger.info(f"{start}{held_out_in_words(one.metrics['held_out'])}:")
        show_table(_table(one, name))
    metrics = result.metrics
    if "interval" in metrics:
        share = metrics["interval"]["nominal_coverage"]
        logger.info(f"coverage: share of these samples within the {share:.0%} interval")
    compared = metrics["comparison"]
    unit = f"{compared['groups']} groups" if compared["group_by"] is not None else "samples"
    text = (
        f"{compared['confidence']:.0%} intervals by {compared['draws']} bootstrap draws of {unit}"
    )
    if compared["reference"]:
        text += "; p: Wilcoxon signed-rank test of their mean losses, against the random forest"
    logger.info(text)
    logger.info(f"Written to {output}")


def _table(result: CrossValidation, name: str) -> list[list[str]]:
    """A row of texts for each method, below a header that starts with ``name``."""
    from aam_core.comparison import labels_of
    from aam_core.tasks import task_named

    metrics, main = result.metrics, task_named(result.task).metrics[0]
    compared, labels = metrics["comparison"]["methods"], labels_of(result.task)
    reference = metrics["comparison"]["reference"]
    names = list(dict.fromkeys(name for method in compared for name in metrics[method]))
    against = [f"{main} - forest", "interval", "p"] if reference else []
    rows = [[name, *names, f"{main} interval", *against]]
    for method, more in compared.items():
        row = [labels[method], *(readable(metrics[method].get(name)) for name in names)]
        row.append(_span(more["interval"][main]))
        if reference and method != reference:
            span = _span(more["difference_interval"][main])
            row += [readable(more["difference"][main]), span, f"{more['p']:.2g}"]
        rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    return rows


def _span(interval) -> str:
    return "-" if interval is None else f"[{readable(interval[0])}, {readable(interval[1])}]"
