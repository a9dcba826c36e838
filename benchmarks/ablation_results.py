"""Results of the ablations' rows: measured, compared with other rows, and told from older ones."""

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
from ablation_fits import Run, cross_validated
from ablation_rows import Row, fit_config, is_reference
from accuracy_statistics import Chances, Numbers, Scored, compare, mean_figures, scored
from accuracy_studies import STUDIES, SUBJECT
from machine import cpu, versions


def settings(row: Row, seeds: int, steps: int | None = None) -> dict:
    """All that a row's figures depend on but the code; ``configuration`` sums up what it fits."""
    whole = {}
    if not row.is_forest:
        config = fit_config(row, steps=steps)
        whole = {part: pretraining_config(row, part, config, steps).to_dict() for part in row.parts}
        whole["fit"] = config.to_dict()
    text = json.dumps(whole, sort_keys=True)
    names = ("changes", "parts", "pretraining", "frozen", "samples", "subjects")
    found = {name: getattr(row, name) for name in names}
    found |= {"seeds": seeds, "steps": steps}
    found["configuration"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return json.loads(json.dumps(found))  # as it is read back


def is_there(row: Row, wanted: dict, found: dict[str, dict]) -> bool:
    """Whether a study has the row with these settings, compared with what its others are now."""
    held = found.get(row.name)
    if held is None or held["settings"] != wanted:
        return False
    if is_reference(row.name) and "predictions" not in held:  # it was none then
        return False
    return all(
        other in found
        and other in held["against"]
        and held["against"][other]["by_seed"] == found[other]["by_seed"]
        for other in row.against
    )


def measure(row: Row, name: str, args: argparse.Namespace) -> tuple[list[Scored], dict]:
    """What a row predicts with each seed, and what is noted of it."""
    runs = [_run(row, name, args.data, seed, args) for seed in range(args.seeds)]
    task = STUDIES[name].task
    found = [scored(run.predictions, "aam", task) for run in runs]
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
        "figures": mean_figures(found),
        "by_seed": [run.figures() for run in found],
        **means,
    }
    if row.fresh:
        result["peak_gb"] = max(run.peak_gb for run in runs)
    if is_reference(row.name):
        result["predictions"] = [pack(run) for run in found]
    return found, result


def _run(row: Row, name: str, data: Path, seed: int, args: argparse.Namespace) -> Run:
    given = (row, name, data, seed, args.threads, args.steps)
    if not row.fresh:
        return cross_validated(*given)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cross_validated, *given).result()


def pack(run: Scored) -> str:
    """Predictions, or chances sample by sample, as one line; the order is the study's."""
    values = run.predicted if isinstance(run, Numbers) else run.chances
    return " ".join(f"{value:.7g}" for value in np.ravel(values))


def unpack(line: str, like: Scored) -> Scored:
    """What `pack` packed, of the samples of another one."""
    values = np.array(line.split(), np.float64)
    if isinstance(like, Numbers):
        return Numbers(like.actual, values)
    chances = values.reshape(like.chances.shape)
    return Chances(like.actual, chances.argmax(axis=1), chances)


def against(row: Row, runs: list[Scored], name: str, data: Path, found: dict[str, dict]) -> dict:
    """The row beside those that it is compared with, whose results are there."""
    study = load(name, data)
    subjects = study.metadata[SUBJECT].to_numpy()
    compared = {}
    for other in row.against:
        lines = found[other]["predictions"]
        theirs = [unpack(line, run) for line, run in zip(lines, runs, strict=True)]
        seen = compare(runs, theirs, subjects, STUDIES[name].task)
        compared[other] = dataclasses.asdict(seen) | {"by_seed": found[other]["by_seed"]}
    return compared
