"""The page of a regression: predicted against actual numbers."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.reporting.page import cell
from aam_core.statistics import Numbers, scored
from aam_core.tasks.prediction_columns import BOUNDS, NOVELTY
from q2_aam.pages import rendering
from q2_aam.pages.shown import (
    Shown,
    Writer,
    baseline_facts,
    blend_facts,
    chart,
    held_out_fact,
    interval_fact,
    metric_fact,
    worded,
    written_metrics,
)

__all__ = ["write_regression_page"]

_LARGEST_ERRORS = 10
"""Samples that the page of a regression lists: those with the largest absolute errors."""

_R2 = (
    "R² = 1 - (sum of squared errors) / (sum of squared deviations of the actual values from their "
    "mean): 0 is as good as predicting that mean for every sample, and it may be negative. It is "
    "not the squared correlation."
)

_CAPTIONS = {
    "scatterplot": "Predicted against actual values",
    "residuals": "Residuals against actual values",
    "predictions": "Every number of the chart",
    "metrics": "Metrics with intervals",
    "metadata": "Metadata of these samples",
}

_WORST = ("actual", "prediction", "residual", *BOUNDS, "group", NOVELTY)
"""What is shown of the samples of the largest errors."""

_METRICS = {
    "mae": "Mean absolute error",
    "mae_of_median": "Mean absolute error of the median",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "spearman": "Spearman's correlation",
    "slope": "Slope of the fitted line",
    "intercept": "Intercept of the fitted line",
}


def write_regression_page(output_dir: str, it: Shown, units: str | None) -> None:
    """Write the page of `scatterplot`."""
    truth = it.truth
    table = it.table
    table.insert(2, "residual", table["prediction"] - table["actual"])
    metrics = _metrics(it)
    units = units or it.about.get("units")
    text = _writer(units)
    label = f"{truth} ({units})" if units else truth
    pictures = {
        "scatterplot": rendering.draw(
            output_dir,
            "scatterplot",
            functools.partial(plots.scatter, table, label=truth, units=units),
        ),
        "residuals": rendering.draw(
            output_dir,
            "residuals",
            functools.partial(
                plots.errors_against,
                table["actual"],
                table["residual"],
                xlabel=f"Actual {label}",
                ylabel=f"Residual of {label}",
            ),
        ),
    }
    worst = table.loc[table["residual"].abs().sort_values(ascending=False, kind="stable").index]
    context = {
        "title": f"Predicted against actual {truth}",
        "facts": _facts(it, metrics, text),
        "warnings": it.warnings,
        "notes": [_units_note(truth, units), _R2, *it.notes],
        "pictures": pictures,
        "captions": _CAPTIONS,
        "has_intervals": "lower" in table,
        "dashed": "predicted = actual (residual 0)",
        "fitted": "line fitted to all samples",
        "metrics_rows": rendering.rows(_worded_metrics(metrics)),
        "worst_rows": rendering.rows(worded(worst, _WORST, residual="Error"), _LARGEST_ERRORS),
        "count": f"{len(table):,}",
        "over": it.over,
        "in_units": f", in {units}" if units else "",
    }
    data, spec = chart(it, label=truth, units=units, line=_line(metrics, table))
    rendering.render(
        "scatterplot",
        output_dir,
        context,
        data={**data, "metrics": written_metrics(it, metrics)},
        charts={"scatterplot": spec},
    )


def _metrics(it: Shown) -> pd.DataFrame:
    """Metrics with intervals, the fitted line, and the error of the median as what is easy."""
    table = it.table
    numbers = Numbers(table["actual"].to_numpy(), table["prediction"].to_numpy())
    metrics = scored(numbers, it.codes)
    more = {"mae_of_median": float((table["actual"] - table["actual"].median()).abs().mean())}
    more |= _fitted_line(table)
    for name, value in more.items():
        metrics.loc[name] = [value, np.nan, np.nan]
    return metrics.loc[list(_METRICS)]


def _fitted_line(table: pd.DataFrame) -> dict[str, float]:
    """Least-squares line of the predictions over the true values."""
    if table["actual"].nunique() < 2:
        return {"slope": np.nan, "intercept": np.nan}
    slope, intercept = np.polyfit(table["actual"], table["prediction"], 1)
    return {"slope": float(slope), "intercept": float(intercept)}


def _line(metrics: pd.DataFrame, table: pd.DataFrame) -> list[list[float]] | None:
    """Ends of the fitted line."""
    slope, start = metrics.loc["slope", "value"], metrics.loc["intercept", "value"]
    if not np.isfinite(slope):
        return None
    return [[x, start + slope * x] for x in (table["actual"].min(), table["actual"].max())]


def _facts(it: Shown, metrics: pd.DataFrame, text: Writer) -> list[tuple[str, str, str]]:
    """What a reader must see first."""
    count = len(it.table)
    baselines = baseline_facts(it, "mae", "regression", text, "mean absolute error")
    median = text(metrics.loc["mae_of_median", "value"])
    said = "mean absolute error of predicting that of these samples for each of them"
    baselines.append(("Baseline: the median", median, said))
    return [
        ("Samples", f"{count:,}", f"with a value in {it.truth}"),
        held_out_fact(it),
        metric_fact(it, "Mean absolute error", metrics.loc["mae"], text),
        metric_fact(it, "R²", metrics.loc["r2"], _share),
        *baselines,
        *interval_fact(it, text),
        *blend_facts(it),
    ]


def _worded_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.rename(index=_METRICS).rename_axis("Metric").rename(columns=str.capitalize)


def _share(value: float, unit: str = "") -> str:
    return f"{value:.3f}{unit}"


def _units_note(column: str, units: str | None) -> str:
    unit = units or f"the units of {column} (--p-units names them)"
    return f"Actual and predicted values, errors and intervals are in {unit}."


def _writer(units: str | None) -> Writer:
    """What writes a number with four digits of its own, in the units of the truth."""
    own = f" {units}" if units else ""
    return lambda value, unit=own: f"{cell(float(value))}{unit}"
