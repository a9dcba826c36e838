"""Tables of the benchmark across studies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from across_studies_targets import TARGETS

from aam_core.statistics import bootstrap, paired_test

__all__ = ["METHODS", "tables"]

METHODS = {
    "median": ("median of the other studies", ""),
    "forest": ("random forest", ""),
    "forest-inputs": ("the same, inputs centred", "forest"),
    "forest-target": ("the same, target centred", "forest"),
    "forest-inputs-target": ("the same, both centred", "forest"),
    "linear": ("linear model", "forest"),
    "linear-inputs": ("the same, inputs centred", "linear"),
    "linear-target": ("the same, target centred", "linear"),
    "linear-inputs-target": ("the same, both centred", "linear"),
    "scratch": ("AAM from scratch", "forest"),
    "scratch-inputs": ("the same, inputs centred", "scratch"),
    "scratch-target": ("the same, target centred", "scratch"),
    "pretrained": ("AAM with the encoder", "scratch"),
}
"""Method -> its words, and the method that it is compared with."""

_MEASURES = {
    "spearman": "Spearman within the study",
    "auc": "AUC within the study",
    "recall": "balanced accuracy within the study",
}


def tables(results: Mapping[str, Mapping[str, Mapping[str, Mapping]]]) -> str:
    """A Markdown table of each target that has results, with a row a method."""
    parts = []
    for name, target in TARGETS.items():
        if name in results:
            parts += [f"**{target.title}**", "", _table(target, results[name]), ""]
    return "\n".join(parts).strip()


def _table(target, results) -> str:
    chance, age = not np.isnan(target.chance), target.measure == "spearman"
    rows = [["method", "studies", _MEASURES[target.measure]]]
    rows[0] += ["better than chance", "p"] * chance
    rows[0] += ["compared with", "difference", "better in", "p"]
    rows[0] += ["MAE relative to the median"] * age + ["CPU s"]
    rows.append(["---"] * len(rows[0]))
    for method, (words, other) in METHODS.items():
        there = {name: each[method] for name, each in results.items() if method in each}
        if not there:
            continue
        row = [words, str(len(there))]
        scores = _scores(results, list(there), method)
        row.append(_interval(scores) if len(scores) else "")
        if chance:
            row += _better(scores, np.full(len(scores), target.chance)) if len(scores) else ["", ""]
        both = [name for name in there if other in results[name]]
        if both and len(scores):
            ours, theirs = _scores(results, both, method), _scores(results, both, other)
            row += [METHODS[other][0], f"{np.mean(ours - theirs):+.3f}", *_better(ours, theirs)]
        else:
            row += ["", "", "", ""]
        if age:
            row.append(_errors(there, results))
        row.append(f"{np.mean([one['cpu_s'] for one in there.values()]):.3g}")
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _scores(results, names: list[str], method: str) -> np.ndarray:
    each = [results[name][method].get("score") for name in names]
    return np.array([score for score in each if score is not None], float)


def _interval(scores: np.ndarray) -> str:
    places = np.arange(len(scores))
    low, high = bootstrap(lambda rows: np.array([scores[rows].mean()]), places)
    return f"{scores.mean():.3f} [{low[0]:.3f}, {high[0]:.3f}]"


def _better(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    better, p = paired_test(-ours, -theirs, np.arange(len(ours)))
    return [f"{better} of {len(ours)}", f"{p:.2g}"]


def _errors(there, results) -> str:
    ratios = [
        np.log(one["mae"] / results[name]["median"]["mae"])
        for name, one in there.items()
        if "mae" in one and "median" in results[name]
    ]
    return f"{np.exp(np.mean(ratios)):.3f}" if ratios else ""
