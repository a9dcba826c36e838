"""Methods: the jobs of `aam_core` as QIIME 2 calls them.

QIIME 2 reads the annotations as objects (hence no ``from __future__ import annotations``) and wants
the type of a view even where None is the default. torch is imported only once a method runs.
"""

from collections.abc import Callable, Sequence

import biom
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.errors import InputError, first_five
from aam_core.log import note, recording
from aam_core.model import Model
from q2_aam._details import Details
from q2_aam._parameters import (
    configure,
    shares_fitting,
    shares_predicting,
    shares_training,
    thread_count,
)
from q2_aam._predictions import PredictionsFormat, ProbabilitiesFormat, write_table
from q2_aam._studies import (
    add_covariates,
    add_group,
    columns_read,
    covariates_to_predict,
    read_inputs,
    read_study,
    target_metadata,
    targets_metadata,
)
from q2_aam._wording import speaking

__all__ = [
    "fit_classifier",
    "fit_regressor",
    "predict",
    "predict_classification",
    "predict_regression",
    "pretrain",
]


@shares_training
def pretrain(
    table: biom.Table,
    phylogeny: NewickFormat = None,
    sequences: DNAFASTAFormat = None,
    distances: skbio.DistanceMatrix = None,
    taxonomy: pd.DataFrame = None,
    initial_encoder: Model = None,
    group_by: qiime2.MetadataColumn = None,
    **training,
) -> Model:
    """Pretrain an encoder: `aam_core.pretrain`."""
    import aam_core

    with speaking():
        config = configure("pretraining", training)
        metadata, column = add_group(None, group_by)
        inputs = (table, sequences, phylogeny, distances, taxonomy)
        lost = training["max_lost_reads"]
        study = read_study(*inputs, metadata=metadata, max_lost_reads=lost, keep_unplaced=False)
        return aam_core.pretrain(study, config=config, encoder=initial_encoder, group_by=column)


@shares_fitting
def fit_regressor(
    table: biom.Table,
    metadata: qiime2.NumericMetadataColumn,
    more_targets: list = None,
    **fitting,
) -> (Model, PredictionsFormat, Details):  # type: ignore[syntax]
    """Fit a numeric column: the model, and its predictions of held-out samples."""
    import aam_core

    given = (table, metadata, more_targets or [], fitting)
    model, details = _fit(aam_core.fit_regressor, *given)
    return model, _predictions(details.table), details


@shares_fitting
def fit_classifier(
    table: biom.Table, metadata: qiime2.CategoricalMetadataColumn, **fitting
) -> (Model, PredictionsFormat, ProbabilitiesFormat, Details):  # type: ignore[syntax]
    """Fit a categorical column: the model, and its predictions of held-out samples."""
    import aam_core

    model, details = _fit(aam_core.fit_classifier, table, metadata, [], fitting)
    return model, _predictions(details.table), _probabilities(details), details


@shares_predicting
def predict_regression(
    table: biom.Table,
    regressor: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    target: str = None,
    **predicting,
) -> (PredictionsFormat, Details):  # type: ignore[syntax]
    """Predict the number of each sample."""
    details = _predict(regressor, target, table, sequences, metadata, predicting)
    return _predictions(details.table), details


@shares_predicting
def predict_classification(
    table: biom.Table,
    classifier: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    **predicting,
) -> (PredictionsFormat, ProbabilitiesFormat, Details):  # type: ignore[syntax]
    """Predict the class of each sample, and the probability of every class."""
    details = _predict(classifier, None, table, sequences, metadata, predicting)
    return _predictions(details.table), _probabilities(details), details


@shares_predicting
def predict(
    table: biom.Table,
    predictor: Model,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    target: str = None,
    **predicting,
) -> (PredictionsFormat, Details):  # type: ignore[syntax]
    """Predict the number or class of each sample."""
    details = _predict(predictor, target, table, sequences, metadata, predicting)
    return _predictions(details.table), details


def _fit(
    fit: Callable[..., Model], table, target, more_targets: Sequence[str], fitting: dict
) -> tuple[Model, Details]:
    """Fit ``target`` by `aam_core.fit_regressor` or `fit_classifier`.

    Parameters
    ----------
    more_targets : sequence of str
        Further targets, of the metadata with the covariates.
    fitting : dict
        The parameters that `shares_fitting` adds.
    """
    missing_samples = fitting["missing_samples"]
    covariates, columns = fitting["covariates"], fitting["covariate_columns"] or []
    with speaking(), recording() as notes:
        config = configure("fitting", fitting)
        if config.train.val_fraction == 0:
            raise InputError(
                "train.val_fraction is 0, but the predictions returned are those of held-out "
                "samples: give it a value above 0."
            )
        if more_targets:
            given = (covariates, table, missing_samples)
            metadata = targets_metadata(target, more_targets, *given)
        else:
            metadata = target_metadata(target, table, missing_samples)
        others = [*columns_read(config, fitting["init_from"], target.name), *more_targets]
        read = (covariates, columns, table, missing_samples, others)
        metadata, names = add_covariates(metadata, *read)
        metadata, group = add_group(metadata, fitting["group_by"])
        model = fit(
            read_inputs(table, fitting, metadata),
            [target.name, *more_targets] if more_targets else target.name,
            group_by=group,
            covariates=names,
            config=config,
            **{name: fitting[name] for name in ("encoder", "init_from", "freeze_encoder")},
        )
    assert model.val_predictions is not None
    # Of several processes the first one took the notes: they are in the model's record.
    every = [*notes, *model.run["notes"]]
    folds = dict(zip(model.val_samples, model.val_folds, strict=True))
    table = model.val_predictions
    if "fold" not in table and len(set(model.val_folds)) > 1:
        table = table.assign(fold=[folds[name] + 1 for name in table.index])
    return model, Details.of_model(model, table, source="out-of-fold", notes=every)


def _of_target(model: Model, name: str | None) -> Model:
    """The model of one of several targets; of the first where none is named."""
    each = {it.target.column: it for it in model.each}  # type: ignore[union-attr]
    if name is None:
        name = next(iter(each))
        if len(each) > 1:
            note(f"the model has the targets {first_five(each)}: {name!r} is predicted")
    if name not in each:
        raise InputError(f"The model has no target {name!r}; it has {first_five(each)}.")
    return each[name]


def _predict(
    model: Model, target: str | None, table, sequences, metadata, predicting: dict
) -> Details:
    """Predictions of the samples of a table by a model, or its part for one target."""
    import aam_core
    from aam_core.training.precision import cpu_threads

    options = dict(predicting)
    with speaking(), recording() as notes:
        model = _of_target(model, target)
        frame = covariates_to_predict(model, metadata, table)
        lost = options.pop("max_lost_reads")
        study = read_study(table, sequences, metadata=frame, max_lost_reads=lost)
        with cpu_threads(thread_count(options.pop("n_jobs"))):
            predictions = aam_core.predict(model, study, **options)
    given = {"notes": notes, "confidence": options["confidence"]}
    return Details.of_model(model, predictions, source="new samples", **given)


def _predictions(table: pd.DataFrame) -> PredictionsFormat:
    """The predicted value or class of each sample."""
    return write_table(table[["prediction"]], PredictionsFormat)


def _probabilities(details: Details) -> ProbabilitiesFormat:
    """The probability of each class of each sample."""
    return write_table(details.probabilities, ProbabilitiesFormat)
