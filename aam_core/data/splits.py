"""Who is trained on and who is held out: by group, by class, or at random."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.data.columns import as_classes, label_codes, missing_ids
from aam_core.errors import InputError, first_five

TRIES = 50
"""Orders of the groups that are tried, at most."""

NEAR = 0.03
"""Deviation from the fraction at which no better order is sought: the search for an exact fit
would hold out the same handy groups under every seed."""


@dataclass(frozen=True)
class Split:
    """Samples that train, and samples that validate.

    With several members a sample does both: each member leaves out the samples of one fold, and
    they validate it.

    Attributes
    ----------
    train, val : list of str
        Samples that some member trains on, and those that some member leaves out.
    folds : list of int
        Fold of each sample of ``val``, from 0.
    """

    train: list[str]
    val: list[str]
    folds: list[int]

    @classmethod
    def holdout(cls, train: list[str], val: list[str]) -> Split:
        """Every member leaves out all of ``val``."""
        return cls(list(train), list(val), [0] * len(val))

    def held_out(self, sample_ids: Sequence[str], members: int) -> np.ndarray:
        """``[K, N]`` bool: whether a member leaves out a sample; it does one fold in their turn."""
        place = {name: i for i, name in enumerate(sample_ids)}
        where = [place[name] for name in self.val]
        held_out = np.zeros((members, len(place)), bool)
        turns = np.arange(members) % (max(self.folds, default=0) + 1)
        held_out[:, where] = turns[:, None] == np.array(self.folds, int)[None, :]
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
    """Samples that each of some members leaves out: about ``fraction``, another share each.

    Parameters
    ----------
    sample_ids, groups, strata
        As in `train_val_split`; classes that cannot be shared out are left to chance, the others
        are shared out all the same.
    members : int
        A single one has the split of `train_val_split`.
    fraction : float
        Of 1 / fraction folds; fewer where there are not as many groups. 0 leaves nothing out.
    seed : int

    Raises
    ------
    InputError
        As `train_val_split`.
    """
    ids = _ids(sample_ids)
    if fraction == 0:
        return Split(ids, [], [])
    units = len(ids) if groups is None else np.unique(_codes(ids, groups, "group")).size
    if members == 1 or units < 2:  # the latter cannot be split, as is said there
        sides = train_val_split(ids, fraction=fraction, seed=seed, groups=groups, strata=strata)
        return Split.holdout(*sides)
    most = max(2, min(round(1 / fraction), units))
    way = {"strata": strata}
    ways = [{}] if strata is None else [way, {**way, "lone_classes": True}, {}]
    for way in ways:
        for count in range(most, 1, -1):
            try:
                made = make_folds(ids, folds=count, seed=seed, groups=groups, **way)
            except InputError:
                if not way and count == 2:
                    raise
                continue
            fold = {name: number for number, (_, test) in enumerate(made) for name in test}
            held = [name for name in ids if fold[name] < members]
            return Split(ids, held, [fold[name] for name in held])
    raise AssertionError("the last way returns or raises")


def train_val_split(
    sample_ids: Sequence[str],
    *,
    fraction: float,
    seed: int,
    groups: pd.Series | Sequence | None = None,
    strata: pd.Series | Sequence | None = None,
) -> tuple[list[str], list[str]]:
    """Hold out about ``fraction`` of the samples.

    Parameters
    ----------
    sample_ids : sequence of str
        N samples.
    fraction : float
        Share to hold out; reached as nearly as whole groups allow.
    seed : int
    groups : pandas.Series (by sample id) or sequence (in the order of sample_ids), optional
        Samples of a group, as those of one host, stay on the same side.
    strata : the same, optional
        Classes: each is on both sides, in like shares as far as the groups allow.

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
    held = None
    tries = 1 if groups is None else min(TRIES, 1 + 10_000 // len(counts))
    for _ in range(tries):
        found = _hold_out(counts, fraction, rng)
        if found is not None and (held is None or found[0] < held[0]):
            held = found
        if held is not None and held[0] <= NEAR:
            break
    if held is None:
        raise InputError(
            "No split of the groups has every class on both sides: each class needs groups of "
            "its own to hold out. Leave the rarest class out, or group by another column."
        )
    return _sides(ids, held[1][group])


def make_folds(
    sample_ids: Sequence[str],
    *,
    folds: int,
    seed: int,
    groups: pd.Series | Sequence | None = None,
    strata: pd.Series | Sequence | None = None,
    lone_classes: bool = False,
) -> list[tuple[list[str], list[str]]]:
    """Folds of a cross-validation: every sample is tested once.

    With groups alone, scikit-learn's GroupKFold (which takes no seed); with groups and strata,
    StratifiedGroupKFold; with strata alone, StratifiedKFold; else KFold, each shuffled by ``seed``
    as scikit-learn 1.8 does it.

    Parameters
    ----------
    sample_ids, groups, strata
        As in `train_val_split`.
    folds : int
        At least 2.
    seed : int
    lone_classes : bool
        Whether a class may have a single sample (or group); the others are shared out.

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
        raise InputError(f"There are {units} {what}, fewer than the {folds} folds: lower --folds.")
    if strata is not None:
        if not lone_classes:
            _need_two(ids, group, strata, groups is not None)
        if np.bincount(stratum).max() < folds:
            raise InputError(
                f"No class has as many samples as there are folds ({folds}): lower --folds."
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
        splitter = GroupKFold(folds)
    else:
        splitter = (KFold if strata is None else StratifiedKFold)(**shuffled)
    made = []
    with warnings.catch_warnings():
        # a class rarer than the folds is legal here: it is then absent from some test sides
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for _, test in splitter.split(ids, stratum, None if groups is None else group):
            held = np.zeros(len(ids), dtype=bool)
            held[test] = True
            made.append(_sides(ids, held))
    if not all(test for _, test in made):
        raise InputError(
            f"The groups are too uneven for {folds} folds (one would be empty): lower --folds."
        )
    return made


def _hold_out(counts, fraction, rng):
    """One greedy split of groups in random order: (deviation, held [G] bool), or None.

    The deviation is the root mean square, over samples, of the held-out share of their class
    less ``fraction``.

    ``counts`` [G, C] are samples by group and class. First each class is given a held-out
    group, the class found in fewest groups first; then groups are added while that brings the
    shares nearer to ``fraction``. What remains for training keeps every class.
    """
    total = counts.sum(axis=0)
    order = rng.permutation(len(counts))
    held = np.zeros(len(counts), dtype=bool)
    inside = np.zeros_like(total)

    def fits(g):
        return not held[g] and (total - inside - counts[g] > 0).all()

    def cost(amount):
        return (((amount / total) - fraction) ** 2 * total).sum()

    for c in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        if inside[c]:
            continue
        able = [g for g in order if counts[g, c] and fits(g)]
        if not able:
            return None
        small = (g for g in able if cost(inside + counts[g]) <= cost(inside))
        chosen = next(small, None)
        if chosen is None:
            chosen = min(able, key=lambda g: cost(inside + counts[g]))
        held[chosen] = True
        inside = inside + counts[chosen]
    for g in order:
        if fits(g) and cost(inside + counts[g]) < cost(inside):
            held[g] = True
            inside = inside + counts[g]
    return np.sqrt(cost(inside) / total.sum()), held


def _need_two(ids, group, strata, grouped):
    labels = as_classes(_aligned(ids, strata, "class"))
    units = pd.Series(group).groupby(labels.to_numpy()).nunique()
    alone = units[units < 2].index
    if len(alone):
        raise InputError(
            f"{len(alone)} classes are found in one {'group' if grouped else 'sample'} only, and "
            f"cannot be both trained on and held out: {first_five(alone)}. Leave these samples out"
            " (where the column is a number, use a regressor)."
        )


def _aligned(ids, values, what) -> pd.Series:
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
            f"{first_five(missing)}. Fill it in, or leave these samples out."
        )
    return series


def _codes(ids, values, what) -> np.ndarray:
    """[N] int, place of each sample's label among the sorted labels; see `columns.label_codes`."""
    return label_codes(_aligned(ids, values, what))


def _sides(ids, held) -> tuple[list[str], list[str]]:
    names = np.array(ids, dtype=object)
    return names[~held].tolist(), names[held].tolist()


def _ids(sample_ids) -> list[str]:
    ids = _text(sample_ids)
    assert len(set(ids)) == len(ids), "sample ids are not unique"
    return ids


def _text(ids) -> list[str]:
    return [str(i) for i in ids]
