"""Tests of aam_core.preparation."""

from __future__ import annotations

import pandas as pd

from aam_core.preparation import count_groups, count_held_out, held_out_in_words


def test_what_is_held_out_is_counted():
    groups = pd.Series(["x", "x", "y", "z"], ["a", "b", "c", "d"])
    assert count_groups(groups, ["b", "a", "c"]) == 2
    assert count_groups(None, ["b", "a", "c"]) is None
    assert count_held_out(3, 2) == {"samples": 3, "groups": 2}
    assert count_held_out(2, None) == {"samples": 2}
    assert held_out_in_words({"samples": 2, "folds": 1}) == "2 held-out samples"
    counts = {"samples": 3, "groups": 2, "folds": 2}
    assert held_out_in_words(counts) == "3 held-out samples of 2 groups, in 2 folds"
