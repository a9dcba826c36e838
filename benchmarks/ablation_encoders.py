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
"""Folder of a study -> the study that an encoder is brought from."""

CORPUS, DRAWN, SEED = "v4/v4-asvs-150nt.txt.gz", 20_000, 0
"""Sequences without samples, how many of them are read, and the seed of that draw."""


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

    The last weights are kept: no sample is spent on validation.
    """
    model = dataclasses.replace(
        fit.model, members=1, sample=dataclasses.replace(fit.model.sample, asv_dropout=0.0)
    )
    given = {f"train.{name}": getattr(fit.train, name) for name in ("seed", "threads")}
    given |= {"train.val_fraction": 0.0}
    if part == "unifrac":
        given |= {"loss.nucleotide": 0.0}
    made = dataclasses.replace(pretraining(), model=model).replace(given | row.pretraining)
    return of_steps(made, steps or STEPS[part])


class Encoders:
    """Pretrained encoders, each made once in a process, and what it cost."""

    def __init__(self):
        self.made: dict[str, tuple[Model, float]] = {}

    def get(self, part, config, start, name, data, ids) -> tuple[Model, float]:
        """An encoder, going on from ``start``, and the CPU seconds of this part of it.

        Parameters
        ----------
        part : str
            Of `STEPS`.
        config : Config
        start : Model or None
        name : str
            The study that is to be predicted.
        data : Path
        ids : tuple of str
            Its samples that may be seen (without labels); () where none is.
        """
        came = None if start is None else start.run["benchmark"]
        where = None if part == "v4" else STUDIES[name].folder
        what = [part, config.to_dict(), came, where, name if ids else None, ids]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()
        if key not in self.made:
            before = cpu_seconds()
            if part == "v4":
                model = pretrain_nucleotides(corpus(data), config=config)
            elif part == "unifrac":
                model = pretrain(load(name, data).select(ids), config=config, encoder=start)
            else:
                model = pretrain(load(OTHER[where], data), config=config, encoder=start)
            model.run["benchmark"] = key
            self.made[key] = model, cpu_seconds() - before
        return self.made[key]


ENCODERS = Encoders()
"""Of this process."""


@functools.cache
def corpus(data: Path) -> list[str]:
    """Some of the sequences without samples, drawn by seed."""
    with gzip.open(data / CORPUS, "rt", encoding="ascii") as file:
        lines = file.read().split()
    chosen = np.random.default_rng(SEED).choice(len(lines), DRAWN, replace=False)
    return [lines[i] for i in np.sort(chosen)]
