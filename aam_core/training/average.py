"""Exponential moving average of the weights.

Not `torch.optim.swa_utils.AveragedModel`: it copies the module, which FSDP2 forbids, and with it
the weights that are not trained (docs/dependencies.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["Average"]


class Average:
    """Moving average of the trained parameters of a network.

    After update ``n`` (from 0) it is ``d * average + (1 - d) * weights`` with ``d = min(decay,
    (1 + n) / (10 + n))``: a young average follows closely, and soon forgets the untrained weights
    that it starts from.

    Parameters
    ----------
    network : Module
        As it is trained; each rank averages its own shards.
    decay : float
        Weight of the former average in an update.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.count = 0
        self.trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().clone() for name, p in self.trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average; to be called after each optimizer step."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        update = get_ema_multi_avg_fn(decay)
        update(list(self.weights.values()), list(self.trained.values()), self.count)
        self.count += 1

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Context in which the network has the averaged weights; afterwards, the trained ones.

        A network sharded by FSDP2 that was run within must be resharded before it is left: its
        root keeps what it gathered for a forward pass without gradient.
        """
        trained = {name: p.detach().clone() for name, p in self.trained.items()}
        _copy(self.weights, self.trained)
        try:
            yield
        finally:
            _copy(trained, self.trained)

    def state_dict(self) -> dict:
        """``{"count": int, "weights": {name: Tensor}}``; the tensors are the average's own."""
        return {"count": self.count, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict) -> None:
        """Restore a state of the same network, sharded in the same way."""
        _copy({name: state["weights"][name] for name in self.weights}, self.weights)
        self.count = state["count"]


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in source.items():
        # In place: the optimizer and the wrapped network hold these very parameters.
        target[name].copy_(tensor)
