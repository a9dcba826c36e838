from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aam_core.data.columns import as_classes, missing_ids
from aam_core.errors import InputError
from aam_core.tasks.targets import (
    ClassTarget,
    NumericTarget,
    fit_target,
    inverse_yeo_johnson,
    target_from_dict,
    yeo_johnson,
)

IDS = [f"s{i}" for i in range(8)]


def series(values, name="age"):
    return pd.Series(values, index=IDS[: len(values)], name=name)


def test_numbers_are_standardized_by_the_training_samples():
    column = series([1.0, 3.0, 100.0, 200.0])
    target = fit_target(column, "regression", ["s0", "s1"])
    assert target == NumericTarget("age", 2.0, 1.0)
    z = target.encode(column)
    assert z.dtype == np.float32
    assert z.tolist() == [-1, 1, 98, 198]
    back = target.decode(z)
    assert back.dtype == np.float64 and back.tolist() == column.tolist()


def test_without_training_ids_all_samples_count():
    target = fit_target(series([1.0, 2.0, 6.0]), "regression")
    assert (target.mean, target.std) == (3.0, pytest.approx(np.std([1, 2, 6])))


@pytest.mark.parametrize("dtype", [int, object, str, "Int64", "Float64", "string"])
def test_numbers_may_come_as_any_dtype(dtype):
    column = series([1, 2, 6]).astype(dtype)
    assert fit_target(column, "regression").mean == pytest.approx(3.0)
    assert fit_target(column, "classification").classes == ("1", "2", "6")


def test_classes_are_sorted_text():
    column = series(["Crohns", "Control", "Crohns", "10", "9"])
    target = fit_target(column, "classification")
    assert target == ClassTarget("age", ("10", "9", "Control", "Crohns"))
    places = target.encode(column)
    assert places.dtype == np.int64 and places.tolist() == [3, 2, 3, 0, 1]
    assert target.decode(places) == column.tolist()


def test_numeric_looking_classes_have_no_fraction():
    target = fit_target(series([0.0, 1.0, 1.0]), "classification")
    assert target.classes == ("0", "1")
    assert target.encode(["1", "0"]).tolist() == [1, 0]
    assert target.encode(series([1.0, 0.0])).tolist() == [1, 0]
    assert as_classes(series([0.5, 2.0, True, "2.0"])).tolist() == ["0.5", "2", "True", "2.0"]


def test_classes_come_from_the_whole_column():
    column = series(["a", "b", "c"])
    assert fit_target(column, "classification", ["s0", "s1"]).classes == ("a", "b", "c")


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_round_trip_through_json(kind):
    target = fit_target(series([0.0, 1.0, 0.1]), kind)
    assert target_from_dict(json.loads(json.dumps(target.to_dict()))) == target


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"kind": "ranking"},
        {"kind": "regression", "name": "age", "mean": 1.0},
        {"kind": "regression", "name": "age", "mean": 1.0, "std": 0.0},
        {"kind": "regression", "name": "age", "mean": float("nan"), "std": 1.0},
        {"kind": "regression", "name": "age", "mean": "1", "std": 1.0},
        {"kind": "regression", "name": "age", "mean": 1.0, "std": 1.0, "power": 2.5},
        {"kind": "regression", "name": "age", "mean": 1.0, "std": 1.0, "power": "half"},
        {"kind": "regression", "name": "age", "mean": 1.0, "std": 1.0, "power": float("nan")},
        {"kind": "classification", "name": "ibd", "classes": ["a"]},
        {"kind": "classification", "name": "ibd", "classes": ["b", "a"]},
        {"kind": "classification", "name": "ibd", "classes": ["a", "a"]},
        {"kind": "classification", "name": "ibd", "classes": ["0", 1]},
    ],
)
def test_edited_targets_are_refused(values):
    with pytest.raises(InputError, match="not a target that AAM saved"):
        target_from_dict(values)


# --- powers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 1e-6, 0.3, 1.0, 1.7, 2.0])
def test_a_power_keeps_the_order_and_comes_back(power):
    values = np.array([-9.0, -1.0, -0.3, 0.0, 0.2, 1.0, 3.0, 30.0])
    changed = yeo_johnson(values, power)
    assert changed == pytest.approx(stats.yeojohnson(values, power))
    assert (np.diff(changed) > 0).all()
    assert inverse_yeo_johnson(changed, power) == pytest.approx(values)
    target = NumericTarget("age", 40.0, 20.0, power, (3.0, 75.0))
    years = series([3.0, 20.0, 40.0, 75.0])
    assert target.decode(target.encode(years)) == pytest.approx(years.to_numpy(), rel=1e-5)
    assert target_from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_an_inverse_that_explodes_ends_near_the_training_samples():
    values = pd.Series(np.random.default_rng(0).lognormal(sigma=2.0, size=300), name="age")
    target = fit_target(values, "regression", transform="power")
    told = target.decode([-1e6, -5.0, 5.0, 1e6])
    assert np.isfinite(told).all() and (np.diff(told) >= 0).all()
    assert told[0] >= values.min() - target.std and told[-1] <= values.max() + target.std


