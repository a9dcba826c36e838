"""Curves of classes as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam_core.errors import InputError
from aam_core.plots import class_curves

RATES = np.linspace(0, 1, 11)


def curves(classes):
    names = [f"c{i}" for i in range(classes)]
    bounds = {"low": RATES * 0.9, "high": RATES}
    roc, recall = (
        pd.concat([pd.DataFrame({"class": name, x: RATES, y: RATES, **bounds}) for name in names])
        for x, y in (("false_positive_rate", "true_positive_rate"), ("recall", "precision"))
    )
    areas = pd.DataFrame({"auc": 0.5, "average_precision": 0.5}, index=names)
    return roc, recall, areas


def test_few_classes_have_a_line_and_a_band_each():
    figure = class_curves(*curves(3))
    for axes in figure.axes:
        assert len(axes.collections) == 3
        assert len(axes.get_legend().get_texts()) == 3


def test_many_classes_have_their_mean(tmp_path):
    figure = class_curves(*curves(42), tmp_path / "curves.svg")
    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text() == "mean of 42 classes (AUC 0.50)"
    assert (tmp_path / "curves.svg").stat().st_size


def test_no_curve():
    roc, recall, areas = curves(2)
    with pytest.raises(InputError, match="Nothing to draw"):
        class_curves(roc, recall, areas.iloc[:0])
