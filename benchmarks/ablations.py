"""Ablations: variants of the default, compared by cross-validation on the same folds.

Writes tables to stdout and docs/benchmarks.md, and benchmarks/results/ablations.json. A row is
written as soon as it is computed; rows that exist already, with the same settings, are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ablation_encoders import load
from ablation_fits import missing_data, too_few_samples
from ablation_results import against, is_done, measure, settings
from ablation_rows import QUESTIONS, Row, rows, with_references
from ablation_tables import all_tables, with_tables
from accuracy import DATA, DOCS, ROOT
from accuracy_studies import STUDIES

from aam_core.errors import InputError
from aam_core.files.writing import replacing, write_json

RESULTS = ROOT / "benchmarks" / "results" / "ablations.json"
DEFAULT_STUDIES = ("ecam", "ibd-rarefied")

Results = dict[str, dict[str, dict]]
"""Study -> row -> result."""


def read(output: Path) -> Results:
    """The results so far."""
    return json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}


def save(name: str, row: Row, result: dict, output: Path, docs: Path | None) -> None:
    """Write the result of a row to the others, in their order."""
    results = read(output)
    results[name] = results.get(name, {}) | {row.name: result}
    ordered = {
        study: {each: results[study][each] for each in rows() if each in results[study]}
        for study in STUDIES
        if study in results
    }
    with replacing(output) as file:
        write_json(file, ordered)
    if docs is not None:
        page = with_tables(docs.read_text(encoding="utf-8"), ordered)
        with replacing(docs) as file:
            file.write_text(page, encoding="utf-8")


def choose(args: argparse.Namespace) -> list[tuple[str, Row]]:
    """Studies and rows to run, with those they are compared with; names what is skipped."""
    wanted = args.study or DEFAULT_STUDIES
    folders = {name: STUDIES[name].folder for name in wanted}
    absent = [name for name, it in folders.items() if it and not (args.data / it).is_dir()]
    if absent:
        print(f"Skipped, no data in {args.data}: {', '.join(absent)}", file=sys.stderr)
    every = rows()
    names = args.row or [
        name
        for name, row in every.items()
        if not args.question or set(args.question) & set(row.questions)
    ]
    chosen = []
    for study in (name for name in STUDIES if name in wanted and name not in absent):
        missing = {name: missing_data(every[name], study, args.data) for name in names}
        for name in (name for name in names if not missing[name]):
            if too_few_samples(every[name], study, load(study, args.data)):
                missing[name] = "more samples"
        for what in sorted({what for what in missing.values() if what}):
            skipped = [name for name, why in missing.items() if why == what]
            print(f"{study}: skipped, needs {what}: {'; '.join(skipped)}", file=sys.stderr)
        runnable = [name for name in names if not missing[name]]
        chosen += [(study, row) for row in with_references(runnable)]
    return chosen


def run_all(args: argparse.Namespace, output: Path, docs: Path | None) -> None:
    """Run the rows that have no result yet."""
    for name, row in choose(args):
        results = read(output).get(name, {})
        chosen = not args.row or row.name in args.row
        expected = settings(row, args.seeds, args.steps)
        if is_done(row, expected, results) and not (args.again and chosen):
            print(f"{name}: {row.name}: done already", file=sys.stderr, flush=True)
            continue
        missing = [other for other in row.against if "predictions" not in results.get(other, {})]
        if missing:
            print(f"{name}: {row.name}: not run, without {missing[0]}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {row.name}", file=sys.stderr, flush=True)
        try:
            runs, result = measure(row, name, args)
        except InputError as error:
            print(f"{name}: {row.name}: {error}", file=sys.stderr, flush=True)
            continue
        result["against"] = against(row, runs, name, args.data, results)
        save(name, row, result, output, docs)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--question", type=int, choices=QUESTIONS, action="append", help="Repeat.")
    parser.add_argument("--row", action="append", metavar="NAME", help="Only this; repeatable.")
    parser.add_argument("--list", action="store_true", help="List the rows, and run nothing.")
    parser.add_argument(
        "--study",
        choices=STUDIES,
        action="append",
        help=f"Repeatable; default: {', '.join(DEFAULT_STUDIES)}.",
    )
    parser.add_argument("--again", action="store_true", help="Run rows that have results, too.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the public studies.")
    parser.add_argument("--threads", type=int, default=0, help="Default: all cores.")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)  # of every training
    args = parser.parse_args(words)
    unknown = [name for name in args.row or () if name not in rows()]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}: see --list")
    if args.seeds < 1:
        parser.error(f"--seeds is {args.seeds}; it must be at least 1")
    return args


def main() -> None:
    """Run, write, print."""
    args = arguments()
    if args.list:
        for row in rows().values():
            print(f"{','.join(map(str, sorted(row.questions)))}\t{row.name}")
        return
    if args.threads:
        os.environ["LOKY_MAX_CPU_COUNT"] = str(args.threads)  # all cores, to a forest
    # A trial run must not replace the real results.
    output, docs = args.output or RESULTS, None if args.no_docs or args.output else DOCS
    if args.steps and not args.output:
        sys.exit("--steps is for trial runs: give another --output")
    run_all(args, output, docs)
    print(all_tables(read(output)))


if __name__ == "__main__":
    main()
