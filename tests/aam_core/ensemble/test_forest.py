from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aam_core.data.covariates import fit_covariates
from aam_core.ensemble import forest
from aam_core.ensemble.forest import Forest
from aam_core.ensemble.forest_training import ForestSettings, fit_forest
from aam_core.ensemble.linear import LinearModel
from aam_core.errors import InputError
from aam_core.tasks import Classification, Regression

TRAIN = np.arange(40)


def settings(classes, trees, seed, **more):
    """Of a regression (0 classes), or of so many classes."""
    names = tuple(f"class {number}" for number in range(classes))
    task = Classification("class", names) if classes else Regression("value", 0.0, 1.0)
    return ForestSettings(task, trees, seed, **more)


@pytest.fixture(scope="module")
def fitted(small):
    y = small.metadata["gradient"].to_numpy(np.float64)
    return fit_forest(small, TRAIN, y[TRAIN], settings(0, 20, seed=1))


@pytest.fixture(scope="module")
def classifying(small):
    y = (small.metadata["group"] == "case").to_numpy(np.int64)
    return fit_forest(small, TRAIN, y[TRAIN], settings(2, 10, seed=1))


@pytest.fixture(scope="module")
def mixed(small, fitted, classifying):
    """Both with a linear model beside them, of the first five sequences, and their trees."""
    sequences, rng = sorted(small.sequences), np.random.default_rng(0)
    forests = []
    for trees, ends in ((fitted, (-2.0, 2.0)), (classifying, (0.0, 1.0))):
        shape = (5, trees.outputs)
        model = LinearModel(
            np.arange(5), rng.normal(size=shape), rng.normal(size=shape[1]), 0.5, 1.0
        )
        forests.append(trees.with_linear(dataclasses.replace(model, ends=ends), sequences, 0.3))
    return forests


def test_a_linear_model_has_its_share(small, fitted, classifying, mixed):
    counts = small.counts[:, np.argsort(small.sequences)[:5]]
    for trees, both in zip((fitted, classifying), mixed, strict=True):
        assert set(both.sequences) == {*trees.sequences, *sorted(small.sequences)[:5]}
        by_linear = dataclasses.replace(both.linear, columns=np.arange(5)).predict(
            counts, np.zeros((60, 0))
        )
        mean, deviation = both.arrays["units"]
        expected = 0.7 * trees.predict(small) + 0.3 * (mean + deviation * by_linear)
        found, spread = both.predict_spread(small)
        assert found == pytest.approx(expected)
        assert (spread == trees.predict_spread(small)[1]).all()
    assert fitted.linear is None and fitted.linear_share == 0


def test_covariates_follow_the_sequences_of_a_linear_model(small):
    y = small.metadata["gradient"].to_numpy(np.float64)
    known = fit_covariates(small.metadata, ["gradient"], [small.sample_ids[i] for i in TRAIN])
    trees = fit_forest(small, TRAIN, y[TRAIN], settings(0, 5, seed=1, covariates=known))
    weights = np.array([[0.0], [0.0], [1.0], [0.0]])
    model = LinearModel(np.arange(2), weights, np.zeros(1), 0.5, 1.0, (-9.0, 9.0))
    both = trees.with_linear(model, sorted(small.sequences), 0.5)
    mean, deviation = trees.arrays["units"]
    standard = (y - y[TRAIN].mean()) / y[TRAIN].std()
    expected = 0.5 * trees.predict(small, known)[:, 0] + 0.5 * (mean + deviation * standard)
    assert both.predict(small, known)[:, 0] == pytest.approx(expected, rel=1e-5)


def test_parts_of_the_samples_in_chunks(small, fitted, classifying, mixed, monkeypatch):
    for one in (fitted, classifying, *mixed):
        whole = one.predict(small)
        monkeypatch.setattr(forest, "_CHUNK_BYTES", 30_000)
        assert (one.predict(small) == whole).all()
        assert (one.predict(small, samples=slice(7, 50)) == whole[7:50]).all()
        assert (one.predict(small, samples=np.array([9, 2])) == whole[[9, 2]]).all()


def test_the_spread_is_that_of_the_trees(small, fitted):
    """As of forests of one tree each, in the target's units."""
    nodes = len(fitted.arrays["feature"])
    ends = [*fitted.arrays["roots"][1:], nodes]
    names = ("feature", "threshold", "left", "right", "value")
    each = []
    for root, end in zip(fitted.arrays["roots"], ends, strict=True):
        arrays = {name: fitted.arrays[name][root:end] for name in names}
        inner = arrays["feature"] >= 0
        for side in ("left", "right"):
            arrays[side] = np.where(inner, arrays[side] - root, -1).astype(np.int32)
        arrays |= {"roots": np.zeros(1, np.int64), "units": fitted.arrays["units"]}
        each.append(Forest(fitted.sequences, 0, arrays).predict(small))
    mean, spread = fitted.predict_spread(small)
    assert (mean == fitted.predict(small)).all()
    assert spread == pytest.approx(np.std(each, axis=0), abs=1e-6)


def test_saved_and_opened(small, fitted, classifying, mixed):
    for one in (fitted, classifying, *mixed):
        assert one.outputs == one.predict(small).shape[1]
        copies = {name: array.copy() for name, array in one.to_tensors().items()}
        opened = Forest.from_parts(list(one.sequences), one.covariates, copies)
        assert (opened.predict(small) == one.predict(small)).all()
        assert all(array.flags.c_contiguous for array in copies.values())


