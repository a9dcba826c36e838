"""Samples as the networks see them: nearest training samples, and how new a held-out one is.

A member tells of samples that it was not trained on: of a held-out sample only members that held it
out count, and of its neighbours only those that they were trained on. Distances are those of
`ensemble/novelty.py`: of sample vectors, by their covariance. Letters: K members, N samples, Q
samples that are asked for, D size of a sample vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.forward import forward
from aam_core.model import Model
from aam_core.prediction import override

__all__ = ["SampleSpace"]


@dataclass(frozen=True, eq=False)
class SampleSpace:
    """Whitened sample vectors of a model's networks.

    Attributes
    ----------
    sample_ids : list of str
        N
    vectors : ndarray
        ``[K, N, D]`` float32; of a member the mean square of a vector is 1 for a usual sample.
    trained : ndarray
        ``[K, N]`` bool: whether a member was trained on a sample.
    reference : ndarray
        Distances of held-out samples, ascending, as of `Novelty`.
    """

    sample_ids: list[str]
    vectors: np.ndarray
    trained: np.ndarray
    reference: np.ndarray

    @classmethod
    def of(cls, model: Model, study: Study, device: str | None = None) -> SampleSpace | None:
        """Of the samples of a study; None where the model does not know what is usual."""
        if model.novelty is None:
            return None
        config = override(model.config, device)
        raw = forward(model.network, study, config, ("samples",), model.covariates)["samples"]
        members = zip(model.novelty.mean, model.novelty.whitening, strict=True)
        parts = [
            (raw[:, k].numpy().astype(np.float64) - mean) @ whitening
            for k, (mean, whitening) in enumerate(members)
        ]
        vectors = np.stack(parts).astype(np.float32) / np.sqrt(raw.shape[2])
        held_out = Split(model.train_samples, model.val_samples, model.val_folds).held_out(
            list(dict.fromkeys([*model.train_samples, *model.val_samples])), len(vectors)
        )
        # In the order of the study: a sample that is new was trained on by none.
        ids = list(dict.fromkeys([*model.train_samples, *model.val_samples]))
        in_training = set(model.train_samples)
        used = {name: ~held_out[:, place] & (name in in_training) for place, name in enumerate(ids)}
        none = np.zeros(len(vectors), bool)
        trained = np.stack([used.get(name, none) for name in study.sample_ids], axis=1)
        return cls(list(study.sample_ids), vectors, trained, model.novelty.reference)

    def novelty(self, samples: Sequence[str]) -> pd.Series:
        """As the column of `aam_core.predict`: share of held-out samples that are no farther.

        Only members that were not trained on a sample tell its distance; NaN where all were.
        """
        rows = self._places(samples)
        square = np.log(np.square(self.vectors[:, rows]).sum(axis=2) + 1e-12)
        square = np.where(self.trained[:, rows], np.nan, square)
        known = ~np.isnan(square).all(axis=0)
        distance = np.full(len(rows), np.nan)
        distance[known] = np.nanmean(square[:, known], axis=0)
        rank = np.searchsorted(self.reference, distance.astype(np.float32), side="right")
        share = np.where(known, rank / len(self.reference), np.nan)
        return pd.Series(share, index=list(samples))

    def nearest(self, samples: Sequence[str], count: int = 3) -> pd.DataFrame:
        """The nearest training samples.

        Returns
        -------
        DataFrame
            Index ``sample-id``: ``rank`` from 1, ``nearest`` and ``distance``, the root mean square
            over members and dimensions. A sample on which all members were trained has none.
        """
        rows = []
        for name, place in zip(samples, self._places(samples), strict=True):
            members = np.flatnonzero(~self.trained[:, place])
            total, times = np.zeros(len(self.sample_ids)), np.zeros(len(self.sample_ids), int)
            for k in members:
                used = self.trained[k]
                difference = self.vectors[k][used] - self.vectors[k, place]
                total[used] += np.square(difference).sum(axis=1)
                times += used
            with np.errstate(invalid="ignore", divide="ignore"):
                distance = np.sqrt(np.where(times > 0, total / times, np.inf))
            distance[place] = np.inf
            for rank, other in enumerate(np.argsort(distance, kind="stable")[:count], start=1):
                if np.isfinite(distance[other]):
                    rows.append((name, rank, self.sample_ids[other], float(distance[other])))
        columns = ["sample-id", "rank", "nearest", "distance"]
        return pd.DataFrame(rows, columns=columns).set_index("sample-id")

    def _places(self, samples: Sequence[str]) -> np.ndarray:
        place = {name: row for row, name in enumerate(self.sample_ids)}
        return np.array([place[name] for name in samples], dtype=np.intp)
