"""Errors are drawn for any numbers and names; running medians are of stretches of x."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core import plots
from aam_core.errors import InputError
from aam_core.plots.errors import DRAWN, running_median


def test_a_running_median_follows_the_errors():
    x = np.linspace(0, 1, 400)
    rows = running_median(x, 10 * x)
    assert len(rows) == 15 and rows["samples"].sum() == 400
    assert np.allclose(rows["median"], 10 * rows["x"], atol=0.05)
    tied = running_median(np.repeat([1.0, 2.0], 50), np.arange(100.0))
    assert tied["x"].tolist() == [1.0, 2.0] and tied["samples"].tolist() == [50, 50]


def test_many_samples_are_thinned_and_none_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    many = rng.random(5000)
    options = {"xlabel": "x" * 200, "ylabel": "$y$"}
    figure = plots.errors_against(many, many - 0.5, tmp_path / "a.svg", **options)
    assert len(figure.axes[0].collections[0].get_offsets()) == DRAWN
    plots.errors_against([0, 1.0, 10, np.nan], [1, 2, 3, 4], log=True, **options)
    with pytest.raises(InputError, match="Nothing to draw"):
        plots.errors_against([np.nan], [1.0], **options)


def test_categories_and_groups(tmp_path):
    names = [f"<b>{k % 20}" if k else None for k in range(300)]
    figure = plots.errors_by_category(names, np.arange(300.0), label="site", ylabel="error")
    assert len(figure.axes[0].get_yticklabels()) == 12
    table = pd.DataFrame({"error": np.arange(1.0, 41), "samples": 3}, [f"g{k}" for k in range(40)])
    figure = plots.errors_by_group(table, tmp_path / "g.pdf", label="subject", xlabel="error")
    assert "10 groups" in figure.axes[0].get_title()
    assert b"/Type3" not in (tmp_path / "g.pdf").read_bytes()
