"""``aam pretrain``."""

from __future__ import annotations

import functools
from typing import Any

import click

from aam_core.cli.command import command, decorated, is_given, require
from aam_core.cli.options import (
    directory_option,
    encoder_option,
    group_option,
    load_inputs,
    study_options,
)
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import config_options
from aam_core.config import WITHOUT_TREE, presets
from aam_core.config.everyday import FLAGS
from aam_core.files import own_output
from aam_core.log import logger

_OF_STUDIES = {
    "trim_length": click.option(
        "--trim-length",
        type=click.IntRange(min=1),
        metavar="BASES",
        help="With --study: trim all sequences to this length, so that studies that were trimmed "
        "to different lengths share ASVs.",
    ),
    "least_reads": click.option(
        "--least-reads",
        type=click.IntRange(min=1),
        default=500,
        help="With --study: drop samples with fewer reads.",
    ),
    "exclude_study": click.option(
        "--exclude-study",
        multiple=True,
        metavar="NAME",
        help="With --study: do not use this study, nor the others of its cohort. Repeatable.",
    ),
    "held_out_study": click.option(
        "--held-out-study",
        multiple=True,
        metavar="NAME",
        help="With --study: validate on this study, and the others of its cohort, instead of on "
        "randomly drawn studies. Repeatable.",
    ),
    "study_column": click.option(
        "--study-column",
        multiple=True,
        metavar="COLUMN",
        help="With --study: learn only metadata columns of this name or meaning ('age'), instead "
        "of those that are chosen automatically. Repeatable.",
    ),
    "exclude_column": click.option(
        "--exclude-column",
        multiple=True,
        metavar="COLUMN",
        help="With --study: do not learn metadata columns of this name or meaning. Repeatable.",
    ),
}
"""Options of a pretraining on many studies."""


def _other_defaults() -> str:
    """Flags whose defaults differ with ``--study`` from those in the help."""
    usual, other = (presets.find_preset(kind) for kind in ("pretraining", "studies"))
    return ", ".join(
        f"--{name.replace('_', '-')} {other.at(path)}"
        for name, path in FLAGS.items()
        if other.at(path) != usual.at(path)
    )


def _studies_options(function):
    """Add ``--study`` and its options; the command gets them as one ``many``, by name."""
    study = click.option(
        "--study",
        multiple=True,
        type=click.Path(exists=True),
        help="Pretrain on many studies instead of one --table: a folder of studies (NAME.biom, "
        "NAME.tsv, NAME.fasta), of one (table.biom, rep-seqs.fasta, metadata.tsv), a table, or a "
        f"manifest. Repeatable. Defaults are then {_other_defaults()}.",
    )

    @functools.wraps(function)
    def run(**values):
        many = {name: values.pop(name) for name in ("study", *_OF_STUDIES)}
        if not many["study"]:
            for name in _OF_STUDIES:
                require(not is_given(name), f"--{name.replace('_', '-')} needs --study.")
        return function(many=many, **values)

    return decorated(run, [study, *_OF_STUDIES.values()])


def _kind(values: dict[str, Any]) -> str:
    """Which presets: those of a pretraining on many studies are of a fit's network."""
    return "studies" if values["many"]["study"] else "pretraining"


