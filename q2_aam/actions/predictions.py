"""Pages that show predictions beside the truth.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import numpy as np
import pandas as pd
import qiime2

from aam_core.errors import InputError, first_five
from q2_aam._details import Details
from q2_aam._predictions import (
    PredictionsFormat,
    ProbabilitiesFormat,
    read_predictions,
    read_probabilities,
)
from q2_aam.pages.classification import write_classification_page
from q2_aam.pages.regression import write_regression_page
from q2_aam.pages.shown import shown

__all__ = ["confusion_matrix", "scatterplot"]


def scatterplot(
    output_dir: str,
    predictions: PredictionsFormat,
    truth: qiime2.NumericMetadataColumn,
    details: Details = None,
    metadata: qiime2.Metadata = None,
    group_by: qiime2.MetadataColumn = None,
    units: str = None,
    missing_samples: str = "error",
) -> None:
    """Write a page with the predictions of a regressor against the truth into ``output_dir``."""
    it = shown(
        _numbers(read_predictions(predictions)),
        truth,
        missing_samples,
        details=details,
        metadata=metadata,
        group_by=group_by,
    )
    write_regression_page(output_dir, it, units or it.about.get("units"))


def confusion_matrix(
    output_dir: str,
    predictions: PredictionsFormat,
    truth: qiime2.CategoricalMetadataColumn,
    probabilities: ProbabilitiesFormat = None,
    details: Details = None,
    metadata: qiime2.Metadata = None,
    group_by: qiime2.MetadataColumn = None,
    missing_samples: str = "error",
) -> None:
    """Write a page with the confusion matrix of a classifier into ``output_dir``."""
    by_class = None
    if probabilities is not None:
        by_class = read_probabilities(probabilities)
    elif details is not None:
        by_class = details.probabilities
    it = shown(
        read_predictions(predictions),
        truth,
        missing_samples,
        details=details,
        metadata=metadata,
        group_by=group_by,
        probabilities=by_class,
    )
    write_classification_page(output_dir, it)


def _numbers(predictions: pd.Series) -> pd.Series:
    """Predictions as numbers."""
    numbers = pd.to_numeric(predictions, errors="coerce")
    other = predictions[~np.isfinite(numbers)]
    if len(other):
        raise InputError(
            f"{len(other)} of {len(predictions)} predictions are not numbers: "
            f"{first_five(list(other))}. Give those of a regressor."
        )
    return numbers.astype(float)
