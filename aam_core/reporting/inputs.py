"""What a report is of: out-of-fold predictions of a fit or a cross-validation, or any others."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from aam_core.crossval import CrossValidation
from aam_core.data.columns import as_classes, as_numbers, missing_ids, to_floats
from aam_core.data.metadata import column, from_frame, read_metadata
from aam_core.data.readers import is_path
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.log import logger
from aam_core.model import MORE, Model, as_model
from aam_core.prediction_files import read_predictions
from aam_core.tasks import Task, task_named, task_of_predictions
from aam_core.tasks.prediction_columns import BOUNDS, ColumnKind, named, schema_of

__all__ = ["UNNAMED", "Given", "Predicted", "read_predicted"]

UNNAMED = "target"
"""What the target is called where nothing tells its name."""


_TRUE = ("True", "true", "1", "1.0")


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions beside the truth, and what is known of how they came about.

    Attributes
    ----------
    table : DataFrame
        By sample id: ``actual``, ``prediction``, and what there is of ``lower``, ``upper``,
        ``fold``, a column of probabilities a class, and predictions of other methods.
    task : type of Task
    classes : list of str
        () of numbers.
    target : str
    origin : str
        What the predictions are, in words.
    metrics : dict
        ``metrics.json`` of a fit or a cross-validation; empty of other predictions.
    model : Model or None
        That the predictions, or the nearest training samples, are of.
    groups : Series or None
        Group of each sample, where the column is known.
    out_of_fold : bool
        Whether each sample was predicted by what was not trained on it.
    """

    table: pd.DataFrame
    task: type[Task]
    classes: list[str]
    target: str
    origin: str
    metrics: dict[str, Any] = field(default_factory=dict)
    model: Model | None = None
    groups: pd.Series | None = None
    out_of_fold: bool = True


@dataclass(frozen=True, eq=False)
class Given:
    """A table of predictions, and what is known of how they came about.

    Attributes
    ----------
    table : DataFrame
        As `aam_core.evaluate` takes it; columns of other methods begin with their names.
    origin : str
        What the predictions are, in words.
    metrics : dict
        What is known of ``metrics.json`` of a fit or a cross-validation.
    """

    table: pd.DataFrame
    origin: str
    metrics: dict[str, Any] = field(default_factory=dict)


def read_predicted(
    model: Model | str | Path | None,
    predictions: CrossValidation | Given | pd.DataFrame | str | Path | None,
    study: Study | None,
    metadata: pd.DataFrame | str | Path | None,
    target: str | None,
    group_by: str | None,
) -> tuple[Predicted, pd.DataFrame | None]:
    """The predictions of a report, and the metadata of their samples in the same order.

    Raises
    ------
    InputError
        If there are no predictions, or no truth; or the metadata lack the target, the column that
        samples are grouped by, or all of the samples.
    """
    if model is None and predictions is None:
        raise InputError("A report is of a model or of predictions: give one of the two.")
    opened = None if model is None else as_model(model)
    frame = _metadata(study, metadata)
    if predictions is None:
        assert opened is not None
        given = _of_model(opened, target)
    elif isinstance(predictions, CrossValidation):
        by_name = {it.target: it for it in predictions.each}
        first = _named(target, list(by_name))
        one = predictions if first is None else by_name[first]
        given = _of_folds(one.predictions, task_named(one.task), one.metrics, one.target)
    elif isinstance(predictions, Given):
        given = _of_table(predictions.table, frame, opened, target)
        given = replace(given, origin=predictions.origin, metrics=predictions.metrics)
    elif is_path(predictions) and Path(predictions).is_dir():
        given = _of_folder(Path(predictions), target)
    else:
        given = _of_table(predictions, frame, opened, target)
    table = given.table
    if frame is not None:
        known = [name for name in table.index if name in frame.index]
        if not known:
            raise InputError(
                f"None of the {len(table):,} predicted samples is in the metadata: predictions are "
                f"of {first_five(table.index)}; metadata of {first_five(frame.index)}."
            )
        if len(known) < len(table):
            absent = [name for name in table.index if name not in frame.index]
            logger.warning(
                f"{len(absent):,} of {len(table):,} predicted samples are not in the metadata and "
                f"dropped from the report: {first_five(absent)}"
            )
        table, frame = table.loc[known], frame.loc[known]
    groups = _groups(given, frame, opened, group_by)
    whole = Predicted(
        table=table,
        task=given.task,
        classes=given.classes,
        target=given.target,
        origin=given.origin,
        metrics=given.metrics,
        model=_of_target(opened, given.target),
        groups=groups,
        out_of_fold=given.out_of_fold,
    )
    return whole, frame


