"""Microbial maturity: predicted age against that of control samples of the same age.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

from functools import partial
from typing import Any

import pandas as pd
import qiime2

from aam_core import plots
from aam_core.data.columns import natural_order
from aam_core.errors import InputError, first_five
from aam_core.log import logger
from aam_core.maturity import maturity, maturity_by_age
from aam_core.plots.style import COLOURS, GREY
from aam_core.reporting.page import cell
from q2_aam._details import SOURCES, Details
from q2_aam._predictions import PredictionsFormat, read_predictions, write_table
from q2_aam._studies import column_values
from q2_aam._wording import speaking
from q2_aam.pages import rendering

__all__ = ["maturity_index", "maturity_plot"]

_HELD_OUT = ("out-of-fold", "cross-validation", "test split")
"""Sources of predictions of samples that were held out."""


def maturity_index(
    predictions: PredictionsFormat,
    age: qiime2.NumericMetadataColumn,
    group: qiime2.CategoricalMetadataColumn,
    control: str,
    bin_width: float = None,
    missing_samples: str = "error",
) -> PredictionsFormat:
    """Microbiota-for-age z-score of each sample."""
    table = _table(predictions, age, group, control, bin_width, missing_samples)
    without = list(table.index[table["maz"].isna()])
    if len(without) == len(table):
        raise InputError(
            f"None of {len(table)} samples has a score: each age has fewer than two controls, or "
            "controls that are all of one predicted age. Give a wider bin_width, or predictions "
            "that differ."
        )
    if without:
        with speaking():
            logger.warning(
                f"{len(without)} of {len(table)} samples have no score, for too few controls of "
                f"their age, or controls of one predicted age: {first_five(without)}"
            )
    return write_table(table[["maz"]].dropna(), PredictionsFormat)


def maturity_plot(
    output_dir: str,
    predictions: PredictionsFormat,
    age: qiime2.NumericMetadataColumn,
    group: qiime2.CategoricalMetadataColumn,
    control: str,
    details: Details = None,
    bin_width: float = None,
    units: str = None,
    missing_samples: str = "error",
) -> None:
    """Write a page with the maturity of the samples into ``output_dir``."""
    table = _table(predictions, age, group, control, bin_width, missing_samples)
    about = {} if details is None else details.about
    units = units or about.get("units")
    label = f"{age.name} ({units})" if units else age.name
    by_group = _by_group(table, control)
    bins = maturity_by_age(table)
    pictures = {
        "maturity": rendering.draw(
            output_dir, "maturity", partial(plots.maturity, table, label=label, control=control)
        )
    }
    scored = table["maz"].notna().sum()
    width = "each age" if bin_width is None else f"{bin_width:g}{f' {units}' if units else ''}"
    context = {
        "title": f"Microbial maturity by {group.name}",
        "lead": f"Predicted {age.name} of {len(table):,} samples, against control samples "
        f"({group.name}: {control}) of the same age.",
        "facts": [
            ("Control samples", f"{int(table['control'].sum()):,}", f"{group.name}: {control}"),
            (
                "Samples with a score",
                f"{scored:,}",
                f"of {len(table):,}; others have too few controls of their age"
                if scored < len(table)
                else "all",
            ),
            ("Age bins", f"{len(bins):,}", f"width: {width}"),
            *_largest(by_group, control),
        ],
        "warnings": _warnings(about, age.name),
        "notes": about.get("notes") or [],
        "band": "Line: median of the predicted ages of controls in each age bin; band: one "
        "standard deviation on both sides.",
        "formula": "MAZ (microbiota-for-age z-score) = (predicted age - median predicted age of "
        "controls of the same age) / standard deviation of the predicted ages of these controls "
        "(Subramanian et al. 2014, doi 10.1038/nature13421). Below 0 the microbiota are younger "
        "than those of controls. An age with fewer than two controls has no score.",
        "groups": rendering.rows(by_group),
        "bins": rendering.rows(bins.rename(columns=lambda name: name.replace("_", " "))),
        "bins_caption": f"Bin: its lowest age; median and standard deviation (sd) of the predicted "
        f"{label} of its control samples.",
        "pictures": pictures,
        "captions": {
            "maturity": "Predicted and true age, with the controls",
            "samples": "MAZ and relative maturity of each sample (opens as metadata)",
            "bands": "Control samples by age",
            "groups": "MAZ of each group",
        },
    }
    data = {"samples": table, "bands": _bands(table), "groups": by_group}
    charts = {
        "ages": _ages_chart(table, label, control),
        "scores": _scores_chart(table, label, control),
    }
    rendering.render("maturity_plot", output_dir, context, data=data, charts=charts)


def _table(predictions, age, group, control: str, bin_width, missing_samples: str) -> pd.DataFrame:
    """Maturity of the predicted samples that have an age and a group."""
    predicted = read_predictions(predictions).astype(float)
    ages = column_values(predicted.index, age, missing_samples, "the predictions")
    groups = column_values(predicted.index, group, missing_samples, "the predictions")
    samples = [name for name in predicted.index if name in ages.index and name in groups.index]
    if not samples:
        raise InputError(f"No predicted sample has a value of {age.name!r} and {group.name!r}.")
    groups = groups.loc[samples].astype(str)
    if not (groups == control).any():
        raise InputError(
            f"No sample has the value {control!r} in the column {group.name!r}: it has "
            f"{first_five(natural_order(groups.unique()))}."
        )
    table = maturity(ages.loc[samples], predicted, groups == control, width=bin_width)
    table.insert(0, "group", groups)
    return table


def _warnings(about: dict, column: str) -> list[str]:
    """What must be known of the predictions for the scores to mean something."""
    warnings = []
    source = about.get("source")
    if source is None:
        warnings.append(
            "It is not known whether these samples were held out. Give the details of the "
            "predictions: predicted ages of samples that a model was trained on lie too close to "
            "the truth, and their z-scores mean nothing."
        )
    elif source not in _HELD_OUT:
        warnings.append(f"{SOURCES[source]} Whether it was trained on some of them is not known.")
    if about.get("column") not in (None, column):
        warnings.append(f"The model predicts {about['column']!r}, and the ages are {column!r}.")
    return warnings


def _by_group(table: pd.DataFrame, control: str) -> pd.DataFrame:
    """Samples, mean, standard deviation and quartiles of MAZ of each group, controls first."""
    names = [control, *(it for it in natural_order(table["group"].unique()) if it != control)]
    by_group = table.groupby("group")["maz"]
    rows = pd.DataFrame(
        {
            "samples": table.groupby("group").size(),
            "with a score": by_group.count(),
            "mean": by_group.mean(),
            "sd": by_group.std(ddof=1),
            "median": by_group.median(),
            "first quartile": by_group.quantile(0.25),
            "third quartile": by_group.quantile(0.75),
        }
    )
    return rows.loc[names].rename_axis("group")


def _largest(by_group: pd.DataFrame, control: str) -> list[tuple[str, str, str]]:
    """The mean MAZ of the group that differs most from the controls."""
    others = by_group.drop(index=control).dropna(subset="mean")
    if not len(others):
        return []
    name = others["mean"].abs().idxmax()
    row = others.loc[name]
    minus = cell(row["mean"]).replace("-", "\N{MINUS SIGN}")
    return [("Mean MAZ furthest from 0", minus, f"{name}: {int(row['with a score'])} samples")]


def _bands(table: pd.DataFrame) -> pd.DataFrame:
    """The control band, at the mean age of each bin."""
    band = maturity_by_age(table).dropna()
    band.insert(0, "age", table.groupby("bin")["age"].mean().loc[band.index])
    band["low"] = band["control_median"] - band["control_sd"]
    band["high"] = band["control_median"] + band["control_sd"]
    return band


def _colour(table: pd.DataFrame, control: str) -> dict[str, Any]:
    names = [control, *(it for it in natural_order(table["group"].unique()) if it != control)]
    colours = [GREY, *(COLOURS[place % len(COLOURS)] for place in range(len(names) - 1))]
    return {
        "field": "group",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "range": colours},
        "legend": {"orient": "top"},
    }


_TOOLTIP = [
    {"field": "sample-id", "title": "sample"},
    {"field": "group"},
    *(
        {"field": name, "title": title, **rendering.NUMBER}
        for name, title in (
            ("age", "age"),
            ("predicted", "predicted"),
            ("control_median", "median of controls"),
            ("control_samples", "controls of this age"),
            ("maz", "MAZ"),
        )
    ),
]


def _points(table: pd.DataFrame, y: str, title: str, label: str, control: str) -> dict[str, Any]:
    chosen = {"name": "chosen", "select": {"type": "point", "fields": ["group"]}, "bind": "legend"}
    return {
        "data": {"name": "samples"},
        "params": [{"name": "zoom", "select": "interval", "bind": "scales"}, chosen],
        "transform": [{"filter": f"isValid(datum.{y})"}],
        "mark": {"type": "point", "filled": True, "size": 36},
        "encoding": {
            "x": {"field": "age", "type": "quantitative", "title": f"True {label}"},
            "y": {"field": y, "type": "quantitative", "title": title},
            "color": _colour(table, control),
            "opacity": {"condition": {"param": "chosen", "value": 0.75}, "value": 0.04},
            "tooltip": _TOOLTIP,
        },
    }


def _ages_chart(table: pd.DataFrame, label: str, control: str) -> dict[str, Any]:
    x = {"field": "age", "type": "quantitative"}
    band = {
        "data": {"name": "bands"},
        "mark": {"type": "area", "color": GREY, "opacity": 0.2, "tooltip": None},
        "encoding": {
            "x": x,
            "y": {"field": "low", "type": "quantitative"},
            "y2": {"field": "high"},
        },
    }
    line = {
        "data": {"name": "bands"},
        "mark": {"type": "line", "color": GREY, "tooltip": None},
        "encoding": {"x": x, "y": {"field": "control_median", "type": "quantitative"}},
    }
    points = _points(table, "predicted", f"Predicted {label}", label, control)
    return {"width": "container", "height": 380, "layer": [band, line, points]}


def _scores_chart(table: pd.DataFrame, label: str, control: str) -> dict[str, Any]:
    rules = {
        "data": {"values": [{"at": value} for value in (-2, 0, 2)]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": GREY, "tooltip": None},
        "encoding": {"y": {"field": "at", "type": "quantitative"}},
    }
    points = _points(table, "maz", "MAZ", label, control)
    return {"width": "container", "height": 380, "layer": [rules, points]}
