"""How far a sample is from those of the training, as the networks see it and by its ASVs.

Of each member the distance of the sample vector to the vectors that it was trained on, by their
covariance (Mahalanobis; Lee et al. 2018, NeurIPS 31: of the features of a network), is compared
with the distances of held-out samples. The sample vectors tell apart what the target depends on:
skin may look to them as the stool of a newborn. So the mean ASV vector of a sample, its
composition, is compared in the same way, and the greater of both ranks counts. Letters: K members,
N samples, D size of a sample vector, C of a composition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

_OF_COMPOSITION = "composition_"
"""What the names of the arrays of compositions start with."""

_BOTH = "greatest"
"""Name of the array of the greater ranks."""


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
    composition : Novelty or None
        Of compositions, by the folds of the members; None in models that an AAM saved which did
        not know it.
    greatest : ndarray or None
        The greater of both ranks of held-out samples, ascending.
    """

    mean: np.ndarray
    whitening: np.ndarray
    reference: np.ndarray
    composition: Novelty | None = None
    greatest: np.ndarray | None = None

    @classmethod
    def fit(
        cls, vectors: np.ndarray, held_out: np.ndarray, composition: np.ndarray | None = None
    ) -> Novelty | None:
        """From the vectors of held-out samples; None of fewer than 20.

        Parameters
        ----------
        vectors : ndarray
            ``[K, N, D]``
        held_out : ndarray
            ``[K, N]`` bool: whether a member held out a sample. Of the others it learns what is
            usual, so that held-out samples are as new to it as those that are predicted.
        composition : ndarray, optional
            ``[N, C]``
        """
        if vectors.shape[1] < _LEAST:
            return None
        novelty, distances = cls._fit(vectors, held_out)
        if composition is None:
            return novelty
        folds = np.unique(held_out, axis=0)  # members of one fold would all tell the same
        other, apart = cls._fit(
            np.broadcast_to(composition, (len(folds), *composition.shape)), folds
        )
        ranks = np.maximum(novelty._ranks(distances), other._ranks(apart))
        return replace(novelty, composition=other, greatest=np.sort(ranks).astype(np.float32))

    @classmethod
    def _fit(cls, vectors: np.ndarray, held_out: np.ndarray) -> tuple[Novelty, np.ndarray]:
        """That of some vectors, and the distances ``[N]`` of the held-out samples."""
        members, size, _ = vectors.shape
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
        means = np.nanmean(distances, axis=0).astype(np.float32)
        mean, whitening = (np.stack(part).astype(np.float32) for part in zip(*usual, strict=True))
        return cls(mean, whitening, np.sort(means)), means

    def of(self, vectors: np.ndarray, composition: np.ndarray | None = None) -> np.ndarray:
        """[N] share of held-out samples that are no farther than each sample.

        Parameters
        ----------
        vectors : ndarray
            ``[N, K, D]``
        composition : ndarray, optional
            ``[N, C]``; read where `composition` is not None.
        """
        rank = self._ranks(self._apart([*vectors.transpose(1, 0, 2)]))
        if self.composition is not None:
            assert composition is not None and self.greatest is not None
            other = self.composition
            rank = np.maximum(rank, other._ranks(other._apart([composition] * len(other.mean))))
            place = np.searchsorted(self.greatest, rank.astype(np.float32), side="right")
            rank = place / len(self.greatest)
        return np.round(rank, 4)

    def _apart(self, vectors: list[np.ndarray]) -> np.ndarray:
        """[N] mean distances of the vectors ``[N, D]`` that each member has."""
        parts = zip(vectors, self.mean, self.whitening, strict=True)
        return np.mean(
            [_distances(own.astype(np.float64), *usual) for own, *usual in parts], axis=0
        )

    def _ranks(self, distances: np.ndarray) -> np.ndarray:
        """[N] share of the reference that is no farther."""
        places = np.searchsorted(self.reference, distances.astype(np.float32), side="right")
        return places / len(self.reference)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The arrays, as `from_tensors` takes them."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.composition is not None and self.greatest is not None:
            others = self.composition.to_tensors().items()
            arrays |= {_OF_COMPOSITION + name: part for name, part in others}
            arrays[_BOTH] = self.greatest
        return arrays

    @classmethod
    def from_tensors(
        cls, arrays: dict[str, Any], members: int, size: int, components: int = 0
    ) -> Novelty:
        """The inverse of `to_tensors`, for arrays from an untrusted file.

        Parameters
        ----------
        members, size, components : int
            K, D and C.

        Raises
        ------
        InputError
            If they are not what `fit` makes for so many members, and vectors of these sizes.
        """
        if _BOTH in arrays:
            names = [name for name in arrays if name.startswith(_OF_COMPOSITION)]
            others = {name.removeprefix(_OF_COMPOSITION): arrays[name] for name in names}
            alone = {k: part for k, part in arrays.items() if k not in (*names, _BOTH)}
            mean, greatest = others.get("mean", np.zeros(0)), arrays[_BOTH]
            if not 1 <= len(mean) <= members or not _ascending(greatest):
                raise _damaged()
            other = cls.from_tensors(others, len(mean), components)
            own = cls.from_tensors(alone, members, size)
            return replace(own, composition=other, greatest=greatest)
        sound = set(arrays) == set(_ARRAYS) and all(
            arrays[name].dtype == np.float32
            and arrays[name].ndim == dimensions
            and np.isfinite(arrays[name]).all()
            for name, dimensions in _ARRAYS.items()
        )
        shapes = {"mean": (members, size), "whitening": (members, size, size)}
        if not sound or any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise _damaged()
        if not _ascending(arrays["reference"]):
            raise _damaged()
        return cls(**arrays)


def _ascending(values: np.ndarray) -> bool:
    """Whether there are finite float32 numbers, none smaller than the one before."""
    sound = values.ndim == 1 and values.dtype == np.float32 and len(values) > 0
    return sound and bool(np.isfinite(values).all()) and not (np.diff(values) < 0).any()


def _damaged() -> InputError:
    return InputError("What this model knows of usual samples is damaged.")


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
