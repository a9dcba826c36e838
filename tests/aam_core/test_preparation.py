"""Tests of aam_core.preparation."""

from __future__ import annotations

import pandas as pd
import pytest

from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.preparation import (
    chosen_split,
    count_groups,
    count_held_out,
    held_out_in_words,
    share_note,
    strata_of,
)
from aam_core.tasks import Classification, Regression


def test_what_is_held_out_is_counted():
    groups = pd.Series(["x", "x", "y", "z"], ["a", "b", "c", "d"])
    assert count_groups(groups, ["b", "a", "c"]) == 2
    assert count_groups(None, ["b", "a", "c"]) is None
    assert count_held_out(3, 2) == {"samples": 3, "groups": 2}
    assert count_held_out(2, None) == {"samples": 2}
    assert held_out_in_words({"samples": 2, "folds": 1}) == "2 held-out samples"
    counts = {"samples": 3, "groups": 2, "folds": 2}
    assert held_out_in_words(counts) == "3 held-out samples of 2 groups, in 2 folds"


def test_validation_samples_by_the_values_of_a_column(small, brief):
    config = brief("fitting", {"train.val_where": "group=case"})
    split = chosen_split(small, small.sample_ids, config, None)
    cases = small.metadata["group"] == "case"
    assert split.val == cases.index[cases].tolist() and set(split.folds) == {0}
    assert split.train == cases.index[~cases].tolist()
    every = config.replace({"train.val_where": "group=case, group=control"})
    with pytest.raises(InputError, match="none is left to train on"):
        chosen_split(small, small.sample_ids, every, None)
    odd = pd.Series([f"pair {i // 30}" for i in range(60)], small.sample_ids, name="pair")
    with pytest.raises(InputError, match="2 groups of column 'pair' have samples on both sides"):
        chosen_split(small, small.sample_ids, config, odd)
    assert chosen_split(small, small.sample_ids, brief("fitting"), None) is None


def test_strata_are_classes_or_quantiles_that_were_asked_for(small, brief):
    config = brief("fitting", {"train.strata": 3})
    assert strata_of(Classification, small.metadata["group"], config).tolist() == (
        small.metadata["group"].tolist()
    )
    assert strata_of(Regression, small.metadata["gradient"], brief("fitting")) is None
    quantiles = strata_of(Regression, small.metadata["gradient"], config)
    assert quantiles.value_counts().tolist() == [20, 20, 20]
    two = small.metadata[["gradient", "gradient"]]
    with pytest.raises(InputError, match="train.strata is for one numeric target"):
        strata_of(Regression, two, config)


def test_a_share_far_from_what_was_asked_for_is_said(brief):
    names = [f"s{i}" for i in range(40)]
    config = brief("fitting", {"train.strata": 20, "train.val_fraction": 0.2})
    half = Split.holdout(names[:20], names[20:])
    assert share_note(half, 40, config).startswith("50% of the samples are held out, not 20%")
    assert share_note(Split.holdout(names[:32], names[32:]), 40, config) == ""
    assert share_note(half, 40, config.replace({"train.strata": 0})) == ""
