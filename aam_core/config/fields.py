"""Fields of a configuration: declared, checked and found by name.

A dataclass whose fields are made by `option` and that inherits `Checked` refuses illegal values on
construction, in one line that says what is legal.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Collection
from dataclasses import field

from aam_core.errors import InputError, short


def option(default, help, *, minimum=None, maximum=None, choices=None, words=None):
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
        Words that may be written for a value, which need not lie within the bounds.
    """
    meta = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "words": words or {},
    }
    return field(default=default, metadata=meta)


LARGEST = 2**53
"""What a number may be where nothing else bounds it: whole numbers beyond are no longer exact."""


class Checked:
    """Checks every field against its type, bounds and choices on construction."""

    def __post_init__(self):
        for item in dataclasses.fields(self):
            if "help" in item.metadata:
                object.__setattr__(self, item.name, check(item, getattr(self, item.name)))


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check(item: dataclasses.Field, value, name: str | None = None):
    """Return ``value`` as the field's type, or say in one line what is legal."""
    name = name or item.name
    kind = type(item.default)
    meta = item.metadata
    if isinstance(value, str):
        value = meta["words"].get(value.strip().lower(), value)
    if type(value) is kind and value in meta["words"].values():
        return value
    if isinstance(value, str) and kind is not str:
        value = parse(value, kind, name)
    # Numbers of numpy are numbers: settings come out of a logspace, too. True is none.
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, float) or abs(value) <= LARGEST:
            value = float(value)
    if type(value) is not kind:
        raise InputError(f"{name} must be {_KINDS[kind]}, not {short(repr(value))}.")
    if kind is float and not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, not {value}.")
    if meta["choices"] is not None and value not in meta["choices"]:
        raise InputError(
            f"{name} must be one of {', '.join(meta['choices'])}, not {short(repr(value))}."
        )
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise InputError(f"{name} must be at least {meta['minimum']}, not {value}.")
    most = LARGEST if meta["maximum"] is None else meta["maximum"]
    if kind in (int, float) and value > most:
        raise InputError(f"{name} must be at most {most}, not {short(value)}.")
    return value


def parse(text: str, kind: type, name: str):
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
    raise InputError(f"{name} must be {_KINDS[kind]}, not {short(repr(text))}.")


def find(cls, path: str) -> dataclasses.Field:
    """The field of ``cls`` at ``section.field``.

    Raises
    ------
    InputError
        Where there is none; it suggests the nearest.
    """
    if path not in paths(cls):
        raise unknown(path, paths(cls), "setting")
    *parents, leaf = path.split(".")
    for name in parents:
        cls = typing.get_type_hints(cls)[name]
    return {item.name: item for item in dataclasses.fields(cls)}[leaf]


def paths(cls, prefix: str = "") -> list[str]:
    """Every ``section.field`` of ``cls``, in order."""
    found = []
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            found += paths(hints[item.name], f"{prefix}{item.name}.")
        elif "help" in item.metadata:
            found.append(prefix + item.name)
    return found


def unknown(name: str, legal: Collection[str], what: str) -> InputError:
    """The error for a name that does not exist, with the nearest that does."""
    # Cut short: of a damaged file a name may be of any length, and comparing takes its square.
    name = short(name)
    similar = difflib.get_close_matches(name, legal, n=1, cutoff=0.4)
    hint = f"did you mean {similar[0]!r}?" if similar else f"there are: {', '.join(legal)}."
    return InputError(f"There is no {what} {name!r}; {hint}")


def build(cls, values: dict, where: str, prefix: str = ""):
    """Make a ``cls`` of a nested dictionary; absent keys take their defaults.

    Parameters
    ----------
    cls : type
    values : dict
    where : str
        What the values came from, for the message.
    prefix : str
        Path of ``cls`` in the whole configuration, with its dot.

    Raises
    ------
    InputError
        For an unknown key (the nearest legal one is suggested) or an illegal value.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'the top level'} must be a mapping.")
    hints = typing.get_type_hints(cls)
    fields = {
        item.name: item
        for item in dataclasses.fields(cls)
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
