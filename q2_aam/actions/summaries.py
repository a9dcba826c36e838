"""Pages on a model itself: what it is, how its training went.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import functools
import json
import shutil
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core import plots
from aam_core.config import WITHOUT_TREE
from aam_core.errors import InputError
from aam_core.log import duration, showing
from aam_core.model import Model
from aam_core.plots.style import COLOURS, named_metric
from q2_aam._pages import draw, render, rows
from q2_aam._studies import read_study
from q2_aam._types_formats import ModelFolder

__all__ = ["distance_fit", "summarize", "training_curves"]

_MEANINGS = {
    "r2": "R² = 1 - (sum of squared errors) / (sum of squared deviations of the true values from "
    "their mean): 1 is perfect, 0 as good as always predicting the mean.",
    "mae": "Mean absolute error, in the units of the column.",
    "rmse": "Root mean squared error, in the units of the column.",
    "spearman": "Correlation of the ranks of predicted and true values.",
    "coverage": "Share of samples whose true value is within the interval, or class in the set.",
    "width": "Mean width of the intervals, in the units of the column.",
    "size": "Mean number of classes in a prediction set.",
    "accuracy": "Share of samples whose class is predicted.",
    "balanced_accuracy": "Mean over the classes of the share of their samples that are predicted.",
    "f1": "Mean over the classes of the harmonic mean of precision and recall.",
    "auc": "Area under the ROC curve, mean over the classes: 0.5 is chance, 1 perfect.",
    "brier": "Mean squared difference of the probabilities from the truth: 0 is perfect.",
    "ece": "Mean difference of the probabilities from the frequencies of the classes.",
    "perplexity": "Of masked bases: 1 is perfect, 4 is chance.",
}
"""Metric -> what it is."""


def summarize(output_dir: str, model: ModelFolder) -> None:
    """Write a page that tells what a model is into ``output_dir``."""
    from aam_core.description import info
    from aam_core.model_card import cautions, metric_table, sentence, words

    known = info(model.path)
    facts = known.facts
    sections = words(facts)
    metrics = metric_table(facts)
    names = metrics[0][2:] if metrics else []
    settings = _settings(facts)
    tables = {"summary": _long(sections), "settings": settings}
    if metrics:
        tables["metrics"] = pd.DataFrame(metrics[1:], columns=metrics[0])
    places = Path(output_dir)
    (places / "model.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    (places / "model_card.md").write_text(known.to_markdown(), encoding="utf-8")
    run = facts["run"]
    shown = settings.rename(columns={"default": "default (preset small)"})
    context = {
        "title": _title(facts),
        "lead": sentence(facts).replace("`", ""),
        "facts": _tiles(facts),
        "metrics": tables.get("metrics", pd.DataFrame()).rename(columns=named_metric).pipe(rows),
        "meanings": [(named_metric(it), _MEANINGS[it]) for it in names if it in _MEANINGS],
        "sections": {title: items for title, items in sections.items() if items},
        "training_notes": list(
            dict.fromkeys([*facts["training"]["dropped"], *run.get("notes", [])])
        ),
        "cautions": [text.replace("`", "") for text in cautions(facts)],
        "changed": rows(shown[settings["value"] != settings["default"]]),
        "settings": rows(shown),
        "versions": ", ".join(f"{name} {it}" for name, it in run.get("versions", {}).items()),
        "folder": facts["folder"],
        "size": f"{facts['folder']['bytes'] / 1e6:.3g} MB",
        "captions": {
            "summary": "The model in words",
            "settings": "Settings",
            "metrics": "Metrics of the validation samples",
        },
    }
    render("summarize", output_dir, context, data=tables)


def training_curves(output_dir: str, model: Model) -> None:
    """Write a page with the course of the training of a model into ``output_dir``."""
    from aam_core.training.loggers import write_events

    if not model.history:
        raise InputError(
            f"This {model.kind} has no record of its training (history.tsv): an AAM of before "
            "saved it, or the record was taken away. Train it again to see the curves."
        )
    history = pd.DataFrame(model.history)
    places = Path(output_dir)
    history.to_csv(places / "history.csv", index=False)
    write_events(places / "tensorboard", model.history)
    shutil.make_archive(str(places / "tensorboard"), "zip", places, "tensorboard")
    shutil.rmtree(places / "tensorboard")
    units = _unit(model)
    drawn = functools.partial(
        plots.curves, plots.drawn_columns(history), x="epoch", units=units or None
    )
    curves = _curves(history)
    kept = (model.metrics or {}).get("epoch")
    charts = {
        f"curve-{place}": _curve(quantity, units, kept)
        for place, quantity in enumerate(dict.fromkeys(curves["quantity"]))
    }
    context = {
        "title": f"Training of the {_name(model)}",
        "lead": "How the losses and metrics of the networks went, epoch by epoch.",
        "facts": _course(model, history, kept),
        "kind": model.kind,
        "forest": model.forest is not None,
        "pictures": {"losses": draw(output_dir, "losses", drawn)},
        "captions": {
            "losses": "All curves in one picture",
            "history": "Every loss and metric of each epoch",
            "curves": "The curves above, a row a point",
        },
    }
    render(
        "training_curves",
        output_dir,
        context,
        data={"history": history, "curves": curves},
        charts=charts,
    )


def distance_fit(
    output_dir: str,
    encoder: Model,
    table: biom.Table,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    distances: skbio.DistanceMatrix = None,
    samples: str = "held-out",
    random_state: int = 0,
    max_lost_reads: float = 0.5,
) -> None:
    """Write a page with predicted against true distances between samples into ``output_dir``."""
    from aam_core import distance_fit as core

    metric = encoder.config.loss.metric
    if phylogeny is not None and distances is not None:
        raise InputError("phylogeny and distances: each makes true distances, give one of them.")
    if phylogeny is None and distances is None and metric not in WITHOUT_TREE:
        raise InputError(
            f"The encoder predicts {_NAMES[metric]}, which is computed on a tree: give the "
            "phylogeny, or the distances themselves."
        )
    with showing():
        inputs = (table, sequences, phylogeny, distances)
        study = read_study(*inputs, max_lost_reads=max_lost_reads, keep_unplaced=False)
        fit = core.distance_fit(encoder, study, samples, random_state)
    metric = "distance (given)" if distances is not None else _NAMES[metric]
    pairs, by_sample = fit.pairs(), fit.by_sample()
    bins, size = _binned(pairs)
    drawn = functools.partial(plots.distances, pairs[["actual", "prediction"]], label=metric)
    coordinates = pd.concat(
        dict(zip(("true", "predicted"), fit.ordinations, strict=True)), names=["distances"]
    ).reset_index(level=0)
    metrics = pd.Series(fit.metrics, name="value").rename_axis("metric").to_frame()
    worst = by_sample.sort_values("error", ascending=False, kind="stable")
    context = {
        "title": f"Predicted against true {metric}",
        "lead": "Distances between samples, as an encoder predicts them from the reads and their "
        "sequences, without a tree.",
        "facts": _fit_facts(fit.metrics, fit.where),
        "warnings": [
            "The encoder was trained on some of these samples: of others it may know less."
        ]
        if fit.where["trained"]
        else [],
        "notes": study.report,
        "worst": rows(worst, 10),
        "pictures": {"distances": draw(output_dir, "distances", drawn)},
        "captions": {
            "distances": "Predicted against true distances",
            "pairs": "Every pair of samples",
            "bins": "Number of pairs by true and predicted distance",
            "samples": "Mean distances and error of each sample",
            "coordinates": "Principal coordinates, the predicted ones turned to fit the true",
            "metrics": "Metrics",
        },
    }
    tables = {"metrics": metrics, "samples": by_sample, "pairs": pairs}
    render(
        "distance_fit",
        output_dir,
        context,
        data={**tables, "bins": bins, "coordinates": coordinates},
        charts={
            "density": _density(metric, size),
            "by-sample": _by_sample(metric),
            "ordination": _both_ordinations(),
        },
    )


def _title(facts: dict) -> str:
    what = facts["model"]
    columns = ", ".join(target["column"] for target in what["targets"])
    return what["kind"].capitalize() + (f" of {columns}" if columns else "")


def _tiles(facts: dict) -> list[tuple[str, str, str]]:
    """What a reader must see first: a label, a value and a remark."""
    what, training, held_out = facts["model"], facts["training"], facts["validation"]
    samples, tiles = held_out.get("samples", 0), []
    if training["samples"]:
        asvs = training["asvs"]
        remark = "" if asvs is None else f"{asvs:,} distinct sequences"
        tiles.append(("Trained on", f"{training['samples']:,} samples", remark))
    if samples:
        how = "out of fold" if held_out["trained_on_them"] else "held out of the training"
        groups, by = held_out.get("groups"), held_out["group_by"]
        parts = [how]
        if held_out.get("folds", 0) > 1:
            parts.append(f"{held_out['folds']} folds")
        if groups is not None:
            parts.append(f"{groups} groups" + (f" ({by})" if by else ""))
        tiles.append(("Validated on", f"{samples:,} samples", ", ".join(parts)))
    else:
        tiles.append(("Validated on", "no samples", "nothing is known of its errors"))
    tiles += _metric_tiles(facts)
    weight = facts["weights"].get("network")
    if weight is not None:
        value = f"{weight:.0%} / {1 - weight:.0%}"
        tiles.append(("Blend weights", value, "of the networks / of the random forest"))
    if what["learned"]:
        tiles.append(("Learned", ", ".join(what["learned"]), what["metric"] or ""))
    return tiles


_FIRST = {
    "model": {"r2": "R²", "mae": "Mean absolute error", "accuracy": "Accuracy", "auc": "AUC"},
    "distances": {"r2": "R² of the distances"},
}
"""Keys of the metrics -> those that stand at the top of the page."""


def _metric_tiles(facts: dict) -> list[tuple[str, str, str]]:
    targets, metrics = facts["model"]["targets"], facts["metrics"]
    units = {target["column"]: target["units"] for target in targets}
    # Of several targets, each by its name.
    each = metrics.get("targets") or {next(iter(units), ""): metrics}
    tiles = []
    for column, scores in each.items():
        of, unit = (f" of {column}" if len(each) > 1 else ""), units.get(column, "")
        for key, first in _FIRST.items():
            for name, label in first.items():
                value = (scores.get(key) or {}).get(name)
                if value is not None and value == value:
                    shown = f"{value:.4g} {unit}".strip() if name == "mae" else f"{value:.3f}"
                    tiles.append((label + of, shown, "of the validation samples"))
    return tiles


def _settings(facts: dict) -> pd.DataFrame:
    """The resolved configuration: setting, value, that of the default preset, and its help."""
    from aam_core.config import Config, find
    from aam_core.config.config import paths
    from aam_core.config.presets import find_preset

    kind = "pretraining" if facts["model"]["kind"] == "encoder" else "fitting"
    config, preset = Config.from_saved(facts["settings"]), find_preset(kind)
    rows = [
        (path, _text(config.at(path)), _text(preset.at(path)), find(path).metadata["help"])
        for path in paths()
    ]
    return pd.DataFrame(rows, columns=["setting", "value", "default", "meaning"])


def _text(value) -> str:
    return "" if value is None else str(value)


def _long(sections: dict) -> pd.DataFrame:
    rows = [(title, name, text) for title, part in sections.items() for name, text in part.items()]
    return pd.DataFrame(rows, columns=["section", "name", "value"])


# Training curves ------------------------------------------------------------------------------

_SIDES = {"train": "training", "val": "validation"}
"""Start of the names of the logs -> what they are of."""

_WHY = {"total_loss": "of the least validation loss", "none": "the last"}
"""``train.best_metric`` -> which epoch's weights are kept; else that of the best such metric."""

