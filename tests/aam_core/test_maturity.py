"""Maturity of samples against controls of their age, computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.maturity import maturity

IDS = [f"s{place}" for place in range(8)]


def scored(ages, predicted, control, **options):
    columns = (pd.Series(values, IDS[: len(values)]) for values in (ages, predicted, control))
    return maturity(*columns, **options)


def test_scores_are_those_of_the_formula():
    # Controls of the first month: 10, 20, 60: median 20, deviations -20, -10, 30 of the mean 30,
    # sum of squares 400 + 100 + 900 = 1400, over 2: sd 26.4575. Of the second: 40, 44: 42, 2.8284.
    table = scored(
        [0.0, 10.0, 29.9, 5.0, 30.0, 59.0, 31.0],
        [10.0, 20.0, 60.0, 70.0, 40.0, 44.0, 36.0],
        [True, True, True, False, True, True, False],
        width=30.0,
    )
    assert table["bin"].tolist() == [0.0] * 4 + [30.0] * 3
    assert table["control_samples"].tolist() == [3] * 4 + [2] * 3
    assert table["control_median"].tolist() == [20.0] * 4 + [42.0] * 3
    assert table["control_sd"].to_numpy() == pytest.approx([700**0.5] * 4 + [8**0.5] * 3)
    assert table["relative"].tolist() == [-10.0, 0.0, 40.0, 50.0, -2.0, 2.0, -6.0]
    expected = [-10 / 700**0.5, 0, 40 / 700**0.5, 50 / 700**0.5, -(0.5**0.5), 0.5**0.5, -6 / 8**0.5]
    assert table["maz"].to_numpy() == pytest.approx(expected)


def test_without_a_width_a_bin_is_of_one_age():
    table = scored([1.0, 1.0, 1.0, 2.0], [1.0, 3.0, 4.0, 5.0], [True, True, False, False])
    assert table["maz"].iloc[2] == pytest.approx(2 / 2**0.5)
    assert np.isnan(table["maz"].iloc[3]) and np.isnan(table["control_median"].iloc[3])
    assert table["control_samples"].tolist() == [2, 2, 2, 0]


def test_ages_before_birth_have_bins_of_their_own():
    table = scored([-1.0, -2.0, 1.0], [0.0, 2.0, 3.0], [True, True, False], width=10.0)
    assert table["bin"].tolist() == [-10.0, -10.0, 0.0]


def test_an_age_on_the_edge_of_a_bin_is_in_the_bin_that_it_begins():
    tenths = pd.Series([number / 10 for number in (*range(40), 0)]).rename("s{}".format)
    table = maturity(tenths, tenths + 1, tenths < 9, width=0.1)
    assert table["bin"].tolist() == tenths.tolist()


def test_one_control_or_equal_ones_give_no_score():
    ages, control = (
        [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0],
        [True, False, True, True, False, True, True],
    )
    table = scored(ages, [1.0, 2.0, 5.0, 5.0, 7.0, 1.0, 2.0], control)
    assert table["maz"].isna().tolist() == [True] * 5 + [False] * 2
    assert table["relative"].tolist()[:5] == [0.0, 1.0, 0.0, 0.0, 2.0]


def test_controls_that_are_all_of_different_ages():
    with pytest.raises(InputError, match="No age has two control samples .*of 2 controls.*wider"):
        scored([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [True, True, False])
    with pytest.raises(InputError, match="above 0 and finite, not 0"):
        scored([1.0], [1.0], [True], width=0.0)
