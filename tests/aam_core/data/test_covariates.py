from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from aam_core.data.covariates import (
    UNKNOWN,
    Covariates,
    fit_covariates,
    infer_types,
    redundant_covariates,
)
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
        code=pd.Categorical(["007", "7", "007", "08", "007", "8"]),
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


def test_held_out_samples_do_not_change_the_fit(metadata, fitted):
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
    "names, text",
    [
        (["sitee"], "'sitee'; did you mean 'site'"),
        (["site", "age", "site"], "named twice: site, age, site"),
        (["empty"], "'empty' has no value in any training sample"),
        (["blank"], "'blank' has no value in any training sample"),
        (["endless"], "'endless' has 1 infinite values: s1"),
    ],
)
def test_unusable_columns(metadata, names, text):
    metadata = metadata.assign(
        empty=[np.nan] * 4 + [1.0, 2.0],
        blank=pd.Series([None] * 4 + ["a", "b"], index=metadata.index, dtype=object),
        endless=[1.0, np.inf, 2.0, 3.0, 4.0, 5.0],
    )
    assert text in refused(fit_covariates, metadata, names, TRAIN)


def test_columns_without_metadata():
    assert "site need metadata" in refused(fit_covariates, None, ["site"], TRAIN)


# --- what is undeclared --------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path):
    """Metadata of a file, from the cells of each column."""

    def read(types="", **columns):
        path = tmp_path / "metadata.tsv"
        rows = ["\t".join(["id", *columns]), "\t".join(["#q2:types", *[types] * len(columns)])]
        for name, *cells in zip(IDS, *columns.values(), strict=False):
            rows.append("\t".join([name, *cells]))
        path.write_text("\n".join(rows) + "\n")
        return read_metadata(path)

    return read


def test_an_undeclared_column_is_numeric_where_every_value_is_a_number(read):
    metadata = read(age=["1", "02", "", "3e0"], site=["1", "02", "", "gut"])
    decided, lines = infer_types(metadata, ["age", "site"])
    assert decided["age"].tolist()[:2] == [1.0, 2.0] and decided["age"].isna().iloc[2]
    assert decided["site"].dtype == "category"
    assert lines == [
        "covariate site is read as categories (3 levels): 1 of 3 values is not a number: s3 "
        "('gut'); leave it blank to have the column read as numbers, or declare it categorical in "
        "a #q2:types line"
    ]
    assert metadata["age"].tolist() == ["1", "02", None, "3e0"]  # as it was


def test_declared_columns_give_no_warning(read):
    _, lines = infer_types(read("categorical", site=["1", "02", "3", "gut"]), "site")
    assert lines == []
    metadata = read("categorical", site=["1", "02", "1"])
    assert fit_covariates(metadata, "site", IDS[:3]).categorical == (("site", ("02", "1")),)
    assert fit_covariates(read("numeric", site=["1", "02", "1"]), ["site"], IDS[:3]).numeric


def test_text_is_not_commented_unless_it_says_that_it_is_missing(read):
    metadata = read(site=["gut", "skin", "NA", "NA"], place=["here", "there", "a", "1"])
    decided, lines = infer_types(metadata, ["site", "place"])
    (line,) = lines
    assert "'NA' (2) in column 'site' is read as a category" in line


def test_categories_are_matched_letter_for_letter(read):
    fitted = fit_covariates(read(site=["01", "02", "A", "1.10"]), ["site"], IDS[:4])
    assert fitted.encode(read(site=["01", "02", "01"]))[0][:, 0].tolist() == [1, 2, 1]
    assert fitted.encode(read(site=["1", "1.1", "2"]))[0][:, 0].tolist() == [UNKNOWN] * 3


def test_numbers_of_a_frame_find_the_one_level_that_is_the_same_number(read):
    """QIIME 2 and data frames make numbers of 01 and 02: which levels they were is still clear."""
    fitted = fit_covariates(read(site=["01", "02", "A", "03", "3"]), ["site"], IDS[:5])
    assert fitted.categorical[0][1] == ("01", "02", "03", "3", "A")
    actual = fitted.encode(frame(site=[1.0, 2.0, 3.0, 4.0]))[0][:, 0]
    assert actual.tolist() == [1, 2, 4, UNKNOWN]
    twice = fit_covariates(read(site=["01", "1.0", "A"]), ["site"], IDS[:3])
    assert twice.encode(frame(site=[1.0]))[0][:, 0].tolist() == [UNKNOWN]  # of which it is unclear


