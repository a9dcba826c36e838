"""Predictions and importances: their types and formats, and their files read and written.

The types are q2-sample-classifier's own, so that its visualizers open them. Where that plugin is
installed its types and formats are used as they are. Where it is not, types and formats of the same
names and the same files are defined in `_predictions_owned`, and this plugin registers them. Two
plugins must never register one name: ``OWNED`` tells which case it is, and it depends on what is
installed, not on which plugin is loaded first.

The files are read and written as text: an id or a class named ``01`` stays ``01``.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pandas as pd

OWNED = importlib.util.find_spec("q2_sample_classifier") is None
"""True where this plugin defines and registers the types itself."""

if OWNED or TYPE_CHECKING:
    from q2_aam._predictions_owned import (
        ClassifierPredictions,
        Importance,
        ImportanceDirectoryFormat,
        ImportanceFormat,
        PredictionsDirectoryFormat,
        PredictionsFormat,
        Probabilities,
        ProbabilitiesDirectoryFormat,
        ProbabilitiesFormat,
        RegressorPredictions,
        TrueTargets,
        TrueTargetsDirectoryFormat,
    )
else:
    from q2_sample_classifier import (
        ClassifierPredictions,
        Importance,
        ImportanceDirectoryFormat,
        ImportanceFormat,
        PredictionsDirectoryFormat,
        PredictionsFormat,
        Probabilities,
        ProbabilitiesDirectoryFormat,
        ProbabilitiesFormat,
        RegressorPredictions,
        TrueTargets,
        TrueTargetsDirectoryFormat,
    )

__all__ = [
    "OWNED",
    "ClassifierPredictions",
    "Importance",
    "ImportanceDirectoryFormat",
    "ImportanceFormat",
    "PredictionsDirectoryFormat",
    "PredictionsFormat",
    "Probabilities",
    "ProbabilitiesDirectoryFormat",
    "ProbabilitiesFormat",
    "RegressorPredictions",
    "TrueTargets",
    "TrueTargetsDirectoryFormat",
    "as_numbers",
    "read_importances",
    "read_predictions",
    "read_probabilities",
    "write_table",
]


def read_predictions(file: PredictionsFormat) -> pd.Series:
    """Predicted values as text, by sample id."""
    return _read_table(file).iloc[:, 0]


def read_probabilities(file: ProbabilitiesFormat) -> pd.DataFrame:
    """Probabilities: a row per sample, a column per class."""
    return _read_table(file).astype(float)


def read_importances(file: ImportanceFormat) -> pd.DataFrame:
    """Importances: a row per feature."""
    return _read_table(file).astype(float)


def as_numbers(values: pd.Series) -> pd.Series:
    """``values`` as numbers if every one reads as such, else as they are.

    The file does not say whether it holds numbers or classes: codes, which would become one number
    (1.1 and 1.10) or lose a zero (01), stay text.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    codes = numbers.nunique() < values.nunique() or values.str.match(r"[-+]?0[0-9]").any()
    return values if codes or numbers.isna().any() else numbers


def write_table(table: pd.DataFrame, file_format, index_label: str = "sample-id"):
    """Write ``table`` to a new file of ``file_format``, and return that file."""
    file = file_format()
    table.to_csv(str(file), sep="\t", index_label=index_label)
    return file


def _read_table(file) -> pd.DataFrame:
    """All cells as text, the first column as the index named ``id``."""
    table = pd.read_csv(str(file), sep="\t", dtype=str, keep_default_na=False)
    table = table.set_index(table.columns[0])
    table.index.name = "id"
    return table
