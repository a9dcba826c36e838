"""Speed of pretraining and prediction: a table on stdout, figures in benchmarks/results/speed.json.

Everything is CPU seconds of one thread (``time.process_time``), and ratios compare steps that take
turns in one process, so that a busy machine disturbs both alike. Only the peak memory is another
process's: a whole pretraining run in a fresh one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import torch
from plain_reference import PADDED, OnePassNetwork, PlainBatcher

from aam_core import losses, pretrain
from aam_core.artifact import Model
from aam_core.config import Config
from aam_core.data.batch import Batcher
from aam_core.data.inputs import Study, load_study
from aam_core.data.targets import NumericTarget
from aam_core.models.model import Network, Parts
from aam_core.prediction import predict
from aam_core.presets import fitting, pretraining
from aam_core.train.report import Reporter
from aam_core.train.trainer import Job, Trainer
from aam_core.workflows import usable_samples

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "ibd"
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"

SIZES = {
    "model.encoder.width": 64,
    "model.encoder.heads": 4,
    "model.encoder.depth": 2,
    "model.sample.heads": 4,
    "model.sample.depth": 2,
    "train.batch_size": 32,
    "train.threads": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
}
SETTING = {
    **SIZES,
    "data.rarefaction": "redraw",
    "data.sampling_depth": 1000,
    "data.max_asvs": PADDED,
}
BASE_RESOLUTION = {"model.encoder.stride": 1, "model.encoder.kernel": 1, "model.encoder.kmer": 0}
"""Every base a position of its own, and nothing beside the transformer."""

AIMS = {
    "pretrain_ratio": (">=", 5.0),
    "distance_share": ("<=", 0.02),
    "peak_rss_gb": ("<", 1.5),
    "predict_samples_per_cpu_s": (">=", 36.0),
}
LABELS = {
    "pretrain_ratio": "pretraining step, times the plain reference",
    "pretrain_ratio_masked_apart": "  the same, reference reads the masked apart",
    "pretrain_samples_per_cpu_s": "pretraining, samples per CPU second",
    "distance_share": "true distances, share of the step",
    "peak_rss_gb": "peak memory of pretraining, GB",
    "predict_samples_per_cpu_s": "prediction, samples per CPU second, float32",
    "predict_samples_per_cpu_s_bf16": "  the same, bf16",
}


class Clock:
    """CPU seconds spent inside the calls of a function."""

    def __init__(self, function):
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args, **kwargs):
        start = time.process_time()
        result = self.function(*args, **kwargs)
        self.seconds += time.process_time() - start
        return result


class Side:
    """One contender: a trainer that is stepped by hand."""

    def __init__(self, study: Study, config: Config, network_type, batcher_type):
        torch.manual_seed(0)
        network = network_type(config.model, Parts(nucleotide=True, distance=True))
        batcher = batcher_type(study, config.data, config.train.seed, distances=True)
        samples, _ = usable_samples(study, config)
        place = {name: i for i, name in enumerate(study.sample_ids)}
        self.samples = np.array([place[name] for name in samples])
        # What distances cost: the table of reads that they need, and the distances.
        self.table = batcher._add_distances = Clock(batcher._add_distances)
        nobody = np.empty(0, np.int64)
        job = Job(network.train(), config, batcher, self.samples, nobody, torch.device("cpu"))
        self.trainer = Trainer(job, Reporter())

    def step(self, round_: int) -> tuple[float, float]:
        """One whole step; CPU seconds of it, and of them those for the true distances."""
        size = self.trainer.job.config.train.batch_size
        rng = np.random.default_rng(round_)
        samples = rng.choice(self.samples, min(size, len(self.samples)), replace=False)
        self.table.seconds = 0.0
        plain = losses.true_distance
        losses.true_distance = clock = Clock(plain)
        start = time.process_time()
        self.trainer._step(samples, round_)
        took = time.process_time() - start
        losses.true_distance = plain
        self.trainer.step += 1
        return took, clock.seconds + self.table.seconds


def time_pretraining(study: Study, config: Config, rounds: int) -> dict[str, float]:
    """AAM's step and the reference's, in turn, on the same samples and the same reads."""
    ours = Side(study, config, Network, Batcher)
    one_pass = Side(study, config, OnePassNetwork, PlainBatcher)
    apart = Side(study, config, Network, PlainBatcher)
    ratios, ratios_apart, rates, shares = [], [], [], []
    for round_ in range(-1, rounds):
        turns = [ours, one_pass, ours, apart, ours]
        took = [side.step(round_ + 1) for side in turns]
        if round_ < 0:
            continue  # warms up
        step = statistics.mean(took[i][0] for i in (0, 2, 4))
        ratios.append(took[1][0] / step)
        ratios_apart.append(took[3][0] / step)
        rates.append(config.train.batch_size / step)
        shares.append(statistics.mean(took[i][1] / took[i][0] for i in (0, 2, 4)))
    return {
        "pretrain_ratio": statistics.median(ratios),
        "pretrain_ratio_masked_apart": statistics.median(ratios_apart),
        "pretrain_samples_per_cpu_s": statistics.median(rates),
        "distance_share": statistics.median(shares),
    }


def time_prediction(study: Study, changes: dict, rounds: int) -> dict[str, float]:
    """From a study in memory to a table of predictions: tokens, ASV vectors, samples."""
    config = fitting().replace({**SIZES, **changes})
    torch.manual_seed(0)
    target = NumericTarget("age", 40.0, 10.0)
    network = Network(config.model, Parts(outputs=1))
    model = Model(kind="regressor", config=config, network=network, target=target)
    rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(rounds):
        for precision, found in rates.items():
            start = time.process_time()
            frame = predict(model, study, precision=precision)
            found.append(len(frame) / (time.process_time() - start))
    return {
        "predict_samples_per_cpu_s": statistics.median(rates["fp32"]),
        "predict_samples_per_cpu_s_bf16": statistics.median(rates["bf16"]),
    }


def measure_memory(changes: dict, steps: int) -> float:
    """Peak memory, in GB (1e9 bytes), of a fresh process that reads the study and pretrains."""
    command = [sys.executable, __file__, "--memory-of", json.dumps(changes), "--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def pretrain_once(changes: dict, steps: int) -> None:
    """Pretrain as a user does, folder, logs and plots included; print the peak memory."""
    config = pretraining().replace({**SETTING, **changes, "train.max_steps": steps})
    with tempfile.TemporaryDirectory() as folder:
        pretrain(read_study(), config=config, output=Path(folder) / "encoder")
    print(peak_rss() / 1e9)


def peak_rss() -> int:
    """Peak resident bytes of this process.

    Linux lets a process inherit the ``ru_maxrss`` of its parent, but not ``VmHWM``.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_study(tree: bool = True) -> Study:
    """The whole table; with the tree, less the 129 features that the tree lacks."""
    return load_study(DATA / "table.biom", tree=DATA / "tree.nwk" if tree else None)


