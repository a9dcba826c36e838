"""How long explaining takes, and whether planted ASVs are found, by fits of full size.

``python benchmarks/explain.py time MODEL TABLE SEQUENCES METADATA [TREE]`` explains all samples of
a study as if they were new to the model (the time does not depend on that), without contributions.
``python benchmarks/explain.py truth`` fits simulated studies with planted ASVs by default settings.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from aam_core import explain, fit_regressor, load_model, load_study

SAMPLES, FEATURES, PLANTED, SEEDS = 300, 300, 10, 1
LETTERS = np.array(list("ACGT"))


def main(mode: str, *files: str) -> None:
    """Print a row for each run."""
    {"time": measure, "truth": truth}[mode](*files)


def measure(folder: str, table: str, sequences: str, metadata: str, tree: str | None = None):
    """Time of an explanation with ten repeats."""
    study = load_study(table, sequences=sequences, metadata=metadata, tree=tree)
    model = dataclasses.replace(load_model(folder), train_samples=[], val_samples=[])
    wall, cpu = time.perf_counter(), time.process_time()
    explain(model, study, references=0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    samples, features = study.counts.shape
    print(f"{samples} samples, {features} ASVs: {wall:.0f} s, {cpu:.0f} s of CPU time")


def truth() -> None:
    """Planted ASVs among all, of targets that they make and of permuted ones."""
    for seed in range(SEEDS):
        study = planted(seed)
        new = study.select(study.sample_ids[: SAMPLES // 2])
        old = study.select(study.sample_ids[SAMPLES // 2 :])
        for target in ("target", "permuted"):
            model = fit_regressor(old, target)
            table = explain(model, new, references=0, clades=()).importance
            discovered = table["q"] < 0.05
            is_planted = table.index.isin(study.feature_ids[:PLANTED])
            area = roc_auc_score(is_planted, table["importance"])
            print(
                f"seed {seed}, {target}: mae {model.metrics['model']['mae']:.1f}, area under the "
                f"ranking {area:.3f}, {int((discovered & is_planted).sum())} of {PLANTED} planted "
                f"and {int((discovered & ~is_planted).sum())} others discovered",
                flush=True,
            )


def planted(seed: int):
    """Lognormal abundances; a weighted sum of ranks of the first ASVs is the target."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 1.5, (SAMPLES, FEATURES))
    reads = rng.poisson(10 * np.exp(logs) * (rng.random(logs.shape) < 0.5))
    ranks = pd.DataFrame(reads / reads.sum(1, keepdims=True)).rank().to_numpy() / SAMPLES
    signs = np.where(np.arange(PLANTED) % 2, -1, 1)
    target = 100 * (ranks[:, :PLANTED] @ signs) + rng.normal(0, 10, SAMPLES)
    names = [f"asv{i}" for i in range(FEATURES)]
    ids = pd.Index([f"s{i}" for i in range(SAMPLES)], name="sample-id")
    metadata = pd.DataFrame({"target": target, "permuted": rng.permutation(target)}, index=ids)
    sequences = {name: "".join(rng.choice(LETTERS, 150)) for name in names}
    table = pd.DataFrame(reads, index=ids, columns=names)
    return load_study(table, sequences=sequences, metadata=metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
