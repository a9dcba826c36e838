"""Memory of a training step, and the largest batch that fits a device.

Letters: B samples of this rank, A ASVs of the richest of them, U distinct ASVs, G samples of all
processes, M queries of hidden ASVs.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from aam_core.config import Config, ModelConfig
from aam_core.data.batches import EVALUATION
from aam_core.errors import InputError
from aam_core.models import masking, pooling
from aam_core.models.network import Network, Parts, part_of
from aam_core.training.job import TrainingJob
from aam_core.training.optimizers import OPTIMIZERS
from aam_core.training.parallel import ProcessGroup
from aam_core.training.step import Stepper

__all__ = [
    "GB",
    "borrowed",
    "check_size",
    "describe",
    "free_gb",
    "largest_batch",
    "peak_gb",
    "step_gb",
]

GB = 1e9

_SHARE = 0.8
"""Share of the free memory that a step may fill: the rest is for temporary tensors."""


def check_size(config: ModelConfig, parts: Parts) -> None:
    """Refuse a network whose weights alone the memory of this machine cannot hold.

    They are counted without being made, for two members of however many.

    Raises
    ------
    InputError
        It says how many there are, and what is free.
    """
    # One member of each kind: those with random Fourier features have a larger first map.
    counted = min(config.members, 2)
    with torch.device("meta"):
        network = Network(replace(config, members=counted), parts)
    needed = 4 * sum(value.numel() for value in network.state_dict().values()) / GB
    needed *= config.members / counted
    free = free_gb(torch.device("cpu"))
    if needed > free:
        raise InputError(
            f"The network's weights need {needed:,.0f} GB of memory, and {free:.1f} GB are free: "
            "make model.encoder.width, the depths, model.members or mlp_ratio smaller."
        )


def describe(network: nn.Module, config: Config) -> list[str]:
    """Lines on the parameters of a network and on how it is trained."""
    parts: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        parts[part_of(name)] += parameter.numel()
    total = parts.total()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = f" ({total - trained:,} of them not trained)" if trained < total else ""
    optim, train = config.optim, config.train
    more = [f"{config.model.members} members"] if config.model.members > 1 else []
    more += [train.precision]
    more += ["compiled"] if train.compile else []
    more += ["gradient checkpointing"] if train.gradient_checkpointing else []
    more += [f"{train.accumulate} micro-steps"] if train.accumulate > 1 else []
    more += [f"average of the weights ({optim.ema:g})"] if optim.ema else []
    return [
        f"{total:,} parameters{frozen}: "
        + ", ".join(f"{name} {count:,}" for name, count in parts.items()),
        f"{optim.optimizer}, learning rate {optim.lr:g} ({optim.schedule}), {', '.join(more)}",
    ]


def step_gb(job: TrainingJob, group: ProcessGroup) -> float:
    """Estimated memory of a training step on each device, in GB.

    Weights, gradients, the optimizer's state, and the activations of the largest micro-batch of
    this rank: these are measured on a few small batches of the richest samples, and extrapolated.
    It is not collective.

    Parameters
    ----------
    job : TrainingJob
        Its network is on the device, and not yet wrapped or sharded: this comes before `Trainer`
        and `Stepper`, and leaves it as it was.
    group : ProcessGroup

    Returns
    -------
    float
        NaN if not even these batches fit, unsharded; the run itself may.
    """
    try:
        with borrowed(job.network):
            return _estimate(_Probe(job, group))(job.config.train.batch_size)
    except torch.cuda.OutOfMemoryError:
        return math.nan


def largest_batch(job: TrainingJob, group: ProcessGroup) -> int:
    """The largest batch size that fits the memory of every rank; collective.

    The memory is ``train.max_memory_gb``, or 80 % of what is free. On a GPU every candidate is
    tried; elsewhere it is estimated as by `step_gb`, at the same point of a run.

    Returns
    -------
    int
        At most the number of training samples; a multiple of ranks times micro-steps.

    Raises
    ------
    InputError
        If not even the smallest batch fits.
    """
    unit = group.world_size * job.config.train.accumulate
    samples = max(2, len(job.train))
    low = min(max(2, unit), samples)
    high = max(low, samples // unit * unit)
    budget = job.config.train.max_memory_gb or _SHARE * free_gb(group.device)
    with borrowed(job.network):
        probe = _Probe(job, group)
        needs = _trial(probe) if group.device.type == "cuda" else _estimate(probe)
        least = needs(low)
        size = _most(lambda size: needs(size) <= budget, low, high, unit) if least <= budget else 0
    needs_of_ranks = group.all_gather((size, least, budget))
    # The rank with the least room decides, for all train with one batch size.
    size, least, budget = min(needs_of_ranks)
    if not size:
        much = f"about {least:.2g} GB" if math.isfinite(least) else "more"
        raise InputError(
            f"A batch of {low} samples needs {much}, and there are {budget:.2g} GB for it: raise "
            "train.max_memory_gb if there is more, or lower data.max_asvs, the sampling depth or "
            "the model's sizes, or set train.gradient_checkpointing."
        )
    return size


def free_gb(device: torch.device) -> float:
    """Free memory for this process in GB: of its GPU, or its share of the machine's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has freed but keeps for itself counts as used there.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free + cached) / GB
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":") for line in facts.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    else:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free / int(os.environ.get("LOCAL_WORLD_SIZE", "1")) / GB


