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
    "If it was pretrained on these samples, it has also seen the held-out ones, without their "
    "labels.",
    several=True,
)
@init_from_option
@task_option("What kind of column the target is.  [default: classification if it is text]")
@click.option("--folds", type=click.IntRange(min=2), help="Number of folds.  [default: 5]")
@click.option(
    "--fold-by",
    metavar="COLUMN",
    help="Instead of --folds: a fold for each value of this column (leave one group out).",
)
@click.option(
    "--test-where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Instead of --folds: a single fold, which tests the samples with this value and trains "
    "on all others. Repeatable: tests samples that meet any of the conditions.",
)
@click.option(
    "--folds-file",
    type=FILE,
    help="Instead of --folds: a TSV with sample-id, fold and repeat, such as folds.tsv of an "
    "earlier run. Samples that are not in it are trained on in every fold.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    help="Number of repeats of the cross-validation, each with the next seed.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    help="Number of folds that are fitted at a time, each in its own process with a share of the "
    "cores.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    help="Score other methods on the same folds, too.",
)
@click.option(
    "--baselines",
    metavar="NAME[,NAME]",
    help="Which methods: random_forest, extra_trees (on log abundances), linear (ridge or "
    "logistic regression on CLR), dummy (median or most common class), reads (a random forest on "
    "the number of reads alone).  [default: all]",
)
@click.option(
    "--importance-repeats",
    type=click.IntRange(min=0),
    default=0,
    help="How often each ASV is permuted among the test samples of each fold; the increase of the "
    "error is its importance (importance.tsv). 3 is enough; 0: no importances.",
)
@directory_option(own_output.is_cross_validation)
@config_options("fitting")
def cross_validate(inputs, target, output, baseline, baselines, missing_samples=None, **options):
    """Score every sample by models that never saw it.

    Prints the metrics of AAM, of its networks alone, and of other methods on the same folds, with
    intervals over groups (without groups, over samples), the difference from a random forest and p.
    If the number of reads of a sample alone does well, sequencing depth predicts the target.
    --output receives predictions.tsv, metrics.json, comparison.tsv, folds.tsv, importance.tsv (with
    --importance-repeats) and a plot. With several targets there is a table for each, and those
    after the first are written to folders in targets/.
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
