"""The studies of the accuracy benchmark: public ones, parts of them, and simulated ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from aam_core.data.columns import as_numbers
from aam_core.data.rarefaction import rarefy, sample_rng
from aam_core.data.study import Study, load_study
from aam_core.simulate.study import simulate

SUBJECT, AGE = "host_subject_id", "day_of_life"
CLASSES = "classification"
METRICS = {"regression": ("mae", "r2"), CLASSES: ("auc", "accuracy")}
"""Metrics of a task in the tables; the first one has the interval."""
MIN_READS = 1000
SEED = 0
"""Seed of the subjects and reads drawn here."""


@dataclass(frozen=True)
class Source:
    """A study and its target.

    Attributes
    ----------
    label : str
        The study and its target, for the table.
    load : callable
        From the folder of the public studies to the study.
    target, task : str
        Metadata column and its task.
    folder : str or None
        Folder of the public study; None for a simulated one.
    quick : bool
        Whether the quick mode has it.
    """

    label: str
    load: Callable[[Path], Study]
    target: str
    task: str = "regression"
    folder: str | None = None
    quick: bool = False


def ecam(data: Path) -> Study:
    """Children of `ecam`."""
    folder = data / "ecam"
    study = load_study(
        folder / "table.biom",
        sequences=folder / "rep-seqs.fasta",
        metadata=folder / "metadata.tsv",
        where="mom_child=C",
    )
    # Subjects are drawn by their order as numbers.
    numbers = {name: as_numbers(study.metadata[name]) for name in (SUBJECT, AGE)}
    return dataclasses.replace(study, metadata=study.metadata.assign(**numbers))


def first_days(data: Path, days: int = 180) -> Study:
    """Samples of the children of `ecam` in their first days."""
    study = ecam(data)
    return compact(study.select(study.metadata.index[study.metadata["day_of_life"] < days]))


def few_subjects(data: Path, subjects: int = 12) -> Study:
    """All samples of some children of `ecam`, drawn by seed."""
    study = ecam(data)
    of = study.metadata[SUBJECT]
    chosen = np.random.default_rng(SEED).choice(np.unique(of), subjects, replace=False)
    return compact(study.select(of.index[of.isin(chosen)]))


def ibd(data: Path) -> Study:
    """`ibd`, samples with at least a thousand reads: as with ``data.min_reads=1000``."""
    study = load_study(data / "ibd" / "table.biom", metadata=data / "ibd" / "metadata.tsv")
    reads = np.asarray(study.counts.sum(axis=1)).ravel()
    enough = zip(study.sample_ids, reads, strict=True)
    return study.select([name for name, n in enough if n >= MIN_READS])


def ibd_rarefied(data: Path) -> Study:
    """`ibd`, rarefied to a thousand reads: the sequencing depth predicts nothing any more."""
    study = ibd(data)
    rows = [
        rarefy(counts, MIN_READS, sample_rng(SEED, name, 0))
        for name, counts in zip(study.sample_ids, study.counts.toarray(), strict=True)
    ]
    return compact(dataclasses.replace(study, counts=csr_matrix(np.stack(rows))))


def simulated(samples: int) -> Callable[[Path], Study]:
    """As ``aam simulate --samples`` makes it: 500 ASVs, a subject to every four samples."""

    def load(_: Path) -> Study:
        made = simulate(samples)
        return load_study(made.table, sequences=made.sequences, metadata=made.metadata)

    return load


def compact(study: Study) -> Study:
    """The study without the features that no sample has, as in a table of its own."""
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    return dataclasses.replace(
        study,
        feature_ids=[study.feature_ids[i] for i in present],
        sequences=[study.sequences[i] for i in present],
        counts=study.counts[:, present],
    )


STUDIES = {
    "ecam": Source("`ecam`, children: day of life", ecam, AGE, folder="ecam", quick=True),
    "ibd": Source("`ibd`: Crohn's or control", ibd, "ibd", task=CLASSES, folder="ibd", quick=True),
    "ibd-rarefied": Source(
        "`ibd`, all rarefied to 1,000 reads beforehand",
        ibd_rarefied,
        "ibd",
        task=CLASSES,
        folder="ibd",
        quick=True,
    ),
    "simulated-200": Source("simulated: gradient", simulated(200), "gradient", quick=True),
    "simulated-500": Source("simulated: gradient", simulated(500), "gradient", quick=True),
    "simulated-2000": Source("simulated: gradient", simulated(2000), "gradient"),
    "simulated-500-group": Source(
        "simulated: case or control", simulated(500), "group", task=CLASSES
    ),
    "ecam-180-days": Source(
        "`ecam`, children of under 180 days: day of life", first_days, AGE, folder="ecam"
    ),
    "ecam-12-subjects": Source(
        "`ecam`, 12 children drawn by seed: day of life", few_subjects, AGE, folder="ecam"
    ),
    "ecam-delivery": Source(
        "`ecam`, children: vaginal or cesarean", ecam, "delivery", task=CLASSES, folder="ecam"
    ),
    "ecam-diet": Source(
        "`ecam`, children: breast or formula", ecam, "diet", task=CLASSES, folder="ecam"
    ),
}
