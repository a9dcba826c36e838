"""Across studies: train on most of the studies that share a target, predict the others.

Three targets are shared: the age of adults, a disease or none, and the site of the body. The
studies of a target are divided into three folds, those of a cohort are in one. Inputs are the reads
as they are, or centred within their study; of age, the target may be centred too: then nothing but
the order within a study can be predicted. All are scored within each tested study. A result is
written as soon as it is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import pandas as pd
from across_studies_tables import METHODS, tables
from across_studies_targets import TARGETS, Target
from few_labels_draws import NAMES, tested_with
from few_labels_encoders import Encoders
from few_labels_methods import Setting
from machine import cpu, versions
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import roc_auc_score

from aam_core.baseline import predict_baseline, relative_abundances
from aam_core.data.study import Study
from aam_core.files.writing import replacing, write_json
from aam_core.fitting import FITS
from aam_core.prediction import predict

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "across_studies.json"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- across: begin -->", "<!-- across: end -->"

SEED = 0

TREES = 200

TRAINED = 40
"""Samples of a study that are trained on at most: none is most of what is learned, and networks
take minutes."""

NETWORKS = {"model.members": 6}
"""Changes of the default of AAM: of ten members, which cost more."""

_FEWEST = 0.01
"""Share of the training samples that an ASV of a baseline's inputs is in; it is in two of their
studies at least, as what is known of one study alone says nothing of another."""

_FLOOR = 1e-4
"""Added to abundances before their geometric mean in a study: ASVs that it lacks have one, too."""

_READS = 100_000
"""Reads that the abundances of a centred sample are rounded to."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """Samples of all studies that share a target.

    Attributes
    ----------
    target : Target
    study : Study
        Sequences are cut to one length, so that ASVs of different studies are the same.
    values, source : Series
        By sample id: the target, and the table.
    """

    target: Target
    study: Study
    values: pd.Series
    source: pd.Series

    def sides(self, fold: int) -> tuple[list[str], list[str]]:
        """Training samples, `TRAINED` of a study at most, and those of the studies of the fold."""
        tested = self.source.isin(self.target.folds[fold])
        others = self.source[~tested].sample(frac=1, random_state=SEED)
        train = others.groupby(others).head(TRAINED).index
        return [it for it in self.source.index if it in train], list(self.source.index[tested])

    def learned(self, train: list[str], centred: bool) -> pd.Series:
        """Values of the training samples, or these less the mean of their study."""
        values = self.values.loc[train]
        if not centred:
            return values
        return values - values.groupby(self.source.loc[train]).transform("mean")

    def common(self, train: list[str]) -> Study:
        """The study with the ASVs that are common enough in the training samples."""
        place = pd.Series(np.arange(len(self.source)), self.source.index)
        there = self.study.counts[place[train]] > 0
        studies = sum(
            (there[(self.source.loc[train] == name).to_numpy()].getnnz(axis=0) > 0).astype(int)
            for name in self.source.loc[train].unique()
        )
        kept = (there.getnnz(axis=0) >= _FEWEST * len(train)) & (studies >= 2)
        return of_features(self.study, np.flatnonzero(kept))


def of_features(study: Study, kept: np.ndarray) -> Study:
    """The study with some of its ASVs."""
    return dataclasses.replace(
        study,
        feature_ids=[study.feature_ids[i] for i in kept],
        sequences=[study.sequences[i] for i in kept],
        counts=study.counts[:, kept],
    )


def centred(study: Study, source: pd.Series, train: list[str]) -> Study:
    """The study with abundances centred within each of the studies that it is of.

    Each abundance times the ratio of the ASV's geometric mean over the training studies to that in
    the sample's own study, closed again (a perturbation; Aitchison 1982, J. R. Stat. Soc. B 44:
    139-177). Of the tested study its own mean is taken, which needs no label. What a sample does
    not have, it still does not have.
    """
    shares = relative_abundances(study.counts).tocsr()
    names = source.loc[study.sample_ids].to_numpy()
    logs = {}
    for name in np.unique(names):
        own = shares[names == name]
        floor = own.copy()
        floor.data = np.log1p(own.data / _FLOOR)
        logs[name] = np.asarray(floor.mean(axis=0)).ravel() + np.log(_FLOOR)
    grand = np.mean([logs[name] for name in source.loc[train].unique()], axis=0)
    moved = shares.copy()
    rows = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    for name, own in logs.items():
        of_study = names[rows] == name
        columns = shares.indices[of_study]
        moved.data[of_study] *= np.exp(grand[columns] - own[columns])
    counts = relative_abundances(moved).tocsr()
    counts.data = np.maximum(np.round(counts.data * _READS), 1)
    return dataclasses.replace(study, counts=counts.astype(study.counts.dtype))


def forest(study: Study, values: pd.Series, test: list[str], samples: Pooled) -> pd.DataFrame:
    """Predictions of a random forest.

    Of numbers a split tries a tenth of the ASVs: all of them, as by default, take ten times as
    long.
    """
    shares = relative_abundances(study.counts)
    place = pd.Series(np.arange(len(study)), study.sample_ids)
    learned, unseen = shares[place[values.index]].toarray(), shares[place[test]].toarray()
    if samples.target.task == "regression":
        trees = RandomForestRegressor(TREES, max_features=0.1, random_state=SEED)
        return pd.DataFrame({"prediction": trees.fit(learned, values).predict(unseen)}, test)
    trees = RandomForestClassifier(TREES, random_state=SEED).fit(learned, values)
    frame = pd.DataFrame(trees.predict_proba(unseen), test, trees.classes_)
    return frame.assign(prediction=frame.idxmax(axis=1))


def linear(study: Study, values: pd.Series, test: list[str], samples: Pooled) -> pd.DataFrame:
    """Predictions of ridge or logistic regression on the centred log-ratio."""
    truth = samples.values.astype(object if samples.target.task == "classification" else float)
    truth = truth.copy()
    truth.loc[values.index] = values
    return predict_baseline(
        *("linear", study, list(values.index), test, truth),
        task=samples.target.task,
        seed=SEED,
        groups=samples.source,
        threads=1,
    )


BASELINES = {"forest": forest, "linear": linear}


def measure(
    method: str, samples: Pooled, fold: int, encoder: Path | None = None
) -> dict[str, dict[str, Any]]:
    """What a method gives on the studies of a fold, none of which it was trained on.

    Returns
    -------
    dict
        By study: ``score``, of numbers also ``mae`` where they are predicted; samples, CPU seconds
        of the whole fold, date.
    """
    kind, *changes = method.split("-")
    train, test = samples.sides(fold)
    values = samples.learned(train, "target" in changes)
    groups, task = samples.source.loc[train], samples.target.task
    start = time.process_time()
    if kind == "median":
        frame = pd.DataFrame({"prediction": samples.values.loc[train].median()}, test)
    elif kind in BASELINES:
        study = samples.common(train)
        if "inputs" in changes:
            study = centred(study, samples.source, train)
        frame = BASELINES[kind](study, values, test, samples)
    else:
        study = samples.study
        if "inputs" in changes:
            study = centred(study, samples.source, train)
        config = Setting(NETWORKS).config(encoder=encoder is not None).replace({"train.seed": SEED})
        model = FITS[task](
            study.select(train), values, group_by=groups, encoder=encoder, config=config
        )
        frame = predict(model, study.select(test))
    common = {
        "cpu_s": round(time.process_time() - start, 2),
        "train": len(train),
        "date": date.today().isoformat(),
    }
    with_error = task == "regression" and "target" not in changes
    return {
        name: scored(frame.loc[own.index], own, samples.target, with_error) | common
        for name, own in samples.values.loc[test].groupby(samples.source.loc[test])
    }


def scored(
    frame: pd.DataFrame, truth: pd.Series, target: Target, with_error: bool
) -> dict[str, Any]:
    """The score of a study's samples: see `Target.measure`."""
    result: dict[str, Any] = {"test": len(truth)}
    if target.measure == "spearman":
        predicted = frame["prediction"].astype(float)
        if predicted.nunique() > 1:
            result["score"] = float(spearmanr(predicted, truth).statistic)
        if with_error:
            result["mae"] = float((predicted - truth).abs().mean())
    elif target.measure == "auc":
        positive = truth == target.positive
        result["score"] = float(roc_auc_score(positive, frame[target.positive]))
    else:
        # Of each class that the study has: predictions of others are wrong, not classes.
        right = frame["prediction"].astype(str) == truth
        result["score"] = float(right.groupby(truth).mean().mean())
    return result


