"""Counts of near pairs of samples: by what they share, by metadata, by reads.

Letters: N samples, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.data.columns import as_name
from aam_core.data.study import Study

__all__ = ["KINDS", "Counter", "duplicate_samples"]

_LISTED = 100_000
"""Pairs that are listed, at most; all are counted."""

_MOST_VALUES = 50
"""Values of a column above which the single ones are not counted."""

_FIRST = "sample-a"

KINDS = {
    "same counts": "the same ASVs with the same counts: one sample under two ids, as a rule",
    "same ASVs": "the same ASVs with other counts",
    "other ASVs": "other ASVs, which the distance does not tell apart",
}
"""What two samples at distance 0 share."""


def _codes(values: Sequence[Any]) -> np.ndarray:
    """[N] int, equal where values are; -1 where one is missing."""
    codes = pd.factorize(pd.Series(list(values), dtype=object))[0]
    return codes.astype(np.int64)


def _row_digests(counts: csr_matrix) -> tuple[list, list]:
    """Of each sample what tells its ASVs, and its counts, from those of others."""
    ends = counts.indptr
    rows = [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]
    asvs = [counts.indices[row].tobytes() for row in rows]
    return asvs, [(a, counts.data[row].tobytes()) for a, row in zip(asvs, rows, strict=True)]


class Counter:
    """Counts pairs as they come, a block at a time."""

    def __init__(self, study: Study, names: Sequence[str], reads: np.ndarray):
        self.study, self.reads = study, reads
        counts = study.counts.copy()
        counts.sort_indices()
        asvs, exact = _row_digests(counts)
        self.asvs, self.exact = _codes(asvs), _codes(exact)
        self.values: dict[str, np.ndarray] = {}
        self.labels: dict[str, list[str]] = {}
        for name in names:
            assert study.metadata is not None
            texts = [None if pd.isna(v) else as_name(v) for v in study.metadata[name]]
            codes, labels = pd.factorize(pd.Series(texts, dtype=object))
            # A column without values, or with one a sample, has no pairs that could tell anything.
            if len(labels):
                self.values[name], self.labels[name] = codes.astype(np.int64), list(labels)
        fifths = np.quantile(reads, (0.2, 0.4, 0.6, 0.8))
        self.fifth = np.searchsorted(fifths, reads)
        self.total = 0
        self.kinds = dict.fromkeys(KINDS, 0)
        self.in_pairs = np.zeros(len(reads), bool)
        self.same = {name: np.zeros(len(self.labels[name]), np.int64) for name in self.values}
        self.known = dict.fromkeys(self.values, 0)
        self.shallow = np.zeros(5, np.int64)
        self.parts: list[pd.DataFrame] = []

    @classmethod
    def of(cls, study: Study, names: Sequence[str], reads: np.ndarray) -> Counter:
        """Nothing counted yet."""
        return cls(study, names, reads)

    def add(self, i: np.ndarray, j: np.ndarray, distances: np.ndarray) -> None:
        """Count pairs of samples at these places."""
        room = _LISTED - min(self.total, _LISTED)
        self.total += len(i)
        self.in_pairs[i] = self.in_pairs[j] = True
        kind = np.where(
            self.exact[i] == self.exact[j], 0, np.where(self.asvs[i] == self.asvs[j], 1, 2)
        )
        for place, name in enumerate(KINDS):
            self.kinds[name] += int((kind == place).sum())
        for name, codes in self.values.items():
            one, two = codes[i], codes[j]
            both = (one >= 0) & (two >= 0)
            self.known[name] += int(both.sum())
            np.add.at(self.same[name], one[both & (one == two)], 1)
        np.add.at(self.shallow, np.minimum(self.fifth[i], self.fifth[j]), 1)
        if room:
            ids = np.array(self.study.sample_ids, object)
            i, j = i[:room], j[:room]
            frame = {
                _FIRST: ids[i],
                "sample-b": ids[j],
                "distance": distances[:room],
                "depth_a": self.reads[i],
                "depth_b": self.reads[j],
                "kind": np.array(list(KINDS), object)[kind[:room]],
            }
            self.parts.append(pd.DataFrame(frame))

    @property
    def all_pairs(self) -> int:
        """Pairs of samples, near or not."""
        return len(self.reads) * (len(self.reads) - 1) // 2

    def listed(self) -> pd.DataFrame:
        """The first of the pairs."""
        names = [_FIRST, "sample-b", "distance", "depth_a", "depth_b", "kind"]
        frame = pd.concat(self.parts) if self.parts else pd.DataFrame(columns=names)
        return frame.sort_values("distance", kind="stable").set_index(_FIRST)

    def summary(self, duplicates: pd.DataFrame, bound: float) -> pd.DataFrame:
        """Numbers by name."""
        rows = {
            "samples": len(self.reads),
            "pairs": self.all_pairs,
            "bound": bound,
            "pairs_at_zero" if bound == 0 else "pairs_within_bound": self.total,
            "share_of_pairs": self.total / max(1, self.all_pairs),
            "samples_in_such_pairs": int(self.in_pairs.sum()),
            **{f"pairs_of_{name.replace(' ', '_')}": n for name, n in self.kinds.items()},
            "duplicate_samples": len(duplicates),
            "sets_of_duplicates": duplicates["set"].nunique(),
            "median_reads": float(np.median(self.reads)),
        }
        if self.in_pairs.any():
            rows["median_reads_in_such_pairs"] = float(np.median(self.reads[self.in_pairs]))
        return pd.Series(rows, name="value").rename_axis("name").to_frame()

    def by_metadata(self) -> pd.DataFrame:
        """Pairs of the same value, by column and value, beside what all pairs have."""
        rows: list[tuple[Any, ...]] = []
        for name, codes in self.values.items():
            sizes = np.bincount(codes[codes >= 0], minlength=len(self.labels[name]))
            possible, known = sizes * (sizes - 1) // 2, int(sizes.sum())
            if len(sizes) == known:
                continue  # a value a sample: no two have the same
            every = known * (known - 1) // 2
            same = self.same[name]
            rows.append(
                (name, "", known, int(same.sum()), int(possible.sum()), self.known[name], every)
            )
            if len(sizes) <= _MOST_VALUES:
                order = np.argsort(-same, kind="stable")
                rows += [
                    (
                        name,
                        self.labels[name][k],
                        int(sizes[k]),
                        int(same[k]),
                        int(possible[k]),
                        None,
                        None,
                    )
                    for k in order.tolist()
                ]
        names = ["column", "value", "samples", "near_same_value", "pairs_same_value"]
        frame = pd.DataFrame(rows, columns=[*names, "near_known", "pairs_known"])
        frame["share_same_of_near"] = _ratio(frame["near_same_value"], frame["near_known"])
        frame["share_same_of_all"] = _ratio(frame["pairs_same_value"], frame["pairs_known"])
        frame["share_near_within"] = _ratio(frame["near_same_value"], frame["pairs_same_value"])
        return frame.drop(columns=["near_known", "pairs_known"])

    def by_depth(self) -> pd.DataFrame:
        """Pairs by the fifth, of samples by reads, of their sample of fewer reads."""
        rows = []
        for fifth in range(5):
            own = self.fifth == fifth
            if not own.any():
                continue
            size, deeper = int(own.sum()), int((self.fifth > fifth).sum())
            pairs = size * (size - 1) // 2 + size * deeper
            near = int(self.shallow[fifth])
            bounds = int(self.reads[own].min()), int(self.reads[own].max())
            rows.append((fifth + 1, *bounds, size, pairs, near, near / max(1, pairs)))
        names = ["fifth", "least_reads", "most_reads", "samples", "pairs", "near", "share_near"]
        return pd.DataFrame(rows, columns=names).set_index("fifth")


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    whole = pd.to_numeric(whole)
    return pd.to_numeric(part) / whole.where(whole > 0)


def duplicate_samples(study: Study, reads: np.ndarray) -> pd.DataFrame:
    """Samples that have the counts of another one."""
    counts = study.counts.copy()
    counts.sort_indices()
    codes = _codes(_row_digests(counts)[1])
    several = np.flatnonzero(np.bincount(codes)[codes] > 1)
    order = several[np.argsort(codes[several], kind="stable")]
    number = {code: k for k, code in enumerate(dict.fromkeys(codes[order].tolist()), start=1)}
    frame = pd.DataFrame(
        {
            "set": [number[code] for code in codes[order].tolist()],
            "reads": reads[order],
        },
        index=pd.Index([study.sample_ids[i] for i in order], name="sample-id", dtype=object),
    )
    return frame.astype({"set": np.int64})
