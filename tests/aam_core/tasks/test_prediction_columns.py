from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.tasks.prediction_columns import COLUMNS, RESERVED, ColumnKind, named, schema_of


def table(**columns):
    return pd.DataFrame(columns)


def probabilities(predictions):
    return named(schema_of(predictions), ColumnKind.PROBABILITY)


def test_every_column_has_a_kind():
    names = ["fold", "actual", "prediction", "lower", "upper", "known_reads", "network_lower", "ph"]
    schema = schema_of(pd.DataFrame([[1.0] * len(names)], columns=names))
    assert list(schema) == names
    assert [kind.name for kind in schema.values()] == [
        *("FOLD", "ACTUAL", "PREDICTION", "BOUND", "BOUND", "FAMILIARITY", "METHOD", "OTHER"),
    ]


def test_reserved_are_all_that_stand_with_probabilities():
    assert set(COLUMNS) - set(RESERVED) == {"lower", "upper", "repeat"}


def test_numbers_have_none():
    numbers = table(prediction=[1.0, 0.5])
    assert probabilities(numbers) == []
    assert probabilities(numbers.assign(depth=1000.0, ph=7.0)) == []
    assert probabilities(numbers.assign(sand=0.4, silt=0.6)) == []


def test_they_are_named_after_classes():
    assert probabilities(table(prediction=["a"], fold=[1], actual=["a"], a=[0.7], b=[0.3])) == [
        *("a", "b")
    ]
    assert probabilities(table(prediction=["a"], sand=[0.7], silt=[0.3])) == []
    assert probabilities(table(prediction=[0, 1], **{"0": [0.9, 0.2], "1": [0.1, 0.8]})) == [
        *("0", "1")
    ]


CLASSES = table(prediction=["b", "c"], b=[0.7, 0.4], c=[0.3, 0.6])


@pytest.mark.parametrize("values", [[7.0, 12.5], [0.1, 0.2], [0.0, 0.0], ["x", "y"], [np.nan, 1.0]])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_further_columns_change_nothing(values, place):
    more = CLASSES.copy()
    more.insert(place, "uncertainty", values)
    if place == 2 and values == [0.1, 0.2]:  # between them, as if it were one of them
        assert probabilities(more) == []
    elif values == [0.0, 0.0] and place:  # as the probability of a class that is never likely
        assert set(probabilities(more)) == {"b", "c", "uncertainty"}
    else:
        assert set(probabilities(more)) - {"uncertainty"} == {"b", "c"}


def test_a_class_that_is_never_predicted_is_one_of_them():
    never = table(prediction=["b", "c"], a=[0.1, 0.0], b=[0.6, 0.4], c=[0.3, 0.6], d=[0.0, 0.0])
    assert probabilities(never) == ["a", "b", "c", "d"]


def test_those_of_other_methods_are_not():
    network = CLASSES.drop(columns="prediction").add_prefix("network_")
    assert probabilities(CLASSES.assign(network=["c", "c"]).join(network)) == ["b", "c"]


@pytest.mark.parametrize(
    "one, two",
    [
        *(("network", "reads"), ("random_forest_a", "b"), ("a", "b"), ("lower", "upper")),
        *(("known_reads", "lower"), ("fold", "actual")),
    ],
)
@pytest.mark.parametrize("predicted", [["one", "two"], ["one", "one"], ["two", "two"]])
def test_a_class_may_have_the_name_of_another_column(one, two, predicted):
    """Of a model of an earlier version, or of one that no cross-validation has seen."""
    names = {"one": one, "two": two}
    columns = {"prediction": [names[name] for name in predicted], one: [0.7, 0.4], two: [0.3, 0.6]}
    assert probabilities(pd.DataFrame(columns)) == [one, two]


@pytest.mark.parametrize("total", [0.9, 1.1])
def test_what_misses_one_is_no_probability(total):
    assert probabilities(CLASSES.assign(c=total - CLASSES["b"])) == []
    assert probabilities(CLASSES.round(3).assign(c=1.0004 - CLASSES["b"])) == ["b", "c"]
    assert probabilities(CLASSES.assign(c=[np.nan, 0.6])) == []


def test_many_columns_take_no_time():
    names = [f"c{i}" for i in range(5000)]
    wide = pd.DataFrame(np.full((20, 5000), 1 / 5000), columns=names)
    wide.insert(0, "prediction", "c4000")
    assert len(probabilities(wide)) == 5000
    assert probabilities(wide.drop(columns=names[:10])) == []
