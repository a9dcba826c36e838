"""What a column is used as: numbers, or names letter for letter."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from aam_core.data.columns import (
    as_classes,
    as_numbers,
    class_sizes,
    infer_task,
    is_missing_word,
    label_codes,
    missing_words,
    natural_order,
    to_floats,
)
from aam_core.data.metadata import column, read_metadata
from aam_core.errors import InputError


def series(values, dtype=object):
    return pd.Series(values, [f"s{i}" for i in range(len(values))], dtype=dtype, name="ph")


@pytest.fixture
def cells(tmp_path):
    """A column of a file, from its cells and what is declared of it."""

    def read(values, declared=""):
        path = tmp_path / "metadata.tsv"
        rows = "".join(f"s{i}\t{value}\n" for i, value in enumerate(values))
        path.write_text(f"id\tph\n#q2:types\t{declared}\n{rows}", encoding="utf-8")
        return column(read_metadata(path), "ph")

    return read


# --- names ---------------------------------------------------------------------------------------

LABELS = ["1.1", "1.10", "01", "1", "1e0", "+1"]


@pytest.mark.parametrize("declared", ["", "categorical", "numeric"])
def test_names_are_the_letters_of_the_file(cells, declared):
    actual = cells(LABELS, declared)
    assert as_classes(actual).tolist() == LABELS
    assert len(set(label_codes(actual))) == len(LABELS)


def test_a_column_means_the_same_whatever_else_stands_in_it(cells):
    alone, beside = cells(["01", "02"]), cells(["01", "02", "A"])
    assert as_classes(alone).tolist() == as_classes(beside).tolist()[:2]


@pytest.mark.parametrize("dtype", [int, float, "Int64", "Float64", object])
def test_whole_numbers_of_a_data_frame_have_no_fraction(dtype):
    assert as_classes(series([3, 10], dtype)).tolist() == ["3", "10"]


def test_codes_are_in_the_order_of_the_numbers(cells):
    """So that folds are what they were when the file was read as numbers."""
    texts = ["10", "9", "9.5", "-1", "10"]
    assert (
        label_codes(cells(texts)).tolist()
        == label_codes(series([float(t) for t in texts])).tolist()
    )
    assert label_codes(cells(["10", "9", "b"])).tolist() == [0, 1, 2]


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_are_what_float_reads(cells):
    texts = [".5", "1.", "-1e-3", "+7", "1E5", "0.1", "36.6", "01"]
    assert as_numbers(cells(texts)).tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("text", ["0x1", "1_000", "nan", "1,5", "5%", "\u0661", "1 2", "old"])
def test_what_python_would_read_but_is_no_number(text):
    assert np.isnan(to_floats(series([text]))[0])


def test_numbers_of_other_types():
    values = series([np.float32(2), Decimal("2.5"), True, None, pd.NA, 10**400, [1], "3"])
    expected = [2, 2.5, 1, np.nan, np.nan, np.inf, np.nan, 3]
    np.testing.assert_array_equal(to_floats(values), expected)
    assert to_floats(series([1, None], "Int64")).tolist()[0] == 1.0


@pytest.mark.parametrize(
    "texts, words",
    [
        (["5,0", "6,1"], r"decimal comma \('5,0', '6,1'\): write 5\.0\."),
        (["5", "1.234,5"], r"decimal comma \('1.234,5'\): write 1234\.5"),
        (["1,234", "12,345,678"], r"numbers with a comma \('1,234'.*: write 1234, or a point"),
        (["5%", "6 %"], r"holds percentages \('5%', '6 %'\): write them without %\."),
        (["5,5%"], "holds percentages .*without %, and with a decimal point"),
        (["5", "NA"], r"1 values that are words for a missing value: s1 \('NA'\)\. Leave"),
        (["5", "old"], r"1 values that are not numbers: s1 \('old'\)"),
        (["sick", "well"], r"is text \('sick', 'well'\), not numbers: use fit-classifier"),
    ],
)
def test_values_that_are_not_numbers_are_refused_with_advice(cells, texts, words):
    with pytest.raises(InputError, match=words) as caught:
        as_numbers(cells(texts))
    assert "\n" not in str(caught.value)
    if "%" in texts[0] or "," in texts[0]:
        assert "classif" not in str(caught.value)


def test_long_values_are_cut():
    with pytest.raises(InputError) as caught:
        as_numbers(series(["x" * 20_000, "y" * 20_000]))
    assert len(str(caught.value)) < 400


# --- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, task",
    [
        (["1", "2.5", None], "regression"),
        (["5,0", "6,1"], "regression"),
        (["5%", "6%"], "regression"),
        (["5", "NA", "NA", "NA"], "regression"),
        (["1", "2", "A"], "regression"),
        ([None, None], "regression"),
        (["sick", "well", None], "classification"),
        (["sick", "NA", "NA", "NA"], "classification"),
        (["NA", "NA"], "regression"),
    ],
)
def test_infer_task(values, task):
    assert infer_task(series(values)) == task


def test_the_task_of_declared_columns(cells):
    assert infer_task(cells(["1", "2"], "categorical")) == "classification"
    assert infer_task(cells(["1", "2"], "numeric")) == "regression"
    assert infer_task(series([True, False], bool)) == "classification"
    assert infer_task(series([0, 1], int)) == "regression"


@pytest.mark.parametrize(
    "word",
    ["NA", "n/a", "NaN", "<NA>", "None", "null", "not applicable", "Missing: Not collected",
     "missing", "not provided", "Restricted access", "#N/A"],
)  # fmt: skip
def test_words_for_missing(word):
    assert is_missing_word(word)
    lines = missing_words(series(["sick", word, word, None]), "a class")
    assert f"'{word}' (2) in column 'ph' is read as a class" in lines and "2 of 4" in lines
    assert "\n" not in lines


@pytest.mark.parametrize("word", ["sick", "missed", "nan 1", "NAFLD", "none of these", ""])
def test_words_that_are_names(word):
    assert missing_words(series(["sick", word]), "a class") == ""


def test_sizes_of_many_classes_are_cut():
    lines = class_sizes(series([f"{k:03}" + "x" * 500 for k in range(300)]))
    assert lines.endswith("and 280 more") and len(lines) < 1500


@pytest.mark.parametrize(
    "names",
    [
        ["0-3 months", "3-6 months", "12-15 months"],
        ["<1 y", "1-5 y", "5-18 y", "≥18 y"],
        ["-10", "-2", "0.5", "3", "10"],
        ["site 1", "site 2", "Site 10", "site 11"],
        ["2", "10", "unknown"],
    ],
)
def test_natural_order(names):
    assert natural_order(names[::-1]) == names
    assert natural_order(sorted(names)) == names
