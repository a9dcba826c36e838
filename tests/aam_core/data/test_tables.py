"""Feature tables from every source."""

from __future__ import annotations

import gzip
import json

import biom
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.data.tables import read_table
from aam_core.errors import InputError

SAMPLES = ["2538.1000101", "007", "s3"]
FEATURES = ["f1", "f2", "f3", "f4"]
COUNTS = [[5, 0, 0, 1], [0, 0, 2, 0], [1, 3_000_000_000, 0, 0]]


@pytest.fixture
def table():
    return biom.Table(np.array(COUNTS, dtype=float).T, FEATURES, SAMPLES)


@pytest.fixture
def write_json(table, tmp_path):
    """Write the table as BIOM JSON, after a change to its content."""

    def write(change=None):
        content = json.loads(table.to_json("test"))
        if change is not None:
            change(content)
        path = tmp_path / "table.biom"
        path.write_text(json.dumps(content))
        return path

    return write


def assert_is_table(read):
    samples, features, counts = read
    assert samples == SAMPLES and features == FEATURES
    assert {type(name) for name in samples + features} == {str}
    assert isinstance(counts, csr_matrix)
    assert counts.dtype == np.int64 and counts.has_sorted_indices
    assert (counts.data != 0).all()
    assert counts.toarray().tolist() == COUNTS


def test_hdf5(write_biom):
    assert_is_table(read_table(write_biom(COUNTS, SAMPLES, FEATURES)))


def test_json_plain_and_gzipped(write_json, tmp_path):
    path = write_json()
    assert_is_table(read_table(path))
    (tmp_path / "table.biom.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert_is_table(read_table(str(tmp_path / "table.biom.gz")))


def test_hdf5_gzipped(write_biom, tmp_path):
    whole = write_biom(COUNTS, SAMPLES, FEATURES).read_bytes()
    (tmp_path / "table.biom.gz").write_bytes(gzip.compress(whole))
    assert_is_table(read_table(tmp_path / "table.biom.gz"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_json_in_other_encodings(write_json, encoding):
    path = write_json()
    path.write_text(path.read_text(), encoding=encoding)
    assert_is_table(read_table(path))


def test_json_of_ids_and_data_alone(write_json):
    def bare(content):
        for name in set(content) - {"rows", "columns", "data"}:
            del content[name]
        content["rows"] = [{"id": row["id"]} for row in content["rows"]]

    assert_is_table(read_table(write_json(bare)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [10**9, 10**9]}, "its shape is not that of 4 rows and 3 columns"),
        ({"data": [[0, 10**9, 1]]}, "damaged"),
        ({"data": [[0, 0.5, 1]]}, "not a whole number"),
        ({"data": [[0, -1, 1]]}, "damaged"),
        ({"data": [[0, 0, 1, 7]] * 3}, "lists of a row, a column and a number"),
        ({"data": [[0, 0, "many"]]}, "damaged"),
        ({"data": [[0, 0, 10**400]]}, "damaged"),
        ({"data": {"0": 1}}, "damaged"),
        ({"matrix_type": "dense", "data": [[1, 2, 3]]}, "not 4 rows of 3 numbers"),
        ({"matrix_type": "dense", "data": [[1, 2, 3], [1]]}, "damaged"),
        ({"rows": 7}, "damaged"),
        ({"rows": [{"id": "f1"}, 3]}, "damaged"),
    ],
)
def test_json_that_lies(write_json, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(write_json(lambda content: content.update(change)))
    assert "table.biom" in str(caught.value) and len(str(caught.value)) < 500


def test_json_that_is_nested_too_deep(tmp_path):
    (tmp_path / "deep.biom").write_text('{"rows": ' + "[" * 10**6)
    with pytest.raises(InputError, match="deep.biom .*nested too deep"):
        read_table(tmp_path / "deep.biom")


def test_json_dense(write_json):
    def dense(content):
        content["matrix_type"] = "dense"
        content["data"] = np.array(COUNTS).T.tolist()

    assert_is_table(read_table(write_json(dense)))


def test_artifact(write_biom, write_qza):
    content = write_biom(COUNTS, SAMPLES, FEATURES).read_bytes()
    kind = "FeatureTable[Frequency]"
    assert_is_table(read_table(write_qza("t.qza", kind, "feature-table.biom", content)))


def test_artifact_of_qiime2(table, tmp_path):
    qiime2 = pytest.importorskip("qiime2", reason="QIIME 2 is not installed: no real .qza")
    path = tmp_path / "table.qza"
    qiime2.Artifact.import_data("FeatureTable[Frequency]", table).save(str(path))
    assert_is_table(read_table(path))
    relative = table.norm(inplace=False)
    qiime2.Artifact.import_data("FeatureTable[RelativeFrequency]", relative).save(str(path))
    with pytest.raises(InputError, match=r"is a FeatureTable\[RelativeFrequency\]; .*needs reads"):
        read_table(path)


def test_objects_are_not_changed(table):
    before = table.copy()
    assert_is_table(read_table(table))
    assert table == before
    frame = pd.DataFrame(COUNTS, index=SAMPLES, columns=FEATURES)
    assert_is_table(read_table(frame))
    assert frame.to_numpy().tolist() == COUNTS


def test_ids_beyond_ascii(write_biom):
    samples, features, _ = read_table(write_biom([[1, 2]], ["Köln"], ["北京", "f"]))
    assert samples == ["Köln"] and features == ["北京", "f"]


@pytest.mark.parametrize(
    ("samples", "features"), [([], []), (["s1"], []), ([], ["f1"])], ids=["none", "s", "f"]
)
def test_empty_table(write_biom, samples, features):
    path = write_biom(np.zeros((len(samples), len(features))), samples, features)
    expected = f"empty: {len(samples)} samples and {len(features)} features"
    with pytest.raises(InputError, match=expected):
        read_table(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, r"2 counts are negative \(the first: -1.0 of feature f2 in sample 007\)"),
        (0.25, r"2 counts are not whole numbers \(the first: 0.25 of feature f2 in sample 007\)"),
        (np.nan, r"2 counts are missing or infinite \(the first: nan of feature f2 in sample 007"),
        (np.inf, "missing or infinite"),
        (1e300, "missing or infinite"),
    ],
)
def test_counts_that_are_no_reads(write_biom, value, message):
    counts = np.array(COUNTS, dtype=float)
    counts[1, 1] = counts[2, 3] = value
    with pytest.raises(InputError, match=message) as caught:
        read_table(write_biom(counts, SAMPLES, FEATURES))
    assert "\n" not in str(caught.value) and "table.biom" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#OTU ID\ts1\nf1\t1\n", "not a BIOM table.*tab-separated.*biom convert"),
        (b"", "not a BIOM table"),
        (bytes(range(256)), "not a BIOM table"),
        (b'{"rows": []}', "not a BIOM table, or is damaged"),
        (b"{", "not a BIOM table, or is damaged"),
        (b"[1, 2]", "not a BIOM table"),
        (b"\x89HDF\r\n\x1a\nrest", "not a BIOM table, or is damaged"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ],
)
def test_files_that_are_not_biom(tmp_path, content, message):
    path = tmp_path / "wrong.biom"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path)
    assert "wrong.biom" in str(caught.value) and "\n" not in str(caught.value)


