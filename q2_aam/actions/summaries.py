"""Pages on a model itself: what it is, how its training went.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import biom
import pandas as pd
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core import plots
from aam_core.config import DISTANCE_NAMES, WITHOUT_TREE
from aam_core.ensemble.blending import parts_in_words
from aam_core.errors import InputError
from aam_core.model import Model
from aam_core.plots.style import named_metric
from q2_aam._studies import read_study
from q2_aam._types_formats import ModelFolder
from q2_aam._wording import speaking
from q2_aam.pages import distances as distance_page
from q2_aam.pages import training as training_page
from q2_aam.pages.rendering import draw, render, rows

__all__ = ["distance_fit", "summarize", "training_curves"]

_MEANINGS = {
    "n": "Validation samples; of distances, pairs of them.",
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

_OF_ENCODERS = {
    "mae": "Mean absolute error of the distances (or of what else the row names).",
    "rmse": "Root mean squared error, likewise.",
    "accuracy": "Share of the masked bases (or taxa) that are predicted.",
}
"""What these are where no metadata column was learned."""


def _meanings(kind: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """The metrics by the names that the page shows, and what they are."""
    meanings = {**_MEANINGS, **(_OF_ENCODERS if kind == "encoder" else {})}
    return [(named_metric(name), meanings[name]) for name in names if name in meanings]


def summarize(output_dir: str, model: ModelFolder) -> None:
    """Write a page that tells what a model is into ``output_dir``."""
    from aam_core.description import info
    from aam_core.model_card import cautions, metric_table, sentence, words

    known = info(model.path)
    facts = known.facts
    sections = words(facts)
    metrics = metric_table(facts)
    names = metrics[0][1:] if metrics else []
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
        "meanings": _meanings(facts["model"]["kind"], names),
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
    units = training_page.unit_of(model)
    drawn = functools.partial(
        plots.curves, plots.drawn_columns(history), x="epoch", units=units or None
    )
    curves = training_page.points(history)
    kept = (model.metrics or {}).get("epoch")
    charts = {
        f"curve-{place}": training_page.chart(quantity, units, kept)
        for place, quantity in enumerate(dict.fromkeys(curves["quantity"]))
    }
    context = {
        "title": f"Training of the {training_page.name_of(model)}",
        "lead": "How the losses and metrics of the networks went, epoch by epoch.",
        "facts": training_page.facts_of(model, history, kept),
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
            f"The encoder predicts {DISTANCE_NAMES[metric]}, which is computed on a tree: "
            "give the phylogeny, or the distances themselves."
        )
    with speaking():
        inputs = (table, sequences, phylogeny, distances)
        study = read_study(*inputs, max_lost_reads=max_lost_reads, keep_unplaced=False)
        fit = core.distance_fit(encoder, study, samples, random_state)
    metric = "distance (given)" if distances is not None else DISTANCE_NAMES[metric]
    pairs, by_sample = fit.pairs(), fit.by_sample()
    bins, size = distance_page.binned(pairs)
    drawn = functools.partial(plots.distances, pairs[["actual", "prediction"]], label=metric)
    coordinates = pd.concat(
        dict(zip(("true", "predicted"), fit.ordinations, strict=True)), names=["distances"]
    ).reset_index(level=0)
    metrics = pd.Series(fit.metrics, name="value").rename_axis("metric").to_frame()
    worst = by_sample.sort_values("error", ascending=False, kind="stable")
    worst = worst.rename(columns={"actual": "true", "prediction": "predicted"})
    context = {
        "title": f"Predicted against true {metric}",
        "lead": "Distances between samples, as an encoder predicts them from the reads and their "
        "sequences, without a tree.",
        "facts": distance_page.facts_of(fit.metrics, fit.where),
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
            "coordinates": "Principal coordinates, the predicted ones rotated to fit the true",
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
            "density": distance_page.density(metric, size),
            "by-sample": distance_page.by_sample(metric),
            "ordination": distance_page.ordinations(),
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
        blend = parts_in_words(weight, what["linear_share"])
        tiles.append(("Blend", blend, "shares of the prediction"))
    if what["learned"]:
        metric = DISTANCE_NAMES.get(what["metric"], what["metric"])
        distances = what["metric"] and not what["given_distances"]
        remark = f"distances: {metric}" if distances else ""
        tiles.append(("Learned", ", ".join(what["learned"]), remark))
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
