"""Options that several subcommands share; those of the configuration come from its dataclasses.

Each function here returns a decorator. ``study_options`` and ``config_options`` hand a command one
argument each (``inputs``, ``config``), however many flags stand behind it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from aam_core.cli.outputs import OutputDirectory, OutputFile
from aam_core.config import Config, find, presets
from aam_core.config.everyday import FLAGS, default_in_words
from aam_core.config.fields import check
from aam_core.config.resolve import resolve
from aam_core.errors import InputError
from aam_core.files.folders import only_writer
from aam_core.files.reading import as_text, read_bytes

FILE = click.Path(exists=True, dir_okay=False)
DIRECTORY = click.Path(exists=True, file_okay=False)

_STUDY = {
    "table": "Feature table: BIOM (HDF5 or JSON) or .qza.",
    "sequences": "Sequences of the features: FASTA or .qza. Not needed where the ids are DNA.",
    "tree": "Phylogeny whose tips are the features: Newick or .qza.",
    "distances": "Distances between the samples: square TSV or CSV, HDF5, or .qza.",
    "metadata": "Sample metadata: TSV by QIIME 2's rules.",
}


class Setting(click.ParamType):
    """A configuration field as the type of a flag: the field's own rules and messages.

    Parameters
    ----------
    path : str
        ``section.field`` in `Config`.
    """

    def __init__(self, path: str):
        self.path = path
        self.field = find(path)
        self.name = {int: "integer", float: "number", bool: "boolean", str: "text"}[
            type(self.field.default)
        ]

    def convert(self, value, param, ctx):
        try:
            return check(self.field, value)
        except InputError as error:
            self.fail(str(error), param, ctx)

    def describe(self, config: Config | None) -> str:
        """The field's help with its default in ``config``, if any, and the bounds."""
        default = None if config is None else config.at(self.path)
        more = "" if config is None else default_in_words(config, self.path)
        low, high = self.field.metadata["minimum"], self.field.metadata["maximum"]
        facts = [f"default: {default}"] if config is not None and not more else []
        if low is not None and high is not None:
            facts.append(f"{low:g} to {high:g}")
        elif low is not None:
            facts.append(f"at least {low:g}")
        text = f"{self.field.metadata['help']} {more}".strip()
        return text + (f"  [{'; '.join(facts)}]" if facts else "")


def setting_option(name: str, config: Config | None = None) -> Callable:
    """The flag of one entry of ``FLAGS``; its value is None where it was not given.

    Parameters
    ----------
    name : str
        Key of ``FLAGS``.
    config : Config, optional
        Where the default in the help is read from; without it none is shown.
    """
    kind = Setting(FLAGS[name])
    choices, words = kind.field.metadata["choices"], kind.field.metadata["words"]
    shown = choices or ((kind.name.upper(), *words) if words else None)
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=kind,
        default=None,
        show_default=False,
        metavar=f"[{'|'.join(shown)}]" if shown else None,
        help=kind.describe(config),
    )


def config_options(
    kind: str, resume: bool = False, kind_of: Callable[[dict], str] | None = None
) -> Callable:
    """Add ``--preset``, ``--config``, the flags of settings and ``--set``; pass on one ``config``.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        Which presets; the help shows the values of the default one.
    resume : bool
        Add ``--resume`` too, which is passed on as it is.
    kind_of : callable, optional
        Tells from the values of the other options which presets it is after all.
    """
    defaults = presets.find_preset(kind)
    added = [
        click.option(
            "--preset",
            type=click.Choice(presets.NAMES),
            default=presets.DEFAULT,
            help="Configuration to start from; the defaults below are those of "
            f"'{presets.DEFAULT}'. With --encoder, the encoder's sizes take the place of the "
            "preset's.",
        ),
        click.option("--config", "config_file", type=FILE, help="YAML settings, over the preset."),
        *(setting_option(name, defaults) for name in FLAGS),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="SECTION.FIELD=VALUE",
            help="Any setting, over all else, as in model.encoder.depth=6. Repeatable.",
        ),
    ]

    if resume:
        added.append(
            click.option(
                "--resume",
                type=DIRECTORY,
                help="Output folder of a run that was cut short: go on from its last checkpoint, "
                "with its split and settings; flags that are given here replace those, and what "
                "they change is said. Give the same inputs; --output may be the same folder or "
                "another.",
            )
        )
        added.append(
            click.option(
                "--accept-changed-inputs",
                is_flag=True,
                help="With --resume: go on though reads, sequences, samples, columns or what else "
                "the run was started with changed, which is refused otherwise. The split stays.",
            )
        )

    def decorate(function):
        @functools.wraps(function)
        def command(*, preset, config_file, assignments, **values):
            config = resolve(
                kind if kind_of is None else kind_of(values),
                preset=preset if is_given("preset") else None,
                config=None if config_file is None else Path(config_file),
                settings={name: values.pop(name) for name in FLAGS},
                assignments=assignments,
                base=_saved_config(values.get("resume")),
            )
            if values.get("accept_changed_inputs"):
                require(values["resume"] is not None, "--accept-changed-inputs needs --resume.")
            return function(config=config, **values)

        return _add(command, added)

    return decorate


def _saved_config(resume: str | None) -> Config | None:
    """The configuration of the run to resume, if there is one."""
    if resume is None:
        return None
    from aam_core import resuming

    return resuming.saved_config(resume)


