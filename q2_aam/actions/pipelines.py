"""Pipelines: from a table to a tested model with its pages, and cross-validations with theirs.

Actions are called through the context and their results passed on: so that QIIME 2's ``--parallel``
runs what does not depend on each other side by side. To view a result waits for it.
"""

import dataclasses

import biom
import pandas as pd
import qiime2
from q2_types.feature_data import DNAFASTAFormat

from aam_core.baseline import BASELINES
from aam_core.comparison import (
    LABELS,
    check_class_names,
    comparison_table,
    long_table,
    metrics_of_table,
)
from aam_core.errors import InputError, first_five
from aam_core.log import logger, recording
from aam_core.model import Model
from q2_aam._details import Details
from q2_aam._parameters import TRAINING, configure, thread_count
from q2_aam._pipelines import passes_on
from q2_aam._predictions import PredictionsFormat, read_predictions
from q2_aam._splits import check_columns, check_split, note_left_out, warn_of_start
from q2_aam._studies import add_covariates, read_study, with_covariates
from q2_aam._wording import speaking
from q2_aam.actions.evaluation import (
    QUANTILES,
    chosen_baselines,
    cross_validate,
    cross_validated,
)
from q2_aam.actions.models import fit_classifier, fit_regressor

__all__ = [
    "classify_samples",
    "classify_samples_ncv",
    "regress_samples",
    "regress_samples_ncv",
    "score_baselines",
]

_PLUGIN = "aam"


# --- cross-validations ---------------------------------------------------------------------------


@passes_on(cross_validate, without={"fold"})
def regress_samples_ncv(
    ctx,
    metadata,
    cv=5,
    stratify=False,
    fold_by=None,
    repeats=1,
    importance_repeats=3,
    n_jobs=1,
    **validating,
):
    """Cross-validate a numeric column, and make the pages."""
    given = {"metadata": metadata, "fold_by": fold_by, "repeats": repeats, **validating}
    given["importance_repeats"] = importance_repeats
    if stratify:
        given["settings"] = _stratified(fold_by, given["settings"])
    folds = _folds(ctx, cv, n_jobs, **given)
    predictions, details = ctx.get_action(_PLUGIN, "join_regression_folds")(folds=folds)
    (importance,) = ctx.get_action(_PLUGIN, "join_importances")(folds=folds)
    (comparison,) = ctx.get_action(_PLUGIN, "compare")(details=details)
    (accuracy,) = ctx.get_action(_PLUGIN, "scatterplot")(
        predictions=predictions,
        truth=metadata,
        details=details,
        group_by=given["group_by"],
        missing_samples="ignore",
    )
    return predictions, importance, details, comparison, accuracy


def _stratified(fold_by, settings: list | None) -> list:
    """The settings with which folds have the quantiles of a number in equal shares."""
    if fold_by is not None:
        raise InputError(
            "stratify divides cv folds, and fold_by makes others: give one of the two."
        )
    if any(it.partition("=")[0].strip() == "train.strata" for it in settings or ()):
        raise InputError("stratify sets train.strata, as the settings do: give one of the two.")
    return [*(settings or ()), f"train.strata={QUANTILES}"]


@passes_on(cross_validate, without={"fold"})
def classify_samples_ncv(
    ctx, metadata, cv=5, fold_by=None, repeats=1, importance_repeats=3, n_jobs=1, **validating
):
    """Cross-validate a categorical column, and make the pages."""
    given = {"metadata": metadata, "fold_by": fold_by, "repeats": repeats, **validating}
    given["importance_repeats"] = importance_repeats
    folds = _folds(ctx, cv, n_jobs, **given)
    join = ctx.get_action(_PLUGIN, "join_classification_folds")
    predictions, probabilities, details = join(folds=folds)
    (importance,) = ctx.get_action(_PLUGIN, "join_importances")(folds=folds)
    (comparison,) = ctx.get_action(_PLUGIN, "compare")(details=details)
    (accuracy,) = ctx.get_action(_PLUGIN, "confusion_matrix")(
        predictions=predictions,
        truth=metadata,
        probabilities=probabilities,
        details=details,
        group_by=given["group_by"],
        missing_samples="ignore",
    )
    return predictions, importance, probabilities, details, comparison, accuracy


