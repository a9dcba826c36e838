from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.baseline import baseline_forest
from aam_core.data.covariates import fit_covariates
from aam_core.data.study import Study
from aam_core.ensemble import forest, forest_kinds, forest_training
from aam_core.ensemble.forest import Forest
from aam_core.ensemble.forest_training import ForestSettings, fit_forest, out_of_fold
from aam_core.tasks import Classification, Regression

TRAIN, NEW = np.arange(40), np.arange(40, 60)


def settings(classes, trees, seed, **more):
    """Of a regression (0 classes), or of so many classes."""
    names = tuple(f"class {number}" for number in range(classes))
    task = Classification("class", names) if classes else Regression("value", 0.0, 1.0)
    return ForestSettings(task, trees, seed, **more)


@pytest.fixture(scope="module")
def gradient(small):
    return small.metadata["gradient"].to_numpy(np.float64)


@pytest.fixture(scope="module")
def group(small):
    return (small.metadata["group"] == "case").to_numpy(np.int64)


@pytest.fixture(scope="module")
def covariates(small):
    names = ["sequencing_run", "gradient"]
    return fit_covariates(small.metadata, names, [small.sample_ids[i] for i in TRAIN])


@pytest.fixture(scope="module")
def fitted(small, gradient):
    return fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 20, seed=1))


@pytest.fixture(scope="module")
def classifying(small, group):
    return fit_forest(small, TRAIN, group[TRAIN], settings(2, 10, seed=1))


def with_table(study, counts, sequences):
    """The study with other features, whose ids say nothing."""
    ids = [f"feature {i}" for i in range(counts.shape[1])]
    counts = csr_matrix(counts, dtype=np.int64)
    return replace(study, counts=counts, sequences=list(sequences), feature_ids=ids, phylogeny=None)


def same_arrays(one, other):
    return all((one.arrays[name] == other.arrays[name]).all() for name in forest._ARRAYS)


def spy(monkeypatch):
    """Keep the forests of scikit-learn that a fit makes."""
    kept, fit = [], forest_training._fit

    def keeping(*arguments):
        kept[:] = fit(*arguments)
        return kept

    monkeypatch.setattr(forest_training, "_fit", keeping)
    return kept


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("classes", [0, 3])
def test_predicts_what_scikit_learn_does(
    small, gradient, group, covariates, monkeypatch, classes, beside, dense
):
    if not dense:
        monkeypatch.setattr(forest_kinds, "_DENSE", 0)
    y, known = (group * 2 if classes else gradient), (covariates if beside else None)
    models = spy(monkeypatch)
    given = settings(classes, 31, seed=1, covariates=known)
    result = fit_forest(small, TRAIN, y[TRAIN], given)
    predicted = result.predict(small, known)

    counts = small.counts.toarray()
    order = np.argsort(small.sequences)
    order = order[(counts[TRAIN] > 0).sum(axis=0)[order] >= 2]
    shares = (counts / counts.sum(axis=1, keepdims=True))[:, order].astype(np.float32)
    extra = np.zeros((60, 0), np.float32)
    if beside:
        (levels,), (_, mean, std) = covariates.categorical[0][1:], covariates.numeric[0]
        runs = small.metadata["sequencing_run"].to_numpy()
        numbers = np.column_stack([(gradient - mean) / std, np.ones(60)])
        extra = np.column_stack([[[False] + [run == x for x in levels] for run in runs], numbers])
    expected = 0.0
    logs = np.log1p(shares.astype(np.float64) * 1e4)
    kinds = forest_kinds.KINDS["classification" if classes else "regression"]
    assert set(given.numbers) == set(kinds) and sum(given.numbers.values()) == 31
    for (model, _), (name, size) in zip(models, given.numbers.items(), strict=True):
        assert type(model).__name__ == kinds[name].name
        assert len(model.estimators_) == size
        read = logs if kinds[name].logged else shares
        read = np.column_stack([read, extra]).astype(np.float32)
        if classes:
            expected = expected + model.predict_proba(read) * size / 31
        else:
            expected = expected + model.predict(read)[:, None] * size / 31
    if classes:
        assert predicted[:, [0, 2]] == pytest.approx(expected, abs=1e-6)
        assert not predicted[:, 1].any()  # a class that does not occur has its column
        assert predicted.sum(axis=1) == pytest.approx(1, abs=1e-6)
    else:
        assert predicted.shape == (60, 1)
        scaled = expected * gradient[TRAIN].std() + gradient[TRAIN].mean()
        assert predicted == pytest.approx(scaled, rel=1e-6)


