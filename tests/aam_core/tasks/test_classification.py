from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.config import LossConfig
from aam_core.data.columns import as_classes
from aam_core.errors import InputError
from aam_core.tasks import Classification, task_from_dict
from aam_core.tasks.prediction_columns import ColumnKind

IDS = [f"s{i}" for i in range(8)]


def series(values, name="age"):
    return pd.Series(values, index=IDS[: len(values)], name=name)


def test_classes_are_sorted_text():
    column = series(["Crohns", "Control", "Crohns", "10", "9"])
    target = Classification.fit(column)
    assert target == Classification("age", ("10", "9", "Control", "Crohns"))
    places = target.encode(column)
    assert places.dtype == np.int64 and places.tolist() == [3, 2, 3, 0, 1]
    assert target.decode(places) == column.tolist()


@pytest.mark.parametrize("dtype", [int, object, str, "Int64", "string"])
def test_classes_may_come_as_any_dtype(dtype):
    assert Classification.fit(series([1, 2, 6]).astype(dtype)).classes == ("1", "2", "6")


def test_numeric_looking_classes_have_no_fraction():
    target = Classification.fit(series([0.0, 1.0, 1.0]))
    assert target.classes == ("0", "1")
    assert target.encode(["1", "0"]).tolist() == [1, 0]
    assert target.encode(series([1.0, 0.0])).tolist() == [1, 0]
    assert as_classes(series([0.5, 2.0, True, "2.0"])).tolist() == ["0.5", "2", "True", "2.0"]


def test_classes_come_from_the_whole_column():
    column = series(["a", "b", "c"])
    assert Classification.fit(column, ["s0", "s1"]).classes == ("a", "b", "c")


def test_a_transform_of_numbers_is_nothing_to_classes():
    target = Classification.fit(series(["a", "b"]), config=LossConfig(transform="power"))
    assert target.classes == ("a", "b")


def test_one_class_is_nothing_to_learn():
    with pytest.raises(InputError, match="one class only \\('1'\\) in 2 training samples"):
        Classification.fit(series([1.0, 1.0, 0.0]), ["s0", "s1"])


def test_a_class_of_one_sample_cannot_be_split():
    column = series(["a", "a", "b"])
    Classification.check(column)
    with pytest.raises(InputError, match="1 classes are found in one sample only.*: b"):
        Classification.check(column, splits=True)


@pytest.mark.parametrize("name", ["sample-id", "fold", "actual", "prediction", "known_reads"])
def test_a_class_called_as_a_column_of_predictions(name):
    with pytest.raises(InputError, match=f"columns of the predictions: {name}. Give them other"):
        Classification.fit(series(["a", name], "site"))


@pytest.mark.parametrize(
    "classes", [("lower", "upper"), ("network", "reads"), ("random_forest", "random_forest_a")]
)
def test_a_class_called_as_a_column_of_other_predictions(classes):
    """Those of a regression, and of a cross-validation."""
    assert Classification.fit(series(classes, "site")).classes == classes


def test_a_class_that_was_not_trained_on():
    target = Classification("ibd", ("Control", "Crohns"))
    with pytest.raises(InputError, match=r"'ibd' has 1 samples of a class .*s1 \('UC'\)"):
        target.encode(series(["Control", "UC"], name="ibd"))


@pytest.mark.parametrize("classes", [["a"], ["b", "a"], ["a", "a"], ["0", 1], "ab", None])
def test_edited_classes_are_refused(classes):
    with pytest.raises(InputError, match="not a target that AAM saved"):
        task_from_dict({"kind": "classification", "name": "ibd", "classes": classes})


def test_rare_classes_weigh_more():
    target, encoded = Classification("ibd", ("a", "b", "c")), np.array([0, 0, 0, 1])
    assert target.class_weights(encoded, LossConfig()) is None
    weights = target.class_weights(encoded, LossConfig(class_weight="balanced"))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 4 / 3])
    assert float(weights[encoded[encoded < 2]].mean()) == pytest.approx(2 / 3)


def test_a_column_of_another_meaning():
    guesses = pd.DataFrame({"prediction": ["gut", "skin"]}, index=IDS[:2])
    with pytest.raises(InputError, match="None of the 1 classes in column 'site'.*another column"):
        Classification.check_same_column(guesses, series(["left", "left"], "site"))
    Classification.check_same_column(guesses, series(["gut", "mouth"], "site"))


def test_one_more_number_leaves_the_auc(recwarn):
    """Its own columns are known; only those of a file are recognized."""
    target, truth = Classification("site", ("a", "b")), series(["a", "b", "b"])
    frame = target.frame(IDS[:3], np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
    expected = target.compare(frame, truth)[1]
    assert expected["auc"] == 1.0
    for place in range(1, 4):
        more = frame.copy()
        more.insert(place, "uncertainty", [0.1, 7.0, 0.3])
        schema = {**target.columns(), "uncertainty": ColumnKind.OTHER}
        assert target.compare(more, truth, schema)[1] == expected
        assert target.compare(more, truth)[1] == expected


def test_a_model_of_an_earlier_version_may_have_any_class():
    frame = Classification("site", ("a", "prediction")).frame(["s0"], np.array([[0.3, 0.7]]))
    assert list(frame.columns) == ["prediction", "a", "prediction"]


def test_given_weights_of_classes():
    column = series(["a", "b", "a", "c"])
    config = LossConfig(class_weight="a=0.5, c=3")
    target = Classification.fit(column, config=config)
    assert target.class_weights(target.encode(column), config).tolist() == [0.5, 1.0, 3.0]
    with pytest.raises(InputError, match="has 1 classes that column .* has not: d"):
        Classification.fit(column, config=LossConfig(class_weight="d=2"))


ORDINAL = LossConfig(classes="ordinal", class_order="low, mid, high")


def test_classes_in_a_declared_order():
    column = series(["mid", "low", "high", "low"])
    target = Classification.fit(column, config=ORDINAL)
    assert target.classes == ("low", "mid", "high") and target.ordered
    assert target.encode(column).tolist() == [1, 0, 2, 0]
    assert target.parts == {"outputs": 2, "link": "ordinal"} and target.forest_outputs == 3
    assert task_from_dict(target.to_dict()) == target
    plain = Classification.fit(column)
    assert plain.classes == ("high", "low", "mid") and "ordered" not in plain.to_dict()


@pytest.mark.parametrize(
    "order, message",
    [
        ("low,high", "lacks mid"),
        ("low,mid,high,top", "has top"),
        ("low,mid,high,low", "a class twice"),
        ("", "lacks high, low, mid"),
    ],
)
def test_an_order_of_other_classes(order, message):
    config = LossConfig(classes="ordinal", class_order=order)
    with pytest.raises(InputError, match=message):
        Classification.fit(series(["mid", "low", "high", "low"]), config=config)
