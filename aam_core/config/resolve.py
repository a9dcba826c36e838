"""From ``--preset``, ``--config``, flags and ``--set`` to one `Config`."""

from __future__ import annotations

from aam_core.config.fields import check
from aam_core.config.sections import EVERYDAY, SCALE, Config, find, paths
from aam_core.errors import InputError
from aam_core.files.reading import read_yaml

FLAGS = EVERYDAY | SCALE
"""Settings that have a flag of their own."""


def resolve(kind, preset, file=None, flags=None, assignments=(), base=None) -> Config:
    """Build the configuration of a run: preset < ``--config`` < flags < ``--set``.

    What a setting brings with it is said in `Config.replace`.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        The function of `aam_core.config.presets` to start from.
    preset : str
        One of ``presets.NAMES``.
    file : path, optional
        YAML, nested as ``Config.to_dict``; keys may be left out.
    flags : dict, optional
        Name in ``EVERYDAY`` or ``SCALE`` -> value; None stands for a flag that was not given.
    assignments : sequence of str
        ``section.field=value``.
    base : Config, optional
        What to start from instead of the preset: of a run that is resumed, its own.

    Raises
    ------
    InputError
        For an unknown key (named, with the nearest legal one), an illegal value, or a setting that
        is assigned twice.
    """
    changes = {} if file is None else read_settings(file)
    for name, value in (flags or {}).items():
        if value is not None:
            changes[FLAGS[name]] = value
    changes |= _assigned(assignments)
    return (preset_config(kind, preset) if base is None else base).replace(changes)


def _assigned(assignments) -> dict:
    """``section.field=value`` as a dictionary."""
    found = {}
    for assignment in assignments:
        path, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise InputError(f"A setting is given as section.field=value, not as {assignment!r}.")
        value = check(find(path), value, path)
        if found.setdefault(path, value) != value:
            raise InputError(f"{path} is set twice, to {found[path]} and {value}: set it once.")
    return found


def preset_config(kind: str, name: str) -> Config:
    """The named preset for ``pretraining`` or ``fitting``."""
    from aam_core.config import presets

    return {"pretraining": presets.pretraining, "fitting": presets.fitting}[kind](name)


def where_not_given(config: Config, path: str) -> str:
    """A sentence for a help, where what holds is not the value that ``config`` has; else empty."""
    if path == "data.sampling_depth" and config.data.rarefaction == "none":
        return "Where not given, all reads are read."
    if path == "train.epochs" and config.train.min_steps:
        return (
            f"Where not given, {config.train.epochs}, or as many as make {config.train.min_steps} "
            "steps (train.min_steps): more on a small study."
        )
    return ""


def read_settings(file) -> dict:
    """Read a YAML configuration as ``{"section.field": value}``.

    Raises
    ------
    InputError
        For a file that is not a YAML mapping, an unknown key or an illegal value.
    """
    values = read_yaml(file)
    if not isinstance(values, dict | None):
        raise InputError(f"{file} must map sections to settings, as in 'train: {{epochs: 5}}'.")
    found = {}
    for path, value in _flatten(values or {}):
        try:
            found[path] = check(find(path), value, path)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return found


def _flatten(values: dict, prefix: str = ""):
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{path}.")
        elif value is not None or not _is_section(path):  # an empty section changes nothing
            yield path, value


def _is_section(path: str) -> bool:
    return any(field.startswith(f"{path}.") for field in paths())