@command("pretrain")
@study_options("table", "sequences", "tree", "distances", "taxonomy", "metadata", required=())
@_studies_options
@encoder_option("Output of 'aam pretrain' to start from.")
@group_option
@directory_option(own_output.is_model("encoder"))
@config_options("pretraining", resume=True, kind_of=_kind)
def pretrain(inputs, many, encoder, group_by, output, config, resume, accept_changed_inputs):
    """Pretrain an encoder, without labels.

    It learns masked nucleotides and the distances between samples: UniFrac on --tree, or those of
    --distances. One of the two is needed, unless loss.metric is braycurtis or jaccard, or
    loss.distance is 0. --taxonomy is learned rank by rank; --set loss.faith_pd=1 adds Faith's
    diversity, --set loss.count=1 masked abundances. With --sequences and no --table (FASTA, or one
    sequence per line, .gz or not) it learns only nucleotides (and --taxonomy); give its output as
    --encoder to a pretraining on a table. With --study it learns from many studies and their
    metadata.
    """
    from aam_core import pretraining

    run: dict[str, Any] = {
        "config": config,
        "output": output,
        "resume": resume,
        "accept_changed_inputs": accept_changed_inputs,
    }
    if many["study"]:
        _check_many(inputs, encoder, group_by)
        _pretrain_studies(many, inputs, run)
    elif inputs["table"] is None:
        others = [name for name in ("tree", "distances", "metadata") if inputs[name] is not None]
        require(not others, f"--{', --'.join(others)} needs --table.")
        require(
            inputs["sequences"] is not None,
            "Missing option '--table' (or '--sequences', '--study').",
        )
        require(group_by is None, "--group-by needs --table and --metadata.")
        require(encoder is None, "--encoder needs --table.")
        require(not is_given("max_lost_reads"), "--max-lost-reads needs --table.")
        pretraining.pretrain_nucleotides(inputs["sequences"], taxonomy=inputs["taxonomy"], **run)
    else:
        _check_one(inputs, encoder, group_by, config, output)
        study = load_inputs(inputs, keep_unplaced=False)
        pretraining.pretrain(study, encoder=encoder, group_by=group_by, **run)
    logger.info(f"Encoder written to {output}")


def _check_one(inputs, encoder, group_by, config, output) -> None:
    """Refuse what a pretraining on one study lacks."""
    require(group_by is None or inputs["metadata"] is not None, "--group-by needs --metadata.")
    check_apart(encoder, output)
    from_tree = config.loss.distance > 0 and config.loss.metric not in WITHOUT_TREE
    require(
        not from_tree or inputs["tree"] is not None or inputs["distances"] is not None,
        "Missing option '--tree' (or '--distances'; '--set loss.metric=braycurtis' needs neither).",
    )
    require(
        config.loss.faith_pd == 0 or inputs["tree"] is not None,
        "Missing option '--tree', which loss.faith_pd needs.",
    )


def _check_many(inputs, encoder, group_by) -> None:
    """Refuse what describes one study beside ``--study``."""
    given = [name for name in inputs if name not in ("tree", "max_lost_reads") and inputs[name]]
    given += ["encoder"] * (encoder is not None) + ["group-by"] * (group_by is not None)
    require(
        not given,
        f"--{', --'.join(given)} cannot be given with --study: studies bring their own files, and "
        "are held out whole.",
    )


def _pretrain_studies(many: dict[str, Any], inputs: dict[str, Any], run: dict[str, Any]) -> None:
    from aam_core.data.ids import listing
    from aam_core.data.studies import load_studies
    from aam_core.studies_pretraining import pretrain_studies

    studies = load_studies(
        many["study"],
        trim_length=many["trim_length"],
        least_reads=many["least_reads"],
        tree=inputs["tree"],
        columns=many["study_column"] or None,
        exclude_columns=many["exclude_column"],
        max_lost_reads=inputs["max_lost_reads"],
    )
    lines = list(studies.study.report)
    # Names are checked before a line is logged: what is refused is one line.
    gone = studies.with_siblings(many["exclude_study"])
    if gone:
        studies = studies.without(gone)
        lines.append(f"excluded, by name or cohort: {listing(gone)}")
    both = [name for name in many["held_out_study"] if name in gone]
    require(
        not both,
        f"--held-out-study {', '.join(both)}: excluded by --exclude-study, by name or cohort.",
    )
    held_out = studies.with_siblings(many["held_out_study"])
    for line in (*lines, *str(studies).splitlines()):
        logger.info(line)
    pretrain_studies(studies, held_out=held_out or None, **run)
