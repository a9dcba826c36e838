"""The page of a cross-validation: its methods side by side, and their paired errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aam_core.comparison import labels_of, losses_by_group, metric_names
from aam_core.ensemble.blending import forest_in_words, parts_in_words
from aam_core.plots.style import named_metric as _metric
from aam_core.reporting.page import cell
from aam_core.statistics import CONFIDENCE, mean_metrics, predictions_of
from aam_core.tasks import task_named
from q2_aam._studies import plain_names
from q2_aam.pages import rendering
from q2_aam.pages.comparison_charts import (
    REFERENCE,
    differences_chart,
    metrics_chart,
    paired_chart,
    pictures_of,
)

__all__ = ["write_page"]

_LOSSES = {"regression": "mean absolute error", "classification": "mean Brier score"}
"""What is averaged over the samples of a group, by task."""

_PARTS = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")
"""Endings of the columns of a metric in the comparison table."""

_NAMES = {
    "spearman": "Spearman's correlation",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "ece": "calibration error",
}

_SCALED = {"mae", "rmse", "width"}
"""Metrics in the unit of the column."""


def write_page(
    output_dir: str,
    by_method: pd.DataFrame,
    comparison: pd.DataFrame,
    about: Mapping[str, Any],
    units: str | None = None,
) -> None:
    """Write the page of a cross-validation.

    Parameters
    ----------
    output_dir : str
    by_method : DataFrame
        As `aam_core.comparison.long_table` returns it.
    comparison : DataFrame
        As `aam_core.comparison.comparison_table` returns it.
    about : mapping
        Of the details.
    units : str, optional
        Unit of the column.
    """
    task, labels = about["task"], labels_of(about["task"])
    metrics = _metrics_long(comparison, labels, units)
    losses = losses_by_group(by_method, task, about["classes"] or [])
    losses.index = pd.Index(plain_names(losses.index.to_series()))
    folds = _folds(by_method, about, labels)
    paired = _paired_long(losses, labels)
    loss = _with_unit(_LOSSES[task], units if task == "regression" else None)
    reference = REFERENCE if REFERENCE in comparison.index else None
    main = task_named(task).metrics[0]
    pictures = pictures_of(output_dir, metrics, losses, labels, (main, loss, reference))
    data = {
        "comparison": comparison,
        "metrics": metrics,
        "paired_errors": paired,
        "folds": folds,
        "predictions_by_method": by_method,
    }
    if about["folds"] == 1:  # of a test split
        del data["folds"]
    charts: dict[str, dict[str, Any]] = {"metrics": metrics_chart(metrics, main)}
    if reference:
        charts["differences"] = differences_chart(metrics, main)
    if len(paired):
        charts["paired_errors"] = paired_chart(paired, loss, labels)
    else:  # no other method was scored
        del data["paired_errors"]
    context = {
        **_head(comparison, about, by_method.index.nunique(), (main, units)),
        "intervals": _intervals_in_words(about, comparison),
        "confidence": f"{CONFIDENCE:.0%}",
        "reference": reference and labels[reference],
        "methods": rendering.rows(_metrics_shown(comparison, labels, main)),
        "compared": reference
        and rendering.rows(_differences_shown(comparison, labels, main, reference)),
        "columns": _columns_in_words(comparison, units, reference is not None),
        "unit": "sample" if about["group_by"] is None else "group",
        "paired": len(paired) and f"The {loss} of AAM against that of another method.",
        "folds": about["folds"] > 1 and rendering.rows(_folds_shown(folds)),
        "folds_title": f"{_named(main)} in each fold",
        "pictures": pictures,
        "captions": {
            "methods": "Metrics with intervals",
            "paired": "Paired errors",
            "comparison": "Comparison of the methods: metrics, intervals, differences, p",
            "metrics": "The same, a row a metric of a method",
            "paired_errors": f"The {loss} of each group by each method",
            "folds": "Metric of each fold",
            "predictions_by_method": "Predictions of each sample by each method",
        },
    }
    rendering.render("compare", output_dir, context, data=data, charts=charts)


# --- what stands at the top ----------------------------------------------------------------------


def _head(comparison, about, samples: int, scale: tuple[str, str | None]) -> dict[str, Any]:
    """Title, first sentence, facts and notes."""
    main, units = scale
    ours, column = comparison.loc["aam"], about["column"]
    group, groups, folds = about["group_by"], about["groups"], about["folds"]
    times = about.get("repeats") or 1
    how = f"{folds} folds" if folds > 1 else "one test split"
    how += f", {times} times with other seeds" if times > 1 else ""
    what = "samples" if folds > 1 else "test samples"
    if group is None:
        lead = (
            f"Each of {samples:,} {what} was predicted by models that never saw it: divided at "
            f"random, without groups, {how}."
        )
        warnings = [
            "The samples were not grouped. Where several samples are of one host or site, models "
            "may recognize it, and all metrics on this page are too good: give group_by."
        ]
    else:
        lead = (
            f"Each of {samples:,} {what} was predicted by models that never saw it, nor any other "
            f"sample of its group: by {group}, {groups:,} groups, {how}."
        )
        warnings = []
    unit = f" {units}" if units and main in _SCALED else ""
    facts = [
        (f"{_named(main)} of AAM", f"{cell(ours[main])}{unit}", _span(ours, main, "interval "))
    ]
    if REFERENCE in comparison.index:
        theirs = comparison.loc[REFERENCE]
        facts.append(
            (
                f"{_named(main)} of a random forest",
                f"{cell(theirs[main])}{unit}",
                _span(theirs, main, "interval "),
            )
        )
        facts.append(
            (
                "Difference of AAM",
                f"{_signed(ours[f'{main}_difference'])}{unit}",
                f"{_span(ours, f'{main}_difference', 'interval ')}; "
                f"{_p(ours['p'])}; better in {int(ours['better'])} of "
                f"{int(ours['groups'])} {'samples' if group is None else 'groups'}",
            )
        )
    if "coverage" in comparison.columns and np.isfinite(ours.get("coverage", np.nan)):
        facts.append(
            (
                f"{about['confidence']:.0%} prediction interval",
                f"{ours['coverage']:.1%}",
                "of the true values lie in it",
            )
        )
    if about["blend"]:
        facts.append(("Blend of AAM", *_blend_in_words(about["blend"], folds)))
    return {
        "title": f"Cross-validation of {column}"
        if folds > 1
        else f"AAM and baselines on test samples: {column}",
        "lead": lead,
        "facts": facts,
        "warnings": warnings,
        "notes": about["notes"] or [],
    }


def _blend_in_words(blend: Mapping[str, float], folds: int) -> tuple[str, str]:
    """What AAM's predictions are of in some folds, and what that means."""
    linear = blend.get("linear_share", 0.0)
    remark = "shares of the prediction" + (", in the mean of the folds" if folds > 1 else "")
    if blend["networks"] in (0, 1):
        other = forest_in_words(linear) if blend["networks"] else "networks"
        remark = f"the {other} had no weight"
    return parts_in_words(blend["networks"], linear), remark


