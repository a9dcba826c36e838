"""What all subcommands have in common.

An option of every command is added in `command`. Options that several commands share are in
`options` (inputs, target, output) and in `settings` (the configuration).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

__all__ = ["Decorator", "command", "decorated", "is_given", "require"]

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


def command(name: str, help: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorate a function that becomes the subcommand ``name``.

    Parameters
    ----------
    name : str
        A key of `aam_core.cli.COMMANDS`.
    help : str, optional
        By default the function's docstring; its first line is that in `COMMANDS`.
    """
    return click.command(name, cls=_Command, help=help)


class _Command(click.Command):
    """Refuses an option that takes one value and is given several: click would keep the last."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            if not any(param.is_eager for param in order):  # --help shows the help, whatever else
                _refuse_repeated(order, ctx)
        return super().parse_args(ctx, args)


def _refuse_repeated(order: Sequence[click.Parameter], ctx: click.Context) -> None:
    for param in dict.fromkeys(order):
        if isinstance(param, click.Option) and not (param.multiple or param.count):
            times = order.count(param)
            if times > 1:
                name = max(param.opts, key=len)
                raise click.UsageError(f"{name} is given {times} times: give it once.", ctx)


def decorated(function: F, options: Sequence[Decorator]) -> F:
    """Decorate with ``options`` so that the help lists them in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def is_given(name: str) -> bool:
    """Whether the command line has this option, be it with its default value."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def require(condition: bool, message: str) -> None:
    """Raise a usage error that names the running command unless ``condition`` is true."""
    if not condition:
        raise click.UsageError(message, click.get_current_context())
