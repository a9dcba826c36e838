"""What tells how well a column is predicted: splits, cross-validations, comparisons.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import biom
import numpy as np
import pandas as pd
import qiime2

from aam_core.comparison import comparison_table, metric_names, metrics_of_table
from aam_core.config.fields import names_in
from aam_core.data.columns import label_codes
from aam_core.data.folds import quantile_strata
from aam_core.data.splits import aligned, train_val_split
from aam_core.ensemble.intervals import COVERAGE
from aam_core.errors import InputError, first_five
from aam_core.log import logger, recording
from aam_core.tasks.prediction_columns import BOUNDS, METHODS
from q2_aam._details import Details, blend_of
from q2_aam._parameters import configure, shares_fitting
from q2_aam._predictions import (
    ImportanceFormat,
    PredictionsFormat,
    ProbabilitiesFormat,
    write_table,
)
from q2_aam._splits import check_columns
from q2_aam._studies import (
    add_covariates,
    column_values,
    columns_read,
    read_inputs,
    target_metadata,
)
from q2_aam._wording import speaking
from q2_aam.pages.comparison import write_page

__all__ = [
    "QUANTILES",
    "chosen_baselines",
    "compare",
    "cross_validate",
    "cross_validated",
    "join_classification_folds",
    "join_importances",
    "join_regression_folds",
    "split_table",
]

QUANTILES = 5
"""Strata of a numeric column."""


def split_table(
    table: biom.Table,
    metadata: qiime2.MetadataColumn,
    group_by: qiime2.MetadataColumn = None,
    test_size: float = 0.2,
    random_state: int = 0,
    stratify: bool = True,
    missing_samples: str = "error",
) -> (biom.Table, biom.Table, PredictionsFormat, PredictionsFormat):  # type: ignore[syntax]
    """Divide a table into training and test samples; those of a group stay together."""
    values = column_values(table.ids(), metadata, missing_samples, "the table")
    samples = [name for name in table.ids() if name in values.index]
    values = values.loc[samples]
    if not 0 < round(test_size * len(samples)) < len(samples):
        raise InputError(
            f"A test_size of {test_size:g} leaves no sample on one side: there are "
            f"{len(samples)} samples. Change test_size, or give more samples."
        )
    groups = None if group_by is None else aligned(samples, group_by.to_series(), "group")
    strata = None
    if stratify:
        numeric = isinstance(metadata, qiime2.NumericMetadataColumn)
        strata = quantile_strata(values, QUANTILES, groups) if numeric else values
    sides = train_val_split(
        samples, fraction=test_size, seed=random_state, groups=groups, strata=strata
    )
    with speaking():
        for name, side in zip(("training", "test"), sides, strict=True):
            of = "" if groups is None else f" of {label_codes(groups[side]).max() + 1} groups"
            logger.info(f"{name}: {len(side)} samples{of} ({len(side) / len(samples):.0%})")
    tables = (table.filter(side, inplace=False).remove_empty("observation") for side in sides)
    return (*tables, *(_targets(values.loc[side]) for side in sides))


def _targets(values: pd.Series) -> PredictionsFormat:
    """The true values of some samples."""
    return write_table(values.to_frame(), PredictionsFormat)


# --- cross-validation ----------------------------------------------------------------------------


@shares_fitting
def cross_validate(
    table: biom.Table,
    metadata: qiime2.MetadataColumn,
    cv: int = 5,
    fold_by: qiime2.MetadataColumn = None,
    repeats: int = 1,
    fold: int = None,
    baselines: list = None,
    importance_repeats: int = 0,
    n_jobs: int = 1,
    **fitting,
) -> Details:
    """Predict each sample by models that never saw it, beside baselines on the same folds."""
    import aam_core

    if fold is not None and fold_by is not None:
        raise InputError("fold is one of cv folds, and fold_by makes others: give one of the two.")
    group_by, missing_samples = fitting["group_by"], fitting["missing_samples"]
    with speaking(), recording() as notes:
        config = configure("fitting", fitting)
        target = target_metadata(metadata, table, missing_samples)
        covariates = (fitting["covariates"], fitting["covariate_columns"] or [])
        columns = columns_read(config, fitting["init_from"], metadata.name)
        frame, names = add_covariates(target, *covariates, table, missing_samples, columns)
        numeric = isinstance(metadata, qiime2.NumericMetadataColumn)
        task = "regression" if numeric else "classification"
        check_columns(config, task, frame[frame.index.isin(table.ids())])
        study = read_inputs(table, fitting, frame)
        result = aam_core.cross_validate(
            study,
            metadata.name,
            task=task,
            group_by=None if group_by is None else group_by.to_series(),
            folds=None if fold_by is not None else cv,
            fold_by=None if fold_by is None else fold_by.to_series(),
            repeat=repeats,
            only=fold,
            jobs=n_jobs,
            baseline=chosen_baselines(baselines),
            importance_repeats=importance_repeats,
            covariates=names,
            config=config,
            **{name: fitting[name] for name in ("encoder", "init_from", "freeze_encoder")},
        )
    weight = result.metrics["network_weight"]
    forest = "network" in result.metrics
    details = cross_validated(
        result.by_method,
        None if fold is not None else result.comparison,
        task=result.task,
        column=result.target,
        units=names_in(config.figure.units)[0] if config.figure.units else None,
        group_by=None if group_by is None else group_by.name,
        groups=result.metrics["held_out"].get("groups"),
        folds=cv if fold_by is None else result.metrics["held_out"]["folds"],
        repeats=repeats,
        seed=config.train.seed,
        confidence=COVERAGE if set(BOUNDS) <= set(result.predictions) else None,
        blend=blend_of(weight["mean"], weight.get("linear_share", 0.0)) if forest else None,
        classes=result.classes or None,
        notes=notes,
    )
    if result.importance is None:
        return details
    return dataclasses.replace(details, importance=result.importance.to_frame())


def join_regression_folds(folds: Details) -> (PredictionsFormat, Details):  # type: ignore[syntax]
    """One cross-validation of a number from its folds."""
    joined = _joined(list(folds), "regression")  # type: ignore[call-overload]
    return write_table(joined.table[["prediction"]], PredictionsFormat), joined


def join_classification_folds(
    folds: Details,
) -> (PredictionsFormat, ProbabilitiesFormat, Details):  # type: ignore[syntax]
    """One cross-validation of classes from its folds."""
    joined = _joined(list(folds), "classification")  # type: ignore[call-overload]
    return (
        write_table(joined.table[["prediction"]], PredictionsFormat),
        write_table(joined.probabilities, ProbabilitiesFormat),
        joined,
    )


def join_importances(folds: Details) -> ImportanceFormat:
    """The importance of each feature in the mean of the folds of one cross-validation."""
    from aam_core.explanation.explain import mean_importance  # imports torch

    parts = list(folds)  # type: ignore[call-overload]
    _one_validation(parts, parts[0].about["task"])
    known = [part for part in parts if part.importance is not None]
    if len(known) < len(parts):
        raise InputError(
            f"{len(parts) - len(known)} of {len(parts)} folds have no importances: cross-validate "
            "them with importance_repeats, and give the folds themselves, before they are joined."
        )
    each = [part.importance["importance"] for part in known]
    with speaking():
        mean = mean_importance(each, [len(part.table) for part in known])
    return write_table(mean.astype(str).to_frame(), ImportanceFormat, "feature-id")


def compare(output_dir: str, details: Details, units: str = None) -> None:
    """Write the page of a cross-validation into ``output_dir``."""
    if details.methods is None or details.comparison is None:
        raise InputError(
            "These details have no comparison of methods: give those of a cross-validation "
            "(regress-samples-ncv, classify-samples-ncv); folds that were fitted apart are joined "
            "first (join-regression-folds, join-classification-folds)."
        )
    units = units or details.about["units"]
    by_method = details.methods.set_index("sample-id")
    write_page(output_dir, by_method, details.comparison, details.about, units)


def chosen_baselines(names: Sequence[str] | None) -> bool | Sequence[str]:
    """What the core takes: all where None is given, none where 'none' is."""
    if names is None:
        return True
    if "none" in names:
        if len(set(names)) > 1:
            raise InputError("baselines has 'none' beside others: give one or the other.")
        return False
    return names


def cross_validated(
    by_method: pd.DataFrame,
    comparison: pd.DataFrame | None,
    source: str = "cross-validation",
    **about: Any,
) -> Details:
    """Details of a cross-validation, or a test; the predictions are AAM's of the first repeat."""
    ours = by_method[by_method["method"] == "aam"]
    ours = ours[ours["repeat"] == ours["repeat"].min()]
    bounds = [name for name in BOUNDS if name in ours and not about["classes"]]
    table = ours[["prediction", *bounds, *(about["classes"] or ()), "fold"]]
    if comparison is not None:
        scores = comparison[metric_names(comparison)]
        about["baselines"] = {
            str(method): {name: float(it) for name, it in row.items() if np.isfinite(it)}
            for method, row in scores.iterrows()
            if method in METHODS and method != "network"
        } or None
    return Details.of(table, by_method.reset_index(), comparison, source=source, **about)


