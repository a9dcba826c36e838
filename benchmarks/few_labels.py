"""Errors with few labels: forests, linear models, AAM from scratch and with a pretrained encoder.

On each study the methods learn from the same labelled samples and predict the same test samples. A
result is written as soon as it is there, so that a run that ends goes on where it was: baselines
first, then fits, the first draw of all studies before the second. Encoders are pretrained without
the studies that they are tested on, and are kept (``--encoders``). The studies may be studied, not
passed on: nothing of them is written but errors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; in the processes of the jobs, too

import yaml
from few_labels_draws import FINAL, NAMES, QUICK, SIZES, problem, tested_with
from few_labels_encoders import PRETRAINING, Encoders
from few_labels_methods import (
    BASELINES,
    METHODS,
    WITH_ENCODER,
    Setting,
    configuration,
    measure,
)
from few_labels_plot import draw as plot
from few_labels_tables import LEGEND, all_tables, in_words, table
from machine import cpu, versions

from aam_core.errors import InputError
from aam_core.files.writing import replacing, write_json

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "few_labels.json"
FIGURE = ROOT / "docs" / "images" / "few_labels.png"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- few: begin -->", "<!-- few: end -->"

MODES = {
    "quick": (QUICK, ("25", "50", "100"), 2),
    "full": (NAMES, SIZES, 5),
}
"""Studies, numbers of labels, draws."""


class Job(NamedTuple):
    """A method on a draw."""

    study: str
    size: str
    draw: int
    method: str


def read(output: Path) -> dict[str, Any]:
    """The studies' results so far."""
    return json.loads(output.read_text("utf-8"))["studies"] if output.exists() else {}


def known(results: dict[str, Any], job: Job) -> dict[str, Any]:
    """The result of a job; empty where there is none."""
    draws = results.get(job.study, {}).get(job.size, {})
    return draws.get(str(job.draw), {}).get(job.method, {})


def save(output: Path, job: Job, result: dict[str, Any]) -> None:
    """Write a result to the others, in their order."""
    results = read(output)
    draws = results.setdefault(job.study, {}).setdefault(job.size, {})
    draws.setdefault(str(job.draw), {})[job.method] = result
    ordered = {
        name: {
            size: dict(sorted(results[name][size].items(), key=lambda it: int(it[0])))
            for size in SIZES
            if size in results[name]
        }
        for name in (*NAMES, *FINAL)
        if name in results
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        write_json(file, {"machine": cpu() | versions(), "studies": ordered})


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """What is to be measured: cheap methods first, then draw by draw."""
    for methods in (
        [m for m in args.method if m in BASELINES],
        [m for m in args.method if m not in BASELINES],
    ):
        for draw, size, study in itertools.product(range(args.draws), args.size, args.study):
            if problem(study, args.data).has(size):
                yield from (Job(study, size, draw, method) for method in methods)


def run(job: Job, data: Path, setting: Setting, encoder: Path | None) -> dict[str, Any]:
    """The result of a job; in a process of its own."""
    draw = problem(job.study, data).draw(job.size, job.draw)
    try:
        return measure(job.method, draw, setting, encoder)
    except InputError as error:
        return {"failed": str(error)}


def run_all(args: argparse.Namespace) -> None:
    """Measure what has no result yet, and write each result as it comes."""
    setting = Setting(args.set, args.set | args.encoder_set)
    results = read(args.output)
    wanted = [job for job in jobs(args) if not known(results, job) or job.method in args.again]
    _say_what_differs(args, setting, results)
    print(f"{len(wanted)} jobs", file=sys.stderr, flush=True)
    encoders = None
    if any(job.method in WITH_ENCODER for job in wanted):
        encoders = Encoders(args.encoders, args.data / "corpus", args.pretrain_set)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context) as pool:
        running: dict[Future, Job] = {}
        for job in wanted:
            if len(running) == args.jobs:
                _write_done(running, args.output)
            path = None
            if encoders is not None and job.method in WITH_ENCODER:
                path = encoders.path(tested_with(job.study), shuffle=job.method == "shuffled")
            running[pool.submit(run, job, args.data, setting, path)] = job
        while running:
            _write_done(running, args.output)


