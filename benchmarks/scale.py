"""Scaling over processes, memory and GPU use of pretraining: tables, and results/scale.json.

Every figure comes from fresh processes that make the trainer's own optimizer steps on a simulated
study. What is compared takes turns, and medians over the rounds are given. CPU seconds are those
of all threads of a process: waiting for other processes, or for a busy machine, is not among them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; the processes inherit it

import torch
from machine import cpu, versions
from scale_steps import Case, measure

from aam_core.config.presets import NAMES
from aam_core.data.study import Study, load_study
from aam_core.simulate.study import simulate
from aam_core.training.launch.processes import run_in_processes

RESULTS = Path(__file__).resolve().parent / "results" / "scale.json"

PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
)
"""Dense bf16 operations per second of GPUs, by what their names hold, from their data sheets."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes
    ----------
    rounds : int
        Times that each figure is measured.
    samples, features : int
        Of the simulated study.
    batch_size : int
        Samples of a step that each process has.
    warmup, steps : int
        Steps before those that count, and these.
    preset, largest : str
        Of the scaling, and of the gradient checkpointing.
    presets : tuple of str
        Of the GPU's use.
    """

    rounds: int
    samples: int
    features: int
    batch_size: int
    warmup: int
    steps: int
    preset: str
    largest: str
    presets: tuple[str, ...]


ON_CPU = Scale(3, 256, 1000, 16, 2, 8, "small", "base", ("small", "base"))
ON_GPU = Scale(3, 1024, 1000, 64, 8, 20, "base", "base", ("small", "base", "large"))
QUICK = Scale(1, 16, 30, 2, 1, 1, "tiny", "tiny", ("tiny",))


@dataclasses.dataclass(frozen=True)
class Bench:
    """What measures.

    Attributes
    ----------
    scale : Scale
    study : Study
    device : str
        'cpu' or 'cuda'.
    """

    scale: Scale
    study: Study
    device: str

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU is measured."""
        return self.device == "cuda"

    def case(self, preset: str, changes: dict, **options) -> Case:
        """A case of this device; on a GPU in bf16."""
        precision = "bf16" if self.on_gpu else "fp32"
        changes = {"train.device": self.device, "train.precision": precision, **changes}
        sizes = dataclasses.asdict(self.scale)
        given = {name: sizes[name] for name in ("batch_size", "warmup", "steps")}
        return Case(preset, changes=changes, **{**given, **options})

    def run(self, case: Case, processes: int = 1) -> dict[str, float]:
        """Figures of a case: means over the processes, but the highest peak."""
        with tempfile.TemporaryDirectory() as folder:
            kwargs = {"study": self.study, "case": case, "folder": Path(folder)}
            run_in_processes(measure, kwargs, devices=processes, threads=1)
            found = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
        assert len(found) == processes
        return {
            name: (max if name.startswith("peak") else statistics.mean)(of[name] for of in found)
            for name in found[0]
        }

    def rounds(self, cases: dict[str, Callable[[], dict]]) -> dict[str, dict[str, float]]:
        """Medians of what the cases give, in turn."""
        held: dict[str, list[dict]] = {name: [] for name in cases}
        for round_ in range(self.scale.rounds):
            for name, case in cases.items():
                print(f"round {round_ + 1}: {name}", file=sys.stderr, flush=True)
                held[name].append(case())
        return {
            name: {key: statistics.median(one[key] for one in found) for key in found[0]}
            for name, found in held.items()
        }


def scaling(bench: Bench, processes: Iterable[int]) -> list[dict]:
    """Weak scaling: the samples that each process has in a step stay the same."""
    runs = [(1, "")]
    runs += [(n, strategy) for n in processes if n > 1 for strategy in ("ddp", "fsdp")]

    def one(n, strategy):
        changes = {} if n == 1 else {"train.strategy": strategy}
        return lambda: bench.run(bench.case(bench.scale.preset, changes), n)

    found = bench.rounds({f"{n} {strategy}": one(n, strategy) for n, strategy in runs})
    seconds = "wall_s" if bench.on_gpu else "cpu_s"
    alone = next(iter(found.values()))[seconds]
    return [
        {
            "processes": n,
            "strategy": strategy,
            **figures,
            "samples_per_s": figures["samples"] / figures["wall_s"],
            "efficiency": alone / figures[seconds],
        }
        for (n, strategy), figures in zip(runs, found.values(), strict=True)
    ]


