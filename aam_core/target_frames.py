"""The columns of predictions that belong to the target, from all parts of a model.

Letters: N samples, P passes, T outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.data.metadata import require_columns
from aam_core.data.study import Study
from aam_core.ensemble.blending import blend, spread_of_passes
from aam_core.ensemble.conformal import labels
from aam_core.ensemble.forward import CHUNK, forward_chunks
from aam_core.ensemble.intervals import evidence, with_quantiles
from aam_core.errors import InputError
from aam_core.model import Model
from aam_core.tasks.prediction_columns import NOVELTY, PREDICTION_SD, PREDICTION_SET

__all__ = ["TargetFrames", "target_frames"]


def target_frames(
    model: Model,
    study: Study,
    config: Config,
    batch_size: int | None = None,
    chunk: int = CHUNK,
    *,
    confidence: float | None = None,
    novelty: bool = False,
) -> Iterator[pd.DataFrame]:
    """The columns of `aam_core.predict_batches` that belong to the target, and no lines.

    Parameters
    ----------
    batch_size, chunk, confidence
        As in `aam_core.predict_batches`.
    novelty : bool
        Whether to add the column `NOVELTY` where the model tells it.

    Raises
    ------
    InputError
        As `aam_core.predict`; at the call.
    """
    require_columns(study.metadata, model.columns())
    _check_confidence(model, confidence)
    frames = TargetFrames(model, study, confidence, novelty and model.novelty is not None)
    outputs = ("target", "samples", "composition") if frames.novelty else ("target",)
    covariates = model.covariates
    parts = forward_chunks(
        model.network, study, config, outputs, covariates, batch_size, chunk=chunk
    )
    starts = range(0, len(study.sample_ids), chunk)
    return (
        frames.of(slice(start, min(start + chunk, len(study.sample_ids))), part)
        for start, part in zip(starts, parts, strict=True)
    )


@dataclass(frozen=True, eq=False)
class TargetFrames:
    """Makes tables of predictions from outputs of the network.

    Attributes
    ----------
    model : Model
    study : Study
        That is predicted.
    confidence : float or None
    novelty : bool
        Whether there is a column `NOVELTY`.
    """

    model: Model
    study: Study
    confidence: float | None
    novelty: bool

    def of(self, samples: slice, part: dict) -> pd.DataFrame:
        """Predictions of some samples, of which ``part`` has what `forward_chunks` yields."""
        model, study, task = self.model, self.study, self.model.task
        rows = study.rows(samples)
        values = by_networks = task.predictions(part["target"], rows)
        by_forest = spread = None
        if model.forest is not None:
            by_forest, spread = model.forest.predict_spread(study, model.covariates, samples)
            by_forest = task.restored(by_forest, rows)
            values = blend(model.network_weight, values, by_forest)
        if model.calibrator is not None:
            values = model.calibrator(values)
        groups = labels(rows, model.interval_by) if model.interval_by else None
        bounds = None
        if model.intervals:
            difficulty = evidence(study.counts[samples], values, by_networks, by_forest, spread)
            if task.quantiles:
                quantiles = task.quantile_predictions(part["target"], rows)
                difficulty = [with_quantiles(difficulty[0], quantiles, by_networks[:, 0])]
            each = zip(model.intervals, difficulty, strict=True)
            bounds = np.stack([it.bounds(one, self.confidence, groups) for it, one in each], 1)
        table = task.frame(study.sample_ids[samples], values, bounds)
        if "passes" in part:
            passes = np.stack([task.predictions(one, rows) for one in part["passes"]])
            given = values, model.network_weight, by_forest, model.calibrator
            table[PREDICTION_SD] = spread_of_passes(passes, *given)
        if model.sets is not None and self.confidence is not None:
            chosen = model.sets.members(values, self.confidence, groups)
            joined = ["|".join(np.array(task.classes)[row]) for row in chosen]
            table = table.assign(**{PREDICTION_SET: joined})
        if self.novelty and model.novelty is not None:
            # A class of a model that an earlier AAM saved has no such name: it has no novelty.
            read = part["samples"].numpy(), part["composition"].numpy()
            table[NOVELTY] = model.novelty.of(*read)
        return table


def _check_confidence(model: Model, confidence: float | None) -> None:
    """Refuse a confidence that is none, or that the model cannot predict with."""
    if confidence is None:
        return
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence:g}; it must be between 0 and 1.")
    if not model.intervals and model.sets is None:
        raise InputError(
            f"This model has neither intervals nor prediction sets of {model.task.column!r}, for "
            "which a confidence could be given: no sample with a value of it was held out when it "
            "was fitted, or an earlier AAM saved it."
        )
    for interval in model.intervals:
        interval.check(confidence)
