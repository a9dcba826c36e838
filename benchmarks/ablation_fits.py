"""The fits of the ablations: training samples, pretrained encoders and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from ablation_encoders import CORPUS, ENCODERS, OTHER, load, pretraining_config
from ablation_rows import Row, fit_config
from accuracy import cpu_seconds
from accuracy_studies import STUDIES, SUBJECT
from machine import peak_rss

from aam_core import fit_classifier, fit_regressor, predict
from aam_core.baseline import baseline_forest
from aam_core.data.splits import make_folds
from aam_core.data.study import Study
from aam_core.tasks import task_named

FOLDS = 5


@dataclass
class Run:
    """A cross-validation of a row with one seed.

    Attributes
    ----------
    predictions : DataFrame
        In the order of the study's samples: ``actual``, ``prediction``, and a column per class.
    samples, subjects : float
        Mean number of training samples and of their subjects over the folds.
    cpu_s, pretraining_cpu_s : float
        CPU seconds of fits and predictions, and of the encoders that they start from; one that
        several folds share counts once.
    peak_gb : float
        Peak memory of the process so far.
    """

    predictions: pd.DataFrame
    samples: float
    subjects: float
    cpu_s: float
    pretraining_cpu_s: float
    peak_gb: float = 0.0


def folds(name: str, study: Study, seed: int) -> list[tuple[list[str], list[str]]]:
    """The folds of `aam_core.cross_validate`: (train_ids, test_ids)."""
    source = STUDIES[name]
    strata = task_named(source.task).strata(study.metadata[source.target])
    groups = study.metadata[SUBJECT]
    return make_folds(study.sample_ids, folds=FOLDS, seed=seed, groups=groups, strata=strata)


def draw(
    ids: Sequence[str],
    subject: pd.Series,
    classes: pd.Series | None,
    rng: np.random.Generator,
    *,
    samples: int | None = None,
    subjects: int | None = None,
) -> list[str]:
    """Samples of whole subjects: of ``subjects`` of them, or until ``samples`` are reached.

    Parameters
    ----------
    ids : sequence of str
        Samples to draw from; those drawn keep their order.
    subject, classes : Series
        By sample id. Each class keeps its share of the subjects (by their first sample's class).
    rng : Generator
        A larger draw with the same state contains the smaller one.
    """
    own = subject.loc[list(ids)]
    names = rng.permutation(np.unique(own.to_numpy()))
    if classes is not None:
        first = classes.loc[list(ids)].groupby(own.to_numpy()).first().astype(str)
        kind = first.loc[names]
        turn = kind.groupby(kind.to_numpy()).cumcount() + 0.5
        names = names[np.argsort(turn / kind.map(kind.value_counts()), kind="stable")]
    reached = own.value_counts().loc[names].cumsum().to_numpy()
    if subjects is not None:
        names = names[:subjects]
    if samples is not None:
        names = names[: np.searchsorted(reached, samples) + 1]
    chosen = set(names)
    return [name for name in ids if own[name] in chosen]


def too_few_samples(row: Row, name: str, study: Study, seed: int = 0) -> bool:
    """Whether the training samples of some fold are too few for the row."""
    if row.samples is None and row.subjects is None:
        return False
    sides = [study.metadata[SUBJECT].loc[train] for train, _ in folds(name, study, seed)]
    samples, subjects = min(map(len, sides)), min(side.nunique() for side in sides)
    return (row.samples or 0) >= samples or (row.subjects or 0) >= subjects


def cross_validate_row(
    row: Row, name: str, data: Path, seed: int, threads: int, steps: int | None = None
) -> Run:
    """Out-of-fold predictions of every sample of a study by the fits, or forests, of a row."""
    study, source = load(name, data), STUDIES[name]
    values, subject = study.metadata[source.target], study.metadata[SUBJECT]
    classes = task_named(source.task).strata(values)
    size = {"samples": row.samples, "subjects": row.subjects}
    config = fit_config(row, seed, threads, steps)
    fit = fit_regressor if classes is None else fit_classifier
    frames, sizes, spent, costs = [], [], 0.0, {}
    for number, (train, test) in enumerate(folds(name, study, seed)):
        train = draw(train, subject, classes, np.random.default_rng([seed, number]), **size)
        sizes.append((len(train), subject.loc[train].nunique()))
        encoder = None
        for part in () if row.is_forest else row.parts:
            # Other parts of the pretraining see no sample of this study.
            settings = pretraining_config(row, part, config, steps)
            ids = tuple(train) if part == "unifrac" else ()
            encoder, cost = ENCODERS.get(part, settings, encoder, name, data, ids)
            costs[encoder.run["benchmark"]] = cost
        start = cpu_seconds()
        if row.is_forest:
            frames.append(baseline_forest(study, train, test, values, source.task, seed))
        else:
            label = f"{name}, {row.name}, fold {number + 1}/{FOLDS}"
            options = {"encoder": encoder, "freeze_encoder": row.frozen, "label": label}
            side = study.select(train)
            model = fit(side, values.loc[train], group_by=SUBJECT, config=config, **options)
            frames.append(predict(model, study.select(test)))
        spent += cpu_seconds() - start
    table = joined(frames, values, source.task)
    samples, subjects = (float(each) for each in np.mean(sizes, axis=0))
    return Run(table, samples, subjects, spent, sum(costs.values()), peak_rss() / 1e9)


def joined(frames: list[pd.DataFrame], values: pd.Series, task: str) -> pd.DataFrame:
    """The folds' predictions as one table in the order of ``values``, with the actual values."""
    fitted = task_named(task).fit(values)
    table = pd.concat(frames).loc[values.index].reindex(columns=list(fitted.columns()))
    # A class that was not among the training samples of a fold has probability 0 there.
    return table.fillna(dict.fromkeys(fitted.classes, 0.0)).assign(actual=fitted.read(values))


def missing_data(row: Row, name: str, data: Path) -> str:
    """What a row needs that a study lacks; empty where the row can be run."""
    source = STUDIES[name]
    other = OTHER.get(source.folder)
    if row.task not in (None, source.task):
        return f"a {row.task}"
    if not row.even and name == "ibd-rarefied":
        return "samples of different depth"
    if row.tree or "unifrac" in row.parts:
        if source.folder is None or not (data / source.folder / "tree.nwk").is_file():
            return "a tree"
    if "v4" in row.parts and not (data / CORPUS).is_file():
        return CORPUS
    if "other" in row.parts and (other is None or not (data / other).is_dir()):
        return "another study"
    return ""
