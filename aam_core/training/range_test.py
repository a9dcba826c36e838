"""Learning-rate range test: the loss while the rate rises (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from aam_core.data.sampler import Sampler
from aam_core.errors import InputError
from aam_core.training.job import TrainingJob
from aam_core.training.memory import borrowed
from aam_core.training.parallel import ProcessGroup, shard_like
from aam_core.training.reporter import Reporter
from aam_core.training.step import Stepper
from aam_core.training.validation import LossSums

__all__ = ["RangeTest", "find_lr", "suggest"]

_SMOOTHING = 0.9
"""Weight of the former smoothed loss in a step."""

_DIVERGED = 4.0
"""The test ends at a smoothed loss so many times the best one."""


@dataclass(frozen=True)
class RangeTest:
    """Result of a range test.

    Attributes
    ----------
    table : DataFrame
        One row per step: ``lr``, ``loss`` and ``smoothed`` loss.
    suggestion : float
        Learning rate to train with, rounded to two digits.
    """

    table: pd.DataFrame
    suggestion: float


def find_lr(
    job: TrainingJob,
    group: ProcessGroup,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    reporter: Reporter | None = None,
) -> RangeTest:
    """Learning-rate range test (Smith 2017, arXiv:1506.01186), the rate rising exponentially.

    Parameters
    ----------
    job : TrainingJob
        The weights of its network are restored. Parameter groups keep the ratios of their rates.
    group : ProcessGroup
    low, high : float
        First and last rate.
    steps : int
        Optimizer steps, at least 20; the test ends earlier if the loss diverges.
    reporter : Reporter, optional
        Shows the progress.

    Raises
    ------
    InputError
        If the range is empty, or the loss falls nowhere in it.
    """
    if not (0 < low < high and steps >= 20):
        raise InputError(
            f"A range test goes from a learning rate above 0 to a higher one in at least 20 steps; "
            f"given are {low:g}, {high:g} and {steps}."
        )
    # At a rate of 1, the rates of the groups are their ratios.
    config = job.config.replace({"optim.lr": 1.0, "optim.ema": 0.0})
    reporter = reporter or Reporter(silent=True)
    reporter.begin(steps, stage="trying learning rates")
    with borrowed(job.network):
        stepper = Stepper(replace(job, config=config), group, steps)
        weights = stepper.weights()
        try:
            table = _rise(stepper, np.geomspace(low, high, steps), reporter)
        finally:
            _put_back(stepper.network, weights)
            reporter.close()
    return RangeTest(table, suggest(table))


def suggest(table: pd.DataFrame) -> float:
    """Rate at which the smoothed loss falls fastest, within the decade before its minimum.

    At lower rates a loss can fall faster still: at any rate, the heads soon learn the mean of
    what they predict, which tells nothing of the rate.

    Parameters
    ----------
    table : DataFrame
        As in `RangeTest`.

    Raises
    ------
    InputError
        If the loss falls nowhere by more than the noise of single steps.
    """
    rates, raw, loss = (table[name].to_numpy() for name in ("lr", "loss", "smoothed"))
    first = len(loss) // 10  # before that, it is a mean of few
    best = int(loss.argmin()) if len(loss) else 0
    # A difference of two independent steps has twice the variance of one.
    noise = np.diff(raw[: best + 1]).std() / 2**0.5 if best else 0.0
    if best <= first + 1 or loss[first] - loss[best] <= noise:
        raise InputError(
            "The loss falls at no learning rate of the range"
            + (f" (it is {loss[0]:.4g} at first, {loss[best]:.4g} at best)" if len(loss) else "")
            + ": try another range (low, high), more steps or larger batches."
        )
    first = min(best - 1, max(first, int(np.searchsorted(rates, rates[best] / 10))))
    slope = np.gradient(loss, np.log(rates))
    return float(f"{rates[first + int(slope[first:best].argmin())]:.2g}")


def _rise(stepper: Stepper, rates: np.ndarray, reporter: Reporter) -> pd.DataFrame:
    rows, smoothed, best = [], 0.0, math.inf
    batches = _cycle(Sampler(stepper.job.train, stepper.job.batcher.richness, stepper.config.train))
    for step, rate in enumerate(rates):
        epoch, samples = next(batches)
        for param_group in stepper.optimizer.param_groups:
            param_group["lr"] = rate * param_group["base_lr"]
        losses = LossSums(stepper.config.loss)
        losses.add(*stepper.gradients(samples, epoch, step))
        # All ranks must end the test at the same step, whatever their last digits.
        loss = stepper.group.broadcast(losses.values()["total_loss"])
        smoothed = _SMOOTHING * smoothed + (1 - _SMOOTHING) * loss
        # Corrected for the start at 0, as the moments of Adam are.
        mean = smoothed / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(mean) or mean > _DIVERGED * best:
            break
        best = min(best, mean)
        rows.append((rate, loss, mean))
        stepper.update()
        reporter.advance({"total_loss": loss, "lr": rate})
    return pd.DataFrame(rows, columns=["lr", "loss", "smoothed"])


def _cycle(sampler: Sampler) -> Iterator[tuple[int, np.ndarray]]:
    """Batches of one epoch after another, with its number."""
    epoch = 0
    while True:
        for samples in sampler.epoch(epoch):
            yield epoch, samples
        epoch += 1


@torch.no_grad()
def _put_back(network, weights) -> None:
    for name, value in network.state_dict().items():
        value.copy_(shard_like(weights[name], value))