@pytest.mark.parametrize("skew", [-1, 1])
def test_the_power_makes_the_training_samples_most_nearly_normal(skew):
    values = skew * np.random.default_rng(0).lognormal(size=300)
    column = pd.Series(values, [f"s{i}" for i in range(300)], name="age")
    target = fit_target(column, "regression", column.index[:200], "power")
    plain = fit_target(column, "regression", column.index[:200])
    assert plain.power is None and (target.mean, target.std) == (plain.mean, plain.std)
    z = plain.encode(column).astype(float)
    found, before = stats.skew(target.encode(column)), stats.skew(z)
    assert abs(found) < 0.3 * abs(before)
    likeliest = stats.yeojohnson_normmax(z[:200])
    assert target.power == pytest.approx(np.clip(likeliest, 0, 2), abs=1e-2)
    assert fit_target(column.round(), "classification", transform="power").kind == "classification"


def test_targets_saved_before_there_were_powers():
    found = target_from_dict({"kind": "regression", "name": "age", "mean": 1.0, "std": 2.0})
    assert found == NumericTarget("age", 1.0, 2.0)


# --- what cannot be a target ---------------------------------------------------------------------

BLANKS = [None, float("nan"), "", "  ", pd.NA]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_blank_values_are_counted_and_named(kind, blank):
    column = series(["1", blank, "2", blank])
    assert missing_ids(column) == ["s1", "s3"]
    with pytest.raises(InputError, match=r"'age' is blank for 2 of 4 samples: s1, s3\. Fill"):
        fit_target(column, kind)
    with pytest.raises(InputError, match="leave these samples out .*--missing-samples ignore"):
        fit_target(column, kind, ["s0", "s2"])  # s1, s3 would be held out


def test_more_than_five_blanks_are_not_all_named():
    with pytest.raises(InputError, match="s1, s2, s3, s4, s5 and 2 more"):
        fit_target(series([1.0] + [None] * 7), "regression")


def test_a_column_without_any_value():
    with pytest.raises(InputError, match="no value for any of 3 samples"):
        fit_target(series([None] * 3), "regression")


def test_missing_ids_of_a_category_and_of_numbers():
    assert missing_ids(series(["a", None]).astype("category")) == ["s1"]
    assert missing_ids(series([1.0, np.nan])) == ["s1"]


def test_values_that_are_not_numbers_are_named():
    with pytest.raises(InputError, match=r"2 values .*not numbers: s1 \('old'\), s2 \('nan'"):
        fit_target(series(["1", "old", "nan"]), "regression")


def test_text_is_sent_to_classification():
    with pytest.raises(InputError, match=r"is text \('Crohns', 'Control'\).*fit-classifier"):
        fit_target(series(["Crohns", "Control", "Crohns"]), "regression")


@pytest.mark.parametrize("value", [float("inf"), "-inf"])
def test_infinite_values_are_named(value):
    with pytest.raises(InputError, match=r"1 infinite values: s1 \('-?inf'\)"):
        fit_target(series([1.0, value, 2.0]), "regression")


def test_one_value_or_class_is_nothing_to_learn():
    with pytest.raises(InputError, match=r"one value only \(0.1\) in 3 training samples"):
        fit_target(series([0.1, 0.1, 0.1]), "regression")
    with pytest.raises(InputError, match=r"one value only \(4\) in 2"):
        fit_target(series([4.0, 4.0, 9.0]), "regression", ["s0", "s1"])
    with pytest.raises(InputError, match="one class only \\('1'\\) in 2 training samples"):
        fit_target(series([1.0, 1.0, 0.0]), "classification", ["s0", "s1"])


@pytest.mark.parametrize("name", ["sample-id", "fold", "actual", "prediction"])
def test_a_class_called_as_a_column_of_predictions(name):
    with pytest.raises(InputError, match=f"columns of the predictions: {name}. Give them other"):
        fit_target(series(["a", name], "site"), "classification")


@pytest.mark.parametrize(
    "classes", [("lower", "upper"), ("network", "reads"), ("random_forest", "random_forest_a")]
)
def test_a_class_called_as_a_column_of_other_predictions(classes):
    """Those of a regression, and of a cross-validation."""
    assert fit_target(series(classes, "site"), "classification").classes == classes


def test_a_class_that_was_not_trained_on():
    target = ClassTarget("ibd", ("Control", "Crohns"))
    with pytest.raises(InputError, match=r"'ibd' has 1 samples of a class .*s1 \('UC'\)"):
        target.encode(series(["Control", "UC"], name="ibd"))


def test_encoding_checks_as_fitting_does():
    with pytest.raises(InputError, match="blank for 1 of 2 samples: s1"):
        NumericTarget("age", 0.0, 1.0).encode(series([1.0, None]))
