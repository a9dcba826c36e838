"""Pairs of samples at distance 0: how many, which, and whether reads or duplicates make them.

Letters: N samples, P pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from aam_core.config import DISTANCE_NAMES
from aam_core.data.metadata import column
from aam_core.data.rarefaction import EVALUATION, rarefy, sample_rng
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.files.own_output import check_output
from aam_core.log import logger
from aam_core.phylogeny.close_pairs import close_pairs, zero_classes
from aam_core.phylogeny.distances import find_distance
from aam_core.reporting.page import write_page
from aam_core.summary import Summarized
from aam_core.zero_distances.counting import Counter, duplicate_samples
from aam_core.zero_distances.words import advice_of, page_of

__all__ = ["ZeroDistances", "find_zero_distances"]

_MOST_KEPT = 5_000_000
"""Pairs within a bound above 0 that are remembered, to be compared with those at other depths."""

_DEPTHS = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000)
"""Depths that reads are drawn to, those of them that the samples have."""

_TRIED = 5
"""Depths of these that are tried."""


@dataclass(frozen=True, eq=False, repr=False)
class ZeroDistances(Summarized):
    """What `find_zero_distances` returns.

    Attributes
    ----------
    summary : DataFrame
        Index ``name``; ``value`` of each number.
    pairs : DataFrame
        Index ``sample-a``; ``sample-b``, ``distance``, and of a table ``depth_a``, ``depth_b`` and
        ``kind`` (`KINDS`). At most 100,000.
    by_metadata : DataFrame
        A row a column, and a row a value of it: pairs at 0 with the same value, of how many pairs.
    by_depth : DataFrame
        A row a fifth of the samples by reads: pairs at 0 whose sample of fewer reads is in it.
    rarefied : DataFrame
        A row a depth that reads were drawn to: pairs at 0, and those that differ by all reads.
    duplicates : DataFrame
        Index ``sample-id``; ``set`` of samples with the same counts, and ``reads``.
    advice : list of str
    """

    summary: pd.DataFrame
    pairs: pd.DataFrame
    by_metadata: pd.DataFrame
    by_depth: pd.DataFrame
    rarefied: pd.DataFrame
    duplicates: pd.DataFrame
    advice: list[str]

    def _summary(self) -> tuple[str, dict[str, str]]:
        values = self.summary["value"]
        lines = {str(name).replace("_", " "): f"{value:,.6g}" for name, value in values.items()}
        return "Pairs of samples at distance 0", lines


def find_zero_distances(
    study: Study,
    output: str | Path | None = None,
    *,
    metric: str = "unweighted",
    alpha: float = 0.5,
    bound: float = 0.0,
    columns: Sequence[str] = (),
    depths: Sequence[int] = (),
    seed: int = 0,
) -> ZeroDistances:
    """Find pairs of samples at distance 0, or within a bound, and what makes them.

    At distance 0 time and memory grow with the samples, whatever their number; within a bound above
    0 all pairs are compared, a block at a time.

    Parameters
    ----------
    study : Study
        Its given distances where it has some, else those of ``metric`` by its table (and tree).
    output : path, optional
        Folder for a page (``report.html``) and its tables as TSV.
    metric : str
        A key of `aam_core.phylogeny.distances.DISTANCES`.
    alpha : float
        Exponent of 'generalized'.
    bound : float
        Greatest distance of a pair that is counted.
    columns : sequence of str
        Metadata columns; all where none is named.
    depths : sequence of int
        Reads to draw of each sample, to see which pairs lie at 0 for a lack of reads; up to five
        that half of the samples have where none is named. Not of given distances.
    seed : int
        Of the draws.

    Returns
    -------
    ZeroDistances

    Raises
    ------
    InputError
        If the metric needs a tree and there is none; the bound or a depth is unusable; no two
        samples have reads in the tree; or depths are named for given distances.
    """
    if output is not None:
        check_output(output, "a report")
    if not bound >= 0:
        raise InputError(f"bound is {bound}; it must be 0 or more.")
    names = _columns(study, columns)
    given = study.distances is not None
    if given and (len(depths) or (metric, alpha, seed) != ("unweighted", 0.5, 0)):
        raise InputError(
            "metric, alpha, depths and seed are for distances that are computed from the table, "
            "and these are given: leave one of the two away."
        )
    used, table = (study, None) if given else _usable(study, metric, alpha, bound)
    reads = np.asarray(study.counts.sum(axis=1)).ravel()
    reads = reads if used is study else reads[_places(study, used)]
    counter = Counter.of(used, names, reads)
    blocks = _given_pairs(study.distances, bound) if table is None else table.pairs()
    for i, j, distances in blocks:
        counter.add(i, j, distances)
    rarefied = pd.DataFrame()
    if table is not None:
        rarefied = _rarefied(used, table, counter, _depths(reads, depths), seed)
    duplicates = duplicate_samples(used, reads)
    summary = counter.summary(duplicates, bound)
    result = ZeroDistances(
        summary=summary,
        pairs=counter.listed(),
        by_metadata=counter.by_metadata(),
        by_depth=counter.by_depth(),
        rarefied=rarefied,
        duplicates=duplicates,
        advice=advice_of(summary["value"], rarefied, duplicates, counter),
    )
    if output is not None:
        what = "the given distances" if given else DISTANCE_NAMES[metric]
        write_page(page_of(result, what, bound), output)
    return result


def _columns(study: Study, columns: Sequence[str]) -> list[str]:
    """The metadata columns to count by."""
    if study.metadata is None:
        if columns:
            raise InputError("Columns are named, but there are no metadata (--metadata).")
        return []
    for name in columns:
        column(study.metadata, name)
    return list(dict.fromkeys(columns)) or [str(name) for name in study.metadata.columns]


# --- the pairs ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Distances:
    """A table, and the distance by which its samples are compared."""

    counts: csr_matrix
    phylogeny: Any
    metric: str
    alpha: float
    bound: float

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Places of pairs within the bound, and their distances."""
        return close_pairs(self.counts, self.phylogeny, self.metric, self.alpha, self.bound)

    def membership(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        """A function that says of pairs whether they are within the bound; None of too many."""
        if self.bound == 0:
            classes = zero_classes(self.counts, self.phylogeny, self.metric, self.alpha)
            return lambda i, j: classes[i] == classes[j]
        size, codes, kept = self.counts.shape[0], [np.empty(0, np.int64)], 0
        for i, j, _ in self.pairs():
            codes.append(i.astype(np.int64) * size + j)
            kept += len(i)
            if kept > _MOST_KEPT:
                return None
        known = np.sort(np.concatenate(codes))
        return lambda i, j: np.isin(i.astype(np.int64) * size + j, known)


def _usable(study: Study, metric: str, alpha: float, bound: float) -> tuple[Study, _Distances]:
    """The samples that have reads the distance sees, and their distances."""
    needs_tree = find_distance(metric, study.phylogeny).needs_tree
    counts = study.counts
    if needs_tree:
        assert study.phylogeny is not None, "`find_distance` refuses this"
        place = {name: i for i, name in enumerate(study.feature_ids)}
        counts = counts[:, [place[name] for name in study.phylogeny.tip_ids]]
    has_reads = np.asarray(counts.sum(axis=1)).ravel() > 0
    if has_reads.sum() < 2:
        raise InputError("Fewer than two samples have reads: there are no pairs of samples.")
    if not has_reads.all():
        lacking = [name for name, has in zip(study.sample_ids, has_reads, strict=True) if not has]
        logger.warning(
            f"{len(lacking)} samples have no reads in the tree and are not compared: "
            f"{first_five(lacking)}"
        )
        kept = [name for name, has in zip(study.sample_ids, has_reads, strict=True) if has]
        study, counts = study.select(kept), counts[has_reads]
    phylogeny = study.phylogeny if needs_tree else None
    return study, _Distances(counts.tocsr(), phylogeny, metric, alpha, bound)


def _places(study: Study, part: Study) -> np.ndarray:
    place = {name: i for i, name in enumerate(study.sample_ids)}
    return np.array([place[name] for name in part.sample_ids])


def _given_pairs(distances: np.ndarray, bound: float):
    for start in range(len(distances)):
        row = distances[start, start + 1 :]
        places = np.flatnonzero(row <= bound)
        if len(places):
            yield np.full(len(places), start), places + start + 1, row[places]


# --- the same pairs at several depths -------------------------------------------------------------


def _depths(reads: np.ndarray, depths: Sequence[int]) -> list[int]:
    """Depths to draw reads to, ascending."""
    for depth in depths:
        if depth < 1 or (reads >= depth).sum() < 2:
            raise InputError(
                f"Fewer than two samples have {depth:,} reads (--depth): the deepest has "
                f"{int(reads.max()):,}."
            )
    if len(depths):
        return sorted(set(depths))
    usual = [depth for depth in _DEPTHS if np.mean(reads >= depth) >= 0.5]
    # Over the whole range: a table that hides nothing at 10,000 reads may do so at 100.
    places = np.unique(np.linspace(0, len(usual) - 1, _TRIED).round().astype(int))
    return [usual[place] for place in places] if usual else []


def _rarefied(
    study: Study, table: _Distances, counter: Counter, depths: Sequence[int], seed: int
) -> pd.DataFrame:
    """Pairs within the bound when as many reads are drawn of each sample, by depth.

    Samples that have fewer are not compared at that depth. ``same_samples`` are those that have
    the greatest of the depths: of these each depth has the same pairs.
    """
    names = ["depth", "samples", "pairs", "near", "share_near", "near_for_lack_of_reads"]
    names += ["share_for_lack_of_reads", "same_samples", "near_of_same_samples"]
    if not depths:
        return pd.DataFrame(columns=names).set_index("depth")
    is_near = table.membership()
    if is_near is None:
        logger.warning(
            f"More than {_MOST_KEPT:,} pairs are within {table.bound:g} of one another: they are "
            "not compared at other depths. Name a smaller bound (--bound) for that."
        )
        return pd.DataFrame(columns=names).set_index("depth")
    lasting = np.flatnonzero(counter.reads >= depths[-1])
    rows = []
    for depth in depths:
        places = np.flatnonzero(counter.reads >= depth)
        drawn = _draw(table.counts[places], [study.sample_ids[i] for i in places], depth, seed)
        seen = np.asarray(drawn.sum(axis=1)).ravel() > 0
        places, drawn = places[seen], drawn[seen]
        near = lost = same = 0
        in_all = np.isin(places, lasting)
        for i, j, _ in dataclasses.replace(table, counts=drawn).pairs():
            near += len(i)
            lost += int((~is_near(places[i], places[j])).sum())
            same += int((in_all[i] & in_all[j]).sum())
        pairs = len(places) * (len(places) - 1) // 2
        shares = near / max(1, pairs), lost, lost / near if near else np.nan
        rows.append((depth, len(places), pairs, near, *shares, len(lasting), same))
        within = "at distance 0" if table.bound == 0 else f"within {table.bound:g}"
        logger.info(
            f"{depth:,} reads of each sample: {near:,} of {pairs:,} pairs {within}, of which "
            f"{lost:,} are not by all reads"
        )
    return pd.DataFrame(rows, columns=names).set_index("depth")


def _draw(counts: csr_matrix, ids: Sequence[str], depth: int, seed: int) -> csr_matrix:
    """``depth`` reads of each sample."""
    counts = counts.copy()
    for row, name in enumerate(ids):
        span = slice(*counts.indptr[row : row + 2])
        rng = sample_rng(seed, name, EVALUATION + 1)
        counts.data[span] = rarefy(counts.data[span].astype(np.int64), depth, rng)
    counts.eliminate_zeros()
    return counts