def measure(study: Study, whole: Study, changes: dict, quick: bool, rounds: int) -> dict:
    """Every figure of one configuration."""
    config = pretraining().replace({**SETTING, **changes})
    figures = {"peak_rss_gb": measure_memory(changes, 2 if quick else 14)}
    figures |= time_pretraining(study, config, rounds)
    figures |= time_prediction(whole, changes, 1 if quick else 3)
    return {name: round(figures[name], 4) for name in LABELS}


def conditions(rounds: int) -> dict:
    """What was measured with what."""
    default = pretraining().replace(SETTING)
    return {
        "data": "ibd",
        "rounds": rounds,
        "reference_asvs_per_sample": PADDED,
        "config": default.to_dict(),
        "base_resolution_changes": BASE_RESOLUTION,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "cpu": {"machine": platform.machine(), "torch": torch.backends.cpu.get_cpu_capability()},
    }


def show(figures: dict) -> None:
    """Print the table."""
    print(f"{'':48}{'default':>10}{'every base':>12}{'aim':>10}")
    for name, label in LABELS.items():
        aim = "{} {:g}".format(*AIMS[name]) if name in AIMS else ""
        values = [figures[name], figures["base_resolution"][name]]
        print(f"{label:48}{values[0]:>10.4g}{values[1]:>12.4g}{aim:>10}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="A trial: few samples, one round.")
    parser.add_argument("--rounds", type=int, default=7, help="Rounds of A B A B A.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file.")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory_of is not None:
        return pretrain_once(json.loads(args.memory_of), args.steps)
    if not DATA.is_dir():
        sys.exit("The study ibd is not here: ../shared/data/ibd is absent.")
    study, whole = read_study(), read_study(tree=False)
    rounds = args.rounds
    if args.quick:
        rounds = 1
    figures = measure(study, whole, {}, args.quick, rounds)
    figures["base_resolution"] = measure(study, whole, BASE_RESOLUTION, args.quick, rounds)
    figures["conditions"] = conditions(rounds)
    show(figures)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
