"""How good predictions are: a table of predictions against the metadata, in the target's units."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd

from aam_core import plots
from aam_core.data.columns import missing_ids
from aam_core.data.metadata import column, from_frame, read_metadata
from aam_core.data.readers import is_path
from aam_core.errors import InputError, first_five
from aam_core.files.folders import replacing_in
from aam_core.files.writing import write_json
from aam_core.log import logger
from aam_core.prediction import trained_on
from aam_core.prediction_files import read_predictions
from aam_core.tasks import Task, task_named, task_of_predictions
from aam_core.tasks.prediction_columns import IN_TRAINING

__all__ = ["evaluate", "write_scores"]

_MISSING_SAMPLES = ("error", "ignore")
"""What becomes of samples without a value."""


def evaluate(
    predictions,
    metadata,
    target: str,
    output=None,
    *,
    task: str | None = None,
    missing_samples: str = "ignore",
) -> dict:
    """Compare predictions with the metadata column that they predict.

    Parameters
    ----------
    predictions : pandas.DataFrame or path
        As `aam_core.predict` returns or `aam predict` writes it: by sample id, the column
        ``prediction``; ``lower`` and ``upper`` of a regression or a column of probabilities per
        class may follow, and behind these other columns, of which ``in_training`` is read.
    metadata : pandas.DataFrame or path
    target : str
        Metadata column.
    output : path, optional
        Folder that receives ``metrics.json``, ``predictions.tsv`` (sample-id, actual, prediction)
        and ``predictions.png``.
    task : {'regression', 'classification'}, optional
        Told from the predictions where not given: text, or probabilities, mean classes.
    missing_samples : {'error', 'ignore'}
        Whether predicted samples may lack a value; where they may, they are not compared.

    Returns
    -------
    dict
        ``samples`` compared and ``left_out`` (predicted, but without a known value); r2, mae and
        rmse in the target's units, and ``coverage``, the share of samples within [lower, upper];
        or accuracy, auc and f1. Where the predictions tell it, ``in_training``: on how many of the
        samples the model was trained.

    Raises
    ------
    InputError
        If a column is absent or unusable, or no predicted sample has a known value.
    """
    if task is not None:
        task_named(task)
    if missing_samples not in _MISSING_SAMPLES:
        raise InputError(
            f"missing_samples must be {' or '.join(_MISSING_SAMPLES)}, not {missing_samples!r}."
        )
    predictions = read_predictions(predictions, task)
    truth = column(read_metadata(metadata) if is_path(metadata) else from_frame(metadata), target)
    its_task = task_named(task) if task else task_of_predictions(predictions)
    unknown = set(missing_ids(truth))
    known = [i for i in predictions.index if i in truth.index and i not in unknown]
    gone = [i for i in predictions.index if i not in truth.index or i in unknown]
    if not known:
        raise InputError(
            f"None of the {len(predictions)} predicted samples has a value in column {target!r}: "
            f"predictions are of {first_five(predictions.index)}; metadata of "
            f"{first_five(truth.index)}."
        )
    if gone and missing_samples == "error":
        raise InputError(
            f"{len(gone)} of {len(predictions)} predicted samples have no value in column "
            f"{target!r}: {first_five(gone)}. Give them one, or leave them out "
            "(--missing-samples ignore)."
        )
    its_task.check_same_column(predictions, truth.loc[known])
    table, metrics = its_task.compare(predictions.loc[known], truth.loc[known])
    metrics = {"samples": len(known), "left_out": len(gone), **metrics}
    if IN_TRAINING in predictions.columns:
        metrics[IN_TRAINING] = _count_trained_on(predictions.loc[known, IN_TRAINING])
    if output is not None:
        write_scores(table, metrics, its_task, target, output)
    return metrics


def _count_trained_on(column: pd.Series) -> int:
    """How many samples the model was trained on; a warning where there are some."""
    seen = column.astype(str).str.lower().isin(["true", "1", "1.0"]).to_numpy()
    if seen.any():
        logger.warning(trained_on(list(column.index), seen))
    return int(seen.sum())


def write_scores(table: pd.DataFrame, metrics: dict, task: type[Task], target: str, output) -> None:
    """Write ``metrics.json``, ``predictions.tsv`` and, once these are safe, ``predictions.png``."""
    with replacing_in(output, ("metrics.json", "predictions.tsv", "predictions.png")) as folder:
        write_json(folder / "metrics.json", metrics)
        table.to_csv(folder / "predictions.tsv", sep="\t", index_label="sample-id")
    picture = Path(output, "predictions.png")
    plots.attempt(picture, functools.partial(task.plot, table, label=target))
