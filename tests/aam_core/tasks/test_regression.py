from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aam_core.config import LossConfig
from aam_core.errors import InputError
from aam_core.tasks import Regression, task_from_dict

IDS = [f"s{i}" for i in range(8)]
POWER = LossConfig(transform="power")


def series(values, name="age"):
    return pd.Series(values, index=IDS[: len(values)], name=name)


def test_numbers_are_standardized_by_the_training_samples():
    column = series([1.0, 3.0, 100.0, 200.0])
    target = Regression.fit(column, ["s0", "s1"])
    assert target == Regression("age", 2.0, 1.0, limits=(0.0, None))
    z = target.encode(column)
    assert z.dtype == np.float32
    assert z.tolist() == [-1, 1, 98, 198]
    back = target.decode(z)
    assert back.dtype == np.float64 and back.tolist() == column.tolist()


def test_without_training_ids_all_samples_count():
    target = Regression.fit(series([1.0, 2.0, 6.0]))
    assert (target.mean, target.std) == (3.0, pytest.approx(np.std([1, 2, 6])))


@pytest.mark.parametrize("dtype", [int, object, str, "Int64", "Float64", "string"])
def test_numbers_may_come_as_any_dtype(dtype):
    column = series([1, 2, 6]).astype(dtype)
    assert Regression.fit(column).mean == pytest.approx(3.0)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "age", "mean": 1.0},
        {"name": "age", "mean": 1.0, "std": 0.0},
        {"name": "age", "mean": float("nan"), "std": 1.0},
        {"name": "age", "mean": "1", "std": 1.0},
        {"name": "age", "mean": 1.0, "std": 1.0, "power": 2.5},
        {"name": "age", "mean": 1.0, "std": 1.0, "power": "half"},
        {"name": "age", "mean": 1.0, "std": 1.0, "power": float("nan")},
        {"name": "age", "mean": 1.0, "std": 1.0, "power": 1.0, "ends": [3.0, 2.0]},
    ],
)
def test_edited_numbers_are_refused(values):
    with pytest.raises(InputError, match="not a target that AAM saved"):
        task_from_dict({"kind": "regression", **values})


def test_an_inverse_that_explodes_ends_near_the_training_samples():
    values = pd.Series(np.random.default_rng(0).lognormal(sigma=2.0, size=300), name="age")
    target = Regression.fit(values, config=POWER)
    decoded = target.decode([-1e6, -5.0, 5.0, 1e6])
    assert np.isfinite(decoded).all() and (np.diff(decoded) >= 0).all()
    assert decoded[0] >= values.min() - target.std and decoded[-1] <= values.max() + target.std


@pytest.mark.parametrize("skew", [-1, 1])
def test_the_power_makes_the_training_samples_most_nearly_normal(skew):
    values = skew * np.random.default_rng(0).lognormal(size=300)
    column = pd.Series(values, [f"s{i}" for i in range(300)], name="age")
    target = Regression.fit(column, column.index[:200], POWER)
    plain = Regression.fit(column, column.index[:200])
    assert plain.power is None and (target.mean, target.std) == (plain.mean, plain.std)
    z = plain.encode(column).astype(float)
    after, before = stats.skew(target.encode(column)), stats.skew(z)
    assert abs(after) < 0.3 * abs(before)
    likeliest = stats.yeojohnson_normmax(z[:200])
    assert target.power == pytest.approx(np.clip(likeliest, 0, 2), abs=1e-2)


def test_formats_before_5_have_no_power():
    target = task_from_dict({"kind": "regression", "name": "age", "mean": 1.0, "std": 2.0})
    assert target == Regression("age", 1.0, 2.0)


def test_values_that_are_not_numbers_are_named():
    with pytest.raises(InputError, match=r"2 values .*not numbers: s1 \('old'\), s2 \('nan'"):
        Regression.fit(series(["1", "old", "nan"]))


def test_text_is_sent_to_classification():
    with pytest.raises(InputError, match=r"is text \('Crohns', 'Control'\).*fit-classifier"):
        Regression.fit(series(["Crohns", "Control", "Crohns"]))


@pytest.mark.parametrize("value", [float("inf"), "-inf"])
def test_infinite_values_are_named(value):
    with pytest.raises(InputError, match=r"1 infinite values: s1 \('-?inf'\)"):
        Regression.fit(series([1.0, value, 2.0]))


def test_one_value_is_nothing_to_learn():
    with pytest.raises(InputError, match=r"one value only \(0.1\) in 3 training samples"):
        Regression.fit(series([0.1, 0.1, 0.1]))
    with pytest.raises(InputError, match=r"one value only \(4\) in 2"):
        Regression.fit(series([4.0, 4.0, 9.0]), ["s0", "s1"])


def test_encoding_checks_as_fitting_does():
    with pytest.raises(InputError, match="blank for 1 of 2 samples: s1"):
        Regression("age", 0.0, 1.0).encode(series([1.0, None]))
