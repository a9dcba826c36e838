"""Splits, cross-validations and comparisons on the tiny study of the usage examples."""

from __future__ import annotations

import biom
import pandas as pd
import pytest
import qiime2

from aam_core.errors import InputError


def split(methods, column, **options):
    options = {"metadata": methods.column(column), "table": methods.table} | options
    result = methods.registered["split_table"](**options)
    tables = [part.view(biom.Table) for part in result[:2]]
    targets = [part.view(qiime2.Metadata).to_dataframe().iloc[:, 0] for part in result[2:]]
    return tables, targets


@pytest.mark.parametrize("target", ["gradient", "group"])
def test_a_split_keeps_every_sample_once_with_its_value(methods, target):
    tables, targets = split(methods, target, test_size=0.25, random_state=3)
    sides = [list(table.ids()) for table in tables]
    assert sorted(sides[0] + sides[1]) == sorted(methods.metadata.ids)
    assert len(sides[1]) == pytest.approx(6, abs=2)
    truth = methods.column(target).to_series()
    for side, values in zip(sides, targets, strict=True):
        assert list(values.index) == side and values.tolist() == truth[side].tolist()
    again = split(methods, target, test_size=0.25, random_state=3)[0]
    other = split(methods, target, test_size=0.25, random_state=4)[0]
    assert list(again[1].ids()) == sides[1] != list(other[1].ids())


def test_counts_stay_as_they_are(methods):
    whole = methods.table.view(biom.Table)
    for part in split(methods, "gradient")[0]:
        expected = whole.filter(part.ids(), inplace=False).remove_empty("observation")
        assert part == expected


def test_a_group_is_on_one_side(methods):
    group = methods.column("host_subject_id")
    (train, test), _ = split(methods, "gradient", group_by=group)
    of = group.to_series()
    assert not set(of[train.ids()]) & set(of[test.ids()])


def test_classes_are_on_both_sides_in_equal_shares(methods):
    _, (train, test) = split(methods, "group", test_size=0.5)
    assert train.value_counts().to_dict() == pytest.approx(test.value_counts().to_dict(), abs=1)


def test_samples_without_a_value(methods):
    values = methods.column("gradient").to_series().iloc[2:]
    column = qiime2.NumericMetadataColumn(values)
    with pytest.raises(InputError, match="2 of 24 samples have no value in .*'gradient'"):
        split(methods, "gradient", metadata=column)
    tables, _ = split(methods, "gradient", metadata=column, missing_samples="ignore")
    assert sorted(name for part in tables for name in part.ids()) == sorted(values.index)


def test_a_split_that_cannot_be_made(methods):
    with pytest.raises(InputError, match="test_size of 0.01 leaves no sample on one side"):
        split(methods, "gradient", test_size=0.01)
    alone = qiime2.CategoricalMetadataColumn(
        pd.Series("one", methods.column("group").to_series().index, name="host")
    )
    with pytest.raises(InputError, match="All 24 samples are of one group"):
        split(methods, "gradient", group_by=alone, stratify=False)
