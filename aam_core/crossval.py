"""Cross-validation, beside a random forest on the same folds."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aam_core import prediction, preparation, presets, workflows
from aam_core.artifact import Model
from aam_core.config import Config
from aam_core.data.covariates import fit_covariates
from aam_core.data.inputs import Study
from aam_core.data.splits import make_folds
from aam_core.data.targets import BASELINE, as_classes, as_numbers, fit_target
from aam_core.errors import InputError, first_five
from aam_core.evaluation import check_task, compare, draw, random_forest
from aam_core.files import check_folder, replacing_in, write_json


@dataclass
class CrossValidation:
    """Every sample predicted by models that never saw it.

    Attributes
    ----------
    predictions : DataFrame
        Index ``sample-id``; ``fold``, ``actual``, ``prediction`` and what else `predict` gives; the
        baseline's columns start with ``random_forest``.
    metrics : dict
        ``{"aam": {...}, "random_forest": {...}, "per_fold": [...]}``.
    """

    predictions: pd.DataFrame
    metrics: dict


def cross_validate(
    study: Study,
    target: str | pd.Series,
    *,
    task: str = "regression",
    group_by: str | pd.Series | None = None,
    folds: int = 5,
    baseline: bool = True,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    covariates: Sequence[str] = (),
    config: Config | None = None,
    output: str | Path | None = None,
) -> CrossValidation:
    """Score every sample by a model that never saw it, beside a random forest on the same folds.

    In each fold the validation samples of early stopping come from the training side.

    Parameters
    ----------
    study : Study
    target : str or Series
        Metadata column, or values by sample id.
    task : {'regression', 'classification'}
    group_by : str or Series, optional
        Samples of a group are never on both sides, of a fold or of its validation split.
    folds : int
    baseline : bool
        Whether to score a random forest too.
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
    check_task(task)
    if output is not None:
        check_folder(output)
    config = config or presets.fitting()
    encoder = None if encoder is None else prediction.as_model(encoder)
    samples, left_out = preparation.usable_samples(study, config)
    _say(left_out)
    study = study.select(samples)
    values = preparation.by_sample(study, target).reindex(samples)
    groups = preparation.by_sample(study, group_by)
    parts = _folds(study, values, groups, folds, task, config, covariates)
    _say(_seen(encoder, samples))
    fit = functools.partial(
        workflows.fit_regressor if task == "regression" else workflows.fit_classifier,
        encoder=encoder,
        freeze_encoder=freeze_encoder,
        group_by=groups,
        covariates=covariates,
        config=config,
    )
    settings = {"task": task, "seed": config.train.seed, "covariates": covariates}
    forest = functools.partial(random_forest, y=values, **settings) if baseline else None
    found = _predict(study, values, parts, fit, forest)
    whole = {name: _whole([frames[name] for frames in found], values, task) for name in found[0]}
    metrics = {
        **_scores(whole, values, task),
        "per_fold": [
            {"fold": number, **_scores(frames, values, task)}
            for number, frames in enumerate(found, start=1)
        ],
    }
    table = _table(whole, parts, values, task)
    if output is not None:
        _write_cross_validation(table, metrics, task, str(values.name), output)
    return CrossValidation(table, metrics)


def _folds(study, values, groups, folds, task, config, covariates):
    """[(train_ids, test_ids)]; what cannot be split says so before anything is trained."""
    fit_target(values, task)
    strata = values if task == "classification" else None
    samples, seed = study.sample_ids, config.train.seed
    parts = make_folds(samples, folds=folds, seed=seed, groups=groups, strata=strata)
    for number, (train, _) in enumerate(parts, start=1):
        try:
            inner, _ = preparation.split_samples(train, config, groups, strata)
            fit_covariates(study.metadata, covariates, inner)
        except InputError as error:
            where = f"In the {len(train)} training samples of fold {number}"
            raise InputError(f"{where}: {error}") from None
    return parts


def _predict(study, values, parts, fit, forest=None) -> list[dict[str, pd.DataFrame]]:
    """Of each fold, what each predicts of its test samples, trained on its training samples."""
    found = []
    for number, (train, test) in enumerate(parts, start=1):
        label = f"fold {number}/{len(parts)}"
        model = fit(study.select(train), values.loc[train], label=label)
        frames = {"aam": prediction.predict(model, study.select(test))}
        if forest is not None:
            frames["random_forest"] = forest(study, train, test)
        found.append(frames)
    return found


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
        name: compare(frame, values.loc[frame.index], task)[1] for name, frame in frames.items()
    }


def _table(whole: dict[str, pd.DataFrame], parts, values: pd.Series, task: str) -> pd.DataFrame:
    """All predictions side by side, behind the fold and what is true."""
    table = whole["aam"].copy()
    fold = {name: number for number, (_, test) in enumerate(parts, start=1) for name in test}
    table.insert(0, "fold", [fold[name] for name in table.index])
    table.insert(1, "actual", as_numbers(values) if task == "regression" else as_classes(values))
    if "random_forest" not in whole:
        return table
    forest = whole["random_forest"].add_prefix(BASELINE)
    return table.join(forest.rename(columns={f"{BASELINE}prediction": "random_forest"}))


def _say(text: str) -> None:
    """One line on stderr; nothing for an empty text."""
    if text:
        print(text, file=sys.stderr, flush=True)


def _write_cross_validation(table, metrics, task, target, output):
    with replacing_in(output) as folder:
        table.to_csv(folder / "predictions.tsv", sep="\t", index_label="sample-id")
        write_json(folder / "metrics.json", metrics)
        draw(table, task, target, folder / "predictions.png")
