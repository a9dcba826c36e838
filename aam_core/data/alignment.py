"""A study while it is aligned: what is dropped, and the report of it.

N samples; F features.
"""

from __future__ import annotations

import numpy as np

from aam_core.data.ids import listing, nothing_in_common, short
from aam_core.errors import InputError


class Draft:
    """A study while it is aligned: samples and features are dropped, and the report grows."""

    def __init__(self, samples, features, counts, max_lost_reads: float):
        self.samples, self.features, self.counts = samples, features, counts
        self.all_samples = samples
        self.max_lost_reads = max_lost_reads
        self.report: list[str] = []
        self._lost = np.zeros(len(samples), dtype=np.int64)

    def keep_samples(self, keep: np.ndarray) -> None:
        """Keep the samples where ``keep`` [N] is true."""
        if not keep.all():
            self.samples = [name for name, kept in zip(self.samples, keep, strict=True) if kept]
            self.counts, self._lost = self.counts[keep], self._lost[keep]

    def drop_empty_samples(self, why: str) -> None:
        """Leave out samples without reads; ``why`` says how they came to have none."""
        keep = self._reads() > 0
        if not keep.any():
            raise InputError(f"No sample is left: all {len(self.samples):,} {why}.")
        if not keep.all():
            names = [name for name, kept in zip(self.samples, keep, strict=True) if not kept]
            self.report.append(
                f"{n_of(len(names), len(self.samples), 'samples')} {why} and were left out "
                f"({listing(names)})."
            )
            self.keep_samples(keep)

    def drop_empty_features(self) -> None:
        """Leave out features that no sample has (any more)."""
        keep = np.bincount(self.counts.indices, minlength=len(self.features)) > 0
        if not keep.all():
            self.report.append(
                f"{n_of(int((~keep).sum()), len(keep), 'features')} have no reads in these samples "
                "and were left out."
            )
            self._keep_features(keep)

    def keep_features(
        self, keep: np.ndarray, known, place: str, advice: str, fate: str | None = None
    ) -> None:
        """Keep the features that ``place`` has; report the reads that go with the others.

        ``known`` are the ids in ``place``, for the message where none is shared. Where a ``fate``
        is told, the others stay in the table and the report says what becomes of them instead.
        """
        if keep.all():
            return
        if not keep.any():
            raise nothing_in_common("feature", self.features, known, "the table", place)
        before = self._reads()
        totals = before + self._lost
        number = n_of(int((~keep).sum()), len(keep), "features")
        names = [name for name, kept in zip(self.features, keep, strict=True) if not kept]
        gone = np.asarray(self.counts[:, ~keep].sum(axis=1)).ravel()
        lost = self._lost + gone
        worst = int(np.argmax(gone / totals))
        self.report.append(
            f"{number} are not in {place} and {fate or 'were left out'}: "
            f"{percent(gone.sum(), totals.sum())} of all reads, and "
            f"{percent(gone[worst], totals[worst])} of the worst sample's "
            f"({short(self.samples[worst])})."
        )
        if lost.sum() > self.max_lost_reads * totals.sum():
            raise InputError(
                f"{number} are not in {place} ({listing(names)}), and "
                f"{percent(lost.sum(), totals.sum())} of all reads would be lost, more than "
                f"max_lost_reads = {self.max_lost_reads:g}. {advice}, or raise max_lost_reads."
            )
        if fate is None:
            self._lost = lost
            self._keep_features(keep)

    def _reads(self) -> np.ndarray:
        return np.asarray(self.counts.sum(axis=1)).ravel()

    def _keep_features(self, keep: np.ndarray) -> None:
        self.features = [name for name, kept in zip(self.features, keep, strict=True) if kept]
        self.counts = self.counts[:, keep]
        self.counts.sort_indices()


def n_of(part: int, whole: int, what: str) -> str:
    """'1 of 741 samples'."""
    return f"{part:,} of {whole:,} {what}"


def percent(part, whole) -> str:
    """A percentage that is not rounded to nothing."""
    percent = 100 * float(part) / float(whole)
    return "less than 0.01 %" if 0 < percent < 0.01 else f"{percent:.2f} %"
