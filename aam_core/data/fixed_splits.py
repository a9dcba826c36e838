"""Checks of splits that the user chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from aam_core.data.splits import Split
from aam_core.errors import InputError, first_five

__all__ = ["fixed_folds", "fixed_split"]


def fixed_split(
    sample_ids: Sequence[str], train_ids: Sequence[str], val_ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Check the two sides of a split.

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
    """Check the folds of an ensemble; the held-out side may be empty.

    Parameters
    ----------
    sample_ids : sequence of str
        Samples of the study.
    split : Split
    members : int
        Members of the ensemble, each of which holds out a fold.

    Returns
    -------
    Split
        The same, each side in the order of sample_ids.

    Raises
    ------
    InputError
        If the training side is empty; an id is not among ``sample_ids``, or has no fold, several,
        or one that no member holds out; every member holds out some training sample; or a member
        holds out all of them.
    """
    train = _side(sample_ids, split.train, "training")
    held_out = [str(name) for name in split.val]
    val = _side(sample_ids, held_out, "validation") if held_out else []
    if len(split.folds) != len(held_out):
        raise InputError(
            f"The split has {len(held_out)} samples to validate on, and {len(split.folds)} folds: "
            "give the fold of each of these samples."
        )
    # Before `fold` is made: a dict would silently keep the last of several folds.
    times = Counter(held_out)
    twice = [name for name in val if times[name] > 1]
    if twice:
        raise InputError(
            f"{len(twice)} samples are more than once on the validation side of the split: "
            f"{first_five(twice)}. Give each one fold."
        )
    fold = dict(zip(held_out, split.folds, strict=True))
    # `in range` refuses negative and fractional folds, too.
    unused = [name for name in val if fold[name] not in range(members)]
    if unused:
        raise InputError(
            f"{len(unused)} samples of the validation side are of a fold that no member holds out: "
            f"{first_five(unused)}. The {members} members (model.members; 3 at most from a "
            f"pretrained encoder) hold out the first {members} folds, one each: give these samples "
            "one of them, or move them to the training side (leave them out of a table of folds)."
        )
    checked = Split(train, val, [int(fold[name]) for name in val])
    _check_trained(checked, members)
    return checked


def _side(sample_ids: Sequence[str], side_ids: Sequence[str], name: str) -> list[str]:
    """The samples of a side, in the order of sample_ids."""
    ids = [str(i) for i in sample_ids]
    side = {str(i) for i in side_ids}
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
    # Training samples first: the slice below selects their columns.
    names = list(dict.fromkeys([*split.train, *split.val]))
    held_out = split.held_out(names, members)[:, : len(split.train)]
    idle = [split.train[i] for i in np.flatnonzero(held_out.all(axis=0))]
    if idle:
        raise InputError(
            f"{len(idle)} samples are on both sides of the split, and every member holds them "
            f"out: {first_five(idle)}. Leave each on one side, or give them several folds."
        )
    untrained = np.flatnonzero(held_out.all(axis=1))
    if len(untrained):
        raise InputError(
            f"{len(untrained)} of {members} members hold out every training sample (counted from "
            f"0: {first_five(untrained)}): spread these samples over several folds."
        )
