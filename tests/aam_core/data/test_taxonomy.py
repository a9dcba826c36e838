from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest

from aam_core.data.taxonomy import Taxa, read_taxonomy, with_taxonomy
from aam_core.errors import InputError

TSV = (
    "Feature ID\tTaxon\tConfidence\n"
    "a\tk__Bacteria; p__Firmicutes; g__\t0.9\n"
    "b\tk__Bacteria; p__Bacteroidetes; g__Prevotella\t1\n"
    "c\tUnassigned\t0.1\n"
)


def test_a_file(tmp_path):
    path = tmp_path / "taxonomy.tsv"
    path.write_text(TSV)
    expected = {
        "a": "k__Bacteria; p__Firmicutes; g__",
        "b": "k__Bacteria; p__Bacteroidetes; g__Prevotella",
        "c": "Unassigned",
    }
    assert read_taxonomy(path) == expected
    with zipfile.ZipFile(tmp_path / "taxonomy.qza", "w") as archive:
        archive.writestr("id/metadata.yaml", "uuid: id\ntype: FeatureData[Taxonomy]\n")
        archive.writestr("id/data/taxonomy.tsv", TSV)
    assert read_taxonomy(tmp_path / "taxonomy.qza") == expected
    assert read_taxonomy(pd.DataFrame({"Taxon": expected})) == expected
    assert read_taxonomy(pd.Series(expected)) == read_taxonomy(expected) == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("a\tk__Bacteria\n", "is no taxonomy: its first line must name the columns"),
        ("", "is no taxonomy"),
        (TSV + "d\n", "1 lines have no taxon"),
        (TSV + "a\tk__Archaea\t1\n", "more than once|occur"),
    ],
)
def test_files_that_are_refused(tmp_path, text, words):
    path = tmp_path / "taxonomy.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_taxonomy(path)
    assert "\n" not in str(caught.value)


def test_other_features_are_refused_and_absent_ones_named(small):
    with pytest.raises(InputError, match="feature"):
        with_taxonomy(small, {"other": "k__Bacteria"})
    first = small.feature_ids[0]
    study = with_taxonomy(small, {first: "k__Bacteria"})
    assert study.taxonomy == ["k__Bacteria"] + [""] * (len(small.feature_ids) - 1)
    assert "59 of 60 features are not in the taxonomy" in study.report[-1]


def labelled(small, taxa):
    return with_taxonomy(small, dict(zip(small.feature_ids, taxa, strict=True)))


def test_classes_are_lineages_with_enough_training_features(small):
    taxa = ["k__B; p__One; g__x"] * 20 + ["k__B; p__Two; g__x"] * 20 + ["k__B; p__Two; g__"] * 17
    study = labelled(small, [*taxa, "k__B; p__Rare", "Unassigned", ""])
    fitted = Taxa.fit(study, np.arange(60), 5)
    assert fitted.ranks == ("phylum", "genus")  # of one kingdom nothing is learned
    assert fitted.classes[0] == ("k__B; p__One", "k__B; p__Two")
    assert fitted.classes[1] == ("k__B; p__One; g__x", "k__B; p__Two; g__x")
    assert fitted.labels[:, 0].tolist() == [0] * 20 + [1] * 37 + [-1] * 3
    assert fitted.labels[:, 1].tolist() == [0] * 20 + [1] * 20 + [-1] * 20
    few = np.arange(2)
    there = small.counts[few].getnnz(axis=0) > 0
    assert np.array_equal(Taxa.fit(study, few, 1).new, ~there) and not there.all()
    again = Taxa.fit(study, few, 1, fitted.to_dict())  # of a run that is resumed
    assert again.classes == fitted.classes and np.array_equal(again.labels, fitted.labels)
    with pytest.raises(InputError, match="no rank with two classes of at least 50 features"):
        Taxa.fit(study, np.arange(60), 50)


def test_ranks_without_letters_have_numbers(small):
    study = labelled(small, ["B; One"] * 30 + ["B; Two"] * 30)
    assert Taxa.fit(study, np.arange(60), 5).ranks == ("rank2",)
