from __future__ import annotations

import json

import pandas as pd
import pytest

from aam_core.baseline import predict_baseline
from aam_core.baseline_fits import FILES, fit_baseline
from aam_core.data.splits import Split
from aam_core.errors import InputError
from aam_core.tasks.metrics import regression_metrics


def test_a_given_split(small, tmp_path):
    train, val = small.sample_ids[:40], small.sample_ids[40:]
    options = {"method": "linear", "split": (train, val), "output": tmp_path / "out"}
    result = fit_baseline(small, "gradient", **options)
    expected = predict_baseline("linear", small, train, val, small.metadata["gradient"])
    table = pd.read_csv(tmp_path / "out" / "val_predictions.tsv", sep="\t", index_col="sample-id")
    assert table.index.tolist() == val
    assert table["actual"].tolist() == small.metadata["gradient"][val].tolist()
    assert table["prediction"].to_numpy() == pytest.approx(expected["prediction"].to_numpy())
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == sorted(
        name for name in FILES if not name.endswith((".svg", ".pdf"))
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["method"] == "linear" and metrics["held_out"] == {"samples": 20, "folds": 1}
    scores = regression_metrics(table["actual"], table["prediction"])
    assert metrics["model"] == pytest.approx(scores) and result.metrics == metrics
    assert (tmp_path / "out" / "train_samples.txt").read_text().split() == train


def test_the_split_is_that_of_a_fit(small, regressor, brief):
    config = brief()
    result = fit_baseline(
        small, "gradient", method="dummy", group_by="host_subject_id", config=config
    )
    assert result.split.val == regressor.model.val_samples
    assert result.split.train == regressor.model.train_samples
    assert result.val_predictions.index.equals(regressor.model.val_predictions.index)
    ours, theirs = (m["held_out"] for m in (result.metrics, regressor.model.metrics))
    assert ours == theirs
    values, fold = small.metadata["gradient"], pd.Series(result.split.folds, result.split.val)
    medians = {n: values.drop(fold.index[fold == n]).median() for n in set(fold)}
    assert result.val_predictions["prediction"].tolist() == fold.map(medians).tolist()


def test_classes(small):
    split = Split.holdout(small.sample_ids[:40], small.sample_ids[40:])
    table = fit_baseline(small, "group", method="dummy", split=split).val_predictions
    assert list(table.columns) == ["actual", "prediction", "case", "control"]


def test_what_cannot_act_is_named(small, caplog):
    caplog.set_level("INFO", logger="aam_core")
    split = (small.sample_ids[:40], small.sample_ids[40:])
    options = {"method": "dummy", "split": split, "epochs": 3, "val_fraction": 0.3}
    fit_baseline(small, "gradient", **options)
    lines = [line for line in caplog.messages if "no effect" in line]
    assert len(lines) == 1 and lines[0].startswith("train.epochs, train.val_fraction have")
    caplog.clear()
    fit_baseline(small, "gradient", method="dummy", val_fraction=0.3, seed=4)
    assert not [line for line in caplog.messages if "no effect" in line]


def test_covariates_that_a_method_does_not_read_are_named(small, caplog):
    caplog.set_level("INFO", logger="aam_core")
    split = (small.sample_ids[:40], small.sample_ids[40:])
    for method, expected in (("dummy", 1), ("linear", 0)):
        caplog.clear()
        fit_baseline(small, "gradient", method=method, split=split, covariates=["group"])
        assert sum("covariates have no effect" in line for line in caplog.messages) == expected


def test_refusals(small):
    with pytest.raises(InputError, match="No sample is held out"):
        fit_baseline(small, "gradient", val_fraction=0.0)
    with pytest.raises(InputError, match="baseline must be one of random_forest, .*, not 'oracle'"):
        fit_baseline(small, "gradient", method="oracle")
