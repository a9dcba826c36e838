"""Speed of pretraining and prediction: a table on stdout, and benchmarks/results/speed.json.

Times are CPU seconds of one thread. Compared cases alternate in one process, so that a busy machine
affects both alike; results are medians over the rounds. Only the peak memory is of another process:
a whole pretraining run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
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
from machine import cpu, peak_rss, versions
from plain_reference import PADDED, OnePassNetwork, PlainBatcher

from aam_core import pretrain
from aam_core.config import Config
from aam_core.config.presets import fitting, pretraining
from aam_core.data.batches import Batcher
from aam_core.data.study import Study, load_study
from aam_core.model import Model
from aam_core.models.network import Network, Parts
from aam_core.prediction import predict
from aam_core.preparation import usable_samples
from aam_core.tasks import Regression
from aam_core.training.job import TrainingJob
from aam_core.training.parallel import join_process_group
from aam_core.training.step import Stepper

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
"""One position per base, and nothing besides the transformer."""

AIMS = {
    "pretrain_ratio": (">=", 5.0),
    "distance_share": ("<=", 0.02),
    "peak_rss_gb": ("<", 1.5),
    "predict_samples_per_cpu_s": (">=", 36.0),
}
LABELS = {
    "pretrain_ratio": "pretraining step, times the plain reference",
    "pretrain_ratio_with_kernel": "  and with the kernel's share of CPU time",
    "pretrain_ratio_masked_apart": "  reference that encodes masked apart",
    "pretrain_samples_per_cpu_s": "pretraining, samples per CPU second",
    "distance_share": "true distances, share of the step",
    "peak_rss_gb": "peak memory of pretraining, GB",
    "predict_samples_per_cpu_s": "prediction, samples per CPU second, float32",
    "predict_samples_per_cpu_s_bf16": "  in bf16",
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """Extent of the measurements.

    Attributes
    ----------
    rounds, predictions : int
        Rounds of A B A C A, and predictions of the whole table. Where there are several, the
        first warms up.
    samples : int
        Samples of the study that are used; 0 for all.
    batch_size : int
        Samples of a step.
    steps : int
        Steps of the run whose memory is measured.
    plain_share : int
        With one position per base, the steps of the reference have one in so many of the samples:
        32 would take 9 GB.
    """

    rounds: int = 10
    predictions: int = 6
    samples: int = 0
    batch_size: int = 32
    steps: int = 24
    plain_share: int = 4

    def config(self, changes: dict) -> Config:
        """The configuration of pretraining."""
        sizes = {"train.batch_size": self.batch_size, "train.max_steps": self.steps}
        return pretraining().replace({**SETTING, **changes, **sizes})


FULL = Scale()
QUICK = Scale(rounds=1, predictions=1, samples=10, batch_size=2, steps=2, plain_share=1)


@dataclasses.dataclass(frozen=True)
class Cost:
    """CPU seconds: all of them, those outside the kernel, those for the true distances."""

    total: float
    user: float
    distances: float


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


def user_time() -> float:
    """CPU seconds of this process outside the kernel."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


class Side:
    """One side of the comparison: a training loop that is stepped by hand."""

    def __init__(self, study: Study, config: Config, network_type, batcher_type):
        torch.manual_seed(0)
        network = network_type(config.model, Parts(nucleotide=True, distance=True))
        batcher = batcher_type(study, config.data, config.train.seed, distances=True)
        samples, _ = usable_samples(study, config)
        place = {name: i for i, name in enumerate(study.sample_ids)}
        self.samples = np.array([place[name] for name in samples])
        nobody = np.empty(0, np.int64)
        job = TrainingJob(network, config, batcher, self.samples, nobody)
        self.stepper = Stepper(job, join_process_group(config.train), config.train.max_steps)
        self.steps = 0
        # The cost of distances: the table of reads that they need, and the distances.
        batcher.share, batcher._add_reads = Clock(batcher.share), Clock(batcher._add_reads)
        self.stepper._truth = Clock(self.stepper._truth)
        self.clocks = (batcher.share, batcher._add_reads, self.stepper._truth)

    def draw(self, round_: int) -> np.ndarray:
        """Samples of a round, the same for every side."""
        size = min(self.stepper.config.train.batch_size, len(self.samples))
        return np.random.default_rng(round_).choice(self.samples, size, replace=False)

    def step(self, samples: np.ndarray, round_: int) -> Cost:
        """One whole step: batch, masks, forward, losses, backward, optimizer."""
        for clock in self.clocks:
            clock.seconds = 0.0
        start, user = time.process_time(), user_time()
        self.stepper.gradients(samples, round_, self.steps)
        self.stepper.update()
        total, user = time.process_time() - start, user_time() - user
        self.steps += 1
        return Cost(total, user, sum(clock.seconds for clock in self.clocks))


