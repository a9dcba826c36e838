"""Feed damaged files to the public readers: each gives a result, or refuses in one line.

Every case is a process of its own, with limits of memory and time. A case is known by the seed
and its number: ``--seed 0 --only 17`` runs it again, and ``--keep FOLDER`` keeps its file.
"""

from __future__ import annotations

import argparse
import collections
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from damage import damage
from readers import READERS
from seeds import build

from aam_core.errors import LONGEST, AAMError

SECONDS = 20
"""Processor time that a case may take; its wall-clock limit is three times that."""

BYTES = 2 * 2**30
"""Memory that a case may take on top of what the process has before it."""


@dataclass(frozen=True)
class Case:
    """How a case ended: ``how`` is 'result', 'refused' or what went wrong."""

    number: int
    reader: str
    seed: str
    how: str
    seconds: float
    megabytes: float
    said: str

    @property
    def good(self) -> bool:
        return self.how in ("result", "refused")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the case to run alone")
    parser.add_argument("--reader", choices=READERS, help="reader to feed alone")
    parser.add_argument("--keep", type=Path, help="folder for the file of a case that fails")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    numbers = range(options.cases) if options.only is None else [options.only]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aam-fuzz-") as folder:
        seeds = Path(folder, "seeds")
        seeds.mkdir()
        build(seeds)
        print(f"seeds made in {time.monotonic() - started:.0f} s", flush=True)
        cases = []
        for number in numbers:
            case = _run(number, options, seeds, Path(folder, "case"))
            if case is not None:
                cases.append(case)
                if not case.good or options.only is not None:
                    _tell(case, options.seed)
    _report(cases, time.monotonic() - started, options.seed)
    return 0 if cases and all(case.good for case in cases) else 1


def _run(number: int, options, seeds: Path, folder: Path) -> Case | None:
    rng = Random(f"{options.seed}-{number}")
    reader = rng.choice(list(READERS))
    if options.reader not in (None, reader):
        return None
    seed = rng.choice(READERS[reader].seeds)
    folder.mkdir()
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _child(rng, READERS[reader], seeds / seed, seeds, folder, sender)
    os.close(sender)
    with open(receiver, "rb") as file:
        how, before, said = f"{file.read().decode('utf-8', 'replace')}\n\n".split("\n", 2)
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    megabytes = used.ru_maxrss / 2**10 - float(before or 0)
    if os.WIFSIGNALED(status):
        stopped = signal.Signals(os.WTERMSIG(status)).name
        how = "too slow" if stopped in ("SIGALRM", "SIGXCPU", "SIGPROF") else f"died of {stopped}"
    elif how in ("result", "refused") and megabytes * 2**20 > BYTES:
        how = "too large"
    case = Case(number, reader, seed, how or "ended without a word", seconds, megabytes, said)
    if options.keep is not None and (not case.good or options.only is not None):
        shutil.copytree(
            folder, options.keep / str(number), symlinks=True, dirs_exist_ok=True, ignore=_special
        )
    shutil.rmtree(folder)
    return case


def _child(rng, reader, seed: Path, seeds: Path, folder: Path, sender: int) -> None:
    """Damage the file, set the limits, read it, send the outcome; never returns."""
    how, said, before = "", "", 0
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        before = _memory() / 2**20
        _limit()
        how = "not damaged"  # where it ends here, the fault is the fuzzer's own
        path = damage(rng, seed, folder)
        how = ""
        try:
            reader.read(path, seeds)
            how = "result"
        except AAMError as error:
            said = str(error)
            whole = said.isprintable() and 0 < len(said) <= LONGEST
            how = "refused" if whole else "not one line"
    except MemoryError:
        how, said = how or "too large", traceback.format_exc()
    except BaseException:
        how, said = how or "traceback", traceback.format_exc()
    with open(sender, "wb") as file:
        file.write(f"{how}\n{before}\n{said}".encode("utf-8", "backslashreplace"))
    os._exit(0)


def _special(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: pipes, and what is mostly holes."""
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if p.is_fifo() or (p.is_file() and p.stat().st_size > 2**30)]


def _limit() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(3 * SECONDS)
    most = _memory("VmSize") + 2 * BYTES  # what is reserved is more than what is used
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _memory(kind: str = "VmRSS") -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


def _tell(case: Case, seed: int) -> None:
    print(
        f"--- case {case.number} ({case.reader}, {case.seed}): {case.how}, {case.seconds:.1f} s, "
        f"{case.megabytes:.0f} MB; again with --seed {seed} --only {case.number}\n"
        f"{case.said[:4000]}",
        flush=True,
    )


def _report(cases: list[Case], seconds: float, seed: int) -> None:
    print(f"\n{'reader':<14}{'cases':>7}{'results':>9}{'refused':>9}{'bad':>5}{'s':>7}{'MB':>7}")
    by_reader = collections.defaultdict(list)
    for case in cases:
        by_reader[case.reader].append(case)
    for reader, some in [*sorted(by_reader.items()), ("all", cases)]:
        counts = [sum(case.how == how for case in some) for how in ("result", "refused")]
        bad = sum(not case.good for case in some)
        most = (
            max((c.seconds for c in some), default=0),
            max((c.megabytes for c in some), default=0),
        )
        print(
            f"{reader:<14}{len(some):>7}{counts[0]:>9}{counts[1]:>9}{bad:>5}{most[0]:>7.1f}"
            f"{max(0, most[1]):>7.0f}"
        )
    slowest = max(cases, key=lambda case: case.seconds, default=None)
    if slowest is not None:
        print(f"slowest: case {slowest.number} ({slowest.reader}, {slowest.seed})")
    print(f"{len(cases)} cases of seed {seed} in {seconds:.0f} s; s and MB are those of the worst")


if __name__ == "__main__":
    sys.exit(main())
