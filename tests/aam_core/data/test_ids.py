"""Ids: text, unique, compared letter for letter."""

from __future__ import annotations

import numpy as np
import pytest

from aam_core.data.ids import check_ids, listing, nearest, nothing_in_common
from aam_core.errors import InputError


def test_ids_stay_text():
    assert check_ids(np.array(["2538.1000101", "007", "1e5"]), "sample", "f") == [
        "2538.1000101",
        "007",
        "1e5",
    ]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([7, "a"], r"t.tsv: 1 sample ids are not text \(7\).*dtype=str"),
        ([None], "not text"),
        (["a", " "], "blank"),
        (["a ", "b", " a"], r"1 sample ids occur more than once \(a\)"),
        (["a\tb", "c"], r"1 sample ids hold a tab or a line break \('a\\tb'\)"),
        (["a\nb", "a\rb", "a\u2028b"], "3 sample ids hold a tab or a line break"),
        (["a", "b", "a", "a", "b", "c"], r"2 sample ids occur more than once \(a, b\)"),
    ],
)
def test_ids_that_are_none(ids, message):
    with pytest.raises(InputError, match=message):
        check_ids(ids, "sample", "t.tsv")


def test_blanks_at_the_ends_of_ids_do_not_count():
    assert check_ids([" s 1", "s2\t", "s3\n"], "sample", "t.tsv") == ["s 1", "s2", "s3"]


def test_long_ids_are_cut_in_messages():
    assert len(listing(["A" * 500] * 9)) < 250


def test_nearest_name():
    assert nearest("day_of_lif", ["month", "day_of_life"]) == "; did you mean 'day_of_life'?"
    assert nearest("zzz", ["a", "b"]) == "; there are: a, b."


def test_nothing_in_common_shows_both_sides_and_knows_mangled_numbers():
    message = str(nothing_in_common("sample", ["007", "008"], ["7", "8.0"], "the table", "m.tsv"))
    assert "the table: 007, 008;" in message and "m.tsv: 7, 8.0." in message
    assert "rewritten ids as numbers" in message
    assert "numbers" not in str(nothing_in_common("sample", ["a"], ["b"], "the table", "m.tsv"))


def test_ids_that_no_file_can_hold():
    with pytest.raises(InputError, match=r"t: 1 sample ids have half of a character .*ud800"):
        check_ids(["a", "b\ud800"], "sample", "t")
