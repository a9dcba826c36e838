"""The learning curve on a page."""

from __future__ import annotations

import functools

import pandas as pd

from aam_core import plots
from aam_core.model import Model
from aam_core.reporting.learning_curve import GROUPS, LearningCurve
from aam_core.reporting.page import Picture, Section, Table

__all__ = ["curve_section"]

_SAVED = {"mean absolute error": "mae", "Brier score": "brier"}
"""Loss of the curve -> the metric of the saved model that is the same."""


def curve_section(curve: LearningCurve, model: Model, members: int, units: str) -> Section:
    """Plots and tables of a learning curve of ``members`` networks a refit."""
    whole = model.config.model.members
    members = min(members, whole)
    label = curve.loss[0].upper() + curve.loss[1:]
    unit = f" ({units})" if units and curve.loss in ("mean absolute error",) else ""
    pictures = []
    for design in dict.fromkeys(curve.points.index):
        draw = functools.partial(
            plots.over_sizes,
            _curves(curve, design, model, members),
            dashed=[_name(members) + " extrapolated"],
            xlabel="Training samples",
            ylabel=label + unit,
        )
        what = "groups (subjects)" if design == GROUPS else design
        caption = f"Error with fewer {what}. Bands: 95% of bootstrap draws of the tested groups."
        pictures.append(Picture(f"learning-curve-{design.split()[0]}", draw, caption))
    text = [
        f"Each point is a refit on part of the training samples, with {members} of the model's "
        f"{whole} networks and their forest, tested on samples that it never saw, the same at all "
        "sizes. Parts are nested. Bands and intervals are of the tested groups drawn anew: which "
        "samples a refit was trained on varies, too, and is not in them."
        + _saved_in_words(curve, model, whole),
        *curve.notes,
    ]
    tables = [
        Table("learning_curve", curve.points, "Errors by training samples.", 20),
        Table("learning_curve_extrapolated", curve.extrapolated, "The same, extrapolated.", 0),
    ]
    return Section("How much more data would help", text, pictures, tables)


def _name(members: int) -> str:
    return f"AAM, {members} network{'s' * (members > 1)}"


def _curves(
    curve: LearningCurve, design: str, model: Model, members: int
) -> dict[str, pd.DataFrame]:
    own = curve.points.loc[[design]].rename(columns={"samples": "size"})
    names = {"aam": _name(members), "random_forest": "Random forest"}
    curves = {label: own[own["method"] == key] for key, label in names.items()}
    saved = _saved(curve, model)
    if saved is not None:
        folds = max(2, len(set(model.val_folds)))
        size = len(model.train_samples) * (1 - 1 / folds)
        point = pd.DataFrame({"size": [size], "value": [saved]})
        curves[f"Saved model, {model.config.model.members} networks"] = point
    if design in curve.extrapolated.index:
        beyond = curve.extrapolated.loc[[design]].rename(columns={"samples": "size"})
        curves[_name(members) + " extrapolated"] = beyond
    return curves


def _saved(curve: LearningCurve, model: Model) -> float | None:
    return (model.metrics or {}).get("model", {}).get(_SAVED[curve.loss])


def _saved_in_words(curve: LearningCurve, model: Model, whole: int) -> str:
    saved = _saved(curve, model)
    if saved is None:
        return ""
    return f" The saved model, of {whole} networks, has a {curve.loss} of {saved:.4g} out of fold."
