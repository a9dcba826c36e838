"""The processes that train one model together; a process alone is a team of one.

Every process calls every method here that talks to the others, in the same order: none of them
stands under a condition that only some processes meet.

Letters: B samples of this process, G of all processes, K numbers of a vector.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import gc
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aam_core.config import TrainConfig
from aam_core.errors import InputError, first_five
from aam_core.models.network import ModelOutput
from aam_core.training.launch import spawn
from aam_core.training.precision import find_device

LONGEST_WAIT = datetime.timedelta(days=1)
"""Until those that wait on the host give up: the first fits a forest meanwhile, which may take
longer than torch's 30 minutes. That a process has ended they notice at once."""

_sessions = itertools.count()

_host = None
"""The group that exchanges what is on the host, whatever the device; one for each process group."""


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Join the processes that were started together, if there are any; leave them at the end.

    Sessions may lie within one another: the outermost joins. A process group that the caller's own
    program has set up is used as it is.
    """
    global _host
    if spawn.world_size() == 1 or _host is not None:
        yield
        return
    ours = not dist.is_initialized()
    if ours:
        # The store outlives a process that dies, and a session: each has names of its own in it.
        store, rank, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"{spawn.restarts()}-{next(_sessions)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    _host = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    try:
        yield
    except BaseException:
        _host = None  # the others may be waiting: this process ends, and does not wait for them
        raise
    # Sharded modules that are still alive when the group goes abort the process.
    gc.collect()
    dist.barrier(_host)
    _host = None
    if ours:
        dist.destroy_process_group()


def from_first(value):
    """What the first process of the running `session` has; of one alone, its own."""
    if _host is None:
        return value
    held = [value]
    dist.broadcast_object_list(held, 0, _host)
    return held[0]


class Team:
    """The processes of the running `session`, and this one's place among them.

    Parameters
    ----------
    config : TrainConfig
        Device and strategy.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and of all.
    device : torch.device
        Where this process computes.
    """

    def __init__(self, config: TrainConfig):
        several = _host is not None
        self.rank = dist.get_rank() if several else 0
        self.size = dist.get_world_size() if several else 1
        self.strategy = config.strategy
        if several:
            self._take_gpu(config.device)
        self.device = find_device(config.device)

    def _take_gpu(self, name: str) -> None:
        """Make one GPU of the machine this process's own, before anything is put on another."""
        there, place = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
        wanted = name in ("auto", "cuda") and torch.cuda.is_available()
        without = [rank for rank, fits in enumerate(self.exchange(place < there)) if not fits]
        if name.startswith("cuda:"):
            raise InputError(f"The device {name!r} is one; several processes take 'cuda'.")
        if not wanted:
            return
        if without:
            raise InputError(
                f"{len(without)} of {self.size} processes have no GPU of their own (ranks "
                f"{first_five(without)}): ask for no more devices than a machine has GPUs."
            )
        torch.cuda.set_device(place)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def exchange(self, value) -> list:
        """What every process has, in the order of their ranks; on the host."""
        if self.size == 1:
            return [value]
        held = [None] * self.size
        dist.all_gather_object(held, value, _host)
        return held

    def collect(self, value) -> list | None:
        """What every process has, for the first process alone; None for the others."""
        if self.size == 1:
            return [value]
        held = [None] * self.size if self.first else None
        dist.gather_object(value, held, 0, _host)
        return held

    def agree(self, value):
        """What the first process has."""
        return from_first(value)

    def sum(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum numbers over the processes, on the device; nothing waits for it."""
        if self.size == 1 or not values:
            return values
        stacked = torch.stack([value.detach().to(torch.float64) for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked, strict=True))

    def gather(self, vectors_BK: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of all processes ``[G, K]``, through which gradients flow back to each.

        Parameters
        ----------
        sizes : sequence of int
            Rows that each process has.
        """
        return vectors_BK if self.size == 1 else _Gather.apply(vectors_BK, self.rank, tuple(sizes))

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as all processes train it: its gradients are means over the processes.

        FSDP2 shards the parameters of ``network`` in place, block by block.
        """
        if self.size == 1:
            return network
        if self.strategy == "ddp":
            # Of a few small parameters; it tells users nothing.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            # The buffers do not change in training: they are sent once, at the start.
            options = {"gradient_as_bucket_view": True, "broadcast_buffers": False}
            return nn.parallel.DistributedDataParallel(network, **options)
        try:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise InputError(
                f"train.strategy fsdp needs torch 2.6 or newer; this is {torch.__version__}."
            ) from None

        # FSDP finds the tensors of an output by torch's trees, which do not know our class.
        _register(ModelOutput)
        mesh = init_device_mesh(self.device.type, (self.size,))
        for block in network.blocks():
            fully_shard(block, mesh=mesh)
        return fully_shard(network, mesh=mesh)

    def reshard(self, network: nn.Module) -> None:
        """After a forward pass without gradient: let go of what FSDP2 has gathered for it."""
        if self.size > 1 and self.strategy == "fsdp":
            network.reshard()

    @contextlib.contextmanager
    def syncing(self, wrapped: nn.Module, is_last: bool) -> Iterator[None]:
        """Let processes exchange gradients at the last micro-step of a step alone."""
        if self.size == 1:
            yield
        elif self.strategy == "ddp":
            with contextlib.nullcontext() if is_last else wrapped.no_sync():
                yield
        else:
            wrapped.set_requires_gradient_sync(is_last)
            yield


def check_devices(config: TrainConfig) -> None:
    """Raise `InputError` if this machine has fewer GPUs than processes are asked for."""
    device = find_device(config.device)
    if config.devices > 1 and device.type == "mps":
        raise InputError("The device 'mps' cannot be shared: train on one device, or on 'cpu'.")
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise InputError(
            f"{config.devices} devices were asked for, and there are {torch.cuda.device_count()} "
            "GPUs: ask for no more than that, or for the device 'cpu'."
        )


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or of a shard the whole; every process must ask."""
    return tensor.full_tensor() if _is_shard(tensor) else tensor


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """``tensor`` on the device of ``model``, sharded as ``model`` is."""
    tensor = tensor.to(model.device)
    if not _is_shard(model):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, model.device_mesh, model.placements)


@functools.cache
def _register(kind) -> None:
    """Let torch's trees look into a dataclass."""
    from torch.utils._pytree import register_pytree_node

    names = [item.name for item in dataclasses.fields(kind)]
    register_pytree_node(
        kind,
        lambda value: ([getattr(value, name) for name in names], None),
        lambda parts, _: kind(**dict(zip(names, parts, strict=True))),
    )


def _is_shard(tensor: Tensor) -> bool:
    if not dist.is_available() or not dist.is_initialized():
        return False
    try:
        from torch.distributed.tensor import DTensor
    except ImportError:  # torch before 2.5, on which nothing is sharded
        return False
    return isinstance(tensor, DTensor)


class _Gather(torch.autograd.Function):
    """All rows on every process; a row's gradient is the sum of what each made of it."""

    @staticmethod
    def forward(ctx, rows, rank, sizes):
        ctx.span = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        held = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(held, padded)
        return torch.cat([part[:size] for part, size in zip(held, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.span], None, None