def _named(target: str | None, names: list[str]) -> str | None:
    """The target that is asked for, of those that are predicted; the first one by default.

    None where neither is known, as of a cross-validation by an earlier AAM.
    """
    if target is None or not any(names):
        return names[0] if any(names) else None
    if target not in names:
        raise InputError(f"{', '.join(names)} is predicted, and not {target!r} (--target).")
    return target


def _of_target(model: Model | None, target: str) -> Model | None:
    """The model of one of several targets."""
    if model is None or model.target is None:
        return model
    return next((it for it in model.each if it.task.column == target), model)


def _metadata(study: Study | None, metadata) -> pd.DataFrame | None:
    if metadata is not None:
        return read_metadata(metadata) if is_path(metadata) else from_frame(metadata)
    return None if study is None else study.metadata


def _of_model(model: Model, target: str | None) -> Predicted:
    """Those that a fit saved of its held-out samples."""
    if model.target is None:
        raise InputError("This model is an encoder, which predicts no metadata: fit it first.")
    by_name = {it.task.column: it for it in model.each}
    one = by_name[_named(target, list(by_name)) or model.task.column]
    if one.val_predictions is None or not len(one.val_predictions):
        raise InputError(
            "This model has no out-of-fold predictions (val_predictions.tsv): no sample was held "
            "out, or they were taken away. Give predictions of other samples (--predictions)."
        )
    table = one.val_predictions.copy()
    if len(one.val_folds) == len(one.val_samples) and one.val_samples:
        folds = dict(zip(one.val_samples, one.val_folds, strict=True))
        table["fold"] = [folds.get(name, -1) + 1 for name in table.index]
    task = task_named(one.task.name)
    origin = "Out-of-fold predictions of a fit"
    return Predicted(
        table, task, list(one.task.classes), one.task.column, origin, one.metrics or {}
    )


def _of_folds(table: pd.DataFrame, task, metrics: dict, target: str | None) -> Predicted:
    """Those of a cross-validation; of several repeats the first."""
    origin = "Out-of-fold predictions of a cross-validation"
    if "repeat" in table.columns:
        table = table[table["repeat"] == 1].drop(columns="repeat")
        origin += ", the first of its repeats"
    classes = _classes(table, task)
    table = _with_all_classes(table, classes)
    return Predicted(table, task, classes, target or UNNAMED, origin, metrics)


def _of_folder(folder: Path, target: str | None) -> Predicted:
    """Those of ``aam cross-validate``."""
    if (folder / "config.json").is_file():
        raise InputError(f"{folder} is a model: name it as such (--model).")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = None
    if not isinstance(metrics, dict) or "per_fold" not in metrics:
        raise InputError(
            f"{folder} is no output of 'aam cross-validate': it has no metrics of folds. Give that "
            "folder, or a table of predictions."
        )
    names = list(metrics.get("targets", {})) or [metrics.get("comparison", {}).get("target") or ""]
    name = _named(target, names)
    if name is not None and names.index(name):
        # Folders of further targets begin with their number.
        places = sorted((folder / MORE).glob(f"{names.index(name) + 1}-*"))
        if len(places) != 1:
            raise InputError(f"{folder} has no folder of the target {name!r}: it was taken away.")
        return _of_folder(places[0], name)
    target = name or target
    path = folder / "predictions.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    if "repeat" in header:
        # Ids come once in each repeat, and a table of predictions has them once.
        place = header.index("repeat")
        lines = [lines[0], *(line for line in lines[1:] if line.split("\t")[place] == "1")]
    with tempfile.TemporaryDirectory(prefix="aam-") as temporary:
        first = Path(temporary, "predictions.tsv")
        first.write_text("\n".join(lines) + "\n", encoding="utf-8")
        table = read_predictions(first)
    return _of_folds(table, task_of_predictions(table), metrics, target)


