"""Tests of aam_core.ensemble.blending."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from aam_core.ensemble.blending import (
    best_weights,
    forest_in_words,
    parts,
    parts_in_words,
    stable_weights,
    weights,
    weights_in_words,
)
from aam_core.tasks import Classification, Regression

REGRESSION = Regression("value", 0.0, 1.0)
CLASSES = Classification("class", ("a", "b"))


@pytest.mark.parametrize(
    "weight, samples, sentence",
    [
        (0.63, 60, "blend weights: networks 0.63, random forest 0.37"),
        (0.0, 60, "blend weights: random forest 1.00 (predictions of held-out samples did not"),
        (1.0, 60, "blend weights: networks 1.00 (predictions of held-out samples did not"),
        (
            0.5,
            29,
            "blend weights: networks 0.50, random forest 0.50 (29 held-out samples are too few",
        ),
    ],
)
def test_weights_in_words(regressor, weight, samples, sentence):
    model = regressor.model
    shares = weights(model.network, model.forest, weight)
    assert (shares["network"], shares["forest"]) == (weight, pytest.approx(1 - weight))
    assert weights_in_words(shares, samples)[0].startswith(sentence)


@pytest.mark.parametrize(
    "weight, linear, words",
    [
        (0.4, 0.0, "networks 40%, random forest 60%"),
        (0.4, 0.25, "networks 40%, random forest 45%, linear model 15%"),
        (0.4, 1.0, "networks 40%, linear model 60%"),
        (0.0, 0.4, "random forest 60%, linear model 40%"),
        (0.0, 0.0, "random forest alone"),
        (0.0, 1.0, "linear model alone"),
        (1.0, 0.4, "networks alone"),
        (0.575, 0.0, "networks 57%, random forest 43%"),
        (0.354, 0.5, "networks 36%, random forest 32%, linear model 32%"),
    ],
)
def test_parts_in_words(weight, linear, words):
    assert parts_in_words(weight, linear) == words
    assert sum(parts(weight, linear).values()) == pytest.approx(1)


def test_the_linear_model_is_named_beside_the_trees():
    assert [forest_in_words(share) for share in (0.0, 0.3, 1.0)] == [
        "random forest",
        "random forest and linear model",
        "linear model",
    ]
    (line,) = weights_in_words({"network": 0.5, "forest": 0.5}, 60, 0.4)
    assert line == "blend weights: networks 0.50, random forest 0.30, linear model 0.20"
    (line,) = weights_in_words({"network": 1.0, "forest": 0.0}, 60, 0.4)
    assert line.endswith("did not improve with the random forest and linear model)")


def test_the_weight_of_fourier_features_is_said_where_networks_count(regressor):
    model, network = regressor.model, copy.deepcopy(regressor.model.network)
    network.set_fourier_weight(0.75)
    shares = weights(network, model.forest, 0.4)
    assert shares["members_with_codes"] == 0.75
    line = "ensemble weights: members with random Fourier features 0.75, others 0.25"
    assert weights_in_words(shares, 60)[-1] == line
    assert line not in weights_in_words(weights(network, model.forest, 0.0), 60)
    assert weights_in_words(weights(network, None, 1.0), 60) == [line]


def test_weights_of_a_regression():
    y = np.array([1.0, 2, 3, 4, 9])
    network, random = (y + 3)[:, None], (y - 1)[:, None]
    assert best_weights([network, random], y, REGRESSION)[0] == 0.25
    assert best_weights([y[:, None], random], y, REGRESSION)[0] == 1
    assert best_weights([network, y[:, None]], y, REGRESSION)[0] == 0
    assert best_weights([network, network], y, REGRESSION)[0] == 0.5
    network[3], random[4] = 1e9, 1e9
    network[4], random[3] = np.nan, np.nan
    assert best_weights([network, random], y, REGRESSION)[0] == 0.25
    assert best_weights([network * np.nan, random], y, REGRESSION)[0] == 0.5


def test_the_weights_of_three():
    y = np.arange(1.0, 9.0)
    parts = [(y + 4)[:, None], (y - 4)[:, None], (y + 100)[:, None]]
    assert best_weights(parts, y, REGRESSION) == (0.5, 0.5, 0)
    assert best_weights([parts[0], parts[0], y[:, None]], y, REGRESSION) == (0, 0, 1)
    shares = best_weights([parts[0]] * 3, y, REGRESSION)
    assert max(shares) == 0.35 and sum(shares) == pytest.approx(1)


def test_a_prior_stays_where_the_others_are_no_better_than_chance():
    draw = np.random.default_rng(0)
    y = draw.normal(size=200)
    prior, other = (y + draw.normal(size=(2, 200)) / 2)[:, :, None]
    assert best_weights([y[:, None], prior], y, REGRESSION, prior=1) == (1, 0)  # far better
    # Errors of 0.5 in 102 samples and of 1.5 in 98 are less than 1 in all by chance.
    worse, near = (y + 1)[:, None], (y + 1 + np.where(np.arange(200) < 102, -0.5, 0.5))[:, None]
    assert best_weights([near, worse], y, REGRESSION) == (1, 0)
    assert best_weights([near, worse], y, REGRESSION, prior=1) == (0, 1)
    assert best_weights([other, prior], y, REGRESSION, prior=1)[0] > 0.2  # their mean is better
    classes = (y > 0).astype(int)
    sure = np.eye(2)[classes]
    assert best_weights([sure, 1 - sure], classes, CLASSES, prior=1) == (1, 0)


def test_weights_of_a_classification():
    y = np.array([0, 1, 1])
    sure, even = np.eye(2)[y], np.full((3, 2), 0.5)
    assert best_weights([sure, even], y, CLASSES)[0] == 1
    assert best_weights([even, sure], y, CLASSES)[0] == 0
    # One of four wrong for sure: p of being right maximizes 3 log(p) + log(1 - p) at 3/4.
    y = np.array([0, 1, 1, 0])
    wrong = np.eye(2)[[0, 1, 1, 1]]
    assert best_weights([wrong, np.full((4, 2), 0.5)], y, CLASSES)[0] == 0.5
    assert best_weights([wrong, wrong[:, ::-1]], y, CLASSES)[0] == 0.75
    # Without a bound of 0.001 a single 0 would rule the network out.
    y, guess = np.arange(200) % 2, np.full((200, 2), 0.5)
    network = np.eye(2)[y]
    network[0] = 1 - network[0]
    assert best_weights([network, guess], y, CLASSES)[0] == 1


def test_samples_that_some_parts_did_not_predict_do_not_count():
    y = np.arange(12.0)
    exact, other = y[:, None].copy(), (y + 5)[:, None]
    assert stable_weights([exact, other], y, REGRESSION) == (1, 0)
    other[4:] = np.nan
    exact[4:] = 1e9
    assert stable_weights([exact, other], y, REGRESSION) == (1, 0)
    assert stable_weights([exact * np.nan, other], y, REGRESSION) == (0.5, 0.5)


@pytest.mark.parametrize("units", [1e-9, 1.0, 1e9])
def test_what_samples_do_not_tell_apart_weighs_about_the_same(units):
    rng = np.random.default_rng(1)
    apart, alone = [], []
    for _ in range(10):
        y, shared = rng.normal(size=(2, 40)) * units
        some = [(y + shared + 0.3 * units * rng.normal(size=40))[:, None] for _ in range(2)]
        apart.append(np.ptp(stable_weights(some, y, REGRESSION)))
        alone.append(np.ptp(best_weights(some, y, REGRESSION)))
    assert np.mean(apart) < 0.7 * np.mean(alone)
    same = [y[:, None] + units] * 3
    assert sorted(stable_weights(same, y, REGRESSION)) == [0.3, 0.35, 0.35]
    worse = (y + 9 * shared)[:, None]
    assert stable_weights([some[0], worse], y, REGRESSION)[0] > 0.9


def test_one_that_is_better_in_every_draw_has_all_weight():
    classes = np.arange(60) % 2
    sure = np.eye(2)[classes] * 0.9 + 0.05
    assert stable_weights([np.full((60, 2), 0.5), sure], classes, CLASSES) == (0, 1)
    assert stable_weights([1 - sure, sure], classes, CLASSES, prior=1) == (0, 1)
