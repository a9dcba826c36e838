"""The configuration on the command line: presets, files, and flags made from its fields."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aam_core.cli.command import Decorator, decorated, is_given, require
from aam_core.cli.options import DIRECTORY, FILE
from aam_core.config import Config, find, presets
from aam_core.config.everyday import FLAGS, default_in_words
from aam_core.config.fields import check
from aam_core.config.resolve import resolve
from aam_core.errors import InputError

__all__ = ["config_options", "setting_option"]


class _Setting(click.ParamType):
    """A configuration field as the type of a flag: the field's own rules and messages.

    Parameters
    ----------
    path : str
        ``section.field`` in `Config`.
    """

    def __init__(self, path: str):
        self.path = path
        self.field = find(path)
        types = {int: "integer", float: "number", bool: "boolean", str: "text"}
        self.name = types[type(self.field.default)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return check(self.field, value)
        except InputError as error:
            self.fail(str(error), param, ctx)

    def describe(self, config: Config | None) -> str:
        """The field's help with its value in ``config``, if any, as the default, and the bounds."""
        words = "" if config is None else default_in_words(config, self.path)
        low, high = self.field.metadata["minimum"], self.field.metadata["maximum"]
        facts = []
        if config is not None and not words:
            value = config.at(self.path)
            facts.append(f"default: {'none' if value == '' else value}")
        if low is not None and high is not None:
            facts.append(f"{low:.10g} to {high:.10g}")
        elif low is not None:
            facts.append(f"at least {low:.10g}")
        text = f"{self.field.metadata['help']} {words}".strip()
        return text + (f"  [{'; '.join(facts)}]" if facts else "")


def setting_option(name: str, config: Config | None = None) -> Decorator:
    """The flag of one everyday setting; its value is None where it is not given.

    Parameters
    ----------
    name : str
        Key of `aam_core.config.everyday.FLAGS`.
    config : Config, optional
        Where the default in the help is read from; without it none is shown.
    """
    kind = _Setting(FLAGS[name])
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
    kind: str, resume: bool = False, kind_of: Callable[[dict[str, Any]], str] | None = None
) -> Decorator:
    """Add ``--preset``, ``--config``, a flag for each everyday setting and ``--set``.

    The command gets one argument, ``config``.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        Which presets; the help shows the values of the default one.
    resume : bool
        Add ``--resume`` and ``--accept-changed-inputs``, which the command gets as they are.
    kind_of : callable, optional
        Tells from the values of the other options which presets it is after all.
    """
    options = [*_settings(kind), *(_RESUMING if resume else ())]

    def decorate(function):
        @functools.wraps(function)
        def run(*, preset, config_file, assignments, **values):
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

        return decorated(run, options)

    return decorate


def _settings(kind: str) -> list[Decorator]:
    defaults = presets.find_preset(kind)
    return [
        click.option(
            "--preset",
            type=click.Choice(presets.NAMES),
            default=presets.DEFAULT,
            help="Configuration to start from; the defaults below are those of "
            f"'{presets.DEFAULT}'. With --encoder, the encoder's sizes replace those of the "
            "preset.",
        ),
        click.option(
            "--config",
            "config_file",
            type=FILE,
            help="YAML file of settings, which override those of the preset.",
        ),
        *(setting_option(name, defaults) for name in FLAGS),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="SECTION.FIELD=VALUE",
            help="Any setting, such as model.encoder.depth=6; overrides all else. Repeatable.",
        ),
    ]


_RESUMING: tuple[Decorator, ...] = (
    click.option(
        "--resume",
        type=DIRECTORY,
        help="Output folder of a run that was interrupted: resume from its last checkpoint, with "
        "its split and settings. Settings that are given here replace those of the run, and each "
        "change is reported. Give the same inputs; --output may be the same folder or another.",
    ),
    click.option(
        "--accept-changed-inputs",
        is_flag=True,
        help="With --resume: resume even if reads, sequences, samples, columns or other inputs "
        "have changed, which is otherwise refused. The split stays.",
    ),
)


def _saved_config(resume: str | None) -> Config | None:
    """The configuration of the run to resume, if there is one."""
    if resume is None:
        return None
    from aam_core import resuming

    return resuming.saved_config(resume)
