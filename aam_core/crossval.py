"""Cross-validation, beside a random forest on the same folds."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pandas as pd

from aam_core import prediction, presets, workflows
from aam_core.data.covariates import fit_covariates
from aam_core.data.splits import make_folds
from aam_core.data.targets import KINDS, as_classes, as_numbers, fit_target
from aam_core.evaluation import compare, draw, random_forest
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
    study,
    target: str,
    *,
    task: str = "regression",
    group_by: str | None = None,
    folds: int = 5,
    baseline: bool = True,
    encoder=None,
    freeze_encoder: bool = False,
    covariates=(),
    config=None,
    output=None,
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
        As in `fit_regressor`.
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
    assert task in KINDS, task
    if output is not None:
        check_folder(output)
    config = config or presets.fitting()
    samples, left_out = workflows.usable_samples(study, config)
    if left_out:
        print(left_out, file=sys.stderr, flush=True)
    study = study.select(samples)
    values = workflows.by_sample(study, target).reindex(samples)
    groups = workflows.by_sample(study, group_by)
    fit_target(values, task)
    strata = values if task == "classification" else None
    parts = make_folds(samples, folds=folds, seed=config.train.seed, groups=groups, strata=strata)
    for train, _ in parts:  # what cannot be split says so before anything is trained
        inner, _ = workflows.split_samples(train, config, groups, strata)
        fit_covariates(study.metadata, covariates, inner)
    fit = workflows.fit_regressor if task == "regression" else workflows.fit_classifier
    found, scores = [], []
    for number, (train, test) in enumerate(parts, start=1):
        model = fit(
            study.select(train),
            values.loc[train],
            encoder=encoder,
            freeze_encoder=freeze_encoder,
            group_by=groups,
            covariates=covariates,
            config=config,
            label=f"fold {number}/{folds}",
        )
        frame = prediction.predict(model, study.select(test))
        frame.insert(0, "fold", number)
        if baseline:
            forest = random_forest(study, train, test, values, task, config.train.seed, covariates)
            frame = frame.join(
                forest.add_prefix("random_forest_").rename(
                    columns={"random_forest_prediction": "random_forest"}
                )
            )
        scores.append({"fold": number, **_scores(frame, values, task, baseline)})
        found.append(frame)
    table = _whole(found, values, task)
    metrics = {**_scores(table, values, task, baseline), "per_fold": scores}
    if output is not None:
        _write_cross_validation(table, metrics, task, str(values.name), output)
    return CrossValidation(table, metrics)


def _whole(found: list[pd.DataFrame], values: pd.Series, task: str) -> pd.DataFrame:
    """The folds' predictions as one table in the order of ``values``, beside what is true."""
    table = pd.concat(found).loc[values.index]
    if task == "regression":
        table.insert(1, "actual", as_numbers(values))
        return table
    labels = as_classes(values)
    classes = sorted(set(labels))
    columns = ["fold", "prediction", *classes]
    if "random_forest" in table:
        columns += ["random_forest", *(f"random_forest_{name}" for name in classes)]
    # Where a class was not among the training samples of a fold, it has no chance there.
    table = table[columns].fillna(dict.fromkeys(columns, 0.0))
    table.insert(1, "actual", labels)
    return table


def _scores(frame, values, task, baseline) -> dict:
    """``{"aam": {...}, "random_forest": {...}}`` of some predicted samples."""
    truth = values.loc[frame.index]
    mine = [name for name in frame.columns if not name.startswith("random_forest")]
    scores = {"aam": compare(frame[mine], truth, task)[1]}
    if baseline:
        theirs = frame.drop(columns=mine).rename(columns={"random_forest": "prediction"})
        theirs.columns = [name.removeprefix("random_forest_") for name in theirs.columns]
        scores["random_forest"] = compare(theirs, truth, task)[1]
    return scores


def _write_cross_validation(table, metrics, task, target, output):
    with replacing_in(output) as folder:
        table.to_csv(folder / "predictions.tsv", sep="\t", index_label="sample-id")
        write_json(folder / "metrics.json", metrics)
        draw(table, task, target, folder / "predictions.png")
