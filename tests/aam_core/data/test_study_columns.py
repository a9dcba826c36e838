"""Which metadata columns are learned, and as what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.data.study_columns import (
    choose_columns,
    columns_of_all,
    meaning_of,
    normal_scores,
)
from aam_core.errors import InputError

N = 40


def frame(**columns) -> pd.DataFrame:
    index = pd.Index([f"s{i}" for i in range(N)], dtype=object)
    return pd.DataFrame({name: pd.Series(v, index, object) for name, v in columns.items()})


def numbers(seed=0) -> list[str]:
    return [f"{value:.3f}" for value in np.random.default_rng(seed).normal(size=N)]


def reason(values, name="column") -> str:
    chosen, reasons = choose_columns(frame(**{name: values}))
    assert not chosen
    return reasons[name]


def test_numbers_are_normal_scores_within_the_study():
    ages = [str(i % 20) for i in range(N)]
    ages[0] = ages[1] = None
    ages[2] = "not collected"
    (column,), _ = choose_columns(frame(Age_Years=ages), study=3)
    assert (column.study, column.name, column.kind, column.meaning) == (
        *(3, "Age_Years"),
        *("number", "age"),
    )
    assert column.values.dtype == np.float32
    assert np.isnan(column.values[:3]).all()
    assert column.known.sum() == N - 3
    assert abs(np.nanmean(column.values)) < 0.05
    assert column.values[5] == column.values[25]  # ties are averaged
    assert (np.diff(column.values[3:20]) > 0).all()


def test_scores_do_not_depend_on_the_unit():
    values = np.random.default_rng(1).lognormal(size=30)
    assert np.array_equal(normal_scores(values), normal_scores(365.25 * values))
    assert np.allclose(normal_scores(values), -normal_scores(-values))


def test_classes_that_are_rare_are_unknown():
    sites = ["gut"] * 20 + ["skin"] * 12 + ["nose"] * 7 + [None]
    (column,), _ = choose_columns(frame(body_site=sites))
    assert column.kind == "classes"
    assert column.classes == ("gut", "skin")
    assert np.bincount(column.values + 1).tolist() == [8, 20, 12]
    assert column.known.sum() == 32


def test_codes_of_classes_are_classes_although_they_are_numbers():
    (column,), _ = choose_columns(frame(group=["0", "1"] * 20))
    assert (column.kind, column.classes) == ("classes", ("0", "1"))


def test_numbers_that_are_declared_as_names_are_classes():
    data = frame(ward=[str(i % 5) for i in range(N)], level=[str(i % 8) for i in range(N)])
    data["level"] = data["level"].astype("category")
    (ward,), reasons = choose_columns(data)
    assert ward.kind == "classes"
    assert reasons == {"level": "text of many values"}  # eight of five samples each


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["a"] * N, "constant"),
        (["a"] * (N - 5) + ["b"] * 5, "nearly constant"),
        ([str(i) for i in range(7)] + ["0"] * (N - 7), "nearly constant"),
        ([None] * 25 + numbers()[25:], "few values"),
        (["not provided"] * 25 + numbers()[25:], "few values"),
        ([f"text {i}" for i in range(N)], "text of many values"),
        ([str(1000 + i) for i in range(N)], "ids"),
        ([str(20_240_101 + i % 28) for i in range(N)], "ids"),
        ([f"2024-01-{1 + i % 28:02}" for i in range(N)], "dates"),
        (["3/4/21 10:30", "5/4/21 9:15"] * 20, "dates"),
        (["12 March 2020", "3 May 2020"] * 20, "dates"),
    ],
)
def test_columns_that_are_not_worth_predicting(values, why):
    assert reason(values) == why


@pytest.mark.parametrize("name", ["Host.Subject.ID", "mouse_number", "barcode", "AvgSpotLen"])
def test_ids_by_their_name(name):
    assert reason(numbers(), name) == "ids"


def test_a_recoding_of_an_earlier_column_is_not_learned_twice():
    days = [str(i % 20) for i in range(N)]
    weeks = [str(int(day) / 7) for day in days]
    sexes = ["male", "female"] * 20
    codes = ["2", "1"] * 20
    chosen, reasons = choose_columns(frame(days=days, weeks=weeks, sex=sexes, code=codes))
    assert [column.name for column in chosen] == ["days", "sex"]
    assert set(reasons) == {"weeks", "code"}
    # Asked for by name they are learned.
    chosen, _ = choose_columns(frame(days=days, weeks=weeks), columns=["days", "weeks"])
    assert [column.name for column in chosen] == ["days", "weeks"]


def test_columns_by_name_or_meaning():
    data = frame(host_age=numbers(1), bmi=numbers(2), other=numbers(3))
    chosen, reasons = choose_columns(data, columns=["age", "other"], exclude=["other"])
    assert [column.name for column in chosen] == ["host_age"]
    assert reasons == {"bmi": "not asked for", "other": "not asked for"}


def test_columns_of_all_studies_are_counted():
    report: list[str] = []
    frames = [frame(age=numbers(1), kit=["x"] * N), None, frame(age=numbers(2))]
    columns = columns_of_all(frames, None, (), report)
    assert [(column.study, column.name) for column in columns] == [(0, "age"), (2, "age")]
    assert report == ["2 metadata columns of 2 studies can be learned; 1 is not: constant 1."]


def test_a_column_that_no_study_has_is_refused():
    with pytest.raises(InputError, match="1 metadata columns to learn are in no study .*'age'"):
        columns_of_all([frame(age=numbers())], ["agee"], (), [])
    with pytest.raises(InputError, match="not to learn are in no study"):
        columns_of_all([frame(age=numbers())], None, ["sex"], [])
    with pytest.raises(InputError, match="None of the columns .kit. has enough values"):
        columns_of_all([frame(kit=["x"] * N)], ["kit"], (), [])


def test_meanings():
    assert meaning_of("AGE (years)") == meaning_of("host_age") == "age"
    assert meaning_of("Delivery.Mode") == "delivery_mode"


def test_classes_that_mean_the_same():
    (column,), _ = choose_columns(frame(sex=["M", "Female"] * 20))
    assert column.classes == ("Female", "M")
    assert column.class_meanings == ("female", "male")