def time_pretraining(study: Study, config: Config, rounds: int, share: int) -> dict[str, float]:
    """Steps of AAM and of the references in turn, on the same samples and reads.

    The first result is the strictest for AAM: against the cheaper reference, and without the
    kernel's CPU time, of which the reference needs a quarter to allocate its large buffers.
    The reference reads one in ``share`` samples of a round, to bound its memory.
    """
    ours = Side(study, config, Network, Batcher)
    one_pass = Side(study, config, OnePassNetwork, PlainBatcher)
    apart = Side(study, config, Network, PlainBatcher)
    measured: dict[str, list[float]] = {}
    for round_ in range(rounds):
        samples = ours.draw(round_)
        some = samples[: len(samples) // share]
        steps = [ours.step(samples, round_)]
        plain = one_pass.step(some, round_)
        steps.append(ours.step(samples, round_))
        plain_apart = apart.step(some, round_)
        steps.append(ours.step(samples, round_))
        if round_ == 0 and rounds > 1:
            continue  # warms up
        user = statistics.mean(step.user for step in steps)
        total = statistics.mean(step.total for step in steps)
        scale = len(samples) / len(some)
        values = {
            "pretrain_ratio": scale * plain.user / user,
            "pretrain_ratio_with_kernel": scale * plain.total / total,
            "pretrain_ratio_masked_apart": scale * plain_apart.user / user,
            "pretrain_samples_per_cpu_s": len(samples) / total,
            "distance_share": statistics.mean(step.distances / step.total for step in steps),
        }
        for name, value in values.items():
            measured.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in measured.items()}


def time_prediction(study: Study, changes: dict, rounds: int) -> dict[str, float]:
    """From a study in memory to a table of predictions: tokens, ASV vectors, samples."""
    config = fitting().replace({**SIZES, **changes})
    torch.manual_seed(0)
    target = Regression("age", 40.0, 10.0)
    network = Network(config.model, Parts(outputs=1))
    model = Model(kind="regressor", config=config, network=network, target=target)
    rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for round_ in range(rounds):
        for precision, measured in rates.items():
            start = time.process_time()
            frame = predict(model, study, precision=precision)
            if round_ > 0 or rounds == 1:
                measured.append(len(frame) / (time.process_time() - start))
    return {
        "predict_samples_per_cpu_s": statistics.median(rates["fp32"]),
        "predict_samples_per_cpu_s_bf16": statistics.median(rates["bf16"]),
    }


def measure_memory(changes: dict, quick: bool) -> float:
    """Peak memory, in GB (1e9 bytes), of a fresh process that reads the study and pretrains."""
    command = [sys.executable, __file__, "--memory-of", json.dumps(changes)]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def pretrain_once(changes: dict, scale: Scale) -> None:
    """Pretrain as a user does, folder, logs and plots included; print the peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        study = read_study(scale.samples)
        pretrain(study, config=scale.config(changes), output=Path(folder) / "encoder")
    print(peak_rss() / 1e9)


def read_study(samples: int = 0, tree: bool = True) -> Study:
    """The study; with the tree, less the 129 features that the tree missing_data."""
    study = load_study(DATA / "table.biom", tree=DATA / "tree.nwk" if tree else None)
    if not samples:
        return study
    some = study.select(study.sample_ids[:samples])
    present = np.flatnonzero(some.counts.getnnz(axis=0))
    return dataclasses.replace(
        some,
        feature_ids=[some.feature_ids[i] for i in present],
        sequences=[some.sequences[i] for i in present],
        counts=some.counts[:, present],
        phylogeny=some.phylogeny.take(present) if tree else None,
    )


def measure(studies: tuple[Study, Study], changes: dict, quick: bool) -> dict[str, float]:
    """All results of one configuration, on the study with its tree and on the whole table."""
    scale = QUICK if quick else FULL
    values = {"peak_rss_gb": measure_memory(changes, quick)}
    share = scale.plain_share if changes else 1
    values |= time_pretraining(studies[0], scale.config(changes), scale.rounds, share)
    values |= time_prediction(studies[1], changes, scale.predictions)
    return {name: float(f"{values[name]:.4g}") for name in LABELS}


def conditions(studies: tuple[Study, Study], scale: Scale) -> dict:
    """Data, settings, versions and CPU."""
    return {
        "data": "ibd",
        "pretraining_samples": len(studies[0].sample_ids),
        "prediction_samples": len(studies[1].sample_ids),
        "prediction_asvs": len(studies[1].feature_ids),
        "scale": dataclasses.asdict(scale),
        "reference_asvs_per_sample": PADDED,
        "pretraining": scale.config({}).to_dict(),
        "base_resolution": BASE_RESOLUTION,
        "versions": versions(),
        "cpu": cpu(),
    }


def show(values: dict) -> None:
    """Print the table."""
    print(f"{'':46}{'default':>10}{'every base':>12}{'aim':>9}")
    for name, label in LABELS.items():
        aim = "{} {:g}".format(*AIMS[name]) if name in AIMS else ""
        default, every_base = values[name], values["base_resolution"][name]
        print(f"{label:46}{default:>10.4g}{every_base:>12.4g}{aim:>9}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Run on a few samples.")
    parser.add_argument("--output", type=Path, help=f"JSON file (default: {RESULTS.name}).")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("The study ibd is not here: ../shared/data/ibd is absent.")
    torch.set_num_threads(1)
    scale = QUICK if args.quick else FULL
    if args.memory_of is not None:
        pretrain_once(json.loads(args.memory_of), scale)
        return
    studies = read_study(scale.samples), read_study(scale.samples, tree=False)
    values = measure(studies, {}, args.quick)
    values["base_resolution"] = measure(studies, BASE_RESOLUTION, args.quick)
    values["conditions"] = conditions(studies, scale)
    show(values)
    # A trial run must not replace the real results.
    output = args.output or (None if args.quick else RESULTS)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
