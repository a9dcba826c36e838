"""Encoders of the benchmark of few labels: each pretrained without the studies it is tested on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from few_labels_draws import NAMES, tables, third

__all__ = ["WITH_ENCODER", "Encoders"]

WITH_ENCODER = ("pretrained", "like", "shuffled")
"""Methods that need an encoder."""


@dataclass(frozen=True)
class Encoders:
    """Encoders in a folder, by third of the studies and settings of the pretraining.

    Attributes
    ----------
    folder : Path
        What it lacks is pretrained.
    corpus : Path
        Studies to pretrain on.
    settings : mapping
        ``section.field`` -> value: of the pretraining.
    """

    folder: Path
    corpus: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    def path(self, study: str, method: str) -> Path:
        """The encoder that a method on a study starts from; pretrained where it is absent."""
        number, shuffled = third(study), method == "shuffled"
        text = json.dumps(dict(self.settings), sort_keys=True)
        kind = "shuffled" if shuffled else "pretrained"
        name = f"{kind}-{number}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        path = self.folder / name
        if not (path / "manifest.json").exists():
            self._pretrain(number, shuffled, path)
        return path

    def _pretrain(self, number: int, shuffled: bool, path: Path) -> None:
        """Pretrain on all studies but those of a third, and all of their cohorts."""
        from aam_core.data.studies import load_studies
        from aam_core.pretraining import pretrain_studies

        tested = [table for name in NAMES if third(name) == number for table in tables(name)]
        studies = load_studies(self.corpus).without(tested)
        if shuffled:
            studies = studies.shuffled(seed=number)
        print(f"pretraining {path.name}: {len(studies.names)} studies", file=sys.stderr, flush=True)
        pretrain_studies(studies, config=dict(self.settings), output=path)