def test_plain_trees_are_those_of_the_baseline(small, gradient):
    """So that nothing keeps the forest from being its equal."""
    plain = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 100, 1, shares={"plain": 1.0}))
    ids = np.array(small.sample_ids)
    values = pd.Series(gradient, ids, name="gradient")
    baseline = baseline_forest(small, ids[TRAIN], ids[NEW], values)["prediction"]
    ours = plain.predict(small, samples=NEW)[:, 0]
    # Not equal: which features tie, and that those of one sample are left out, is by the seed.
    assert np.corrcoef(ours, baseline)[0, 1] > 0.97
    errors = [np.abs(each - gradient[NEW]).mean() for each in (ours, baseline)]
    assert errors[0] < 1.1 * errors[1]


def test_trees_of_one_leaf_have_the_median(small, gradient):
    y = np.append(gradient[TRAIN][:-1], 1e6)
    given = settings(0, 3, seed=1, shares={"median": 1.0})
    predicted = fit_forest(small, TRAIN, y, given).predict(small)
    assert predicted == pytest.approx(np.median(y), rel=0.01)


def test_trees_are_shared_out_in_whole_numbers():
    shares = {"plain": 0.301, "random": 0.001, "extra": 0.698}
    assert forest_kinds.share_out(200, shares) == {"plain": 60, "extra": 140}
    assert forest_kinds.share_out(2, dict.fromkeys("abc", 1.0)) == {"a": 1, "b": 1}
    assert forest_kinds.share_out(1, shares) == {"extra": 1}


def test_inputs_at_the_very_bounds_go_where_scikit_learn_sends_them(small, gradient, monkeypatch):
    models = spy(monkeypatch)
    result = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 40, seed=3))
    sequences, shares = forest_training._training(small, TRAIN)
    shares = shares.toarray()
    rng, rows = np.random.default_rng(0), []
    for model, logged in models:
        for tree in (estimator.tree_ for estimator in model.estimators_):
            inner = np.flatnonzero(tree.children_left >= 0)
            bound = tree.threshold[inner]
            bound = (np.expm1(bound) * 1e-4 if logged else bound).astype(np.float32)
            for step in (-1, 0, 1):
                row = shares[rng.integers(len(shares), size=len(inner))]
                at = np.nextafter(bound, np.float32(step)) if step else bound
                row[np.arange(len(inner)), tree.feature[inner]] = np.maximum(at, 0)
                rows.append(row)
    rows = np.concatenate(rows)
    logs = forest_kinds.log_shares(rows)
    parts = [
        model.predict(logs if logged else rows) * len(model.estimators_) / 40
        for model, logged in models
    ]
    expected = np.sum(parts, axis=0)
    inputs = rows[:, [sequences.index(dna) for dna in result.sequences]]
    predicted, _ = result._mean_and_spread(inputs)
    assert predicted[:, 0] == pytest.approx(expected, abs=1e-6)


def test_bounds_are_exact():
    rng = np.random.default_rng(0)
    shares = np.concatenate([[0, 1e-7], rng.uniform(0, 0.99, 500) ** 4]).astype(np.float32)
    logs = forest_kinds.log_shares(shares).astype(np.float64)
    for threshold in (logs, np.nextafter(logs, 99), logs + 1e-3 * rng.uniform(size=len(logs))):
        bound = forest_training._greatest_share(threshold)
        assert (shares <= bound).all() and (forest_kinds.log_shares(bound) <= threshold).all()
        assert (forest_kinds.log_shares(np.nextafter(bound, np.float32(2))) > threshold).all()


