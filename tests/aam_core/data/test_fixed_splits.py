from __future__ import annotations

import json

import numpy as np
import pytest

from aam_core.data.fixed_splits import fixed_folds, fixed_split
from aam_core.data.splits import Split, cross_fitting_split
from aam_core.errors import InputError

IDS = [f"s{i}" for i in range(10)]


def test_fixed_split_keeps_the_order_of_the_study():
    assert fixed_split(IDS, ["s3", "s0"], ["s1"]) == (["s0", "s3"], ["s1"])


@pytest.mark.parametrize(
    "train, val, words",
    [
        (["s0"], ["s1", "s0"], "1 samples are on both sides of the split: s0"),
        (["s0", "x"], ["s1"], "1 samples of the training side are not in the table.*: x"),
        (["s0"], ["y", "z"], "2 samples of the validation side .*: y, z"),
        (["s0"], [], "The validation side of the split is empty"),
        ([], ["s0"], "The training side of the split is empty"),
    ],
)
def test_fixed_splits_that_cannot_be(train, val, words):
    with pytest.raises(InputError, match=words):
        fixed_split(IDS, train, val)


# --- among several members -----------------------------------------------------------------------


def test_fixed_folds_keep_the_order_of_the_study():
    given = Split(["s3", "s0", "s2"], ["s5", "s2", "s3"], np.array([2, 0, 1]))
    actual = fixed_folds(IDS, given, 3)
    assert actual == Split(["s0", "s2", "s3"], ["s2", "s3", "s5"], [0, 1, 2])
    json.dumps(actual.folds)  # as a checkpoint has them


@pytest.mark.parametrize("members", [1, 2, 3, 8])
@pytest.mark.parametrize("fraction", [0, 0.1, 0.3, 0.5])
def test_splits_that_are_made_are_good(members, fraction):
    split = cross_fitting_split(IDS, members, fraction=fraction, seed=0)
    assert fixed_folds(IDS, split, members) == split
    assert fixed_folds(IDS, split, members + 3) == split


@pytest.mark.parametrize(
    "split, words",
    [
        (Split([], ["s1"], [0]), "The training side of the split is empty"),
        (Split(["x"], ["s1"], [0]), "1 samples of the training side are not in the table.*: x"),
        (Split(["s0"], ["y", "s1", "z"], [0, 0, 0]), "2 samples of the validation side .*: y, z"),
        (Split(IDS, IDS[:6], [0, 1]), "6 samples to validate on, and 2 folds: give the fold of"),
        (Split(IDS, [], [0]), "0 samples to validate on, and 1 folds"),
        (Split(IDS, ["s1", "s2", "s1"], [0, 1, 1]), "1 samples are more than once .*: s1. Give"),
        (
            Split(IDS, IDS, [0, 1, 2, 3, 0, 1, 2, 3, 4, -1]),
            "6 samples .* no member holds out: s2, s3, s6, s7, s8 and 1 more. "
            "The 2 members .*; 3 at most from a pretrained encoder. hold out the first 2 folds",
        ),
        (Split(IDS, ["s3", "s4"], [0, 0]), "2 samples are on both .* every member .*: s3, s4"),
        (
            Split(IDS[:2], IDS[:4], [0, 0, 1, 1]),
            "1 of 2 members hold out every training sample .*: 0.: spread",
        ),
    ],
)
def test_fixed_folds_that_cannot_be(split, words):
    with pytest.raises(InputError, match=words) as caught:
        fixed_folds(IDS, split, 2)
    assert "\n" not in str(caught.value)
