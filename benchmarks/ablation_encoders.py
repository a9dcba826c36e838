"""The encoders that fits of the ablations start from, and the studies they are pretrained on."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
from ablation_rows import Row, of_steps
from accuracy import cpu_seconds
from accuracy_studies import STUDIES

from aam_core import pretrain
from aam_core.config import Config
from aam_core.config.presets import pretraining
from aam_core.data.readers import read_tree
from aam_core.data.study import Study
from aam_core.model import Model
from aam_core.phylogeny.tree import Phylogeny, find_tips
from aam_core.pretraining import pretrain_nucleotides

STEPS = {"v4": 1000, "unifrac": 300, "other": 600}
"""Steps of each part of a pretraining."""

OTHER = {"ecam": "ibd", "ibd": "ecam"}
"""Folder of a study -> the other study that an encoder is pretrained on."""

CORPUS, DRAWN, SEED = "v4/v4-asvs-150nt.txt.gz", 20_000, 0
"""Sequences without samples, the number that is drawn from them, and the seed."""


@functools.cache
def load(name: str, data: Path) -> Study:
    """A study of the accuracy benchmark, with its tree where there is one."""
    source = STUDIES[name]
    study = source.load(data)
    path = None if source.folder is None else data / source.folder / "tree.nwk"
    if path is None or not path.is_file():
        return study
    root = read_tree(path)
    placed = find_tips(root, study.feature_ids) >= 0
    tips = [name for name, tip in zip(study.feature_ids, placed, strict=True) if tip]
    return dataclasses.replace(study, phylogeny=Phylogeny.from_tree(root, tips))


def pretraining_config(row: Row, part: str, fit: Config, steps: int | None = None) -> Config:
    """Configuration of a part of the pretraining, for the architecture of a fit.

    The last weights are kept: no sample is held out.
    """
    model = dataclasses.replace(
        fit.model, members=1, sample=dataclasses.replace(fit.model.sample, asv_dropout=0.0)
    )
    changes = {f"train.{name}": getattr(fit.train, name) for name in ("seed", "threads")}
    changes |= {"train.val_fraction": 0.0}
    if part == "unifrac":
        changes |= {"loss.nucleotide": 0.0}
    made = dataclasses.replace(pretraining(), model=model).replace(changes | row.pretraining)
    return of_steps(made, steps or STEPS[part])


class Encoders:
    """Pretrained encoders, each trained once in a process, with its cost."""

    def __init__(self):
        self.made: dict[str, tuple[Model, float]] = {}

    def get(self, part, config, start, name, data, ids) -> tuple[Model, float]:
        """An encoder that is trained from ``start``, and the CPU seconds of this part.

        Parameters
        ----------
        part : str
            A key of `STEPS`.
        config : Config
        start : Model or None
        name : str
            The study to predict.
        data : Path
        ids : tuple of str
            Its samples that may be used (without labels); () for none.
        """
        before_it = None if start is None else start.run["benchmark"]
        folder = None if part == "v4" else STUDIES[name].folder
        inputs = [part, config.to_dict(), before_it, folder, name if ids else None, ids]
        key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
        if key not in self.made:
            before = cpu_seconds()
            if part == "v4":
                model = pretrain_nucleotides(corpus(data), config=config)
            elif part == "unifrac":
                model = pretrain(load(name, data).select(ids), config=config, encoder=start)
            else:
                model = pretrain(load(OTHER[folder], data), config=config, encoder=start)
            model.run["benchmark"] = key
            self.made[key] = model, cpu_seconds() - before
        return self.made[key]


ENCODERS = Encoders()
"""The encoders of this process."""


@functools.cache
def corpus(data: Path) -> list[str]:
    """Sequences without samples, drawn by seed."""
    with gzip.open(data / CORPUS, "rt", encoding="ascii") as file:
        lines = file.read().split()
    chosen = np.random.default_rng(SEED).choice(len(lines), DRAWN, replace=False)
    return [lines[i] for i in np.sort(chosen)]
