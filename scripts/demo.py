"""From pretraining to predictions on a simulated study (``make demo``), by QIIME 2 or ``aam``.

Writes everything to ``demo/`` and prints the metrics on held-out subjects, and those of a random
forest on the same samples.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from aam_core.baseline import baseline_forest
from aam_core.data.columns import as_numbers
from aam_core.data.metadata import read_metadata
from aam_core.data.splits import train_val_split
from aam_core.data.study import load_study
from aam_core.tasks.metrics import regression_metrics

DEMO = Path("demo")
STUDY = DEMO / "study"
TARGET, SUBJECT = "gradient", "host_subject_id"
BIN = Path(sys.prefix) / "bin"
SEED = 1

SIMULATE = f"aam simulate study --samples 200 --features 500 --seed {SEED}"

WITH_QIIME = f"""
qiime tools import --input-path study/table.biom --input-format BIOMV210Format
    --type 'FeatureTable[Frequency]' --output-path table.qza
qiime tools import --input-path study/rep-seqs.fasta
    --type 'FeatureData[Sequence]' --output-path rep-seqs.qza
qiime tools import --input-path study/tree.nwk
    --type 'Phylogeny[Rooted]' --output-path tree.qza
qiime feature-table filter-samples --i-table table.qza
    --m-metadata-file train.tsv --o-filtered-table train-table.qza
qiime feature-table filter-samples --i-table table.qza
    --m-metadata-file held-out.tsv --o-filtered-table held-out-table.qza
qiime aam pretrain --i-table train-table.qza --i-sequences rep-seqs.qza --i-phylogeny tree.qza
    --m-group-by-file train.tsv --m-group-by-column {SUBJECT}
    --p-preset tiny --p-epochs 30 --p-n-jobs 1 --p-random-state {SEED} --o-encoder encoder.qza
qiime aam fit-regressor --i-table train-table.qza --i-sequences rep-seqs.qza
    --i-encoder encoder.qza --m-metadata-file train.tsv --m-metadata-column {TARGET}
    --m-group-by-file train.tsv --m-group-by-column {SUBJECT}
    --p-preset tiny --p-n-jobs 1 --p-random-state {SEED}
    --o-regressor regressor.qza --o-predictions validation.qza --o-details validation-details.qza
qiime aam predict-regression --i-table held-out-table.qza --i-sequences rep-seqs.qza
    --i-regressor regressor.qza --o-predictions predictions.qza --o-details details.qza
qiime aam scatterplot --i-predictions predictions.qza
    --m-truth-file held-out.tsv --m-truth-column {TARGET} --o-visualization predictions.qzv
qiime tools export --input-path predictions.qza --output-path predictions
"""

WITH_AAM = f"""
aam pretrain --table study/table.biom --sequences study/rep-seqs.fasta --tree study/tree.nwk
    --metadata train.tsv --group-by {SUBJECT} --preset tiny --epochs 30
    --threads 1 --seed {SEED} --output encoder
aam fit-regressor --table study/table.biom --sequences study/rep-seqs.fasta --encoder encoder
    --metadata train.tsv --target {TARGET} --group-by {SUBJECT}
    --preset tiny --threads 1 --seed {SEED} --output regressor
aam predict --table study/table.biom --sequences study/rep-seqs.fasta
    --model regressor --output predictions.tsv
aam evaluate --predictions predictions.tsv --metadata held-out.tsv --target {TARGET}
    --output evaluation
"""


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    run(SIMULATE)
    train_ids, held_out_ids = split_by_subject()
    if (BIN / "qiime").exists():
        commands, predictions, plot = WITH_QIIME, "predictions/predictions.tsv", "predictions.qzv"
    else:
        print("(QIIME 2 is not in this environment: the aam command does the same.)")
        commands, predictions, plot = WITH_AAM, "predictions.tsv", "evaluation/predictions.png"
    for command in commands.replace("\n    ", " ").strip().splitlines():
        run(command)
    report(read_metadata(DEMO / predictions), train_ids, held_out_ids)
    where = "; open it on https://view.qiime2.org" if plot.endswith(".qzv") else ""
    print(f"\nPlot: {DEMO / plot}{where}")
    print(f"Everything else: {DEMO}/. It took {time.monotonic() - started:.0f} s.")


def split_by_subject() -> tuple[list[str], list[str]]:
    """Hold out a quarter of the samples, in whole subjects; two metadata files."""
    metadata = read_metadata(STUDY / "metadata.tsv")
    train_and_held_out = train_val_split(
        list(metadata.index), fraction=0.25, seed=SEED, groups=list(metadata[SUBJECT])
    )
    for name, ids in zip(("train", "held-out"), train_and_held_out, strict=True):
        metadata.loc[ids].to_csv(DEMO / f"{name}.tsv", sep="\t", index_label="sample-id")
    return train_and_held_out


def report(predictions: pd.DataFrame, train_ids: list[str], held_out_ids: list[str]) -> None:
    """Print the metrics of AAM and of a random forest on the held-out samples."""
    study = load_study(
        STUDY / "table.biom", sequences=STUDY / "rep-seqs.fasta", metadata=STUDY / "metadata.tsv"
    )
    truth = study.metadata[TARGET]
    forest = baseline_forest(study, train_ids, held_out_ids, truth, "regression", SEED)
    print(f"\n{TARGET!r} of {len(held_out_ids)} samples of held-out subjects:\n")
    print(f"{'':14}{'R2':>8}{'MAE':>8}")
    for name, table in (("AAM", predictions), ("random forest", forest)):
        predicted = as_numbers(table.loc[held_out_ids, "prediction"])
        metrics = regression_metrics(as_numbers(truth[held_out_ids]), predicted)
        print(f"{name:14}{metrics['r2']:8.3f}{metrics['mae']:8.3f}")


def run(command: str) -> None:
    """Show a command and run it in ``demo/``; its output is shown only if it fails."""
    print("$", command, flush=True)
    program, *words = shlex.split(command)
    # QIIME 2 keeps its cache under CONDA_PREFIX: this environment's own.
    result = subprocess.run(
        [BIN / program, *words],
        cwd=DEMO,
        env={**os.environ, "CONDA_PREFIX": sys.prefix},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        sys.exit(f"{result.stdout}\nThe demo stopped: the last command failed, see above.")


if __name__ == "__main__":
    main()