_SAME = (
    *("task", "column", "units", "group_by", "folds", "repeats", "seed", "confidence", "classes"),
)
"""What folds of one cross-validation have in common."""


def _one_validation(parts: Sequence[Details], task: str) -> pd.DataFrame:
    """Predictions by method of all folds of one cross-validation.

    Raises
    ------
    InputError
        If they are not those of one cross-validation, each fold once.
    """
    for part in parts:
        folds = part.methods is not None and part.about["source"] == "cross-validation"
        if not folds or part.about["task"] != task:
            what = part.about["task"] if folds else part.about["source"]
            raise InputError(
                f"Folds of a {task} are to be joined, and one of the details is: {what}."
            )
        for name in _SAME:
            one, other = parts[0].about[name], part.about[name]
            if one != other:
                raise InputError(
                    f"The folds are of different cross-validations: {name} is {one!r} and "
                    f"{other!r}."
                )
    by_method = pd.concat([part.methods for part in parts]).set_index("sample-id")
    _check_complete(by_method, parts[0].about)
    return by_method


def _joined(parts: Sequence[Details], task: str) -> Details:
    """One cross-validation from the details of its folds; as `_one_validation` refuses them."""
    about, by_method = parts[0].about, _one_validation(parts, task)
    if len(parts) == 1 and parts[0].comparison is not None:
        return parts[0]
    given = (task, about["column"], about["classes"] or (), about["group_by"])
    with speaking():
        comparison = comparison_table(metrics_of_table(by_method, *given))
    methods = [part.methods for part in parts if part.methods is not None]
    counts = [len(part[["repeat", "fold"]].drop_duplicates()) for part in methods]
    return cross_validated(
        by_method,
        comparison,
        **{name: about[name] for name in _SAME},
        groups=None if about["group_by"] is None else int(by_method["group"].nunique()),
        blend=_mean_blend([part.about["blend"] for part in parts], counts),
        notes=list(dict.fromkeys(note for part in parts for note in part.about["notes"] or [])),
    )


