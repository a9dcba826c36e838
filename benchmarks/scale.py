"""Scaling over processes, memory and GPU use of pretraining: tables, and results/scale.json.

Every result comes from fresh processes that run the trainer's own optimizer steps on a simulated
study. Compared cases alternate, and results are medians over the rounds. CPU seconds are those
of all threads of a process: waiting for other processes, or for a busy machine, is not included.
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
"""Dense bf16 operations per second of GPUs, by parts of their names, from their data sheets."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Extent of the measurements.

    Attributes
    ----------
    rounds : int
        Repetitions of each measurement.
    samples, features : int
        Size of the simulated study.
    batch_size : int
        Samples per step and process.
    warmup, steps : int
        Steps before the measured ones, and measured steps.
    preset, largest : str
        Presets of the scaling and of the gradient checkpointing.
    presets : tuple of str
        Presets of the utilization of a GPU.
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
    """Runs the measurements.

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
        """A case on this device; on a GPU in bf16."""
        precision = "bf16" if self.on_gpu else "fp32"
        changes = {"train.device": self.device, "train.precision": precision, **changes}
        sizes = dataclasses.asdict(self.scale)
        given = {name: sizes[name] for name in ("batch_size", "warmup", "steps")}
        return Case(preset, changes=changes, **{**given, **options})

    def run(self, case: Case, processes: int = 1) -> dict[str, float]:
        """Measurements of a case: means over the processes; of peaks, the maximum."""
        with tempfile.TemporaryDirectory() as folder:
            kwargs = {"study": self.study, "case": case, "folder": Path(folder)}
            run_in_processes(measure, kwargs, devices=processes, threads=1)
            measured = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
        assert len(measured) == processes
        return {
            name: (max if name.startswith("peak") else statistics.mean)(of[name] for of in measured)
            for name in measured[0]
        }

    def rounds(self, cases: dict[str, Callable[[], dict]]) -> dict[str, dict[str, float]]:
        """Medians of the measurements of the cases, which alternate."""
        measured: dict[str, list[dict]] = {name: [] for name in cases}
        for round_ in range(self.scale.rounds):
            for name, case in cases.items():
                print(f"round {round_ + 1}: {name}", file=sys.stderr, flush=True)
                measured[name].append(case())
        return {
            name: {key: statistics.median(one[key] for one in of_case) for key in of_case[0]}
            for name, of_case in measured.items()
        }


def scaling(bench: Bench, processes: Iterable[int]) -> list[dict]:
    """Weak scaling: the samples that each process has in a step stay the same."""
    runs = [(1, "")]
    runs += [(n, strategy) for n in processes if n > 1 for strategy in ("ddp", "fsdp")]

    def one(n, strategy):
        changes = {} if n == 1 else {"train.strategy": strategy}
        return lambda: bench.run(bench.case(bench.scale.preset, changes), n)

    medians = bench.rounds({f"{n} {strategy}": one(n, strategy) for n, strategy in runs})
    seconds = "wall_s" if bench.on_gpu else "cpu_s"
    alone = next(iter(medians.values()))[seconds]
    return [
        {
            "processes": n,
            "strategy": strategy,
            **values,
            "samples_per_s": values["samples"] / values["wall_s"],
            "efficiency": alone / values[seconds],
        }
        for (n, strategy), values in zip(runs, medians.values(), strict=True)
    ]


def checkpointing(bench: Bench) -> list[dict]:
    """Memory and time with gradient checkpointing, and the estimated memory."""
    preset, size = bench.scale.largest, max(2, bench.scale.batch_size // 4)

    def one(on):
        changes = {"train.gradient_checkpointing": on}
        case = bench.case(preset, changes, batch_size=size, warmup=1, steps=3, estimate=True)
        return lambda: bench.run(case)

    medians = bench.rounds({f"{preset}, recomputed: {on}": one(on) for on in (False, True)})
    return [
        {"preset": preset, "recomputed": on, **values}
        for on, values in zip((False, True), medians.values(), strict=True)
    ]


def usage(bench: Bench, peak: float | None) -> list[dict]:
    """Model FLOPs utilization (MFU) of the steps, plain and compiled."""
    both = (False, True) if bench.on_gpu else (False,)
    ways = [(preset, compiled) for preset in bench.scale.presets for compiled in both]

    def one(preset, compiled):
        case = bench.case(preset, {"train.compile": compiled}, count=True)
        return lambda: bench.run(case)

    medians = bench.rounds({f"{p}, compiled: {c}": one(p, c) for p, c in ways})
    lines = []
    for (preset, compiled), values in zip(ways, medians.values(), strict=True):
        rate = values["flops"] / values["wall_s"]
        share = rate / peak if peak else None
        more = {"rate": rate, "mfu": share}
        lines.append({"preset": preset, "compiled": compiled, **values, **more})
    return lines


def peak_of(device: str, given: float | None) -> float | None:
    """Operations per second that a device can make, as given (in 1e12) or known; else None."""
    if given:
        return given * 1e12
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS if part in name), None)


# --- output --------------------------------------------------------------------------------------


def table(rows: list[dict], columns: dict[str, Callable[[dict], str]]) -> str:
    """A Markdown table."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[show(row) for show in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(results: dict, bench: Bench) -> str:
    """All tables."""
    kind = "GPU memory" if bench.on_gpu else "RSS"
    step = {
        "wall s a step": lambda row: f"{row['wall_s']:.3g}",
        "CPU s a step and process": lambda row: f"{row['cpu_s']:.3g}",
    }
    peak = {f"peak {kind} of a process, GB": lambda row: f"{row['peak_gb']:.3g}"}
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
    return "\n\n".join(table(results[name], columns[name]) for name in columns if results[name])


def conditions(bench: Bench, peak: float | None) -> dict:
    """Data, device, settings and versions."""
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
    parser.add_argument("--quick", action="store_true", help="Run for seconds, on a small study.")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="Default: a GPU if there is one.")
    parser.add_argument("--preset", choices=NAMES, help="Size of the network that is scaled.")
    parser.add_argument("--batch-size", type=int, help="Samples per step and process.")
    parser.add_argument("--processes", type=int, nargs="+", help="Numbers of processes.")
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
    results = {
        "scaling": scaling(bench, processes),
        "checkpointing": checkpointing(bench),
        "usage": usage(bench, peak) if bench.on_gpu or peak else [],
        "conditions": conditions(bench, peak),
    }
    print(show(results, bench))
    # A trial run must not replace the real results.
    output = args.output or (None if args.quick else RESULTS)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
