"""Blend weights of the networks and the forest, chosen on out-of-fold predictions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aam_core.ensemble.forest import Forest
from aam_core.ensemble.probabilities import Calibrator
from aam_core.tasks import Task

if TYPE_CHECKING:  # baselines choose weights, too, and load no torch
    from aam_core.models.network import Network

__all__ = [
    "LEAST",
    "UNKNOWN",
    "best_weights",
    "blend",
    "spread_of_passes",
    "stable_weights",
    "weights",
    "weights_in_words",
]

UNKNOWN = 0.5
"""Weight of the networks where too few samples were held out to choose one."""

LEAST = 30
"""Held-out samples below which no weight, and no kind of forest, is chosen: the choice would be
noise."""

_STEPS, _FEWER_STEPS = 20, 10
"""Weights of up to three predictions, and of more, are multiples of 1 over this: finer ones are not
told apart by some dozens of samples, and of many predictions would take long to try."""


def blend(weight: float, network: np.ndarray, forest: np.ndarray) -> np.ndarray:
    """Weighted mean of the predictions ``[N, T]`` of the networks and of the forest."""
    return weight * network + (1 - weight) * forest


def spread_of_passes(
    passes: np.ndarray,
    predictions: np.ndarray,
    weight: float = 1.0,
    by_forest: np.ndarray | None = None,
    calibrator: Calibrator | None = None,
) -> np.ndarray:
    """Standard deviation over draws of what is predicted: a number, or a class's probability.

    Parameters
    ----------
    passes : ndarray
        ``[P, N, T]`` predictions of the networks by each draw.
    predictions : ndarray
        ``[N, T]`` of the ensemble, by all draws: of classes, that of the likeliest counts.
    weight, by_forest
        As in `blend`; None without a forest, which reads all of a sample.
    calibrator : Calibrator, optional
        Of probabilities.

    Returns
    -------
    ndarray
        ``[N]``
    """
    each = [part if by_forest is None else blend(weight, part, by_forest) for part in passes]
    if calibrator is not None:
        each = [calibrator(part) for part in each]
    # Rounding leaves a deviation of equal numbers.
    spread = np.where(np.ptp(each, axis=0) > 0, np.std(each, axis=0), 0.0)
    return spread[np.arange(len(spread)), predictions.argmax(axis=1)]


def best_weights(
    predictions: Sequence[np.ndarray], y: np.ndarray, task: Task, prior: int | None = None
) -> tuple[float, ...]:
    """Weights of several predictions of the same samples that minimize the loss of their mean.

    Parameters
    ----------
    predictions : sequence of ndarray
        [n, T] each, out of fold; samples with NaN in one of them do not count.
    y : ndarray
        [n] true values, as ``task.forest_target`` gives them.
    task : Task
        Has the loss.
    prior : int, optional
        Place of a prediction that the others must improve by more than chance: minimized is the
        loss plus the standard error of its difference to that of this one alone (after the rule of
        one standard error; Breiman L et al. 1984, Classification and Regression Trees). Without it
        mixtures of forests were up to 5 % worse than the plain one on studies of the corpus. The
        standard error takes samples as independent: where they are grouped (several of a subject)
        it is a lower bound, and the rule keeps to this prediction less often than it would.

    Returns
    -------
    tuple of float
        One weight a prediction, with sum 1: 0, 0.05, ..., 1; of more than three predictions 0, 0.1,
        ..., 1. Of equal losses the most even weights.
    """
    known = _known(predictions)
    y = y[known]
    parts = [part[known] for part in predictions]
    if task.classes:
        # The loss is of the probability of the true class alone.
        parts = [part[np.arange(len(y)), y][:, None] for part in parts]
        y = np.zeros_like(y)
    *others, last = parts

    def loss(shares) -> float:
        # As differences to the last one: of equal predictions every mean is then the same to the
        # last digit, and the tie is seen.
        apart = zip(shares[:-1], others, strict=True)
        mean = last + sum(share * (part - last) for share, part in apart)
        if prior is None:
            return task.blend_loss(mean, y)
        difference = task.blend_losses(mean, y) - before
        return float(difference.sum() + difference.std() * np.sqrt(len(y)))

    before = None if prior is None else task.blend_losses(parts[prior], y)

    steps = _STEPS if len(predictions) <= 3 else _FEWER_STEPS
    some = itertools.product(range(steps + 1), repeat=len(others))
    grid = [(*few, steps - sum(few)) for few in some if sum(few) <= steps]
    # min keeps the first of equal losses, so that this order decides ties: even weights come first.
    grid.sort(key=lambda shares: sum(share**2 for share in shares))
    return min((tuple(share / steps for share in shares) for shares in grid), key=loss)


def _known(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """[n] bool: samples with all of the predictions, [n, T] each."""
    return np.all([np.isfinite(part).all(axis=1) for part in predictions], axis=0)


def stable_weights(
    predictions: Sequence[np.ndarray],
    y: np.ndarray,
    folds: np.ndarray,
    task: Task,
    prior: int | None = None,
) -> tuple[float, ...]:
    """The mean of the `best_weights` without each fold: no fold decides alone.

    Parameters
    ----------
    predictions, y, task, prior
        As in `best_weights`.
    folds : ndarray of int
        [n] fold of each sample; of one fold, among the samples that count, it is `best_weights`.
    """
    # A fold of which no sample counts would leave the weights of all samples in the mean.
    known = _known(predictions)
    each = np.unique(folds[known])
    if len(each) < 2:
        return best_weights(predictions, y, task, prior)
    chosen = [
        best_weights([part[folds != fold] for part in predictions], y[folds != fold], task, prior)
        for fold in each
    ]
    # Rounded: sums of tenths would be written with noise in their last digits.
    return tuple(round(float(mean), 4) for mean in np.mean(chosen, axis=0))


def weights(network: Network, forest: Forest | None, network_weight: float) -> dict[str, float]:
    """Blend weights by name; empty where there is nothing to blend.

    Returns
    -------
    dict
        ``network`` and ``forest``, with sum 1; and ``members_with_codes``, the share among the
        networks of those that read random Fourier features, where some do.
    """
    shares = {}
    if forest is not None:
        shares = {"network": network_weight, "forest": 1 - network_weight}
    if network.member_weight is not None:
        fourier = network.member_weight[np.flatnonzero(network.fourier_members)].sum()
        # Rounded, as the weights are float32: 0.55 would be written with noise in its last digits.
        shares["members_with_codes"] = round(float(fourier / network.member_weight.sum()), 4)
    return shares


def weights_in_words(shares: dict[str, float], samples: int) -> list[str]:
    """Sentences on the blend `weights`, chosen on so many held-out samples."""
    lines = []
    if "network" in shares:
        network, forest = shares["network"], shares["forest"]
        if samples < LEAST:
            why = f"{samples} held-out samples are too few to choose a weight"
            lines.append(f"blend weights: networks 0.5, forest 0.5 ({why})")
        elif 0 < network < 1:
            lines.append(f"blend weights: networks {network:.2f}, forest {forest:.2f}")
        else:
            alone, other = ("networks", "forest") if network else ("forest", "networks")
            lines.append(
                f"blend weights: {alone} 1, {other} 0 (predictions of held-out samples did not "
                f"improve with the {other})"
            )
    # Where the blend weight of the networks is 0, how they share it changes no prediction.
    if "members_with_codes" in shares and shares.get("network", 1.0):
        share = shares["members_with_codes"]
        lines.append(
            f"ensemble weights: members with random Fourier features {share:.2f}, "
            f"others {1 - share:.2f}"
        )
    return lines
