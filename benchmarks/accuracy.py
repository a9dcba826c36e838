"""Accuracy on held-out subjects: AAM with its defaults and a random forest on the same folds.

Writes a table to stdout and docs/benchmarks.md, and benchmarks/results/accuracy.json. It runs
`aam_core.cross_validate` with no settings but the inputs. The result of a study is written as soon
as it is computed; studies that are not run keep their last results.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from pathlib import Path

import torch
from accuracy_studies import METRICS, STUDIES, SUBJECT, Source
from machine import cpu, versions

from aam_core import cross_validate
from aam_core.baseline import BASELINES
from aam_core.config import Config
from aam_core.config.presets import fitting
from aam_core.data.study import Study
from aam_core.files.writing import replacing, write_json
from aam_core.statistics import DRAWS, compare, mean_metrics, predictions_of

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"

METHODS = {
    "random_forest": "random forest",
    "network": "AAM's networks alone",
    "aam": "**AAM**",
    "reads": "number of reads alone",
}
"""Methods that `cross_validate` scores, and their columns in the table."""

SECTION = f"""
## Accuracy
```bash
make bench-accuracy             # the quick mode; MODE=full has every study, with three seeds
```
{BEGIN}
{END}
"""

LEGEND = f"""\
**AAM** is `aam cross-validate` with no flags but the inputs (table, sequences, metadata): its
networks, blended with a forest of their own. The random forest has 200 trees on relative
abundances. All methods have the same five folds; all samples of a subject are in one fold. MAE is
in the target's units. Bold: the better MAE or AUC of AAM and the forest. Brackets: 95 % intervals
from {DRAWS:,} bootstrap draws of whole subjects. p: two-sided Wilcoxon signed-rank test of AAM
against the forest, on the mean absolute error of each subject, or its mean Brier score for classes.
CPU seconds are those of one cross-validation of all methods. Results of several seeds are means."""


def measure(source: Source, study: Study, seeds: int, threads: int) -> dict:
    """Cross-validate a study with each seed; the result, without `conditions`.

    For a numeric target the folds are the same with every seed; for classes they differ.
    """
    groups, names = study.metadata[SUBJECT], METRICS[source.task]
    runs: dict[str, list] = {method: [] for method in METHODS}
    cpu_start, start = cpu_seconds(), time.monotonic()
    for seed in range(seeds):
        scores = cross_validate(
            study,
            source.target,
            task=source.task,
            group_by=SUBJECT,
            # The others would add to the CPU seconds, which are compared with earlier ones.
            baseline=[name for name in METHODS if name in BASELINES],
            config=config(seed, threads),
        )
        for method in METHODS:
            run = predictions_of(scores.predictions, method, source.task)
            ours, theirs = run.metrics(names=names), scores.metrics[method]
            assert all(abs(ours[name] - theirs[name]) < 1e-6 for name in ours), (method, ours)
            runs[method].append(run)
    cpu_s, wall_s = (cpu_seconds() - cpu_start) / seeds, (time.monotonic() - start) / seeds
    # The default drops samples with too few reads, too.
    subjects = groups.loc[scores.predictions.index].to_numpy()
    compared = compare(runs["aam"], runs["random_forest"], subjects)
    return {
        "target": source.target,
        "task": source.task,
        "samples": len(subjects),
        "figures": {name: mean_metrics(each, names=names) for name, each in runs.items()},
        "by_seed": {
            name: [run.metrics(names=names) for run in each] for name, each in runs.items()
        },
        "aam_against_random_forest": dataclasses.asdict(compared),
        "cpu_s": cpu_s,
        "wall_s": wall_s,
    }


def run(name: str, data: Path, mode: str, seeds: int, threads: int) -> dict:
    """`measure` a study by its name, with `conditions`; runs in a process of its own."""
    source = STUDIES[name]
    print(f"{name}, {seeds} times", file=sys.stderr, flush=True)
    return conditions(mode, seeds, threads) | measure(source, source.load(data), seeds, threads)


def config(seed: int, threads: int) -> Config:
    """The default with a seed; the number of threads (0: all cores) changes the time alone."""
    return fitting().replace({"train.seed": seed, "train.threads": threads})


def cpu_seconds() -> float:
    """CPU seconds of all threads of this process, and of the processes that it awaited."""
    return sum(os.times()[:4])


def conditions(mode: str, seeds: int, threads: int) -> dict:
    """Date, options, device and versions of a run."""
    on_gpu = torch.cuda.is_available()
    return {
        "date": date.today().isoformat(),
        "mode": mode,
        "seeds": seeds,
        "threads": threads,
        "device": torch.cuda.get_device_name() if on_gpu else cpu(),
        "versions": versions(),
    }


# --- output --------------------------------------------------------------------------------------

NAMES = {"mae": "MAE", "r2": "R2", "auc": "AUC", "accuracy": "accuracy"}


def table(results: dict[str, dict]) -> str:
    """A Markdown table: for each study its first metric with intervals, below it the second."""
    head = ["study", "samples (subjects)", "", *METHODS.values()]
    head += ["AAM, 95 %", "AAM - forest, 95 %", "p", "CPU s", "run"]
    rows = [head, ["---"] * len(head)]
    for name, source in STUDIES.items():
        if name in results:
            rows += lines(source.label, results[name])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def lines(label: str, result: dict) -> list[list[str]]:
    """The two rows of a study."""
    metrics, comparison = result["figures"], result["aam_against_random_forest"]
    first, second = METRICS[result["task"]]
    decimals = 3 if first != "mae" else 2 if metrics["random_forest"]["mae"] < 20 else 1

    def span(ends):
        return f"[{ends[0]:.{decimals}f}, {ends[1]:.{decimals}f}]"

    values = {method: f"{metrics[method][first]:.{decimals}f}" for method in METHODS}
    aam_is_better = (comparison["difference"] < 0) == (first == "mae")
    better = "aam" if aam_is_better else "random_forest"
    values[better] = f"**{values[better]}**"
    seeds = f"{result['seeds']} seed{'s' if result['seeds'] > 1 else ''}"
    return [
        [
            label,
            f"{result['samples']:,} ({comparison['subjects']:,})",
            NAMES[first],
            *values.values(),
            span(comparison["interval"]),
            f"{comparison['difference']:+.{decimals}f} {span(comparison['difference_interval'])}",
            f"{comparison['p']:.3f}" if comparison["p"] >= 0.001 else f"{comparison['p']:.0e}",
            f"{result['cpu_s']:,.0f}",
            f"{result['date']}, {result['mode']}, {seeds}",
        ],
        ["", "", NAMES[second], *(f"{metrics[m][second]:.3f}" for m in METHODS), *[""] * 5],
    ]


def with_table(page: str, results: dict[str, dict]) -> str:
    """The page with the table between the markers, or at its end if it has none."""
    if BEGIN not in page:
        page = page.rstrip("\n") + "\n" + SECTION
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(results)}\n\n{LEGEND}\n{END}{after}"


def read(output: Path) -> dict[str, dict]:
    """The last result of each study."""
    return json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}


def save(name: str, result: dict, output: Path, docs: Path | None) -> None:
    """Write the result of a study to those of the others."""
    results = read(output) | {name: result}
    with replacing(output) as file:
        write_json(file, {name: results[name] for name in STUDIES if name in results})
    if docs is not None:
        page = with_table(docs.read_text(encoding="utf-8"), results)
        with replacing(docs) as file:
            file.write_text(page, encoding="utf-8")


# --- running -------------------------------------------------------------------------------------


def choose(args: argparse.Namespace) -> list[str]:
    """Studies to run; names those that are skipped, as their data are missing."""
    wanted = args.study or [n for n, each in STUDIES.items() if args.mode == "full" or each.quick]
    folders = {name: STUDIES[name].folder for name in wanted}
    absent = [name for name, it in folders.items() if it and not (args.data / it).is_dir()]
    if absent:
        print(f"Skipped, no data in {args.data}: {', '.join(absent)}", file=sys.stderr)
    return [name for name in STUDIES if name in wanted and name not in absent]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--mode", choices=("quick", "full"), default="quick", help="Some studies, or all of them."
    )
    parser.add_argument(
        "--study", choices=STUDIES, action="append", help="This one, whatever the mode; repeatable."
    )
    parser.add_argument("--seeds", type=int, help="Default: 1, in the full mode 3.")
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the public studies.")
    parser.add_argument(
        "--threads", type=int, default=1, help="Of each study; small networks gain little by more."
    )
    parser.add_argument("--jobs", type=int, help="Studies at a time (default: as cores allow).")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    args = parser.parse_args()
    seeds = args.seeds or {"quick": 1, "full": 3}[args.mode]
    if args.threads < 1:
        parser.error(f"--threads is {args.threads}; it must be at least 1")
    os.environ["LOKY_MAX_CPU_COUNT"] = str(args.threads)  # all cores, to a forest
    # A trial run must not replace the real results.
    output, docs = args.output or RESULTS, None if args.no_docs or args.output else DOCS
    jobs = max(1, args.jobs or (os.cpu_count() or 1) // args.threads)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        options = (args.data, args.mode, seeds, args.threads)
        futures = {pool.submit(run, name, *options): name for name in choose(args)}
        for future in as_completed(futures):
            save(futures[future], future.result(), output, docs)
    print(table(read(output)))


if __name__ == "__main__":
    main()