def peak_gb(device: torch.device) -> float:
    """Peak memory of this process so far in GB: of its GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GB
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would give the peak of the process that started this one
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / GB
    # ru_maxrss is in bytes on macOS, in KiB on Linux.
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo / GB


@contextlib.contextmanager
def borrowed(network: nn.Module) -> Iterator[None]:
    """Context that restores the modes of a network, and leaves no gradients."""
    training, trained = network.training, [p.requires_grad for p in network.parameters()]
    recompute = [block.recompute for block in network.blocks()]
    try:
        yield
    finally:
        network.zero_grad(set_to_none=True)
        network.train(training)
        for parameter, before in zip(network.parameters(), trained, strict=True):
            parameter.requires_grad_(before)
        for block, before in zip(network.blocks(), recompute, strict=True):
            block.recompute = before


class _Probe:
    """Steps of this rank alone on the richest training samples; they change no weights."""

    def __init__(self, job: TrainingJob, group: ProcessGroup):
        self.job, self.group = job, group
        # Compiled blocks need no more memory than others; `fixed` counts the moving average.
        config = job.config.replace({"train.compile": False, "train.accumulate": 1, "optim.ema": 0})
        self.stepper = Stepper(replace(job, config=config), group.alone(), steps=1)
        self.richness = job.batcher.richness
        self.order = job.train[np.argsort(-self.richness[job.train], kind="stable")]
        self.draw = job.batcher.draw(self.order[:2], EVALUATION)

    def own(self, size: int) -> int:
        """Largest micro-batch of this rank, in samples, for batches of this size."""
        train = self.job.config.train
        size = min(size, len(self.order))
        if train.max_asvs_per_batch:
            size = min(size, max(1, train.max_asvs_per_batch // self.richness[self.order[0]]))
        return -(-size // (self.group.world_size * train.accumulate))

    def sizes(self, samples: int) -> list[float]:
        """Sizes of a micro-batch of the richest samples: 1, U, B x A, B, B x G, M.

        B x A as the network pads them; M queries, as many as there may be.
        """
        drawn = len(self.draw.samples)
        if samples > drawn:
            more = self.order[: max(samples, 2 * drawn)]
            self.draw = self.job.batcher.draw(more, EVALUATION)
        asvs = [len(kept) for kept in self.draw.selected[:samples]]
        distinct = len(np.unique(self.draw.place[: sum(asvs)]))
        return [
            1,
            distinct,
            self.padded(asvs),
            samples,
            samples * samples * self.group.world_size,
            masking.most_queries(asvs, self.job.config.masking),
        ]

    def padded(self, asvs: list[int]) -> int:
        """ASVs of samples with as many, and what they are padded with."""
        if self.job.network.pools_at_once and self.group.device.type == "cpu":
            return pooling.padded(asvs)
        return len(asvs) * max(asvs)

    def step(self, samples: np.ndarray) -> float:
        """Forward and backward; how many queries there were."""
        _, counts = self.stepper.gradients(samples, EVALUATION, step=0)
        self.stepper.network.zero_grad(set_to_none=True)
        return float(counts.get("presence", 0))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Two of the richest samples, and of the poorest.

        Where ASVs are queried, of one study each: another sample of it must lack them.
        """
        of_study = self.job.batcher.source
        if of_study is None:
            return self.order[:2], self.order[-2:]
        source = of_study[self.order]
        ends = (self.order[source == source[0]], self.order[source == source[-1]])
        return ends[0][:2], ends[1][-2:]

    def fixed(self) -> float:
        """Bytes of weights, gradients and the optimizer's state."""
        config, group = self.job.config, self.group
        weights = trained = 0
        for parameter in self.job.network.parameters():
            size = parameter.numel() * parameter.element_size()
            weights += size
            trained += size * parameter.requires_grad
        states = 1 + OPTIMIZERS[config.optim.optimizer].states + (config.optim.ema > 0)
        if group.world_size > 1 and config.train.strategy == "ddp":
            states += 1  # the gradients on their way between the processes
        size = weights + states * trained
        return size / group.world_size if config.train.strategy == "fsdp" else size