_BESIDE = (
    "A fit learns the distances beside its target with --set loss.distance=50, unless its "
    "encoder is frozen; without that, this changes nothing."
)
"""What a tree and distances are to a fit, for its help."""


def study_options(
    *names: str, required: Iterable[str] = ("table",), fits: bool = False
) -> Callable:
    """Add the files of a study; pass on one ``inputs``, the keywords of ``load_study``.

    Parameters
    ----------
    *names : str
        Which of table, sequences, tree, distances, metadata.
    required : iterable of str
        Those that must be given.
    fits : bool
        Whether the command fits a target.
    """
    beside = dict.fromkeys(("tree", "distances"), f" {_BESIDE}") if fits else {}
    added = [
        click.option(
            f"--{name}",
            type=FILE,
            required=name in required,
            help=_STUDY[name] + beside.get(name, ""),
        )
        for name in names
    ]
    if "metadata" in names:
        added.append(
            click.option(
                "--where",
                multiple=True,
                metavar="COLUMN=VALUE",
                help="Keep only these samples. Repeatable: all must hold.",
            )
        )
    added.append(
        click.option(
            "--max-lost-reads",
            type=click.FloatRange(0, 1),
            default=0.5,
            help="Stop where features without sequence or tip cost more than this share of reads.",
        )
    )

    def decorate(function):
        @functools.wraps(function)
        def command(*, max_lost_reads, where=(), **values):
            inputs = {name: values.pop(name) for name in names}
            if where:
                require(inputs["metadata"] is not None, "--where needs --metadata.")
                inputs["where"] = list(where)
            return function(inputs={**inputs, "max_lost_reads": max_lost_reads}, **values)

        return _add(command, added)

    return decorate


def encoder_option(help: str) -> Callable:
    """``--encoder``; to ``help`` is added what an encoder brings with it."""
    return click.option("--encoder", type=DIRECTORY, help=f"{help} {presets.ENCODER_SIZES}")


def target_options(more: str = "") -> Callable:
    """Add ``--target``, ``--missing-samples``, ``--group-by``, the encoder's and ``--covariate``.

    Below `study_options`: what is dropped for want of a value goes into its ``inputs``.

    Parameters
    ----------
    more : str
        What the help of ``--encoder`` says beside what it always does.
    """
    encoder = f"Output of 'aam pretrain' to start from; else from scratch. {more}".strip()
    added = [
        click.option("--target", required=True, metavar="COLUMN", help="What to predict."),
        missing_option(),
        group_option,
        encoder_option(encoder),
        click.option(
            "--freeze-encoder",
            is_flag=True,
            help="Leave the ASV vectors as pretrained: they are computed once.",
        ),
        click.option(
            "--covariate",
            "covariates",
            multiple=True,
            metavar="COLUMN",
            help="Metadata column to read beside the reads, in predicting too. Repeatable.",
        ),
    ]

    def decorate(function):
        @functools.wraps(function)
        def command(*, inputs, target, missing_samples, **values):
            inputs = without_missing(inputs, target, missing_samples)
            return function(inputs=inputs, target=target, **values)

        return _add(command, added)

    return decorate


def missing_option(default: str = "error", which: str = "") -> Callable:
    """``--missing-samples``, as the plugin has it.

    Parameters
    ----------
    default : {"error", "ignore"}
    which : str
        What samples it is about, where not those of the table.
    """
    return click.option(
        "--missing-samples",
        type=click.Choice(["error", "ignore"]),
        default=default,
        help=f"Whether {which or 'the'} samples whose target is blank are an error or left out.",
    )


def without_missing(inputs: dict, target: str | None, missing_samples: str) -> dict:
    """The keywords of ``load_study``, which drops samples without a value where that is asked."""
    return inputs if missing_samples == "error" else {**inputs, "drop_missing": target}


group_option = click.option(
    "--group-by",
    metavar="COLUMN",
    help="Samples that share this column's value stay on one side of a split (a subject).",
)


def directory_option(
    ours: Callable[[Path], bool], kept: str = "this command's own of before, which is replaced"
) -> Callable:
    """``--output`` for a folder, into which no other process writes while the command runs.

    Parameters
    ----------
    ours : callable
        As in `OutputDirectory`.
    kept : str
        What else than a new or an empty folder it may be.
    """
    option = click.option(
        "--output",
        type=OutputDirectory(ours),
        required=True,
        help=f"Folder to write: new, empty, or {kept}.",
    )

    def decorate(command):
        @functools.wraps(command)
        def alone(*args, output, **options):
            # Of several processes the workflow has the first one hold the folder for all.
            with only_writer(None if "RANK" in os.environ else output):
                return command(*args, output=output, **options)

        return option(alone)

    return decorate


def file_option(help: str) -> Callable:
    """``--output`` for a file."""
    return click.option("--output", type=OutputFile(), required=True, help=help)


def is_given(name: str) -> bool:
    """Whether the option was given, be it with the value that it has by default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def require(condition: bool, message: str) -> None:
    """Raise a usage error that names the running command unless ``condition`` holds."""
    if not condition:
        raise click.UsageError(message, click.get_current_context())


def read_ids(path) -> list[str]:
    """Sample ids, one a line."""
    lines = as_text(read_bytes(path, "sample ids"), path).split("\n")
    return [line.strip() for line in lines if line.strip()]


def _add(function, options):
    """Decorate with ``options`` so that the help lists them in this order."""
    for option in reversed(options):
        function = option(function)
    return function
