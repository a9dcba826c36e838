"""Tests of aam_core.ensemble.probabilities."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aam_core.ensemble.probabilities import (
    Isotonic,
    Temperature,
    calibration_in_words,
    choose_calibration,
    cross_fitted,
    from_dict,
    log_loss,
)
from aam_core.tasks.metrics import ClassificationMetrics


def drawn(size, seed, sharpness=1.0):
    """Probabilities of three classes that are too sure by ``sharpness``, and the classes."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([1.0, 1.0, 1.0], size)
    truth = np.array([rng.choice(3, p=row) for row in chances])
    sure = chances**sharpness
    return sure / sure.sum(axis=1, keepdims=True), truth


def error(probabilities, truth):
    """Calibration error."""
    metrics = ClassificationMetrics(3)
    metrics.update(truth, probabilities.argmax(1), probabilities)
    return metrics.compute(["ece"])["ece"]


FOLDS = np.arange(600) % 5


@pytest.mark.parametrize("which", ["auto", "temperature", "isotonic"])
def test_probabilities_that_are_too_sure_are_calibrated(which):
    calibrator = choose_calibration(*drawn(600, 0, 3.0), FOLDS, log_loss, which)
    sure, truth = drawn(2000, 1, 3.0)
    calibrated = calibrator(sure)
    assert calibrated.sum(axis=1) == pytest.approx(1) and (calibrated > 0).all()
    assert error(calibrated, truth) < 0.5 * error(sure, truth)
    assert log_loss(calibrated, truth) < 0.95 * log_loss(sure, truth)


def test_a_temperature_finds_the_sharpness_and_keeps_the_order():
    calibrator = Temperature.fit(*drawn(3000, 2, 2.0))
    assert calibrator.temperature == pytest.approx(2.0, rel=0.1)
    sure = drawn(100, 3, 2.0)[0]
    assert (calibrator(sure).argsort(1) == sure.argsort(1)).all()


def test_auto_leaves_what_is_calibrated():
    assert choose_calibration(*drawn(600, 4), FOLDS, log_loss, "auto") is None
    assert choose_calibration(*drawn(600, 4, 3.0), FOLDS, log_loss, "none") is None
    few = drawn(59, 4, 3.0)
    assert choose_calibration(*few, FOLDS[:59], log_loss, "temperature") is None
    assert choose_calibration(*drawn(600, 4, 3.0), FOLDS * 0, log_loss, "isotonic") is None


def test_a_fold_is_calibrated_by_the_others():
    sure, truth = drawn(100, 5, 3.0)
    folds = np.arange(100) % 2
    result = cross_fitted(Temperature, sure, truth, folds)
    alone = Temperature.fit(sure[folds == 1], truth[folds == 1])(sure[folds == 0])
    assert (result[folds == 0] == alone).all()


@pytest.mark.parametrize("kind", [Temperature, Isotonic])
def test_saved_and_opened(kind):
    calibrator = kind.fit(*drawn(200, 6, 2.0))
    assert from_dict(json.loads(json.dumps(calibrator.to_dict()))) == calibrator


@pytest.mark.parametrize(
    "values",
    [
        None,
        {"kind": "other"},
        {"kind": "temperature", "temperature": 0.0},
        {"kind": "temperature", "temperature": "warm"},
        {"kind": "isotonic", "steps": [[[0.0, 1.0], [0.5]]]},
        {"kind": "isotonic", "steps": [[[1.0, 0.0], [0.0, 0.5]]]},
    ],
)
def test_damaged_values_are_refused(values):
    with pytest.raises(ValueError):
        from_dict(values)


def test_what_became_of_a_calibration_is_said():
    few = "temperature", 59, 5
    line = calibration_in_words(None, *few)
    assert line.endswith("temperature has no effect (59 held-out samples are too few: it takes 60)")
    assert "one fold" in calibration_in_words(None, "isotonic", 60, 1)
    assert calibration_in_words(None, "auto", 60, 5).endswith("samples did not improve)")
    assert calibration_in_words(Temperature(2.0), "auto", 60, 5).endswith("by temperature")
    assert calibration_in_words(None, "none", 10, 1) == ""