_IN_UNITS = ("mae", "rmse", "width")
"""Metrics that have the unit of the target."""


def _name(model: Model) -> str:
    columns = [one.task.column for one in model.each if one.target is not None]
    return model.kind + (f" of {', '.join(columns)}" if columns else "")


def _unit(model: Model) -> str:
    """Unit of the target, where there is one target, and it is known."""
    columns = [one.task.column for one in model.each if one.target is not None]
    return model.config.figure.units_of(columns)[0] if len(columns) == 1 else ""


def _curves(history: pd.DataFrame) -> pd.DataFrame:
    """The history, a row a point: ``epoch``, ``quantity``, ``samples``, ``value``."""
    long = plots.drawn_columns(history).melt("epoch", var_name="name").dropna(subset="value")
    side = long["name"].str.split("/").str[0]
    table = pd.DataFrame(
        {
            "epoch": long["epoch"],
            "quantity": long["name"].str.partition("/")[2],
            "samples": side.map(_SIDES).fillna(side),
            "value": long["value"],
        }
    )
    # What is minimized comes first, then in the order of the logs.
    return table.sort_values("quantity", key=lambda it: it != "total_loss", kind="stable")


def _curve(quantity: str, units: str, kept: int | None) -> dict:
    """Chart of a quantity: training beside validation, and the epoch whose weights were kept."""
    words = named_metric(quantity)
    axis = f"{words} ({units})" if units and quantity in _IN_UNITS else words
    line = {
        "mark": {"type": "line", "point": {"size": 28}, "strokeWidth": 2},
        "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
        "encoding": {
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": axis,
                "scale": {"zero": False},
            },
            "color": {
                "field": "samples",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(_SIDES.values()), "range": list(COLOURS[:2])},
                "legend": {"orient": "top"},
            },
            "tooltip": [
                {"field": "epoch", "type": "quantitative"},
                {"field": "samples", "type": "nominal"},
                {"field": "value", "type": "quantitative", "format": ".4g", "title": axis},
            ],
        },
    }
    layers = [line]
    if kept is not None:
        rule = {"type": "rule", "strokeDash": [4, 4], "color": "#595959"}
        layers.append({"mark": rule, "encoding": {"x": {"datum": kept}}})
    return {
        "data": {"name": "curves"},
        "transform": [{"filter": {"field": "quantity", "equal": quantity}}],
        "width": "container",
        "height": 220,
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1}},
        },
        "layer": layers,
    }


