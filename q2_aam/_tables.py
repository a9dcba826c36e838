"""The files inside prediction artifacts, read and written as text: an id or a class named ``01``
stays ``01``."""

from __future__ import annotations

import pandas as pd


def read_table(file) -> pd.DataFrame:
    """All cells as text, the first column as the index named ``id``.

    Parameters
    ----------
    file : PredictionsFormat or ProbabilitiesFormat
    """
    table = pd.read_csv(str(file), sep="\t", dtype=str, keep_default_na=False)
    table = table.set_index(table.columns[0])
    table.index.name = "id"
    return table


def read_predictions(file) -> pd.Series:
    """Predicted values as text, by sample id."""
    return read_table(file).iloc[:, 0]


def read_probabilities(file) -> pd.DataFrame:
    """One row a sample, one column a class."""
    return read_table(file).astype(float)


def as_numbers(values: pd.Series) -> pd.Series:
    """``values`` as numbers if every one reads as such, else as they are.

    The file does not say whether it holds numbers or classes: codes, which would be one as numbers
    (1.1 and 1.10) or lose a zero (01), stay text.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    codes = numbers.nunique() < values.nunique() or values.str.match(r"[-+]?0[0-9]").any()
    return values if codes or numbers.isna().any() else numbers


def write_table(table: pd.DataFrame, file_format):
    """Write ``table`` as a new file of ``file_format`` and return it."""
    file = file_format()
    table.to_csv(str(file), sep="\t", index_label="sample-id")
    return file
