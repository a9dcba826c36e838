"""Accuracy on samples that are unlike the training samples, and the warnings about them.

Fits the default to the age of ECAM's children on three quarters of the subjects, and predicts the
others as they are, and as they might be by mistake: in the other direction, cut, with primers; and
another study. Prints a row of the table in docs/reliability.md for each::

    .venv/bin/python benchmarks/unknown_samples.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import pandas as pd

from aam_core import fit_regressor, load_study, predict
from aam_core.config import presets
from aam_core.data.splits import make_folds
from aam_core.log import logger
from aam_core.tasks.metrics import regression_metrics

TARGET, SUBJECT = "day_of_life", "host_subject_id"
PRIMER = "GTGCCAGCAGCCGCGGTAA"
COMPLEMENTS = str.maketrans("ACGT", "TGCA")

CHANGES = {
    "as they are": lambda dna: dna,
    "reverse complements": lambda dna: dna.translate(COMPLEMENTS)[::-1],
    "first 100 of 150 bases": lambda dna: dna[:100],
    "primer left on, 150 bases": lambda dna: (PRIMER + dna)[:150],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--preset", default="small")
    arguments = parser.parse_args()
    logger.setLevel(logging.INFO)
    ecam, ibd = arguments.data / "ecam", arguments.data / "ibd"
    study = load_study(
        ecam / "table.biom",
        sequences=ecam / "rep-seqs.fasta",
        metadata=ecam / "metadata.tsv",
        where="mom_child=C",
    )
    groups = study.metadata[SUBJECT]
    train, test = make_folds(study.sample_ids, folds=4, seed=0, groups=groups)[0]
    model = fit_regressor(
        study.select(train), TARGET, group_by=SUBJECT, config=presets.fitting(arguments.preset)
    )
    held_out = study.select(test)
    truth = pd.to_numeric(held_out.metadata[TARGET])
    print("| samples | known reads | known 12-mers | R2 | MAE, days | distinct | said |")
    print("|---|---|---|---|---|---|---|")
    for name, change in CHANGES.items():
        changed = dataclasses.replace(
            held_out, sequences=[change(dna) for dna in held_out.sequences]
        )
        row(name, model, changed, truth)
    row("another study (ibd, 100 bases)", model, load_study(ibd / "table.biom"), None)


def row(name: str, model, study, truth: pd.Series | None) -> None:
    """Predict, and print a row of the table."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    predictions = predict(model, study)
    logger.removeHandler(handler)
    scores = ("-", "-")
    if truth is not None:
        metrics = regression_metrics(truth, predictions["prediction"])
        scores = (f"{metrics['r2']:.3f}", f"{metrics['mae']:.1f}")
    known_shares = (
        f"{predictions[column].mean():.3f}" for column in ("known_reads", "known_kmers")
    )
    shown = "; ".join(messages[1:]) or "nothing more"
    distinct = f"{predictions['prediction'].round(2).nunique()} of {len(predictions)}"
    print("| " + " | ".join([name, *known_shares, *scores, distinct, shown]) + " |", flush=True)


if __name__ == "__main__":
    main()
