"""Errors for users, one readable line each, and the helpers that shape their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = [
    "LONGEST",
    "AAMError",
    "InputError",
    "Preempted",
    "first_five",
    "lookup",
    "one_line",
    "short",
]

_T = TypeVar("_T")

LONGEST = 2000
"""Characters of a message, at most: a name in a damaged file may have a million."""


class AAMError(Exception):
    """Base of all errors that AAM raises on purpose; the message is one line, by `one_line`."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class InputError(AAMError):
    """An input or an option is wrong.

    The message is one line: what is wrong, where, how many, the first five, what to do. The command
    line prints it without a traceback and exits 2; QIIME 2 shows the same line.
    """


class Preempted(AAMError):
    """A run stopped on a signal, after a checkpoint from which it can be resumed.

    Parameters
    ----------
    message : str
        One line.
    signal : int
        The signal; 15 is SIGTERM. The command line exits 128 + ``signal``.
    """

    def __init__(self, message: str, signal: int = 15):
        super().__init__(message)
        # Not in `args`, from which an exception is unpickled: it comes back by its __dict__.
        self.signal = signal


def lookup(registry: Mapping[str, _T], name: str, what: str) -> _T:
    """The entry of a registry; an unknown name is an `InputError` that lists those there are.

    >>> lookup({"a": 1, "b": 2}, "b", "letter")
    2
    """
    try:
        return registry[name]
    # TypeError: a name that is not hashable, such as a list of a YAML file.
    except (KeyError, TypeError):
        raise InputError(
            f"The {what} must be one of {', '.join(registry)}, not {short(repr(name))}."
        ) from None


def one_line(text: object, longest: int = LONGEST) -> str:
    """``text`` on one line of bounded length, without control characters.

    A longer text loses its middle: what is wrong stands first, what to do about it last.

    >>> one_line("a\\nb\\tc")
    'a b\\\\tc'
    """
    line = " ".join(_cut(str(text), longest).splitlines())
    if line.isprintable():
        return line
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    # Cut again: an escape is longer than the character that it stands for.
    return _cut("".join(shown), longest)


def short(item: object, width: int = 100) -> str:
    """``item`` as text, cut to ``width`` characters."""
    text = str(item)
    return text if len(text) <= width else text[: width - 3] + "..."


def _cut(text: str, longest: int) -> str:
    half = longest // 2 - 3
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def first_five(items: Iterable[object]) -> str:
    """Name the first five of ``items``, long ones cut short, and how many more there are.

    >>> first_five(["a", "b"])
    'a, b'
    >>> first_five(range(8))
    '0, 1, 2, 3, 4 and 3 more'
    """
    names = list(items)
    shown = ", ".join(short(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