def _trial(probe: _Probe) -> Callable[[int], float]:
    """GB of a batch size on a GPU, by trying it; infinite if it does not fit."""
    device = probe.group.device

    def needs(size: int) -> float:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            probe.step(probe.order[: probe.own(size)])
        except torch.cuda.OutOfMemoryError:
            probe.stepper.network.zero_grad(set_to_none=True)
            return math.inf
        return (probe.fixed() + torch.cuda.max_memory_allocated(device) - before) / GB

    return needs


def _estimate(probe: _Probe) -> Callable[[int], float]:
    """GB of a batch size, extrapolated from the activations of small batches."""
    from scipy.optimize import nnls

    network, (rich, poor) = probe.job.network, probe.pairs()
    last = [] if network.bases is None else network.bases.blocks[-1:]
    for blocks in (last, network.members[-1].samples.blocks[-1:]):
        for block in blocks:
            block.recompute = False  # the backward pass has one recomputed block in memory
    # Repeated samples have no more distinct ASVs, so that the coefficients are identifiable.
    batches = [rich, np.tile(rich, 2), poor, np.tile(poor, 4), np.tile(poor, 8)]
    if probe.job.network.parts.presence:
        batches.append(rich[:1])  # none is queried: no other sample lacks what it has
    sizes, kept = [], []
    for samples in batches:
        draw = probe.job.batcher.draw(samples, EVALUATION)
        asvs = probe.padded([len(kept) for kept in draw.selected])
        size, queries = _kept(probe, samples)
        kept.append(size)
        sizes.append([1, len(draw.features), asvs, len(samples), len(samples) ** 2, queries])
    sizes = np.array(sizes, float)
    scale = sizes.max(0).clip(1)
    # Non-negative, as no size can save memory; scaled, as the sizes differ by orders of magnitude.
    rates = nnls(sizes / scale, np.array(kept))[0] / scale

    def needs(size: int) -> float:
        return (probe.fixed() + float(rates @ probe.sizes(probe.own(size)))) / GB

    return needs


def _kept(probe: _Probe, samples: np.ndarray) -> tuple[float, float]:
    """Bytes of the activations that a step keeps for its backward pass, and its queries."""
    # Weights that the graph keeps are counted in `fixed`.
    weights = {p.untyped_storage().data_ptr() for p in probe.job.network.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            # By storage: several views of a tensor are kept once.
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        queries = probe.step(samples)
    return float(sum(sizes.values())), queries


def _most(fits: Callable[[int], bool], low: int, high: int, unit: int) -> int:
    """The largest multiple of ``unit`` up to ``high`` that fits, given that ``low`` does."""
    while low < high:
        tried = min(2 * low, high)
        if not fits(tried):
            break
        low = tried
    else:
        return low
    while tried - low > unit:
        middle = (low + tried) // 2 // unit * unit
        low, tried = (middle, tried) if fits(middle) else (low, middle)
    return low
