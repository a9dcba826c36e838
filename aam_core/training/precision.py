"""Device, threads, precision, attention kernel and compilation of a run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import torch

from aam_core.config import TrainConfig
from aam_core.errors import InputError, lookup

__all__ = ["ATTENTION_KERNELS", "attention", "autocast", "cpu_threads", "find_device"]
__all__ += ["grad_scaler", "prepare_blocks", "resolve_precision"]

ATTENTION_KERNELS = {
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "math": "MATH",
}
"""Attention kernels: names of ``train.attention`` -> torch's names."""


def find_device(name: str) -> torch.device:
    """The device of a configuration; 'auto' is a GPU where there is one.

    Raises
    ------
    InputError
        If the device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        # torch.device takes any index; an allocation shows whether there is such a GPU.
        torch.empty(0, device=device)
    # A torch that was built without CUDA raises an AssertionError.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The device {name!r} is not there: {reason}") from None
    return device


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Context in which torch computes with ``count`` threads; 0 leaves their number as it is."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_precision(precision: str, device: torch.device) -> str:
    """The precision; 'auto' is bf16 on a GPU that has it, else fp32."""
    if precision != "auto":
        return precision
    # torch reports bf16 for older GPUs too, which emulate it.
    able = device.type == "cuda" and (
        torch.version.hip or torch.cuda.get_device_capability(device) >= (8, 0)
    )
    return "bf16" if able else "fp32"


def autocast(device: torch.device, precision: str):
    """Context of the forward pass: autocast, unless the precision is fp32."""
    precision = resolve_precision(precision, device)
    if precision == "fp32":
        return contextlib.nullcontext()
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind)


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Scales the loss in fp16, whose gradients would underflow; disabled otherwise."""
    return torch.amp.GradScaler(device.type, enabled=resolve_precision(precision, device) == "fp16")


def attention(choice: str):
    """Context in which attention uses the chosen kernel wherever it can.

    Most kernels support no padding mask, or not every precision: then another one runs.

    Raises
    ------
    InputError
        If this torch has no such kernel.
    """
    if choice == "auto":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = getattr(SDPBackend, lookup(ATTENTION_KERNELS, choice, "attention kernel"), None)
    if backend is None:
        raise InputError(f"torch {torch.__version__} has no {choice!r} attention kernel.")
    others = [] if choice == "math" else [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel([backend, *others])


def prepare_blocks(network, config: TrainConfig, device: torch.device) -> None:
    """Set gradient checkpointing and compilation of the blocks; parameters keep their names.

    Raises
    ------
    InputError
        If there is no compiler.
    """
    if config.compile and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise InputError("train.compile needs a C++ compiler (g++ or clang++), which is not here.")
    for block in network.blocks():
        block.recompute = config.gradient_checkpointing
        if config.compile:
            # In place: a wrapper would prefix the names. Dynamic: the sizes differ in each batch.
            block.compile(dynamic=True)
