"""The columns of a table of predictions: which there are, and what each of them holds.

``aam predict``, a fit and a cross-validation write such tables, and ``aam evaluate`` reads them,
also those of earlier versions and of other programs. A column with a fixed name is an entry of
`COLUMNS`; whoever writes it imports its name from here. The columns of probabilities are named
after the classes: a `Task` lists its own, and in a file they are recognized by `schema_of`.

Letters: N samples, C columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import numpy as np
import pandas as pd

from aam_core.data.columns import as_name
from aam_core.data.known_asvs import KNOWN_COLUMNS

__all__ = [
    "BOUNDS",
    "COLUMNS",
    "IN_TRAINING",
    "METHODS",
    "NOVELTY",
    "PREDICTION_SD",
    "PREDICTION_SET",
    "RESERVED",
    "ColumnKind",
    "is_of_method",
    "named",
    "schema_of",
]


class ColumnKind(Enum):
    """What a column of a table of predictions holds."""

    ID = "sample id"
    FOLD = "fold in which the sample was held out"
    ACTUAL = "actual value"
    PREDICTION = "predicted value"
    BOUND = "bound of the prediction interval"
    PROBABILITY = "probability of the class that the column is named after"
    SPREAD = "spread of the prediction over draws"
    SET = "classes that the sample may be of"
    FAMILIARITY = "what the model knows of the sample"
    METHOD = "prediction of another method, in a cross-validation"
    OTHER = "anything else"


BOUNDS = ("lower", "upper")
"""Columns of the prediction interval of a regression."""

IN_TRAINING = "in_training"
"""Whether the model was trained or validated on a sample of this id."""

NOVELTY = "novelty"
"""How far a sample is from those of the training: share of held-out samples no farther."""

PREDICTION_SD = "prediction_sd"
"""Standard deviation of the prediction over several draws of reads or ASVs."""

PREDICTION_SET = "prediction_set"
"""The classes that a sample may be of, with a confidence that was asked for."""

METHODS = ("network", "random_forest", "extra_trees", "linear", "dummy", "reads")
"""What a cross-validation scores besides the model; its columns start with these names."""

COLUMNS = {
    "sample-id": ColumnKind.ID,
    "repeat": ColumnKind.FOLD,
    "fold": ColumnKind.FOLD,
    "actual": ColumnKind.ACTUAL,
    "prediction": ColumnKind.PREDICTION,
    **dict.fromkeys(BOUNDS, ColumnKind.BOUND),
    PREDICTION_SD: ColumnKind.SPREAD,
    PREDICTION_SET: ColumnKind.SET,
    **dict.fromkeys((*KNOWN_COLUMNS, NOVELTY, IN_TRAINING), ColumnKind.FAMILIARITY),
}
"""Columns with a fixed name -> what they hold."""

RESERVED = tuple(name for name in COLUMNS if name not in (*BOUNDS, "repeat"))
"""What no class may be called, because its column of probabilities would have that name.

The bounds are never in one table with probabilities, so that classes may be called so; a repeat is
in that of a cross-validation alone, which refuses such a class itself.
"""

_TOLERANCE = 1e-3
"""By how much the probabilities of a sample may miss 1: files hold few digits."""


def is_of_method(name: str) -> bool:
    """Whether a cross-validation may have a column of this name for one of its `METHODS`."""
    return name in METHODS or name.startswith(tuple(f"{method}_" for method in METHODS))


def named(schema: dict[str, ColumnKind], kind: ColumnKind) -> list[str]:
    """The columns of one kind, in the order of the table."""
    return [name for name, its_kind in schema.items() if its_kind is kind]


def schema_of(predictions: pd.DataFrame) -> dict[str, ColumnKind]:
    """What each column of a table of predictions holds.

    Parameters
    ----------
    predictions : DataFrame
        Has the column ``prediction``, and each name once.

    Returns
    -------
    dict
        Kind of each column, in their order. Probabilities are columns side by side, apart from
        columns of other kinds, that hold numbers from 0 to 1, sum to 1 in every row, and are named
        after classes, some of which are predicted. So further numeric columns before, between and
        behind them change nothing; and a class may have a name that is reserved today, as in files
        of earlier versions.

    Examples
    --------
    >>> table = pd.DataFrame({"prediction": ["a", "b"], "depth": [0.5, 9.0]})
    >>> table = table.assign(a=[0.7, 0.4], b=[0.3, 0.6], known_reads=1.0)
    >>> named(schema_of(table), ColumnKind.PROBABILITY)
    ['a', 'b']
    """
    schema = {name: _kind_by_name(name) for name in predictions.columns}
    predicted = {as_name(value) for value in predictions["prediction"].dropna()}
    shares = {name: kind for name, kind in schema.items() if _has_shares(predictions[name])}
    # A class that is never predicted may have the name of another column, if nothing else fits.
    for accepted in ({ColumnKind.OTHER}, {ColumnKind.OTHER, ColumnKind.METHOD}, set(ColumnKind)):
        candidates = [
            name for name, kind in shares.items() if kind in accepted or name in predicted
        ]
        probabilities = _probabilities(predictions, candidates, predicted)
        if probabilities:
            return schema | dict.fromkeys(probabilities, ColumnKind.PROBABILITY)
    return schema


def _kind_by_name(name: str) -> ColumnKind:
    if name in COLUMNS:
        return COLUMNS[name]
    return ColumnKind.METHOD if is_of_method(str(name)) else ColumnKind.OTHER


def _has_shares(column: pd.Series) -> bool:
    """Whether a column holds nothing but numbers from 0 to 1."""
    # bool is numeric to pandas: a flag such as in_training is no probability.
    if not pd.api.types.is_numeric_dtype(column.dtype) or column.dtype == bool:
        return False
    values = column.to_numpy(np.float64, na_value=np.nan)
    # NaN compares false: a column with a gap holds no probabilities.
    return bool(((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE)).all())


def _probabilities(
    predictions: pd.DataFrame, candidates: Sequence[str], predicted: Iterable[str]
) -> list[str]:
    """The longest run of candidates with the predicted classes whose sum is 1 in every row.

    The sums grow with the run, so that its end only moves to the right while its start does.
    """
    places = [place for place, name in enumerate(candidates) if name in predicted]
    if not places:
        return []
    values = predictions[list(candidates)].to_numpy(np.float64)
    sums = np.zeros(len(values))
    end = 0
    for start in range(places[0] + 1):
        while end < len(candidates) and (sums + values[:, end] <= 1 + _TOLERANCE).all():
            sums = sums + values[:, end]
            end += 1
        # Two columns at least, as of classes: a single column of ones is a constant.
        if end > places[-1] and end - start >= 2 and (sums >= 1 - _TOLERANCE).all():
            return list(candidates[start:end])
        if end == start:
            return []
        sums = sums - values[:, start]
    return []
