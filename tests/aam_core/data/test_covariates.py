from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from aam_core.data.covariates import UNKNOWN, Covariates, fit_covariates
from aam_core.data.metadata import from_frame, read_metadata
from aam_core.errors import InputError

IDS = [f"s{i}" for i in range(6)]
TRAIN = IDS[:4]


def frame(**columns):
    ids = IDS[: len(next(iter(columns.values())))]
    return from_frame(pd.DataFrame(columns, index=pd.Index(ids, name="id")))


@pytest.fixture
def metadata():
    return frame(
        site=["gut", "skin", None, "gut", "soil", " "],
        age=[1.0, 3.0, np.nan, 5.0, 100.0, np.nan],
        code=["007", "7", "007", "08", "007", "8"],
    )


@pytest.fixture
def fitted(metadata):
    return fit_covariates(metadata, ["age", "site", "code"], TRAIN)


def refused(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- fitting -------------------------------------------------------------------------------------


def test_levels_and_scale_come_from_the_training_samples_alone(fitted):
    assert fitted.categorical == (("site", ("gut", "skin")), ("code", ("007", "08", "7")))
    ((name, mean, std),) = fitted.numeric
    assert (name, mean, std) == ("age", 3.0, pytest.approx(np.std([1, 3, 5])))
    assert fitted.sizes == (3, 4)
    assert fitted.names == ["site", "code", "age"]


def test_held_out_values_change_nothing(metadata, fitted):
    other = metadata.assign(site=metadata["site"].where(metadata.index.isin(TRAIN), "sea"))
    other.loc[IDS[4:], "age"] = -1e6
    assert fit_covariates(other, ["age", "site", "code"], TRAIN) == fitted


def test_no_columns_is_none(metadata):
    assert fit_covariates(metadata, [], TRAIN) is None
    assert fit_covariates(None, (), TRAIN) is None


def test_equal_numbers_have_a_usable_scale():
    metadata = frame(ph=[0.1, 0.1, 0.1, 7.0])
    covariates = fit_covariates(metadata, ["ph"], IDS[:3])
    assert covariates.numeric[0][2] == 1.0
    assert np.abs(covariates.encode(metadata)[1]).max() < 10


@pytest.mark.parametrize(
    "names, said",
    [
        (["sitee"], "'sitee'; did you mean 'site'"),
        (["site", "age", "site"], "named twice: site, age, site"),
        (["empty"], "'empty' has no value in any training sample"),
        (["blank"], "'blank' has no value in any training sample"),
        (["endless"], "'endless' has 1 infinite values: s1"),
    ],
)
def test_unusable_columns(metadata, names, said):
    metadata = metadata.assign(
        empty=[np.nan] * 4 + [1.0, 2.0],
        blank=pd.Series([None] * 4 + ["a", "b"], index=metadata.index, dtype=object),
        endless=[1.0, np.inf, 2.0, 3.0, 4.0, 5.0],
    )
    assert said in refused(fit_covariates, metadata, names, TRAIN)


def test_columns_without_metadata():
    assert "site need metadata" in refused(fit_covariates, None, ["site"], TRAIN)


# --- reading -------------------------------------------------------------------------------------


def test_unknown_and_missing_levels_are_unknown(fitted, metadata):
    categories, _ = fitted.encode(metadata)
    assert categories.dtype == np.int64
    gut, skin = 1, 2
    assert categories[:, 0].tolist() == [gut, skin, UNKNOWN, gut, UNKNOWN, UNKNOWN]


def test_missing_numbers_are_marked(fitted, metadata):
    _, numbers = fitted.encode(metadata)
    assert numbers.dtype == np.float32 and numbers.shape == (6, 1, 2)
    values, known = numbers[:, 0].T
    assert known.tolist() == [1, 1, 0, 1, 1, 0]
    deviation = np.std([1, 3, 5])
    expected = [-2 / deviation, 0, 0, 2 / deviation, 97 / deviation, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_categories_that_look_like_numbers_stay_text(fitted, metadata):
    categories, _ = fitted.encode(metadata)
    assert categories[:, 1].tolist() == [1, 3, 1, 2, 1, UNKNOWN]


def test_codes_of_a_file_stay_text_where_it_says_so(tmp_path):
    path = tmp_path / "metadata.tsv"
    path.write_text("sample-id\tcode\n#q2:types\tcategorical\ns0\t007\ns1\t7\ns2\t\n")
    metadata = read_metadata(path)
    covariates = fit_covariates(metadata, ["code"], ["s0", "s1"])
    assert covariates.categorical == (("code", ("007", "7")),)
    assert covariates.encode(metadata)[0][:, 0].tolist() == [1, 2, UNKNOWN]


def test_levels_are_known_again_where_the_new_samples_have_only_numbers():
    """A column of 1, 2 and 'unsure' is text; new samples that have 1 and 2 alone are numbers."""
    covariates = fit_covariates(frame(stage=["1", "2", "unsure"]), ["stage"], IDS[:3])
    assert covariates.encode(frame(stage=[2.0, 1.0, np.nan]))[0][:, 0].tolist() == [2, 1, UNKNOWN]


@pytest.mark.parametrize("dtype", [object, "str", "string"])
def test_text_may_come_as_any_dtype(fitted, metadata, dtype):
    other = metadata.assign(site=metadata["site"].fillna("").astype(dtype))
    np.testing.assert_array_equal(fitted.encode(other)[0], fitted.encode(metadata)[0])


def test_numbers_may_come_as_text(fitted, metadata):
    other = metadata.assign(age=["1", "3", "", "5", "1e2", None])
    np.testing.assert_array_equal(fitted.encode(other)[1], fitted.encode(metadata)[1])


def test_a_column_without_any_value_is_unknown_throughout(fitted, metadata):
    nothing = pd.Series([None] * 6, index=metadata.index, dtype=object)
    categories, numbers = fitted.encode(metadata.assign(site=nothing, age=nothing))
    assert (categories[:, 0] == UNKNOWN).all() and (numbers == 0).all()


def test_rows_are_those_of_the_metadata(fitted, metadata):
    order = IDS[::-1]
    for whole, turned in zip(
        fitted.encode(metadata), fitted.encode(metadata.loc[order]), strict=True
    ):
        np.testing.assert_array_equal(whole[::-1], turned)


def test_the_metadata_stays_as_it_is(fitted, metadata):
    before = metadata.copy()
    fitted.encode(metadata)
    pd.testing.assert_frame_equal(metadata, before)


@pytest.mark.parametrize("wrong", ["young", np.inf])
def test_a_numeric_column_that_holds_something_else(fitted, metadata, wrong):
    ages = pd.Series([1.0, 2.0, wrong, None, wrong, 3.0], index=metadata.index, dtype=object)
    message = refused(fitted.encode, metadata.assign(age=ages))
    assert "'age' was numeric in training" in message and "2 of 6 samples here: s2, s4" in message


def test_an_absent_column_suggests_the_nearest(fitted, metadata):
    message = refused(fitted.encode, metadata.rename(columns={"age": "Age"}))
    assert "'age'" in message and "did you mean 'Age'" in message


def test_absent_metadata_names_the_columns(fitted):
    message = refused(fitted.encode, None)
    assert "3 metadata columns (site, code, age)" in message and "give the metadata" in message


# --- saving --------------------------------------------------------------------------------------


def test_round_trip_through_json(fitted, metadata):
    again = Covariates.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted == Covariates.from_dict(fitted.to_dict())
    for before, after in zip(fitted.encode(metadata), again.encode(metadata), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    "edit",
    [
        {"categorical": None},
        {"categorical": [["site", "gut"]]},
        {"categorical": [["site", ["skin", "gut"]]]},
        {"categorical": [["site", ["gut", "gut"]]]},
        {"categorical": [["site", ["gut", 7]]]},
        {"categorical": [["site", []]]},
        {"categorical": [["site"]]},
        {"numeric": [["age", 1.0]]},
        {"numeric": [["age", "old", 1.0]]},
        {"numeric": [["age", float("nan"), 1.0]]},
        {"numeric": [["age", 1.0, 0.0]]},
        {"numeric": [["age", 1.0, -2.0]]},
        {"numeric": [["age", 1.0, float("inf")]]},
        {"numeric": [[None, 1.0, 1.0]]},
        {"numeric": 3},
    ],
)
def test_edited_values_are_refused(fitted, edit):
    assert "covariates" in refused(Covariates.from_dict, {**fitted.to_dict(), **edit})


@pytest.mark.parametrize("values", [{}, [], None, "site", {"categorical": []}])
def test_what_is_no_covariates_is_refused(values):
    assert "not covariates that AAM saved" in refused(Covariates.from_dict, values)
