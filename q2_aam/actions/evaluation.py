"""What tells how well a column is predicted: splits, cross-validations, comparisons.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import biom
import pandas as pd
import qiime2

from aam_core.data.columns import label_codes
from aam_core.data.folds import quantile_strata
from aam_core.data.splits import aligned, train_val_split
from aam_core.errors import InputError
from aam_core.log import logger, showing
from q2_aam._predictions import PredictionsFormat, write_table
from q2_aam._studies import column_values

__all__ = ["split_table"]

_QUANTILES = 5
"""Strata of a numeric column."""


def split_table(
    table: biom.Table,
    metadata: qiime2.MetadataColumn,
    group_by: qiime2.MetadataColumn = None,
    test_size: float = 0.2,
    random_state: int = 0,
    stratify: bool = True,
    missing_samples: str = "error",
) -> (biom.Table, biom.Table, PredictionsFormat, PredictionsFormat):  # type: ignore[syntax]
    """Divide a table into training and test samples; those of a group stay together."""
    values = column_values(table.ids(), metadata, missing_samples, "the table")
    samples = [name for name in table.ids() if name in values.index]
    values = values.loc[samples]
    if not 0 < round(test_size * len(samples)) < len(samples):
        raise InputError(
            f"A test_size of {test_size:g} leaves no sample on one side: there are "
            f"{len(samples)} samples. Change test_size, or give more samples."
        )
    groups = None if group_by is None else aligned(samples, group_by.to_series(), "group")
    strata = None
    if stratify:
        numeric = isinstance(metadata, qiime2.NumericMetadataColumn)
        strata = quantile_strata(values, _QUANTILES, groups) if numeric else values
    sides = train_val_split(
        samples, fraction=test_size, seed=random_state, groups=groups, strata=strata
    )
    with showing():
        for name, side in zip(("training", "test"), sides, strict=True):
            of = "" if groups is None else f" of {label_codes(groups[side]).max() + 1} groups"
            logger.info(f"{name}: {len(side)} samples{of} ({len(side) / len(samples):.0%})")
    tables = (table.filter(side, inplace=False).remove_empty("observation") for side in sides)
    return (*tables, *(_targets(values.loc[side]) for side in sides))


def _targets(values: pd.Series) -> PredictionsFormat:
    """The true values of some samples."""
    return write_table(values.to_frame(), PredictionsFormat)
