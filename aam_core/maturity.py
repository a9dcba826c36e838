"""Microbial maturity: predicted age against that of control samples of the same age.

(Subramanian S et al. 2014, Nature 510: 417-421, doi 10.1038/nature13421.) Letters: N samples.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core.errors import InputError, first_five

__all__ = ["maturity", "maturity_by_age"]

_FEWEST = 2
"""Control samples of an age without which there is no standard deviation."""


def maturity(
    age: pd.Series, predicted: pd.Series, control: pd.Series, *, width: float | None = None
) -> pd.DataFrame:
    """Relative maturity and microbiota-for-age z-score (MAZ) of each sample.

    ``maz = (predicted - median) / sd``, where median and standard deviation (of a sample, with
    N - 1) are those of the predicted ages of control samples in the same age bin; ``relative`` is
    ``predicted - median``. The control samples are scored, too.

    Parameters
    ----------
    age : Series
        [N] true ages by sample id.
    predicted : Series
        Predicted ages of these samples, in the same unit; none of a model that was trained on them.
    control : Series
        [N] bool: whether a sample is a control (healthy).
    width : float, optional
        Width of an age bin, in the unit of the ages: from 0 to below ``width``, and so on. Where
        not given, a bin is of one age.

    Returns
    -------
    DataFrame
        Index ``sample-id``; ``age``, ``predicted``, ``control``, ``bin`` (the least age that it may
        hold), ``control_samples``, ``control_median`` and ``control_sd`` of its bin, ``relative``
        and ``maz``. NaN where a bin has no control; the last also where it has one control, or
        controls of one predicted age.

    Raises
    ------
    InputError
        If no bin has two control samples.

    Examples
    --------
    >>> import pandas as pd
    >>> ids = ["a", "b", "c", "d"]
    >>> age = pd.Series([1.0, 1.5, 1.2, 1.9], ids)
    >>> predicted = pd.Series([1.0, 3.0, 2.0, 0.0], ids)
    >>> control = pd.Series([True, True, True, False], ids)
    >>> maturity(age, predicted, control, width=1.0)["maz"].tolist()
    [-1.0, 1.0, 0.0, -2.0]
    """
    if width is not None and not 0 < width < np.inf:
        raise InputError(f"The width of an age bin must be above 0 and finite, not {width:g}.")
    table = pd.DataFrame(
        {
            "age": age.astype(float),
            "predicted": predicted.loc[age.index].astype(float),
            "control": control.loc[age.index].astype(bool),
        }
    ).rename_axis("sample-id")
    table["bin"] = table["age"] if width is None else _bins(table["age"], width)
    by_bin = maturity_by_age(table)
    if not (by_bin["control_samples"] >= _FEWEST).any():
        ages = first_five([f"{value:g}" for value in by_bin.index])
        raise InputError(
            f"No age has two control samples or more (of {int(table['control'].sum())} controls; "
            f"ages: {ages}): give a wider age bin."
        )
    table = table.join(by_bin, on="bin")
    table["relative"] = table["predicted"] - table["control_median"]
    table["maz"] = table["relative"] / table["control_sd"].where(table["control_sd"] > 0)
    return table


def _bins(age: pd.Series, width: float) -> pd.Series:
    """The least age of the bin of each age.

    Rounded: 0.3 / 0.1 is a little less than 3, and 3 * 0.1 a little more than 0.3.
    """
    number = np.floor(np.round(age / width, 9))
    return (number * width).map(lambda least: float(f"{least:.12g}"))


def maturity_by_age(table: pd.DataFrame) -> pd.DataFrame:
    """Number, median and standard deviation of the predicted ages of controls, by age bin.

    Parameters
    ----------
    table : DataFrame
        ``bin``, ``predicted`` and ``control``, as `maturity` returns.

    Returns
    -------
    DataFrame
        Index ``bin``, ascending, all of the table; ``control_samples``, ``control_median`` and
        ``control_sd``.
    """
    bins = sorted(table["bin"].unique())
    of_controls = table.loc[table["control"], "predicted"].groupby(table["bin"])
    return pd.DataFrame(
        {
            "control_samples": of_controls.size().reindex(bins, fill_value=0).astype(int),
            "control_median": of_controls.median().reindex(bins),
            "control_sd": of_controls.std(ddof=1).reindex(bins),
        }
    ).rename_axis("bin")
