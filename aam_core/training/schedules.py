"""Learning rate of every step: a linear warm-up, then one of `SCHEDULES`.

One more schedule: a function of the progress and an entry of `SCHEDULES`, and its name in the
choices of ``optim.schedule`` (`aam_core.config.training`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from aam_core.config import OptimConfig
from aam_core.errors import lookup

__all__ = ["SCHEDULES", "Schedule", "lr_factor"]


def lr_factor(config: OptimConfig, steps: int, step: int) -> float:
    """Factor of the peak rate at ``step``, counted from 0, of a run of ``steps``.

    The warm-up is a share of all steps, at least one and never the last: a short run leaves it
    too. A schedule that falls to 0 would reach it at ``step == steps``, so that no step is lost.

    Raises
    ------
    InputError
        If the schedule is none of `SCHEDULES`.
    """
    schedule = lookup(SCHEDULES, config.schedule, "schedule")
    warmup = min(max(1, round(config.warmup * steps)), steps - 1)
    if step < warmup:
        if config.schedule == "one-cycle":  # which rises by a cosine too
            # It starts at 1/25 of the peak, as OneCycleLR of torch does (div_factor).
            return 1.0 - (1.0 - 1 / 25) * _half_cosine(step / warmup)
        return (step + 1) / warmup
    return schedule(min(step, steps) - warmup, max(1, steps - warmup), config)


def _cosine(after: int, steps: int, config: OptimConfig) -> float:
    """Loshchilov and Hutter 2017, equation 5, without restarts."""
    return _half_cosine(after / steps)


def _restarts(after: int, steps: int, config: OptimConfig) -> float:
    """The same, with cycles of one length."""
    # At the very end the modulo would start another cycle, at the peak.
    return _half_cosine(after * config.cycles % steps / steps) if after < steps else 0.0


def _one_cycle(after: int, steps: int, config: OptimConfig) -> float:
    """Smith and Topin 2018."""
    return 1e-4 + (1.0 - 1e-4) * _half_cosine(after / steps)


def _polynomial(after: int, steps: int, config: OptimConfig) -> float:
    return (1.0 - after / steps) ** config.power


def _constant(after: int, steps: int, config: OptimConfig) -> float:
    return 1.0


def _half_cosine(done: float) -> float:
    """From 1 to 0, level at both ends."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable[[int, int, OptimConfig], float]] = {
    "cosine": _cosine,
    "restarts": _restarts,
    "plateau": _constant,  # `Schedule.end_epoch` scales it
    "one-cycle": _one_cycle,
    "polynomial": _polynomial,
    "constant": _constant,
}
"""Factors by the names of ``optim.schedule``: of the steps after the warm-up, how many are done and
how many there are."""


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
        return self.scale * lr_factor(self.config, self.steps, self.step)

    def advance(self) -> None:
        """Go on to the next step; to be called after each optimizer step."""
        self.step += 1
        self._set()

    def end_epoch(self, improved: bool) -> None:
        """Lower the rates under 'plateau'; to be called after each epoch.

        Parameters
        ----------
        improved : bool
            Whether its validation was the best so far.
        """
        if self.config.schedule != "plateau":
            return
        self.waited = 0 if improved else self.waited + 1
        if not improved and self.waited >= self.config.plateau_patience:
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

    def state_dict(self) -> dict[str, Any]:
        """JSON. It holds no rate: a resumed run may have another one."""
        return {"step": self.step, "scale": self.scale, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; the scale of 'plateau' is dropped under another schedule."""
        self.step = state["step"]
        if self.config.schedule == "plateau":
            self.scale, self.waited = state["scale"], state["waited"]
        self._set()

    def _set(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.factor()
