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
    "forest_in_words",
    "parts",
    "parts_in_words",
    "spread_of_passes",
    "stable_weights",
    "unknown_weight",
    "weights",
    "weights_in_words",
]

UNKNOWN = 0.5
"""Share of the linear model beside the trees where too few samples were held out to choose one."""

LEAST = 30
"""Held-out samples below which no weight, and no kind of forest, is chosen: the choice would be
noise."""

_DRAWS = 100
"""Bootstrap draws: the standard error of a mean weight is 0.05 at most."""

_STEPS, _FEWER_STEPS = 20, 10
"""Weights of up to three predictions, and of more, are multiples of 1 over this: finer ones are not
told apart by some dozens of samples, and of many predictions would take long to try."""


def unknown_weight(forest: Forest) -> float:
    """Weight of the networks where too few samples were held out to choose one.

    Networks, trees and, where there is one, a linear model count the same.
    """
    return 1 / 3 if forest.linear_share else 1 / 2


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
    counts = np.ones((1, int(_known(predictions).sum())))
    return tuple(float(weight) for weight in _best(predictions, y, task, prior, counts)[0])


def stable_weights(
    predictions: Sequence[np.ndarray], y: np.ndarray, task: Task, prior: int | None = None
) -> tuple[float, ...]:
    """The mean of the `best_weights` of bootstrap draws of the samples.

    Predictions that so many samples do not tell apart thereby weigh about the same, and one that is
    better in every draw has all weight: stacking (Wolpert DH 1992, Neural Networks 5: 241-259) with
    its weights bagged (Breiman L 1996, Machine Learning 24: 123-140).

    Parameters
    ----------
    predictions, y, task, prior
        As in `best_weights`.

    Returns
    -------
    tuple of float
        One weight a prediction, in [0, 1], with sum 1 but for rounding to four digits; the most
        even ones where no sample has all predictions.
    """
    known = int(_known(predictions).sum())
    if not known:
        return best_weights(predictions, y, task, prior)
    draws = np.random.default_rng(0).multinomial(known, np.full(known, 1 / known), size=_DRAWS)
    mean = _best(predictions, y, task, prior, draws.astype(np.float64)).mean(axis=0)
    # Rounded: means of tenths would be written with noise in their last digits.
    return tuple(round(float(weight), 4) for weight in mean)


def _known(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """[n] bool: samples with all of the predictions, [n, T] each."""
    return np.all([np.isfinite(part).all(axis=1) for part in predictions], axis=0)


def _grid(predictions: int) -> np.ndarray:
    """[G, predictions] weights that are tried, the most even first."""
    steps = _STEPS if predictions <= 3 else _FEWER_STEPS
    some = itertools.product(range(steps + 1), repeat=predictions - 1)
    grid = [(*few, steps - sum(few)) for few in some if sum(few) <= steps]
    grid.sort(key=lambda shares: sum(share**2 for share in shares))
    return np.array(grid) / steps


def _best(predictions, y, task: Task, prior, counts: np.ndarray) -> np.ndarray:
    """[D, predictions] best weights where a known sample counts as often as ``counts`` [D, n]."""
    known = _known(predictions)
    y = y[known]
    parts = [part[known] for part in predictions]
    if task.classes:
        # The loss is of the probability of the true class alone.
        parts = [part[np.arange(len(y)), y][:, None] for part in parts]
        y = np.zeros_like(y)
    *others, last = parts
    before = None if prior is None else task.blend_losses(parts[prior], y)
    samples = counts.sum(axis=1)

    def losses(shares) -> np.ndarray:
        # As differences to the last one: of equal predictions every mean is then the same to the
        # last digit, and the tie is seen.
        apart = zip(shares[:-1], others, strict=True)
        mean = last + sum(share * (part - last) for share, part in apart)
        each = task.blend_losses(mean, y)
        if before is None:
            return counts @ each
        difference = each - before
        total = counts @ difference
        # Rounding may leave a variance of equal differences just below 0.
        variance = counts @ difference**2 - total**2 / np.maximum(samples, 1)
        return total + np.sqrt(np.maximum(variance, 0.0))

    grid = _grid(len(predictions))
    total = np.array([losses(shares) for shares in grid])
    # Equal losses may differ in their last digits; argmax takes the first, so that the order of the
    # grid decides.
    least = total.min(axis=0) + 1e-12 * np.abs(total).max(axis=0)
    return grid[(total <= least).argmax(axis=0)]


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


def parts(network_weight: float, linear_share: float = 0.0) -> dict[str, float]:
    """What a model is blended of, by the names that readers know, and the share of each.

    Parameters
    ----------
    network_weight : float
        Of the networks, in [0, 1]; the forest has the rest.
    linear_share : float
        Of the linear model in what the forest predicts (`Forest.linear_share`).

    Returns
    -------
    dict
        Shares with sum 1; what has none is absent.

    Examples
    --------
    >>> parts(0.5, 0.5)
    {'networks': 0.5, 'random forest': 0.25, 'linear model': 0.25}
    """
    rest = 1 - network_weight
    shares = {
        "networks": network_weight,
        "random forest": rest * (1 - linear_share),
        "linear model": rest * linear_share,
    }
    return {name: share for name, share in shares.items() if share > 0}


def parts_in_words(network_weight: float, linear_share: float = 0.0) -> str:
    """The `parts` in percent, which add up to 100.

    Examples
    --------
    >>> parts_in_words(0.5, 0.5), parts_in_words(0.0)
    ('networks 50%, random forest 25%, linear model 25%', 'random forest alone')
    """
    shares = parts(network_weight, linear_share)
    if len(shares) == 1:
        return f"{next(iter(shares))} alone"
    percent = {name: round(100 * share) for name, share in shares.items()}
    # Rounded apart they may add up to 99 or 101.
    percent[max(shares, key=lambda name: shares[name])] += 100 - sum(percent.values())
    return ", ".join(f"{name} {number}%" for name, number in percent.items())


def forest_in_words(linear_share: float = 0.0) -> str:
    """What is blended with the networks: trees, a linear model or both."""
    return " and ".join(parts(0.0, linear_share))


def weights_in_words(
    shares: dict[str, float], samples: int, linear_share: float = 0.0
) -> list[str]:
    """Sentences on the blend `weights`, chosen on so many held-out samples."""
    lines = []
    if "network" in shares:
        network = shares["network"]
        each = [f"{name} {share:.2f}" for name, share in parts(network, linear_share).items()]
        line = f"blend weights: {', '.join(each)}"
        if samples < LEAST:
            line += f" ({samples} held-out samples are too few to choose a weight)"
        elif network in (0, 1):
            other = "networks" if network == 0 else forest_in_words(linear_share)
            line += f" (predictions of held-out samples did not improve with the {other})"
        lines.append(line)
    # Where the blend weight of the networks is 0, how they share it changes no prediction.
    if "members_with_codes" in shares and shares.get("network", 1.0):
        share = shares["members_with_codes"]
        lines.append(
            f"ensemble weights: members with random Fourier features {share:.2f}, "
            f"others {1 - share:.2f}"
        )
    return lines
