"""Pages on a model itself: what it is, how its training went.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import json
from pathlib import Path

import pandas as pd
import q2templates

from q2_aam._types_formats import ModelFolder

__all__ = ["summarize"]

_ASSETS = Path(__file__).parents[1] / "assets"

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
    from aam_core.plots.style import named_metric

    known = info(model.path)
    facts = known.facts
    sections = words(facts)
    metrics = metric_table(facts)
    names = metrics[0][2:] if metrics else []
    settings = _settings(facts)
    tables = {
        "summary": _long(sections),
        "settings": settings,
        "metrics": pd.DataFrame(metrics[1:], columns=metrics[0]) if metrics else pd.DataFrame(),
    }
    places = Path(output_dir)
    for name, table in tables.items():
        if len(table):
            table.to_csv(places / f"{name}.tsv", sep="\t", index=False)
    (places / "model.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    (places / "model_card.md").write_text(known.to_markdown(), encoding="utf-8")
    run = facts["run"]
    context = {
        "title": _title(facts),
        "sentence": sentence(facts).replace("`", ""),
        "tiles": _tiles(facts),
        "metrics": [metrics[0][:2] + [named_metric(name) for name in names], *metrics[1:]]
        if metrics
        else [],
        "meanings": [(named_metric(it), _MEANINGS[it]) for it in names if it in _MEANINGS],
        "sections": {title: items for title, items in sections.items() if items},
        "notes": [*facts["training"]["dropped"], *run.get("notes", [])],
        "cautions": [text.replace("`", "") for text in cautions(facts)],
        "changed": [row for row in settings.itertuples(index=False) if row.value != row.default],
        "settings": list(settings.itertuples(index=False)),
        "versions": run.get("versions", {}),
        "folder": facts["folder"],
        "size": f"{facts['folder']['bytes'] / 1e6:.3g} MB",
        "downloads": [name for name, table in tables.items() if len(table)],
    }
    q2templates.render(str(_ASSETS / "summarize" / "index.html"), output_dir, context=context)


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
    size = f"{what['members']} network{'s' * (what['members'] != 1)}"
    trees = f" and a random forest of {what['forest_trees']} trees" * bool(what["forest_trees"])
    tiles.append(("Made of", size, f"of {what['parameters']:,} parameters{trees}"))
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
