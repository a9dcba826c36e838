"""What every task promises."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.data.columns import missing_ids
from aam_core.errors import InputError
from aam_core.tasks import (
    TASKS,
    Classification,
    Regression,
    task_from_dict,
    task_named,
    task_of_model,
    task_of_predictions,
)
from aam_core.tasks.losses import LOSSES
from aam_core.tasks.metrics import (
    METRICS,
    Metric,
    RegressionMetrics,
    classification_metrics,
    regression_metrics,
)

IDS = [f"s{i}" for i in range(8)]
COLUMNS = {"regression": [1.0, 3.0, 4.5, 0.1], "classification": ["a", "b", "c", "b"]}


def series(values, name="age"):
    return pd.Series(values, index=IDS[: len(values)], name=name)


@pytest.fixture(params=list(TASKS))
def task(request):
    return TASKS[request.param]


@pytest.fixture
def values(task):
    return series(COLUMNS[task.name])


def test_names():
    assert task_named("regression") is Regression and task_of_model("classifier") is Classification
    assert task_of_model("encoder") is None
    with pytest.raises(InputError, match="must be one of regression, classification, not 'rank'"):
        task_named("rank")


@pytest.mark.parametrize("command", ["cross-validate", "evaluate", "tune", "find-lr"])
def test_the_choices_of_the_command_line(command):
    from aam_core.cli import cli

    (option,) = (item for item in cli.get_command(None, command).params if item.name == "task")
    assert set(option.type.choices) - {"pretrain"} == set(TASKS)


def test_its_losses_and_metrics_are_there(task):
    assert set(task.losses) <= set(LOSSES)
    assert set(task.metrics) <= set(METRICS) and task.informative[0] in task.metrics


def test_a_metric_is_computed_from_its_entry_alone(monkeypatch):
    entry = Metric(RegressionMetrics, False, lambda seen: seen.absolute)
    monkeypatch.setitem(METRICS, "total_error", entry)
    assert regression_metrics([1.0, 2.0], [1.5, 4.0])["total_error"] == 2.5
    assert "total_error" not in classification_metrics(["a", "b"], ["a", "a"])


def test_every_metric_belongs_to_one_task():
    names = [name for task in TASKS.values() for name in task.metrics]
    assert len(names) == len(set(names)) and set(names) < set(METRICS)
    assert {"spearman", "balanced_accuracy", "brier", "ece"} == set(METRICS) - set(names)


def test_round_trip_through_json(task, values):
    target = task.fit(values)
    saved = json.loads(json.dumps(target.to_dict()))
    assert (saved["kind"], saved["name"]) == (task.name, "age")
    assert task_from_dict(saved) == target


def test_from_the_output_of_a_network_to_metrics(task, values):
    target = task.fit(values)
    output = torch.randn(4, target.outputs, generator=torch.Generator().manual_seed(0))
    predictions = target.predictions(output)
    assert predictions.shape == (4, target.outputs) and predictions.dtype == np.float64
    bounds = predictions[..., None] + np.array([-1.0, 1.0])
    frame = target.frame(list(values.index), predictions, bounds)
    assert dict.fromkeys(frame.columns) == dict.fromkeys(target.columns(interval=True))
    assert task_of_predictions(frame) is task
    table, metrics = target.compare(frame, values)
    assert set(task.metrics) <= set(metrics)
    assert table["actual"].tolist() == values.tolist()
    assert table["prediction"].tolist() == frame["prediction"].tolist()
    # fed by batches, the same
    scores, rows = target.accumulator(), []
    for part in ([0, 1, 2], [3]):
        encoded = target.encode(values)[part]
        rows.append(target.points(*target.accumulate(scores, encoded, predictions[part])))
    expected = {name: metrics[name] for name in task.metrics}
    assert scores.compute(task.metrics) == pytest.approx(expected, rel=1e-6)
    points = pd.concat(rows, ignore_index=True)
    assert points["prediction"].tolist() == frame["prediction"].tolist()


def test_a_perfect_blend_has_no_loss(task, values):
    target = task.fit(values)
    truth = target.forest_target(values)
    perfect = truth[:, None] if target.outputs == 1 else np.eye(target.outputs)[truth]
    assert target.blend_loss(perfect, truth) == 0 < target.blend_loss(perfect[::-1], truth)


def test_a_plot(task, values, tmp_path):
    table = pd.DataFrame({"actual": values, "prediction": values})
    task.plot(table, tmp_path / "a.png", label="age")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("values", [{}, [], None, {"kind": "ranking"}, {"kind": ["regression"]}])
def test_what_is_no_saved_task(values):
    with pytest.raises(InputError, match="not a target that AAM saved"):
        task_from_dict(values)


# --- columns that no task can use ----------------------------------------------------------------

BLANKS = [None, float("nan"), "", "  ", pd.NA]


@pytest.mark.parametrize("blank", BLANKS)
def test_blank_values_are_counted_and_named(task, blank):
    column = series(["1", blank, "2", blank])
    assert missing_ids(column) == ["s1", "s3"]
    with pytest.raises(InputError, match=r"'age' is blank for 2 of 4 samples: s1, s3\. Fill"):
        task.fit(column)
    with pytest.raises(InputError, match="drop these samples .*--missing-samples ignore"):
        task.fit(column, ["s0", "s2"])  # s1, s3 would be held out


def test_more_than_five_blanks_are_not_all_named(task):
    with pytest.raises(InputError, match="s1, s2, s3, s4, s5 and 2 more"):
        task.fit(series([1.0] + [None] * 7))


def test_a_column_without_any_value(task):
    with pytest.raises(InputError, match="no value for any of 3 samples"):
        task.fit(series([None] * 3))


def test_missing_ids_of_a_category_and_of_numbers():
    assert missing_ids(series(["a", None]).astype("category")) == ["s1"]
    assert missing_ids(series([1.0, np.nan])) == ["s1"]
