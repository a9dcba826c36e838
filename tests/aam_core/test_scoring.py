from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from aam_core import scoring
from aam_core.data.splits import Split
from aam_core.models.network import Network
from aam_core.phylogeny.distances import table_distances
from aam_core.prediction import predict, predicted_distances
from aam_core.tasks.metrics import classification_metrics, regression_metrics


def test_every_pair_of_validation_samples_once(encoder, small):
    model = encoder.model
    pairs = scoring.distances(model, small)
    held = model.val_samples
    assert len(pairs) == len(held) * (len(held) - 1) // 2
    predicted = predicted_distances(model, small.select(held)).to_numpy()
    row, column = np.triu_indices(len(held), 1)
    assert pairs["prediction"].to_numpy() == pytest.approx(predicted[row, column], abs=1e-6)
    scores = regression_metrics(pairs["actual"], pairs["prediction"])
    assert model.metrics["distances"] == pytest.approx({"pairs": len(pairs), **scores}, abs=1e-5)
    assert model.metrics["held_out"]["samples"] == len(held)


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


# --- targets -------------------------------------------------------------------------------------


def alone(model, member):
    """The model with one of its members, and nothing else."""
    reads_codes = bool(model.network.coded[member])
    config = model.config.replace({"model.members": 2 if reads_codes else 1})
    network = Network(config.model, model.network.parts)
    if reads_codes:  # which one alone would not
        del network.members[0]
        network.coded, network.member_weight = network.coded[1:], network.member_weight[1:]
    held = model.network.state_dict()
    mine = {
        name: held[name.replace("members.0.", f"members.{member}.")]
        for name in network.state_dict()
        if name != "member_weight"
    }
    network.load_state_dict(mine, strict=False)
    return dataclasses.replace(model, config=config, network=network, forest=None)


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_who_left_a_sample_out_predicts_it(request, small, name):
    """In any order, and where some samples are left out by none."""
    model = request.getfixturevalue(name).model
    members = model.config.model.members
    held = small.sample_ids[50:3:-3]
    folds = [place % members for place in range(len(held))]
    split = Split(small.sample_ids, held, folds)
    found = scoring.left_out(model, small, split)
    each = [predict(alone(model, k), small).loc[held] for k in range(members)]
    columns = ["prediction"] if name == "regressor" else list(model.target.classes)
    each = np.stack([frame[columns].to_numpy() for frame in each])
    np.testing.assert_allclose(found, each[folds, range(len(held))], rtol=1e-5)
    assert members > 1 and not np.allclose(each[0], each[1], rtol=1e-3)
    together = scoring.left_out(model, small, Split.holdout(small.sample_ids, held))
    if name == "classifier":
        np.testing.assert_allclose(together, each.mean(0), rtol=1e-4)
    else:  # the mean is of values as the network learns them
        learned = [model.target.encode(pd.Series(one[:, 0])) for one in each]
        expected = model.target.decode(np.mean(learned, axis=0))
        np.testing.assert_allclose(together[:, 0], expected, rtol=1e-4)


def test_predictions_of_the_validation_samples(regressor, small):
    model = regressor.model
    truth = small.metadata["gradient"].loc[model.val_samples]
    given = np.linspace(20, 80, len(truth))[:, None]
    frame, scores = scoring.target(model, truth, given)
    assert frame.index.tolist() == model.val_samples
    assert frame["actual"].tolist() == truth.tolist()
    assert frame["prediction"].tolist() == given[:, 0].tolist()
    assert scores == regression_metrics(frame["actual"], frame["prediction"])


def test_classes_and_their_probabilities(classifier, small):
    model = classifier.model
    truth = small.metadata["group"].loc[model.val_samples]
    share = np.random.default_rng(0).random(len(truth))
    frame, scores = scoring.target(model, truth, np.stack([share, 1 - share], axis=1))
    assert list(frame.columns) == ["actual", "prediction", "case", "control"]
    chances = frame[["case", "control"]]
    assert chances["case"].tolist() == share.tolist()
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


def test_coverage_is_that_of_the_other_folds_residuals():
    """A fold that is predicted worse than the others is not within their interval."""
    frame = residuals(np.tile(np.linspace(-1, 1, 20), 5))
    folds = np.repeat(range(5), 20)
    assert scoring.coverage(frame, folds, 0.9) >= 0.9
    frame.loc[folds == 2, "actual"] *= 100
    within = (frame["actual"].abs() <= scoring.half_width(frame, 0.9)).mean()
    assert within >= 0.9  # by construction
    expected = [0.1, *[1.0] * 4]  # of fold 2, those near 0; of the others, all
    assert scoring.coverage(frame, folds, 0.9) == pytest.approx(np.mean(expected), abs=0.03)
    assert scoring.coverage(frame, [0] * len(frame), 0.9) is None


def test_what_is_held_out_is_counted():
    groups = pd.Series(["x", "x", "y", "z"], ["a", "b", "c", "d"])
    assert scoring.count_groups(groups, ["b", "a", "c"]) == 2
    assert scoring.count_groups(None, ["b", "a", "c"]) is None
    assert scoring.held_out(3, 2) == {"samples": 3, "groups": 2}
    assert scoring.held_out(2, None) == {"samples": 2}
    told = [scoring.held_out_in_words(c) for c in ({"samples": 2, "folds": 1},)]
    assert told == ["2 held-out samples"]
    counts = {"samples": 3, "groups": 2, "folds": 2}
    assert scoring.held_out_in_words(counts) == "3 held-out samples of 2 groups, in 2 folds"


def test_an_interval_holds_new_samples_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        width = scoring.half_width(residuals(rng.standard_t(3, 30)), 0.9)
        covered.append(np.mean(np.abs(rng.standard_t(3, 200)) <= width))
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.01)
