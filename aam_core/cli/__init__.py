"""The ``aam`` command: one file a subcommand, imported when it is used.

Bad input ends in one line on stderr and exit status 2; Ctrl-C in exit status 130. The environment
variable ``AAM_DEBUG=1`` shows the traceback above the line.

A subcommand is an entry of `COMMANDS` and its file. Options are in `command` (of every command),
`options` (inputs, target, output) and `settings` (the configuration).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import click

from aam_core import __version__, log
from aam_core.config.fields import unknown
from aam_core.errors import AAMError, Preempted, one_line

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "simulate": ("simulate:simulate", "Write a simulated study with a known signal."),
    "pretrain": ("pretrain:pretrain", "Pretrain an encoder, without labels."),
    "fit-regressor": ("fit:fit_regressor", "Fit a numeric metadata column, or several together."),
    "fit-classifier": ("fit:fit_classifier", "Fit a categorical metadata column."),
    "predict": ("predict:predict", "Predict samples with a fitted model."),
    "info": ("info:info", "Show what a model is, and how it was trained and validated."),
    "embed": ("embed:embed", "Compute vectors of samples or ASVs, distances and a PCoA."),
    "evaluate": ("evaluate:evaluate", "Compare predictions with the true values."),
    "explain": (
        "explain:explain",
        "Show which ASVs and clades predictions depend on.",
    ),
    "cross-validate": (
        "cross_validate:cross_validate",
        "Score every sample by models that never saw it.",
    ),
    "maturity": (
        "maturity:maturity",
        "Compute microbial maturity: z-scores of predicted ages.",
    ),
    "report": ("report:report", "Show where a model fails, on one page."),
    "baseline": ("baseline:baseline", "Fit a baseline on the split of a fit, and score it."),
    "find-lr": ("find_lr:find_lr", "Find the learning rate of a run by a range test."),
    "tune": ("tune:tune", "Search for the best settings of a fit."),
    "distance-fit": (
        "distance_fit:distance_fit",
        "Compare the distances of an encoder with the true ones.",
    ),
    "unifrac": ("unifrac:unifrac", "Compute distances between samples, or Faith's PD."),
    "zero-distances": (
        "zero_distances:zero_distances",
        "Find samples at distance 0: copies, or too few reads.",
    ),
}
"""Subcommand -> (module:function, first line of its help), in the order of their use."""


class _LazyGroup(click.Group):
    """A group that imports a subcommand only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return getattr(importlib.import_module(f"aam_core.cli.{module}"), attribute)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            similar = [name for name in COMMANDS if name.startswith(args[0])]
            ctx.fail(str(unknown(args[0], similar or COMMANDS, "command")))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with log.showing(), _process_group():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(" ".join(f"Interrupted. {stop}".split()), err=True)
            ctx.exit(130)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        run: Any = super().main  # its overloads tell more than is passed on here
        if not standalone_mode:
            return run(*args, **extra, standalone_mode=False)
        try:
            with _command(args[0] if args and args[0] is not None else sys.argv[1:]):
                status = run(*args, **extra, standalone_mode=False)
        except click.Abort:
            status = 130
        except (AAMError, click.ClickException, OSError) as error:
            if os.environ.get("AAM_DEBUG"):
                traceback.print_exc()
            _show_error(f"aam: error: {_message(error)}")
            status = 128 + error.signal if isinstance(error, Preempted) else 2
        sys.exit(status)


@contextlib.contextmanager
def _command(arguments: Sequence[str]) -> Iterator[None]:
    """The command line as given, for ``run.json``, also of the processes that it starts."""
    before = os.environ.get(log.COMMAND)
    os.environ[log.COMMAND] = shlex.join(["aam", *map(str, arguments)])
    try:
        yield
    finally:
        if before is None:
            del os.environ[log.COMMAND]
        else:
            os.environ[log.COMMAND] = before


def _show_error(line: str) -> None:
    """Print an error; rank 0 does it for all ranks, unless another rank alone has it."""
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(3)  # an error of all ranks: torchrun ends this one when rank 0 has exited
        line = f"{line} (rank {rank})"
    click.echo(line, err=True)


def _process_group() -> contextlib.AbstractContextManager:
    """The process group of the processes that torchrun started, if it did."""
    if "RANK" not in os.environ:
        return contextlib.nullcontext()
    from aam_core.training import parallel

    return parallel.session()


def _message(error: Exception) -> str:
    """The message of an error of ours, of click or of the operating system, in one line."""
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
def cli(ctx: click.Context) -> None:
    """AAM (Attention All Microbes): deep learning on microbiome samples.

    Pretrain an encoder on a feature table and its phylogeny, fit it to a metadata column, and
    predict samples it has never seen. Files are BIOM, FASTA, Newick and QIIME 2 metadata, or .qza.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point of the ``aam`` command; exits the process."""
    cli.main(prog_name="aam")