def _intervals_in_words(about, comparison) -> str:
    unit = "samples" if about["group_by"] is None else "groups"
    text = f"Intervals: {CONFIDENCE:.0%}, by a bootstrap over {unit}."
    if REFERENCE in comparison.index:
        text += (
            f" p: Wilcoxon signed-rank test of the {unit}' mean losses against the random forest, "
            "without a correction for the number of methods."
        )
    return text


def _columns_in_words(comparison, units: str | None, compared: bool) -> str:
    parts = []
    names = set(comparison.columns)
    if "r2" in names:
        parts.append(
            "R²: 1 minus the squared errors over those of predicting the mean of all samples; it "
            "can be negative."
        )
    if names & _SCALED and units:
        parts.append(f"MAE, RMSE and width are in {units}.")
    if "auc" in names:
        parts.append("AUC: mean over the classes, 0.5 is chance.")
    if "brier" in names:
        parts.append(
            "Brier score: squared error of the probabilities, summed over the classes; 0 is "
            "perfect. Calibration error: mean difference of the probabilities from the frequencies."
        )
    if "coverage" in names:
        parts.append("Coverage: share of the true values within AAM's interval; width: its mean.")
    if compared:
        parts.append("Better in: groups with a lower mean loss than by the random forest.")
    return " ".join(parts)


