"""Methods of a cross-validation, compared from their predictions alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.comparison import (
    check_class_names,
    comparison_table,
    long_table,
    losses_by_group,
    metrics_of_table,
)
from aam_core.crossval import cross_validate
from aam_core.errors import InputError


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)
        yield


@pytest.fixture(scope="module")
def validate(small, brief):
    config = brief("fitting", {"train.max_steps": 1})

    def run(target, task=None, **options):
        options = {"group_by": "host_subject_id", "folds": 2} | options
        return cross_validate(small, target, task=task, config=config, **options)

    return run


@pytest.mark.parametrize(("target", "task"), [("gradient", None), ("group", "classification")])
def test_folds_that_are_fitted_apart_are_those_of_one_run(validate, target, task):
    options = {"repeat": 2 if task is None else 1, "baseline": ["random_forest"]}
    whole = validate(target, task, **options)
    count = 2 * options["repeat"]
    parts = [validate(target, task, only=number, **options) for number in range(1, count + 1)]
    assert all("comparison" not in part.metrics for part in parts)
    by_method = pd.concat([part.by_method for part in parts])
    keys = ["sample-id", "repeat", "method"]
    together, apart = (
        table.reset_index().sort_values(keys, ignore_index=True)
        for table in (whole.by_method, by_method)
    )
    pd.testing.assert_frame_equal(apart[together.columns], together, check_dtype=False)
    of_table = metrics_of_table(
        by_method, whole.task, target, whole.classes, group_by="host_subject_id"
    )
    assert of_table["comparison"]["group_by"] == "host_subject_id"
    pd.testing.assert_frame_equal(comparison_table(of_table), whole.comparison)


def test_losses_are_means_of_a_group(validate):
    result = validate("gradient", baseline=["dummy"])
    losses = losses_by_group(result.by_method, "regression", [])
    assert list(losses.columns) == ["samples", "aam", "network", "dummy"]
    assert losses["samples"].sum() == 60 and len(losses) == 15
    table = result.predictions
    errors = (table["prediction"] - table["actual"]).abs()
    expected = errors.groupby(result.groups.loc[table.index].astype(str)).mean()
    assert losses["aam"].to_numpy() == pytest.approx(expected.loc[losses.index].to_numpy())


def test_without_groups_each_sample_is_its_own(validate):
    result = validate("gradient", group_by=None, baseline=["dummy"], only=1)
    part = result.by_method
    assert (part["group"] == part.index).all() and part["fold"].eq(1).all()
    assert not np.isnan(part.loc[part["method"] == "aam", ["lower", "upper"]].to_numpy()).any()


def test_a_fold_that_there_is_not(validate, tmp_path):
    with pytest.raises(InputError, match="There are 2 folds to fit, and no fold 3"):
        validate("gradient", only=3)
    with pytest.raises(InputError, match="only one fold .*output"):
        validate("gradient", only=1, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_is_not_called_as_a_column_of_the_table(small, brief):
    columns = long_table(
        pd.DataFrame({"fold": [1], "actual": ["a"], "prediction": ["a"]}, ["s"]), ["aam"]
    ).reset_index()
    for name in columns:
        with pytest.raises(InputError, match=f"'host' has classes that are columns .*: {name}[.]"):
            check_class_names("host", ["a", name])
    groups = small.metadata["group"].replace("case", "method")
    with pytest.raises(InputError, match="predictions: method. Give them other names"):
        cross_validate(small, groups, config=brief("fitting"), folds=2)
