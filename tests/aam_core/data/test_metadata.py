"""Metadata files under QIIME 2's rules."""

from __future__ import annotations

import codecs

import numpy as np
import pandas as pd
import pytest

from aam_core.data.columns import as_numbers
from aam_core.data.covariates import infer_types
from aam_core.data.metadata import (
    column,
    from_frame,
    matches,
    read_metadata,
    require_columns,
    unmatched,
)
from aam_core.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(content, name="metadata.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


HEADERS = [
    "id", "ID", "sampleid", "SampleID", "sample id", "sample-id", "Sample-ID", "featureid",
    "feature id", "Feature-Id", "#SampleID", "#Sample ID", "#OTUID", "#OTU ID", "sample_name",
]  # fmt: skip

GOOD = {
    "plain": "id\tage\tsex\ns1\t1\tf\ns2\t2.5\tm\n",
    "ids stay text": "sample-id\tx\n2538.1000101\t1\n007\t2\n1e5\t3\n1.10\t4\n",
    "types": "id\ta\tb\n#q2:types\tcategorical\tNumeric\ns1\t1\t\ns2\t2\t3\n",
    "comments and empty rows": "# first\n\n\t\t\nid\ta\n# a comment\ns1\tx\n\n#s9\ty\ns2\tz\n",
    "whitespace": "  id \t a b  \n s1 \t  x y \ns2\t \n",
    "quotes": 'id\ta\ts\n"s1"\t"x\ty"\t"say ""hi"""\ns2\t"two\nlines"\tz\n',
    "numbers": "id\ta\tb\tc\ns1\t.5\t1.\t-1e-3\ns2\t+7\t1E5\t\n",
    "not numbers": "id\ta\tb\tc\td\te\ns1\tnan\t1,5\t0x1\tinf\t1_000\ns2\t1\t2\t3\t4\t5\n",
    "all missing": "id\ta\n#q2:types\tcategorical\ns1\t\ns2\t\n",
    "all missing, not declared": "id\ta\ns1\t\ns2\t\n",
    "short and long rows": "id\ta\tb\t\t\ns1\tx\ns2\ty\tz\t\t\t\t\n",
    "no columns": "id\ns1\ns2\n",
    "windows": "id\ta\r\ns1\tx\r\ns2\ty\r\n",
    "directive with a note": "id\ta\n#q2:types etc\tcategorical\ns1\t1\n",
    "insdc": "id\ta\tb\n#q2:missing\tINSDC:missing\t\ns1\tnot collected\tmissing\ns2\t5\tx\n",
    "both directives": (
        "id\ta\n#q2:missing\tINSDC:missing\n#q2:types\tcategorical\ns1\tmissing\ns2\t5\n"
    ),
    "unicode": "id\tort\ns1\tKöln\ns2\t北京\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["", "bom"])
def test_a_file_means_what_it_means_in_qiime2(write, content, mark):
    qiime2 = pytest.importorskip("qiime2", reason="QIIME 2 is not installed: nothing to compare")
    path = write(mark + content.encode("utf-8"))
    expected = qiime2.Metadata.load(str(path)).to_dataframe()
    actual = read_metadata(path)
    assert list(actual.index) == list(expected.index)
    assert list(actual.columns) == list(expected.columns)
    decided, _ = infer_types(actual, list(actual.columns))
    for name in expected:
        # As covariates, columns are what QIIME 2 makes of them; until then, text.
        numeric = expected[name].dtype != object
        assert (decided[name].dtype == np.float64) == numeric, name
        assert actual[name].isna().tolist() == expected[name].isna().tolist()
        values = decided[name] if numeric else actual[name]
        assert values.dropna().tolist() == expected[name].dropna().tolist()
        assert all(isinstance(value, str) for value in actual[name].dropna())


@pytest.mark.parametrize("header", HEADERS)
def test_every_legal_id_header(write, header):
    frame = read_metadata(write(f"{header}\ta\ns1\tx\n"))
    assert frame.index.name == "sample-id"
    assert frame.index.tolist() == ["s1"]


@pytest.mark.parametrize("header", ["sample", "#sampleid", "#otu id", "Sample_Name", "sample_id"])
def test_other_id_headers_are_refused(write, header):
    with pytest.raises(InputError, match=r"metadata.tsv, line [12]: the first column"):
        read_metadata(write(f"{header}\ta\ns1\tx\n"))


def test_ids_and_cells_stay_text(write):
    text = (
        "#SampleID\tage\tsex\tcode\tph\n#q2:types\t\t\tcategorical\tnumeric\n"
        "007\t1.10\tf\t01\t07.0\n7\t\t\t02\t\n"
    )
    frame = read_metadata(write(text))
    assert frame.index.tolist() == ["007", "7"] and frame.index.dtype == object
    assert frame["age"].tolist() == ["1.10", None] and frame["age"].dtype == object
    assert frame["sex"].tolist() == ["f", None] and frame["sex"].dtype == object
    assert frame["code"].tolist() == ["01", "02"] and frame["code"].dtype == "category"
    assert frame["ph"].tolist() == ["07.0", None]
    pd.testing.assert_frame_equal(from_frame(frame), frame)


def test_byte_order_mark_and_blanks_round_names(write):
    frame = read_metadata(write(codecs.BOM_UTF8 + b" sample-id \t age \n s1 \t 3 \n"))
    assert frame.index.tolist() == ["s1"] and frame["age"].tolist() == ["3"]


def test_insdc_words_are_missing_where_declared(write):
    content = "id\ta\tb\n#q2:missing\tINSDC:missing\t\ns1\tnot provided\tmissing\ns2\t5\tx\n"
    frame = read_metadata(write(content))
    assert frame["a"].tolist() == [None, "5"]
    assert frame["b"].tolist() == ["missing", "x"]


BAD = {
    "duplicate ids": ("id\ta\ns1\tx\ns2\ty\ns1\tz\n", r"1 sample ids occur more than once \(s1\)"),
    "blank id": ("id\ta\n\tx\n", "line 2: the id is blank"),
    "duplicate columns": ("id\ta\ta\ns1\tx\ty\n", r"more than once \(a\)"),
    "column without a name": ("id\t\tb\ns1\tx\ty\n", "a column has no name"),
    "reserved column": ("id\tsample-id\ns1\tx\n", r"reserved for ids \(sample-id\)"),
    "reserved id": ("id\ta\ns1\tx\nSampleID\ty\n", "line 3: the id 'SampleID' is reserved"),
    "too many cells": ("id\ta\ns1\tx\ty\n", "line 2: the row has 3 cells, the header 2"),
    "empty": ("", "has no header"),
    "only comments": ("# nothing\n\n", "has no header"),
    "no samples": ("id\ta\n#q2:types\tnumeric\n", "no samples"),
    "commas": ("id,a\ns1,x\n", "separated by tabs"),
    "late directive": ("id\ta\ns1\tx\n#q2:types\tnumeric\n", "line 3: the directive #q2:types"),
    "early directive": ("#q2:types\tnumeric\nid\ta\n", "line 1: the first column"),
    "unknown directive": ("id\ta\n#q2:units\tkg\ns1\t1\n", "no directive #q2:units"),
    "twice": ("id\ta\n#q2:types\tnumeric\n#q2:types\tnumeric\ns1\t1\n", "occurs twice"),
    "unknown type": ("id\ta\n#q2:types\tordinal\ns1\t1\n", "'a' is declared of type 'ordinal'"),
    "unknown scheme": ("id\ta\n#q2:missing\tNA\ns1\t1\n", "missing scheme 'NA'"),
    "no-missing": ("id\ta\n#q2:missing\tno-missing\ns1\t1\ns2\t\n", r"1 samples have .*\(s2\)"),
    "declared numeric": (
        "id\ta\n#q2:types\tnumeric\ns1\t1\ns2\told\ns3\t3y\n",
        r"column 'a' is declared numeric, but 2 values are not numbers \(old, 3y\)",
    ),
    "quote left open": ('id\ta\ns1\t"x\ns2\ty\n', "line 2: a double quote is opened here"),
    "quote within": (
        'id\ta\tb\ns0\t"two\nlines"\tx\ns1\t"Crohn" like\tx\n',
        "line 4: a tab is expected after a cell in double quotes",
    ),
    "tab in an id": ('id\ta\n"s\t1"\tx\n', r"1 sample ids hold a tab or a line break \('s"),
    "line break in an id": ('id\ta\n"s\n1"\tx\n', "1 sample ids hold a tab or a line break"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files_say_what_is_wrong(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_metadata(write(content))
    assert "metadata.tsv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id\ta\ns1\tx\n".encode("utf-16"), "UTF-16"),
        ("id\ta\ns1\tKöln\n".encode("latin-1"), "UTF-8"),
        (b"PK\x03\x04rest", "zip archive"),
    ],
)
def test_other_encodings_and_files(write, content, message):
    with pytest.raises(InputError, match=message):
        read_metadata(write(content))


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="There is no file .*absent.tsv"):
        read_metadata(tmp_path / "absent.tsv")


def test_data_frames_take_the_same_form():
    given = pd.DataFrame(
        {
            "age": [1, 2, 3],
            "score": [1.5, None, 2],
            "mixed": pd.Series([1, None, 2.5], dtype=object).to_numpy(),
            "sex": ["f", None, " m "],
            "flag": [True, False, True],
            "text numbers": ["01", "02", ""],
            "group": pd.Categorical(["x", "y", None]),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
        },
        index=["007", "7", "s3"],
    )
    copy = given.copy(deep=True)
    frame = from_frame(given)
    pd.testing.assert_frame_equal(given, copy)
    assert frame.index.tolist() == ["007", "7", "s3"] and frame.index.name == "sample-id"
    for name in ("age", "score", "mixed", "nullable"):
        assert frame[name].dtype == np.float64, name
    assert frame["nullable"].isna().tolist() == [False, True, False]
    assert frame["sex"].tolist() == ["f", None, "m"]
    assert frame["flag"].tolist() == ["True", "False", "True"]
    assert frame["text numbers"].tolist() == ["01", "02", None]
    assert frame["group"].tolist()[:2] == ["x", "y"] and frame["group"].isna().iloc[2]
    assert frame["group"].dtype == "category"
    pd.testing.assert_frame_equal(from_frame(frame), frame)


def test_integers_beyond_float64_stay_distinct():
    numbers = [2**53, 2**53 + 1]
    for given in (numbers, pd.array(numbers, dtype="Int64"), pd.Series(numbers, dtype=object)):
        frame = from_frame(pd.DataFrame({"run": np.asarray(given)}, index=["s1", "s2"]))
        assert frame["run"].tolist() == ["9007199254740992", "9007199254740993"]


def test_cells_that_are_lists_are_text():
    frame = from_frame(pd.DataFrame({"a": [[1, 2], None]}, index=["s1", "s2"]))
    assert frame["a"].tolist() == ["[1, 2]", None]


@pytest.mark.parametrize("given", [np.ones(3), [1], {"a": 1}, "metadata", None])
def test_other_objects_than_a_data_frame_are_refused(given):
    with pytest.raises(InputError, match="must be a path or a DataFrame"):
        from_frame(given)


def test_filters_compare_letter_for_letter_first(write):
    frame = read_metadata(write("id\tcluster\tage\ns1\t1.1\t4.0\ns2\t1.10\t5\ns3\t01\t\n"))
    assert matches(frame, "cluster=1.1").tolist() == [True, False, False]
    assert matches(frame, "cluster=1.10").tolist() == [False, True, False]
    assert matches(frame, "cluster=1").tolist() == [False, False, True]
    assert matches(frame, "age=4").tolist() == [True, False, False]
    code = read_metadata(write("id\ta\n#q2:types\tcategorical\ns1\t01\ns2\t2\n"))
    with pytest.raises(InputError, match="No sample has '1'"):
        matches(code, "a=1")


def test_samples_that_conditions_say_nothing_of():
    columns = {"site": ["a", None, "b", " ", "a"], "run=1": ["x", "y", None, "x", "x"]}
    frame = from_frame(pd.DataFrame(columns, index=list("pqrst")))
    assert unmatched(frame, ["site=a"]) == (
        "2 of 5 samples have no value in site, and are trained on: q, s"
    )
    # One that meets another condition is not trained on.
    assert unmatched(frame, ["site=a", "run=1=y"]).endswith("site, run=1, and are trained on: r, s")
    assert unmatched(frame[:1], ["site=a"]) == ""


def test_data_frame_with_numbers_for_ids():
    with pytest.raises(InputError, match=r"2 sample ids are not text \(7, 8\).*007 stays 007"):
        from_frame(pd.DataFrame({"a": [1, 2]}, index=[7, 8]))


def test_column_suggests_the_nearest():
    frame = from_frame(pd.DataFrame({"day_of_life": [1], "sex": ["f"]}, index=["s1"]))
    assert column(frame, "sex").tolist() == ["f"]
    with pytest.raises(InputError, match="no metadata column 'day_of_live'; did you mean 'day_of"):
        column(frame, "day_of_live")


@pytest.fixture
def frame():
    return from_frame(
        pd.DataFrame(
            {"mom_child": ["C", "M", None], "month": [16, 2, None], "a=b": ["x", "y=z", "x"]},
            index=["s1", "s2", "s3"],
        )
    )


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("mom_child=C", [True, False, False]),
        (" mom_child = C ", [True, False, False]),
        ("month=16", [True, False, False]),
        ("month=2.0", [False, True, False]),
        ("a=b=x", [True, False, True]),
        ("a=b=y=z", [False, True, False]),
    ],
)
def test_filters(frame, condition, kept):
    assert matches(frame, condition).tolist() == kept


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("mom_chld=C", "no metadata column 'mom_chld'; did you mean 'mom_child'"),
        ("mom_child=c", r"No sample has 'c' in the metadata column 'mom_child'; there are: C, M"),
        ("month=17", r"No sample has '17'.*there are: 2, 16"),
        ("month=old", "No sample has 'old'"),
        ("mom_child", "column=value"),
    ],
)
def test_filters_that_cannot_be(frame, condition, message):
    with pytest.raises(InputError, match=message):
        matches(frame, condition)


@pytest.mark.real_data
def test_real_metadata(real_data):
    ecam = read_metadata(real_data / "ecam" / "metadata.tsv")
    assert as_numbers(ecam["day_of_life"].dropna()).max() > 100
    assert int(matches(ecam, "mom_child=C").sum()) == 699
    ibd = read_metadata(real_data / "ibd" / "metadata.tsv")
    assert "2538.1002622" in ibd.index
    assert set(ibd["ibd"]) == {"Control", "Crohns"}


def test_columns_that_a_model_needs():
    frame = from_frame(pd.DataFrame({"sex": ["f", None, " "]}, index=["a", "b", "c"]))
    require_columns(None, [])
    require_columns(frame.loc[["a"]], ["sex"])
    for metadata, message in (
        (None, "reads the metadata column 'sex' of each sample"),
        (frame, "'sex', which is blank for 2 of 3 samples: b, c"),
        (frame[[]], "no metadata column 'sex'"),
    ):
        with pytest.raises(InputError, match=message):
            require_columns(metadata, ["sex"])