# --- tables --------------------------------------------------------------------------------------


def _metrics_long(comparison, labels: Mapping[str, str], units: str | None) -> pd.DataFrame:
    """A row a metric of a method: value, interval, difference and its interval."""
    rows = []
    for method, row in _rows(comparison):
        for name in metric_names(comparison):
            values = [float(row.get(f"{name}{part}", np.nan)) for part in _PARTS]
            if np.isfinite(values[0]):
                label = _with_unit(_named(name), units if name in _SCALED else None)
                rows.append((labels[method], label, name, *values))
    names = ["value", "low", "high", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=["method", "label", "metric", *names])


def _paired_long(losses: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a group and method but AAM: its mean loss, and that of AAM."""
    others = [name for name in losses.columns if name not in ("samples", "aam")]
    parts = [
        pd.DataFrame(
            {
                "group": losses.index,
                "samples": losses["samples"].to_numpy(),
                "method": labels[name],
                "other": losses[name].to_numpy(),
                "AAM": losses["aam"].to_numpy(),
            }
        )
        for name in others
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _folds(by_method: pd.DataFrame, about, labels: Mapping[str, str]) -> pd.DataFrame:
    """The main metric of each method in each fold."""
    task, rows = about["task"], []
    main, classes = task_named(task).metrics[0], about["classes"] or []
    for (repeat, fold), part in by_method.groupby(["repeat", "fold"]):
        ours = part[part["method"] == "aam"]
        row: dict[str, Any] = {"repeat": int(repeat), "fold": int(fold), "samples": len(ours)}
        if about["group_by"] is not None:
            row["groups"] = ours["group"].nunique()
        for method, own in part.groupby("method", sort=False):
            run = predictions_of(own, "aam", task, classes)
            row[labels[str(method)]] = mean_metrics([run], names=[main])[main]
        rows.append(row)
    table = pd.DataFrame(rows)
    return table if table["repeat"].nunique() > 1 else table.drop(columns="repeat")


def _metrics_shown(comparison, labels, main: str) -> pd.DataFrame:
    """The metrics of each method, as the page shows them."""
    table = comparison[metric_names(comparison)].rename(columns=_named)
    # The interval stands beside its metric, which is first.
    table.insert(0, _named(main), table.pop(_named(main)))
    table.insert(1, "interval", [_span(row, main) for _, row in _rows(comparison)])
    return table.set_axis([labels[name] for name in table.index]).rename_axis("method")


def _differences_shown(comparison, labels, main: str, reference: str) -> pd.DataFrame:
    """The differences of the other methods from the reference, as the page shows them."""
    lines = {
        labels[method]: {
            f"{_named(main)}, difference": _signed(row[f"{main}_difference"]),
            "interval": _span(row, f"{main}_difference"),
            "better in": f"{int(row['better'])} of {int(row['groups'])}",
            "test": _p(row["p"]),
        }
        for method, row in _rows(comparison)
        if method != reference
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def _folds_shown(folds: pd.DataFrame) -> pd.DataFrame:
    """A column a fold."""
    places = ["fold"] if "repeat" not in folds else ["repeat", "fold"]
    names = folds[places].astype(str).agg(".".join, axis=1)
    table = folds.drop(columns=places).set_axis([f"fold {name}" for name in names]).T
    return table.rename_axis("method")


def _rows(comparison: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    return [(str(method), row) for method, row in comparison.iterrows()]


def _span(row: pd.Series, name: str, before: str = "") -> str:
    """The interval of a metric in words; empty where there is none."""
    low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    if not np.isfinite([low, high]).all():
        return ""
    return f"{before}{cell(low)} to {cell(high)}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else ""


def _with_unit(text: str, unit: str | None) -> str:
    return f"{text} ({unit})" if unit else text


def _named(metric: str) -> str:
    return _NAMES.get(metric, _metric(metric))


def _p(value: float) -> str:
    """p as papers write it."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"