def test_extremely_randomized_trees_see_every_sample(small, gradient):
    for kind, whole in (("extra", True), ("extra-all", True), ("random", False)):
        given = settings(0, 10, seed=1, shares={kind: 1.0})
        fitted = fit_forest(small, TRAIN, gradient[TRAIN], given)
        nodes = np.diff([*fitted.arrays["roots"], len(fitted.arrays["feature"])])
        assert (nodes == 2 * 40 - 1).all() == whole


def test_learns(small, gradient, fitted):
    error = np.abs(fitted.predict(small)[NEW, 0] - gradient[NEW]).mean()
    assert error < 0.9 * np.abs(gradient[NEW] - np.median(gradient[TRAIN])).mean()


def test_the_seed_alone_decides(small, gradient, fitted):
    again = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 20, seed=1, jobs=2))
    assert again.sequences == fitted.sequences and same_arrays(again, fitted)
    other = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 20, seed=2))
    assert (other.predict(small) != fitted.predict(small)).any()


def test_features_are_matched_by_sequence_in_any_order(small, gradient, fitted):
    order = np.random.default_rng(0).permutation(len(small.sequences))
    mixed = with_table(small, small.counts[:, order], [small.sequences[i] for i in order])
    assert (fitted.predict(mixed) == fitted.predict(small)).all()
    assert same_arrays(fit_forest(mixed, TRAIN, gradient[TRAIN], settings(0, 20, seed=1)), fitted)


def test_features_of_one_sequence_are_one(small, gradient, fitted):
    counts = small.counts.toarray()
    twice = np.hstack([counts // 3, counts - counts // 3])
    twice = with_table(small, twice, small.sequences * 2)
    assert (fitted.predict(twice) == fitted.predict(small)).all()
    assert same_arrays(fit_forest(twice, TRAIN, gradient[TRAIN], settings(0, 20, seed=1)), fitted)


def test_unknown_features_count_to_the_reads(small, gradient):
    few = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 1, seed=1))
    read = np.isin(small.sequences, few.sequences)
    assert 0 < read.sum() < 60
    strange = ["ACGT" * 9 + dna for dna in small.sequences]
    strange = [x if kept else y for x, y, kept in zip(small.sequences, strange, read, strict=True)]
    renamed = with_table(small, small.counts, strange)
    assert (few.predict(renamed) == few.predict(small)).all()
    without = with_table(small, small.counts[:, read], np.array(small.sequences)[read])
    assert (few.predict(without) != few.predict(small)).any()
    nothing = with_table(small, small.counts, strange[::-1])
    assert np.isfinite(few.predict(nothing)).all()


def test_depth_does_not_matter(small, fitted):
    deep = with_table(small, small.counts * 7, small.sequences)
    assert (fitted.predict(deep) == fitted.predict(small)).all()


def test_rare_features_are_not_split_on(gradient):
    counts = np.zeros((8, 5), np.int64)
    counts[:, 0], counts[4:, 1], counts[:2, 2], counts[7, 3], counts[6, 4] = 9, 3, 1, 30, 5
    names = ["AAA", "CCC", "GGG", "TTT", "ACG"]
    study = Study(list("abcdefgh"), names, csr_matrix(counts), names)
    y, rows = counts[:, 3] - 2.0 * counts[:, 4], np.arange(8)
    result = fit_forest(study, rows, y, settings(0, 40, seed=0))
    assert result.sequences == ["AAA", "CCC", "GGG"]
    study = Study(study.sample_ids, names[1:], csr_matrix(counts[:, 1:]), names[1:])
    assert "TTT" in fit_forest(study, rows, y, settings(0, 40, seed=0)).sequences


