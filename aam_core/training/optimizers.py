"""Optimizers and their parameter groups.

One more optimizer: a function and an entry of `OPTIMIZERS`, and its name in the choices of
``optim.optimizer`` (`aam_core.config.training`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import nn

from aam_core.config import OptimConfig
from aam_core.errors import lookup
from aam_core.models.network import part_of

__all__ = ["OPTIMIZERS", "Lion", "OptimizerKind", "make_optimizer"]

_HEADS = (
    "nucleotide",
    "distance",
    "count",
    "faith_pd",
    "taxonomy",
    "columns",
    "presence",
    "target",
)
"""Parts of a network that are heads."""


def make_optimizer(
    network: nn.Module,
    config: OptimConfig,
    pretrained: Collection[str] = (),
    device: torch.device | None = None,
) -> torch.optim.Optimizer:
    """The configured optimizer, with a group for every rate and decay.

    A group's "name" is "encoder" (what was pretrained), "head", "metadata" or "body"; its
    "base_lr" is the peak rate that `Schedule` scales. Norms and biases do not decay.

    Parameters
    ----------
    network : Module
        As it is trained: on its device, and sharded already where it will be. Parameters that
        need no gradient are ignored.
    config : OptimConfig
    pretrained : collection of str
        Names of the parameters that come from a pretrained encoder.
    device : device, optional
        Where the steps are computed; by default, where the parameters are.

    Raises
    ------
    InputError
        If the optimizer is none of `OPTIMIZERS`.
    """
    kind = lookup(OPTIMIZERS, config.optimizer, "optimizer")
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            device = device or parameter.device
            # By name too: the biases of numeric covariates are one parameter of two dimensions.
            matrix = parameter.ndim > 1 and not name.endswith("bias")
            groups.setdefault((_group(name, pretrained), matrix), []).append(parameter)
    assert groups, "nothing to train"
    ratio = _ratios(config)
    settings = [
        {
            "params": parameters,
            "name": name,
            "lr": config.lr * ratio[name],
            "base_lr": config.lr * ratio[name],
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (name, matrix), parameters in groups.items()
    ]
    return kind.make(settings, config, device)


def _adamw(groups: list[dict], config: OptimConfig, device: torch.device):
    """Loshchilov and Hutter 2019."""
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), fused=_fused(device))


def _adam(groups: list[dict], config: OptimConfig, device: torch.device):
    """Kingma and Ba 2015; the decay is an L2 penalty."""
    return torch.optim.Adam(groups, betas=(config.beta1, config.beta2), fused=_fused(device))


def _sgd(groups: list[dict], config: OptimConfig, device: torch.device):
    """With momentum ``beta1``; the decay is an L2 penalty."""
    # Not fused: torch has no fused SGD of sharded parameters.
    return torch.optim.SGD(groups, momentum=config.beta1)


def _lion(groups: list[dict], config: OptimConfig, device: torch.device):
    return Lion(groups, betas=(config.beta1, config.beta2))


def _fused(device: torch.device) -> bool | None:
    # Fused on a CPU, a weight's last digit would depend on its place in the tensor, and so on the
    # number of devices that the tensor is sharded over.
    return True if device.type == "cuda" else None


def _group(name: str, pretrained: Collection[str]) -> str:
    part = part_of(name)
    if name in pretrained:
        return "encoder"
    if part in _HEADS:
        return "head"
    return "metadata" if part == "fusion" else "body"


def _ratios(config: OptimConfig) -> dict[str, float]:
    return {
        "body": 1.0,
        "encoder": config.encoder_lr_ratio,
        "head": config.head_lr_ratio,
        "metadata": config.metadata_lr_ratio,
    }


class Lion(torch.optim.Optimizer):
    """Evolved sign momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    With gradient ``g``, momentum ``m`` and weight ``w``::

        w <- w - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * w)
        m <- beta2 * m + (1 - beta2) * g

    Every weight moves by ``lr``: the paper takes rates 3 to 10 times smaller than AdamW's, and
    decays as much larger.
    """

    def __init__(self, params, lr: float = 1e-4, betas=(0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient; return what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, group)
        return loss

    def _update(self, weights: list[torch.Tensor], group: dict) -> None:
        (beta1, beta2), lr = group["betas"], group["lr"]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        directions = torch._foreach_mul(momenta, beta1)
        torch._foreach_add_(directions, gradients, alpha=1 - beta1)
        for direction in directions:
            direction.sign_()
        torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
        torch._foreach_add_(weights, directions, alpha=-lr)
        torch._foreach_mul_(momenta, beta2)
        torch._foreach_add_(momenta, gradients, alpha=1 - beta2)


class OptimizerKind(NamedTuple):
    """How an optimizer is made, and what it needs.

    Attributes
    ----------
    make : callable
        Of the parameter groups, an `OptimConfig` and the device.
    states : int
        Tensors that it keeps for each weight, for the memory estimate.
    """

    make: Callable[[list[dict], OptimConfig, torch.device], torch.optim.Optimizer]
    states: int


OPTIMIZERS = {
    "adamw": OptimizerKind(_adamw, 2),
    "adam": OptimizerKind(_adam, 2),
    "sgd": OptimizerKind(_sgd, 1),
    "lion": OptimizerKind(_lion, 1),
}
"""Optimizers by the names of ``optim.optimizer``."""
