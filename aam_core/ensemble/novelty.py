"""How far a sample is from those of the training, as the networks see it.

Of each member the distance of the sample vector to the vectors that it was trained on, by their
covariance (Mahalanobis; Lee et al. 2018, NeurIPS 31: of the features of a network), is compared
with the distances of held-out samples. Letters: K members, N samples, D size of a sample vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aam_core.errors import InputError

__all__ = ["FAR", "Novelty", "warning"]

FAR = 0.99
"""Novelty from which a sample is far from the training samples."""

_LEAST = 20
"""Held-out samples below which there is no novelty: a rank among fewer says nothing."""

_MOST_FAR = 0.1
"""Share of samples beyond `FAR` from which there is a warning: of samples like those of the
training 0.01 are there."""

_PARTS = 5
"""Parts of the held-out samples, each compared with the others, where all members held out all."""

_ARRAYS = {"mean": 2, "whitening": 3, "reference": 1}
"""Dimensions of each array, all float32."""


@dataclass(frozen=True, eq=False)
class Novelty:
    """Distances of samples to those of the training.

    Attributes
    ----------
    mean : ndarray
        ``[K, D]`` of the sample vectors of each member.
    whitening : ndarray
        ``[K, D, D]``: a vector less its mean, times this, has a covariance of 1.
    reference : ndarray
        Distances of held-out samples, ascending.
    """

    mean: np.ndarray
    whitening: np.ndarray
    reference: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, held_out: np.ndarray) -> Novelty | None:
        """From the vectors of held-out samples; None of fewer than 20.

        Parameters
        ----------
        vectors : ndarray
            ``[K, N, D]``
        held_out : ndarray
            ``[K, N]`` bool: whether a member held out a sample. Of the others it learns what is
            usual, so that held-out samples are as new to it as those that are predicted.
        """
        members, size, _ = vectors.shape
        if size < _LEAST:
            return None
        distances = np.full((members, size), np.nan)
        usual = []
        for member in range(members):
            own, out = vectors[member].astype(np.float64), held_out[member]
            if out.all():
                usual.append(_usual(own))
                part = np.arange(size) % _PARTS
                sides = [part == number for number in range(_PARTS)]
            else:
                usual.append(_usual(own[~out]))
                sides = [out]
            for test in sides:
                # Also a member whose fold is empty: the mean below skips it.
                rest = usual[-1] if len(sides) == 1 else _usual(own[~test])
                distances[member, test] = _distances(own[test], *rest)
        # All samples were held out by some member: no column is NaN throughout.
        reference = np.sort(np.nanmean(distances, axis=0))
        mean, whitening = (np.stack(part).astype(np.float32) for part in zip(*usual, strict=True))
        return cls(mean, whitening, reference.astype(np.float32))

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """[N] share of held-out samples that are no farther than each sample.

        Parameters
        ----------
        vectors : ndarray
            ``[N, K, D]``
        """
        parts = zip(self.mean, self.whitening, strict=True)
        each = [_distances(vectors[:, k].astype(np.float64), *it) for k, it in enumerate(parts)]
        distance = np.mean(each, axis=0).astype(np.float32)
        rank = np.searchsorted(self.reference, distance, side="right")
        return np.round(rank / len(self.reference), 4)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The arrays, as `from_tensors` takes them."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_tensors(cls, arrays: dict[str, Any], members: int, size: int) -> Novelty:
        """The inverse of `to_tensors`, for arrays from an untrusted file.

        Raises
        ------
        InputError
            If they are not what `fit` makes for so many members, and vectors of this size.
        """
        sound = set(arrays) == set(_ARRAYS) and all(
            arrays[name].dtype == np.float32
            and arrays[name].ndim == dimensions
            and np.isfinite(arrays[name]).all()
            for name, dimensions in _ARRAYS.items()
        )
        shapes = {"mean": (members, size), "whitening": (members, size, size)}
        if not sound or any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise InputError("What this model knows of usual samples is damaged.")
        reference = arrays["reference"]
        if not len(reference) or (np.diff(reference) < 0).any():
            raise InputError("What this model knows of usual samples is damaged.")
        return cls(**arrays)


def warning(novelty: np.ndarray, of: str = "novelty") -> str:
    """A line on samples that are far from those of the training; empty where there are few.

    Parameters
    ----------
    novelty : ndarray
        [N]
    of : str
        The column that tells it.
    """
    far = int((novelty > FAR).sum())
    if far <= _MOST_FAR * len(novelty):
        return ""
    return (
        f"{far:,} of {len(novelty):,} samples are farther from the training samples than {FAR:.0%} "
        f"of the held-out ones were (column {of}): of another body site, host or protocol? Their "
        "predictions and intervals may not hold"
    )


def _usual(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and whitening [D, D] of vectors [n, D]."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(vectors)
    # Constant vectors have no covariance to invert.
    floor = 1e-6 * max(float(np.trace(fitted.covariance_)) / vectors.shape[1], 1e-6)
    values, axes = np.linalg.eigh(fitted.covariance_)
    return fitted.location_, axes / np.sqrt(np.maximum(values, floor))


def _distances(vectors: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """[n] logarithms of the mean squares of whitened vectors [n, D].

    Logarithms: the mean over members is then not that of the one which is farthest off.
    """
    return np.log(np.square((vectors - mean) @ whitening).mean(axis=1) + 1e-12)
