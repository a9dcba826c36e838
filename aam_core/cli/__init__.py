"""The ``aam`` command: thin, one file a subcommand, each imported when it is asked for.

Bad input ends in one line on stderr and exit status 2; Ctrl-C in exit status 130. The environment
variable ``AAM_DEBUG=1`` shows the traceback above the line.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback

import click

from aam_core import __version__, log
from aam_core.config.fields import unknown
from aam_core.errors import AAMError, Preempted, one_line

COMMANDS = {
    "simulate": ("simulate:simulate", "Write a simulated study with a known signal."),
    "pretrain": ("pretrain:pretrain", "Pretrain an encoder, without labels."),
    "fit-regressor": ("fit:fit_regressor", "Fit a numeric metadata column."),
    "fit-classifier": ("fit:fit_classifier", "Fit a categorical metadata column."),
    "predict": ("predict:predict", "Predict samples with a fitted model."),
    "evaluate": ("evaluate:evaluate", "Compare predictions with the truth."),
    "cross-validate": (
        "cross_validate:cross_validate",
        "Score every sample by models that never saw it.",
    ),
    "find-lr": ("find_lr:find_lr", "Look for the learning rate of a run."),
    "tune": ("tune:tune", "Search for the settings that fit best."),
    "unifrac": ("unifrac:unifrac", "Distances between samples, or Faith's PD."),
}
"""Subcommand -> (where it lives, its help in one line), in the order of a study."""


class _LazyGroup(click.Group):
    """Knows its subcommands by name and imports one only to show or run it."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return getattr(importlib.import_module(f"aam_core.cli.{module}"), attribute)

    def resolve_command(self, ctx, args):
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            alike = [name for name in COMMANDS if name.startswith(args[0])]
            ctx.fail(str(unknown(args[0], alike or COMMANDS, "command")))
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _refuse_repeated(command, ctx, rest)
        return name, command, rest

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])

    def invoke(self, ctx):
        try:
            with log.showing(), _processes():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(" ".join(f"Interrupted. {stop}".split()), err=True)
            ctx.exit(130)

    def main(self, *args, standalone_mode=True, **extra):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except click.Abort:
            status = 130
        except (AAMError, click.ClickException, OSError) as error:
            if os.environ.get("AAM_DEBUG"):
                traceback.print_exc()
            _say(f"aam: error: {_one_line(error)}")
            status = 128 + error.signal if isinstance(error, Preempted) else 2
        sys.exit(status)


def _refuse_repeated(command: click.Command, parent: click.Context, args: list[str]) -> None:
    """Refuse an option that takes one value and is given several: click would keep the last."""
    ctx = click.Context(command, info_name=command.name, parent=parent)
    _, _, order = command.make_parser(ctx).parse_args(args=list(args))
    if any(param.is_eager for param in order):  # --help is asked for
        return
    for param in dict.fromkeys(order):
        once = isinstance(param, click.Option) and not (param.multiple or param.count)
        if once and order.count(param) > 1:
            name = max(param.opts, key=len)
            raise click.UsageError(
                f"{name} is given {order.count(param)} times: give it once.", ctx
            )


def _say(line: str) -> None:
    """Show an error; of several processes the first does, unless another one alone has it."""
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(3)  # where all have it, torchrun ends them when the first has said it
        line = f"{line} (rank {rank})"
    click.echo(line, err=True)


def _processes():
    """Context in which this process is one of those that torchrun started, if it did."""
    if "RANK" not in os.environ:
        return contextlib.nullcontext()
    from aam_core.training import parallel

    return parallel.session()


def _one_line(error: Exception) -> str:
    """What went wrong, in one line whoever noticed it."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = error.format_message().rstrip(".")
        text = f"{message} (see '{error.ctx.command_path} --help')"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return one_line(" ".join(text.split()))


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="aam")
@click.pass_context
def cli(ctx):
    """AAM (Attention All Microbes): deep learning on microbiome samples.

    Pretrain an encoder on a feature table and its phylogeny, fit it to a metadata column, and
    predict samples it has never seen. Files are BIOM, FASTA, Newick and QIIME 2 metadata, or .qza.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point of the ``aam`` command; exits the process."""
    cli.main(prog_name="aam")
