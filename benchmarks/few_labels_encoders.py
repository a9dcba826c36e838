"""Encoders of benchmarks: pretrained on the corpus without the studies that they are tested on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aam_core.data.studies import load_studies
from aam_core.studies_pretraining import pretrain_studies

__all__ = ["BASES", "PRETRAINING", "Encoders"]

BASES = 100
"""Sequences are cut to this length, so that those of studies of different lengths are the same."""

PRETRAINING = {"loss.halves": 0.3}
"""Beside the columns of the studies: of what was tried, it tells most of held-out studies."""


@dataclass(frozen=True)
class Encoders:
    """Encoders in a folder, by what they never saw and the settings of the pretraining.

    Attributes
    ----------
    folder : Path
        What it lacks is pretrained.
    corpus : Path
        Studies to pretrain on.
    settings : mapping
        ``section.field`` -> value: of the pretraining, where it is not the default.
    """

    folder: Path
    corpus: Path
    settings: Mapping[str, Any] = field(default_factory=lambda: dict(PRETRAINING))

    def path(self, tested: Collection[str], shuffle: bool = False) -> Path:
        """An encoder that knows none of some tables; pretrained where it is absent.

        Parameters
        ----------
        tested : collection of str
            Tables of the corpus: these and all of their cohorts are held out.
        shuffle : bool
            Whether its targets are those of other samples of the same study.
        """
        text = json.dumps([sorted(tested), dict(self.settings)], sort_keys=True)
        kind = "shuffled" if shuffle else "pretrained"
        path = self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        if not (path / "manifest.json").exists():
            self._pretrain(tested, shuffle, path)
        return path

    def _pretrain(self, tested: Collection[str], shuffle: bool, path: Path) -> None:
        studies = load_studies(self.corpus, trim_length=BASES).without(tested)
        if shuffle:
            studies = studies.shuffled()
        without = ", ".join(tested) or "none"
        line = f"pretraining {path.name} on {len(studies)} studies, without {without}"
        print(line, file=sys.stderr, flush=True)
        # None for validation: it would choose nothing, and what is not tested may be learned.
        changes = {"train.threads": 1, **self.settings}
        pretrain_studies(studies, config=changes, held_out=[], output=path)