# --- output --------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, dict[str, dict[str, dict]]]:
    """Target -> study -> method -> result."""
    return json.loads(path.read_text("utf-8"))["targets"] if path.exists() else {}


def write(path: Path, results: Mapping) -> None:
    """All results, as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        write_json(file, {"machine": cpu() | versions(), "targets": results})


def write_docs(results: Mapping, docs: Path) -> None:
    """Renew the tables between the markers."""
    before, rest = docs.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with replacing(docs) as file:
        file.write_text(f"{before}{BEGIN}\n{tables(results)}\n{END}{after}", encoding="utf-8")


def encoder_of(folder: Path, corpus: Path, fold: int) -> Path:
    """The encoder that the benchmark of few labels tests a third of its studies with."""
    return Encoders(folder, corpus).path(tested_with(NAMES[fold]))


def main() -> None:
    """Measure what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=DATA / "corpus", help="Folder of studies.")
    parser.add_argument("--target", choices=TARGETS, action="append", help="Repeatable; else all.")
    parser.add_argument("--method", choices=METHODS, action="append", help="Repeatable; else all.")
    parser.add_argument(
        "--encoders", type=Path, help="Folder of those of few_labels.py: needed by 'pretrained'."
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    parser.add_argument("--tables", action="store_true", help="Measure nothing: tables alone.")
    args = parser.parse_args()
    methods = args.method or [m for m in METHODS if m != "pretrained" or args.encoders]
    if "pretrained" in methods and not args.encoders:
        parser.error("'pretrained' needs --encoders")
    pooled: dict[str, Pooled] = {}
    work = [] if args.tables else itertools.product(methods, args.target or TARGETS, range(3))
    for method, name, fold in work:
        target = TARGETS[name]
        there = read(args.output).get(name, {})
        tested = target.folds[fold]
        if method == "pretrained":
            tested = [table for table in tested if table in tested_with(NAMES[fold])]
        known = all(method in there.get(table, {}) for table in tested)
        if known or method not in target.methods:
            continue
        if name not in pooled:
            study, values, source = target.load(args.corpus)
            pooled[name] = Pooled(target, study, values, source)
        encoder = None
        if method == "pretrained":
            encoder = encoder_of(args.encoders, args.corpus, fold)
        measured = measure(method, pooled[name], fold, encoder)
        results = read(args.output)
        of_target = results.setdefault(name, {})
        for table in tested:
            of_target[table] = of_target.get(table, {}) | {method: measured[table]}
        write(args.output, results)
        print(method, name, fold, measured, flush=True)
    if not args.no_docs:
        write_docs(read(args.output), DOCS)
    print(tables(read(args.output)))


if __name__ == "__main__":
    main()