def _write_done(running: dict[Future, Job], output: Path) -> None:
    """Wait for jobs and write their results."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        job, result = running.pop(future), future.result()
        save(output, job, result)
        print(*job, result.get("errors", result.get("failed")), file=sys.stderr, flush=True)


def _say_what_differs(args: argparse.Namespace, setting: Setting, results: dict) -> None:
    """Name the results of fits with other settings, which stay."""
    now = {
        method: configuration(setting.config(encoder=method in WITH_ENCODER))
        for method in args.method
        if method not in (*BASELINES, "like")
    }
    for method, expected in now.items():
        other = [
            job
            for job in jobs(args)
            if job.method == method
            and known(results, job).get("configuration", expected) != expected
        ]
        if other and method not in args.again:
            print(
                f"{method}: {len(other)} results are of other settings, and stay "
                f"(--again {method} measures them anew)",
                file=sys.stderr,
            )


def write_docs(results: dict[str, Any], docs: Path, figure: Path) -> None:
    """Renew the tables between the markers, and the figure."""
    plot(results, figure)
    before, rest = docs.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    link = f"![Errors relative to a fit from scratch, by number of labels](images/{figure.name})"
    parts = [all_tables(results), LEGEND, *([link] if figure.exists() else [])]
    text = "\n\n".join(parts)
    page = f"{before}{BEGIN}\n{text}\n{END}{after}"
    with replacing(docs) as file:
        file.write_text(page, encoding="utf-8")


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not section.field=value")
    return name, yaml.safe_load(value)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--mode", choices=MODES, default="quick", help="Studies, labels and draws (quick).")
    add("--study", choices=NAMES, action="append", help="This one; repeatable.")
    add("--final", action="store_true", help=f"Instead: {', '.join(FINAL)}, once, at the end.")
    add("--size", choices=SIZES, action="append", help="Labels; repeatable.")
    add("--draws", type=int, help="The first ones.")
    add("--method", choices=METHODS, action="append", help="This one; repeatable.")
    add("--encoders", type=Path, help="Folder of encoders; what it lacks is pretrained.")
    add(
        "--set",
        type=_assignment,
        action="append",
        metavar="SECTION.FIELD=VALUE",
        help="Of every fit; repeatable.",
    )
    add(
        "--encoder-set",
        type=_assignment,
        action="append",
        metavar="SECTION.FIELD=VALUE",
        help="Of fits with an encoder; repeatable.",
    )
    add(
        "--pretrain-set",
        type=_assignment,
        action="append",
        metavar="SECTION.FIELD=VALUE",
        help=f"Of pretrainings, beside {PRETRAINING}; repeatable.",
    )
    add("--again", choices=METHODS, action="append", help="Measure it anew; repeatable.")
    add("--jobs", type=int, default=1, help="Processes, of one thread each.")
    add("--data", type=Path, default=DATA, help="Folder of the public studies.")
    add("--output", type=Path, default=RESULTS, help="JSON file.")
    add("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    args = parser.parse_args(words)
    studies, sizes, draws = MODES[args.mode]
    args.study = list(FINAL) if args.final else args.study or list(studies)
    args.size = args.size or list(sizes)
    args.draws = args.draws or draws
    with_encoder = WITH_ENCODER if args.encoders else ()
    args.method = args.method or [*BASELINES, "scratch", *with_encoder]
    args.again = args.again or []
    for name in ("set", "encoder_set", "pretrain_set"):
        setattr(args, name, dict(getattr(args, name) or {}))
    args.pretrain_set = PRETRAINING | args.pretrain_set
    if set(args.method) & set(WITH_ENCODER) and not args.encoders:
        parser.error("methods with an encoder need --encoders")
    return args


def main() -> None:
    """Measure, write, print."""
    args = arguments()
    run_all(args)
    results = read(args.output)
    if not args.no_docs and args.output == RESULTS:
        write_docs(results, DOCS, FIGURE)
    print(table(results), in_words(results), sep="\n\n")


if __name__ == "__main__":
    main()
