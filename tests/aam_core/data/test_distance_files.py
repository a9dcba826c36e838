"""Distance matrices that others computed, from every source."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.data.distance_files import read_distances
from aam_core.errors import InputError

IDS = ["2538.1000101", "007", "s3"]
MATRIX = np.array([[0, 0.25, 1], [0.25, 0, 0.5], [1, 0.5, 0]], dtype=np.float32)
TSV = (
    "\t2538.1000101\t007\ts3\n2538.1000101\t0.0\t0.25\t1.0\n"
    "007\t0.25\t0.0\t0.5\ns3\t1.0\t0.5\t0.0\n"
)


CSV = TSV.replace("\t", ",")


@pytest.fixture
def write(tmp_path):
    def write(content, name):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def write_hdf5(tmp_path):
    """Write as UniFrac's programs do: ``write_hdf5(ids, matrix, matrix="matrix:0")``."""

    def write(ids, values, matrix="matrix"):
        path = tmp_path / "dm.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("order", data=ids, dtype=h5py.string_dtype())
            file.create_dataset(matrix, data=values)
        return path

    return write


def test_distances_from_every_source(write, write_qza):
    sources = [
        write(TSV, "dm.tsv"),
        write("# a comment\n\n" + TSV.replace("\n", "\r\n"), "windows.tsv"),
        write(gzip.compress(TSV.encode()), "dm.tsv.gz"),
        write_qza("dm.qza", "DistanceMatrix", "distance-matrix.tsv", TSV),
        write(CSV, "dm.csv"),
        write("sample-id" + CSV, "named.csv"),
        write(CSV.replace("007", '"007"').replace("s3", '"s3"'), "quoted.csv"),
        skbio.DistanceMatrix(MATRIX, IDS),
        pd.DataFrame(MATRIX, index=IDS, columns=IDS),
    ]
    for source in sources:
        ids, matrix = read_distances(source)
        assert ids == IDS
        assert matrix.dtype == np.float32 and np.array_equal(matrix, MATRIX)


def test_distances_as_scikit_bio_writes_them(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.random((20, 3))
    matrix = np.abs(points[:, None] - points).sum(-1)
    ids = [f"s{i}" for i in range(20)]
    skbio.DistanceMatrix(matrix, ids).write(str(tmp_path / "dm.tsv"))
    actual, read = read_distances(tmp_path / "dm.tsv")
    assert actual == ids
    np.testing.assert_allclose(read, matrix, rtol=1e-6)


def test_rounding_is_not_asymmetry(write):
    ids, _ = read_distances(write(TSV.replace("007\t0.25", "007\t0.250001"), "dm.tsv"))
    assert ids == IDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TSV.replace("s3\t1.0", "s3\t0.9"), "2 distances are not the same in both directions"),
        (TSV.replace("s3\t1.0\t0.5\t0.0", "s3\t1.0\t0.5\t0.1"), "not zero between .* s3 and s3"),
        (TSV.replace("0.25", "-0.25"), r"2 distances are negative \(the first: -0.25 between 2538"),
        (TSV.replace("0.5", "nan"), "2 distances are missing or infinite"),
        (TSV.replace("0.5", "much"), r"row 2 \(007\) holds something that is not a number"),
        (TSV.replace("0.5", ""), "not a number"),
        (TSV.rsplit("s3", 1)[0], "not square: 3 columns, but 2 rows"),
        (TSV + "s4\t0\t0\t0\n", r"not square: .* row 4 \(s4\)"),
        (TSV.replace("\t0.5\n", "\n"), r"not square: 3 ids .* row 2 \(007\) has 2 values"),
        (TSV.replace("\n007", "\n7"), "row 2 is 7 where the first line has 007"),
        (TSV.replace("\t007\ts3", "\ts3\ts3").replace("\n007", "\ns3"), "more than once"),
        ("a,b\n", "is not a distance matrix"),
        ("", "is not a distance matrix"),
    ],
)
def test_files_that_are_no_distances(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_distances(write(content, "dm.tsv"))
    assert "dm.tsv" in str(caught.value) and "\n" not in str(caught.value)


def test_distance_objects_that_are_none():
    with pytest.raises(InputError, match="do not have the same ids"):
        read_distances(pd.DataFrame(MATRIX, index=IDS, columns=IDS[::-1]))
    with pytest.raises(InputError, match="a skbio.DistanceMatrix or a DataFrame, not ndarray"):
        read_distances(MATRIX)
    with pytest.raises(InputError, match="something that is not a number"):
        read_distances(pd.DataFrame("much", index=IDS, columns=IDS))


@pytest.mark.parametrize("matrix", ["matrix", "matrix:0"])
def test_distances_in_hdf5(write_hdf5, matrix):
    ids, actual = read_distances(write_hdf5(IDS, MATRIX.astype(float), matrix))
    assert ids == IDS and actual.dtype == np.float32 and np.array_equal(actual, MATRIX)


def test_hdf5_that_is_no_distance_matrix(write_hdf5, write_biom):
    with pytest.raises(InputError, match="not a distance matrix .*: 2 ids, and a .* of shape"):
        read_distances(write_hdf5(IDS[:2], MATRIX))
    with pytest.raises(InputError, match="of 2 dimensions"):
        read_distances(write_hdf5(IDS, MATRIX[0]))
    with pytest.raises(InputError, match="no numbers"):
        read_distances(write_hdf5(IDS, MATRIX.astype("S4")))
    with pytest.raises(InputError, match="it has no order"):
        read_distances(write_biom([[1, 2]], ["s1"], ["f1", "f2"]))


def test_an_array_without_ids_says_how_to_keep_them(tmp_path):
    np.save(tmp_path / "dm.npy", MATRIX)
    with pytest.raises(InputError, match="dm.npy is a NumPy array, which has no sample ids"):
        read_distances(tmp_path / "dm.npy")


def test_a_first_line_that_promises_too_much(write):
    text = "\t" + "\t".join(f"s{i}" for i in range(200_000)) + "\ns0\t0\n"
    with pytest.raises(InputError, match="not square: 200,000 ids in its first line, but too few"):
        read_distances(write(text, "dm.tsv"))


def test_artifacts_of_qiime2(tmp_path):
    qiime2 = pytest.importorskip("qiime2", reason="QIIME 2 is not installed: no real .qza")
    matrix = skbio.DistanceMatrix(MATRIX, IDS)
    qiime2.Artifact.import_data("DistanceMatrix", matrix).save(str(tmp_path / "a.qza"))
    ids, actual = read_distances(tmp_path / "a.qza")
    assert ids == IDS and np.array_equal(actual, MATRIX)