def _of_table(predictions, metadata, model: Model | None, target: str | None) -> Predicted:
    """Those of any table; the truth is its column ``actual``, or the metadata's target."""
    if target is None and model is not None and model.target is not None:
        target = model.task.column
    table = read_predictions(predictions, None, target)
    task = task_of_predictions(table)
    if "actual" not in table:
        if metadata is None or target is None:
            raise InputError(
                "These predictions have no column 'actual': name the metadata and the target that "
                "has the truth (--metadata, --target)."
            )
        truth = column(metadata, target)
        truth = truth.drop(missing_ids(truth))
        known = [name for name in table.index if name in truth.index]
        if not known:
            raise InputError(
                f"None of the {len(table):,} predicted samples has a value in column {target!r}."
            )
        table = table.loc[known]
        task.check_same_column(table, truth.loc[known])
        compared, _ = task.compare(table, truth.loc[known])
        table = table.assign(actual=compared["actual"].to_numpy())
    table = _usable(table, task)
    trained = "in_training" in table and bool(table["in_training"].astype(str).isin(_TRUE).any())
    if "in_training" not in table and model is not None:
        trained = bool({*model.train_samples, *model.val_samples} & set(table.index))
    out_of_fold = not trained
    classes = _classes(table, task)
    table = _with_all_classes(table, classes)
    return Predicted(
        table, task, classes, target or UNNAMED, "Given predictions", out_of_fold=out_of_fold
    )


def _usable(table: pd.DataFrame, task: type[Task]) -> pd.DataFrame:
    """Actual and predicted values as the task reads them, of samples that have both."""
    blank = {*missing_ids(table["actual"]), *missing_ids(table["prediction"])}
    if blank:
        logger.warning(
            f"{len(blank):,} of {len(table):,} samples lack an actual or predicted value and are "
            f"dropped from the report: {first_five(name for name in table.index if name in blank)}"
        )
        table = table[[name not in blank for name in table.index]]
    if not len(table):
        raise InputError("No sample has both an actual and a predicted value.")
    if task.text_values:
        # A data frame may have classes as numbers: their columns are called 1, not 1.0.
        names = {key: as_classes(table[key]) for key in ("actual", "prediction")}
        return table.assign(**names)
    numbers = {key: as_numbers(table[key]) for key in ("actual", "prediction")}
    bounds = {key: to_floats(table[key]) for key in BOUNDS if key in table}
    return table.assign(**numbers, **bounds)


def _with_all_classes(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """With a probability of 0 for each class that the model does not know, if it has any."""
    absent = [name for name in classes if name not in table]
    return table if len(absent) == len(classes) else table.assign(**dict.fromkeys(absent, 0.0))


def _classes(table: pd.DataFrame, task: type[Task]) -> list[str]:
    if not task.text_values:
        return []
    names = named(schema_of(table), ColumnKind.PROBABILITY)
    actual = table["actual"].astype(str).tolist()
    # A class without a column is one that the model does not know.
    return list(dict.fromkeys([*names, *sorted({*actual, *table["prediction"].astype(str)})]))


def _groups(
    given: Predicted, metadata: pd.DataFrame | None, model: Model | None, group_by: str | None
) -> pd.Series | None:
    """The group of each sample: by the column that is named, or the one that a run has saved."""
    name = group_by
    if name is None:
        name = given.metrics.get("comparison", {}).get("group_by")
    if name is None and model is not None:
        saved = model.run.get("group_by")
        name = saved if isinstance(saved, str) else None
    if name is None:
        return None
    if metadata is None or (group_by is None and name not in metadata.columns):
        if group_by is not None:
            raise InputError(f"There are no metadata to take the column {name!r} from.")
        return None
    values = column(metadata, name)
    blank = missing_ids(values)
    if blank:
        raise InputError(
            f"Column {name!r}, by which samples are grouped, is blank for {len(blank):,} of them: "
            f"{first_five(blank)}."
        )
    return values
