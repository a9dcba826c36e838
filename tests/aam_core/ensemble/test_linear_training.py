from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from aam_core.data.covariates import fit_covariates
from aam_core.data.splits import Split
from aam_core.ensemble.linear_training import (
    PENALTIES,
    Beside,
    design_of,
    fit_linear,
    linear_share,
)
from aam_core.tasks import Classification, Regression

NUMBER = Regression("value", 0.0, 1.0)
FOLDS = np.arange(60) % 4


def classes(count):
    return Classification("class", tuple(f"class {number}" for number in range(count)))


@pytest.fixture(scope="module")
def inputs(small):
    """Counts, a covariate, a number and a class of the samples."""
    extra = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    group = (small.metadata["group"] == "case").to_numpy(np.int64)
    return small.counts, extra, small.metadata["gradient"].to_numpy(float), group


def standardized(counts, extra, learned):
    """Features as the definition has them, with numpy alone."""
    dense = counts.toarray()
    kept = (dense[learned] > 0).sum(axis=0) >= 2
    logs = np.log(dense[:, kept] + 0.5)
    features = np.hstack([logs - logs.mean(axis=1, keepdims=True), extra])
    mean, deviation = features[learned].mean(axis=0), features[learned].std(axis=0)
    return ((features - mean) / deviation)[:, deviation > 1e-5]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["number", "two", "three, of which two are seen", "three"])
@pytest.mark.parametrize("most", [None, 10])
def test_is_what_scikit_learn_fits(inputs, kind, weighted, most):
    """Rotated or not: of fewer features than samples nothing is rotated."""
    counts, extra, number, group = inputs
    counts = counts[:, :most]
    learned = np.arange(60) < 40
    weights = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    task, y = NUMBER, number
    if kind != "number":
        task = classes(2 if kind == "two" else 3)
        y = {"two": group, "three": np.arange(60) % 3}.get(kind, group * 2)
    design = design_of(counts, extra, learned)
    assert (design.axes is None) == (most == 10)
    options = {"learned": learned, "weights": weights, "penalties": [1e-2]}
    model, _ = fit_linear(task, design, y, np.full(60, -1), **options)
    predicted = model.predict(counts, extra)

    features = standardized(counts, extra, learned)
    penalty = 1e-2 * (features[learned] ** 2).sum()
    estimator = Ridge(alpha=penalty) if kind == "number" else LogisticRegression(C=1 / penalty)
    counted = None if weights is None else weights[learned]
    estimator.fit(features[learned], y[learned], sample_weight=counted)
    if kind == "number":
        assert predicted[:, 0] == pytest.approx(estimator.predict(features), rel=1e-4)
    else:
        expected = np.zeros((60, len(task.classes)))
        expected[:, estimator.classes_] = estimator.predict_proba(features)
        assert predicted == pytest.approx(expected, abs=1e-3)
        assert (predicted[:, np.setdiff1d(np.arange(len(task.classes)), y)] == 0).all()


def test_out_of_fold_nothing_is_known_of_a_sample(inputs):
    counts, extra, number, _ = inputs
    design = design_of(counts, extra, np.ones(60, bool))
    changed = np.where(FOLDS == 2, 1000.0, number)
    one, other = (
        fit_linear(NUMBER, design, y, FOLDS, penalties=[0.1])[1] for y in (number, changed)
    )
    assert (one[FOLDS == 2] == other[FOLDS == 2]).all()
    assert (one[FOLDS != 2] != other[FOLDS != 2]).all()


def test_the_penalty_is_that_of_the_other_folds(inputs):
    """And of all of them, for the model; of no fold, one from the middle."""
    counts, extra, number, _ = inputs
    design = design_of(counts, extra, np.ones(60, bool))
    each = {p: fit_linear(NUMBER, design, number, FOLDS, penalties=[p])[1] for p in PENALTIES}
    losses = {p: np.abs(it[:, 0] - number) for p, it in each.items()}
    model, predicted = fit_linear(NUMBER, design, number, FOLDS)
    assert model.penalty == min(losses, key=lambda p: losses[p].sum())
    for fold in range(4):
        best = min(losses, key=lambda p: losses[p][fold != FOLDS].sum())
        assert (predicted[fold == FOLDS] == each[best][fold == FOLDS]).all()
    unknown, nothing = fit_linear(NUMBER, design, number, np.full(60, -1))
    assert unknown.penalty == PENALTIES[5] and np.isnan(nothing).all()


