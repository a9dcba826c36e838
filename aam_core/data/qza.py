"""QIIME 2 artifacts (``.qza``) read without QIIME 2.

An artifact is a zip archive: ``UUID/metadata.yaml`` names its semantic type, ``UUID/data/`` has
the files. One member is read into memory; nothing is ever unpacked to the disk.
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from aam_core.errors import InputError
from aam_core.files.reading import DAMAGED, check_expansion, parse_yaml

__all__ = ["MEMBERS", "is_artifact", "read_artifact", "refuse_artifact"]

MEMBERS = {
    "FeatureTable[Frequency]": "feature-table.biom",
    "FeatureData[Sequence]": "dna-sequences.fasta",
    "Phylogeny[Rooted]": "tree.nwk",
    "DistanceMatrix": "distance-matrix.tsv",
    "FeatureData[Taxonomy]": "taxonomy.tsv",
}
"""Semantic types that are read, and the file of each."""

_ADVICE = {
    "FeatureTable[RelativeFrequency]": "AAM needs reads: give the table of counts it was made from",
    "FeatureTable[PresenceAbsence]": "AAM needs reads: give the table of counts it was made from",
    "FeatureTable[Composition]": "AAM needs reads: give the table of counts it was made from",
    "Phylogeny[Unrooted]": "root it first: qiime phylogeny midpoint-root",
    "FeatureData[AlignedSequence]": "give the sequences before they were aligned",
    "FeatureData[RNASequence]": "give the sequences as DNA",
}


_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that QIIME 2 writes; others Python decompresses all at once, whatever the size."""


def is_artifact(file: BinaryIO) -> bool:
    """Whether a file is a zip archive, as every ``.qza`` is; it is rewound."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start == b"PK\x03\x04"


def refuse_artifact(folder: str | Path) -> None:
    """Where a folder is meant, such as that of a model.

    Raises
    ------
    InputError
        If it is an artifact instead.
    """
    path = Path(folder)
    if path.suffix == ".qza" and path.is_file():
        raise InputError(
            f"{path} is an artifact of QIIME 2: export it (qiime tools export --input-path "
            f"{path.name} --output-path FOLDER), and give the folder."
        )


def read_artifact(file: BinaryIO, wanted: str, where) -> bytes:
    """Contents of an artifact's one data file.

    Parameters
    ----------
    file : binary file
        The ``.qza``.
    wanted : str
        Semantic type that is needed, a key of `MEMBERS`.
    where : path
        What errors call it.

    Raises
    ------
    InputError
        If the file is no artifact, is damaged, or is of another semantic type.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root, semantic_type = _root_and_type(archive, where)
            if _without_properties(semantic_type) != wanted:
                advice = _ADVICE.get(_without_properties(semantic_type))
                raise InputError(
                    f"{where} is a {semantic_type}; a {wanted} is needed"
                    f"{': ' + advice if advice else ''}."
                )
            return _read(archive, f"{root}/data/{MEMBERS[wanted]}", where)
    except KeyError:
        raise InputError(f"{where} is damaged: it has no {MEMBERS[wanted]} inside.") from None
    # RuntimeError is what zipfile raises for an encrypted member.
    except (*DAMAGED, zipfile.BadZipFile, RuntimeError, ValueError, struct.error) as error:
        raise InputError(f"{where} is damaged and cannot be read as a .qza: {error}.") from error


def _read(archive: zipfile.ZipFile, name: str, where, most: int | None = None) -> bytes:
    """The content of a member: as much as it declares, and at most ``most`` bytes."""
    member = archive.getinfo(name)
    if member.compress_type not in _COMPRESSIONS:
        raise InputError(f"{where}: {name} is compressed as QIIME 2 does not; save it anew.")
    size = member.file_size if most is None else min(member.file_size, most)
    check_expansion(size, member.compress_size, where)
    pieces, left = [], size
    with archive.open(member) as file:
        # In pieces: one call would decompress everything before it cut it to the declared size.
        while left and (piece := file.read(min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
        if most is None:
            file.read(1)  # at the end zipfile compares the checksum
    return b"".join(pieces)


def _root_and_type(archive: zipfile.ZipFile, where) -> tuple[str, str]:
    heads = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/metadata\.yaml", name)]
    if len(heads) == 1:
        try:
            # A few hundred bytes in a real artifact.
            description = parse_yaml(_read(archive, heads[0], where, most=1 << 16))
        except ValueError:
            description = None
        if isinstance(description, dict) and isinstance(description.get("type"), str):
            return heads[0].split("/")[0], description["type"]
    raise InputError(f"{where} is a zip archive but not a QIIME 2 artifact.")


def _without_properties(semantic_type: str) -> str:
    """The type without its properties: ``DistanceMatrix % Properties('phylogenetic')``."""
    return re.sub(r"\s*%\s*Properties\([^)]*\)", "", semantic_type)