DAMAGES = {
    "sequences list": lambda parts: parts.update(sequences="ACGT"),
    "no DNA": lambda parts: parts["sequences"].__setitem__(0, "A C"),
    "lower case": lambda parts: parts["sequences"].__setitem__(0, "acgt"),
    "number": lambda parts: parts["sequences"].__setitem__(0, 7),
    "twice": lambda parts: parts["sequences"].__setitem__(0, parts["sequences"][1]),
    "too few sequences": lambda parts: parts["sequences"].pop(),
    "covariates": lambda parts: parts.update(covariates=-1),
    "covariates real": lambda parts: parts.update(covariates=1.0),
    "absent": lambda parts: parts["arrays"].pop("left"),
    "strange": lambda parts: parts["arrays"].update(more=np.zeros(3)),
    "type": lambda parts: parts["arrays"].update(left=parts["arrays"]["left"].astype(np.int64)),
    "dimensions": lambda parts: parts["arrays"].update(value=parts["arrays"]["value"][:, 0]),
    "shorter": lambda parts: parts["arrays"].update(right=parts["arrays"]["right"][:-1]),
    "no outputs": lambda parts: parts["arrays"].update(value=parts["arrays"]["value"][:, :0]),
    "no trees": lambda parts: parts["arrays"].update(roots=np.zeros(0, np.int64)),
    "units": lambda parts: parts["arrays"].update(units=np.ones(3)),
    "no unit": lambda parts: parts["arrays"].update(units=np.zeros(2)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_parts_are_refused(fitted, damage):
    parts = {"sequences": list(fitted.sequences), "covariates": 0, "arrays": fitted.to_tensors()}
    DAMAGES[damage](parts)
    with pytest.raises(InputError, match="^The forest of this model is damaged: [^\n]+$"):
        Forest.from_parts(**parts)


LINEAR_DAMAGES = {
    "absent": lambda arrays: arrays.pop("linear_intercept"),
    "type": lambda arrays: arrays.update(linear_share=np.ones(1, np.float32)),
    "no share": lambda arrays: arrays.update(linear_share=np.zeros(1)),
    "share": lambda arrays: arrays.update(linear_share=np.full(1, 1.01)),
    "shares": lambda arrays: arrays.update(linear_share=np.full(2, 0.5)),
    "no reads": lambda arrays: arrays.update(linear_reads=np.zeros(1)),
    "ends": lambda arrays: arrays.update(linear_ends=np.array([1.0, 0.0])),
    "one end": lambda arrays: arrays.update(linear_ends=np.zeros(1)),
    "not finite": lambda arrays: arrays.update(linear_intercept=np.full(1, np.nan)),
    "inputs": lambda arrays: arrays.update(linear_inputs=arrays["linear_inputs"] + 10_000),
    "below": lambda arrays: arrays.update(linear_inputs=arrays["linear_inputs"] - 10_000),
    "twice": lambda arrays: arrays.update(linear_inputs=arrays["linear_inputs"] * 0),
    "fewer": lambda arrays: arrays.update(linear_inputs=arrays["linear_inputs"][:-1]),
    "outputs": lambda arrays: arrays.update(linear_intercept=np.zeros(2)),
}


@pytest.mark.parametrize("damage", LINEAR_DAMAGES)
def test_a_damaged_linear_model_is_refused(mixed, damage):
    arrays = mixed[0].to_tensors()
    LINEAR_DAMAGES[damage](arrays)
    with pytest.raises(InputError, match="^The forest of this model is damaged: [^\n]+$"):
        Forest.from_parts(list(mixed[0].sequences), 0, arrays)


def test_empty_arrays_are_refused(fitted):
    empty = {name: array[:0] for name, array in fitted.to_tensors().items()}
    for roots in (empty["roots"], np.zeros(1, np.int64)):
        with pytest.raises(InputError, match="roots"):
            Forest.from_parts([], 0, empty | {"roots": roots})


@pytest.mark.parametrize(
    "name, value, what",
    [
        ("threshold", np.nan, "not finite"),
        ("value", np.inf, "not finite"),
        ("feature", 10_000, "inputs"),
        ("feature", -2, "inputs"),
        ("left", 0, "child"),
        ("right", -1, "child"),
        ("left", 2**31 - 1, "child"),
        ("roots", 1, "roots"),
        ("roots", -(2**63), "roots"),
    ],
)
def test_damaged_numbers_are_refused(fitted, name, value, what):
    arrays = fitted.to_tensors()
    arrays[name] = arrays[name].copy()
    arrays[name][0] = value
    with pytest.raises(InputError, match=what):
        Forest.from_parts(fitted.sequences, 0, arrays)


def test_numbers_that_overflow_are_refused(fitted):
    roots = np.array([0, 2**62 + 2**61, -(2**62) - 2**61, 5])
    with pytest.raises(InputError, match="roots"):
        Forest.from_parts(fitted.sequences, 0, fitted.to_tensors() | {"roots": roots})
    leaf = np.flatnonzero(fitted.arrays["feature"] < 0)[0]
    left = fitted.arrays["left"].copy()
    left[leaf] = leaf + 1
    with pytest.raises(InputError, match="child"):
        Forest.from_parts(fitted.sequences, 0, fitted.to_tensors() | {"left": left})


@pytest.mark.parametrize("change", [lambda v: v + 0.5, lambda v: v / 2, lambda v: 2 * v - 0.5])
def test_probabilities_that_are_none_are_refused(classifying, change):
    arrays = classifying.to_tensors()
    with pytest.raises(InputError, match="no probabilities"):
        Forest.from_parts(classifying.sequences, 0, arrays | {"value": change(arrays["value"])})
    with pytest.raises(InputError, match="no probabilities"):
        Forest.from_parts(classifying.sequences, 0, arrays | {"units": np.array([0.0, 2.0])})
