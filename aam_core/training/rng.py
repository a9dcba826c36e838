"""State of the generators that everything in a process shares, as tensors."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from aam_core.errors import InputError


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of every global generator: Python's, NumPy's, torch's, and that of a CUDA device."""
    name, words, *rest = np.random.get_state()
    states = {"python": random.getstate(), "numpy": [name, words.tolist(), *rest]}
    encoded = {k: torch.tensor([*json.dumps(v).encode()]).byte() for k, v in states.items()}
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return encoded | {"torch": torch.get_rng_state()} | cuda


def set_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `rng_state` gave; a CUDA state has no use on another kind of device.

    Raises
    ------
    InputError
        If it is no such state: a checkpoint may be damaged.
    """
    try:
        version, words, gauss = json.loads(bytes(state["python"].tolist()))
        random.setstate((version, tuple(words), gauss))
        np.random.set_state(tuple(json.loads(bytes(state["numpy"].tolist()))))
        torch.set_rng_state(state["torch"])
        if device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], device)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError, RecursionError) as error:
        raise InputError(f"The states of the random generators are damaged: {error}.") from None


@contextlib.contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """What is drawn, seeded or put back in the block leaves the generators as they were."""
    before = rng_state(device)
    try:
        yield
    finally:
        set_rng_state(before, device)
