"""Options that several subcommands share: inputs, target, output. Those of every one: `command`.

Each function here returns a decorator. `study_options` hands a command one argument, ``inputs``,
however many flags stand behind it. Settings of the configuration are in `settings`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam_core.cli.command import Decorator, decorated, require
from aam_core.cli.outputs import OutputDirectory, OutputFile
from aam_core.config import COVARIATE_HELP, presets
from aam_core.data.qza import refuse_artifact
from aam_core.files.folders import only_writer
from aam_core.files.reading import as_text, read_bytes
from aam_core.log import logger

if TYPE_CHECKING:
    from aam_core.data.study import Study

__all__ = [
    "DIRECTORY",
    "FILE",
    "check_frozen",
    "covariate_option",
    "directory_option",
    "encoder_option",
    "file_option",
    "fit_study_options",
    "freeze_option",
    "group_option",
    "init_from_option",
    "load_inputs",
    "missing_option",
    "read_ids",
    "split_options",
    "study_options",
    "target_options",
    "task_option",
    "with_any_value",
    "without_missing",
]

FILE = click.Path(exists=True, dir_okay=False)


class _Directory(click.Path):
    """A folder that exists; of an artifact of QIIME 2 the error says how to make one of it."""

    def convert(self, value, param, ctx):
        refuse_artifact(value)
        return super().convert(value, param, ctx)


DIRECTORY = _Directory(exists=True, file_okay=False)

_STUDY = {
    "table": "Feature table: BIOM (HDF5 or JSON) or .qza.",
    "sequences": "Sequences of the features: FASTA or .qza. Not needed where the ids are DNA.",
    "tree": "Phylogeny whose tips are the features: Newick or .qza.",
    "distances": "Distances between the samples: square TSV or CSV, HDF5, or .qza.",
    "taxonomy": "Taxa of the features: TSV (Feature ID, Taxon) or .qza.",
    "metadata": "Sample metadata: TSV by QIIME 2's rules.",
}
"""Files of a study -> help."""

_IN_A_FIT = (
    "It has an effect only with --set loss.distance=50, with which a fit learns distances in "
    "addition to its target (unless its encoder is frozen)."
)
"""What a tree and distances do in a fit, for the help."""


def study_options(
    *names: str,
    required: Iterable[str] = ("table",),
    fits: bool = False,
    notes: Mapping[str, str] | None = None,
) -> Decorator:
    """Add the files of a study; the command gets one ``inputs``, keywords of ``load_study``.

    Parameters
    ----------
    *names : str
        Which of table, sequences, tree, distances, taxonomy, metadata.
    required : iterable of str
        Those that must be given.
    fits : bool
        Whether the command fits a target.
    notes : mapping, optional
        What is added to the help of a file.
    """
    if notes is None:
        notes = dict.fromkeys(("tree", "distances"), f" {_IN_A_FIT}") if fits else {}
    options = [
        click.option(
            f"--{name}",
            type=FILE,
            required=name in required,
            help=_STUDY[name] + notes.get(name, ""),
        )
        for name in names
    ]
    if "metadata" in names:
        options.append(
            click.option(
                "--where",
                multiple=True,
                metavar="COLUMN=VALUE",
                help="Keep only samples with this value. Repeatable: samples must meet all "
                "conditions.",
            )
        )
    options.append(
        click.option(
            "--max-lost-reads",
            type=click.FloatRange(0, 1),
            default=0.5,
            help="Stop if features without a sequence, or not in the tree, have more than this "
            "share of the reads.",
        )
    )

    def decorate(function):
        @functools.wraps(function)
        def run(*, max_lost_reads, where=(), **values):
            inputs = {name: values.pop(name) for name in names}
            if where:
                require(inputs["metadata"] is not None, "--where needs --metadata.")
                inputs["where"] = list(where)
            return function(inputs={**inputs, "max_lost_reads": max_lost_reads}, **values)

        return decorated(run, options)

    return decorate


fit_study_options = study_options(
    *("table", "metadata", "sequences", "tree", "distances"),
    required=("table", "metadata"),
    fits=True,
)
"""Those of every command that fits a target."""


def load_inputs(inputs: dict[str, Any], **options: Any) -> Study:
    """Read the study of `study_options`, and log what was dropped.

    Parameters
    ----------
    inputs : dict
        Keywords of ``load_study``.
    **options
        Further ones.
    """
    from aam_core.data.study import load_study

    study = load_study(**inputs, **options)
    for line in study.report:
        logger.info(line)
    return study


def target_options(encoder_note: str = "", several: bool = False) -> Decorator:
    """Add the options of a fit: target, groups, covariates, pretrained encoder.

    Below `study_options`: samples without a target are dropped through its ``inputs``.

    Parameters
    ----------
    encoder_note : str
        A further sentence for the help of ``--encoder``.
    several : bool
        Whether ``--target`` may be repeated.
    """
    encoder = f"Output of 'aam pretrain' to start from (default: none). {encoder_note}".strip()
    options = [
        click.option(
            "--target",
            required=True,
            multiple=several,
            metavar="COLUMN",
            help=_SEVERAL if several else "Metadata column to predict.",
        ),
        missing_option(),
        group_option,
        encoder_option(encoder),
        freeze_option,
        covariate_option,
        _covariate_help,
    ]

    def decorate(function):
        @functools.wraps(function)
        def run(*, inputs, target, missing_samples, **values):
            starts = (values["encoder"], values.get("init_from"), values.get("resume"))
            check_frozen(values["freeze_encoder"], next(filter(None, starts), None))
            if several and len(target) > 1:
                # A blank value of one of several counts in nothing: no sample is dropped for it.
                target = list(target)
                values["missing_samples"] = missing_samples
            else:
                target = target[0] if several else target
                inputs = without_missing(inputs, target, missing_samples)
            return function(inputs=inputs, target=target, **values)

        return decorated(run, options)

    return decorate


_SEVERAL = (
    "Metadata column to predict. Repeatable: one network then learns all targets; a sample may "
    "lack some of them."
)


def encoder_option(help: str) -> Decorator:
    """``--encoder``; a sentence on the encoder's sizes is added to ``help``."""
    return click.option("--encoder", type=DIRECTORY, help=f"{help} {presets.ENCODER_SIZES}")


