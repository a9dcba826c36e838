"""The age of adults across studies: train on all studies but one, predict that one.

Inputs of the forest are logarithms of abundances, as they are or less the mean of their study; the
target is the age, or the age less the mean of its study. Of a centred target nothing but the order
within a study can be predicted: all are compared by Spearman's correlation within the tested study.
The mean absolute error is beside it where ages are predicted. A result is written as soon as it is
there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import pandas as pd
from accuracy_corpus_studies import CorpusSource, pooled
from few_labels_encoders import Encoders
from few_labels_methods import Setting
from machine import cpu, versions
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

from aam_core.baseline import relative_abundances
from aam_core.data.study import Study
from aam_core.files.writing import replacing, write_json
from aam_core.fitting import fit_regressor
from aam_core.prediction import predict
from aam_core.statistics import bootstrap, paired_test

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "across_studies.json"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- across: begin -->", "<!-- across: end -->"

MOST = 150
"""Samples of a study at most, drawn by seed: none is most of what is learned."""

SEED = 0

TREES = 200

AGES = {
    "agp-mental-health-qiime2-analysis-feature-table": "age_years",
    "bloom-analyses-erc-qiita-1481": "age",
    "broccoli-sprouts-multiomics-data-seqtab-nochim": "age",
    "crc-udca2-data-table": "host_age",
    "dbbact-paper-chronic-fatigue-syndrome-all": "Age",
    "micb475-25w1-team-10-project-2-team-10-table": "Age",
    "micb475-aim1qiime2data-table": "age_years",
    "micb475-tanz-col-export-feature-table": "age_years",
    "micb475-team3-ms-table": "age",
    "micb475-team6-exports-table-223": "Age",
    "micb475-team8-project2-feature-table": "Age",
    "micb475-team8-table-export-feature-table": "host_age",
    "q2-classo-data-table": "host_age",
    "saliva-quantification-study-smds-filtered-table": "age",
    "team-2-micb-475-2026-table-export-feature-table": "Visit_Age",
}
"""Tables whose samples are of adults (18 to 100 years) of known age, with a standard deviation of
five years at least, and the column. One is of the stomach, one of saliva, in one some samples are
of the mouth; the others are of stool."""

COHORTS = ({"micb475-aim1qiime2data-table", "micb475-tanz-col-export-feature-table"},)
"""Tables that are not trained on where another one of theirs is tested."""

_FEWEST = 0.01
"""Share of the training samples that an ASV of the forest's inputs is in; it is in two of their
studies at least, as what is known of one study alone says nothing of another."""

_SHARE = 1e-4
"""Abundance below which the logarithm of the inputs is nearly linear, as in `aam_core.baseline`."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """Samples of all studies.

    Attributes
    ----------
    study : Study
        Sequences are cut to one length, so that ASVs of different studies are the same.
    ages, source : Series
        By sample id: years, and the table.
    """

    study: Study
    ages: pd.Series
    source: pd.Series

    @classmethod
    def load(cls, corpus: Path) -> Pooled:
        """All tables of `AGES`."""
        loaded = {}
        for name, column in AGES.items():
            source = CorpusSource(name, name, column, span=(18, 100), most=MOST)
            loaded[name] = source.load(corpus)
        ages = pd.concat(one.values.rename("age") for one in loaded.values())
        tables = np.repeat(list(loaded), [len(one.values) for one in loaded.values()])
        study = pooled([one.study for one in loaded.values()])
        assert ages.index.is_unique and list(ages.index) == study.sample_ids
        return cls(study, ages, pd.Series(tables, ages.index, name="study"))

    def sides(self, tested: str) -> tuple[list[str], list[str]]:
        """Training samples, of no study of the cohort of the tested one, and test samples."""
        cohort = next((each for each in COHORTS if tested in each), {tested})
        train = self.source.index[~self.source.isin(cohort)]
        return list(train), list(self.source.index[self.source == tested])

    def target(self, samples: list[str], centred: bool) -> pd.Series:
        """Ages, or ages less the mean of their study."""
        ages = self.ages.loc[samples]
        return ages - ages.groupby(self.source.loc[samples]).transform("mean") if centred else ages

    def log_abundances(self, train: list[str]) -> pd.DataFrame:
        """``[N, F]`` float32 of all samples; ASVs that are common enough in the training ones."""
        place = pd.Series(np.arange(len(self.ages)), self.ages.index)
        there = self.study.counts[place[train]] > 0
        tables, codes = np.unique(self.source.loc[train], return_inverse=True)
        member = csr_matrix((np.ones(len(train)), (codes, np.arange(len(train)))))
        studies = ((member @ there) > 0).sum(axis=0)
        common = (there.getnnz(axis=0) >= _FEWEST * len(train)) & (np.ravel(studies) >= 2)
        shares = relative_abundances(self.study.counts)[:, np.flatnonzero(common)]
        logs = np.log1p(shares.toarray() / _SHARE).astype(np.float32)
        return pd.DataFrame(logs, self.ages.index)


def forest(
    all_samples: Pooled, train: list[str], test: list[str], inputs: bool, target: bool
) -> pd.Series:
    """Predictions of a random forest; inputs and target each centred or not.

    The tested study's inputs are centred by its own mean: no label is needed for it.
    """
    features = all_samples.log_abundances(train)
    if inputs:
        features = features - features.groupby(all_samples.source).transform("mean")
    estimator = RandomForestRegressor(TREES, max_features=0.1, random_state=SEED, n_jobs=1)
    estimator.fit(features.loc[train].to_numpy(), all_samples.target(train, target))
    return pd.Series(estimator.predict(features.loc[test].to_numpy()), test)


def network(
    all_samples: Pooled,
    train: list[str],
    test: list[str],
    encoder: Path | None,
    target: bool,
) -> pd.Series:
    """Predictions of AAM, held-out samples of which are whole studies."""
    study = all_samples.study
    model = fit_regressor(
        study.select(train),
        all_samples.target(train, target),
        group_by=all_samples.source.loc[train],
        encoder=encoder,
        config=Setting().config(encoder=encoder is not None),
    )
    return predict(model, study.select(test))["prediction"]


METHODS = {
    "median": "median of the other studies",
    "forest": "random forest",
    "forest-inputs": "the same, inputs centred",
    "forest-target": "the same, target centred",
    "forest-both": "the same, both centred",
    "scratch": "AAM from scratch",
    "scratch-target": "the same, target centred",
    "pretrained": "AAM with the encoder",
    "pretrained-target": "the same, target centred",
}


def measure(method: str, all_samples: Pooled, tested: str, encoder: Path | None) -> dict[str, Any]:
    """Errors of a method on a study that it was not trained on."""
    train, test = all_samples.sides(tested)
    kind, _, centred = method.partition("-")
    target = centred in ("target", "both")
    start = time.process_time()
    if kind == "median":
        predicted = pd.Series(all_samples.ages.loc[train].median(), test)
    elif kind == "forest":
        predicted = forest(all_samples, train, test, centred in ("inputs", "both"), target)
    else:
        predicted = network(all_samples, train, test, encoder, target)
    truth = all_samples.ages.loc[test]
    result: dict[str, Any] = {"cpu_s": round(time.process_time() - start, 2)}
    if kind != "median":
        result["spearman"] = float(spearmanr(predicted.loc[test], truth).statistic)
    if not target:
        result["mae"] = float((predicted.loc[test] - truth).abs().mean())
    return result | {"train": len(train), "test": len(test), "date": date.today().isoformat()}


# --- output --------------------------------------------------------------------------------------


def table(results: dict[str, dict[str, dict]]) -> str:
    """A Markdown table with a row a method, over the studies."""
    head = ["method", "studies", "Spearman within the study", "above 0", "p"]
    rows = [[*head, "MAE relative to the median", "CPU s"], ["---"] * 7]
    for method, what in METHODS.items():
        there = {name: each[method] for name, each in results.items() if method in each}
        if not there:
            continue
        row = [what, str(len(there))]
        each = np.array([one.get("spearman", np.nan) for one in there.values()])
        if np.isnan(each).all():
            row += ["", "", ""]
        else:
            places = np.arange(len(each))
            low, high = bootstrap(lambda rows, each=each: np.array([each[rows].mean()]), places)
            above, p = paired_test(-each, np.zeros(len(each)), places)
            row += [f"{each.mean():.3f} [{low[0]:.3f}, {high[0]:.3f}]", str(above), f"{p:.2g}"]
        ratios = [
            np.log(one["mae"] / results[name]["median"]["mae"])
            for name, one in there.items()
            if "mae" in one and "median" in results[name]
        ]
        row += [f"{np.exp(np.mean(ratios)):.3f}" if ratios else ""]
        rows.append([*row, f"{np.mean([one['cpu_s'] for one in there.values()]):.3g}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_docs(results: dict, docs: Path) -> None:
    """Renew the table between the markers."""
    before, rest = docs.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with replacing(docs) as file:
        file.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=DATA / "corpus", help="Folder of studies.")
    parser.add_argument("--study", choices=AGES, action="append", help="This one; repeatable.")
    parser.add_argument(
        "--method",
        choices=METHODS,
        action="append",
        help="Repeatable; all but those with an encoder where there is no --encoders.",
    )
    parser.add_argument("--encoders", type=Path, help="Folder; what it lacks is pretrained.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    args = parser.parse_args()
    with_encoder = [name for name in METHODS if name.startswith("pretrained")]
    methods = args.method or [m for m in METHODS if args.encoders or m not in with_encoder]
    if set(methods) & set(with_encoder) and not args.encoders:
        parser.error("methods with an encoder need --encoders")

    def read() -> dict[str, dict[str, dict]]:
        return json.loads(args.output.read_text("utf-8"))["studies"] if args.output.exists() else {}

    all_samples = Pooled.load(args.corpus)
    for method, name in itertools.product(methods, args.study or AGES):
        if method in read().get(name, {}):
            continue
        encoder = None
        if method in with_encoder:
            encoder = Encoders(args.encoders, args.corpus).path(held_out_with(name))
        result = measure(method, all_samples, name, encoder)
        results = read()
        results[name] = results.get(name, {}) | {method: result}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(args.output) as file:
            write_json(file, {"machine": cpu() | versions(), "studies": results})
        if not args.no_docs and args.output == RESULTS:
            write_docs(results, DOCS)
    print(table(read()))


def held_out_with(tested: str) -> list[str]:
    """Tables of a third of the studies, with the tested one: one encoder is for all of them."""
    names = list(AGES)
    same = {name for place, name in enumerate(names) if place % 3 == names.index(tested) % 3}
    for cohort in COHORTS:
        same |= cohort if same & cohort else set()
    return [name for name in names if name in same]


if __name__ == "__main__":
    main()
