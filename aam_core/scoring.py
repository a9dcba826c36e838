"""How a freshly trained model does on its validation samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from aam_core.data.batches import Batcher
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.model import Model
from aam_core.prediction import in_units, override, predicted_distances, stream
from aam_core.tasks.losses import true_distance

MOST_SAMPLES = 500
"""Validation samples whose pairs are scored: 124,750 pairs tell R2 to the third digit."""


def distances(model: Model, study: Study) -> pd.DataFrame:
    """Pairs of validation samples: ``actual`` and ``prediction`` of their distance.

    Both are of the same draw of reads of the same, uncorrupted samples.
    """
    ids = model.val_samples
    if len(ids) > MOST_SAMPLES:
        rng = np.random.default_rng(model.config.train.seed)
        ids = [ids[i] for i in np.sort(rng.choice(len(ids), MOST_SAMPLES, replace=False))]
    held = study.select(ids)
    predicted = predicted_distances(model, held, device=model.config.train.device).to_numpy()
    data, seed = model.config.data, model.config.train.seed
    no_vectors = torch.empty(len(held.feature_ids), 0)
    batcher = Batcher(held, data, seed, distances=True, asv_vectors=no_vectors)
    batch = batcher.batch(np.arange(len(ids)))
    actual = true_distance(batch, held.phylogeny, model.config.loss).numpy()
    row, column = np.triu_indices(len(ids), 1)
    return pd.DataFrame({"actual": actual[row, column], "prediction": predicted[row, column]})


def left_out(
    model: Model, study: Study, split: Split, among: np.ndarray | None = None
) -> np.ndarray:
    """What the network predicts of the validation samples, by the members that left them out.

    Parameters
    ----------
    among : ndarray, optional
        ``[K]`` bool: only by these members.

    Returns
    -------
    ndarray
        ``[n, T]``, as `prediction.in_units` gives it; NaN where no such member left a sample out.
    """
    held = study.select(split.val)
    config = override(model.config, model.config.train.device, None)
    every = len(split.val)
    masks = split.held_out(split.val, config.model.members)
    if among is not None:
        masks &= among[:, None]
    (part,) = stream(
        model.network, held, config, ("target",), model.covariates, chunk=every, left_out=masks
    )
    found = in_units(model, part["target"])
    found[~masks.any(axis=0)] = np.nan
    return found


def target(model: Model, truth: pd.Series, values: np.ndarray) -> tuple[pd.DataFrame, dict]:
    """Predictions ``[n, T]`` of the samples of ``truth`` beside it, and their metrics."""
    frame = model.target.frame(list(truth.index), values)
    table, metrics = model.target.compare(frame, truth, model.target.columns())
    frame.insert(0, "actual", table["actual"])
    return frame, metrics


def held_out(samples: int, groups: int | None) -> dict[str, int]:
    """How many samples are scored, and of how many groups, where there are any."""
    return {"samples": samples, **({} if groups is None else {"groups": groups})}


def count_groups(groups: pd.Series | None, samples: Sequence[str]) -> int | None:
    """Of how many groups, by sample id, some samples are; None where there are no groups."""
    return None if groups is None else int(groups.reindex(samples).nunique())


def held_out_in_words(counts: dict[str, int]) -> str:
    """As ``120 held-out samples of 30 groups, in 5 folds``."""
    text = f"{counts['samples']} held-out samples"
    if "groups" in counts:
        text += f" of {counts['groups']} groups"
    return text if counts.get("folds", 1) < 2 else f"{text}, in {counts['folds']} folds"


def coverage(frame: pd.DataFrame, folds: Sequence[int], nominal: float) -> float | None:
    """Share of held-out samples within the interval that the residuals of the other folds give.

    Of the residuals that a width was chosen from, the chosen share is within it by construction.
    None where there is a single fold.

    Parameters
    ----------
    frame : DataFrame
        ``actual`` and ``prediction`` of n samples.
    folds : sequence of int
        [n] fold of each.
    nominal : float
        Share that is aimed at.
    """
    folds = np.asarray(folds)
    error = (frame["actual"] - frame["prediction"]).abs().to_numpy()
    within = np.zeros(len(frame), bool)
    each = np.unique(folds)
    if len(each) < 2:
        return None
    for fold in each:
        out = folds == fold
        within[out] = error[out] <= half_width(frame[~out], nominal)
    return float(within.mean())


def half_width(frame: pd.DataFrame, coverage: float) -> float:
    """Half width of a prediction interval, from held-out residuals.

    Split conformal prediction (Lei et al. 2018, J. Am. Stat. Assoc. 113:1094, algorithm 2): the
    ``ceil((n + 1) coverage)``-th smallest absolute residual; the largest where n is too small.
    """
    residuals = np.sort((frame["actual"] - frame["prediction"]).abs().to_numpy())
    place = min(len(residuals), math.ceil((len(residuals) + 1) * coverage))
    return float(residuals[place - 1])
