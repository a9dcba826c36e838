"""The whole configuration: one frozen dataclass a section.

``Config.to_dict`` and ``Config.from_dict`` round-trip through JSON; an unknown key is an error that
names it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aam_core.config import fields
from aam_core.config.data import DataConfig
from aam_core.config.fields import Checked, unknown
from aam_core.config.figure import FigureConfig
from aam_core.config.loss import LossConfig, MaskingConfig
from aam_core.config.model import SAVED_FUSIONS, ModelConfig
from aam_core.config.training import EnsembleConfig, ForestConfig, OptimConfig, TrainConfig

__all__ = ["Config", "find", "paths"]

_RAREFIED = {"data.rarefaction": "redraw", "data.full_depth": 0.0, "data.sampling_depth_max": 0}
"""What a sampling depth sets, too: each epoch rarefies all samples to this one depth."""


@dataclass(frozen=True)
class Config(Checked):
    """All settings of a run; saved inside every model.

    Attributes
    ----------
    explicit : frozenset of str
        The ``section.field`` that a person changed, by `replace`: of these
        `aam_core.config.unused` names those that have no effect. Neither compared nor saved.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    forest: ForestConfig = field(default_factory=ForestConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    figure: FigureConfig = field(default_factory=FigureConfig)
    explicit: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionary of plain values, as JSON and YAML take it."""
        values = dataclasses.asdict(self)
        del values["explicit"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> Config:
        """Build from a nested dictionary; absent keys take their defaults.

        Raises
        ------
        InputError
            For an unknown key (the nearest legal one is suggested) or an illegal value.
        """
        return fields.build(cls, values, where)

    def columns(self) -> list[str]:
        """Metadata columns that its settings name, each once."""
        named = (path for path in paths() if find(path).metadata["columns"])
        return list(dict.fromkeys(it for path in named for it in fields.names_in(self.at(path))))

    @classmethod
    def from_saved(cls, values: Mapping[str, Any], where: str = "configuration") -> Config:
        """As `from_dict`, of the whole configuration that some version of AAM saved.

        What a kind of fusion was called up to format 5 has another name since, and does the same.
        """
        match values:
            # Every configuration since has the layers.
            case {"model": {"fusion": {"kind": str(kind), **others}}} if "layers" not in others:
                fusion = {**others, "kind": SAVED_FUSIONS.get(kind, kind)}
                values = {**values, "model": {**values["model"], "fusion": fusion}}
        return cls.from_dict(values, where)

    def differences(self, other: Config) -> dict[str, tuple]:
        """``{"section.field": (value here, value there)}`` of the settings that differ.

        >>> Config().differences(Config().replace({"optim.lr": 0.1}))
        {'optim.lr': (0.001, 0.1)}
        """
        pairs = {path: (self.at(path), other.at(path)) for path in paths()}
        return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}

    def at(self, path: str) -> Any:
        """The value at ``section.field``."""
        return functools.reduce(getattr, path.split("."), self)

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """Copy with changes that a person asked for, ``{"section.field": value}``.

        ``train.epochs`` sets ``train.min_steps`` to 0, unless that is set too: so many epochs are
        trained. ``data.sampling_depth`` turns rarefaction on ('redraw', at this one depth) where it
        is off, unless ``data.rarefaction`` is set too.

        >>> Config().replace({"model.encoder.depth": 6}).model.encoder.depth
        6
        >>> Config().replace({"train.min_steps": 500}).replace({"train.epochs": 3}).train.min_steps
        0
        """
        config = self._replaced(changes)
        changed = {path for path in changes if config.at(path) != self.at(path)}
        return dataclasses.replace(config, explicit=self.explicit | changed)

    def adjust(self, changes: Mapping[str, Any]) -> Config:
        """As `replace`, for changes that no person asked for: they are never reported as unused."""
        return dataclasses.replace(self._replaced(changes), explicit=self.explicit - set(changes))

    def reported(self) -> Config:
        """Copy without ``explicit``: its unused settings were reported already."""
        return dataclasses.replace(self, explicit=frozenset())

    def _replaced(self, changes: Mapping[str, Any]) -> Config:
        implied: dict[str, Any] = {}
        if "train.epochs" in changes:
            implied["train.min_steps"] = 0
        depth_alone = "data.sampling_depth" in changes and "data.rarefaction" not in changes
        if depth_alone and self.data.rarefaction == "none":
            implied |= _RAREFIED
        nested = self.to_dict()
        for path, value in {**implied, **changes}.items():
            *parents, leaf = path.split(".")
            node = nested
            for name in parents:
                if not isinstance(node.get(name), dict):
                    raise unknown(path, paths(), "setting")
                node = node[name]
            if leaf not in node or isinstance(node[leaf], dict):
                raise unknown(path, paths(), "setting")
            node[leaf] = value
        return type(self).from_dict(nested)


def find(path: str) -> dataclasses.Field:
    """The field at ``section.field``; `InputError` with a suggestion where there is none."""
    return fields.find(Config, path)


def paths() -> list[str]:
    """Every ``section.field`` there is, in order."""
    return fields.paths(Config)
