"""How good predictions are: a table of predictions against the metadata, in the target's units."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aam_core import plots
from aam_core.config import FigureConfig
from aam_core.data.columns import missing_ids
from aam_core.data.metadata import column, from_frame, read_metadata
from aam_core.data.readers import is_path
from aam_core.errors import InputError, first_five
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output
from aam_core.files.writing import write_json
from aam_core.log import logger
from aam_core.prediction import trained_on
from aam_core.prediction_files import read_predictions
from aam_core.tasks import Task, task_named, task_of_predictions
from aam_core.tasks.prediction_columns import IN_TRAINING

__all__ = ["evaluate", "warn_of_training", "write_scores"]

_MISSING_SAMPLES = ("error", "ignore")
"""What becomes of samples without a value."""


def evaluate(
    predictions: pd.DataFrame | str | Path,
    metadata: pd.DataFrame | str | Path,
    target: str,
    output: str | Path | None = None,
    *,
    task: str | None = None,
    missing_samples: str = "ignore",
    units: str | None = None,
    title: str | None = None,
    figure_format: str | None = None,
) -> dict:
    """Compare predictions with the metadata column that they predict.

    Parameters
    ----------
    predictions : DataFrame or path
        As `aam_core.predict` returns or `aam predict` writes it: by sample id, the column
        ``prediction``; ``lower`` and ``upper`` of a regression or a column of probabilities per
        class may follow, and other columns, of which ``in_training`` is read. Of several targets
        those columns that begin with the name of ``target``.
    metadata : DataFrame or path
    target : str
        Metadata column.
    output : path, optional
        Folder that receives ``metrics.json``, ``predictions.tsv`` (sample-id, actual, prediction)
        and ``predictions.png``.
    task : {'regression', 'classification'}, optional
        Inferred from the predictions where not given: text, or probabilities, mean classes.
    missing_samples : {'error', 'ignore'}
        Whether predicted samples may lack a value; where they may, they are not compared.
    units, title : str, optional
        Unit of a number, and title, of the figure.
    figure_format : {'png', 'svg', 'pdf'}, optional
        Of the figure, which is ``predictions.png`` where not given.

    Returns
    -------
    dict
        ``samples`` compared and ``left_out`` (predicted, but without a known value); r2, mae and
        rmse in the target's units, spearman, and ``coverage``, the share of samples within
        [lower, upper], whose mean ``width`` it has; or accuracy, balanced_accuracy, auc, f1,
        brier and ece. Where the predictions tell it, ``in_training``: on how many of the
        samples the model was trained.

    Raises
    ------
    InputError
        If a column is absent or unusable, or no predicted sample has a known value; or the output
        folder holds another kind of output, such as a model.
    """
    given = {"units": units, "title": title, "format": figure_format}
    if output is None and any(value is not None for value in given.values()):
        raise InputError("There is no figure without an output folder: give output, too.")
    if output is not None:
        check_output(output, "an evaluation")
    figure = FigureConfig(**{name: value for name, value in given.items() if value is not None})
    kind = None if task is None else task_named(task)
    if missing_samples not in _MISSING_SAMPLES:
        raise InputError(
            f"missing_samples must be {' or '.join(_MISSING_SAMPLES)}, not {missing_samples!r}."
        )
    predictions = read_predictions(predictions, task, target)
    truth = column(read_metadata(metadata) if is_path(metadata) else from_frame(metadata), target)
    kind = kind or task_of_predictions(predictions)
    if figure.units and kind.name == "classification":
        raise InputError(f"Classes have no units ({figure.units!r}): leave them out (--units).")
    has_value = predictions.index.isin(truth.index.difference(missing_ids(truth)))
    compared, dropped = predictions.index[has_value], predictions.index[~has_value]
    if not len(compared):
        raise InputError(
            f"None of the {len(predictions)} predicted samples has a value in column {target!r}: "
            f"predictions are of {first_five(predictions.index)}; metadata of "
            f"{first_five(truth.index)}."
        )
    if len(dropped) and missing_samples == "error":
        raise InputError(
            f"{len(dropped)} of {len(predictions)} predicted samples have no value in column "
            f"{target!r}: {first_five(dropped)}. Give them one, or leave them out "
            "(--missing-samples ignore)."
        )
    predictions, truth = predictions.loc[compared], truth.loc[compared]
    kind.check_same_column(predictions, truth)
    table, metrics = kind.compare(predictions, truth)
    metrics = {"samples": len(compared), "left_out": len(dropped), **metrics}
    if IN_TRAINING in predictions.columns:
        metrics[IN_TRAINING] = warn_of_training(predictions)
    if output is not None:
        write_scores(table, metrics, kind, target, output, figure=figure)
    return metrics


def warn_of_training(predictions: pd.DataFrame) -> int:
    """Number of predicted samples that the model was trained on; a warning where there are some."""
    if IN_TRAINING not in predictions.columns:
        return 0
    column = predictions[IN_TRAINING]
    # A file may have it as text or as numbers, by the program that wrote it.
    seen = column.astype(str).str.lower().isin(["true", "1", "1.0"]).to_numpy()
    if seen.any():
        logger.warning(trained_on(list(column.index), seen))
    return int(seen.sum())


def write_scores(
    table: pd.DataFrame,
    metrics: dict,
    task: Task | type[Task],
    target: str,
    output: str | Path,
    more: Mapping[str, pd.DataFrame | None] | None = None,
    drawn: pd.DataFrame | None = None,
    figure: FigureConfig | None = None,
) -> None:
    """Write ``metrics.json``, ``predictions.tsv`` and, once these are safe, a figure.

    Parameters
    ----------
    table : DataFrame
        By sample id; ``actual`` and ``prediction`` are drawn.
    metrics : dict
    task : Task
    target : str
        Name of the metadata column.
    output : path
        Folder.
    more : mapping of str to DataFrame, optional
        Further tables by the names of their files. Where one is None an older file goes.
    drawn : DataFrame, optional
        The samples to draw, where not all of the table.
    figure : FigureConfig, optional
        Of ``predictions.png`` (or another format).

    Raises
    ------
    InputError
        If the folder holds another kind of output, such as a model.
    """
    check_output(output, "a cross-validation" if "per_fold" in metrics else "an evaluation")
    figure = figure or FigureConfig()
    names = ("metrics.json", "predictions.tsv", *plots.figure_names("predictions"), *(more or {}))
    with replacing_in(output, names) as folder:
        write_json(folder / "metrics.json", metrics)
        table.to_csv(folder / "predictions.tsv", sep="\t", index_label="sample-id")
        for name, frame in (more or {}).items():
            if frame is not None:
                frame.to_csv(folder / name, sep="\t")
    picture = Path(output, f"predictions.{figure.format}")
    drawn = table if drawn is None else drawn
    words = {"label": target, "units": figure.units, "title": figure.title}
    plots.attempt(picture, functools.partial(task.plot, drawn, **words))
