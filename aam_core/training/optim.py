"""Optimizers, their parameter groups, and the learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from aam_core.config import OptimConfig
from aam_core.models.network import part_of

HEADS = ("nucleotide", "distance", "target")
"""Parts of a network that are heads."""


def make_optimizer(
    network: nn.Module,
    config: OptimConfig,
    pretrained: Collection[str] = (),
    device: torch.device | None = None,
) -> torch.optim.Optimizer:
    """The configured optimizer, with a group for every rate and decay.

    A group's "name" is "encoder" (what was pretrained), "head", "metadata" or "body"; its
    "base_lr" is the peak that `Schedule` scales. Norms and biases do not decay.

    Parameters
    ----------
    network : Module
        As it is trained: on its device, and sharded already where it will be. Parameters that
        need no gradient are left out.
    config : OptimConfig
        AdamW (Loshchilov and Hutter 2019), Adam (Kingma and Ba 2015; decay is an L2 penalty), SGD
        with momentum ``beta1`` (the same penalty), or Lion.
    pretrained : collection of str
        Names of the parameters that a pretrained encoder gave.
    device : device, optional
        Where the steps are computed; without it, where the parameters are.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            device = device or parameter.device
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
    return _build(settings, config, device)


def _build(settings, config, device):
    betas = (config.beta1, config.beta2)
    if config.optimizer == "lion":
        return Lion(settings, betas=betas)
    if config.optimizer == "sgd":  # not fused: torch has no fused SGD of sharded parameters
        return torch.optim.SGD(settings, momentum=config.beta1)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    # Fused on a CPU, a weight's last digit would depend on its place in the tensor, and so on
    # the number of devices that the tensor is spread over.
    return kind(settings, betas=betas, fused=True if device.type == "cuda" else None)


def _group(name: str, pretrained: Collection[str]) -> str:
    part = part_of(name)
    if name in pretrained:
        return "encoder"
    if part in HEADS:
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

    def _update(self, weights, group):
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


# --- schedule ------------------------------------------------------------------------------------


def factor(config: OptimConfig, steps: int, step: int) -> float:
    """What the peak rate is multiplied by at a step, counted from 0, of a run of ``steps``.

    The warm-up is a share of all steps, at least one and never the last: a short run leaves it
    too. What falls to 0 would be there at ``step == steps``, so that no step is lost.
    """
    warm = min(max(1, round(config.warmup * steps)), steps - 1)
    if step < warm:
        if config.schedule == "one-cycle":
            return 1.0 - (1.0 - 1 / 25) * _half_cosine(step / warm)
        return (step + 1) / warm
    after, rest = min(step, steps) - warm, max(1, steps - warm)
    done = after / rest
    if config.schedule == "cosine":  # Loshchilov and Hutter 2017, equation 5, without restarts
        return _half_cosine(done)
    if config.schedule == "restarts":  # the same, with cycles of one length
        return _half_cosine(after * config.cycles % rest / rest) if done < 1 else 0.0
    if config.schedule == "one-cycle":  # Smith and Topin 2018
        return 1e-4 + (1.0 - 1e-4) * _half_cosine(done)
    if config.schedule == "polynomial":
        return (1.0 - done) ** config.power
    return 1.0  # constant, and plateau before its scale


def _half_cosine(done: float) -> float:
    """From 1 to 0, level at both ends."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


class Schedule:
    """Sets the learning rates of an optimizer, once per step.

    Parameters
    ----------
    optimizer : Optimizer
        Of `make_optimizer`; its groups have the rates of the first step at once.
    config : OptimConfig
        Shape of the schedule.
    steps : int
        Optimizer steps of the whole run.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimConfig, steps: int):
        self.optimizer = optimizer
        self.config = config
        self.steps = steps
        self.step = 0
        self.scale = 1.0
        self.waited = 0
        self._set()

    def factor(self) -> float:
        """What the peak rates are multiplied by at the coming step."""
        return self.scale * factor(self.config, self.steps, self.step)

    def advance(self) -> None:
        """Go on to the next step; to be called after each optimizer step."""
        self.step += 1
        self._set()

    def observe(self, better: bool) -> None:
        """Hear, once an epoch, whether its validation was the best so far ('plateau' alone)."""
        if self.config.schedule != "plateau":
            return
        self.waited = 0 if better else self.waited + 1
        if not better and self.waited >= self.config.plateau_patience:
            self.scale *= self.config.plateau_factor
            self.waited = 0
        self._set()

    def rates(self) -> dict[str, float]:
        """Rates of the coming step: "lr", and "lr_<group>" where a group's differs from it."""
        rates = {"lr": self.config.lr * self.factor()}
        for group in self.optimizer.param_groups:
            if group["base_lr"] != self.config.lr:
                rates[f"lr_{group['name']}"] = group["lr"]
        return rates

    def state_dict(self) -> dict[str, float]:
        """Where the schedule is. It holds no rate: a resumed run may have another."""
        return {"step": self.step, "scale": self.scale, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state; under another schedule than 'plateau', its scale is dropped."""
        self.step = state["step"]
        if self.config.schedule == "plateau":
            self.scale, self.waited = state["scale"], state["waited"]
        self._set()

    def _set(self):
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.factor()
