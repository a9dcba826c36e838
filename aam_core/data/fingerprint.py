"""Digests of a run's inputs, small enough for a checkpoint, that tell what changed since.

Each sample's reads, each sequence and each value of a column has a digest of 64 bits of its own,
which does not depend on the order of samples or features. Letters: N samples, F features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, missing_ids, to_floats
from aam_core.data.metadata import column
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.phylogeny.tree import Phylogeny

__all__ = ["Fingerprint", "fingerprint"]

# 2^64 over the golden ratio. An odd factor is invertible modulo 2^64: no bits are lost.
_ODD = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 2**22
"""Elements of a distance matrix at a time."""


@dataclass(frozen=True)
class Fingerprint:
    """Digests of a run's inputs.

    Attributes
    ----------
    samples, features : list of str
        N and F ids.
    parts : dict of str to ndarray
        Digests, uint64, of the inputs that the run has: "counts" ``[N]``, "sequences" ``[F]``,
        "distances" ``[N]``, "tree" ``[1]``, "taxonomy" ``[F]``, "encoder" ``[1]``, and columns of
        the metadata ``[N]``.
    group_by : str or None
        The column that groups the samples, in ``parts`` as "groups"; None where there is none.
    """

    samples: list[str]
    features: list[str]
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    group_by: str | None = None

    def changes(self, now: Fingerprint) -> list[str]:
        """What is not the same ``now``: a clause for each part, with how many and the first five.

        Groups and encoder need not be named when a run is resumed, and are compared only if they
        are. Columns that only one of the runs reads are not compared.
        """
        samples, features = _Ids(self.samples, now.samples), _Ids(self.features, now.features)
        clauses = [*samples.sets("samples"), *features.sets("features")]
        for name in dict.fromkeys([*self.parts, *now.parts]):
            if name not in self.parts or name not in now.parts:
                one = {"tree": "the tree is", "distances": "distances are"}.get(name)
                if one:
                    clauses.append(f"{one} {'new' if name in now.parts else 'gone'}")
                if name == "groups" and name in now.parts:
                    clauses.append(f"samples are grouped by {now.group_by!r} (were not)")
                continue
            ours, theirs = self.parts[name], now.parts[name]
            if name == "groups" and self.group_by != now.group_by:
                clauses.append(f"samples are grouped by {now.group_by!r} (was {self.group_by!r})")
            elif name in ("sequences", "taxonomy"):
                what = "taxa" if name == "taxonomy" else name
                clauses += features.values(what, "features", ours, theirs)
            elif name == "distances" and samples.differ:
                pass  # a sample's are to all the others
            elif len(ours) == len(self.samples) and name not in ("tree", "encoder"):
                clauses += samples.values(_what(name), "samples", ours, theirs)
            elif name == "encoder" or not features.differ:  # a tree is sheared to the features
                clauses += [_what(name)] if ours[0] != theirs[0] else []
        return clauses

    def keeping(self, before: Fingerprint | None) -> Fingerprint:
        """A copy that has the groups and the encoder of ``before`` where this one has none."""
        if before is None:
            return self
        parts, group_by = dict(self.parts), self.group_by
        if "encoder" in before.parts:
            parts.setdefault("encoder", before.parts["encoder"])
        if "groups" not in parts and "groups" in before.parts:
            place = {name: i for i, name in enumerate(before.samples)}
            # 0 is the digest of a missing value (`_column`).
            old = [before.parts["groups"][place[s]] if s in place else 0 for s in self.samples]
            parts["groups"], group_by = np.array(old, np.uint64), before.group_by
        return Fingerprint(self.samples, self.features, parts, group_by)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As numbers alone, for `from_arrays`."""
        text = {"samples": self.samples, "features": self.features, "group_by": self.group_by}
        arrays = {f"part/{name}": value.view(np.int64) for name, value in self.parts.items()}
        return arrays | {"text": np.frombuffer(json.dumps(text).encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Fingerprint:
        """The inverse of `to_arrays`, for arrays from an untrusted file.

        Raises
        ------
        InputError
            If they are not what `to_arrays` makes.
        """
        try:
            text = json.loads(np.asarray(arrays["text"], np.uint8).tobytes())
            parts = {
                name.removeprefix("part/"): np.ascontiguousarray(value, np.int64).view(np.uint64)
                for name, value in arrays.items()
                if name != "text"
            }
            loaded = cls(list(text["samples"]), list(text["features"]), parts, text["group_by"])
            features = len(loaded.features)
            lengths = {"tree": 1, "encoder": 1, "sequences": features, "taxonomy": features}
            complete = [len(v) == lengths.get(k, len(loaded.samples)) for k, v in parts.items()]
        except (KeyError, TypeError, ValueError):
            complete = [False]
        if not all(complete):
            raise InputError("The checkpoint's record of its inputs is damaged or was edited.")
        return loaded


def fingerprint(
    study: Study,
    *,
    distances: bool = False,
    tree: bool = False,
    taxonomy: bool = False,
    target: pd.Series | None = None,
    groups: pd.Series | None = None,
    covariates: Mapping[str, bool] | None = None,
    encoder: Mapping[str, np.ndarray] | None = None,
) -> Fingerprint:
    """Digest the inputs of a run.

    Parameters
    ----------
    study : Study
    distances, tree, taxonomy : bool
        Whether distances are learned: the tree or the study's distances then count. Whether the
        tree counts all the same, and the taxonomy.
    target, groups : Series, optional
        By sample id; samples without a value are fine. A target of numbers is one of float64.
    covariates : mapping of str to bool, optional
        Metadata columns that the run reads, and whether each is read as numbers.
    encoder : mapping of str to ndarray, optional
        Weights that the run starts from.
    """
    ids = _text(study.feature_ids)
    parts = {"counts": _rows(study.counts, ids)}
    if study.sequences is not None:
        parts["sequences"] = _text(study.sequences)
    if distances and study.distances is not None:
        parts["distances"] = _matrix(study.distances, _text(study.sample_ids))
    if study.phylogeny is not None and (tree or (distances and study.distances is None)):
        parts["tree"] = _tree(study.phylogeny)
    if taxonomy and study.taxonomy is not None:
        parts["taxonomy"] = _text(study.taxonomy)
    for name, values in (("target", target), ("groups", groups)):
        if values is not None:
            numbers = name == "target" and pd.api.types.is_float_dtype(values)
            parts[name] = _column(values, study.sample_ids, numbers)
    for name, numbers in (covariates or {}).items():
        values = column(study.metadata, name)
        parts[f"covariate {name}"] = _column(values, study.sample_ids, numbers)
    if encoder is not None:
        parts["encoder"] = _tensors(encoder)
    group_by = None if groups is None else str(groups.name)
    return Fingerprint(list(study.sample_ids), list(study.feature_ids), parts, group_by)


class _Ids:
    """Ids of an earlier run and of now."""

    def __init__(self, before: list[str], now: list[str]):
        self.before, self.now = before, now
        self.place = {name: i for i, name in enumerate(now)}
        earlier = set(before)
        self.gone = [name for name in before if name not in self.place]
        self.new = [name for name in now if name not in earlier]
        self.common = [(i, name) for i, name in enumerate(before) if name in self.place]

    @property
    def differ(self) -> bool:
        return bool(self.gone or self.new)

    def sets(self, what: str) -> list[str]:
        """Clauses on ids that are gone, and on new ones."""
        both = ((self.gone, "gone"), (self.new, "new"))
        return [f"{len(ids):,} {what} are {how} ({first_five(ids)})" for ids, how in both if ids]

    def values(self, what: str, of: str, before: np.ndarray, now: np.ndarray) -> list[str]:
        """A clause on common ids whose digests differ."""
        changed = [name for i, name in self.common if before[i] != now[self.place[name]]]
        if not changed:
            return []
        count = f"{len(changed):,} of {len(self.common):,}"
        return [f"{what} of {count} {of} changed ({first_five(changed)})"]


def _what(name: str) -> str:
    named = {"counts": "reads", "distances": "distances", "tree": "branches of the tree"}
    named |= {"target": "values of the target", "groups": "groups", "encoder": "encoder's weights"}
    if name.startswith("covariate "):
        return f"values of the column {name.removeprefix('covariate ')!r}"
    return named.get(name, name)


def _text(values) -> np.ndarray:
    """uint64 of each text."""
    return pd.util.hash_array(np.array([*map(str, values), ""], object)[:-1], categorize=False)


def _numbers(values: np.ndarray) -> np.ndarray:
    """uint64: the bits of numbers of 1, 4 or 8 bytes."""
    return values.view(f"u{values.itemsize}").astype(np.uint64)


def _mix(names: np.ndarray, values) -> np.ndarray:
    """uint64 of pairs."""
    return pd.util.hash_array(names + np.asarray(values).astype(np.uint64) * _ODD)


def _sum(values: np.ndarray) -> np.uint64:
    return np.add.reduce(values, dtype=np.uint64)


def _rows(counts, ids: np.ndarray) -> np.ndarray:
    """``[N]`` of the reads of each sample."""
    # reduceat would give an empty row its neighbour's value. The sums may wrap around: their
    # differences are right modulo 2^64.
    ends = np.append(np.uint64(0), np.cumsum(_mix(ids[counts.indices], counts.data)))
    return ends[counts.indptr[1:]] - ends[counts.indptr[:-1]]


def _matrix(distances: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``[N]`` of the distances of each sample to all."""
    digests, step = np.empty(len(ids), np.uint64), max(1, _BLOCK // max(1, len(ids)))
    for start in range(0, len(ids), step):
        block = np.ascontiguousarray(distances[start : start + step], np.float32)
        mixed = _mix(np.tile(ids, len(block)), _numbers(block).ravel()).reshape(block.shape)
        digests[start : start + step] = np.add.reduce(mixed, axis=1, dtype=np.uint64)
    return digests


def _tree(phylogeny: Phylogeny) -> np.ndarray:
    """``[1]`` of the branches: the tips below each, and its length."""
    by_rank = np.empty(len(phylogeny.tip_ids), np.uint64)
    by_rank[phylogeny.ranks] = _text(phylogeny.tip_ids)
    before = np.append(np.uint64(0), np.cumsum(by_rank))
    below = before[phylogeny.ends] - before[phylogeny.starts]
    return _sum(_mix(below, _numbers(phylogeny.lengths)))[None]


def _tensors(weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """``[1]`` of named arrays of float32."""
    names = np.repeat(_text(weights), [value.size for value in weights.values()])
    places = np.concatenate([np.arange(value.size, dtype=np.uint64) for value in weights.values()])
    values = np.concatenate([_numbers(value.ravel()) for value in weights.values()])
    return _sum(_mix(_mix(names, places), values))[None]


def _column(values: pd.Series, samples: list[str], numeric: bool) -> np.ndarray:
    """``[N]`` of the values, as numbers or letter for letter; 0 where one is missing."""
    values = values.reindex(samples)
    digests = np.zeros(len(values), np.uint64)
    present = ~values.index.isin(missing_ids(values))
    if not present.any():
        return digests
    if numeric:
        digests[present] = _mix(_numbers(to_floats(values[present]) + 0.0), 1)  # + 0.0: no -0
    else:
        digests[present] = _text(as_classes(values[present]))
    return digests
