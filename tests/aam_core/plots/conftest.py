from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    actual = rng.uniform(0, 700, 60)
    return pd.DataFrame({"actual": actual, "prediction": actual * 0.8 + rng.normal(50, 60, 60)})


@pytest.fixture
def classes():
    return pd.DataFrame({"actual": list("aaab") + ["c"], "prediction": list("aabb") + ["a"]})


@pytest.fixture
def texts():
    """The texts in a panel: ``texts(axes)``."""
    return lambda axes: [item.get_text() for item in axes.texts]
