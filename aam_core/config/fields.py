"""Fields of a configuration: declared by `option`, checked, found by name.

A dataclass that inherits `Checked` refuses illegal values when it is made, in one line that says
what is legal.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import numbers
import typing
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any, ClassVar, TypeVar

from aam_core.errors import InputError, short

__all__ = [
    "LARGEST",
    "Checked",
    "build",
    "check",
    "find",
    "names_in",
    "option",
    "parse",
    "paths",
    "unknown",
]

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    words: Mapping[str, Any] | None = None,
    columns: bool = False,
) -> Any:
    """Declare a configuration field.

    Parameters
    ----------
    default : int, float, str, bool
        Its type is the field's type.
    help : str
        One line, shown by the command line and by QIIME 2.
    minimum, maximum : number, optional
        Inclusive bounds.
    choices : tuple of str, optional
        The legal values.
    words : dict of str to value, optional
        Words for values, which need not lie within the bounds.
    columns : bool
        Whether it names metadata columns, several joined by commas; '' for none.
    """
    meta = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "words": words or {},
        "columns": columns,
    }
    return field(default=default, metadata=meta)


def names_in(text: str) -> list[str]:
    """Names joined by commas.

    >>> names_in("sex, site"), names_in("")
    (['sex', 'site'], [])
    """
    return [name.strip() for name in text.split(",") if name.strip()]


LARGEST = 2**53
"""Bound of every number that has no other: whole numbers above it are not exact as floats."""


class Checked:
    """Checks every field against its type, bounds and choices on construction."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field]]

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if "help" in item.metadata:
                object.__setattr__(self, item.name, check(item, getattr(self, item.name)))


_TYPE_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check(item: dataclasses.Field, value: Any, name: str | None = None) -> Any:
    """Return ``value`` as the field's type.

    Raises
    ------
    InputError
        If it is not legal, in one line that says what is.
    """
    name = name or item.name
    words, choices = item.metadata["words"], item.metadata["choices"]
    if isinstance(value, str):
        value = words.get(value.strip().lower(), value)
    if type(value) is type(item.default) and value in words.values():
        return value
    value = _as_type(type(item.default), value, name)
    if choices is not None and value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {short(repr(value))}.")
    if isinstance(value, int | float):
        _check_bounds(value, item.metadata["minimum"], item.metadata["maximum"], name)
    return value


def _as_type(kind: type, value: Any, name: str) -> Any:
    """``value`` as an int, float, bool or str."""
    if isinstance(value, str) and kind is not str:
        value = parse(value, kind, name)
    # A number of numpy is a number, of a logspace for instance; True is none.
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        # A whole number may be beyond any float, whose conversion would overflow.
        if not isinstance(value, numbers.Integral) or abs(int(value)) <= LARGEST:
            value = float(value)
    if type(value) is not kind:
        raise InputError(f"{name} must be {_TYPE_IN_WORDS[kind]}, not {short(repr(value))}.")
    return value


def _check_bounds(value: float, minimum: float | None, maximum: float | None, name: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, not {value}.")
    if minimum is not None and value < minimum:
        raise InputError(f"{name} must be at least {minimum}, not {short(value)}.")
    most = LARGEST if maximum is None else maximum
    if value > most:
        raise InputError(f"{name} must be at most {most}, not {short(value)}.")


def parse(text: str, kind: type, name: str) -> Any:
    """Read a value typed on a command line."""
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.strip().lower() in words:
            return words[text.strip().lower()]
    else:
        try:
            return kind(text)
        except ValueError:
            pass
    raise InputError(f"{name} must be {_TYPE_IN_WORDS[kind]}, not {short(repr(text))}.")


def find(cls: type, path: str) -> dataclasses.Field:
    """The field of ``cls`` at ``section.field``.

    Raises
    ------
    InputError
        Where there is none; it suggests the nearest.
    """
    fields = _by_path(cls)
    if path not in fields:
        raise unknown(path, list(fields), "setting")
    return fields[path]


def paths(cls: type) -> list[str]:
    """Every ``section.field`` of ``cls``, in order."""
    return list(_by_path(cls))


@functools.cache
def _by_path(cls: type) -> dict[str, dataclasses.Field]:
    """The fields of ``cls`` and of the dataclasses within, by their paths."""
    named: dict[str, dataclasses.Field] = {}
    for item in dataclasses.fields(cls):
        kind = _hints(cls)[item.name]
        if dataclasses.is_dataclass(kind):
            below = _by_path(kind)  # type: ignore[arg-type]
            named |= {f"{item.name}.{path}": field for path, field in below.items()}
        elif "help" in item.metadata:
            named[item.name] = item
    return named


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Types of the fields of ``cls``, once: each time they would be compiled from text."""
    return typing.get_type_hints(cls)


def unknown(name: str, legal: Collection[str], what: str) -> InputError:
    """The error for a name that does not exist, with the nearest that does."""
    # Cut short: of a damaged file a name may be of any length, and comparing takes its square.
    name = short(name)
    similar = difflib.get_close_matches(name, legal, n=1, cutoff=0.4)
    hint = f"did you mean {similar[0]!r}?" if similar else f"there are: {', '.join(legal)}."
    return InputError(f"There is no {what} {name!r}; {hint}")


def build(cls: type[T], values: Mapping[str, Any], where: str, prefix: str = "") -> T:
    """Make a ``cls`` of a nested dictionary; absent keys take their defaults.

    Parameters
    ----------
    cls : type
    values : mapping
    where : str
        What the values came from, for the message.
    prefix : str
        Path of ``cls`` in the whole configuration, with its dot.

    Raises
    ------
    InputError
        For an unknown key (the nearest legal one is suggested) or an illegal value.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'the top level'} must be a mapping.")
    hints = _hints(cls)  # type: ignore[arg-type]
    fields = {
        item.name: item
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if "help" in item.metadata or dataclasses.is_dataclass(hints[item.name])
    }
    built = {}
    for name, value in values.items():
        if name not in fields:
            error = unknown(prefix + name, [prefix + f for f in fields], "setting")
            raise InputError(f"{where}: {error}")
        if dataclasses.is_dataclass(hints[name]):
            built[name] = build(hints[name], value, where, f"{prefix}{name}.")
        else:
            built[name] = check(fields[name], value, prefix + name)
    return cls(**built)