def _course(model: Model, history: pd.DataFrame, kept: int | None) -> list[tuple[str, str, str]]:
    """What stands at the top of the page of a training."""
    last, train = history.iloc[-1], model.config.train
    remark, seconds = f"{int(last['step']):,} steps", model.run.get("seconds", {})
    if "total" in seconds:
        remark += f", {duration(seconds['total'])} on {model.run.get('device', '?')}"
    facts = [("Trained", f"{len(history)} epochs", remark)]
    if kept is not None:
        why = _WHY.get(train.best_metric, f"of the best validation {train.best_metric}")
        facts.append(("Weights kept", f"epoch {kept}", why))
    at = history[history["epoch"] == kept] if kept is not None else history.tail(1)
    for side, words in _SIDES.items():
        values = at.get(f"{side}/total_loss", pd.Series(dtype=float)).dropna()
        if len(values):
            facts.append((f"Loss, {words} samples", f"{values.iloc[-1]:.4g}", "at that epoch"))
    facts.append(
        ("Samples", f"{len(model.train_samples):,}", f"{len(model.val_samples):,} of validation")
    )
    return facts


# Predicted against true distances -------------------------------------------------------------

_BINS = 50
"""Steps of each axis of the density of pairs."""

_NAMES = {
    "unweighted": "unweighted UniFrac",
    "weighted": "weighted UniFrac",
    "weighted_normalized": "normalized weighted UniFrac",
    "generalized": "generalized UniFrac",
    "braycurtis": "Bray-Curtis distance",
    "jaccard": "Jaccard distance",
}
"""``loss.metric`` -> what it is called."""


def _fit_facts(metrics: dict[str, float], where: dict[str, int]) -> list[tuple[str, str, str]]:
    words = {
        "new": "that the encoder has not seen",
        "validation": "of its validation",
        "trained": "that it was trained on",
    }
    remark = ", ".join(f"{where[key]:,} {text}" for key, text in words.items() if where[key])
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


def _binned(pairs: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Pairs counted by true and predicted distance, and the size of a bin."""
    values = pairs[["actual", "prediction"]].to_numpy()
    size = max(1.0, float(values.max())) / _BINS
    places = np.minimum((values / size).astype(int), _BINS - 1)
    counts = pd.DataFrame(places, columns=["actual", "prediction"]).value_counts().rename("pairs")
    bins = counts.reset_index()
    return bins.assign(**{name: bins[name] * size for name in ("actual", "prediction")}), size


def _density(metric: str, size: float) -> dict:
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


def _by_sample(metric: str) -> dict:
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


def _both_ordinations() -> dict:
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
