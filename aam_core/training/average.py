"""Exponential moving average of the weights."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn


class Average:
    """Moving average of a network's trainable parameters.

    After update ``n`` (from 0) it is ``d * average + (1 - d) * weights`` with ``d = min(decay,
    (1 + n) / (10 + n))``: a young average follows closely, and soon forgets the untrained weights
    that it starts from.

    Parameters
    ----------
    network : Module
        As it is trained; of a sharded one, each rank averages its shards.
    decay : float
        Share of the average that an update keeps.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.count = 0
        self.trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().clone() for name, p in self.trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights; to be called after each optimizer step."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        self.count += 1
        torch._foreach_lerp_(list(self.weights.values()), list(self.trained.values()), 1 - decay)

    @contextlib.contextmanager
    def swapped(self):
        """Context in which the network has the averaged weights; afterwards, the trained ones.

        A network sharded by FSDP2 that was run within must be resharded before it is left: its
        root keeps what it gathered for a forward pass without gradient.
        """
        kept = {name: p.detach().clone() for name, p in self.trained.items()}
        _copy(self.weights, self.trained)
        try:
            yield
        finally:
            _copy(kept, self.trained)

    def state_dict(self) -> dict:
        """``{"count": int, "weights": {name: Tensor}}``; the tensors are the average's own."""
        return {"count": self.count, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state of the same network, sharded in the same way."""
        _copy({name: state["weights"][name] for name in self.weights}, self.weights)
        self.count = state["count"]


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]):
    for name, tensor in source.items():
        target[name].copy_(tensor)
