"""What the page of predicted against true distances shows: facts and charts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core.plots.style import COLOURS

__all__ = ["binned", "by_sample", "density", "facts_of", "ordinations"]

_BINS = 50
"""Steps of each axis of the density of pairs."""


def facts_of(metrics: dict[str, float], where: dict[str, int]) -> list[tuple[str, str, str]]:
    words = {
        "new": "new to the encoder",
        "validation": "of its validation",
        "trained": "that it was trained on",
    }
    parts = {text: where[key] for key, text in words.items() if where[key]}
    remark = ", ".join(f"{number:,} {text}" for text, number in parts.items())
    remark = f"all {next(iter(parts))}" if len(parts) == 1 else remark
    return [
        ("Samples", f"{metrics['samples']:,}", remark),
        ("R²", f"{metrics['r2']:.3f}", f"over {metrics['pairs']:,} pairs; 0 is the mean distance"),
        ("Mean absolute error", f"{metrics['mae']:.4f}", "of a distance"),
        ("Mantel r", f"{metrics['spearman']:.3f}", f"of ranks; p = {metrics['mantel_p']:.3f}"),
        (
            "Procrustes M²",
            f"{metrics['procrustes_m2']:.3f}",
            f"0 is the same ordination; p = {metrics['procrustes_p']:.3f}",
        ),
    ]


def binned(pairs: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Pairs counted by true and predicted distance, and the size of a bin."""
    values = pairs[["actual", "prediction"]].to_numpy()
    size = max(1.0, float(values.max())) / _BINS
    places = np.minimum((values / size).astype(int), _BINS - 1)
    counts = pd.DataFrame(places, columns=["actual", "prediction"]).value_counts().rename("pairs")
    bins = counts.reset_index()
    return bins.assign(**{name: bins[name] * size for name in ("actual", "prediction")}), size


def density(metric: str, size: float) -> dict:
    """Chart of the number of pairs by true and predicted distance, with the line of equality."""
    corner = {"actual": 0, "prediction": 0}, {"actual": _BINS * size, "prediction": _BINS * size}
    ends = [
        {"calculate": f"datum.{name} + {size}", "as": f"{name}_end"}
        for name in ("actual", "prediction")
    ]
    x, y = ({"field": name, "type": "quantitative"} for name in ("actual", "prediction"))
    title = [f"True {metric}", f"Predicted {metric}"]
    ticks = [round(_BINS * size * part / 5, 3) for part in range(6)]
    binned = {"bin": {"binned": True, "step": size}, "axis": {"values": ticks}}
    return {
        "width": "container",
        "height": 400,
        "layer": [
            {
                "data": {"name": "bins"},
                "transform": ends,
                "mark": {"type": "rect", "stroke": None},
                "encoding": {
                    "x": {**x, **binned, "title": title[0]},
                    "x2": {"field": "actual_end"},
                    "y": {**y, **binned, "title": title[1]},
                    "y2": {"field": "prediction_end"},
                    "color": {
                        "field": "pairs",
                        "type": "quantitative",
                        "scale": {"type": "log", "scheme": "viridis"},
                        "title": "pairs",
                    },
                    "tooltip": [
                        {"field": "pairs", "type": "quantitative"},
                        {"field": "actual", "format": ".2f", "title": "true, from"},
                        {"field": "prediction", "format": ".2f", "title": "predicted, from"},
                    ],
                },
            },
            {
                "data": {"values": list(corner)},
                "mark": {"type": "line", "strokeDash": [5, 4], "color": "#404040"},
                "encoding": {"x": x, "y": y},
            },
        ],
    }


def by_sample(metric: str) -> dict:
    """Chart of the mean distances of each sample from the others."""
    return {
        "data": {"name": "samples"},
        "height": 400,
        "mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.75},
        "encoding": {
            "x": {
                "field": "actual",
                "type": "quantitative",
                "title": f"Mean true {metric} from the others",
                "scale": {"zero": False},
            },
            "y": {
                "field": "prediction",
                "type": "quantitative",
                "title": "Mean predicted",
                "scale": {"zero": False},
            },
            "color": {
                "field": "error",
                "type": "quantitative",
                "scale": {"scheme": "viridis"},
                "title": "mean error",
            },
            "tooltip": [
                {"field": "sample-id", "type": "nominal", "title": "sample"},
                *(
                    {"field": name, "type": "quantitative", "format": ".3f"}
                    for name in ("actual", "prediction", "error")
                ),
            ],
        },
    }


def ordinations() -> dict:
    """Chart of the first two principal coordinates, by true and by predicted distances."""
    return {
        "data": {"name": "coordinates"},
        "height": 360,
        "mark": {"type": "point", "filled": True, "size": 40, "opacity": 0.75},
        "encoding": {
            "x": {"field": "PC1", "type": "quantitative"},
            "y": {"field": "PC2", "type": "quantitative"},
            "color": {
                "field": "distances",
                "type": "nominal",
                "scale": {"domain": ["true", "predicted"], "range": list(COLOURS[:2])},
                "legend": {"orient": "top"},
            },
            "tooltip": [
                {"field": "sample-id", "type": "nominal", "title": "sample"},
                {"field": "distances", "type": "nominal"},
            ],
        },
    }
