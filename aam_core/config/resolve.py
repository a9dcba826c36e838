"""From a preset, a file, everyday settings and assignments to one `Config`.

The command line, the QIIME 2 plugin and Python all come here, so that the same words give the same
configuration everywhere.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aam_core.config.config import Config, find, paths
from aam_core.config.everyday import FLAGS
from aam_core.config.fields import check, unknown
from aam_core.config.presets import NAMES, find_preset
from aam_core.errors import InputError
from aam_core.files.reading import read_yaml

__all__ = ["ConfigLike", "configured", "read_settings", "resolve"]

P = ParamSpec("P")
T = TypeVar("T")

ConfigLike = Config | str | os.PathLike[str] | Mapping[str, Any] | None
"""What ``config=`` takes: a `Config`, the name of a preset, the path of a YAML file, or a mapping
of ``section.field`` -> value."""


def resolve(
    kind: str,
    *,
    preset: str | None = None,
    config: ConfigLike = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    base: Config | None = None,
) -> Config:
    """Build the configuration of a run: preset < ``config`` < ``settings`` < ``assignments``.

    `Config.replace` describes what some settings imply.

    Parameters
    ----------
    kind : {"pretraining", "fitting"}
        Which presets.
    preset : str, optional
        Name of the preset to start from.
    config : Config, str, path or mapping, optional
        A whole `Config` to start from, or the name of a preset; or what changes the preset: a YAML
        file nested as ``Config.to_dict``, or a mapping, nested likewise or of ``section.field``.
    settings : mapping, optional
        Everyday settings by their names in `FLAGS`; None stands for one that is not given.
    assignments : iterable of str
        ``section.field=value``.
    base : Config, optional
        What to start from where neither ``preset`` nor ``config`` names a start: of a run that is
        resumed, its own configuration.

    Returns
    -------
    Config
        Its ``explicit`` are the settings that differ from those of the start.

    Raises
    ------
    InputError
        For an unknown name (the nearest is suggested), an illegal value, a setting that is assigned
        twice, or two starts.

    Examples
    --------
    >>> resolve("fitting", preset="tiny", settings={"epochs": 3}).train.epochs
    3
    >>> resolve("fitting", config={"model.encoder.depth": 6}).model.encoder.depth
    6
    """
    start, changes = _start(kind, preset, config, base)
    changes |= _by_path(settings or {})
    changes |= _assigned(assignments)
    return start.replace(changes)


def configured(
    kind: str | Callable[[Mapping[str, Any]], str],
    saved: Callable[[Any], Config] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that it is called with ``config``, a `Config`, for all settings.

    The function declares ``config``, ``preset`` and ``**settings`` for its callers and itself reads
    ``config`` alone.

    Parameters
    ----------
    kind : {"pretraining", "fitting"} or callable
        As in `resolve`; a callable tells it from the keyword arguments.
    saved : callable, optional
        Reads the configuration of the run that the argument ``resume`` names.

    Raises
    ------
    InputError
        On a call, as `resolve`, and for a keyword that does not exist.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters.values()
        names = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> T:
            preset, config = options.pop("preset", None), options.pop("config", None)
            settings = {name: options.pop(name) for name in FLAGS if name in options}
            for name in options:
                if name not in names:
                    raise _unknown_keyword(name, names)
            resume = None if saved is None else options.get("resume")
            whole = resolve(
                kind if isinstance(kind, str) else kind(options),
                preset=preset,
                config=config,
                settings=settings,
                base=None if saved is None or resume is None else saved(resume),
            )
            return function(*args, **{**options, "config": whole})

        return call

    return decorate


def read_settings(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML configuration as ``{"section.field": value}``.

    Raises
    ------
    InputError
        For a file that is not a YAML mapping, an unknown key or an illegal value.
    """
    values = read_yaml(file)
    if not isinstance(values, dict | None):
        raise InputError(f"{file} must map sections to settings, as in 'train: {{epochs: 5}}'.")
    return _checked(values or {}, str(file))


def _start(
    kind: str, preset: str | None, config: ConfigLike, base: Config | None
) -> tuple[Config, dict[str, Any]]:
    """Where to start from, and what ``config`` changes in it."""
    if isinstance(config, Config):
        if preset is not None:
            raise InputError(
                f"preset={preset!r} beside a whole Config: give one of them, or the changes alone "
                "as config={'section.field': value}."
            )
        return config, {}
    if isinstance(config, str) and config in NAMES:
        if preset is not None:
            raise InputError(f"preset={preset!r} beside config={config!r}: name one preset.")
        return find_preset(kind, config), {}
    changes = _changes(config)
    if preset is None and base is not None:
        return base, changes
    return find_preset(kind, preset), changes


def _changes(config: ConfigLike) -> dict[str, Any]:
    """What a file or a mapping changes, as ``{"section.field": value}``."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return _checked(config, "config")
    if isinstance(config, str) and not Path(config).suffix and not os.path.exists(config):
        raise InputError(f"config={config!r} is neither a preset ({', '.join(NAMES)}) nor a file.")
    if isinstance(config, str | os.PathLike):
        return read_settings(config)
    raise InputError(
        f"config must be a Config, the name of a preset ({', '.join(NAMES)}), the path of a YAML "
        f"file or a mapping of settings, not {type(config).__name__}."
    )


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A nested mapping as ``{"section.field": value}``, each value of its field's type."""
    settings = {}
    for path, value in _flatten(values):
        try:
            settings[path] = check(find(path), value, path)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return settings


def _by_path(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everyday settings that are given as ``{"section.field": value}``."""
    changes = {}
    for name, value in settings.items():
        if name not in FLAGS:
            raise _unknown_keyword(name, ())
        if value is not None:
            path = FLAGS[name]
            changes[path] = check(find(path), value, name)
    return changes


def _unknown_keyword(name: str, parameters: Iterable[str]) -> InputError:
    """The error for a keyword that does not exist, with what was probably meant."""
    path = next((path for path in paths() if path.rpartition(".")[2] == name), None)
    if path is not None:
        return InputError(
            f"The setting {name!r} has no keyword of its own: give config={{{path!r}: value}}."
        )
    return unknown(name, [*parameters, *FLAGS], "keyword")


def _assigned(assignments: Iterable[str]) -> dict[str, Any]:
    """``section.field=value`` as a dictionary."""
    settings: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise InputError(f"A setting is given as section.field=value, not as {assignment!r}.")
        if path in FLAGS:
            raise InputError(
                f"{path!r} is the short name of a setting, which is given by its path here: "
                f"{FLAGS[path]}={value}."
            )
        checked = check(find(path), value, path)
        if settings.setdefault(path, checked) != checked:
            raise InputError(
                f"{path} is set twice, to {settings[path]} and {checked}: set it once."
            )
    return settings


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        elif value is not None or not _is_section(path):  # an empty section changes nothing
            yield path, value


def _is_section(path: str) -> bool:
    return any(field.startswith(f"{path}.") for field in paths())
