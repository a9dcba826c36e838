"""Predicting methods, on the tiny study of the usage examples."""

from __future__ import annotations

from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio

from aam_core import prediction
from aam_core.model import Model
from q2_aam import PredictionsFormat, ProbabilitiesFormat
from q2_aam._predictions import read_predictions, read_probabilities
from q2_aam.examples import study as examples


def test_predictions_of_numbers_equal_those_of_the_core(methods):
    predictions, _ = methods.run("predict_regression", regressor=examples.regressor())
    actual = read_predictions(predictions.view(PredictionsFormat)).astype(float)
    study = examples._study()
    expected = prediction.predict(
        examples.regressor().view(Model), study.table, sequences=study.sequences
    )["prediction"]
    assert sorted(actual.index) == sorted(study.table.ids())
    np.testing.assert_allclose(actual, expected[actual.index], rtol=1e-5)


def test_classification_gives_classes_and_probabilities(methods):
    predictions, probabilities, _ = methods.run(
        "predict_classification", classifier=examples.classifier()
    )
    classes = read_predictions(predictions.view(PredictionsFormat))
    by_class = read_probabilities(probabilities.view(ProbabilitiesFormat))
    assert list(by_class.columns) == ["case", "control"]
    assert list(by_class.index) == list(classes.index)
    np.testing.assert_allclose(by_class.sum(axis=1), 1, atol=1e-5)
    assert list(by_class.idxmax(axis=1)) == list(classes)


def test_predict_takes_either(methods):
    for predictor, specific, kind in (
        (examples.regressor(), "regressor", "RegressorPredictions"),
        (examples.classifier(), "classifier", "ClassifierPredictions"),
    ):
        either, _ = methods.run("predict", predictor=predictor)
        assert str(either.type) == f"SampleData[{kind}]"
        method = {"regressor": "predict_regression", "classifier": "predict_classification"}
        named = methods.run(method[specific], **{specific: predictor}).predictions
        texts = [
            Path(str(artifact.view(PredictionsFormat))).read_text() for artifact in (either, named)
        ]
        assert texts[0] == texts[1]


def test_one_sample_at_a_time(methods):
    values = []
    for arguments in ({}, {"batch_size": 1}):
        predictions, _ = methods.run("predict", predictor=examples.regressor(), **arguments)
        values.append(read_predictions(predictions.view(PredictionsFormat)).astype(float))
    np.testing.assert_allclose(*values, rtol=1e-4)


def test_an_encoder_is_no_predictor(methods):
    with pytest.raises(TypeError, match="AAMEncoder"):
        methods.run("predict", predictor=examples.encoder())


def test_unseen_features_in_another_order(methods):
    """Other samples and other ASVs beside them change nothing for a sample."""
    table = methods.table.view(biom.Table)
    dna = methods.sequences.view(pd.Series).astype(str)
    some = table.filter(table.ids()[:3], inplace=False)
    matrix = np.vstack([some.matrix_data.toarray()[::-1], np.zeros((1, 3))])
    matrix = np.hstack([matrix, np.r_[np.zeros(len(matrix) - 1), 50.0][:, None]])
    names = [*some.ids(axis="observation")[::-1], "new"]
    other = biom.Table(matrix, names, [*some.ids(), "other"])
    dna["new"] = "ACGT" * 10
    reads = qiime2.Artifact.import_data("FeatureTable[Frequency]", other)
    fasta = qiime2.Artifact.import_data("FeatureData[Sequence]", dna.map(skbio.DNA))
    all_of_them, _ = methods.run("predict", predictor=examples.regressor())
    few, _ = methods.run("predict", predictor=examples.regressor(), table=reads, sequences=fasta)
    before, after = (
        read_predictions(item.view(PredictionsFormat)).astype(float) for item in (all_of_them, few)
    )
    assert set(after.index) == {*some.ids(), "other"}
    np.testing.assert_allclose(after[some.ids()], before[some.ids()], rtol=1e-5)


def test_reads_in_the_other_direction_are_reported(methods, capsys):
    """The types have no column for it, so that it is logged."""
    turned = methods.sequences.view(pd.Series).map(lambda dna: dna.reverse_complement())
    fasta = qiime2.Artifact.import_data("FeatureData[Sequence]", turned)
    for method, predictor in (
        ("predict_regression", {"regressor": examples.regressor()}),
        ("predict_classification", {"classifier": examples.classifier()}),
        ("predict", {"predictor": examples.regressor()}),
    ):
        capsys.readouterr()
        results = methods.run(method, sequences=fasta, **predictor)
        messages = capsys.readouterr().err
        assert "0.00 % of the reads are of ASVs that the model was fitted on" in messages
        assert "reverse complements of " in messages and "turn the sequences round" in messages
        assert "samples (by id) are ones that the model was trained or validated on" in messages
        assert Path(str(results[0].view(PredictionsFormat))).read_text().count("\t") == 1 + len(
            read_predictions(results[0].view(PredictionsFormat))
        )


def test_threads_of_a_prediction(methods, monkeypatch):
    import torch

    import aam_core

    seen = []
    core = aam_core.predict

    def predict(*args, **options):
        seen.append(torch.get_num_threads())
        return core(*args, **options)

    monkeypatch.setattr(aam_core, "predict", predict)
    before = torch.get_num_threads()
    for count in (0, before + 1):
        methods.run("predict", predictor=examples.regressor(), n_jobs=count)
    assert seen == [before, before + 1]
    assert torch.get_num_threads() == before
