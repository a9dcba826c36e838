"""What a default fit costs: CPU seconds of its parts on studies of three sizes.

Beside it the plain random forest on the same training samples, and the random forest that
q2-sample-classifier fits by default (100 trees). The networks' training is run a second time with
one member after another (as where a fusion reads the ASVs), for a ratio within one run. Times are
CPU seconds of one thread; `--steps` shortens all trainings.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import pandas as pd
import torch._dynamo  # noqa: F401  # what an optimizer imports first, a second or two once
from accuracy_corpus import Fold
from accuracy_corpus_studies import SOURCES
from accuracy_studies import AGE, SUBJECT, ecam
from machine import cpu, versions
from sklearn.ensemble import RandomForestRegressor

from aam_core.baseline import baseline_forest, relative_abundances
from aam_core.config.presets import fitting
from aam_core.data.splits import make_folds
from aam_core.data.study import Study
from aam_core.ensemble import assemble
from aam_core.files.writing import replacing, write_json
from aam_core.fitting import fit_regressor
from aam_core.models import pooling
from aam_core.training.step import Stepper

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "fit.json"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- fit: begin -->", "<!-- fit: end -->"

PARTS = {
    "gradients": (Stepper, "gradients"),
    "update": (Stepper, "update"),
    "validation": (Stepper, "evaluate"),
    "forest": (assemble, "cross_fit_forest"),
}
"""What is timed: names of functions."""


def studies(data: Path) -> Iterator[tuple[str, Study, pd.Series, pd.Series]]:
    """Label, training samples, their target and their groups."""
    study = ecam(data)
    values, groups = study.metadata[AGE].astype(float), study.metadata[SUBJECT]
    train, _ = next(iter(make_folds(study.sample_ids, folds=5, seed=0, groups=groups)))
    yield "ecam: age", study.select(train), values.loc[train], groups.loc[train]
    for name in ("ms-age", "colombia-age"):
        fold = Fold.of(SOURCES[name], 0, data / "corpus")
        part = fold.loaded.study.select(fold.train)
        yield SOURCES[name].label, part, fold.loaded.values.loc[fold.train], fold.groups


@contextlib.contextmanager
def timed() -> Iterator[dict[str, float]]:
    """CPU seconds of each of `PARTS` and of the whole, filled in as they pass."""
    seconds: dict[str, float] = defaultdict(float)

    def counting(work, name):
        def counted(*given, **more):
            start = time.process_time()
            try:
                return work(*given, **more)
            finally:
                seconds[name] += time.process_time() - start

        return counted

    before = {name: getattr(*place) for name, place in PARTS.items()}
    start = time.process_time()
    try:
        for name, (owner, attribute) in PARTS.items():
            setattr(owner, attribute, counting(before[name], name))
        yield seconds
    finally:
        for name, (owner, attribute) in PARTS.items():
            setattr(owner, attribute, before[name])
        seconds["whole"] = time.process_time() - start


@contextlib.contextmanager
def one_after_another() -> Iterator[None]:
    """Context in which each member reads the ASVs by itself."""
    before = pooling.can_pool
    pooling.can_pool = lambda members: False
    try:
        yield
    finally:
        pooling.can_pool = before


def measure(study: Study, values: pd.Series, groups: pd.Series, steps: int) -> dict:
    """CPU seconds of a fit by part, of its networks one after another, and of plain forests."""
    config = fitting().replace({"train.threads": 1, "train.device": "cpu"})
    if steps:
        config = config.replace({"train.max_steps": steps})
    with timed() as fit:
        fit_regressor(study, values, group_by=groups, config=config)
    with timed() as apart, one_after_another():
        alone = config.replace({"forest.trees": 0})
        fit_regressor(study, values, group_by=groups, config=alone)
    start = time.process_time()
    baseline_forest(study, study.sample_ids, study.sample_ids[:1], values, "regression")
    plain = time.process_time() - start
    start = time.process_time()
    forest = RandomForestRegressor(n_estimators=100, random_state=0)
    forest.fit(relative_abundances(study.counts), values)
    theirs = time.process_time() - start
    training = fit["gradients"] + fit["update"] + fit["validation"]
    before = apart["gradients"] + apart["update"] + apart["validation"]
    return {
        "samples": len(study.sample_ids),
        "asvs": len(study.feature_ids),
        "asvs_per_sample": study.counts.nnz / len(study.sample_ids),
        "seconds": {name: round(value, 3) for name, value in fit.items()},
        "training_one_after_another": round(before, 3),
        "ratio": before / training,
        "plain_forest": round(plain, 3),
        "q2_forest": round(theirs, 3),
    }


def table(results: dict[str, dict]) -> str:
    """A Markdown table with a row a study."""
    head = [
        *("study: target", "samples", "ASVs", "ASVs a sample", "fit", "forward and backward"),
        *("update", "validation", "forest", "training, members one after another", "ratio"),
        *("plain forest, 200 trees", "q2-sample-classifier's, 100 trees"),
    ]
    rows = [head, ["---"] * len(head)]
    for label, one in results.items():
        each = one["seconds"]
        parts = (each[name] for name in ("whole", "gradients", "update", "validation", "forest"))
        sizes = (one["samples"], one["asvs"], round(one["asvs_per_sample"]))
        times = [f"{value:.3g}" for value in (*parts, one["training_one_after_another"])]
        ends = [f"{one['ratio']:.2f}", f"{one['plain_forest']:.3g}", f"{one['q2_forest']:.3g}"]
        rows.append([label, *(f"{size:,}" for size in sizes), *times, *ends])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_docs(results: dict[str, dict]) -> None:
    """Renew the table between the markers."""
    before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with replacing(DOCS) as file:
        file.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the studies.")
    parser.add_argument("--steps", type=int, default=0, help="Of each training (0: all).")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    args = parser.parse_args()
    results = {}
    for label, *study in studies(args.data):
        results[label] = measure(*study, args.steps)
        print(table(results), flush=True)
        write_json(args.output, {"machine": cpu() | versions(), "studies": results})
        if not args.no_docs:
            write_docs(results)


if __name__ == "__main__":
    main()
