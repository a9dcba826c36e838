"""``aam explain``."""

from __future__ import annotations

from dataclasses import replace

import click

from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import DIRECTORY, directory_option, load_inputs, study_options
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import setting_option
from aam_core.config import find
from aam_core.files import own_output
from aam_core.log import logger


@command("explain")
@study_options(
    *("table", "metadata", "sequences", "tree", "taxonomy"),
    required=("table",),
    notes={
        "tree": " Its clades are explained too.",
        "taxonomy": " Its taxa are explained too.",
    },
)
@click.option(
    "--model",
    type=DIRECTORY,
    required=True,
    help="Output of 'aam fit-...', or, for --bases alone, of 'aam pretrain'.",
)
@click.option("--target", metavar="COLUMN", help="Target to explain, if the model has several.")
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples with the same value in this column (a subject) are not independent: abundances "
    "are exchanged between groups, and p is computed from sign flips of whole groups.",
)
@click.option(
    "--repeats", type=click.IntRange(min=1), default=10, help="Number of permutations of each ASV."
)
@click.option(
    "--clades",
    default="10,30,100",
    metavar="NUMBERS",
    help="Numbers of clades into which the tree is cut, joined by commas: one division for each. "
    "Without tree and taxonomy, numbers of clusters of similar sequences. 'none': no groups.",
)
@click.option(
    "--references",
    type=click.IntRange(min=0),
    default=10,
    help="Number of samples with which each sample is compared to compute its contributions (0: "
    "no contributions).",
)
@click.option(
    "--importance/--no-importance",
    default=True,
    help="Whether to compute importances and contributions; an encoder has none.",
)
@click.option(
    "--attention",
    is_flag=True,
    help="Write the attention of the networks to each ASV (attention.tsv, "
    "attention_by_sample.tsv), and the attention or gates of their covariates (fusion.tsv).",
)
@click.option(
    "--bases",
    multiple=True,
    metavar="FEATURE",
    help="Write attention and integrated gradients along the bases of this ASV and of ASVs with "
    "similar sequences (bases.tsv, a logo). 'top' is the most important ASV (without importances, "
    "the one with most attention, or, for an encoder, with most reads). Repeatable: then only "
    "these ASVs, without similar ones.",
)
@click.option(
    "--units",
    metavar="TEXT",
    help="Unit of the target in the plots, such as 'days'.  [default: the model's]",
)
@click.option("--title", metavar="TEXT", help="Title of the plots.")
@setting_option("seed")
@setting_option("threads")
@setting_option("device")
@click.option(
    "--long-sequences",
    type=click.Choice(find("data.long_sequences").metadata["choices"]),
    help="Whether sequences longer than the model reads are an error or are truncated.  [default: "
    "as in training]",
)
@directory_option(own_output.is_explanation)
def explain(inputs, model, output, importance, attention, bases, **options):
    """Show which ASVs and clades predictions depend on.

    The samples must be new to the model, or all have been held out when it was fitted; --metadata
    has the true values of the target. Writes importance.tsv (how much the error increases if an ASV
    is permuted among samples, and in which direction the ASV moves the prediction), groups.tsv (the
    same for clades, taxa, or clusters), contributions.tsv and samples.tsv (what moved the
    prediction of each sample), deletion.tsv (the error without the most important ASVs), and plots
    of these. --attention and --bases add what the networks look at, which is not what a prediction
    depends on.
    """
    from aam_core.explanation.explain import one_target
    from aam_core.explanation.looks import Looks, check_looks, look
    from aam_core.model import load_model

    check_apart(model, output, "--model")
    require(importance or attention or bases, "--no-importance needs --attention or --bases.")
    sizes = read_sizes(options.pop("clades"))
    model = whole = load_model(model)
    check_looks(model, attention=attention, bases=bases)
    long_sequences, unit = options.pop("long_sequences"), ""
    if long_sequences is not None:
        config = model.config.replace({"data.long_sequences": long_sequences})
        each = [replace(it, config=config) for it in model.more]
        model = replace(model, config=config, more=each)
    if model.target is None:
        require(bool(bases), "--model is an encoder, which predicts nothing: give --bases.")
        require(options["target"] is None, "--target has no effect: --model is an encoder.")
        importance = False
    else:
        model = one_target(model, options["target"])
        unit = "" if model.task.classes else whole.unit_of(model.task.column)
    if not importance:
        names = [name for name in _OF_IMPORTANCE if is_given(name)]
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in names)
        require(not names, f"{flags} without effect: no importances are computed.")
    require(not importance or inputs["metadata"] is not None, "Missing option '--metadata'.")
    study = load_inputs(inputs)
    words = {"units": options.pop("units") or unit or None, "title": options.pop("title")}
    ranking = []
    if importance:
        if is_given("clades") and inputs["taxonomy"] is not None and inputs["tree"] is None:
            logger.info("--clades has no effect: of a taxonomy without --tree, taxa are explained.")
        ranking = _explain(model, study, output, words, clades=sizes, **options)
    else:
        _clear(output, model, attention, bases)
    looks = Looks(None, None, None, {}, False)
    if attention or bases:
        which = {"attention": attention, "bases": bases, "ranking": ranking}
        looks = look(model, study, **which, device=options["device"])
    if not importance and is_given("units") and not (looks.has_units and bases):
        logger.info("--units has no effect: nothing here is in the units of the target.")
    looks.save(output)  # what an earlier run wrote of them goes, too
    looks.draw(output, **words)
    logger.info(f"Written to {output}")


_OF_IMPORTANCE = ("tree", "group_by", "repeats", "clades", "references", "seed", "threads")
"""Options that act on importances alone."""


def _explain(model, study, output, words: dict, **options) -> list[str]:
    """Importances and contributions; returns the ASVs, the most important first."""
    from aam_core.explanation.explain import explain

    explanation = explain(model, study, **options)
    explanation.save(output)
    explanation.draw(output, **words)
    for table, name in ((explanation.importance, "ASVs"), (explanation.groups, "groups")):
        if len(table):
            count = int((table["q"] < 0.05).sum())
            logger.info(f"{count} of {len(table):,} {name} have an importance (q < 0.05)")
    return list(explanation.importance.index)


def _clear(output, model, attention: bool, bases) -> None:
    """Write what the folder is of, in the place of an earlier run's importances."""
    from aam_core.explanation.result import FILES
    from aam_core.files.folders import replacing_in
    from aam_core.files.writing import write_json

    with replacing_in(output, FILES) as folder:
        target = None if model.target is None else model.target.column
        about = {"target": target, "attention": attention, "bases": list(bases)}
        write_json(folder / "explanation.json", about)


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
