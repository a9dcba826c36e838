"""How familiar a model is with samples: what is said, and put beside its predictions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.ids import listing
from aam_core.data.known_asvs import WARNING, Comparison, KnownASVs
from aam_core.data.study import Study
from aam_core.model import Model
from aam_core.tasks.prediction_columns import IN_TRAINING


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What a model knows of the samples of a study.

    Attributes
    ----------
    comparison : Comparison or None
        Of its ASVs; None where the model does not tell.
    in_training : ndarray or None
        [N] bool, as `IN_TRAINING`; None where the model does not tell.
    classes : tuple of str
        Columns of probabilities.
    lines : list of str
        What there is to say; a warning starts with `aam_core.data.known_asvs.WARNING`.
    """

    comparison: Comparison | None
    in_training: np.ndarray | None
    classes: tuple[str, ...]
    lines: list[str]

    @classmethod
    def of(cls, model: Model, study: Study) -> Familiarity:
        """Compare a study with what a regressor or classifier was fitted on."""
        known, lines = model.known, []
        if known is None:
            told = "an earlier AAM saved this model"
            if model.forest is None or not model.forest.sequences:
                lines = [f"{told}: which ASVs it was fitted on is not known"]
            else:
                lines = [f"{told}: of the ASVs that it was fitted on those of its forest are known"]
                known = KnownASVs.of(model.forest.sequences)
        comparison = None if known is None else known.compare(study)
        if comparison is not None:
            lines += comparison.lines()
        if model.covariates is not None and study.metadata is not None:
            lines += [f"{WARNING}{line}" for line in model.covariates.unseen(study.metadata)]
        trained = {*model.train_samples, *model.val_samples}
        seen = np.array([name in trained for name in study.sample_ids]) if trained else None
        if seen is not None and seen.any():
            lines.append(trained_on(study.sample_ids, seen))
        classes = model.target.classes
        return cls(comparison, seen, classes, lines)

    def beside(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Predictions of the samples, in their order, with columns of what is known of each."""
        start = 0
        for frame in frames:
            rows = slice(start, start + len(frame))
            columns = {} if self.comparison is None else self.comparison.columns(rows)
            if self.in_training is not None:
                columns[IN_TRAINING] = self.in_training[rows]
            # A class of a model that an earlier AAM saved may be called so.
            yield frame.assign(**{k: v for k, v in columns.items() if k not in self.classes})
            start = rows.stop


def known_to_encoder(encoder: Model, study: Study) -> list[str]:
    """What a pretrained encoder knows of the ASVs of a study, one line each."""
    if encoder.known is None:
        return ["an earlier AAM saved the encoder: which ASVs it was trained on is not known"]
    return list(encoder.known.compare(study).lines("the encoder was trained on", similar=True))


def warn(line: str) -> None:
    """Give a line that warns as a Python warning; let others pass."""
    if line.startswith(WARNING):
        warnings.warn(line.removeprefix(WARNING), stacklevel=4)


def trained_on(samples: list[str], seen: np.ndarray) -> str:
    """The line on samples of which the model has ``seen`` [N] some; it warns."""
    both = [samples[i] for i in np.flatnonzero(seen)]
    return (
        f"{WARNING}{len(both):,} of these {len(samples):,} samples (by id) are ones that the model "
        f"was trained or validated on ({listing(both)}): their figures flatter it"
    )
