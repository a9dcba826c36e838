"""Splits that the user gave, checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from aam_core.data.splits import Split
from aam_core.errors import InputError, first_five


def fixed_split(
    sample_ids: Sequence[str], train_ids: Sequence[str], val_ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Check a split that the user gave.

    Returns
    -------
    (train_ids, val_ids)
        Each in the order of sample_ids.

    Raises
    ------
    InputError
        If a side is empty, an id is not among ``sample_ids``, or is on both sides.
    """
    train = _side(sample_ids, train_ids, "training")
    val = _side(sample_ids, val_ids, "validation")
    both = sorted(set(train) & set(val))
    if both:
        raise InputError(
            f"{len(both)} samples are on both sides of the split: {first_five(both)}. "
            "Leave each on one side."
        )
    return train, val


def fixed_folds(sample_ids: Sequence[str], split: Split, members: int) -> Split:
    """Check a split among members that the user gave; it may leave out nobody.

    Parameters
    ----------
    sample_ids : sequence of str
        Samples that there are.
    split : Split
    members : int
        How many leave out a fold each.

    Returns
    -------
    Split
        The same, each side in the order of sample_ids.

    Raises
    ------
    InputError
        If nobody is to be trained on, an id is not among ``sample_ids``, or has no fold, several,
        or one that no member leaves out; or if every member leaves out some training sample, or
        a member all of them.
    """
    train = _side(sample_ids, split.train, "training")
    given = [str(name) for name in split.val]
    val = _side(sample_ids, given, "validation") if given else []
    if len(split.folds) != len(given):
        raise InputError(
            f"The split has {len(given)} samples to validate on, and {len(split.folds)} folds: "
            "give the fold of each of these samples."
        )
    times = Counter(given)
    twice = [name for name in val if times[name] > 1]
    if twice:
        raise InputError(
            f"{len(twice)} samples are more than once on the validation side of the split: "
            f"{first_five(twice)}. Give each one fold."
        )
    fold = dict(zip(given, split.folds, strict=True))
    kept = [name for name in val if fold[name] not in range(members)]
    if kept:
        raise InputError(
            f"{len(kept)} samples of the validation side are of a fold that no member leaves out: "
            f"{first_five(kept)}. The folds of {members} members (model.members; 3 at most "
            f"from a pretrained encoder) are 0 to {members - 1}: give these samples one of them, "
            "or leave them to the training side."
        )
    checked = Split(train, val, [int(fold[name]) for name in val])
    _check_trained(checked, members)
    return checked


def _side(sample_ids, given, name) -> list[str]:
    """The samples of a side, in the order of sample_ids."""
    ids = [str(i) for i in sample_ids]
    side = {str(i) for i in given}
    if not side:
        raise InputError(f"The {name} side of the split is empty.")
    unknown = sorted(side - set(ids))
    if unknown:
        raise InputError(
            f"{len(unknown)} samples of the {name} side are not in the table (or have no "
            f"metadata): {first_five(unknown)}."
        )
    return [i for i in ids if i in side]


def _check_trained(split: Split, members: int) -> None:
    """Each training sample has a member that trains on it, and each member such a sample."""
    names = list(dict.fromkeys([*split.train, *split.val]))
    held_out = split.held_out(names, members)[:, : len(split.train)]
    idle = [split.train[i] for i in np.flatnonzero(held_out.all(axis=0))]
    if idle:
        raise InputError(
            f"{len(idle)} samples are on both sides of the split, and every member leaves them "
            f"out: {first_five(idle)}. Leave each on one side, or give them several folds."
        )
    without = np.flatnonzero(held_out.all(axis=1))
    if len(without):
        raise InputError(
            f"{len(without)} of {members} members leave out every training sample (counted from "
            f"0: {first_five(without)}): spread these samples over several folds."
        )