def _folds(ctx, cv: int, n_jobs: int, **given) -> list:
    """Details of each fold, an action of its own; or of all, where AAM divides the work itself.

    The values of ``fold_by`` are known when the table is read: its folds are one action.
    """
    validate = ctx.get_action(_PLUGIN, "cross_validate")
    if given["fold_by"] is not None or n_jobs > 1:
        return list(validate(cv=cv, n_jobs=n_jobs, **given))
    parts = []
    for number in range(1, cv * given["repeats"] + 1):
        (part,) = validate(cv=cv, fold=number, **given)
        parts.append(part)
    return parts


# --- a model and its test ------------------------------------------------------------------------


@passes_on(fit_regressor, without={"more_targets"})
def regress_samples(
    ctx, table, metadata, test_size=0.2, stratify=True, pretrain=False, baselines=None, **fitting
):
    """Fit a numeric column to training samples, test it on the others, and make every page."""
    split, fitting = _split(ctx, table, metadata, (test_size, stratify, pretrain), fitting)
    training_table, test_table, *_ = split
    fit = ctx.get_action(_PLUGIN, "fit_regressor")
    estimator, _, _ = fit(table=training_table, metadata=_of(metadata, split[2]), **fitting)
    predict = ctx.get_action(_PLUGIN, "predict_regression")
    predictions, details = predict(
        table=test_table, regressor=estimator, **_predicting(fitting, split)
    )
    details = _beside(ctx, table, split, details, baselines, fitting)
    (accuracy,) = ctx.get_action(_PLUGIN, "scatterplot")(
        predictions=predictions,
        truth=metadata,
        details=details,
        group_by=fitting["group_by"],
        missing_samples="ignore",
    )
    importance = _importance(ctx, split, metadata, estimator, fitting)
    pages = _pages(ctx, (table, test_table), metadata, estimator, details, importance, fitting)
    return _outputs((estimator, importance, predictions), accuracy, pages, split, details)


@passes_on(fit_classifier)
def classify_samples(
    ctx, table, metadata, test_size=0.2, stratify=True, pretrain=False, baselines=None, **fitting
):
    """Fit a categorical column to training samples, test it, and make every page."""
    split, fitting = _split(ctx, table, metadata, (test_size, stratify, pretrain), fitting)
    training_table, test_table, *_ = split
    fit = ctx.get_action(_PLUGIN, "fit_classifier")
    estimator, _, _, _ = fit(table=training_table, metadata=_of(metadata, split[2]), **fitting)
    predict = ctx.get_action(_PLUGIN, "predict_classification")
    predictions, probabilities, details = predict(
        table=test_table, classifier=estimator, **_predicting(fitting, split)
    )
    details = _beside(ctx, table, split, details, baselines, fitting)
    (accuracy,) = ctx.get_action(_PLUGIN, "confusion_matrix")(
        predictions=predictions,
        truth=metadata,
        probabilities=probabilities,
        details=details,
        group_by=fitting["group_by"],
        missing_samples="ignore",
    )
    importance = _importance(ctx, split, metadata, estimator, fitting)
    pages = _pages(ctx, (table, test_table), metadata, estimator, details, importance, fitting)
    (heatmap,) = ctx.get_action(_PLUGIN, "heatmap")(
        table=table, importance=importance[0], sample_metadata=metadata
    )
    outputs = (estimator, importance, predictions, probabilities, heatmap)
    return _outputs(outputs, accuracy, pages, split, details)


