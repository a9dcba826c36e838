"""What studies of the corpus share: the targets of the benchmark across studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy_corpus_studies import pooled

from aam_core.data.study import Study, load_study

__all__ = ["MOST", "TARGETS", "Target"]

MOST = 100
"""Samples of a study at most, drawn by seed."""

SEED = 0

_READS = 500
"""Reads that a sample needs."""

ALL = ""
"""In the place of a column: all samples are of one class."""


@dataclass(frozen=True)
class Target:
    """A target of several studies.

    Attributes
    ----------
    title : str
    task : {"regression", "classification"}
    measure : {"spearman", "auc", "recall"}
        Within a study: Spearman's correlation, the area under the ROC curve of ``positive``, or the
        mean recall of its classes (balanced accuracy; of one class the accuracy).
    chance : float
        What the score is without skill; NaN where it depends on the study.
    tables : dict
        Table -> its column, and what its values are (others are dropped). Of numbers {}: those of
        `span`. Without a column all samples are of the one class.
    folds : sequence of list of str
        Tables that are tested together, on a model of the others; those of a cohort are together,
        and so are, where they can, those of a third of the benchmark of few labels.
    methods : tuple of str
    positive : str
    span : tuple of float
    """

    title: str
    task: str
    measure: str
    chance: float
    tables: Mapping[str, tuple[str, Mapping[str, str]]]
    folds: Sequence[list[str]]
    methods: tuple[str, ...]
    positive: str = ""
    span: tuple[float, float] = field(default=(-np.inf, np.inf))

    def load(self, corpus: Path) -> tuple[Study, pd.Series, pd.Series]:
        """All samples as one study, their values, and their tables."""
        studies, values, tables = [], [], []
        for name in self.tables:
            study, own = self._read(corpus, name)
            studies.append(study)
            values.append(own)
            tables += [name] * len(own)
        every = pd.concat(values).rename("target")
        study = pooled(studies)
        assert every.index.is_unique and list(every.index) == study.sample_ids
        return study, every, pd.Series(tables, every.index, name="study")

    def _read(self, corpus: Path, name: str) -> tuple[Study, pd.Series]:
        column, classes = self.tables[name]
        metadata = pd.read_csv(corpus / f"{name}.tsv", sep="\t", dtype=str, index_col=0)
        metadata.index = metadata.index.astype(str)
        study = load_study(corpus / f"{name}.biom", metadata=metadata)
        deep = np.asarray(study.counts.sum(axis=1)).ravel() >= _READS
        study = study.select([it for it, keep in zip(study.sample_ids, deep, strict=True) if keep])
        if column == ALL:
            (only,) = classes.values()
            values = pd.Series(only, study.sample_ids)
        elif self.task == "regression":
            numbers = pd.to_numeric(study.metadata[column], errors="coerce").astype(float)
            values = numbers[numbers.between(*self.span)]
        else:
            values = study.metadata[column].map(dict(classes)).dropna().astype(str)
        if len(values) > MOST:
            drawn = np.random.default_rng(SEED).choice(len(values), MOST, replace=False)
            values = values.iloc[np.sort(drawn)]
        return study.select(list(values.index)), values.rename("target")


MS, PARKINSON = "micb475-team3-ms-table", "micb475-team8-project2-feature-table"
COLOMBIA, TANZANIA = "micb475-aim1qiime2data-table", "micb475-tanz-col-export-feature-table"
HIV, HAART = (
    "micb475-team8-table-export-feature-table",
    "team-2-micb-475-2026-table-export-feature-table",
)
STOMACH, CRC = "micb475-team6-exports-table-223", "crc-udca2-data-table"
AGP, BLOOM = "agp-mental-health-qiime2-analysis-feature-table", "bloom-analyses-erc-qiita-1481"
BROCCOLI = "broccoli-sprouts-multiomics-data-seqtab-nochim"
FATIGUE, PANCREAS = (
    "dbbact-paper-chronic-fatigue-syndrome-all",
    "dbbact-paper-pancreatitis-all-pancreatitis",
)
SMOKERS, CLASSO = "micb475-25w1-team-10-project-2-team-10-table", "q2-classo-data-table"
SALIVA, ORAL = (
    "saliva-quantification-study-smds-filtered-table",
    "oral-microbiome-16s-feature-table",
)
CHINA, ISRAEL = "source-source-china-deblur-map-svs-1", "source-source-israel-deblur-map-svs-1"
RBD = "pd-with-or-without-premotor-rbd-gut-microbiome-16s"
PALMS, TMI = "dbbact-paper-moving-pictures-all", "q2-mislabeled-tmi-problematic-biom"
ACNE = "acne-longitudinal-microbiome-174951-feature-table-16s-v4-rar"

_BOTH = ("forest", "forest-inputs", "linear", "linear-inputs", "scratch", "scratch-inputs")
_CENTRED = ("forest-target", "forest-inputs-target", "linear-target", "linear-inputs-target")


def _sick(column: str, disease: str, *controls: str) -> tuple[str, dict[str, str]]:
    return column, {disease: "disease"} | dict.fromkeys(controls, "control")


_CHINA = ("China urban", "China rural", "China rural-urban")

TARGETS = {
    "age": Target(
        "Age of adults",
        "regression",
        "spearman",
        0.0,
        {
            **{AGP: ("age_years", {}), BLOOM: ("age", {}), BROCCOLI: ("age", {})},
            **{CRC: ("host_age", {}), FATIGUE: ("Age", {}), SMOKERS: ("Age", {})},
            **{COLOMBIA: ("age_years", {}), TANZANIA: ("age_years", {}), MS: ("age", {})},
            **{STOMACH: ("Age", {}), PARKINSON: ("Age", {}), HIV: ("host_age", {})},
            **{CLASSO: ("host_age", {}), SALIVA: ("age", {}), HAART: ("Visit_Age", {})},
        },
        (
            [MS, COLOMBIA, TANZANIA, HAART, BLOOM],
            [PARKINSON, CRC, BROCCOLI, FATIGUE, CLASSO],
            [STOMACH, HIV, AGP, SMOKERS, SALIVA],
        ),
        ("median", *_BOTH, *_CENTRED, "scratch-target", "pretrained"),
        span=(18, 100),
    ),
    "disease": Target(
        "A disease or none",
        "classification",
        "auc",
        0.5,
        {
            MS: _sick("disease", "MS", "Control"),
            PARKINSON: _sick("Disease", "PD", "Control"),
            RBD: _sick("PD", "PD", "HC"),
            FATIGUE: _sick("Subject", "Patient", "Control"),
            PANCREAS: _sick("dx", "pancreatitis", "healthy"),
            CHINA: _sick("Patient_group", "China CD", *_CHINA),
            ISRAEL: _sick("Patient_group", "Israeli_Crohns", "Israeli_healthy"),
            HIV: _sick("hiv_status_clean", "HIV+", "HIV-"),
            COLOMBIA: _sick("Cardiometabolic_status", "Abnormal", "Healthy"),
        },
        ([MS, COLOMBIA, FATIGUE], [PARKINSON, CHINA, ISRAEL], [HIV, RBD, PANCREAS]),
        (*_BOTH, "pretrained"),
        positive="disease",
    ),
    "site": Target(
        "Site of the body: gut, mouth or skin",
        "classification",
        "recall",
        np.nan,
        {
            PALMS: ("sample_type", {"stool": "gut", "skin": "skin"}),
            TMI: (
                "host_body_habitat",
                {"UBERON:feces": "gut", "UBERON:oral cavity": "mouth", "UBERON:skin": "skin"},
            ),
            SMOKERS: (
                "SampleType",
                {"Feces": "gut", "Buccal Swab": "mouth", "Saliva": "mouth"},
            ),
            AGP: (ALL, {ALL: "gut"}),
            SALIVA: (ALL, {ALL: "mouth"}),
            ORAL: (ALL, {ALL: "mouth"}),
            ACNE: (ALL, {ALL: "skin"}),
        },
        ([PALMS, ORAL], [TMI, ACNE], [SMOKERS, SALIVA, AGP]),
        _BOTH,
    ),
}
"""By name. Ages are of 18 to 100 years, of tables whose ages have a standard deviation of five at
least; one is of the stomach, one of saliva, in one some samples are of the mouth, the others are of
stool. All with a disease or none are of stool. Two of the tables with body sites have several in
one person's study, the others one site alone."""
