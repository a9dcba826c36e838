"""Methods with metadata covariates, on the tiny study of the usage examples."""

from __future__ import annotations

from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2

from aam_core import prediction
from aam_core.model import Model
from q2_aam import PredictionsFormat, ProbabilitiesFormat
from q2_aam._predictions import read_predictions, read_probabilities
from q2_aam.examples import study as examples

QUICK = examples.QUICK


@pytest.fixture
def described(methods):
    """Metadata with two columns more, one of text and one of numbers, each with blanks."""
    frame = methods.metadata.to_dataframe()
    frame["code"] = ["007", "7"] * 12
    frame["weight"] = np.arange(24.0)
    frame.loc[frame.index[:2], ["code", "weight"]] = None
    return qiime2.Metadata(frame)


@pytest.fixture
def fit(methods, described):
    """Fit a model that reads covariates."""

    def run(name="fit_regressor", target="gradient", columns=("code", "weight"), **arguments):
        arguments = {"covariates": described, "covariate_columns": list(columns)} | arguments
        return methods.run(name, metadata=methods.column(target), **QUICK | arguments)

    return run


def with_values(described, **columns):
    return qiime2.Metadata(described.to_dataframe().assign(**columns))


def test_only_the_columns_named_are_read(fit):
    regressor, predictions, _ = fit()
    covariates = regressor.view(Model).covariates
    assert covariates.categorical == (("code", ("007", "7")),)
    assert [name for name, _, _ in covariates.numeric] == ["weight"]
    assert covariates.names == ["code", "weight"]


def test_predictions_equal_those_of_the_core(methods, described, fit):
    regressor, *_ = fit()
    predictions, _ = methods.run("predict_regression", regressor=regressor, metadata=described)
    actual = read_predictions(predictions.view(PredictionsFormat)).astype(float)
    study = examples._study()
    expected = prediction.predict(
        regressor.view(Model),
        study.table,
        sequences=study.sequences,
        metadata=described.to_dataframe(),
    )["prediction"]
    np.testing.assert_allclose(actual, expected[actual.index], rtol=1e-5)


def test_the_values_count_and_other_columns_do_not(methods, described, fit):
    regressor, *_ = fit()
    texts = []
    for metadata in (
        described,
        with_values(described, gradient=0.0, group="x"),
        with_values(described, weight=99.0),
    ):
        predictions, _ = methods.run("predict", predictor=regressor, metadata=metadata)
        texts.append(Path(str(predictions.view(PredictionsFormat))).read_text())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_classifier(methods, fit):
    classifier, *_ = fit("fit_classifier", "group", ["gradient"])
    assert classifier.view(Model).covariates.names == ["gradient"]
    predictions, probabilities, _ = methods.run(
        "predict_classification", classifier=classifier, metadata=methods.metadata
    )
    by_class = read_probabilities(probabilities.view(ProbabilitiesFormat))
    np.testing.assert_allclose(by_class.sum(axis=1), 1, atol=1e-5)
    assert list(by_class.idxmax(axis=1)) == list(
        read_predictions(predictions.view(PredictionsFormat))
    )


def test_a_model_without_covariates_reads_no_metadata(methods):
    few = methods.metadata.filter_ids(methods.metadata.get_ids() - {methods.metadata.ids[0]})
    texts = []
    for arguments in ({}, {"metadata": few}):
        predictions, _ = methods.run("predict", predictor=examples.regressor(), **arguments)
        texts.append(Path(str(predictions.view(PredictionsFormat))).read_text())
    assert texts[0] == texts[1]


def test_group_by_may_be_a_covariate_too(methods, fit):
    options = examples.quick("model.members=1", group_by=methods.column("host_subject_id"))
    regressor, *_ = fit(columns=["host_subject_id"], **options)
    hosts = methods.column("host_subject_id").to_series()
    sides = [
        set(hosts[methods.saved(regressor, f"{side}_samples.txt").split()])
        for side in ("train", "val")
    ]
    assert not (sides[0] & sides[1])
    ((_, levels),) = regressor.view(Model).covariates.categorical
    assert set(levels) == sides[0]


def test_samples_that_the_metadata_lacks(methods, described):
    first = methods.table.view(biom.Table).ids()[0]
    few = described.filter_ids(described.get_ids() - {first})
    fit = {"metadata": methods.column("gradient"), "covariate_columns": ["weight"], **QUICK}
    message = f"1 of 24 samples are not in the covariates metadata: {first}"
    methods.refuses(message, "fit_regressor", covariates=few, **fit)
    regressor, *_ = methods.run("fit_regressor", covariates=few, missing_samples="ignore", **fit)
    for side in ("train", "val"):
        used = methods.saved(regressor, f"{side}_samples.txt").split()
        assert len(used) == 23 and first not in used
    message = f"1 of 24 samples are not in the metadata: {first}"
    methods.refuses(message, "predict", predictor=regressor, metadata=few)
    stranger = qiime2.Metadata(pd.DataFrame({"weight": [1.0]}, pd.Index(["x"], name="id")))
    methods.refuses(
        "No sample",
        "fit_regressor",
        **fit | {"covariates": stranger, "missing_samples": "ignore"},
    )


def test_metadata_of_more_samples_is_fine(methods, described, fit):
    frame = described.to_dataframe()
    more = pd.concat([frame, frame.iloc[:1].rename({frame.index[0]: "another"})])
    more.index.name = "id"
    target = qiime2.NumericMetadataColumn(more["gradient"])
    regressor, *_ = fit(target="gradient", columns=["weight"], covariates=described)
    again, *_ = methods.run(
        "fit_regressor",
        metadata=target,
        covariates=described,
        covariate_columns=["weight"],
        **QUICK,
    )
    one, other = (it.view(Model).val_predictions for it in (regressor, again))
    pd.testing.assert_frame_equal(one, other)


def test_bad_input(methods, described):
    for pattern, arguments in (
        ("'gradient' cannot be a covariate", {"covariate_columns": ["code", "gradient"]}),
        ("did you mean 'weight'", {"covariate_columns": ["wieght"]}),
        ("named twice", {"covariate_columns": ["code", "code"]}),
        ("go together", {"covariate_columns": None}),
        ("go together", {"covariates": None}),
    ):
        arguments = {"covariates": described, "covariate_columns": ["code"]} | (QUICK | arguments)
        methods.refuses(pattern, "fit_regressor", metadata=methods.column("gradient"), **arguments)


def test_prediction_without_them(methods, fit):
    regressor, *_ = fit()
    methods.refuses("code, weight.*give the metadata", "predict", predictor=regressor)
    methods.refuses(
        "no metadata column 'code'",
        "predict_regression",
        regressor=regressor,
        metadata=methods.metadata,
    )


def test_codes_without_their_letters_are_known_again(methods, fit, described):
    """Of new samples that hold 01 and 02 alone, QIIME 2 makes numbers."""
    ids = methods.metadata.ids
    code = pd.Series((["01", "02", "A"] * 8), ids)
    regressor, *_ = fit(covariates=with_values(described, code=code), columns=["code"])
    known = with_values(described, code=code.where(code != "A", None))
    numbers = with_values(described, code=pd.to_numeric(code, errors="coerce"))
    actual = [
        methods.run("predict_regression", regressor=regressor, metadata=metadata)[0]
        for metadata in (known, numbers)
    ]
    first, second = (read_predictions(item.view(PredictionsFormat)) for item in actual)
    pd.testing.assert_series_equal(first, second)
