"""How well an encoder predicts the distances between samples: `distance_fit`.

Letters: N samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.study import Study
from aam_core.embedding import Ordination, ordinate
from aam_core.errors import InputError, first_five, lookup
from aam_core.log import logger
from aam_core.model import Model, as_model
from aam_core.pretraining import distances_of
from aam_core.tasks.metrics import regression_metrics

__all__ = ["AXES", "SAMPLES", "DistanceFit", "distance_fit"]

AXES = 3
"""Principal coordinates that Procrustes compares."""

_PERMUTATIONS = 999

_FEWEST = 3
"""Samples without which there is no correlation of pairs."""

_MOST = 500
"""Samples whose pairs are compared: 124,750 pairs, of which the tests take seconds."""


@dataclass(frozen=True, eq=False)
class DistanceFit:
    """Predicted beside true distances of the same reads.

    Attributes
    ----------
    true, predicted : DataFrame
        ``[N, N]``, index and columns the sample ids.
    metrics : dict
        ``samples``, ``pairs``, ``r2``, ``mae``, ``rmse`` and ``spearman`` over the pairs;
        ``mantel_p`` of the latter, by Mantel's test (Mantel 1967, Cancer Research 27:209);
        ``procrustes_m2`` of the first `AXES` principal coordinates, 0 where they have the same
        shape, and ``procrustes_p`` (Jackson 1995, Ecoscience 2:297). p are of 999 permutations.
    where : dict
        How many of the samples the encoder was ``trained`` on, how many were its ``validation``
        samples, which chose the epoch, and how many are ``new`` to it.
    ordinations : tuple of DataFrame
        ``[N, AXES]`` principal coordinates by the true distances, and by the predicted ones, turned
        and scaled to fit those.
    """

    true: pd.DataFrame
    predicted: pd.DataFrame
    metrics: dict[str, float]
    where: dict[str, int]
    ordinations: tuple[pd.DataFrame, pd.DataFrame]

    def pairs(self) -> pd.DataFrame:
        """A row a pair: ``sample``, ``other``, ``actual`` and ``prediction``."""
        ids = np.array(self.true.index, object)
        row, column = np.triu_indices(len(ids), 1)
        values = {"actual": self.true, "prediction": self.predicted}
        columns = {name: table.to_numpy()[row, column] for name, table in values.items()}
        return pd.DataFrame({"sample": ids[row], "other": ids[column], **columns})

    def by_sample(self) -> pd.DataFrame:
        """Of each sample: mean ``actual`` and ``prediction``, and the mean absolute ``error``."""
        others = len(self.true) - 1
        true, predicted = self.true.to_numpy(), self.predicted.to_numpy()
        return pd.DataFrame(
            {
                "actual": true.sum(1) / others,
                "prediction": predicted.sum(1) / others,
                "error": np.abs(predicted - true).sum(1) / others,
            },
            index=self.true.index.rename("sample-id"),
        )


def distance_fit(model, study: Study, samples: str = "held-out", seed: int = 0) -> DistanceFit:
    """Compare the distances that an encoder predicts with the true ones.

    Of more than 500 samples 500 are drawn.

    Parameters
    ----------
    model : Model or path
        Encoder pretrained with distances, or a fit that learned them with its target.
    study : Study
        With a phylogeny, or with distances: these are the true ones.
    samples : {'held-out', 'all'}
        Which samples of the study are compared: those that the encoder was not trained on, or all.
    seed : int
        Of the samples that are drawn, and of the permutations.

    Raises
    ------
    InputError
        If the model learned no distances, the true ones cannot be computed, or fewer than 3
        samples are left.
    """
    model = as_model(model)
    if model.network.distance is None:
        raise InputError(
            f"This {model.kind} learned no distances between samples: give an encoder that was "
            "pretrained with a phylogeny or distances."
        )
    chosen = lookup(SAMPLES, samples, "choice of samples")(model, study)
    if len(study.sample_ids) < _FEWEST:
        raise InputError(
            f"A comparison needs {_FEWEST} samples or more, and the study has "
            f"{len(study.sample_ids)}."
        )
    if len(chosen) < _FEWEST:
        trained = [name for name in study.sample_ids if name not in set(chosen)]
        raise InputError(
            f"The encoder was trained on {len(trained)} of the {len(study.sample_ids)} samples "
            f"({first_five(trained)}), and a comparison needs {_FEWEST} that it was not "
            "trained on: give others, or compare all (samples 'all'), which shows its memory too."
        )
    rng = np.random.default_rng(seed)
    if len(chosen) > _MOST:
        logger.info(f"{_MOST} of {len(chosen):,} samples are compared, drawn by seed {seed}")
        chosen = [chosen[place] for place in np.sort(rng.choice(len(chosen), _MOST, False))]
    part = study.select(chosen)
    true, predicted = (_square(part, values) for values in distances_of(model, part))
    row, column = np.triu_indices(len(chosen), 1)
    pairs = true.to_numpy()[row, column], predicted.to_numpy()[row, column]
    metrics: dict[str, float] = {"samples": len(chosen), "pairs": len(row)}
    metrics |= regression_metrics(*pairs)
    metrics["mantel_p"] = _mantel_p(true, predicted, seed)
    m2, p, turned = _procrustes(ordinate(true, AXES), ordinate(predicted, AXES), rng)
    metrics |= {"procrustes_m2": m2, "procrustes_p": p}
    return DistanceFit(true, predicted, metrics, _where(model, chosen), turned)


def _held_out(model: Model, study: Study) -> list[str]:
    trained = set(model.train_samples)
    return [name for name in study.sample_ids if name not in trained]


def _all(model: Model, study: Study) -> list[str]:
    return list(study.sample_ids)


SAMPLES: dict[str, Callable[[Model, Study], list[str]]] = {"held-out": _held_out, "all": _all}
"""Which samples are compared -> what chooses them."""


def _where(model: Model, samples: list[str]) -> dict[str, int]:
    trained = set(model.train_samples)
    validation = set(model.val_samples) - trained
    counts = {
        "trained": sum(name in trained for name in samples),
        "validation": sum(name in validation for name in samples),
    }
    return {**counts, "new": len(samples) - sum(counts.values())}


def _square(study: Study, values: np.ndarray) -> pd.DataFrame:
    """``[N, N]`` float64, symmetric and hollow to the last digit, as the tests want it."""
    values = np.asarray(values, np.float64)
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0)
    return pd.DataFrame(values, index=study.sample_ids, columns=study.sample_ids)


def _mantel_p(true: pd.DataFrame, predicted: pd.DataFrame, seed: int) -> float:
    from skbio import DistanceMatrix
    from skbio.stats.distance import mantel

    both = (DistanceMatrix(it.to_numpy(), list(it.index)) for it in (predicted, true))
    with _seeded(seed):
        _, p, _ = mantel(*both, method="spearman", permutations=_PERMUTATIONS)
    return float(p)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """numpy's global generator, which scikit-bio 0.5 draws from, seeded; afterwards as it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _procrustes(
    true: Ordination, predicted: Ordination, rng: np.random.Generator
) -> tuple[float, float, tuple[pd.DataFrame, pd.DataFrame]]:
    """M2, its p, and the coordinates of both: those of the prediction turned to fit the true."""
    from scipy.spatial import procrustes

    fixed, turned = true.coordinates.to_numpy(), predicted.coordinates.to_numpy()
    first, second, m2 = procrustes(fixed, turned)
    drawn = [procrustes(fixed, rng.permutation(turned))[2] for _ in range(_PERMUTATIONS)]
    p = (1 + sum(each <= m2 for each in drawn)) / (1 + _PERMUTATIONS)
    frames = [
        pd.DataFrame(it, index=true.coordinates.index, columns=list(true.coordinates.columns))
        for it in (first, second)
    ]
    return float(m2), float(p), (frames[0], frames[1])