def _split(ctx, table, metadata, how: tuple[float, bool, bool], fitting: dict) -> tuple:
    """Tables and targets of the two sides, and what the fit gets: an encoder, where one is asked.

    The encoder is pretrained on the training samples: the test samples are new to all of the model.
    """
    test_size, stratify, pretrain = how
    if pretrain and fitting["encoder"] is not None:
        raise InputError("pretrain makes an encoder, and one is given: choose one of the two.")
    if pretrain and fitting["init_from"] is not None:
        raise InputError("pretrain makes an encoder, and init_from has one: choose one of the two.")
    given = (fitting["covariates"], table.view(biom.Table), fitting["missing_samples"])
    split = ctx.get_action(_PLUGIN, "split_table")(
        table=table,
        metadata=with_covariates(metadata, *given),
        group_by=fitting["group_by"],
        test_size=test_size,
        stratify=stratify,
        random_state=fitting["random_state"],
        missing_samples=fitting["missing_samples"],
    )
    split = tuple(split)
    train, test = (read_predictions(side.view(PredictionsFormat)) for side in split[2:])
    start = fitting["init_from"]
    start = None if start is None else start.view(Model)
    check_split(metadata, train, test, fitting["group_by"], start)
    if fitting["covariates"] is not None:
        numeric = isinstance(metadata, qiime2.NumericMetadataColumn)
        task = "regression" if numeric else "classification"
        tested = fitting["covariates"].to_dataframe().reindex(test.index)
        check_columns(configure("fitting", fitting), task, tested)
    if not pretrain:
        return split, fitting
    names = (*TRAINING, "sequences", "phylogeny", "distances", "group_by")
    pretraining = {name: fitting[name] for name in names}
    pretraining["settings"] = _of_pretraining(fitting["settings"])
    (encoder,) = ctx.get_action(_PLUGIN, "pretrain")(table=split[0], **pretraining)
    return split, {**fitting, "encoder": encoder}


def _of_pretraining(settings: list | None) -> list | None:
    """The settings without the metric of the fit, which a pretraining does not have."""
    kept = [it for it in settings or () if it.partition("=")[0].strip() != "train.best_metric"]
    return kept or None


def _of(metadata, targets):
    """The column of the samples of one side alone: the others are no part of what is done."""
    return metadata.filter_ids(read_predictions(targets.view(PredictionsFormat)).index)


# --- the steps after the split -------------------------------------------------------------------


def _predicting(fitting: dict, split: tuple) -> dict:
    """What a prediction gets of the parameters of the fit."""
    names = ("sequences", "n_jobs", "device", "max_lost_reads")
    covariates = fitting["covariates"]
    metadata = None if covariates is None else _of(covariates, split[3])
    return {"metadata": metadata, **{name: fitting[name] for name in names}}


def _beside(ctx, table, split, details, baselines, fitting: dict):
    """The details with the predictions of baselines, fitted to the same training samples."""
    names = ("sequences", "group_by", "covariate_columns", "random_state", "n_jobs")
    # Covariates for columns that settings name are none of the baselines.
    covariates = fitting["covariates"] if fitting["covariate_columns"] else None
    (scored,) = ctx.get_action(_PLUGIN, "score_baselines")(
        table=table,
        training_targets=split[2],
        test_targets=split[3],
        details=details,
        baselines=baselines,
        covariates=covariates,
        started_from=fitting["encoder"] if fitting["init_from"] is None else fitting["init_from"],
        max_lost_reads=fitting["max_lost_reads"],
        **{name: fitting[name] for name in names},
    )
    return scored


def _pages(ctx, tables, metadata, estimator, details, importance, fitting: dict) -> list:
    """The pages that both kinds of models have."""
    table, test_table = tables
    (summary,) = ctx.get_action(_PLUGIN, "summarize")(model=estimator)
    (comparison,) = ctx.get_action(_PLUGIN, "compare")(details=details)
    (curves,) = ctx.get_action(_PLUGIN, "training_curves")(model=estimator)
    (important,) = ctx.get_action(_PLUGIN, "importance")(
        explanation=importance[1],
        table=test_table,
        metadata=metadata,
        missing_samples="ignore",
    )
    names = ("sequences", "group_by", "device", "max_lost_reads")
    (report,) = ctx.get_action(_PLUGIN, "report")(
        model=estimator,
        details=details,
        table=table,
        metadata=_known(metadata, fitting),
        **{name: fitting[name] for name in names},
    )
    return [summary, comparison, important, report, curves]


def _known(metadata, fitting: dict) -> qiime2.Metadata:
    """Metadata with the target, and the covariates."""
    known, covariates = metadata.to_dataframe(), fitting["covariates"]
    if covariates is not None:
        others = covariates.to_dataframe().drop(columns=metadata.name, errors="ignore")
        known = known.join(others, how="inner")
    return qiime2.Metadata(known)


