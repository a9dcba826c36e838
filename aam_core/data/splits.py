"""Splits into training and held-out samples: by group, by class, or at random.

A member of an ensemble holds out one fold and trains on the others, so that every sample can have
an out-of-fold prediction. Letters: N samples, K members, G groups, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, label_codes, missing_ids
from aam_core.errors import InputError, first_five

__all__ = ["Split", "aligned", "cross_fitting_split", "make_folds", "train_val_split"]

_TRIES = 50
"""Orders of the groups that are tried, at most."""

_NEAR = 0.03
"""Deviation from the fraction at which no better order is tried: the search for an exact fit would
hold out the same few groups under every seed."""


@dataclass(frozen=True)
class Split:
    """Training and held-out samples of an ensemble.

    With several members a sample may be both: each member holds out the samples of one fold, and is
    validated on them.

    Attributes
    ----------
    train, val : list of str
        Samples that some member trains on, and samples that some member holds out.
    folds : list of int
        Fold of each sample of ``val``, from 0.
    count : int
        Number of folds, where some may have no sample; 0: as many as there are in ``folds``.
    """

    train: list[str]
    val: list[str]
    folds: list[int]
    count: int = 0

    @classmethod
    def holdout(cls, train: list[str], val: list[str]) -> Split:
        """The split in which every member holds out all of ``val``."""
        return cls(list(train), list(val), [0] * len(val))

    def of(self, samples: Collection[str]) -> Split:
        """These samples alone; each member holds out the fold that it holds out of all."""
        kept = set(samples)
        fold = {n: f for n, f in zip(self.val, self.folds, strict=True) if n in kept}
        train = [name for name in self.train if name in kept]
        count = self.count or max(self.folds, default=0) + 1
        return Split(train, list(fold), list(fold.values()), count)

    def held_out(self, sample_ids: Sequence[str], members: int) -> np.ndarray:
        """``[K, N]`` bool: whether a member holds out a sample.

        Member k holds out fold k; where there are fewer folds, it begins again with the first.
        """
        position = {name: i for i, name in enumerate(sample_ids)}
        columns = [position[name] for name in self.val]
        held_out = np.zeros((members, len(position)), bool)
        count = self.count or max(self.folds, default=0) + 1
        fold_of_member = np.arange(members) % count
        held_out[:, columns] = fold_of_member[:, None] == np.array(self.folds, int)[None, :]
        return held_out


def cross_fitting_split(
    sample_ids: Sequence[str],
    members: int,
    *,
    fraction: float,
    seed: int,
    groups: pd.Series | Sequence | None = None,
    strata: pd.Series | Sequence | None = None,
) -> Split:
    """The split of an ensemble: each member holds out a fold of about ``fraction`` of the samples.

    Parameters
    ----------
    sample_ids, groups, strata
        As in `train_val_split`; classes that are too rare to be in several folds are not
        stratified, the others are.
    members : int
        A single member has the split of `train_val_split`.
    fraction : float
        There are 1 / fraction folds, or fewer where there are fewer groups. 0 holds out nothing.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    InputError
        As `train_val_split`.
    """
    ids = _ids(sample_ids)
    if fraction == 0:
        return Split(ids, [], [])
    units = len(ids) if groups is None else np.unique(_codes(ids, groups, "group")).size
    if members == 1 or units < 2:  # with one group the next line raises
        sides = train_val_split(ids, fraction=fraction, seed=seed, groups=groups, strata=strata)
        return Split.holdout(*sides)
    most = max(2, min(round(1 / fraction), units))
    # Classes as even as possible; else with classes of one group; else without classes.
    attempts: list[dict] = [{}]
    if strata is not None:
        attempts = [{"strata": strata}, {"strata": strata, "lone_classes": True}, {}]
    for options in attempts:
        # Rather fewer folds than weaker stratification: options change last.
        for count in range(most, 1, -1):
            try:
                folds = make_folds(ids, folds=count, seed=seed, groups=groups, **options)
            except InputError:
                if not options and count == 2:
                    raise
                continue
            fold = {name: number for number, (_, test) in enumerate(folds) for name in test}
            # Folds beyond the members are held out by none: all members train on them.
            val = [name for name in ids if fold[name] < members]
            return Split(ids, val, [fold[name] for name in val])
    raise AssertionError("the last attempt returns or raises")


def train_val_split(
    sample_ids: Sequence[str],
    *,
    fraction: float,
    seed: int,
    groups: pd.Series | Sequence | None = None,
    strata: pd.Series | Sequence | None = None,
) -> tuple[list[str], list[str]]:
    """Hold out about ``fraction`` of the samples; every class is on both sides.

    `StratifiedGroupKFold` does not promise the latter; docs/dependencies.md has numbers.

    Parameters
    ----------
    sample_ids : sequence of str
        N samples.
    fraction : float
        Share to hold out; reached as nearly as whole groups allow.
    seed : int
    groups : pandas.Series (by sample id) or sequence (in the order of sample_ids), optional
        Samples of a group, such as those of one host, stay on the same side.
    strata : the same, optional
        Classes: each is on both sides, in equal shares as far as the groups allow.

    Returns
    -------
    (train_ids, val_ids)
        Each in the order of sample_ids.

    Raises
    ------
    InputError
        If a side would be empty, a group or class is missing for a sample, or a class cannot be
        on both sides.
    """
    ids = _ids(sample_ids)
    if not 0 < round(fraction * len(ids)) < len(ids):
        raise InputError(
            f"Holding out {fraction:g} of {len(ids)} samples leaves one side empty: change the "
            "validation fraction, or give more samples."
        )
    group = _codes(ids, groups, "group") if groups is not None else np.arange(len(ids))
    stratum = _codes(ids, strata, "class") if strata is not None else np.zeros(len(ids), int)
    counts = np.zeros((group.max() + 1, stratum.max() + 1))
    np.add.at(counts, (group, stratum), 1)
    if len(counts) < 2:
        raise InputError(
            f"All {len(ids)} samples are of one group: there is no other group to hold out. "
            "Group by another column, or by none."
        )
    if strata is not None:
        _need_two(ids, group, strata, groups is not None)
    rng = np.random.default_rng(seed)
    best = None
    # Tries times groups stay near 10,000: a try takes time in proportion to the groups.
    tries = 1 if groups is None else min(_TRIES, 1 + 10_000 // len(counts))
    for _ in range(tries):
        attempt = _hold_out(counts, fraction, rng)
        if attempt is not None and (best is None or attempt[0] < best[0]):
            best = attempt
        if best is not None and best[0] <= _NEAR:
            break
    if best is None:
        raise InputError(
            "No split of the groups has every class on both sides: each class needs groups of "
            "its own to hold out. Drop the rarest class, or group by another column."
        )
    return _sides(ids, best[1][group])


def make_folds(
    sample_ids: Sequence[str],
    *,
    folds: int,
    seed: int,
    groups: pd.Series | Sequence | None = None,
    strata: pd.Series | Sequence | None = None,
    lone_classes: bool = False,
    shuffle: bool = False,
) -> list[tuple[list[str], list[str]]]:
    """Folds of a cross-validation: every sample is in one test fold.

    With groups alone, scikit-learn's GroupKFold (which takes no seed, unless ``shuffle``); with
    groups and strata, StratifiedGroupKFold; with strata alone, StratifiedKFold; else KFold, each
    shuffled by ``seed`` as scikit-learn 1.8 does it.

    Parameters
    ----------
    sample_ids, groups, strata
        As in `train_val_split`.
    folds : int
        At least 2.
    seed : int
    lone_classes : bool
        Whether a class may have a single sample (or group), and so be in one fold alone.
    shuffle : bool
        With groups alone, deal them at random: as many groups to each fold, not as many samples.

    Returns
    -------
    list of (train_ids, test_ids)
        Each in the order of sample_ids.

    Raises
    ------
    InputError
        If there are fewer samples or groups than folds, a group or class is missing for a
        sample, or a class has a single sample (or group) where it may not.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    ids = _ids(sample_ids)
    if folds < 2:
        raise InputError(f"Folds must be at least 2, not {folds}.")
    group = _codes(ids, groups, "group") if groups is not None else np.arange(len(ids))
    stratum = _codes(ids, strata, "class") if strata is not None else np.zeros(len(ids), int)
    units = np.unique(group).size
    if units < folds:
        what = "samples" if groups is None else f"groups (of {len(ids)} samples)"
        raise InputError(
            f"There are {units} {what}, fewer than the {folds} folds: use fewer folds."
        )
    if strata is not None:
        if not lone_classes:
            _need_two(ids, group, strata, groups is not None)
        # scikit-learn would raise an error of its own, without this advice.
        if np.bincount(stratum).max() < folds:
            raise InputError(
                f"No class has as many samples as there are folds ({folds}): use fewer folds."
            )
    shuffled = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if groups is not None and strata is not None:
        # scikit-learn before 1.8 loses the strata where it shuffles: the groups come in the order
        # in which later versions take them, under the same seed.
        order = np.arange(units)
        np.random.RandomState(seed).shuffle(order)
        group = np.argsort(order)[group]
        splitter = StratifiedGroupKFold(folds)
    elif groups is not None:
        if shuffle:  # as by GroupKFold(shuffle=True), which scikit-learn has since 1.6
            order = np.random.RandomState(seed).permutation(units)
            fold = np.empty(units, int)
            for number, dealt in enumerate(np.array_split(order, folds)):
                fold[dealt] = number
            return [_sides(ids, fold[group] == number) for number in range(folds)]
        splitter = GroupKFold(folds)
    else:
        splitter = (KFold if strata is None else StratifiedKFold)(**shuffled)
    pairs = []
    with warnings.catch_warnings():
        # a class rarer than the folds is legal here: it is then absent from some test sides
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for _, test in splitter.split(ids, stratum, None if groups is None else group):
            in_test = np.zeros(len(ids), dtype=bool)
            in_test[test] = True
            pairs.append(_sides(ids, in_test))
    if not all(test for _, test in pairs):
        raise InputError(
            f"The groups are too uneven for {folds} folds (one would be empty): use fewer folds."
        )
    return pairs


