"""From ``--preset``, ``--config``, flags and ``--set`` to one `Config`."""

from __future__ import annotations

import functools

from aam_core.config import EVERYDAY, SCALE, Config, find, paths
from aam_core.errors import InputError
from aam_core.fields import check
from aam_core.reading import read_yaml

FLAGS = EVERYDAY | SCALE
"""Settings that have a flag of their own."""

DRAWN = {"data.rarefaction": "redraw", "data.full_depth": 0.0, "data.sampling_depth_max": 0}
"""What a sampling depth means."""


def resolve(kind, preset, file=None, flags=None, assignments=(), resume=None) -> Config:
    """Build the configuration of a run: preset < ``--config`` < flags < ``--set``.

    A run that is resumed starts from its own configuration instead of a preset.

    Whoever sets ``train.epochs`` gets that many: ``train.min_steps`` is then 0, unless set too.
    Whoever sets ``data.sampling_depth``, but not ``data.rarefaction``, where the preset draws none
    gets so many, drawn anew.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        The function of `aam_core.presets` to start from.
    preset : str
        One of ``presets.NAMES``.
    file : path, optional
        YAML, nested as ``Config.to_dict``; keys may be left out.
    flags : dict, optional
        Name in ``EVERYDAY`` or ``SCALE`` -> value; None stands for a flag that was not given.
    assignments : sequence of str
        ``section.field=value``.
    resume : path, optional
        Output folder of the run to go on from.

    Raises
    ------
    InputError
        For an unknown key (named, with the nearest legal one) or an illegal value.
    """
    changes = {} if file is None else read_settings(file)
    for name, value in (flags or {}).items():
        if value is not None:
            changes[FLAGS[name]] = value
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"A setting is given as section.field=value, not as {assignment!r}.")
        changes[path.strip()] = check(find(path.strip()), value.strip(), path.strip())
    if "train.epochs" in changes:  # a number of epochs that was asked for is what is trained
        changes.setdefault("train.min_steps", 0)
    base = preset_config(kind, preset) if resume is None else saved_config(resume)
    depth_alone = "data.sampling_depth" in changes and "data.rarefaction" not in changes
    if depth_alone and base.data.rarefaction == "none":
        changes = DRAWN | changes
    return base.replace(changes)


def preset_config(kind: str, name: str) -> Config:
    """The named preset for ``pretraining`` or ``fitting``."""
    from aam_core import presets

    return {"pretraining": presets.pretraining, "fitting": presets.fitting}[kind](name)


def saved_config(resume) -> Config:
    """The configuration of the run whose output folder is ``resume``."""
    from aam_core.train import checkpoint

    run = checkpoint.read_run(checkpoint.find(resume))
    return Config.from_dict(run["config"], f"the configuration in {resume}")


def value_at(config: Config, path: str):
    """The value at ``section.field``."""
    return functools.reduce(getattr, path.split("."), config)


def where_not_given(config: Config, path: str) -> str:
    """A sentence for a help, where what holds is not the value that ``config`` has; else empty."""
    if path == "data.sampling_depth" and config.data.rarefaction == "none":
        return "Where not given, all reads are read."
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
