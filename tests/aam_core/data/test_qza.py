"""QIIME 2 artifacts, read without QIIME 2."""

from __future__ import annotations

import zipfile

import pytest

from aam_core.data.qza import MEMBERS, is_artifact, read_artifact
from aam_core.errors import InputError


def read(path, wanted):
    with open(path, "rb") as file:
        return read_artifact(file, wanted, path)


@pytest.mark.parametrize(("kind", "member"), MEMBERS.items())
def test_each_type_gives_its_file(write_qza, kind, member):
    path = write_qza("a.qza", kind, member, "content")
    with open(path, "rb") as file:
        assert is_artifact(file)
    assert read(path, kind) == b"content"


@pytest.mark.parametrize(
    "written",
    ["DistanceMatrix % Properties('phylogenetic')", "\"DistanceMatrix % Properties(['a', 'b'])\""],
)
def test_properties_do_not_matter(write_qza, written):
    path = write_qza("a.qza", written, "distance-matrix.tsv", "content")
    assert read(path, "DistanceMatrix") == b"content"


@pytest.mark.parametrize(
    ("kind", "wanted", "advice"),
    [
        ("FeatureTable[RelativeFrequency]", "FeatureTable[Frequency]", "needs reads"),
        ("FeatureTable[PresenceAbsence]", "FeatureTable[Frequency]", "needs reads"),
        ("Phylogeny[Unrooted]", "Phylogeny[Rooted]", "midpoint-root"),
        ("FeatureData[AlignedSequence]", "FeatureData[Sequence]", "before they were aligned"),
        ("FeatureData[Taxonomy]", "FeatureData[Sequence]", ""),
        ("Visualization", "FeatureTable[Frequency]", ""),
    ],
)
def test_wrong_type_says_which_it_is_and_which_is_needed(write_qza, kind, wanted, advice):
    path = write_qza("a.qza", kind, MEMBERS[wanted], "content")
    with pytest.raises(InputError) as caught:
        read(path, wanted)
    assert f"a.qza is a {kind}; a {wanted} is needed" in str(caught.value)
    assert advice in str(caught.value)


def test_damaged_archives(write_qza, tmp_path):
    path = write_qza("a.qza", "DistanceMatrix", "something-else.tsv", "content" * 100)
    with pytest.raises(InputError, match="damaged: it has no distance-matrix.tsv"):
        read(path, "DistanceMatrix")
    whole = write_qza("b.qza", "DistanceMatrix", "distance-matrix.tsv", "content" * 100)
    cut = tmp_path / "cut.qza"
    cut.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match="cut.qza is damaged"):
        read(cut, "DistanceMatrix")
    bytes_ = whole.read_bytes()
    flipped = tmp_path / "flipped.qza"
    flipped.write_bytes(bytes_.replace(b"contentcontent", b"contentCONTENT", 1))
    with pytest.raises(InputError, match="flipped.qza is damaged"):
        read(flipped, "DistanceMatrix")


@pytest.mark.parametrize("description", ["", "- a list", "type: [1]", "a: b: c", "type: &x *x"])
def test_a_zip_that_is_no_artifact(tmp_path, description):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u/metadata.yaml", description)
    with pytest.raises(InputError, match="not a QIIME 2 artifact"):
        read(path, "DistanceMatrix")


def test_members_outside_the_archive_are_never_written(tmp_path):
    path = tmp_path / "inner" / "evil.qza"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../metadata.yaml", "type: DistanceMatrix\n")
        archive.writestr("../data/distance-matrix.tsv", "content")
    read(path, "DistanceMatrix")
    assert [item.name for item in tmp_path.rglob("*")] == ["inner", "evil.qza"]
