"""Small files in the formats that studies come in."""

from __future__ import annotations

import zipfile

import biom
import h5py
import numpy as np
import pytest


@pytest.fixture
def write_qza(tmp_path):
    """Write a QIIME 2 artifact by hand: ``write_qza(name, semantic_type, member, content)``."""

    def write(name, semantic_type, member, content):
        path = tmp_path / name
        root = "11111111-2222-4333-8444-555555555555"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{root}/VERSION", "QIIME 2\narchive: 5\nframework: 2024.10.0\n")
            archive.writestr(
                f"{root}/metadata.yaml",
                f"uuid: {root}\ntype: {semantic_type}\nformat: SomeDirectoryFormat\n",
            )
            # Provenance repeats metadata.yaml deeper down; only the first level counts.
            archive.writestr(
                f"{root}/provenance/metadata.yaml", "type: FeatureTable[Composition]\n"
            )
            archive.writestr(f"{root}/data/{member}", content)
        return path

    return write


@pytest.fixture
def write_biom(tmp_path):
    """Write samples x features as BIOM HDF5: ``write_biom(counts, samples, features, name)``."""

    def write(counts, samples, features, name="table.biom"):
        path = tmp_path / name
        table = biom.Table(np.asarray(counts, dtype=float).T, features, samples)
        with h5py.File(path, "w") as file:
            table.to_hdf5(file, "test")
        return path

    return write
