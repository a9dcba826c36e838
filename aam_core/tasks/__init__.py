"""What is predicted: the column, its transform, loss, metrics and the columns of predictions.

Everything that depends on whether numbers or classes are predicted is a method of a `Task`. A
further task is one more class, and an entry of `TASKS`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from aam_core.errors import InputError
from aam_core.tasks.classification import Classification
from aam_core.tasks.prediction_columns import ColumnKind, schema_of
from aam_core.tasks.regression import Regression
from aam_core.tasks.targets import Targets
from aam_core.tasks.task import Task

__all__ = [
    "TASKS",
    "Classification",
    "Regression",
    "Targets",
    "Task",
    "task_from_dict",
    "task_named",
    "task_of_model",
    "task_of_predictions",
]

TASKS: dict[str, type[Task]] = {task.name: task for task in (Regression, Classification)}
"""By the choices of ``--task``."""


def task_named(name: str) -> type[Task]:
    """The task of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in TASKS:
        raise InputError(f"The task must be one of {', '.join(TASKS)}, not {name!r}.")
    return TASKS[name]


def task_of_model(kind: str) -> type[Task] | None:
    """The task of a kind of model; None of an encoder, which has none."""
    return next((task for task in TASKS.values() if task.model_kind == kind), None)


def task_of_predictions(
    predictions: pd.DataFrame, schema: dict[str, ColumnKind] | None = None
) -> type[Task]:
    """The task that a table of predictions is of.

    Parameters
    ----------
    predictions : DataFrame
        Numbers are of a numeric type.
    schema : dict, optional
        Kinds of its columns; as `schema_of` tells them where not given.
    """
    schema = schema or schema_of(predictions)
    # No default: any table is recognized by one task, for their conditions complement each other.
    return next(task for task in TASKS.values() if task.recognizes(predictions, schema))


def task_from_dict(values: dict[str, Any]) -> Task:
    """The inverse of `Task.to_dict`.

    Raises
    ------
    InputError
        If the dictionary was not written by ``to_dict``, or was edited into nonsense.
    """
    kind = values.get("kind") if isinstance(values, dict) else None
    task = TASKS[kind].from_dict(values) if isinstance(kind, str) and kind in TASKS else None
    if task is None:
        raise InputError(f"This is not a target that AAM saved: {str(values)[:200]}")
    return task
