from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import scoring
from aam_core.data.distances import table_distances
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.prediction import predict, predicted_distances


def test_every_pair_of_validation_samples_once(encoder, small):
    model = encoder.model
    pairs = scoring.distances(model, small)
    held = model.val_samples
    assert len(pairs) == len(held) * (len(held) - 1) // 2
    predicted = predicted_distances(model, small.select(held)).to_numpy()
    row, column = np.triu_indices(len(held), 1)
    assert pairs["prediction"].to_numpy() == pytest.approx(predicted[row, column], abs=1e-6)
    scores = regression_metrics(pairs["actual"], pairs["prediction"])
    for name, value in scores.items():
        assert model.metrics[f"distance_{name}"] == pytest.approx(value, abs=1e-5)


def test_actual_distances_are_of_the_rarefied_reads(encoder, small):
    """Near those of the whole samples, and not the same."""
    model = encoder.model
    held = small.select(model.val_samples)
    pairs = scoring.distances(model, small)
    metric = model.config.loss.metric
    whole = table_distances(held.counts, held.phylogeny, metric)
    whole = whole[np.triu_indices(len(whole), 1)]
    assert np.corrcoef(pairs["actual"], whole)[0, 1] > 0.5
    assert np.abs(pairs["actual"] - whole).max() > 1e-3


def test_no_more_pairs_than_needed(encoder, small, monkeypatch):
    monkeypatch.setattr(scoring, "MOST_SAMPLES", 5)
    first, second = scoring.distances(encoder.model, small), scoring.distances(encoder.model, small)
    assert len(first) == 10
    pd.testing.assert_frame_equal(first, second)


def test_predictions_of_the_validation_samples(regressor, small):
    model = regressor.model
    frame, scores = scoring.target(model, small, small.metadata["gradient"])
    assert frame.index.tolist() == model.val_samples
    truth = small.metadata["gradient"]
    assert frame["actual"].tolist() == truth[model.val_samples].tolist()
    everyone = predict(model, small)["prediction"]
    assert frame["prediction"].to_numpy() == pytest.approx(everyone[model.val_samples], rel=1e-5)
    assert scores == regression_metrics(frame["actual"], frame["prediction"])


def test_classes_and_their_probabilities(classifier, small):
    model = classifier.model
    frame, scores = scoring.target(model, small, small.metadata["group"])
    assert list(frame.columns) == ["actual", "prediction", "case", "control"]
    chances = frame[["case", "control"]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (frame["prediction"] == chances.idxmax(axis=1)).all()
    assert scores == classification_metrics(frame["actual"], frame["prediction"], chances)


# --- intervals -----------------------------------------------------------------------------------


def residuals(values):
    return pd.DataFrame({"actual": values, "prediction": np.zeros(len(values))})


@pytest.mark.parametrize(
    "count, coverage, place",
    [(9, 0.9, 9), (19, 0.9, 18), (10, 0.5, 6), (3, 0.9, 3), (1, 0.9, 1), (99, 0.9, 90)],
)
def test_half_width_is_the_conformal_quantile(count, coverage, place):
    values = np.arange(1.0, count + 1) * np.where(np.arange(count) % 2, 1, -1)
    shuffled = np.random.default_rng(0).permutation(values)
    assert scoring.half_width(residuals(shuffled), coverage) == place


def test_an_interval_holds_new_samples_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        width = scoring.half_width(residuals(rng.standard_t(3, 30)), 0.9)
        covered.append(np.mean(np.abs(rng.standard_t(3, 200)) <= width))
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.01)
