"""Pages that show predictions beside the truth: the core's plots and metrics.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import functools
import math

import numpy as np
import pandas as pd
import qiime2

from aam_core import plots
from aam_core.errors import InputError, first_five
from aam_core.tasks.metrics import classification_metrics, regression_metrics
from q2_aam import _pages
from q2_aam._predictions import (
    PredictionsFormat,
    ProbabilitiesFormat,
    read_predictions,
    read_probabilities,
)
from q2_aam._studies import column_values

__all__ = ["confusion_matrix", "scatterplot"]

_LARGEST_ERRORS = 10
"""Samples that the page of a regression lists: those with the largest absolute errors."""


def scatterplot(
    output_dir: str,
    predictions: PredictionsFormat,
    truth: qiime2.NumericMetadataColumn,
    missing_samples: str = "error",
) -> None:
    """Write a page with the predictions of a regressor against the truth into ``output_dir``."""
    table = _table(read_predictions(predictions), truth, missing_samples).astype(float)
    metrics = regression_metrics(table["actual"], table["prediction"])
    metrics["mae_of_median"] = float((table["actual"] - table["actual"].median()).abs().mean())
    metrics |= _fitted_line(table)
    errors = table.assign(error=table["prediction"] - table["actual"])
    by_error = errors["error"].abs().sort_values(ascending=False, kind="stable").index
    places = _decimal_places(table)
    pictures = _draw(plots.scatter, table, truth.name, output_dir, "scatterplot")
    context = {
        **_title(truth.name, table),
        "pictures": {"scatterplot": pictures},
        "plots": pictures,
        "column": truth.name,
        "samples": len(table),
        "r2": _number(metrics["r2"], 3),
        "slope": _number(metrics["slope"], 3),
        **{
            name: _number(metrics[name], places)
            for name in ("mae", "mae_of_median", "rmse", "intercept")
        },
        "largest_errors": [
            (name, *(_number(value, places) for value in row))
            for name, row in errors.loc[by_error[:_LARGEST_ERRORS]].iterrows()
        ],
    }
    data = {"predictions": table, "metrics": _metrics_table(metrics, table)}
    _pages.render("scatterplot", output_dir, context, data=data)


def confusion_matrix(
    output_dir: str,
    predictions: PredictionsFormat,
    truth: qiime2.CategoricalMetadataColumn,
    probabilities: ProbabilitiesFormat = None,
    missing_samples: str = "error",
) -> None:
    """Write a page with the confusion matrix of a classifier into ``output_dir``."""
    table = _table(read_predictions(predictions), truth, missing_samples)
    by_class = None if probabilities is None else _probabilities(probabilities, table.index)
    metrics = classification_metrics(table["actual"], table["prediction"], by_class)
    metrics["accuracy_of_most_common"] = float(table["actual"].value_counts(normalize=True).max())
    if by_class is None:
        del metrics["auc"], metrics["brier"]
    counts = pd.crosstab(table["actual"], table["prediction"])
    classes = _classes(counts)
    pictures = _draw(plots.confusion, table, truth.name, output_dir, "confusion_matrix")
    context = {
        **_title(truth.name, table),
        "pictures": {"confusion_matrix": pictures},
        "plots": pictures,
        "column": truth.name,
        "samples": len(table),
        "accuracy": _percent(metrics["accuracy"]),
        "accuracy_of_most_common": _percent(metrics["accuracy_of_most_common"]),
        "f1": _number(metrics["f1"], 3),
        "auc": None if by_class is None else _number(metrics["auc"], 3),
        "classes": [
            (
                name,
                _number(row["samples"], 0),
                _percent(row["recall"]),
                _percent(row["precision"]),
                _number(row["f1"], 3),
            )
            for name, row in classes.iterrows()
        ],
    }
    data = {
        "predictions": table,
        "confusion_matrix": counts.rename_axis(index="actual"),
        "classes": classes.rename_axis("class"),
        "metrics": _metrics_table(metrics, table),
    }
    _pages.render("confusion_matrix", output_dir, context, data=data)


def _table(predictions: pd.Series, truth, missing_samples: str) -> pd.DataFrame:
    """Columns ``actual`` and ``prediction`` of the samples that have both."""
    values = column_values(predictions.index, truth, missing_samples, "the predictions")
    shared = [sample for sample in predictions.index if sample in values.index]
    table = pd.DataFrame({"actual": values[shared], "prediction": predictions[shared]})
    return table.rename_axis("sample-id")


def _draw(plot, table: pd.DataFrame, label: str, output_dir: str, name: str) -> list[str]:
    """Draw a plot; the suffixes of the files that were written."""
    return _pages.draw(output_dir, name, functools.partial(plot, table, label=label))


def _title(column: str, table: pd.DataFrame) -> dict:
    count = len(table)
    return {
        "title": f"Predicted against actual {column}",
        "lead": f"{count:,} sample{'' if count == 1 else 's'}.",
    }


def _probabilities(file, samples) -> pd.DataFrame:
    """Probabilities of ``samples``, in their order."""
    table = read_probabilities(file)
    missing = [sample for sample in samples if sample not in table.index]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} predicted samples have no probabilities: "
            f"{first_five(missing)}. Give those of the same prediction."
        )
    return table.loc[samples]


def _fitted_line(table: pd.DataFrame) -> dict[str, float]:
    """Least-squares line of the predictions over the true values."""
    if table["actual"].nunique() < 2:
        return {"slope": np.nan, "intercept": np.nan}
    slope, intercept = np.polyfit(table["actual"], table["prediction"], 1)
    return {"slope": float(slope), "intercept": float(intercept)}


def _classes(counts: pd.DataFrame) -> pd.DataFrame:
    """Samples, recall, precision and F1 of each class; NaN where there is nothing to divide by."""
    names = sorted({*counts.index, *counts.columns})
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    correct = pd.Series(np.diag(counts).astype(float), index=names)
    actual, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return pd.DataFrame(
        {
            "samples": actual,
            "recall": correct / actual.where(actual > 0),
            "precision": correct / predicted.where(predicted > 0),
            "f1": 2 * correct / (actual + predicted),
        }
    )


def _metrics_table(metrics: dict, table: pd.DataFrame) -> pd.DataFrame:
    return (
        pd.Series({"samples": len(table), **metrics}, dtype=object, name="value")
        .to_frame()
        .rename_axis("metric")
    )


def _decimal_places(table: pd.DataFrame) -> int:
    """Decimal places that show four digits of the largest number."""
    largest = float(table.abs().to_numpy().max())
    return max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 0


def _number(value: float, places: int) -> str:
    return f"{value:,.{places}f}" if np.isfinite(value) else "not defined"


def _percent(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else "not defined"