def test_values_that_training_did_not_see_are_counted(fitted, metadata):
    assert fitted.unseen(metadata.loc[TRAIN]) == []
    site, code = fitted.unseen(metadata)
    assert "'site': 1 of 6 samples have a value that was not there in training" in site
    assert "s4 ('soil'); training had gut, skin" in site and "s5 ('8')" in code


@pytest.mark.parametrize("given", [3, None, [1], pd.Series([1.0]), {"site": 1}])
def test_covariates_that_are_not_names(metadata, given):
    assert "must be a list of names" in refused(fit_covariates, metadata, given, TRAIN)


def test_one_name_is_one_column(metadata):
    assert fit_covariates(metadata, "site", TRAIN) == fit_covariates(metadata, ["site"], TRAIN)
    assert (
        str(fit_covariates(metadata, ["age", "site"], TRAIN))
        == "site (2 categories), age (numbers)"
    )


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
def test_a_numeric_column_with_other_values_is_refused(fitted, metadata, wrong):
    ages = pd.Series([1.0, 2.0, wrong, None, wrong, 3.0], index=metadata.index, dtype=object)
    message = refused(fitted.encode, metadata.assign(age=ages))
    assert (
        "'age' was numeric in training" in message
        and f"2 of 6 samples here: s2 ('{wrong}')" in message
    )


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
def test_edited_covariates_are_refused(values):
    assert "not covariates that AAM saved" in refused(Covariates.from_dict, values)


# --- the output is scaled by categories ----------------------------------------------------------


def test_columns_to_scale_by_come_last(metadata):
    fitted = fit_covariates(metadata, ["age"], TRAIN, ["site", "age"])
    assert fitted.names == ["age", "site"] and fitted.sizes == ()
    (_, sites), (_, ages) = fitted.scaling
    assert fitted.scale_sizes == (len(sites) + 1, len(ages) + 1)
    categories, numbers = fitted.encode(metadata)
    assert categories.shape == (len(metadata), 2) and numbers.shape[1] == 1
    # The forest reads the covariates alone.
    alone = fit_covariates(metadata, ["age"], TRAIN)
    np.testing.assert_array_equal(fitted.matrix(metadata), alone.matrix(metadata))
    assert Covariates.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert set(alone.to_dict()) == {"categorical", "numeric"}
    assert "output scaled by site" in str(fitted)


def test_one_category_scales_nothing(metadata):
    same = metadata.assign(one="a")
    assert "1 categories" in refused(fit_covariates, same, [], TRAIN, ["one"])


# --- covariates of no use ------------------------------------------------------------------------


@pytest.fixture
def columns():
    """Eight samples of four subjects."""
    metadata = pd.DataFrame(
        {
            "one": ["x"] * 8,
            "subject": list("aabbccdd"),
            "arm": list("xxxxyyyy"),
            "arm_code": list("ttttpppp"),
            "site": list("xyxyxyxy"),
            "days": [0.5 * i for i in range(8)],
            "age": [1.0, 5.0, 2.0, 8.0, 3.0, 9.0, 4.0, 7.0],
        },
        index=[f"s{i}" for i in range(8)],
    )
    return metadata, metadata["age"]


@pytest.mark.parametrize(
    "names, text",
    [
        (["site"], None),
        (["days"], None),  # a number of its own for each sample is no category
        (["one"], "'one' has one value in all 8 samples"),
        (["subject"], "'subject': each of its 4 categories is in one group of 'subject' alone"),
        (["arm", "arm_code"], "'arm' and 'arm_code' tell the same"),
    ],
)
def test_a_covariate_of_no_use_has_a_line(columns, names, text):
    metadata, target = columns
    groups = metadata["subject"] if text is None or "arm" not in text else None
    lines = redundant_covariates(metadata, names, target, groups)
    if text is None:
        assert lines == []
    else:
        assert len(lines) == 1 and text in lines[0]


def test_a_covariate_that_is_the_answer_has_a_line(columns):
    metadata, target = columns
    (line,) = redundant_covariates(metadata.assign(twin=2 * target), ["twin"], target)
    assert "'twin' tells the target 'age', one to one" in line


def test_a_shift_that_is_there_twice_has_a_line(columns):
    metadata, target = columns
    (line,) = redundant_covariates(metadata, ["site"], target, shifted_by=["site"])
    assert "'site' is added to the sample vector" in line and "model.head.scale_by" in line
