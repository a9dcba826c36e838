from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aam_core.config import LossConfig
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


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_every_transform_comes_back(name):
    z = np.linspace(-2, 3, 50)
    transform = transform_named(name)
    power = transform.fit(z)
    assert transform.invert(transform.apply(z, power), power) == pytest.approx(z)


def test_an_unknown_transform():
    with pytest.raises(InputError, match="must be one of none, power, not 'log'"):
        transform_named("log")


def test_the_choices_of_the_configuration():
    field = LossConfig.__dataclass_fields__["transform"]
    assert set(TRANSFORMS) == set(field.metadata["choices"])
