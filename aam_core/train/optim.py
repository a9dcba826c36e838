"""Optimizer and per-step schedule."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from aam_core.config import OptimConfig


def make_optimizer(
    network: nn.Module, config: OptimConfig, pretrained: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), with decay on matrices alone.

    Parameters
    ----------
    pretrained : collection of str
        Names of the parameters that a pretrained encoder gave: they learn at a rate of their own.
    """
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in pretrained, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": config.lr * (config.encoder_lr_ratio if known else 1.0),
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (known, matrix), parameters in groups.items()
        ],
        betas=(0.9, 0.99),
    )


def schedule(config: OptimConfig, steps: int):
    """Factor of the learning rate at each of ``steps`` steps: linear warm-up, then the schedule.

    The warm-up is a share of the steps, so that a short run leaves it too.
    """
    warm = max(1, round(config.warmup * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if config.schedule == "constant":
            return 1.0
        done = (step - warm) / max(1, steps - warm)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    return factor
