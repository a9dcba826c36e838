"""Measurements of one process of `scale.py`: optimizer steps as the trainer runs them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from machine import peak_rss
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from aam_core.config import Config
from aam_core.config.presets import pretraining
from aam_core.data.batches import Batcher
from aam_core.data.study import Study
from aam_core.models.network import Network, Parts
from aam_core.training import memory
from aam_core.training.job import TrainingJob
from aam_core.training.parallel import ProcessGroup, join_process_group, session
from aam_core.training.step import Stepper

SEED = 0
GB = 1e9


@dataclass(frozen=True)
class Case:
    """A case to measure.

    Attributes
    ----------
    preset : str
        Size of the network.
    batch_size : int
        Samples per step and process.
    warmup, steps : int
        Steps before the measured ones, and measured steps.
    changes : dict
        Changes of the preset's settings.
    count : bool
        Count the floating-point operations of these steps, too.
    estimate : bool
        Estimate the memory, too, as a run does before it starts.
    """

    preset: str
    batch_size: int
    warmup: int
    steps: int
    changes: dict = field(default_factory=dict)
    count: bool = False
    estimate: bool = False

    def config(self, processes: int) -> Config:
        """The configuration of pretraining on so many processes."""
        sizes = {"train.batch_size": processes * self.batch_size, "train.threads": 1}
        return pretraining(self.preset).replace({**sizes, **self.changes})


def measure(study: Study, case: Case, folder: Path) -> None:
    """Run the steps with the other processes; write the measurements to ``folder/<rank>.json``."""
    torch.set_num_threads(1)
    with session():
        values, rank = _measure(study, case)
        Path(folder, f"{rank}.json").write_text(json.dumps(values), encoding="utf-8")


def _measure(study: Study, case: Case) -> tuple[dict[str, float], int]:
    """Measurements of this process, and its rank; nothing sharded outlives the call."""
    group = join_process_group(case.config(1).train)
    config = case.config(group.world_size)
    # A step of a tiny network loads all code: memory from here on is that of the real one.
    changes = {"train.batch_size": 2 * group.world_size, "train.compile": False}
    tiny = pretraining("tiny").replace({**case.changes, **changes})
    _step(Stepper(_job(study, tiny, group), group, 1), 0)
    began = peak_rss()
    stepper = Stepper(_job(study, config, group), group, case.warmup + case.steps)
    for step in range(case.warmup):
        _step(stepper, step)
    if group.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(group.device)
    start = _now(group)
    for step in range(case.warmup, case.warmup + case.steps):
        _step(stepper, step)
    wall, cpu = (after - before for before, after in zip(start, _now(group), strict=True))
    values = {
        "wall_s": wall / case.steps,
        "cpu_s": cpu / case.steps,
        "samples": config.train.batch_size,
        "state_gb": _state(stepper) / GB,
    }
    if group.device.type == "cuda":
        values["peak_gb"] = torch.cuda.max_memory_allocated(group.device) / GB
    else:
        values["peak_gb"] = peak_rss() / GB
        values["above_start_gb"] = (peak_rss() - began) / GB
    if case.estimate:
        values["estimate_gb"] = memory.step_gb(_job(study, config, group), group)
    if case.count:
        values["flops"] = _flops(study, case, group) / case.steps
    return values, group.rank


def _job(study: Study, config: Config, group: ProcessGroup) -> TrainingJob:
    torch.manual_seed(SEED)
    network = Network(config.model, Parts(nucleotide=True, distance=True)).to(group.device)
    batcher = Batcher(study, config.data, SEED, distances=True)
    everyone = np.arange(len(study.sample_ids))
    return TrainingJob(network, config, batcher, everyone, everyone[:0])


def _step(stepper: Stepper, step: int) -> None:
    """One whole step: batch, masks, forward, losses, backward, optimizer."""
    stepper.gradients(_samples(stepper, step), epoch=0, step=step)
    stepper.update()


def _samples(stepper: Stepper, step: int) -> np.ndarray:
    train = stepper.config.train
    return np.random.default_rng(step).choice(stepper.job.train, train.batch_size, replace=False)


def _now(group: ProcessGroup) -> tuple[float, float]:
    """Wall-clock and CPU seconds when the device is done."""
    if group.device.type == "cuda":
        torch.cuda.synchronize(group.device)
    return time.perf_counter(), time.process_time()


def _state(stepper: Stepper) -> int:
    """Bytes of weights, gradients and optimizer that this process holds."""
    weights = [weight for weight in stepper.network.parameters() if weight.requires_grad]
    kept = [value for state in stepper.optimizer.state.values() for value in state.values()]
    return sum(2 * _bytes(weight) for weight in weights) + sum(map(_bytes, kept))


def _bytes(tensor: torch.Tensor) -> int:
    # A shard's own part, under FSDP2.
    local = getattr(tensor, "to_local", lambda: tensor)()
    return local.numel() * local.element_size()


# --- floating-point operations -------------------------------------------------------------------


def _flops(study: Study, case: Case, group: ProcessGroup) -> int:
    """Operations of the matrix products of the measured steps, forward and backward.

    Counted without compilation and recomputation: they change how it is computed, not what.
    """
    plain = {"train.compile": False, "train.gradient_checkpointing": False}
    stepper = Stepper(_job(study, case.config(1).replace(plain), group), group, case.steps)
    with FlopCounterMode(display=False, custom_mapping=_attention()) as counter:
        for step in range(case.warmup, case.warmup + case.steps):
            stepper.gradients(_samples(stepper, step), epoch=0, step=step)
            stepper.network.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def _attention() -> dict:
    """Operations of the attention kernels, by the shapes of their inputs.

    Torch counts none on a CPU, and on a GPU also those that the backward pass recomputes.
    """

    def forward(query, key, value, *_, out_shape=None, **__):
        return sdpa_flop_count(query, key, value)

    def backward(_, query, key, value, *__, out_shape=None, **___):
        return 2 * sdpa_flop_count(query, key, value)

    counts = {}
    for kernel in ("flash_attention", "efficient_attention", "cudnn_attention"):
        for name in (kernel, f"{kernel}_for_cpu"):
            counts[f"_scaled_dot_product_{name}"] = forward
            counts[f"_scaled_dot_product_{name}_backward"] = backward
    there = {name: getattr(torch.ops.aten, name, None) for name in counts}
    return {op: counts[name] for name, op in there.items() if op is not None}
