"""QIIME 2 artifacts (``.qza``) read without QIIME 2.

An artifact is a zip archive: ``UUID/metadata.yaml`` names its semantic type, ``UUID/data/`` holds
the files. One member is read into memory; nothing is ever unpacked to the disk.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from aam_core.errors import InputError

MEMBERS = {
    "FeatureTable[Frequency]": "feature-table.biom",
    "FeatureData[Sequence]": "dna-sequences.fasta",
    "Phylogeny[Rooted]": "tree.nwk",
    "DistanceMatrix": "distance-matrix.tsv",
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


def is_artifact(path: Path) -> bool:
    """Whether the file is a zip archive, as every ``.qza`` is."""
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_artifact(path: Path, wanted: str) -> bytes:
    """Contents of an artifact's one data file.

    Parameters
    ----------
    path : Path
        The ``.qza``.
    wanted : str
        Semantic type that is needed, a key of `MEMBERS`.

    Raises
    ------
    InputError
        If the file is no artifact, is damaged, or is of another semantic type.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root, found = _root_and_type(archive, path)
            if _plain(found) != wanted:
                advice = _ADVICE.get(_plain(found))
                raise InputError(
                    f"{path} is a {found}; a {wanted} is needed{': ' + advice if advice else ''}."
                )
            return archive.read(f"{root}/data/{MEMBERS[wanted]}")
    except KeyError:
        raise InputError(f"{path} is damaged: it has no {MEMBERS[wanted]} inside.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{path} is damaged and cannot be read as a .qza: {error}.") from error


def _root_and_type(archive: zipfile.ZipFile, path: Path) -> tuple[str, str]:
    import yaml

    found = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/metadata\.yaml", name)]
    if len(found) == 1:
        try:
            with archive.open(found[0]) as file:
                # A few hundred bytes in a true artifact; the limit is for the others.
                description = yaml.safe_load(file.read(1 << 16))
        except (yaml.YAMLError, UnicodeDecodeError):
            description = None
        if isinstance(description, dict) and isinstance(description.get("type"), str):
            return found[0].split("/")[0], description["type"]
    raise InputError(f"{path} is a zip archive but not a QIIME 2 artifact.")


def _plain(semantic_type: str) -> str:
    """The type without its properties: ``DistanceMatrix % Properties('phylogenetic')``."""
    return re.sub(r"\s*%\s*Properties\([^)]*\)", "", semantic_type)
