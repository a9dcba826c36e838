"""Which ASVs, and which groups of ASVs, a model's predictions depend on.

Letters: N samples, F features, R repeats, T outputs, G groups of
samples, U groups of ASVs, or features of two samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.study import Study
from aam_core.explanation.clades import Level, consensus
from aam_core.explanation.perturbed import Perturbed
from aam_core.explanation.significance import least_p, p_values
from aam_core.statistics import benjamini_hochberg

__all__ = [
    "FALSE",
    "Sums",
    "deletion_curve",
    "few_groups",
    "importances",
    "permute_levels",
    "shift_donors",
]

FALSE = 0.05
"""Share of false discoveries, below which a q is counted."""

_RANDOM_ORDERS = 10
"""Random orders that the deletion curve is compared with."""

_EMPTY = 0.05
"""Share of samples without any ASV left at which a deletion curve ends."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What becomes of predictions where a group of ASVs is permuted, or removed: over all samples.

    They are added up sample by sample, so that memory does not grow with samples times repeats.

    Attributes
    ----------
    rise : ndarray
        ``[U, R]`` sum of the rises of the loss where the abundance is that in another sample.
    by_group : ndarray
        ``[U, G]`` the same of each group of samples, mean over repeats.
    effect : ndarray
        ``[U, T]`` sum of what predictions lose where it is removed from a sample that has it.
    having : ndarray
        ``[U]`` samples that have some of it, and some of others.
    dropped : ndarray
        ``[U, R]`` samples that have nothing else, of which there is no ``rise``.
    alone : ndarray
        ``[U]`` samples that have nothing else, of which there is no ``effect``.
    """

    rise: np.ndarray
    by_group: np.ndarray
    effect: np.ndarray
    having: np.ndarray
    dropped: np.ndarray
    alone: np.ndarray


def shift_donors(
    count: int, groups: np.ndarray | None, repeats: int, rng: np.random.Generator
) -> np.ndarray:
    """``[R, N]`` position of the sample whose abundance each sample receives.

    Each row is a permutation in which no sample receives from its own group: samples are put in a
    random order in which a group is together, and shifted by more than the largest group. Where
    that has half of the samples, each receives from a random one of another group.

    Parameters
    ----------
    count : int
        N, from 2.
    groups : ndarray or None
        ``[N]`` codes; each sample by itself where not given.
    """
    codes = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    largest = int(np.bincount(codes).max())
    donors = np.empty((repeats, count), np.int64)
    for row in donors:
        if 2 * largest > count:
            for sample in range(count):
                row[sample] = rng.choice(np.flatnonzero(codes != codes[sample]))
            continue
        place = rng.permutation(codes.max() + 1)[codes]
        order = np.lexsort((rng.random(count), place))
        row[order] = np.roll(order, -rng.integers(largest, count - largest + 1))
    return donors


def permute_levels(
    perturbed: Perturbed,
    levels: Sequence[Level],
    donors: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    threads: int = 1,
) -> list[Sums]:
    """Permute each group of ASVs among samples, all other ASVs staying.

    A group's relative abundances become those of the donor, and the others share the rest: ratios
    among them stay. A sample that has no others is dropped, unless the donor has none either.

    Parameters
    ----------
    perturbed : Perturbed
    levels : sequence of Level
    donors : ndarray
        ``[R, N]``, as of `shift_donors`.
    truth : ndarray
        ``[N]``
    groups : ndarray
        ``[N]`` codes of the samples, as of `significance.flipped_together`.
    threads : int

    Returns
    -------
    list of Sums
        Of each level.
    """

    def work(sample: int) -> list[_Block]:
        return list(_of_sample(perturbed, levels, sample, donors[:, sample]))

    repeats, count = donors.shape
    columns = repeats, int(groups.max()) + 1, perturbed.base.shape[1]
    sums = [_zeros(len(level.names), *columns) for level in levels]
    with ThreadPoolExecutor(threads) as pool:
        for sample, blocks in enumerate(pool.map(work, range(count))):
            own = perturbed.base[[sample]]
            for block in blocks:
                its, there = sums[block.level], ~np.isnan(block.predictions).any(axis=1)
                units, predictions = block.units[there], block.predictions[there]
                if block.repeat < 0:
                    its.effect[units] += own - predictions
                    its.having[units] += 1
                    its.alone[block.units[~there]] += 1
                    continue
                its.dropped[block.units[~there], block.repeat] += 1
                both = np.concatenate([own, predictions])
                loss = perturbed.model.task.blend_losses(both, truth[[sample]])
                rise = loss[1:] - loss[0]
                its.rise[units, block.repeat] += rise
                its.by_group[units, groups[sample]] += rise / repeats
    return sums


def _zeros(units: int, repeats: int, groups: int, outputs: int) -> Sums:
    shapes = (units, repeats), (units, groups), (units, outputs), units, (units, repeats), units
    return Sums(*(np.zeros(shape) for shape in shapes))


@dataclass(frozen=True, eq=False)
class _Block:
    """Changes of one sample in one repeat (-1: removals), of one level."""

    level: int
    repeat: int
    sample: int
    units: np.ndarray
    predictions: np.ndarray


def _of_sample(
    perturbed: Perturbed, levels: Sequence[Level], sample: int, donors: np.ndarray
) -> Iterator[_Block]:
    copies = perturbed.of(sample)
    own = [_units(level, copies.features) for level in levels]
    masks = [
        level.of[copies.features] == units[:, None]
        for level, units in zip(levels, own, strict=True)
    ]
    parts = _split(copies.without(np.concatenate(masks)), own)
    removals = list(zip(own, parts, strict=True))
    for number, (units, removed) in enumerate(removals):
        yield _Block(number, -1, sample, units, removed)
    for repeat, donor in enumerate(donors):
        other = perturbed.of(donor, forest=False)
        features = np.union1d(copies.features, other.features)
        received = [_units(level, other.features) for level in levels]
        masks = [
            level.of[features] == units[:, None]
            for level, units in zip(levels, received, strict=True)
        ]
        predictions = copies.receiving(features, np.concatenate(masks), other)
        parts = _split(predictions, received)
        for number, (units, changed) in enumerate(zip(received, parts, strict=True)):
            # What the donor has none of is removed.
            gone, removed = removals[number]
            lost = ~np.isin(gone, units)
            both = np.concatenate([units, gone[lost]])
            yield _Block(number, repeat, sample, both, np.concatenate([changed, removed[lost]]))


def _units(level: Level, features: np.ndarray) -> np.ndarray:
    units = np.unique(level.of[features])
    return units[units >= 0]


def _split(predictions: np.ndarray, units: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(predictions, np.cumsum([len(it) for it in units])[:-1])


def importances(
    perturbed: Perturbed, levels: Sequence[Level], sums: Sequence[Sums], rng: np.random.Generator
) -> pd.DataFrame:
    """The table of levels, most important first; columns as `aam_core.explain` describes them.

    ``q`` is over all of its rows. Without levels it is an empty table of groups.
    """
    if not levels:
        features, outputs = perturbed.shares.shape[1], perturbed.base.shape[1]
        levels, sums = [Level("", [], np.full(features, -1))], [_zeros(0, 2, 1, outputs)]
    pairs = zip(levels, sums, strict=True)
    table = pd.concat([_of_level(perturbed, level, its, rng) for level, its in pairs])
    place = table.columns.get_loc("p") + 1
    table.insert(place, "q", benjamini_hochberg(table["p"].to_numpy()))
    return table.sort_values("importance", ascending=False, kind="stable")


def _of_level(
    perturbed: Perturbed, level: Level, sums: Sums, rng: np.random.Generator
) -> pd.DataFrame:
    each = sums.rise / np.maximum(perturbed.shares.shape[0] - sums.dropped, 1)
    table = pd.DataFrame(
        {
            "importance": each.mean(axis=1),
            "importance_sd": each.std(axis=1, ddof=1) if each.shape[1] > 1 else np.nan,
            "p": p_values(sums.by_group, rng),
            **_effects(perturbed.model.task, sums),
            **_abundances(perturbed, level),
            "dropped": sums.alone.astype(int),
        },
        index=pd.Index(level.names, name="feature-id" if level.kind == "asv" else "group-id"),
    )
    if level.kind != "asv":
        table.insert(0, "kind", level.kind)
    return table.assign(**_members(perturbed.study, level))


def few_groups(groups: int, tables: dict[str, int]) -> str:
    """A line about what so few groups of samples cannot show; empty where they are enough.

    Parameters
    ----------
    groups : int
        G.
    tables : dict
        Number of rows of each table.
    """
    least = least_p(groups)
    needed = {name: math.ceil(least * rows / FALSE) for name, rows in tables.items() if rows}
    if 2**groups > round(1 / least) or max(needed.values()) < 2:
        return ""
    line = f"no p is below 1/{2**groups:,} with {groups} groups of samples: "
    if least > FALSE:
        return f"{line}nothing can have a q below {FALSE}"
    words = [f"{n:,} of {tables[name]:,} {name}" for name, n in needed.items()]
    return f"{line}a q below {FALSE} takes {' or '.join(words)} with that p"


def _effects(task, sums: Sums) -> dict[str, np.ndarray]:
    """What having the ASVs does to a prediction: the mean over the samples that have them."""
    mean = sums.effect / np.maximum(sums.having, 1)[:, None]
    if not task.classes:
        words = np.array(["lowers", "none", "raises"])[np.sign(mean[:, 0]).astype(int) + 1]
        return {"effect": mean[:, 0], "direction": words}
    named = {f"effect_{name}": mean[:, i] for i, name in enumerate(task.classes)}
    likelier = np.array(task.classes, object)[mean.argmax(1)]
    return {**named, "direction": np.where(np.abs(mean).max(1) > 0, likelier, "none")}


def _abundances(perturbed: Perturbed, level: Level) -> dict[str, np.ndarray]:
    """Share of the samples that have some of a group, and its mean relative abundance."""
    table = perturbed.shares
    row = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    unit = level.of[table.indices]
    kept, count = unit >= 0, len(level.names)
    pairs = np.unique(unit[kept] * table.shape[0] + row[kept])
    prevalence = np.bincount(pairs // table.shape[0], minlength=count) / table.shape[0]
    total = np.bincount(unit[kept], table.data[kept], minlength=count)
    return {"prevalence": prevalence, "abundance": total / table.shape[0]}


def _members(study: Study, level: Level) -> dict[str, list]:
    """Taxon of each ASV; of a group the number of its ASVs, what they share, and their ids."""
    if level.kind == "asv":
        return {} if study.taxonomy is None else {"taxon": list(study.taxonomy)}
    order = np.argsort(level.of, kind="stable")
    ends = np.searchsorted(level.of[order], np.arange(len(level.names) + 1))
    groups = [order[ends[i] : ends[i + 1]] for i in range(len(level.names))]
    columns: dict[str, list] = {"asvs": [len(group) for group in groups]}
    if study.taxonomy is not None:
        # A taxon is its own lineage, whatever half of its ASVs share beyond that.
        its_own = level.kind not in ("clade", "cluster")
        shared = [consensus(study.taxonomy, group) for group in groups]
        columns["taxon"] = list(level.names) if its_own else shared
    columns["members"] = [";".join(study.feature_ids[i] for i in group) for group in groups]
    return columns


def deletion_curve(
    perturbed: Perturbed,
    sums: Sums,
    truth: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Error of the predictions after the most important ASVs are removed from all samples.

    Groups of samples are halved at random. From the samples of each half ASVs are removed by their
    importance in the other half: on the same samples the error would rise for chance alone.

    Parameters
    ----------
    perturbed : Perturbed
    sums : Sums
        Of the ASVs.
    truth, groups : ndarray
        As of `permute_levels`.
    rng : Generator

    Returns
    -------
    DataFrame
        Index ``removed``, the number of ASVs; mean error where they are removed by
        ``importance``, by ``abundance`` (the most abundant first), and in a ``random`` order (the
        mean of ten, with ``random_low`` and ``random_high``, the least and the greatest).
        ``dropped`` samples at most have none left, and do not count; it ends before these are
        more than one in twenty.
    """
    number = sums.by_group.shape[1]
    half = rng.permutation(np.arange(number) % 2)
    by_importance = [
        np.argsort(-sums.by_group[:, half != one].sum(axis=1), kind="stable") for one in (0, 1)
    ]
    orders = [np.argsort(-np.asarray(perturbed.shares.sum(axis=0)).ravel(), kind="stable")]
    orders += [rng.permutation(orders[0]) for _ in range(_RANDOM_ORDERS)]
    # When each is removed, [orders, F], of the samples of each half.
    ranks = [np.argsort(np.array([its, *orders]), axis=1) for its in by_importance]
    steps = np.array([k for k in _steps() if k < len(orders[0])])
    errors = np.zeros((1 + len(orders), len(steps)))
    empty = np.zeros_like(errors)
    for sample, group in enumerate(groups):
        copies = perturbed.of(sample)
        removed = ranks[half[group]][:, None, copies.features] < steps[:, None]
        predictions = copies.without(removed.reshape(-1, len(copies.features)))
        there = ~np.isnan(predictions).any(axis=1)
        error = np.zeros(len(predictions))
        error[there] = perturbed.model.task.blend_losses(predictions[there], truth[[sample]])
        errors += error.reshape(errors.shape)
        empty += ~there.reshape(errors.shape)
    errors /= np.maximum(len(truth) - empty, 1)
    least = (empty > _EMPTY * len(truth)).any(axis=0)
    last = int(least.argmax()) if least.any() else len(steps)
    random = errors[2:, :last]
    return pd.DataFrame(
        {
            "importance": errors[0, :last],
            "abundance": errors[1, :last],
            "random": random.mean(axis=0),
            "random_low": random.min(axis=0),
            "random_high": random.max(axis=0),
            "dropped": empty[:, :last].max(axis=0).astype(int),
        },
        index=pd.Index(steps[:last], name="removed"),
    )


def _steps() -> list[int]:
    return [0, *(k * 10**power for power in range(6) for k in (1, 2, 3, 5))]