@pytest.mark.parametrize("count", [2, 3])
def test_fits_of_classes_that_start_from_another_end_where_they_would_alone(inputs, count):
    counts, extra, number, _ = inputs
    design = design_of(counts, extra, np.ones(60, bool))
    y, task = np.searchsorted(np.sort(number)[60 // count :: 60 // count], number), classes(count)
    each = {p: fit_linear(task, design, y, FOLDS, penalties=[p])[1] for p in PENALTIES}
    model, together = fit_linear(task, design, y, FOLDS)
    losses = {p: task.blend_loss(it, y) for p, it in each.items()}
    assert losses[model.penalty] == pytest.approx(min(losses.values()), rel=1e-3)
    for fold in range(4):
        apart = [np.abs(together - it)[fold == FOLDS].max() for it in each.values()]
        assert min(apart) < 2e-3


def test_a_fold_without_a_second_class_is_predicted(inputs):
    counts, extra, _, group = inputs
    design = design_of(counts, extra, np.ones(60, bool))
    _, predicted = fit_linear(classes(2), design, group, group)
    assert (predicted == np.eye(2)[1 - group]).all()


def test_without_an_input_the_mean_is_predicted(inputs):
    counts, _, number, group = inputs
    design = design_of(counts[:, :0], np.zeros((60, 0)), np.ones(60, bool))
    model, _ = fit_linear(NUMBER, design, number, FOLDS)
    assert model.predict(counts, np.zeros((60, 0)))[:, 0] == pytest.approx(number.mean())
    model, _ = fit_linear(classes(2), design, group, FOLDS)
    assert model.predict(counts, np.zeros((60, 0))).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("disjoint", [False, True])
def test_beside_trees_it_is_in_their_units_and_range(small, disjoint):
    ids = list(small.sample_ids)
    values = pd.Series(small.metadata["gradient"].astype(float) * 50 + 1000, ids, name="gradient")
    split = Split(ids, ids, FOLDS.tolist())
    if disjoint:
        split = Split.holdout(ids[:40], ids[40:])
    known = fit_covariates(small.metadata, ["sequencing_run"], split.train)
    beside = Beside.fit(small, split, values, NUMBER, known, None)
    train = values.loc[split.train]
    assert beside.out_of_fold.shape == (len(split.val), 1)
    assert train.min() <= beside.out_of_fold.min() and beside.out_of_fold.max() <= train.max()
    truth = values.loc[split.val]
    error = np.abs(beside.out_of_fold[:, 0] - truth).mean()
    assert error < 0.9 * np.abs(truth - train.median()).mean()
    scaled = (train - train.mean()) / train.to_numpy().std()
    assert beside.model.ends == pytest.approx((scaled.min(), scaled.max()))
    if disjoint:  # what is not trained on changes nothing but the choice of the penalty
        others = values.where(values.index.isin(split.train), values + 1)
        again = Beside.fit(small, split, others, NUMBER, known, None, [beside.model.penalty])
        assert (again.model.coefficients == beside.model.coefficients).all()


def test_the_order_of_the_features_does_not_matter(small):
    order = np.random.default_rng(0).permutation(len(small.sequences))
    mixed = replace(
        small,
        counts=small.counts[:, order],
        sequences=[small.sequences[i] for i in order],
        feature_ids=[small.feature_ids[i] for i in order],
        phylogeny=None,
    )
    ids = list(small.sample_ids)
    values = small.metadata["gradient"].astype(float)
    split = Split(ids, ids, FOLDS.tolist())
    one, other = (Beside.fit(it, split, values, NUMBER, None, None) for it in (small, mixed))
    assert one.sequences == other.sequences
    assert (one.model.coefficients == other.model.coefficients).all()


def test_it_has_a_share_where_it_predicts_better():
    rng = np.random.default_rng(0)
    y = rng.normal(size=80)
    noise, right = rng.normal(size=(80, 1)), y[:, None]
    near, other = (right + rng.normal(size=(80, 1)) for _ in range(2))
    assert linear_share([noise, noise, right], y, NUMBER) == 1.0
    assert linear_share([noise, right, noise], y, NUMBER) == 0.0
    assert 0.2 < linear_share([noise, near, other], y, NUMBER) < 0.8
    # Where the networks alone are best: what is best without them.
    assert linear_share([right, noise, near], y, NUMBER) > 0.5
    assert linear_share([right, near, noise], y, NUMBER) < 0.5


def test_from_150_samples_on_it_must_be_better_by_more_than_chance():
    rng = np.random.default_rng(5)
    y = rng.normal(size=180)
    trees = y[:, None] + rng.normal(size=(180, 1))
    networks, alike = trees + 1.0, trees + 0.3 * rng.normal(size=(180, 1))
    few, many = (
        linear_share([networks[:n], trees[:n], alike[:n]], y[:n], NUMBER) for n in (149, 150)
    )
    assert 0 < many < few / 2
    assert linear_share([networks, trees, y[:, None]], y, NUMBER) == 1.0