def _hold_out(
    counts: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[float, np.ndarray] | None:
    """One greedy split of the groups, taken in random order; None where it fails.

    First a group of each class is held out, of the class in the fewest groups first; then groups
    are added while that brings the shares nearer to ``fraction``. The training side keeps every
    class throughout.

    Parameters
    ----------
    counts : ndarray
        [G, C] samples by group and class.

    Returns
    -------
    deviation : float
        Root mean square, over samples, of the held-out share of their class less ``fraction``.
    held_out : ndarray
        [G] bool.
    """
    total = counts.sum(axis=0)
    order = rng.permutation(len(counts))
    held_out = np.zeros(len(counts), dtype=bool)
    inside = np.zeros_like(total)  # held-out samples of each class

    def fits(g):
        return not held_out[g] and (total - inside - counts[g] > 0).all()

    def cost(amount):
        return (((amount / total) - fraction) ** 2 * total).sum()

    for c in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        if inside[c]:
            continue
        candidates = [g for g in order if counts[g, c] and fits(g)]
        if not candidates:
            return None
        small = (g for g in candidates if cost(inside + counts[g]) <= cost(inside))
        # The first in random order, not the best, which would be the same under every seed.
        chosen = next(small, None)
        if chosen is None:
            chosen = min(candidates, key=lambda g: cost(inside + counts[g]))
        held_out[chosen] = True
        inside = inside + counts[chosen]
    for g in order:
        if fits(g) and cost(inside + counts[g]) < cost(inside):
            held_out[g] = True
            inside = inside + counts[g]
    return np.sqrt(cost(inside) / total.sum()), held_out


def _need_two(ids, group, strata, grouped):
    labels = as_classes(aligned(ids, strata, "class"))
    units = pd.Series(group).groupby(labels.to_numpy()).nunique()
    lone = units[units < 2].index
    if len(lone):
        raise InputError(
            f"{len(lone)} classes are found in one {'group' if grouped else 'sample'} only, and "
            f"cannot be both trained on and held out: {first_five(lone)}. Drop these samples "
            "(where the column is a number, use a regressor)."
        )


def aligned(ids, values, what) -> pd.Series:
    """The values as a Series in the order of ids; `InputError` where one is missing."""
    if isinstance(values, pd.Series):
        absent = [i for i in ids if i not in values.index]
        if absent:
            raise InputError(f"{len(absent)} samples have no {what}: {first_five(absent)}.")
        series = values.loc[ids]
    else:
        assert len(values) == len(ids), (len(values), len(ids))
        series = pd.Series(list(values), index=ids)
    missing = missing_ids(series)
    if missing:
        name = f" (column {series.name!r})" if series.name is not None else ""
        raise InputError(
            f"The {what}{name} is blank for {len(missing)} of {len(ids)} samples: "
            f"{first_five(missing)}. Fill it in, or drop these samples."
        )
    return series


def _codes(ids, values, what) -> np.ndarray:
    """[N] int, position of each sample's label among the sorted labels (`columns.label_codes`)."""
    return label_codes(aligned(ids, values, what))


def _sides(ids: list[str], held_out: np.ndarray) -> tuple[list[str], list[str]]:
    names = np.array(ids, dtype=object)
    return names[~held_out].tolist(), names[held_out].tolist()


def _ids(sample_ids) -> list[str]:
    ids = [str(i) for i in sample_ids]
    assert len(set(ids)) == len(ids), "sample ids are not unique"
    return ids
