"""Results of the rows of the ablations: measured, and compared with other rows."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import torch
from ablation_encoders import load, pretraining_config
from ablation_fits import Run, cross_validate_row
from ablation_rows import Row, fit_config, is_reference
from accuracy_studies import METRICS, STUDIES, SUBJECT
from machine import cpu, versions

from aam_core.statistics import (
    Classes,
    Numbers,
    Predictions,
    compare,
    mean_metrics,
    predictions_of,
)


def settings(row: Row, seeds: int, steps: int | None = None) -> dict:
    """All but the code that the result of a row depends on; ``configuration`` is a hash."""
    whole = {}
    if not row.is_forest:
        config = fit_config(row, steps=steps)
        whole = {part: pretraining_config(row, part, config, steps).to_dict() for part in row.parts}
        whole["fit"] = config.to_dict()
    text = json.dumps(whole, sort_keys=True)
    names = ("changes", "parts", "pretraining", "frozen", "samples", "subjects")
    result = {name: getattr(row, name) for name in names}
    result |= {"seeds": seeds, "steps": steps}
    result["configuration"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return json.loads(json.dumps(result))  # as it is read back


def is_done(row: Row, expected: dict, results: dict[str, dict]) -> bool:
    """Whether the results have the row with these settings, compared with the present others."""
    result = results.get(row.name)
    if result is None or result["settings"] != expected:
        return False
    if is_reference(row.name) and "predictions" not in result:  # it was not a reference then
        return False
    return all(
        other in results
        and other in result["against"]
        and result["against"][other]["by_seed"] == results[other]["by_seed"]
        for other in row.against
    )


def measure(row: Row, name: str, args: argparse.Namespace) -> tuple[list[Predictions], dict]:
    """Predictions of a row with each seed, and its result."""
    runs = [_run(row, name, args.data, seed, args) for seed in range(args.seeds)]
    task = STUDIES[name].task
    by_seed = [predictions_of(run.predictions, "aam", task) for run in runs]
    means = {
        field: float(np.mean([getattr(run, field) for run in runs]))
        for field in ("samples", "subjects", "cpu_s", "pretraining_cpu_s")
    }
    result = {
        "settings": settings(row, args.seeds, args.steps),
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu(),
        "versions": versions(),
        "threads": args.threads,
        "task": task,
        "figures": mean_metrics(by_seed, names=METRICS[task]),
        "by_seed": [run.metrics(names=METRICS[task]) for run in by_seed],
        **means,
    }
    if row.fresh:
        result["peak_gb"] = max(run.peak_gb for run in runs)
    if is_reference(row.name):
        result["predictions"] = [pack(run) for run in by_seed]
    return by_seed, result


def _run(row: Row, name: str, data: Path, seed: int, args: argparse.Namespace) -> Run:
    arguments = (row, name, data, seed, args.threads, args.steps)
    if not row.fresh:
        return cross_validate_row(*arguments)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cross_validate_row, *arguments).result()


def pack(run: Predictions) -> str:
    """Predictions, or probabilities by sample, as one line in the order of the study's samples."""
    values = run.predicted if isinstance(run, Numbers) else run.probabilities
    return " ".join(f"{value:.7g}" for value in np.ravel(values))


def unpack(line: str, like: Predictions) -> Predictions:
    """The predictions that `pack` wrote, for the samples of ``like``."""
    values = np.array(line.split(), np.float64)
    if isinstance(like, Numbers):
        return Numbers(like.actual, values)
    probabilities = values.reshape(like.probabilities.shape)
    return Classes(like.actual, probabilities.argmax(axis=1), probabilities)


def against(
    row: Row, runs: list[Predictions], name: str, data: Path, results: dict[str, dict]
) -> dict:
    """Comparisons of a row with others, whose results exist."""
    study = load(name, data)
    subjects = study.metadata[SUBJECT].to_numpy()
    compared = {}
    for other in row.against:
        lines = results[other]["predictions"]
        theirs = [unpack(line, run) for line, run in zip(lines, runs, strict=True)]
        comparison = compare(runs, theirs, subjects)
        compared[other] = dataclasses.asdict(comparison) | {"by_seed": results[other]["by_seed"]}
    return compared
