"""Tables of predictions, read and checked: a TSV that AAM or QIIME 2 wrote, or a data frame."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pandas as pd

from aam_core.data.ids import check_ids, short
from aam_core.data.metadata import from_frame
from aam_core.data.readers import is_path, read_text
from aam_core.errors import InputError, first_five
from aam_core.tasks import task_named, task_of_predictions
from aam_core.tasks.prediction_columns import BOUNDS, schema_of

__all__ = ["read_predictions"]

_OF_A_TARGET = ("prediction", *BOUNDS)
"""Columns that begin with the target's name where there are several."""

_MOST_COLUMNS = 5000
"""Columns of a table of predictions: one a class, and some more."""


def read_predictions(
    predictions: pd.DataFrame | str | Path, task: str | None = None, target: str | None = None
):
    """Predictions by sample id.

    Parameters
    ----------
    predictions : DataFrame or path
    task : str, optional
        Name of the task, where it is known. Of a file it decides whether actual and predicted
        values are numbers or text, letter for letter: be they written 007.
    target : str, optional
        Of predictions of several targets, the one to read.

    Returns
    -------
    DataFrame
        Index ``sample-id``; has the column ``prediction``, and columns as numbers where every cell
        is one.

    Raises
    ------
    InputError
        If these are no predictions, or sample ids are blank or occur twice.
    """
    if is_path(predictions):
        frame, where = _read_file(predictions, task, target), str(predictions)
        if not len(frame):
            raise InputError(f"{where} (predictions) has a header but no samples.")
    elif isinstance(predictions, pd.DataFrame):
        where = "The predictions"
        check_ids(predictions.index, "sample", where)
        frame = _of_target(from_frame(predictions), target)
        _check_columns(frame, where)
    else:
        raise InputError(
            f"The predictions must be a path or a DataFrame, not {type(predictions).__name__}."
        )
    ids = check_ids(frame.index, "sample", where)
    return frame.set_axis(pd.Index(ids, dtype=object, name="sample-id"))


def _read_file(path: str | Path, task: str | None, target: str | None) -> pd.DataFrame:
    text = read_text(path, "predictions", "SampleData")
    _check_header(text.partition("\n")[0].split("\t"), path)
    try:
        # All as text: a class may be called NA or 007. Columns of numbers are converted below.
        cells = pd.read_csv(io.StringIO(text), sep="\t", dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a table of predictions: {reason[:200]}.") from None
    if cells.shape[1] < 2:
        raise InputError(f"{path} is not a table of predictions: it has {cells.shape[1]} columns.")
    cells = _of_target(cells.set_index(cells.columns[0]), target)
    numbers = {name: pd.to_numeric(cells[name], errors="coerce") for name in cells.columns}
    frame = pd.DataFrame({k: v if v.notna().all() else cells[k] for k, v in numbers.items()})
    _check_columns(frame, path)
    # Predictions as text: a class 007 is the number 7 in `frame`, and no column has that name.
    schema = schema_of(frame.assign(prediction=cells["prediction"]))
    if (task_named(task) if task else task_of_predictions(frame, schema)).text_values:
        names = [name for name in ("actual", "prediction") if name in cells.columns]
        frame[names] = cells[names].astype(object)
    return frame


def _of_target(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """The columns of one target by their names without it, and those of no target."""
    end = "_prediction"
    targets = [name.removesuffix(end) for name in frame.columns if str(name).endswith(end)]
    if "prediction" in frame.columns or target not in targets:
        return frame
    of_others = tuple(f"{name}_{it}" for name in targets if name != target for it in _OF_A_TARGET)
    frame = frame.drop(columns=[name for name in frame.columns if name in of_others])
    return frame.rename(columns={f"{target}_{it}": it for it in _OF_A_TARGET})


def _check_header(names: list[str], where) -> None:
    """Before pandas reads it, which renames repeated names, and takes long over many."""
    if len(names) > _MOST_COLUMNS:
        raise InputError(f"{where} is not a table of predictions: it has {len(names):,} columns.")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InputError(
            f"{where}: {len(repeated):,} column names occur more than once: {first_five(repeated)}."
        )


def _check_columns(frame: pd.DataFrame, where) -> None:
    if "prediction" not in frame.columns:
        raise InputError(
            f"{where}: there is no column 'prediction'; there are: "
            f"{first_five([short(name) for name in frame.columns])}."
        )