def test_hdf5_that_is_not_biom_or_is_cut_or_lies(write_biom, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1, 2]
    cut = tmp_path / "cut.biom"
    whole = write_biom(COUNTS, SAMPLES, FEATURES)
    cut.write_bytes(whole.read_bytes()[:-2000])
    with h5py.File(whole, "r+") as file:
        file["sample/matrix/indices"][0] = 10**6
    for path in (other, cut, whole):
        with pytest.raises(InputError, match="is not a BIOM table, or is damaged"):
            read_table(path)


@pytest.mark.parametrize("kind", ["int32", "uint8", "uint64"])
@pytest.mark.parametrize(
    "starts", [[0, 5, 3, 0], [0, 2, 1, 5], [1, 2, 3, 5], [0, 2, 3, 4], [], [0]]
)
def test_hdf5_whose_rows_do_not_follow_one_another(write_biom, starts, kind):
    path = write_biom(COUNTS, SAMPLES, FEATURES)
    with h5py.File(path, "r+") as file:
        assert file["sample/matrix/indptr"][:].tolist() == [0, 2, 3, 5]
        del file["sample/matrix/indptr"]
        file["sample/matrix/indptr"] = np.array(starts, dtype=kind)
    with pytest.raises(InputError, match="indptr does not lead through its data"):
        read_table(path)


def test_duplicate_ids(write_json, write_biom):
    def repeat(content):
        content["rows"][1]["id"] = "f1"

    with pytest.raises(InputError, match=r"1 feature ids occur more than once \(f1\)"):
        read_table(write_json(repeat))
    path = write_biom(COUNTS, SAMPLES, FEATURES)
    with h5py.File(path, "r+") as file:
        file["sample/ids"][0] = "007"
    with pytest.raises(InputError, match=r"1 sample ids occur more than once \(007\)"):
        read_table(path)


def test_wrong_objects_and_paths(tmp_path):
    with pytest.raises(
        InputError, match="must be a path, a biom.Table, .* or an AnnData, not list"
    ):
        read_table([[1, 2]])
    with pytest.raises(InputError, match=r"columns that are not counts \(b\)"):
        read_table(pd.DataFrame({"a": [1], "b": ["x"]}, index=["s1"]))
    with pytest.raises(InputError, match=r"2 sample ids are not text \(0, 1\)"):
        read_table(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(InputError, match="There is no file .*absent.biom"):
        read_table(tmp_path / "absent.biom")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize(("study", "shape"), [("ecam", (741, 2777)), ("ibd", (470, 10099))])
def test_real_tables_as_biom_reads_them(real_data, study, shape):
    path = real_data / study / "table.biom"
    samples, features, counts = read_table(path)
    expected = biom.load_table(str(path))
    assert counts.shape == shape
    assert samples == list(expected.ids()) and features == list(expected.ids("observation"))
    assert (counts != expected.matrix_data.T).nnz == 0


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "Float64"])
def test_nullable_columns_are_counts(dtype):
    frame = pd.DataFrame({"A": [1, 0], "C": [2, 3]}, index=["s1", "s2"])
    for given in (frame.astype(dtype), frame.astype({"A": dtype}), frame.convert_dtypes()):
        _, _, counts = read_table(given)
        assert counts.dtype == np.int64 and counts.toarray().tolist() == [[1, 2], [0, 3]]
    frame = frame.astype(dtype)
    frame.iloc[0, 0] = pd.NA
    with pytest.raises(InputError, match="1 counts are missing or infinite"):
        read_table(frame)


def test_categories_are_no_counts():
    with pytest.raises(InputError, match=r"columns that are not counts \(A\)"):
        read_table(pd.DataFrame({"A": pd.Categorical([1, 2])}, index=["s1", "s2"]))
