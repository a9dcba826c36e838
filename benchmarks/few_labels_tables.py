"""Tables of the benchmark of few labels: errors relative to a fit from scratch.

Studies are the unit: errors of the draws of a study are compared draw by draw, and the logarithms
of their ratios averaged within the study first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from few_labels_draws import ALL, FINAL, NAMES, SIZES, label, task_of
from few_labels_methods import MAIN

from aam_core.statistics import bootstrap, paired_test

__all__ = [
    "LABELS",
    "LEGEND",
    "REFERENCE",
    "Compared",
    "Results",
    "all_tables",
    "compared",
    "log_ratios",
    "of_corpus",
]

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Study -> labelled samples -> number of the draw -> method -> result."""

REFERENCE = "scratch"

LEAST = 6
"""Studies below which there is no interval, no test and no point of a plot: with five that all
agree p is 0.06."""

FEW = ("25", "50", "100")
"""Numbers of labels that the aim is about."""

_PARTS = ("scratch/network", "scratch/forest", "pretrained/network", "pretrained/forest")

LABELS = {
    "forest": "random forest",
    "extra": "extra trees on logs",
    "linear": "ridge or logistic on CLR",
    "reads": "number of reads alone",
    "dummy": "median, or shares of the classes",
    "scratch": "**AAM from scratch** (the default)",
    "scratch/network": "its networks alone",
    "scratch/forest": "its trees and linear model alone",
    "like": "from scratch, members and steps as with the encoder",
    "pretrained": "**AAM with the encoder**",
    "pretrained/network": "its networks alone, with the encoder",
    "pretrained/forest": "its trees and linear model alone, with the encoder",
    "shuffled": "with an encoder of shuffled targets",
}
"""In the order of tables; a part of a model is named after it."""

LEGEND = """\
Error relative to from scratch: of numbers the mean absolute error, of classes the log loss (0.005
is added to each probability, as a forest has zeros), divided by that of AAM from scratch on the
same draw; the geometric mean over draws, then over studies. Brackets: 95 % of 2,000 bootstrap
draws of studies. Better: studies with a lower error than from scratch. p: two-sided Wilcoxon
signed-rank test over studies, not corrected for the number of methods. Neither is given below six
studies. A row of several numbers of labels has the studies with all of them. CPU seconds: of a fit
and its predictions, one thread, mean over studies."""


@dataclass(frozen=True)
class Compared:
    """A method beside another, over studies.

    Attributes
    ----------
    ratio, low, high : float
        Geometric mean of the studies' error ratios, and its bootstrap interval.
    better, studies : int
        Studies in which the method errs less, and all.
    worst : float
        Largest ratio.
    p : float
        Two-sided Wilcoxon signed-rank test.
    """

    ratio: float
    low: float
    high: float
    better: int
    studies: int
    worst: float
    p: float


def error(results: Mapping[str, Any], method: str, name: str) -> float:
    """An error of a method, or of a part of it ('scratch/network'); NaN where it has none."""
    whole, _, part = method.partition("/")
    result = results.get(whole, {})
    if part:
        result = {"errors": result.get("parts", {}).get(part, {})}
    return result.get("errors", {}).get(name, float("nan"))


def log_ratios(
    results: Results, method: str, sizes: Iterable[str], reference: str = REFERENCE
) -> pd.Series:
    """By study: mean log ratio of the errors of a method and of a reference.

    The mean is over draws, then over sizes. Studies that have not all of the sizes are dropped: a
    mean over those that are measured would be of other sizes in each study.
    """
    means = {}
    for study, by_size in results.items():
        main = MAIN[task_of(study)]
        each, sizes = [], list(sizes)
        for size in sizes:
            pairs = [
                (error(one, method, main), error(one, reference, main))
                for one in by_size.get(size, {}).values()
            ]
            logs = [np.log(ours / theirs) for ours, theirs in pairs if ours > 0 and theirs > 0]
            if logs:
                each.append(np.mean(logs))
        if len(each) == len(sizes):
            means[study] = float(np.mean(each))
    return pd.Series(means, dtype=float)


def of_corpus(results: Results) -> Results:
    """Without the final studies, which have rows of their own: no mean is of them."""
    return {name: each for name, each in results.items() if name not in FINAL}


def compared(logs: pd.Series) -> Compared:
    """Statistics of mean log ratios by study."""
    values = logs.to_numpy()
    places = np.arange(len(values))
    low, high = bootstrap(lambda rows: np.array([values[rows].mean()]), places)
    better, p = paired_test(values, np.zeros(len(values)), places)
    ends = np.exp([values.mean(), low[0], high[0], values.max()]).tolist()
    return Compared(*ends[:3], better, len(values), ends[3], p)


