"""Learning curves: errors of forests, networks and their blend by the number of training samples.

The first fold of a target of the corpus benchmark is predicted by fits to ever more of its other
samples: each number of samples holds those of the smaller ones. Results are written one by one, so
that a run that ends goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy_corpus import DATA, DOCS, ROOT, Fold, network_alone, timed
from accuracy_corpus_studies import SOURCES

from aam_core.baseline import predict_baseline
from aam_core.errors import InputError
from aam_core.files.writing import replacing, write_json
from aam_core.plots.over_sizes import draw_over_sizes
from aam_core.plots.style import new_figure, plain, save, style
from aam_core.prediction import predict

RESULTS = ROOT / "benchmarks" / "results" / "accuracy_curves.json"
FIGURE = ROOT / "docs" / "images" / "accuracy_curves.png"
NETWORKS = ROOT / "build" / "curves"
BEGIN, END = "<!-- curves: begin -->", "<!-- curves: end -->"

SIZES = (50, 100, 200, 400, 800, 1600, 3200)
"""Training samples."""

MOST = 4_200
"""Samples of a target at most: all that it has."""

TARGETS = ("adults-age", "captive", "hiv-age", "ms-site")
"""Those of the corpus benchmark with most samples."""

METHODS = {
    "forest": "random forest",
    "extra": "extra trees on logs",
    "linear": "ridge or logistic on CLR",
    "network": "AAM's networks alone",
    "aam": "**AAM**",
}

BASELINES = {"forest": "random_forest", "extra": "extra_trees", "linear": "linear"}
"""Method -> its name in `aam_core.baseline`."""

LEGEND = """\
Errors as in the table above, of the first fold's samples; the training samples are drawn from the
other folds. CPU seconds: of the networks, and of AAM's forest."""


def measure(fold: Fold, networks: Path) -> dict:
    """Errors of every method on the test samples."""
    model, networks_s = timed(fold.networks, networks)
    model, forest_s = timed(fold.assembled, model)
    test = fold.loaded.study.select(fold.test)
    task, values, study = fold.source.task, fold.loaded.values, fold.loaded.study
    frames = {"aam": predict(model, test), "network": predict(network_alone(model), test)}
    for name, baseline in BASELINES.items():
        frames[name] = predict_baseline(
            baseline, study, fold.train, fold.test, values, task=task, groups=fold.groups
        )
    return {
        "test": len(fold.test),
        "errors": {name: float(np.mean(fold.errors(frame))) for name, frame in frames.items()},
        "network_weight": model.network_weight,
        "cpu_s": {"networks": networks_s, "forest": forest_s},
    }


def folds(name: str, corpus: Path, sizes: Iterable[int] = SIZES) -> dict[int, Fold]:
    """By number of training samples; of fewer than a size, all of them."""
    source = dataclasses.replace(SOURCES[name], most=MOST)
    whole = Fold.of(source, 0, corpus)
    drawn = np.random.default_rng(0).permutation(whole.train)
    return {
        size: dataclasses.replace(whole, train=sorted(drawn[:size]))
        for size in sorted({min(size, len(drawn)) for size in sizes})
    }


def table(results: dict[str, dict[str, dict]]) -> str:
    """A Markdown table with a row for each target and number of samples."""
    head = ["study: target", "", "training samples", *METHODS.values(), "ratio", "networks' share"]
    rows = [[*head, "CPU s"]]
    rows.append(["---"] * len(rows[0]))
    for name, source in SOURCES.items():
        for size, result in results.get(name, {}).items():
            errors, cpu = result["errors"], result["cpu_s"]
            row = [
                source.label,
                "MAE" if source.task == "regression" else "Brier",
                f"{int(size):,}",
            ]
            row += [f"{errors[method]:.3g}" for method in METHODS]
            row += [f"{errors['aam'] / errors['forest']:.3f}", f"{result['network_weight']:.2f}"]
            rows.append([*row, f"{cpu['networks']:.0f} + {cpu['forest']:.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(results: dict[str, dict[str, dict]], path: Path) -> None:
    """Write the plot: a panel for each target that has several numbers of samples."""
    several = [name for name in SOURCES if len(results.get(name, {})) > 1]
    if not several:
        return
    rows = -(-len(several) // 2)
    with style():
        figure, grid = new_figure(9.5, 3.6 * rows, rows=rows, columns=2)
        for axes in grid[len(several) :]:
            axes.set_visible(False)
        for axes, name in zip(grid, several, strict=False):
            curves = {
                words.replace("**", ""): pd.DataFrame(
                    [(int(size), it["errors"][method]) for size, it in results[name].items()],
                    columns=["size", "value"],
                )
                for method, words in METHODS.items()
            }
            error = "MAE" if SOURCES[name].task == "regression" else "Brier score"
            draw_over_sizes(axes, curves, xlabel="training samples", ylabel=error)
            axes.set_title(plain(SOURCES[name].label), fontsize=11)
        grid[0].legend(frameon=False, fontsize=10)
        save(figure, path)


def write_docs(results: dict) -> None:
    """Renew the table between the markers, and the figure."""
    draw(results, FIGURE)
    before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with replacing(DOCS) as file:
        image = f"![Learning curves](images/{FIGURE.name})"
        page = f"{before}{BEGIN}\n{table(results)}\n\n{LEGEND}\n\n{image}\n{END}{after}"
        file.write_text(page, encoding="utf-8")


def main() -> None:
    """Measure what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=DATA / "corpus", help="Folder of studies.")
    parser.add_argument("--networks", type=Path, default=NETWORKS, help="Where networks are kept.")
    parser.add_argument("--target", choices=SOURCES, action="append", help="This one; repeatable.")
    parser.add_argument("--size", type=int, action="append", help="At most; repeatable.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    args = parser.parse_args()

    def read() -> dict[str, dict[str, dict]]:
        return json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}

    for name in args.target or TARGETS:
        for size, fold in folds(name, args.corpus, args.size or SIZES).items():
            if str(size) in read().get(name, {}):
                continue
            try:
                result = measure(fold, args.networks / f"{name}-{size}")
            except InputError as error:  # so few samples may have one of a class
                print(f"{name}, {size} samples: {error}", file=sys.stderr)
                continue
            results = read()
            by_size = results.get(name, {}) | {str(size): result}
            results[name] = dict(sorted(by_size.items(), key=lambda it: int(it[0])))
            with replacing(args.output) as file:
                write_json(file, results)
    if args.output == RESULTS:
        write_docs(read())
    print(table(read()))


if __name__ == "__main__":
    main()
