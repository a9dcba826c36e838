"""Which metadata columns tell the error: a rank test of each, with samples of a group together.

Letters: N samples (or groups), S strata, P indicators of categories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aam_core.data.columns import as_name, is_missing_word, is_number, to_floats
from aam_core.statistics import benjamini_hochberg

__all__ = [
    "MOST_CATEGORIES",
    "column_tests",
    "is_missing",
    "is_numeric",
    "rank_test",
]

MOST_CATEGORIES = 30
"""Categories above which a column of names is not tested: ids, dates, free text."""

_FEW_NUMBERS = 2
"""Different numbers up to which a column counts as categories: two numbers are two names."""

_FEW_VARY = 0.2
"""Share of groups with several values up to which a column is one of groups: a few wrong cells do
not make a subject's sex a matter of its samples."""

_LEAST = 8
"""Samples, or groups, below which a column is not tested."""


def column_tests(
    errors: pd.Series, metadata: pd.DataFrame, groups: pd.Series | None = None
) -> pd.DataFrame:
    """Test of each metadata column whether errors are greater at some of its values.

    Samples of a group are not independent. A column that has one value in each group is tested on
    the mean errors of the groups; one that varies in more than a fifth of them on ranks, less
    their means within groups.

    Parameters
    ----------
    errors : Series
        By sample id, not negative.
    metadata : DataFrame
        Rows of these samples, in their order.
    groups : Series, optional
        Group of each sample, in the same order.

    Returns
    -------
    DataFrame
        Index ``column``, by rising p: ``kind`` (numbers, categories), ``level`` (samples, groups,
        within groups), ``units`` (how many of them), ``values`` (different ones), ``direction`` of
        numbers (Spearman's correlation with the error), ``p``, ``q`` (Benjamini and Hochberg), and
        ``skipped``: why a column was not tested.
    """
    rows = {name: _test(errors, metadata[name], groups) for name in metadata.columns}
    names = ["kind", "level", "units", "values", "direction", "p", "skipped"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("column")
    frame["p"] = frame["p"].astype(float)
    frame.insert(6, "q", benjamini_hochberg(frame["p"].to_numpy()))
    return frame.sort_values("p", kind="stable", na_position="last")


def is_numeric(values: pd.Series) -> bool:
    """Whether a column is drawn and tested as numbers."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return False
    present = [value for value in values if not is_missing(value)]
    if not all(is_number(as_name(value).strip()) for value in present):
        return False
    return len({float(value) for value in present}) > _FEW_NUMBERS


def is_missing(value: Any) -> bool:
    """Whether a cell is blank, or a word for no value."""
    return bool(pd.isna(value)) or is_missing_word(as_name(value))


def rank_test(errors: np.ndarray, given: np.ndarray, strata: np.ndarray) -> tuple[float, int]:
    """p that errors do not depend on what is given, by ranks within strata; degrees of freedom.

    The mean score test of Cochran, Mantel and Haenszel: sums of ranks are compared with their
    moments when samples are permuted within strata. With one stratum it is the test of Kruskal and
    Wallis, or Spearman's. (Landis JR, Heyman ER, Koch GG 1978, International Statistical Review 46:
    237-254.)

    Parameters
    ----------
    errors : ndarray
        [N]
    given : ndarray
        [N] numbers, of which the ranks count; or [N, P] indicators.
    strata : ndarray
        [N] int
    """
    from scipy.stats import chi2, rankdata

    scores = rankdata(errors)
    columns = rankdata(given)[:, None] if given.ndim == 1 else given.astype(np.float64)
    size = columns.shape[1]
    total, covariance = np.zeros(size), np.zeros((size, size))
    for stratum in np.unique(strata):
        rows = strata == stratum
        if rows.sum() < 2:
            continue
        y = scores[rows] - scores[rows].mean()
        x = columns[rows] - columns[rows].mean(axis=0)
        total += y @ x
        covariance += (x.T @ x) * (y @ y) / (rows.sum() - 1)
    inverse = np.linalg.pinv(covariance, rcond=1e-9, hermitian=True)
    freedom = int(np.linalg.matrix_rank(covariance, hermitian=True))
    if not freedom:
        return float("nan"), 0
    return float(chi2.sf(total @ inverse @ total, freedom)), freedom


def _most_common(values: pd.Series) -> Any:
    return values.mode().iloc[0]


def _direction(frame: pd.DataFrame, strata: np.ndarray) -> float:
    """Correlation of the ranks, less their means within strata."""
    ranks = frame[["error", "value"]].astype(float).rank()
    centred = ranks - ranks.groupby(strata).transform("mean")
    return float(centred["error"].corr(centred["value"]))


def _test(errors: pd.Series, values: pd.Series, groups: pd.Series | None) -> tuple[Any, ...]:
    numeric = is_numeric(values)
    kind = "numbers" if numeric else "categories"
    read = to_floats(values) if numeric else [None if is_missing(v) else as_name(v) for v in values]
    frame = pd.DataFrame({"error": errors.to_numpy(), "value": read})
    frame["group"] = np.arange(len(frame)) if groups is None else groups.astype(str).to_numpy()
    frame = frame.dropna()
    level = "samples"
    if groups is not None:
        level = "within groups"
        varying = (frame.groupby("group")["value"].nunique() > 1).mean()
        if not varying > _FEW_VARY:
            level = "groups"
            common = "median" if numeric else _most_common
            frame = frame.groupby("group", as_index=False).agg({"error": "mean", "value": common})
    distinct = int(frame["value"].nunique())
    row = (kind, level, len(frame), distinct)
    if len(frame) < _LEAST:
        return (*row, np.nan, np.nan, f"fewer than {_LEAST} {level}")
    if distinct < 2:
        return (*row, np.nan, np.nan, "one value")
    if not numeric and distinct > MOST_CATEGORIES:
        return (*row, np.nan, np.nan, f"more than {MOST_CATEGORIES} categories")
    if not numeric and distinct == len(frame):
        return (*row, np.nan, np.nan, "all values differ")
    strata = frame["group"].to_numpy() if level == "within groups" else np.zeros(len(frame))
    strata = np.unique(strata, return_inverse=True)[1]
    given = frame["value"].to_numpy(np.float64) if numeric else None
    if given is None:
        given = pd.get_dummies(frame["value"]).to_numpy()[:, 1:]
    p, _ = rank_test(frame["error"].to_numpy(), given, strata)
    direction = _direction(frame, strata) if numeric else np.nan
    return (*row, direction, p, "" if np.isfinite(p) else "does not vary within groups")