def test_only_the_most_prevalent_features_and_few_samples_of_many(small, gradient, monkeypatch):
    monkeypatch.setattr(forest_training, "_MOST_FEATURES", 7)
    monkeypatch.setattr(forest_kinds, "_MOST_DRAWN", 10)
    result = fit_forest(small, TRAIN, gradient[TRAIN], settings(0, 20, seed=1))
    prevalence = dict(zip(small.sequences, (small.counts[TRAIN] > 0).sum(axis=0).A1, strict=True))
    assert len(result.sequences) <= 7
    assert min(prevalence[dna] for dna in result.sequences) >= sorted(prevalence.values())[-7]
    nodes = np.diff([*result.arrays["roots"], len(result.arrays["feature"])])
    assert len(nodes) == 20 and 1 < nodes.max() <= 19


def test_of_too_many_features_those_are_read_that_go_with_the_target(small, gradient, monkeypatch):
    monkeypatch.setattr(forest_training, "_MOST_READ", 1)
    monkeypatch.setattr(forest_training, "_LEAST_READ", 7)
    y, given = gradient[TRAIN], settings(0, 30, seed=1, shares={"plain": 1.0})
    counts = small.counts[TRAIN].toarray()
    roots = np.sqrt(counts / counts.sum(axis=1, keepdims=True))[:, (counts > 0).sum(axis=0) >= 2]
    names = np.array(small.sequences)[(counts > 0).sum(axis=0) >= 2]
    best = names[np.argsort(-np.abs(np.corrcoef(roots.T, y)[-1, :-1]))[:7]]
    result = fit_forest(small, TRAIN, y, given)
    assert set(result.sequences) <= set(best) and len(result.sequences) > 3
    same = fit_forest(small, TRAIN, np.full(40, y[0]), given)
    assert same.predict(small)[:, 0] == pytest.approx(y[0])


@pytest.mark.parametrize("scale, shift", [(1e-12, 0.0), (1e-3, 2e9), (1e30, 0.0)])
def test_any_unit_will_do(small, gradient, fitted, scale, shift):
    y = gradient[TRAIN] * scale + shift
    result = fit_forest(small, TRAIN, y, settings(0, 20, seed=1)).predict(small)
    plain = fitted.predict(small)
    # Not equal: which of two equally good splits is taken is left to rounding.
    assert np.abs((result - shift) / scale - plain).mean() < 0.2 * gradient.std()


def test_one_value_and_one_sample(small):
    assert fit_forest(small, TRAIN, np.full(40, 0.1), settings(0, 3, seed=0)).predict(small) == (
        pytest.approx(0.1)
    )
    alone = fit_forest(small, TRAIN[:1], np.array([1]), settings(2, 3, seed=0))
    assert alone.sequences == [] and (alone.predict(small) == [0, 1]).all()
    assert (Forest.from_parts([], 0, alone.to_tensors()).predict(small) == [0, 1]).all()


def test_reads_covariates(small, gradient, covariates):
    blind = with_table(small, np.ones((60, 1)), ["ACGT"])
    result = fit_forest(
        blind, TRAIN, gradient[TRAIN], settings(0, 40, seed=1, covariates=covariates)
    )
    assert result.covariates == forest.covariate_inputs(covariates) == 4 + 2
    predicted = result.predict(blind, covariates)
    assert np.corrcoef(predicted[NEW, 0], gradient[NEW])[0, 1] > 0.9
    changed = replace(blind, metadata=blind.metadata.assign(sequencing_run="new", gradient=np.nan))
    assert np.isfinite(result.predict(changed, covariates)).all()


@pytest.mark.parametrize("classes", [0, 2])
def test_out_of_fold(small, gradient, group, classes):
    y = group if classes else gradient
    folds = np.array([0, 1, 2, -1] * 10)
    result, spread = out_of_fold(small, TRAIN, y[TRAIN], folds, settings(classes, 6, seed=1))
    assert result.shape == spread.shape == (40, classes or 1)
    assert (np.isnan(spread) == np.isnan(result)).all()
    assert (np.isnan(result).all(axis=1) == (folds == -1)).all()
    rest = folds != 1
    single = fit_forest(small, TRAIN[rest], y[TRAIN][rest], settings(classes, 6, seed=1))
    assert (result[~rest] == single.predict(small, samples=TRAIN[~rest])).all()