def _importance(ctx, split, metadata, estimator, fitting: dict) -> tuple:
    """Importances of the features for the predictions of the test samples."""
    names = ("sequences", "phylogeny", "group_by", "random_state", "n_jobs", "device")
    return tuple(
        ctx.get_action(_PLUGIN, "explain")(
            table=split[1],
            predictor=estimator,
            metadata=_known(_of(metadata, split[3]), fitting),
            missing_samples=fitting["missing_samples"],
            max_lost_reads=fitting["max_lost_reads"],
            **{name: fitting[name] for name in names},
        )
    )


def _outputs(made: tuple, accuracy, pages: list, split: tuple, details) -> tuple:
    """The outputs in the order of the registration: first those of q2-sample-classifier."""
    estimator, (importance, explanation), predictions, *of_classes = made
    summary, *others = pages
    first = (estimator, importance, predictions, summary, accuracy, *of_classes)
    return (*first, *split[2:], details, explanation, *others)


def score_baselines(
    table: biom.Table,
    training_targets: PredictionsFormat,
    test_targets: PredictionsFormat,
    details: Details,
    sequences: DNAFASTAFormat = None,
    started_from: Model = None,
    group_by: qiime2.MetadataColumn = None,
    baselines: list = None,
    covariates: qiime2.Metadata = None,
    covariate_columns: list = None,
    random_state: int = 0,
    n_jobs: int = 0,
    max_lost_reads: float = 0.5,
) -> Details:
    """Predictions of test samples with those of baselines that learned from the same samples."""
    from aam_core.baseline import predict_baseline

    about, train = details.about, read_predictions(training_targets)
    task, classes = about["task"], about["classes"] or []
    truth = read_predictions(test_targets)
    unknown = [name for name in details.table.index if name not in truth.index]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(details.table)} predicted samples have no test target: "
            f"{first_five(unknown)}. Give the predictions of the test table."
        )
    seen = [name for name in details.table.index if name in train.index]
    if seen:
        raise InputError(
            f"{len(seen)} predicted samples are training samples, too: {first_five(seen)}."
        )
    test = list(details.table.index)
    check_class_names(about["column"], classes)
    new = [name for name in test if classes and truth[name] not in classes]
    if new:
        raise InputError(
            f"{len(new)} of {len(test)} test samples are of classes that the model was not fitted "
            f"to ({first_five(sorted(set(truth[new])))}): {first_five(new)}. Fit the model "
            "to samples of these classes, too, or leave them out of the table."
        )
    values = pd.concat([train, truth.loc[test]]).rename(about["column"])
    values = values.astype(float) if task == "regression" else values
    chosen = chosen_baselines(baselines)
    names = list(BASELINES) if chosen is True else list(chosen or ())
    with speaking():  # what the table lacks was noted by the fit and the prediction
        frame = values.to_frame().rename_axis("sample-id")
        read = (covariates, covariate_columns or [], table, "ignore")
        frame, columns = add_covariates(frame, *read)
        study = read_study(table, sequences, metadata=frame, max_lost_reads=max_lost_reads)
    with speaking(), recording() as notes:
        note_left_out(table.ids(), values)
        warn_of_start(started_from, test)
        groups = None if group_by is None else group_by.to_series()
        wide = details.table.assign(fold=1, actual=values.loc[test])
        for name in names:
            logger.info(f"{LABELS[name]}: {len(train)} training samples, {len(test)} test samples")
            part = predict_baseline(
                name,
                study,
                [it for it in study.sample_ids if it in train.index],
                test,
                values,
                task=task,
                seed=random_state,
                covariates=columns,
                groups=groups,
                threads=thread_count(n_jobs),
            ).loc[test]
            wide = wide.join(
                part.add_prefix(f"{name}_").rename(columns={f"{name}_prediction": name})
            )
        by_method = long_table(wide, ["aam", *names], classes, groups)
        given = (task, about["column"], classes, None if groups is None else str(groups.name))
        comparison = comparison_table(metrics_of_table(by_method, *given))
    table = details.table
    result = cross_validated(
        by_method,
        comparison,
        source="test split",
        **{name: about[name] for name in ("task", "column", "units", "confidence", "classes")},
        blend=about["blend"],
        seed=about["seed"],
        group_by=given[-1],
        groups=None if groups is None else int(by_method["group"].nunique()),
        folds=1,
        repeats=1,
        notes=list(dict.fromkeys([*(about["notes"] or []), *notes])),
    )
    return dataclasses.replace(result, table=table)