def checkpointing(bench: Bench) -> list[dict]:
    """What computing the blocks again saves and costs, and how the estimate compares."""
    preset, size = bench.scale.largest, max(2, bench.scale.batch_size // 4)

    def one(on):
        changes = {"train.gradient_checkpointing": on}
        case = bench.case(preset, changes, batch_size=size, warmup=1, steps=3, estimate=True)
        return lambda: bench.run(case)

    found = bench.rounds({f"{preset}, recomputed: {on}": one(on) for on in (False, True)})
    return [
        {"preset": preset, "recomputed": on, **figures}
        for on, figures in zip((False, True), found.values(), strict=True)
    ]


def usage(bench: Bench, peak: float | None) -> list[dict]:
    """Share of a device's arithmetic that the steps use (MFU), plain and compiled."""
    both = (False, True) if bench.on_gpu else (False,)
    ways = [(preset, compiled) for preset in bench.scale.presets for compiled in both]

    def one(preset, compiled):
        case = bench.case(preset, {"train.compile": compiled}, count=True)
        return lambda: bench.run(case)

    found = bench.rounds({f"{p}, compiled: {c}": one(p, c) for p, c in ways})
    lines = []
    for (preset, compiled), figures in zip(ways, found.values(), strict=True):
        rate = figures["flops"] / figures["wall_s"]
        share = rate / peak if peak else None
        more = {"rate": rate, "mfu": share}
        lines.append({"preset": preset, "compiled": compiled, **figures, **more})
    return lines


def peak_of(device: str, given: float | None) -> float | None:
    """Operations per second that a device can make, as given (in 1e12) or known; else None."""
    if given:
        return given * 1e12
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS if part in name), None)


# --- what is shown -------------------------------------------------------------------------------


def table(rows: list[dict], columns: dict[str, Callable[[dict], str]]) -> str:
    """A Markdown table."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[show(row) for show in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(found: dict, bench: Bench) -> str:
    """All tables."""
    held = "GPU memory" if bench.on_gpu else "RSS"
    step = {
        "wall s a step": lambda row: f"{row['wall_s']:.3g}",
        "CPU s a step and process": lambda row: f"{row['cpu_s']:.3g}",
    }
    peak = {f"peak {held} of a process, GB": lambda row: f"{row['peak_gb']:.3g}"}
    above = {"of that above the start": lambda row: f"{row['above_start_gb']:.3g}"}
    columns = {
        "scaling": {
            "processes": lambda row: f"{row['processes']} {row['strategy']}".strip(),
            "samples a step": lambda row: f"{row['samples']:g}",
            **step,
            "efficiency": lambda row: f"{row['efficiency']:.0%}",
            **peak,
            "weights, gradients, optimizer, MB": lambda row: f"{row['state_gb'] * 1e3:.3g}",
        },
        "checkpointing": {
            "preset": lambda row: row["preset"],
            "gradient checkpointing": lambda row: "on" if row["recomputed"] else "off",
            **step,
            **peak,
            **({} if bench.on_gpu else above),
            "estimate": lambda row: f"{row['estimate_gb']:.3g}",
        },
        "usage": {
            "preset": lambda row: row["preset"],
            "compiled": lambda row: "yes" if row["compiled"] else "no",
            "samples a second": lambda row: f"{row['samples'] / row['wall_s']:.3g}",
            "TFLOP a step": lambda row: f"{row['flops'] / 1e12:.3g}",
            "TFLOP/s": lambda row: f"{row['rate'] / 1e12:.3g}",
            "MFU": lambda row: "?" if row["mfu"] is None else f"{row['mfu']:.1%}",
            **peak,
        },
    }
    return "\n\n".join(table(found[name], columns[name]) for name in columns if found[name])


def conditions(bench: Bench, peak: float | None) -> dict:
    """What was measured, with what."""
    device = torch.cuda.get_device_name() if bench.on_gpu else cpu()
    return {
        "data": "simulated",
        "scale": dataclasses.asdict(bench.scale),
        "settings": bench.case(bench.scale.preset, {}).changes,
        "device": device,
        "peak_flops": peak,
        "versions": versions(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Try it out in seconds.")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="Default: a GPU if there is one.")
    parser.add_argument("--preset", choices=NAMES, help="Size of the network that is scaled.")
    parser.add_argument("--batch-size", type=int, help="Samples of a step that each process has.")
    parser.add_argument("--processes", type=int, nargs="+", help="How many, one to a device.")
    parser.add_argument(
        "--peak-tflops", type=float, help="Dense bf16 peak of a device, where it is not known."
    )
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    scale = QUICK if args.quick else ON_GPU if device == "cuda" else ON_CPU
    given = {"preset": args.preset, "batch_size": args.batch_size}
    scale = dataclasses.replace(scale, **{name: it for name, it in given.items() if it})
    most = torch.cuda.device_count() if device == "cuda" else 2
    processes = args.processes or [2**i for i in range(most.bit_length())]
    made = simulate(max(scale.samples, scale.batch_size * max(processes)), scale.features)
    study = load_study(made.table, sequences=made.sequences, tree=made.tree)
    bench = Bench(scale, study, device)
    peak = peak_of(device, args.peak_tflops)
    found = {
        "scaling": scaling(bench, processes),
        "checkpointing": checkpointing(bench),
        "usage": usage(bench, peak) if bench.on_gpu or peak else [],
        "conditions": conditions(bench, peak),
    }
    print(show(found, bench))
    # A trial must not replace the real figures.
    output = args.output or (None if args.quick else RESULTS)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