group_option = click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples with the same value in this column (a subject) stay on one side of each split.",
)

init_from_option = click.option(
    "--init-from",
    type=DIRECTORY,
    help="Output of 'aam fit-regressor' or 'fit-classifier': continue its training on these "
    "samples. All its networks are kept, and its target head if that has the same outputs; the "
    "forest is new. Its sizes and number of members replace those of the preset.",
)

freeze_option = click.option(
    "--freeze-encoder",
    is_flag=True,
    help="Freeze the pretrained encoder: ASV vectors are computed once.",
)

covariate_option = click.option(
    "--covariate",
    "covariates",
    multiple=True,
    metavar="COLUMN",
    help="Metadata column that the model reads in addition to the reads; it is needed to predict, "
    "too. Repeatable.",
)


def _show_covariate_help(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        click.echo(COVARIATE_HELP, nl=False)
        ctx.exit()


_covariate_help = click.option(
    "--covariate-help",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_covariate_help,
    help="Show how to choose model.fusion.kind for covariates, and exit.",
)


def check_frozen(freeze_encoder: bool, encoder: str | None) -> None:
    """Refuse to freeze an encoder where there is none."""
    require(encoder is not None or not freeze_encoder, "--freeze-encoder needs --encoder.")


def task_option(help: str, more: Iterable[str] = ()) -> Decorator:
    """``--task``; ``more`` are tasks beside those of a fit."""
    choices = click.Choice([*more, "regression", "classification"])
    return click.option("--task", type=choices, help=help)


def missing_option(default: str = "error", which: str = "the") -> Decorator:
    """``--missing-samples``, as the plugin has it.

    Parameters
    ----------
    default : {"error", "ignore"}
    which : str
        Which samples it is about.
    """
    return click.option(
        "--missing-samples",
        type=click.Choice(["error", "ignore"]),
        default=default,
        help=f"Whether {which} samples whose target is blank are an error, or dropped ('ignore').",
    )


def without_missing(
    inputs: dict[str, Any], target: str | None, missing_samples: str
) -> dict[str, Any]:
    """Keywords of ``load_study`` that drop samples without a target, if that is asked for."""
    return inputs if missing_samples == "error" else {**inputs, "drop_missing": target}


def with_any_value(study: Study, targets: Iterable[str]) -> Study:
    """The samples that have a value in one of the columns at least; logs how many have not."""
    from aam_core.data.columns import missing_ids
    from aam_core.data.metadata import column

    assert study.metadata is not None
    blank = set(study.sample_ids).intersection(
        *(missing_ids(column(study.metadata, name)) for name in targets)
    )
    if not blank:
        return study
    logger.info(f"{len(blank)} samples without a value of any target dropped")
    return study.select([name for name in study.sample_ids if name not in blank])


def directory_option(
    is_own: Callable[[Path], bool],
    replaceable: str = "an earlier output of this command, which is replaced",
) -> Decorator:
    """``--output`` for a folder, into which no other process writes while the command runs.

    Parameters
    ----------
    is_own : callable
        As in `OutputDirectory`.
    replaceable : str
        What the folder may be beside new or empty, for the help.
    """
    option = click.option(
        "--output",
        type=OutputDirectory(is_own),
        required=True,
        help=f"Folder to write: new, empty, or {replaceable}.",
    )

    def decorate(function):
        @functools.wraps(function)
        def run(*args, output, **values):
            # Under torchrun the job itself has rank 0 lock the folder, for all ranks.
            with only_writer(None if "RANK" in os.environ else output):
                return function(*args, output=output, **values)

        return option(run)

    return decorate


def file_option(help: str) -> Decorator:
    """``--output`` for a file."""
    return click.option("--output", type=OutputFile(), required=True, help=help)


def split_options(function: Callable) -> Callable:
    """Add the options of a fixed split; the command gets ``split_of``, a function of the study."""
    options = [
        click.option(
            "--train-samples", type=FILE, help="File of sample ids to train on, one per line."
        ),
        click.option(
            "--val-samples", type=FILE, help="File of sample ids to validate on, one per line."
        ),
        click.option(
            "--folds-file",
            type=FILE,
            help="Table of folds instead of the two lists: a TSV with sample-id and fold. Each "
            "fold is held out by a member of the ensemble; all members train on samples that are "
            "not in the table.",
        ),
    ]

    @functools.wraps(function)
    def run(*, train_samples, val_samples, folds_file, **values):
        require(
            (train_samples is None) == (val_samples is None),
            "--train-samples and --val-samples go together.",
        )
        require(
            train_samples is None or folds_file is None,
            "--folds-file and --train-samples divide the samples in two ways: give one.",
        )

        def split_of(study: Study):
            from aam_core.data.folds import fold_numbers

            if folds_file is not None:
                return fold_numbers(folds_file, study.sample_ids)
            if train_samples is None:
                return None
            return read_ids(train_samples), read_ids(val_samples)

        return function(split_of=split_of, **values)

    return decorated(run, options)


def read_ids(path: str | os.PathLike[str]) -> list[str]:
    """Sample ids, one a line."""
    lines = as_text(read_bytes(path, "sample ids"), path).split("\n")
    return [line.strip() for line in lines if line.strip()]
