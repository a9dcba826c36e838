"""Abundances of features in groups of samples: a heat map, and the page that shows it alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.columns import natural_order
from aam_core.data.ids import nothing_in_common
from aam_core.errors import InputError, first_five
from q2_aam.pages import rendering
from q2_aam.pages.importance_charts import ROW, labels_of

__all__ = ["abundance_chart", "abundances_by_group", "write_heatmap"]

_GROUPS_OF_NUMBERS = 8
"""Groups of samples, as many in each, that a numeric column is cut into."""


def write_heatmap(
    output_dir: str,
    table,
    importance: pd.Series,
    values: pd.Series,
    *,
    taxa: pd.Series | None = None,
    count: int = 50,
) -> None:
    """Write the page of `heatmap` into ``output_dir``.

    Parameters
    ----------
    output_dir : str
    table : biom.Table
    importance : Series
        Of features, by id.
    values : Series
        Of the metadata column, by sample id.
    taxa : Series, optional
        A name of each feature, by id.
    count : int
        Features that are drawn, the most important first.

    Raises
    ------
    InputError
        If no feature of the table has an importance, or no sample a value.
    """
    features = table.ids(axis="observation")
    there = importance[importance.index.isin(features)]
    if there.empty:
        raise nothing_in_common(
            "feature", list(importance.index), features, "the importances", "the table"
        )
    chosen = there.sort_values(ascending=False, kind="stable").head(count)
    abundances = abundances_by_group(table, values)
    shown = pd.DataFrame({"importance": chosen}).rename_axis("feature-id")
    if taxa is not None:
        shown["taxon"] = taxa.reindex(shown.index).fillna("")
    labels = pd.Series(labels_of(shown), shown.index)
    data, spec, draw = abundance_chart(abundances, labels, str(values.name))
    groups = data["group"].cat.categories
    context = {
        "title": f"Important features by {values.name}",
        "facts": [
            ("Features", f"{len(chosen):,}", f"the most important of {len(there):,}"),
            ("Samples", f"{data.groupby('group', observed=True)['samples'].first().sum():,}", ""),
            ("Groups", f"{len(groups):,}", f"of {values.name}"),
        ],
        "column": values.name,
        "features": rendering.rows(shown),
        "pictures": {"heatmap": rendering.draw(output_dir, "heatmap", draw)},
        "captions": {
            "heatmap": "Heat map",
            "abundances": "Abundance of each of these features in each group",
            "features": "These features, the most important first",
        },
    }
    rendering.render(
        "heatmap",
        output_dir,
        context,
        data={"features": shown, "abundances": data},
        charts={"abundances": spec},
    )


def abundance_chart(
    abundances: pd.DataFrame, labels: pd.Series, column: str
) -> tuple[pd.DataFrame, dict[str, Any], Callable[[Any], object]]:
    """What the heat map of some features reads, its specification, and what draws a static one.

    Parameters
    ----------
    abundances : DataFrame
        As of `abundances_by_group`.
    labels : Series
        What stands beside the row of each feature that is drawn, by its id and in their order.
    column : str
        What the samples are grouped by.
    """
    shown = abundances[abundances["feature-id"].isin(labels.index)]
    shown = shown.assign(label=labels.reindex(shown["feature-id"]).to_numpy())
    wide = shown.pivot_table(
        index="feature-id", columns="group", values="abundance", sort=False, observed=False
    )
    wide = wide.loc[[name for name in labels.index if name in wide.index]]
    wide.index = pd.Index(labels.loc[wide.index])
    draw = functools.partial(plots.abundance_map, wide, label=column)
    return shown, _chart(column, list(labels), list(wide.columns)), draw


def abundances_by_group(table, values: pd.Series) -> pd.DataFrame:
    """Mean relative abundance of each feature in groups of samples.

    Parameters
    ----------
    table : biom.Table
    values : Series
        Of a metadata column, by sample id: classes, each a group, or numbers, which are cut into
        eight groups of as many samples.

    Returns
    -------
    DataFrame
        A row a feature and group: ``feature-id``, ``group`` (ordered), ``abundance``,
        ``log10_abundance`` (NaN of 0), ``prevalence``, ``samples``.

    Raises
    ------
    InputError
        If no sample of the table has a value.
    """
    names = [name for name in table.ids() if name in values.index and pd.notna(values[name])]
    if not names:
        raise InputError(
            f"No sample of the table has a value of {values.name!r}: the table has "
            f"{first_five(table.ids())}."
        )
    groups = _grouped(values.loc[names])
    counts = table.filter(names, inplace=False).sort_order(names).matrix_data.T.tocsr()
    total = np.asarray(counts.sum(axis=1)).ravel()
    shares = counts.multiply(1 / np.maximum(total, 1)[:, None]).tocsr()
    features = list(table.ids(axis="observation"))
    parts = []
    for group in groups.cat.categories:
        rows = np.flatnonzero(groups == group)
        mean = np.asarray(shares[rows].mean(axis=0)).ravel()
        with np.errstate(divide="ignore"):
            logs = np.where(mean > 0, np.log10(mean), np.nan)
        there = shares[rows].getnnz(axis=0) / len(rows)
        columns = {"abundance": mean, "log10_abundance": logs, "prevalence": there}
        part = pd.DataFrame({"feature-id": features, "group": group, **columns})
        parts.append(part.assign(samples=len(rows)))
    result = pd.concat(parts, ignore_index=True)
    order = list(groups.cat.categories)
    return result.assign(group=pd.Categorical(result["group"], order, ordered=True))


def _grouped(values: pd.Series) -> pd.Series:
    """Classes in their natural order, or numbers cut at quantiles."""
    if not pd.api.types.is_numeric_dtype(values):
        names = values.astype(str)
        return names.astype(pd.CategoricalDtype(natural_order(names.unique()), ordered=True))
    if values.nunique() <= _GROUPS_OF_NUMBERS:
        place = values.rank(method="dense").astype(int) - 1
    else:
        cut = pd.qcut(values, _GROUPS_OF_NUMBERS, labels=False, duplicates="drop")
        place = cut.rank(method="dense").astype(int) - 1
    spans = values.groupby(place).agg(["min", "max"])
    names = _spans(list(spans["min"]), list(spans["max"]))
    kind = pd.CategoricalDtype(names, ordered=True)
    return pd.Series(pd.Categorical.from_codes(place.to_numpy(), dtype=kind), values.index)


def _spans(lows: Sequence[float], highs: Sequence[float]) -> list[str]:
    """Spans in words, with as many digits as tell all of their ends apart, four at least."""
    ends = sorted({*lows, *highs})
    for digits in range(4, 18):
        written = {end: _written(end, digits) for end in ends}
        if len(set(written.values())) == len(ends):
            break
    return [
        written[low] if low == high else f"{written[low]} to {written[high]}"
        for low, high in zip(lows, highs, strict=True)
    ]


def _written(value: float, digits: int) -> str:
    """A number with so many digits; a whole one with all of its own."""
    if abs(value) < 1e15 and float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def _chart(column: str, labels: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    return {
        "data": {"name": "abundances"},
        "width": "container",
        "height": ROW * len(labels),
        "transform": [{"filter": "isValid(datum.log10_abundance)"}],
        "config": {"view": {"fill": "#eeeeee", "stroke": None}},
        "mark": {"type": "rect"},
        "encoding": {
            "x": {
                "field": "group",
                "type": "ordinal",
                "title": column,
                "scale": {"domain": [str(it) for it in groups]},
                "axis": {"labelAngle": -35, "labelLimit": 160},
            },
            "y": {
                "field": "label",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(labels)},
                "axis": {"labelLimit": 230},
            },
            "color": {
                "field": "log10_abundance",
                "type": "quantitative",
                "scale": {"scheme": "viridis"},
                "legend": {"title": "log10 of the mean relative abundance", "orient": "top"},
            },
            "tooltip": [
                {"field": "feature-id", "type": "nominal"},
                {"field": "group", "type": "nominal", "title": column},
                {"field": "abundance", **rendering.NUMBER},
                {"field": "prevalence", "type": "quantitative", "format": ".1%"},
                {"field": "samples", "type": "quantitative"},
            ],
        },
    }