def _mean_blend(blends: Sequence[dict | None], counts: Sequence[int]) -> dict | None:
    """The blend in the mean of so many folds each; None where it is not known of all."""
    known = [blend for blend in blends if blend]
    if len(known) < len(blends):
        return None
    weight = float(np.average([blend["networks"] for blend in known], weights=counts))
    linear = [blend["forest"] * blend.get("linear_share", 0.0) for blend in known]
    rest = 1 - weight
    return blend_of(weight, float(np.average(linear, weights=counts)) / rest if rest else 0.0)


def _check_complete(by_method: pd.DataFrame, about: dict) -> None:
    """Refuse folds that are missing, or there twice."""
    ours = by_method[by_method["method"] == "aam"].reset_index()
    wanted = {
        (repeat, fold)
        for repeat in range(1, about["repeats"] + 1)
        for fold in range(1, about["folds"] + 1)
    }
    missing = sorted(wanted - set(zip(ours["repeat"], ours["fold"], strict=True)))
    if missing:
        names = [f"{fold} of repeat {repeat}" for repeat, fold in missing]
        raise InputError(
            f"{len(missing)} of {len(wanted)} folds are missing: fold {first_five(names)}. Give "
            "the details of all folds."
        )
    twice = ours.loc[ours.duplicated(["sample-id", "repeat"]), "sample-id"]
    if len(twice):
        raise InputError(
            f"{len(twice)} samples are in several of the folds: {first_five(twice)}. Give each "
            "fold once."
        )
