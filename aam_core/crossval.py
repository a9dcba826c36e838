"""Cross-validation, beside a random forest on the same folds."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aam_core import fitting, prediction, preparation
from aam_core.baseline import baseline_forest
from aam_core.config import Config, presets
from aam_core.data.columns import as_classes, as_numbers, infer_task
from aam_core.data.covariates import covariate_names, fit_covariates, infer_types
from aam_core.data.splits import make_folds
from aam_core.data.study import Study
from aam_core.devices import alone
from aam_core.ensemble.intervals import COVERAGE
from aam_core.errors import InputError, first_five
from aam_core.evaluation import write_scores
from aam_core.files.writing import check_folder
from aam_core.model import Model, as_model
from aam_core.pretrained import with_sizes_of
from aam_core.tasks import task_named
from aam_core.tasks.prediction_columns import is_of_method

DEPTH_TELLS_R2, DEPTH_TELLS_AUC = 0.2, 0.75
"""Figures of the number of reads alone from which one line warns."""


@dataclass
class CrossValidation:
    """Every sample predicted by models that never saw it.

    Attributes
    ----------
    predictions : DataFrame
        Index ``sample-id``; ``fold``, ``actual``, ``prediction`` and what else `predict` gives; the
        same of the others, in columns that start with their names.
    metrics : dict
        ``{"held_out": {...}, "aam": {...}, ..., "per_fold": [...]}``: how many samples, groups and
        folds there are; metrics of what the fit predicts, of its ``network`` alone, where it blends
        one with a forest, and of the baselines ``random_forest`` and ``reads``, a forest on the
        number of reads of a sample alone; the same of each fold. Of a regression also the
        ``interval`` that ``coverage`` is of.
    """

    predictions: pd.DataFrame
    metrics: dict


@alone
def cross_validate(
    study: Study,
    target: str | pd.Series,
    *,
    task: str | None = None,
    group_by: str | pd.Series | None = None,
    folds: int = 5,
    baseline: bool = True,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    covariates: Sequence[str] = (),
    config: Config | str | None = None,
    output: str | Path | None = None,
) -> CrossValidation:
    """Score every sample by a model that never saw it, beside a random forest on the same folds.

    In each fold the validation samples of early stopping come from the training side.

    Parameters
    ----------
    study : Study
    target : str or Series
        Metadata column, or values by sample id.
    task : {'regression', 'classification'}, optional
        Told from the target where not given: text means classes, which one line says.
    group_by : str or Series, optional
        Samples of a group are never on both sides, of a fold or of its validation split.
    folds : int
    baseline : bool
        Whether to score random forests too, on the ASVs and on the number of reads alone. Where the
        latter tells the target one line warns.
    encoder, freeze_encoder, covariates, config
        As in `fit_regressor`. Of an encoder that was trained on tested samples one line warns.
    output : path, optional
        Folder for ``predictions.tsv``, ``metrics.json`` and ``predictions.png``.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        If the target is unusable, or there are fewer samples or groups than folds.
    """
    if task is not None:
        task_named(task)
    if output is not None:
        check_folder(output)
    config = presets.as_config(config, presets.fitting)
    encoder = None if encoder is None else as_model(encoder)
    samples, left_out = preparation.usable_samples(study, config)
    _say(left_out)
    study = study.select(samples)
    values = preparation.values_by_sample(study, target).reindex(samples)
    lines = [] if task else _told(values)
    task = task or infer_task(values)
    covariates = covariate_names(covariates)
    study, config, idle = _effective(
        study, values, task, group_by, encoder, freeze_encoder, covariates, config
    )
    lines += preparation.column_notes(study, values, group_by, covariates, task_named(task))
    # Decided by all samples: what a column is must not differ between folds.
    study = dataclasses.replace(study, metadata=infer_types(study.metadata, covariates)[0])
    groups = preparation.values_by_sample(study, group_by, "group_by")
    split = preparation.splitter(config, encoder, freeze_encoder)
    parts, inner = _folds(study, values, groups, folds, task, covariates, split, config.train.seed)
    for line in (*lines, *idle, _seen(encoder, samples)):
        _say(line)
    fit = functools.partial(
        fitting.fit_regressor if task == "regression" else fitting.fit_classifier,
        encoder=encoder,
        freeze_encoder=freeze_encoder,
        covariates=covariates,
        config=config,
    )
    settings = {"task": task, "seed": config.train.seed, "covariates": covariates}
    forests = {}
    if baseline:
        forests["random_forest"] = functools.partial(baseline_forest, values=values, **settings)
        forests["reads"] = functools.partial(
            baseline_forest, values=values, depth_only=True, **settings
        )
    found = _predict(study, values, parts, inner, fit, forests, task)
    whole = {name: _whole([frames[name] for frames in found], values, task) for name in found[0]}
    metrics = {
        "held_out": _held_out(samples, groups) | {"folds": len(parts)},
        **_scores(whole, values, task),
        **({"interval": {"nominal_coverage": COVERAGE}} if task == "regression" else {}),
        "per_fold": [
            {
                "fold": number,
                "held_out": _held_out(frames["aam"].index, groups),
                **_scores(frames, values, task),
            }
            for number, frames in enumerate(found, start=1)
        ],
    }
    table = _table(whole, parts, values, task)
    _say(_depth_tells(metrics, task, str(values.name)))
    if output is not None and os.environ.get("RANK", "0") == "0":
        write_scores(table, metrics, task_named(task), str(values.name), output)
    return CrossValidation(table, metrics)


def _told(values: pd.Series) -> list[str]:
    """What to say of the task that the target tells, where it is not the usual one."""
    if infer_task(values) == "regression":
        return []
    return [f"Column {values.name!r} is text: its values are classes (--task classification)."]


def _held_out(samples, groups) -> dict[str, int]:
    return preparation.count_held_out(len(samples), preparation.count_groups(groups, samples))


def _effective(study, values, task, group_by, encoder, freeze_encoder, covariates, config):
    """The study without what no fold learns, the configuration, and what to say of both."""
    groups = preparation.values_by_sample(study, group_by, "group_by")
    preparation.check_columns(values, groups, covariates, study.sample_ids)
    adopted = with_sizes_of(config, encoder)
    setup = preparation.describe_run(
        task,
        study,
        adopted,
        job="folds",
        encoder=encoder is not None,
        frozen=freeze_encoder,
        covariates=bool(covariates),
        validates=config.train.val_fraction > 0,
        output=False,
    )
    idle = preparation.unused(study, adopted, setup, groups)
    return preparation.without_unused(study, adopted, setup), config.said(), idle


def _folds(study, values, groups, folds, task, covariates, split, seed):
    """[(train_ids, test_ids)], and how each training side is split for the fit itself.

    What cannot be split says so before anything is trained.
    """
    task_named(task).check(values)
    strata = values if task == "classification" else None
    if strata is not None:
        _check_names(strata)
    samples = study.sample_ids
    parts = make_folds(samples, folds=folds, seed=seed, groups=groups, strata=strata)
    inner = []
    for number, (train, _) in enumerate(parts, start=1):
        try:
            inner.append(split(train, groups=groups, strata=strata))
            task_named(task).fit(values, inner[-1].train)
            fit_covariates(study.metadata, covariates, inner[-1].train)
        except InputError as error:
            where = f"In the {len(train)} training samples of fold {number}"
            raise InputError(f"{where}: {error}") from None
    return parts, inner


def _check_names(classes: pd.Series) -> None:
    """Refuse classes whose columns would be taken for those of what is scored beside."""
    taken = sorted(name for name in set(as_classes(classes)) if is_of_method(name))
    if taken:
        raise InputError(
            f"Column {classes.name!r} has classes that are columns of a cross-validation's "
            f"predictions: {first_five(taken)}. Give them other names."
        )


def _predict(study, values, parts, inner, fit, forests, task) -> list[dict[str, pd.DataFrame]]:
    """Of each fold, what each predicts of its test samples, trained on its training samples."""
    found = []
    for number, ((train, test), split) in enumerate(zip(parts, inner, strict=True), start=1):
        label = f"fold {number}/{len(parts)}"
        model = fit(study.select(train), values.loc[train], split=split, label=label)
        held = study.select(test)
        frames = {"aam": _of_target(model, held)}
        if model.forest is not None:
            alone = dataclasses.replace(model, forest=None, interval=None)
            frames["network"] = _of_target(alone, held)
        if forests:
            _say(f"{label}: fitting the random forests to compare with")
        for name, forest in forests.items():
            frames[name] = forest(study, train, test)
        found.append(frames)
        scores = task_named(task).compare(frames["aam"], values.loc[test])[1]
        told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        _say(f"{label}: {len(test)} test samples: {told}")
    return found


def _of_target(model: Model, study: Study) -> pd.DataFrame:
    """Predictions alone: what the model knows of samples is for those of other studies."""
    return pd.concat(
        prediction.target_frames(model, study, prediction.override(model.config, None, None))
    )


def _depth_tells(metrics: dict, task: str, target: str) -> str:
    """A warning where the number of reads of a sample alone tells the target; else empty."""
    if "reads" not in metrics:
        return ""
    name, least = ("r2", DEPTH_TELLS_R2) if task == "regression" else ("auc", DEPTH_TELLS_AUC)
    figure = metrics["reads"].get(name)
    if figure is None or not figure >= least:
        return ""
    return (
        f"The number of reads of a sample alone predicts {target!r} with {name} {figure:.3f}: the "
        "samples were sequenced to different depths, and every method can tell them apart by it. "
        "Rarefy the table to one depth beforehand to see what the microbes themselves tell."
    )


def _seen(encoder: Model | None, samples: list[str]) -> str:
    """A warning of samples that the encoder was trained on; empty if there are none."""
    if encoder is None:
        return ""
    theirs = {*encoder.train_samples, *encoder.val_samples}
    both = [name for name in samples if name in theirs]
    if not both:
        return ""
    unlabelled = encoder.target is None
    return (
        f"The encoder was {'pretrained' if unlabelled else 'fitted'} on {len(both)} of the "
        f"{len(samples)} samples ({'without' if unlabelled else 'with'} labels): "
        f"{first_five(both)}. Of samples that it never saw the figures may be worse."
    )


def _whole(frames: list[pd.DataFrame], values: pd.Series, task: str) -> pd.DataFrame:
    """The folds' predictions as one table in the order of ``values``."""
    table = pd.concat(frames).loc[values.index]
    if task == "regression":
        return table
    classes = sorted(set(as_classes(values)))
    # Where a class was not among the training samples of a fold, it has no chance there.
    return table[["prediction", *classes]].fillna(dict.fromkeys(classes, 0.0))


def _scores(frames: dict[str, pd.DataFrame], values: pd.Series, task: str) -> dict:
    """``{"aam": {...}, "random_forest": {...}}`` of some predicted samples."""
    return {
        name: task_named(task).compare(frame, values.loc[frame.index])[1]
        for name, frame in frames.items()
    }


def _table(whole: dict[str, pd.DataFrame], parts, values: pd.Series, task: str) -> pd.DataFrame:
    """All predictions side by side, behind the fold and what is true."""
    table = whole["aam"].copy()
    fold = {name: number for number, (_, test) in enumerate(parts, start=1) for name in test}
    table.insert(0, "fold", [fold[name] for name in table.index])
    table.insert(1, "actual", as_numbers(values) if task == "regression" else as_classes(values))
    for name in (name for name in whole if name != "aam"):
        beside = whole[name].add_prefix(f"{name}_")
        table = table.join(beside.rename(columns={f"{name}_prediction": name}))
    return table


def _say(text: str) -> None:
    """One line on stderr; nothing for an empty text."""
    if text:
        print(text, file=sys.stderr, flush=True)
