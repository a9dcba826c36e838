"""Cross-validation: every sample predicted by a model that never saw it, beside a baseline."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import fitting, preparation
from aam_core.baseline import baseline_forest
from aam_core.config import Config
from aam_core.config.fields import names_in
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.columns import infer_task
from aam_core.data.covariates import covariate_names, fit_covariates, infer_types
from aam_core.data.splits import Split, make_folds
from aam_core.data.study import Study
from aam_core.ensemble.calibration import coverage_report
from aam_core.ensemble.conformal import labels
from aam_core.ensemble.intervals import COVERAGE
from aam_core.errors import InputError, first_five
from aam_core.evaluation import write_scores
from aam_core.files.writing import check_folder
from aam_core.log import logger
from aam_core.model import Model, as_model
from aam_core.prediction import override
from aam_core.pretrained import model_to_go_on_from, with_sizes_of, with_sizes_of_model
from aam_core.summary import Summarized
from aam_core.target_frames import target_frames
from aam_core.tasks import Task, task_named
from aam_core.tasks.prediction_columns import BOUNDS, ColumnKind, is_of_method, named
from aam_core.training.launch.devices import writes_alone

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["LABELS", "CrossValidation", "cross_validate"]

LABELS = {
    "aam": "AAM",
    "network": "AAM's networks alone",
    "random_forest": "random forest",
    "reads": "random forest on the number of reads alone",
}
"""What is scored, by its key in the metrics; all but the first are `prediction_columns.METHODS`."""


@dataclass(repr=False)
class CrossValidation(Summarized):
    """Out-of-fold predictions of every sample, and their metrics.

    Attributes
    ----------
    predictions : DataFrame
        Index ``sample-id``; ``fold``, ``actual``, ``prediction`` and what else `predict` gives; the
        same of the other methods, in columns that start with their names.
    metrics : dict
        ``{"held_out": {...}, "aam": {...}, ..., "per_fold": [...]}``: how many samples, groups and
        folds there are; metrics of the model, of its ``network`` alone, where it is blended with a
        forest, and of the baselines ``random_forest`` and ``reads``, a forest on the number of
        reads of a sample alone; the same of each fold. Of a regression also the ``interval`` that
        ``coverage`` is of.
    """

    predictions: pd.DataFrame
    metrics: dict

    def _summary(self) -> tuple[str, dict[str, str]]:
        scored = {key: label for key, label in LABELS.items() if key in self.metrics}
        lines = {
            label: ", ".join(f"{name} {value:.4g}" for name, value in self.metrics[key].items())
            for key, label in scored.items()
        }
        samples = preparation.held_out_in_words(self.metrics["held_out"])
        return f"Cross-validation: {samples}", lines


@dataclass(frozen=True, eq=False)
class _Fold:
    """One fold: its samples, and how its training side is split for the fit."""

    number: int
    train: list[str]
    test: list[str]
    split: Split


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What all folds have in common, checked before anything is trained.

    Attributes
    ----------
    study : Study
        Without samples that have too few reads.
    values : Series
        The target of its samples.
    task : Task
        Fitted to all samples: it knows every class.
    groups : Series or None
    folds : list of _Fold
    fit : callable
        A fit with the settings that all folds share.
    """

    study: Study
    values: pd.Series
    task: Task
    groups: pd.Series | None
    folds: list[_Fold]
    fit: Callable[..., Model]

    def count_held_out(self, samples: Sequence[str]) -> dict[str, int]:
        """Numbers of some samples and their groups."""
        groups = preparation.count_groups(self.groups, samples)
        return preparation.count_held_out(len(samples), groups)

    def scores(self, predictions: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
        """Metrics of each method, of the samples that it predicts."""
        schema = self.task.columns()
        return {
            method: self.task.compare(frame, self.values.loc[frame.index], schema)[1]
            for method, frame in predictions.items()
        }


@configured("fitting")
@writes_alone
def cross_validate(
    study: Study,
    target: str | pd.Series,
    *,
    task: str | None = None,
    group_by: str | pd.Series | None = None,
    folds: int = 5,
    baseline: bool = True,
    encoder: Model | str | Path | None = None,
    init_from: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    **settings: Unpack[EverydaySettings],
) -> CrossValidation:
    """Score every sample by a model that never saw it, beside a random forest on the same folds.

    In each fold the validation samples of early stopping come from the training side.

    Parameters
    ----------
    study : Study
    target : str or Series
        Metadata column, or values by sample id.
    task : {'regression', 'classification'}, optional
        Inferred from the target where not given: text means classes.
    group_by : str or Series, optional
        Samples of a group are never on both sides, of a fold or of its validation split.
    folds : int
    baseline : bool
        Whether to score random forests too, on the ASVs and on the number of reads alone. Where the
        latter predicts the target there is a warning.
    encoder, init_from, freeze_encoder, covariates, config, preset, **settings
        As in `fit_regressor`. If the encoder was trained on tested samples there is a warning.
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
    kind = None if task is None else task_named(task)
    if output is not None:
        check_folder(output)
    assert isinstance(config, Config)
    encoder = None if encoder is None else as_model(encoder)
    options: dict[str, Any] = {
        "encoder": encoder,
        "init_from": model_to_go_on_from(init_from, encoder),
        "freeze_encoder": freeze_encoder,
        "covariates": covariate_names(covariates),
    }
    inputs = _prepare(study, target, kind, group_by, folds, config, options)
    forests = _baselines(inputs, config, options["covariates"]) if baseline else {}
    per_fold = [_predict(inputs, fold, forests) for fold in inputs.folds]
    together = {
        method: _joined([predictions[method] for predictions in per_fold], inputs)
        for method in per_fold[0]
    }
    interval = _interval(inputs, together["aam"], config)
    metrics = {
        "held_out": inputs.count_held_out(inputs.study.sample_ids) | {"folds": len(inputs.folds)},
        **inputs.scores(together),
        **interval,
        "per_fold": [
            {
                "fold": fold.number,
                "held_out": inputs.count_held_out(fold.test),
                **inputs.scores(predictions),
            }
            for fold, predictions in zip(inputs.folds, per_fold, strict=True)
        ],
    }
    _warn_of_depth(metrics, inputs.task)
    table = _table(together, inputs)
    # Under torchrun every rank comes here; one of them writes.
    if output is not None and os.environ.get("RANK", "0") == "0":
        write_scores(table, metrics, inputs.task, inputs.task.column, output)
    return CrossValidation(table, metrics)


def _interval(inputs: _Inputs, predictions: pd.DataFrame, config: Config) -> dict[str, Any]:
    """What the coverage of a regression is of, by fifth of the predictions and by group."""
    if not inputs.task.has_interval:
        return {}
    report: dict[str, Any] = {"nominal_coverage": COVERAGE}
    if set(BOUNDS) <= set(predictions):
        by, metadata = names_in(config.ensemble.interval_by), inputs.study.metadata
        assert metadata is not None or not by
        actual = inputs.task.forest_target(inputs.values.loc[predictions.index])
        groups = None
        if metadata is not None and by:
            groups = labels(metadata.loc[predictions.index], by)
        report |= coverage_report(actual, predictions, groups)
    return {"interval": report}


def _prepare(
    study: Study,
    target: str | pd.Series,
    kind: type[Task] | None,
    group_by: str | pd.Series | None,
    folds: int,
    config: Config,
    options: dict[str, Any],
) -> _Inputs:
    """Everything that can be wrong, and every line to say, before the first fit."""
    encoder, covariates = options["encoder"] or options["init_from"], options["covariates"]
    samples, dropped = preparation.usable_samples(study, config)
    study = study.select(samples)
    values = preparation.values_by_sample(study, target).reindex(samples)
    notes = []
    if kind is None:
        kind = task_named(infer_task(values))
        notes.append(kind.inference_note(values))
    study, config, unused = _without_unused(study, values, kind, group_by, config, options)
    notes += preparation.column_notes(study, values, group_by, covariates, kind)
    # Decided by all samples: what a column is must not differ between folds.
    study = dataclasses.replace(study, metadata=infer_types(study.metadata, covariates)[0])
    groups = preparation.values_by_sample(study, group_by, "group_by")
    adopted = _with_sizes(config, kind, options)
    split = preparation.splitter(adopted, freeze_encoder=options["freeze_encoder"])
    task = kind.fit(values)
    _check_names(task)
    preparation.check_output(adopted, task, values)
    made = _folds(study, values, kind, groups, folds, covariates, split, config)
    for line in (dropped, *notes, *unused):
        if line:
            logger.info(line)
    _warn_of_encoder(encoder, samples)
    fit = functools.partial(fitting.FITS[kind.name], config=config, **options)
    return _Inputs(study, values, task, groups, made, fit)


def _without_unused(study, values, kind, group_by, config, options):
    """The study without what no fold learns, the configuration, and lines on what is not used."""
    groups = preparation.values_by_sample(study, group_by, "group_by")
    read = [*options["covariates"], *config.columns()]
    preparation.check_columns(values, groups, read, study.sample_ids)
    adopted = _with_sizes(config, kind, options)
    context = preparation.describe_run(
        kind.name,
        study,
        adopted,
        job="folds",
        encoder=bool(options["encoder"] or options["init_from"]),
        frozen=options["freeze_encoder"],
        covariates=bool(options["covariates"]),
        validates=config.train.val_fraction > 0,
        output=False,
    )
    unused = preparation.unused(study, adopted, context, groups)
    # Reported here once: the fit of each fold would name the same settings again.
    return preparation.without_unused(study, adopted, context), config.reported(), unused


def _with_sizes(config: Config, kind: type[Task], options: dict[str, Any]) -> Config:
    """The configuration with the sizes of the model that the fits start from."""
    config = with_sizes_of(config, options["encoder"])
    return with_sizes_of_model(config, options["init_from"], kind.model_kind)


def _folds(study, values, kind, groups, folds, covariates, split, config) -> list[_Fold]:
    """The folds; what cannot be split or fitted is refused before anything is trained."""
    strata = kind.strata(values)
    sides = make_folds(
        study.sample_ids, folds=folds, seed=config.train.seed, groups=groups, strata=strata
    )
    made = []
    for number, (train, test) in enumerate(sides, start=1):
        try:
            inner = split(train, groups=groups, strata=strata)
            # Only for their errors, which would else come when the folds before are trained.
            kind.fit(values, inner.train, config.loss, study.metadata)
            fit_covariates(
                study.metadata, covariates, inner.train, names_in(config.model.head.scale_by)
            )
        except InputError as error:
            where = f"In the {len(train)} training samples of fold {number}"
            raise InputError(f"{where}: {error}") from None
        made.append(_Fold(number, train, test, inner))
    return made


def _check_names(task: Task) -> None:
    """Refuse classes whose columns would be taken for those of another method."""
    taken = [name for name in task.classes if is_of_method(name)]
    if taken:
        raise InputError(
            f"Column {task.column!r} has classes that are columns of a cross-validation's "
            f"predictions: {first_five(taken)}. Give them other names."
        )


def _baselines(inputs: _Inputs, config: Config, covariates: Sequence[str]) -> dict[str, Callable]:
    """The baselines by name: functions of the study and of the training and test samples."""
    forest = functools.partial(
        baseline_forest,
        values=inputs.values,
        task=inputs.task.name,
        seed=config.train.seed,
        covariates=covariates,
    )
    return {"random_forest": forest, "reads": functools.partial(forest, depth_only=True)}


def _predict(
    inputs: _Inputs, fold: _Fold, baselines: dict[str, Callable]
) -> dict[str, pd.DataFrame]:
    """Predictions of a fold's test samples by each method, trained on its training samples."""
    label = f"fold {fold.number}/{len(inputs.folds)}"
    train, test = inputs.study.select(fold.train), inputs.study.select(fold.test)
    model = inputs.fit(train, inputs.values.loc[fold.train], split=fold.split, label=label)
    predictions = {"aam": _predict_target(model, test)}
    if model.forest is not None:
        # The interval is of residuals of networks and forest together: not of the networks alone.
        network = dataclasses.replace(model, forest=None, intervals=(), sets=None, calibrator=None)
        predictions["network"] = _predict_target(network, test)
    if baselines:
        logger.info("%s: fitting the random forests to compare with", label)
    for name, forest in baselines.items():
        predictions[name] = forest(inputs.study, fold.train, fold.test)
    scores = inputs.scores({"aam": predictions["aam"]})["aam"]
    text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    logger.info("%s: %d test samples: %s", label, len(fold.test), text)
    return predictions


def _predict_target(model: Model, study: Study) -> pd.DataFrame:
    """Predictions without the columns on how familiar the samples are: all are held out."""
    return pd.concat(target_frames(model, study, override(model.config, None, None)))


def _joined(frames: list[pd.DataFrame], inputs: _Inputs) -> pd.DataFrame:
    """The folds' predictions as one table in the order of the samples."""
    table = pd.concat(frames).loc[inputs.values.index]
    columns = inputs.task.columns(interval=True)
    schema = {name: kind for name, kind in columns.items() if name in table}
    # Where a class was not among the training samples of a fold, its probability there is 0.
    absent = dict.fromkeys(named(schema, ColumnKind.PROBABILITY), 0.0)
    return table[list(schema)].fillna(absent)


def _table(together: dict[str, pd.DataFrame], inputs: _Inputs) -> pd.DataFrame:
    """The predictions of all methods side by side, behind the fold and the actual value."""
    table = together["aam"].copy()
    fold = {name: fold.number for fold in inputs.folds for name in fold.test}
    table.insert(0, "fold", [fold[name] for name in table.index])
    table.insert(1, "actual", inputs.task.read(inputs.values))
    for method in (name for name in together if name != "aam"):
        columns = together[method].add_prefix(f"{method}_")
        table = table.join(columns.rename(columns={f"{method}_prediction": method}))
    return table


def _warn_of_depth(metrics: dict, task: Task) -> None:
    """Warn where the number of reads of a sample alone predicts the target."""
    name, least = task.informative
    value = metrics.get("reads", {}).get(name)
    if value is not None and value >= least:
        logger.warning(
            f"The number of reads of a sample alone predicts {task.column!r} with {name} "
            f"{value:.3f}: the samples were sequenced to different depths, and every method can "
            "tell them apart by it. Rarefy the table to one depth beforehand to see what the "
            "microbes themselves tell."
        )


def _warn_of_encoder(encoder: Model | None, samples: list[str]) -> None:
    """Warn of samples that the encoder was trained on."""
    if encoder is None:
        return
    trained = {*encoder.train_samples, *encoder.val_samples}
    both = [name for name in samples if name in trained]
    if not both:
        return
    how, labels = ("pretrained", "without") if encoder.target is None else ("fitted", "with")
    logger.warning(
        f"The encoder was {how} on {len(both)} of the {len(samples)} samples ({labels} labels): "
        f"{first_five(both)}. Of samples that it never saw the metrics may be worse."
    )
