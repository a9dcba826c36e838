from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import r2_score

from aam_core.config import LossConfig
from aam_core.data.splits import cross_fitting_split
from aam_core.errors import InputError
from aam_core.tasks import Regression, task_from_dict
from aam_core.tasks.transforms import TRANSFORMS, inverse_yeo_johnson, transform_named, yeo_johnson


@pytest.mark.parametrize("power", [0.0, 1e-6, 0.3, 1.0, 1.7, 2.0])
def test_a_power_keeps_the_order_and_comes_back(power):
    values = np.array([-9.0, -1.0, -0.3, 0.0, 0.2, 1.0, 3.0, 30.0])
    changed = yeo_johnson(values, power)
    assert changed == pytest.approx(stats.yeojohnson(values, power))
    assert (np.diff(changed) > 0).all()
    assert inverse_yeo_johnson(changed, power) == pytest.approx(values)
    target = Regression("age", 40.0, 20.0, power, (3.0, 75.0))
    years = pd.Series([3.0, 20.0, 40.0, 75.0], name="age")
    assert target.decode(target.encode(years)) == pytest.approx(years.to_numpy(), rel=1e-5)
    assert task_from_dict(json.loads(json.dumps(target.to_dict()))) == target


SEX = pd.DataFrame({"sex": ["f", "m"] * 30, "site": ["a", "a", "b", "b"] * 15})
SEX.index = [f"s{i}" for i in range(60)]


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_every_transform_comes_back_and_is_saved(name):
    values = np.random.default_rng(0).gamma(2.0, 3.0, 60) + 20 * (SEX["sex"] == "m")
    column = pd.Series(values, SEX.index, name="age")
    config = LossConfig(transform=name, normalize_by="sex, site")
    target = Regression.fit(column, list(SEX.index[:40]), config, SEX)
    encoded = target.encode(column, SEX)
    assert encoded.dtype == np.float32
    assert target.decode(encoded, SEX) == pytest.approx(column.to_numpy(), rel=1e-4)
    assert np.corrcoef(stats.rankdata(encoded[::4]), stats.rankdata(values[::4]))[0, 1] > 0.999
    assert task_from_dict(json.loads(json.dumps(target.to_dict()))) == target
    assert target.needs == (("sex", "site") if name == "zscore-by-category" else ())


def test_what_a_scale_is_of_training_samples():
    column = pd.Series(np.arange(60.0), SEX.index, name="age")
    train = list(SEX.index[:11])
    ends = Regression.fit(column, train, LossConfig(transform="minmax")).encode(column)
    assert ends[[0, 10, 20]].tolist() == [0.0, 1.0, 2.0]
    ends = Regression.fit(column, train, LossConfig(transform="log-minmax")).encode(column)
    assert ends[10] == 1 and ends[20] == pytest.approx(np.log(21) / np.log(11))
    same = [Regression.fit(column, train, LossConfig(transform=n)) for n in ("none", "zscore")]
    assert np.array_equal(*(one.encode(column) for one in same))


def test_each_category_has_its_own_scale_and_an_unseen_one_that_of_all():
    values = np.random.default_rng(1).normal(size=60) + 100 * (SEX["sex"] == "m")
    column = pd.Series(values, SEX.index, name="age")
    config = LossConfig(transform="zscore-by-category", normalize_by="sex")
    target = Regression.fit(column, config=config, metadata=SEX)
    encoded = pd.Series(target.encode(column, SEX))
    assert encoded.groupby(SEX["sex"].to_numpy()).mean().abs().max() < 1e-5
    assert target.unseen(SEX) == []
    strange = SEX.iloc[:3].assign(sex=["f", "x", "x"])
    (line,) = target.unseen(strange)
    assert "2 of 3 samples" in line and "(x)" in line
    zero = np.zeros(3, np.float32)
    assert target.decode(zero, strange)[1:] == pytest.approx([target.mean] * 2)
    assert target.decode(zero, strange)[0] == pytest.approx(column[SEX["sex"] == "f"].mean())


def test_the_scale_of_a_category_does_not_tell_held_out_values():
    """Predictions of nothing, in categories that tell nothing, are no better than the mean."""
    rng = np.random.default_rng(0)
    ids = [f"s{i:03d}" for i in range(200)]
    subjects = np.repeat(np.arange(50), 4)
    # Of subjects, which alone tell the value; at random, two large categories or fifty small ones.
    metadata = pd.DataFrame(
        {"subject": subjects, "group": rng.integers(2, size=200), "day": rng.integers(50, size=200)}
    )
    metadata = metadata.astype(str).set_axis(ids)
    column = pd.Series(rng.normal(size=50)[subjects] + rng.normal(0, 0.1, 200), ids, name="age")
    for groups in (None, metadata["subject"]):
        split = cross_fitting_split(ids, 5, fraction=0.2, seed=0, groups=groups)
        folds = dict(zip(split.val, split.folds, strict=True))
        owned = {}
        for name in ("subject", "group", "day"):
            config = LossConfig(transform="zscore-by-category", normalize_by=name)
            target = Regression.fit(column, split.train, config, metadata, folds)
            constant = target.decode(np.zeros(200), metadata)
            assert r2_score(column, constant) < 0.05
            owned[name] = len(target.categories)
        assert owned == {"subject": 0, "group": 2, "day": 0}
    alone = Regression.fit(column, ids, config, metadata, {})
    assert alone.categories  # held out by none: five samples do


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"transform": "log-zscore"}, r"1 negative values: s0 \('-1'\).*logarithms"),
        ({"transform": "zscore-by-category"}, "no column is named to scale by.*--normalize-by"),
        ({"transform": "zscore-by-category", "normalize_by": "plot"}, "no metadata column 'plot'"),
        ({"target_range": "0,"}, r"1 of 60 training samples lie outside loss.target_range \(0,\)"),
    ],
)
def test_what_cannot_be_transformed(settings, message):
    column = pd.Series(np.arange(60.0) - 1, SEX.index, name="age")
    with pytest.raises(InputError, match=message):
        Regression.fit(column, config=LossConfig(**settings), metadata=SEX)


@pytest.mark.parametrize("text, low, high", [("auto", 0, 90), ("none", -30, 90), ("2,50", 2, 50)])
def test_predictions_and_bounds_keep_to_the_range(text, low, high):
    column = pd.Series(np.arange(60.0) % 48 + 2, SEX.index, name="age")
    target = Regression.fit(column, config=LossConfig(target_range=text))
    predictions = np.array([[-20.0], [80.0]])
    bounds = predictions[..., None] + np.array([-10.0, 10.0])
    frame = target.frame(["a", "b"], predictions, bounds)
    assert (frame.min().min(), frame.max().max()) == (low, high)
    assert (frame["lower"] <= frame["prediction"]).all()
    assert target.predictions(torch.tensor([[-100.0]])).item() >= low or text == "none"
    negative = Regression.fit(column - 10, config=LossConfig())
    assert negative.limits == (None, None)


def test_an_unknown_transform():
    with pytest.raises(InputError, match="must be one of none, zscore.*not 'root'"):
        transform_named("root")


def test_the_choices_of_the_configuration():
    field = LossConfig.__dataclass_fields__["transform"]
    assert set(TRANSFORMS) == set(field.metadata["choices"])
