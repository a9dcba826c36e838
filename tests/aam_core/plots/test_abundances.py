from __future__ import annotations

import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.plots import abundance_map


def test_a_heat_map_of_abundances(tmp_path):
    table = pd.DataFrame({"0 to 9": [0.1, 0.0], "$10$": [0.001, 0.2]}, index=["a", "b"])
    figure = abundance_map(table, tmp_path / "map.svg", label="age")
    axes = figure.axes[0]
    assert axes.images[0].get_array().mask.tolist() == [[False, False], [True, False]]
    assert [it.get_text() for it in axes.get_xticklabels()] == ["0 to 9", r"\$10\$"]
    assert "age" in (tmp_path / "map.svg").read_text()
    with pytest.raises(InputError, match="no sample has any"):
        abundance_map(table * 0)
