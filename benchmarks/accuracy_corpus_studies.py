"""The targets of the corpus benchmark: 25 of 21 public studies that the default was not chosen on.

Taken: columns of biology or of the environment, of at least 150 samples with 500 reads; samples of
one person or animal are in one fold where the metadata tell them apart. Not taken: technical ones
(plates, kits, controls), sites of the body (any method tells them), columns that say the same
again, and columns of fewer than 100 samples. Of a larger table at most `MOST` samples are drawn by
seed, so that the whole benchmark takes hours and not days; the pooled adults keep more.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

from aam_core.data.study import Study, load_study

__all__ = ["MOST", "SOURCES", "CorpusSource", "Loaded", "pooled"]

MOST = 600
"""Samples of a study at most."""

BASES = 100
"""Sequences of pooled studies are cut to this length, at which all of them have bases."""

SEED = 0
"""Of the samples that are drawn."""


@dataclass(frozen=True)
class Loaded:
    """A study with what is predicted and what stays together.

    Attributes
    ----------
    study : Study
    values : Series
        Target by sample id.
    groups : Series or None
    """

    study: Study
    values: pd.Series
    groups: pd.Series | None


@dataclass(frozen=True)
class CorpusSource:
    """A table of the corpus, and a column to predict.

    Attributes
    ----------
    label : str
        The study and its target, for the table.
    table : str or dict
        Name in the corpus; of pooled studies, the name and the target column of each.
    target, task : str
    group : tuple of str
        Columns whose values, together, tell persons or animals apart; () where each has one sample.
    where : tuple of (str, tuple of str)
        Samples taken: those whose column has one of the values; ("", ()): all.
    most : int
        Samples at most.
    span : tuple of (float, float)
        Numbers outside are dropped.
    """

    label: str
    table: str | dict[str, str]
    target: str
    task: str = "regression"
    group: tuple[str, ...] = ()
    where: tuple[str, tuple[str, ...]] = ("", ())
    most: int = MOST
    span: tuple[float, float] = (-np.inf, np.inf)

    def load(self, corpus: Path) -> Loaded:
        """The samples with a value, of a folder with tables and metadata."""
        if isinstance(self.table, dict):
            parts = [_read(corpus, name, column) for name, column in self.table.items()]
            study, values = pooled([part[0] for part in parts]), pd.concat(p[1] for p in parts)
            groups = None
        else:
            study, values = _read(corpus, self.table, self.target)
            column, wanted = self.where
            if column:
                values = values[study.metadata.loc[values.index, column].isin(wanted)]
            groups = None
            if self.group:
                columns = study.metadata.loc[values.index, list(self.group)].astype(str)
                groups = columns.agg("|".join, axis=1)
        if self.task == "regression":
            numbers = pd.to_numeric(values, errors="coerce").astype(float)
            values = numbers[numbers.between(*self.span)].rename(self.target)
        else:
            values = values.astype(str).rename(self.target)
        if len(values) > self.most:
            drawn = np.random.default_rng(SEED).choice(len(values), self.most, replace=False)
            values = values.iloc[np.sort(drawn)]
        study = _compact(study.select(list(values.index)))
        return Loaded(study, values, None if groups is None else groups.loc[values.index])


def _read(corpus: Path, name: str, column: str) -> tuple[Study, pd.Series]:
    """A table with its metadata, and the values of a column that are there."""
    metadata = pd.read_csv(corpus / f"{name}.tsv", sep="\t", dtype=str, index_col=0)
    metadata.index = metadata.index.astype(str)
    study = load_study(corpus / f"{name}.biom", metadata=metadata)
    return study, study.metadata[column].dropna()


def pooled(studies: list[Study]) -> Study:
    """Several studies as one, matched by the first bases of their sequences."""
    place: dict[str, int] = {}
    for study in studies:
        for dna in study.sequences:
            place.setdefault(dna[:BASES], len(place))
    counts = []
    for study in studies:
        to = np.array([place[dna[:BASES]] for dna in study.sequences])
        part = study.counts.tocoo()
        entries = (part.data, (part.row, to[part.col]))
        counts.append(csr_matrix(entries, shape=(part.shape[0], len(place))))
    names = [name for study in studies for name in study.sample_ids]
    return dataclasses.replace(
        studies[0],
        sample_ids=names,
        feature_ids=list(place),
        sequences=list(place),
        counts=vstack(counts, format="csr"),
        metadata=pd.DataFrame(index=pd.Index(names, name="sample-id")),
    )


def _compact(study: Study) -> Study:
    """The study without the features that no sample has."""
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    return dataclasses.replace(
        study,
        feature_ids=[study.feature_ids[i] for i in present],
        sequences=[study.sequences[i] for i in present],
        counts=study.counts[:, present],
    )


CLASSES = "classification"
MS, HIV = "micb475-team3-ms-table", "micb475-team8-table-export-feature-table"
CRC, COLOMBIA = "crc-udca2-data-table", "micb475-aim1qiime2data-table"
TANZANIA, PARKINSON = (
    "micb475-tanz-col-export-feature-table",
    "micb475-team8-project2-feature-table",
)
AGP = "agp-mental-health-qiime2-analysis-feature-table"
HAART = "team-2-micb-475-2026-table-export-feature-table"

SOURCES = {
    "tanzania-age": CorpusSource("adults of two countries: age", TANZANIA, "age_years"),
    "mice-age": CorpusSource(
        "mice: age in days",
        "micb475-team6-export-feature-frequency-filtered-table",
        "Age.Days",
        group=("Host",),
    ),
    "parkinson": CorpusSource("Parkinson's or control", PARKINSON, "Disease", CLASSES),
    "helicobacter": CorpusSource(
        "stomach: Helicobacter by breath test",
        "micb475-team6-exports-table-223",
        "H. pylori status                                 13 C-urea breath test",
        CLASSES,
        group=("Age", "Height (m)", "Weight (kg)", "Blood glucose (mmol/L)"),
    ),
    "ms-age": CorpusSource("adults of MS households: age", MS, "age"),
    "infants-months": CorpusSource(
        "infants: 6 or 12 months",
        "micb475-project2-files-from-processing-feature-table",
        "age_months",
        CLASSES,
    ),
    "hypoxia-mice-age": CorpusSource(
        "16 mice: age in weeks", "qurro-qiita-10422-table", "age", group=("mouse_number",)
    ),
    "colombia-age": CorpusSource("adults of Colombia: age", COLOMBIA, "age_years"),
    "fish-fed": CorpusSource(
        "fish: fed or starved", "fishguts-ps", "FedStarved", CLASSES, where=("Group", ("Fish",))
    ),
    "frogs-mass": CorpusSource(
        "frogs' skin: mass",
        "serdp-analysis-serdp-novi-rarefied-table-4600",
        "Mass_of_animal_g",
        group=("DOY", "Collect_Site"),
    ),
    "fat-mice-age": CorpusSource(
        "mice of several diets: age", "multiomic-cooccurrences-hfd-microbes", "age"
    ),
    "fat-mice-diet": CorpusSource(
        "mice: diet", "multiomic-cooccurrences-hfd-microbes", "diet", CLASSES
    ),
    "cheese-ph": CorpusSource("cheese: pH", "decomposition-benchmarks-cheese-final", "pH"),
    "hiv": CorpusSource(
        "adults: HIV",
        HIV,
        "hiv_status_clean",
        CLASSES,
        where=("hiv_status_clean", ("HIV+", "HIV-")),
    ),
    "hiv-age": CorpusSource("adults with and without HIV: age", HIV, "host_age"),
    "zimbabwe-hiv": CorpusSource("adults and HIV, by cohort", HAART, "Cohort_Short", CLASSES),
    "polyps-age": CorpusSource(
        "adults with polyps: age", CRC, "host_age", where=("visit", ("pre",))
    ),
    "parkinson-rbd": CorpusSource(
        "Parkinson's or control, second study",
        "pd-with-or-without-premotor-rbd-gut-microbiome-16s",
        "PD",
        CLASSES,
    ),
    "acne-ph": CorpusSource(
        "17 persons' skin: pH",
        "acne-longitudinal-microbiome-174951-feature-table-16s-v4-rar",
        "skin_ph_meter_ph_mean_forehead_right",
        group=("subject_randomization_number",),
    ),
    "china-group": CorpusSource(
        "adults of China: town, country or Crohn's",
        "source-source-china-deblur-map-svs-1",
        "Patient_group",
        CLASSES,
    ),
    "ms-site": CorpusSource("adults of MS households: city", MS, "site_x", CLASSES),
    "agp-age": CorpusSource("adults of a citizens' project: age", AGP, "age_years"),
    "captive": CorpusSource(
        "mammals: captive or wild",
        "micb475-group5-preprocessing-feature-table",
        "captive_wild",
        CLASSES,
    ),
    "mackerel-sea": CorpusSource(
        "mackerel: temperature of the sea",
        "qurro-mackerel-analysis-output-table-unfiltered",
        "water_temp_c",
        group=("month", "day"),
    ),
    "adults-age": CorpusSource(
        "adults of eight studies: age, cut to 100 bases",
        {
            MS: "age",
            HIV: "host_age",
            CRC: "host_age",
            COLOMBIA: "age_years",
            PARKINSON: "Age",
            HAART: "Visit_Age",
            TANZANIA: "age_years",
            AGP: "age_years",
        },
        "age",
        most=2500,
        span=(18, 100),
    ),
}
"""By name, in the order of the table."""
