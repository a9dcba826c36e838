"""HDF5 that points out of itself, or declares what it does not hold."""

from __future__ import annotations

import os
import signal
import zipfile

import h5py
import numpy as np
import pytest

from aam_core.data import hdf5
from aam_core.data.distance_files import read_distances
from aam_core.data.hdf5 import read_hdf5
from aam_core.data.tables import read_table
from aam_core.errors import InputError

COUNTS = np.array([[5, 0, 1], [0, 2, 0]])
SECRET = np.arange(1, 9, dtype="<f8")


@pytest.fixture
def secret(tmp_path):
    """A file of the machine that the table must not read."""
    (tmp_path / "secret").write_bytes(SECRET.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = SECRET[:3]
        file["group/data"] = SECRET[:3]
    return tmp_path


@pytest.fixture
def biom(write_biom):
    return write_biom(COUNTS, ["s1", "s2"], ["f1", "f2", "f3"])


def external_storage(group, secret):
    group.create_dataset("data", (3,), "<f8", external=[(str(secret / "secret"), 0, 24)])


def external_link(group, secret):
    group["data"] = h5py.ExternalLink(str(secret / "other.h5"), "data")


def soft_link_to_an_external_one(group, secret):
    group.file["out"] = h5py.ExternalLink(str(secret / "other.h5"), "group")
    group["data"] = h5py.SoftLink("/out/data")


def virtual(group, secret):
    layout = h5py.VirtualLayout((3,), "<f8")
    layout[:] = h5py.VirtualSource(str(secret / "other.h5"), "data", (3,))
    group.create_virtual_dataset("data", layout)


WAYS_OUT = [external_storage, external_link, soft_link_to_an_external_one, virtual]


def spoil(path, change, *args):
    with h5py.File(path, "r+") as file:
        del file["sample/matrix/data"]
        change(file["sample/matrix"], *args)
    return path


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("inside", [False, True], ids=["biom", "qza"])
def test_values_in_another_file_are_refused(biom, write_qza, secret, way, inside):
    path = spoil(biom, way, secret)
    if inside:
        content = path.read_bytes()
        path = write_qza("t.qza", "FeatureTable[Frequency]", "feature-table.biom", content)
    with pytest.raises(InputError, match="sample/matrix/data lie behind a link or in another"):
        read_table(path)


def test_a_group_in_another_file_is_refused(biom, secret):
    with h5py.File(biom, "r+") as file:
        del file["sample"]
        file["sample"] = h5py.ExternalLink(str(biom), "observation")
    with pytest.raises(InputError, match="not followed"):
        read_table(biom)


def test_ids_and_distances_in_another_file_are_refused(biom, secret):
    with h5py.File(biom, "r+") as file:
        del file["sample/ids"]
        file["sample/ids"] = h5py.ExternalLink(str(secret / "other.h5"), "data")
    with pytest.raises(InputError, match="sample/ids lie behind a link"):
        read_table(biom)
    path = secret / "dm.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("order", data=["a", "b"], dtype=h5py.string_dtype())
        file.create_dataset("matrix", (2, 2), "<f8", external=[(str(secret / "secret"), 0, 32)])
    with pytest.raises(InputError, match="matrix lie behind a link or in another file"):
        read_distances(path)


def declared(group, shape, chunks=(1000,), dtype="<f8"):
    group.create_dataset("data", shape, dtype, chunks=chunks, compression="gzip")


@pytest.mark.parametrize(
    "values",
    [{"shape": (10**12,)}, {"shape": (3,), "chunks": (2**28,), "dtype": "<f8"}],
    ids=["8 TB", "chunks of 2 GB"],
)
def test_values_without_measure_are_refused_before_they_are_read(biom, values):
    if "chunks" in values:  # h5py wants chunks no larger than the data can grow

        def change(group):
            group.create_dataset("data", maxshape=(None,), compression="gzip", **values)
    else:

        def change(group):
            declared(group, **values)

    with pytest.raises(InputError, match="would expand from .* bytes"):
        read_table(spoil(biom, change))


def test_ids_without_measure(biom):
    with h5py.File(biom, "r+") as file:
        del file["sample/ids"]
        kind = h5py.string_dtype()
        file.create_dataset("sample/ids", (10**9,), kind, chunks=(1000,))
    with pytest.raises(InputError, match="would expand"):
        read_table(biom)


@pytest.mark.parametrize("name", ["sample/ids", "sample/matrix/data", "sample/matrix/indptr"])
@pytest.mark.parametrize("value", [7.5, h5py.Empty("f"), "text", np.zeros((2, 2)), None, [b"a"]])
def test_other_things_in_the_place_of_an_array(biom, name, value):
    with h5py.File(biom, "r+") as file:
        del file[name]
        if value is None:
            file.create_group(name)
        else:
            file[name] = value
    with pytest.raises(InputError, match="not a BIOM table, or is damaged|is empty") as caught:
        read_table(biom)
    assert "\n" not in str(caught.value)


def test_a_zip_member_that_expands_too_much(tmp_path):
    path = tmp_path / "bomb.qza"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("u/metadata.yaml", "type: FeatureTable[Frequency]\n")
        with archive.open("u/data/feature-table.biom", "w") as file:
            for _ in range(200):
                file.write(bytes(2**20))
    with pytest.raises(InputError, match="bomb.qza would expand from"):
        read_table(path)


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_member_compressed_otherwise(tmp_path, kind, biom):
    path = tmp_path / "a.qza"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("u/metadata.yaml", "type: FeatureTable[Frequency]\n", zipfile.ZIP_STORED)
        archive.writestr("u/data/feature-table.biom", biom.read_bytes())
    with pytest.raises(InputError, match="compressed as QIIME 2 does not"):
        read_table(path)


def test_a_truncated_zip_member_is_refused(write_qza):
    """A member that is declared shorter than it is fails its checksum."""
    path = write_qza("a.qza", "FeatureTable[Frequency]", "feature-table.biom", b"\x89HDF" * 100)
    content = path.read_bytes()
    short = content.replace((400).to_bytes(4, "little"), (96).to_bytes(4, "little"))
    assert short != content
    path.write_bytes(short)
    with pytest.raises(InputError, match="a.qza is damaged"):
        read_table(path)


def test_a_crash_of_the_library_is_one_line(biom, capfd, monkeypatch):
    """Some damage makes it die, which another process does in the place of this one."""

    def crash(datasets):
        datasets.text("sample/ids")
        os.kill(os.getpid(), signal.SIGSEGV)

    def circle(datasets):
        while True:
            pass

    monkeypatch.setattr(hdf5, "_SECONDS", 0.1)
    with open(biom, "rb") as file:
        for read in (crash, circle):
            with pytest.raises(InputError, match="t.biom is not a table, .*library crashes"):
                read_hdf5(file, "a table", "t.biom", read)
        assert read_hdf5(file, "a table", "t.biom", lambda d: d.text("sample/ids")) == ["s1", "s2"]
    assert capfd.readouterr() == ("", "")
