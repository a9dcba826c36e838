"""Data-parallel training: the process group, its collectives, DDP and FSDP2.

Every rank calls every collective function here, in the same order: none stands under a condition
that only some ranks meet.

Letters: B samples of this rank, G samples of all ranks, K numbers of a vector.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import gc
import inspect
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aam_core.config import TrainConfig
from aam_core.errors import InputError, first_five
from aam_core.models.network import ModelOutput
from aam_core.training.launch.environment import restart_count, world_size
from aam_core.training.precision import find_device

__all__ = [
    "ProcessGroup",
    "broadcast",
    "check_devices",
    "full_tensor",
    "join_process_group",
    "session",
    "shard_like",
]

TIMEOUT = datetime.timedelta(days=1)
"""Of collectives on the host. Rank 0 fits a forest while the others wait, which may take longer
than torch's default of 30 minutes. A rank that died is noticed at once."""

_sessions = itertools.count()

_host = None
"""Gloo group for objects on the host, whatever the device; None where no session is running."""


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Join the processes that were started together, if there are any; leave them at the end.

    Sessions may lie within one another: the outermost joins. A process group that the caller's own
    program has set up is used as it is.
    """
    global _host
    if world_size() == 1 or _host is not None:
        yield
        return
    ours = not dist.is_initialized()
    if ours:
        # The store outlives a process that dies, and a session: each has names of its own in it.
        store, rank, ranks = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"{restart_count()}-{next(_sessions)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=ranks)
    _host = dist.new_group(backend="gloo", timeout=TIMEOUT)
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


def broadcast(value):
    """The value of rank 0 of the running `session`; that of a process alone is its own."""
    if _host is None:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0, _host)
    return values[0]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and this one's rank among them.

    `join_process_group` makes it. The methods that talk to the others are collective: every rank
    calls them, in the same order.

    Attributes
    ----------
    rank, world_size : int
        Number of this process, from 0, and of all processes.
    device : torch.device
        Where this process computes.
    strategy : str
        How the network is trained on several: "ddp" or "fsdp".
    """

    rank: int
    world_size: int
    device: torch.device
    strategy: str = "ddp"

    @classmethod
    def single(cls, config: TrainConfig) -> ProcessGroup:
        """A group of this process only, on the device of a configuration."""
        return cls(0, 1, find_device(config.device), config.strategy)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and reports."""
        return self.rank == 0

    def alone(self) -> ProcessGroup:
        """A group of this process only, on the same device."""
        return dataclasses.replace(self, rank=0, world_size=1)

    def all_gather(self, value) -> list:
        """The picklable values of all ranks, in their order; exchanged on the host."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value, _host)
        return values

    def gather(self, value) -> list | None:
        """The picklable values of all ranks on rank 0; None on the others."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size if self.is_first else None
        dist.gather_object(value, values, 0, _host)
        return values

    def broadcast(self, value):
        """The picklable value of rank 0."""
        return value if self.world_size == 1 else broadcast(value)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            dist.barrier(_host)

    def all_reduce(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks of 0-d tensors, on the device, in float64; the host does not wait."""
        if self.world_size == 1 or not values:
            return values
        stacked = torch.stack([value.detach().to(torch.float64) for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked, strict=True))

    def all_gather_rows(self, rows_BK: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of all ranks ``[G, K]``, through which gradients flow back to each.

        Parameters
        ----------
        sizes : sequence of int
            Number of rows of each rank.
        """
        if self.world_size == 1:
            return rows_BK
        return _AllGatherRows.apply(rows_BK, self.rank, tuple(sizes))

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as all ranks train it: its gradients are means over the ranks.

        FSDP2 shards the parameters of ``network`` in place, block by block.
        """
        if self.world_size == 1:
            return network
        if self.strategy == "ddp":
            # The warning is about a few small parameters, and users can do nothing about it.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            ddp = nn.parallel.DistributedDataParallel
            # The buffers do not change in training: once, at the start, is enough.
            names = ("forward_sync_buffers", "broadcast_buffers")  # torch 2.13 renamed it
            sync = next(name for name in names if name in inspect.signature(ddp).parameters)
            return ddp(network, gradient_as_bucket_view=True, **{sync: False})
        try:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise InputError(
                f"train.strategy fsdp needs torch 2.6 or newer; this is {torch.__version__}."
            ) from None

        # FSDP finds the tensors of an output by pytree, which must know our class.
        _register(ModelOutput)
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        for block in network.blocks():
            fully_shard(block, mesh=mesh)
        return fully_shard(network, mesh=mesh)

    def reshard(self, network: nn.Module) -> None:
        """Free what FSDP2 gathered for a forward pass without gradient."""
        if self.world_size > 1 and self.strategy == "fsdp":
            network.reshard()

    @contextlib.contextmanager
    def sync_gradients(self, wrapped: nn.Module, is_last: bool) -> Iterator[None]:
        """Context of a micro-step: gradients are exchanged in the last one of a step only."""
        if self.world_size == 1:
            yield
        elif self.strategy == "ddp":
            with contextlib.nullcontext() if is_last else wrapped.no_sync():
                yield
        else:
            wrapped.set_requires_gradient_sync(is_last)
            yield


def join_process_group(config: TrainConfig) -> ProcessGroup:
    """The processes of the running `session`, or this process alone; collective.

    On a machine with GPUs, this one becomes the process's current GPU: this comes before anything
    is put on a device.

    Raises
    ------
    InputError
        If the device does not exist here, or some ranks have no GPU of their own.
    """
    if _host is None:
        return ProcessGroup.single(config)
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if config.device.startswith("cuda:"):
        raise InputError(f"The device {config.device!r} is one; several processes take 'cuda'.")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    # Exchanged, so that all raise: the others would wait for a rank that raised alone.
    has_gpu: list = [None] * world_size
    dist.all_gather_object(has_gpu, local_rank < torch.cuda.device_count(), _host)
    if config.device in ("auto", "cuda") and torch.cuda.is_available():
        if not all(has_gpu):
            without = [rank for rank, has in enumerate(has_gpu) if not has]
            raise InputError(
                f"{len(without)} of {world_size} processes have no GPU of their own (ranks "
                f"{first_five(without)}): ask for no more devices than a machine has GPUs."
            )
        # "cuda" is the current GPU: without this, GPU 0 for every rank of a machine.
        torch.cuda.set_device(local_rank)
    return ProcessGroup(rank, world_size, find_device(config.device), config.strategy)


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


def full_tensor(tensor: Tensor) -> Tensor:
    """The unsharded tensor; collective."""
    return tensor.full_tensor() if _is_shard(tensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """``tensor`` on the device of ``other``, and sharded as ``other`` is."""
    tensor = tensor.to(other.device)
    if not _is_shard(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, other.device_mesh, other.placements)


@functools.cache
def _register(kind) -> None:
    """Register a dataclass as a pytree node."""
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


class _AllGatherRows(torch.autograd.Function):
    """All rows on every process; a row's gradient is the sum of what each made of it."""

    @staticmethod
    def forward(ctx, rows, rank, sizes):
        ctx.span = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        # all_gather takes tensors of one shape, and ranks differ in their number of samples.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        # all_reduce refuses other tensors.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.span], None, None
