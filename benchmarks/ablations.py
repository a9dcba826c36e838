"""What was tried: variants of the default beside it, by cross-validation on the same folds.

Tables on stdout and in docs/benchmarks.md, figures in benchmarks/results/ablations.json. Each row
is written as soon as it is there; rows that are there already, with the same settings, are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ablation_encoders import load
from ablation_fits import lacks, too_many
from ablation_results import against, is_there, measure, settings
from ablation_rows import QUESTIONS, Row, rows, with_references
from ablation_tables import with_tables, written
from accuracy import DATA, DOCS, ROOT
from accuracy_studies import STUDIES

from aam_core.errors import InputError
from aam_core.files.writing import replacing, write_json

RESULTS = ROOT / "benchmarks" / "results" / "ablations.json"
DEFAULT_STUDIES = ("ecam", "ibd-rarefied")

Results = dict[str, dict[str, dict]]
"""Study -> row -> what was found."""


def read(output: Path) -> Results:
    """What there is."""
    return json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}


def keep(name: str, row: Row, result: dict, output: Path, docs: Path | None) -> None:
    """Write the result of a row beside the others, in their order."""
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
    """Studies and rows to run, with those they are compared with; says what is left out."""
    wanted = args.study or DEFAULT_STUDIES
    folders = {name: STUDIES[name].folder for name in wanted}
    absent = [name for name, it in folders.items() if it and not (args.data / it).is_dir()]
    if absent:
        print(f"Left out, their data are not in {args.data}: {', '.join(absent)}", file=sys.stderr)
    known = rows()
    names = args.row or [
        name
        for name, row in known.items()
        if not args.question or set(args.question) & set(row.questions)
    ]
    found = []
    for study in (name for name in STUDIES if name in wanted and name not in absent):
        lacking = {name: lacks(known[name], study, args.data) for name in names}
        for name in (name for name in names if not lacking[name]):
            if too_many(known[name], study, load(study, args.data)):
                lacking[name] = "more samples"
        for what in sorted({what for what in lacking.values() if what}):
            gone = [name for name, why in lacking.items() if why == what]
            print(f"{study}: left out, for want of {what}: {'; '.join(gone)}", file=sys.stderr)
        runnable = [name for name in names if not lacking[name]]
        found += [(study, row) for row in with_references(runnable)]
    return found


def run_all(args: argparse.Namespace, output: Path, docs: Path | None) -> None:
    """Run what is not there yet."""
    for name, row in choose(args):
        found = read(output).get(name, {})
        asked = not args.row or row.name in args.row
        wanted = settings(row, args.seeds, args.steps)
        if is_there(row, wanted, found) and not (args.again and asked):
            print(f"{name}: {row.name}: there already", file=sys.stderr, flush=True)
            continue
        missing = [other for other in row.against if "predictions" not in found.get(other, {})]
        if missing:
            print(f"{name}: {row.name}: not run, without {missing[0]}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {row.name}", file=sys.stderr, flush=True)
        try:
            runs, result = measure(row, name, args)
        except InputError as error:
            print(f"{name}: {row.name}: {error}", file=sys.stderr, flush=True)
            continue
        result["against"] = against(row, runs, name, args.data, found)
        keep(name, row, result, output, docs)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--question", type=int, choices=QUESTIONS, action="append", help="Repeat.")
    parser.add_argument("--row", action="append", metavar="NAME", help="Only this; repeatable.")
    parser.add_argument("--list", action="store_true", help="Name the rows, and run nothing.")
    parser.add_argument(
        "--study",
        choices=STUDIES,
        action="append",
        help=f"Repeatable; default: {', '.join(DEFAULT_STUDIES)}.",
    )
    parser.add_argument("--again", action="store_true", help="Run rows that are there, too.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA, help="Folder of the public studies.")
    parser.add_argument("--threads", type=int, default=0, help="Default: all cores.")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--no-docs", action="store_true", help=f"Leave docs/{DOCS.name} alone.")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)  # of every training: a trial
    args = parser.parse_args(given)
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
        os.environ["LOKY_MAX_CPU_COUNT"] = str(args.threads)  # what a forest takes "all" to be
    # A trial must not replace the real figures.
    output, docs = args.output or RESULTS, None if args.no_docs or args.output else DOCS
    if args.steps and not args.output:
        sys.exit("--steps is for trials: give an --output of its own")
    run_all(args, output, docs)
    print(written(read(output)))


if __name__ == "__main__":
    main()
