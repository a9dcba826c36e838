"""Several targets, and settings that name metadata columns, in QIIME 2."""

from __future__ import annotations

import numpy as np
import pytest
import qiime2

from aam_core.model import Model
from q2_aam import PredictionsFormat
from q2_aam._predictions import read_predictions
from q2_aam.examples import study as examples

QUICK = examples.quick("forest.trees=2", "model.members=2")


@pytest.fixture
def described(methods):
    """Metadata with a further column of numbers, of which some are blank."""
    frame = methods.metadata.to_dataframe()
    second = (500 - frame["gradient"]).where(np.arange(len(frame)) % 3 > 0)
    return qiime2.Metadata(frame.assign(second=second))


def test_several_targets(methods, described):
    arguments = QUICK | {"covariates": described, "more_targets": ["second"]}
    made = methods.run("fit_regressor", metadata=methods.column("gradient"), **arguments)
    model = made.regressor.view(Model)
    assert [it.target.column for it in model.each] == ["gradient", "second"]
    assert len(model.each[1].val_samples) == 16
    for target, low, high in ((None, -200, 150), ("second", 200, 700)):
        chosen = {} if target is None else {"target": target}
        result = methods.run("predict_regression", regressor=made.regressor, **chosen)
        values = read_predictions(result.predictions.view(PredictionsFormat)).astype(float)
        assert values.between(low, high).all() and len(values) == 24
    methods.refuses(
        "no target 'third'; it has gradient, second",
        "predict_regression",
        regressor=made.regressor,
        target="third",
    )


def test_further_targets_need_metadata(methods):
    methods.refuses(
        "more_targets are columns of the metadata",
        "fit_regressor",
        metadata=methods.column("gradient"),
        more_targets=["second"],
        **QUICK,
    )


def test_a_column_that_a_setting_names(methods, described):
    by = ["loss.transform=zscore-by-category", "loss.normalize_by=group"]
    arguments = QUICK | {"covariates": described, "settings": [*QUICK["settings"], *by]}
    made = methods.run("fit_regressor", metadata=methods.column("gradient"), **arguments)
    assert made.regressor.view(Model).columns() == ("group",)
    methods.refuses("metadata column 'group'", "predict", predictor=made.regressor)
    methods.run("predict", predictor=made.regressor, metadata=described)
    # What the fit of another column goes on without.
    start = {"init_from": made.regressor, **QUICK}
    numbers = described.get_column("gradient").to_series().rename("height")
    methods.run("fit_regressor", metadata=qiime2.NumericMetadataColumn(numbers), **start)
    methods.refuses(
        "or settings that name columns",
        "fit_regressor",
        metadata=methods.column("gradient"),
        **start,
    )


def test_the_validation_samples_are_chosen_by_a_column(methods, described):
    group = described.get_column("group").to_series()
    settings = [*QUICK["settings"], f"train.val_where=group={group.iloc[0]}"]
    arguments = QUICK | {"covariates": described, "settings": settings}
    made = methods.run("fit_regressor", metadata=methods.column("gradient"), **arguments)
    held_out = made.regressor.view(Model).val_samples
    assert set(held_out) == set(group.index[group == group.iloc[0]])