def _cpu(results: Results, method: str, sizes: Sequence[str]) -> str:
    """Mean CPU seconds of a method; empty of a part of one."""
    seconds = [
        one[method]["cpu_s"]
        for by_size in results.values()
        for size in sizes
        for one in by_size.get(size, {}).values()
        if "cpu_s" in one.get(method, {})
    ]
    return f"{np.mean(seconds):.3g}" if seconds else ""


def _ratio_of(results: Results, method: str, sizes: Sequence[str], task: str) -> str:
    """Geometric mean ratio over the studies of a task."""
    logs = log_ratios(
        {name: each for name, each in results.items() if task_of(name) == task}, method, sizes
    )
    return f"{np.exp(logs.mean()):.3f}" if len(logs) else ""


def table(results: Results) -> str:
    """A Markdown table with a row for each number of labels and method, of the corpus studies."""
    results = of_corpus(results)
    head = ["labels", "method", "studies", "error relative to from scratch", "numbers", "classes"]
    rows = [[*head, "better", "worst", "p", "CPU s"]]
    rows.append(["---"] * len(rows[0]))
    there = [size for size in SIZES if any(size in each for each in results.values())]
    for sizes in [*([size] for size in there), *([list(FEW)] if set(FEW) <= set(there) else [])]:
        named = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        for method, what in LABELS.items():
            logs = log_ratios(results, method, sizes)
            if logs.empty:
                continue
            it = compared(logs)
            tasks = [_ratio_of(results, method, sizes, task) for task in MAIN]
            row = [named, what, str(it.studies)]
            if method == REFERENCE:
                row += ["1", "1", "1", "", "", ""]
            else:
                band = f" [{it.low:.3f}, {it.high:.3f}]" if it.studies >= LEAST else ""
                row += [f"{it.ratio:.3f}{band}", *tasks]
                row += [f"{it.better} ({it.better / it.studies:.0%})", f"{it.worst:.2f}"]
                row += [f"{it.p:.2g}" if it.studies >= LEAST else ""]
            rows.append([*row, _cpu(results, method, sizes)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def by_study(results: Results) -> str:
    """A Markdown table with a row a study: the error from scratch, and ratios to it."""
    methods = [
        name
        for name in ("forest", "pretrained")
        if any(not log_ratios(results, name, [size]).empty for size in SIZES)
    ]
    head = ["study: target", "", "labels", "test samples", "from scratch"]
    head += [f"{LABELS[name].strip('*')}, relative" for name in methods]
    rows = [head, ["---"] * len(head)]
    for name in (*NAMES, *FINAL):
        for size in SIZES:
            draws = list(results.get(name, {}).get(size, {}).values())
            draws = [each for each in draws if "errors" in each.get(REFERENCE, {})]
            if not draws:
                continue
            main = MAIN[task_of(name)]
            mean = np.mean([error(each, REFERENCE, main) for each in draws])
            one = draws[0][REFERENCE]
            labels = f"{one['train']} ({ALL})" if size == ALL else size
            row = [label(name), main.replace("_", " "), labels, str(one["test"]), f"{mean:.3g}"]
            for method in methods:
                logs = log_ratios({name: results[name]}, method, [size])
                row.append(f"{np.exp(logs.iloc[0]):.3f}" if len(logs) else "")
            rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def in_words(results: Results) -> str:
    """Whether the aim is reached, as far as it is measured, and what could not be fitted."""
    lines, corpus = [], of_corpus(results)
    few = log_ratios(corpus, "pretrained", FEW)
    if len(few) >= LEAST:
        it = compared(few)
        lines.append(
            f"At 25 to 100 labels the error with the encoder is {it.ratio:.3f} of that from "
            f"scratch (p = {it.p:.2g}), lower on {it.better / it.studies:.0%} of {it.studies} "
            "studies; the aim is 0.95 at most, p below 0.01, 70 %."
        )
    every = log_ratios(corpus, "pretrained", [ALL])
    if len(every):
        worst = np.exp(every.max()) - 1
        lines.append(
            f"With all labels it is {np.exp(every.mean()):.3f}, at worst {worst:+.1%} "
            f"({label(str(every.idxmax()))}); the aim is +1 % at most."
        )
    failed = [
        f"{label(name)}, {size} labels, draw {draw}: {method} ({one['failed']})"
        for name, by_size in results.items()
        for size, draws in by_size.items()
        for draw, methods in draws.items()
        for method, one in methods.items()
        if "failed" in one
    ]
    if failed:
        lines.append(f"{len(failed)} fits were refused: {'; '.join(failed[:5])}.")
    return " ".join(lines)


def all_tables(results: Results) -> str:
    """Everything that the docs have between their markers, but for the legend and the figure."""
    return "\n\n".join(
        part for part in (table(results), in_words(results), by_study(results)) if part
    )
