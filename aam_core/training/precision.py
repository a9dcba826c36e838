"""Device, arithmetic and kernels of a run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import torch

from aam_core.config import TrainConfig
from aam_core.errors import InputError, lookup

ATTENTION_KERNELS = {
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "math": "MATH",
}
"""Attention kernels: the configuration's name -> torch's."""


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
        torch.empty(0, device=device)
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


def resolve(precision: str, device: torch.device) -> str:
    """What 'auto' is on this device: bf16 on a GPU that has it, else fp32."""
    if precision != "auto":
        return precision
    # Older GPUs are said to support bf16 too, and emulate it.
    able = device.type == "cuda" and (
        torch.version.hip or torch.cuda.get_device_capability(device) >= (8, 0)
    )
    return "bf16" if able else "fp32"


def autocast(device: torch.device, precision: str):
    """Context of the forward pass."""
    precision = resolve(precision, device)
    if precision == "fp32":
        return contextlib.nullcontext()
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind)


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Scales the loss of fp16, whose gradients would vanish; does nothing for the others."""
    return torch.amp.GradScaler(device.type, enabled=resolve(precision, device) == "fp16")


def attention(choice: str):
    """Context in which attention runs on the chosen kernel wherever that can serve.

    Most kernels take no mask of padding, or not every precision; there, the next best runs.

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
    """Have the blocks compiled or recomputed, as configured; names of weights stay as they are.

    Raises
    ------
    InputError
        If there is nothing to compile with.
    """
    if config.compile and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise InputError("train.compile needs a C++ compiler (g++ or clang++), which is not here.")
    for block in network.blocks():
        block.recompute = config.gradient_checkpointing
        if config.compile:
            # In place, so that no name gets a prefix. Every batch has sizes of its own.
            block.compile(dynamic=True)
