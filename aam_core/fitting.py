"""Fit a metadata column: `Study` + `Config` -> `Model`, and a folder where one is named.

The steps of a fit, each of which is a module: `plan` (what is trained on what), `run` (network and
checkpoints), `training` (the loop), `ensemble` (forest, weights, intervals by held-out samples),
`model` (the saved folder).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from aam_core.config import Config
from aam_core.config.fields import names_in
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.batches import Batcher
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.assemble import Ensemble, Trained, assemble, forest_seconds
from aam_core.ensemble.blending import (
    forest_in_words,
    spread_of_passes,
    weights,
    weights_in_words,
)
from aam_core.ensemble.calibration import (
    Calibration,
    calibrate,
    coverage_report,
    interval_in_words,
    pooled_groups,
)
from aam_core.ensemble.forest import Forest
from aam_core.ensemble.intervals import COVERAGE
from aam_core.ensemble.probabilities import calibration_in_words
from aam_core.log import duration, recording
from aam_core.model import Model, load_model
from aam_core.models.network import Network
from aam_core.plan import FitOptions, OnEpoch, Plan, plan_fit
from aam_core.preparation import count_held_out, held_out_in_words, metrics_in_words
from aam_core.resuming import saved_config
from aam_core.run import ForestProgress, Run, fixed_vectors, of_each_target
from aam_core.tasks import Targets, Task
from aam_core.tasks.auxiliary import auxiliary_metrics
from aam_core.tasks.losses import sample_weights
from aam_core.tasks.prediction_columns import BOUNDS, PREDICTION_SD
from aam_core.training.job import TrainingResult
from aam_core.training.launch.devices import on_devices
from aam_core.training.parallel import ProcessGroup
from aam_core.training.precision import cpu_threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["FITS", "fit_classifier", "fit_regressor", "training_batches"]

_SCORED = {
    "model": "the saved model",
    "network": "its networks alone",
    "forest": "its {forest} alone",
}
"""Parts of a model that have metrics -> what the lines at the end of a fit call them."""


@configured("fitting", saved_config)
@on_devices(load_model)
def fit_regressor(
    study: Study,
    target: str | pd.Series | Sequence[str],
    *,
    encoder: Model | str | Path | None = None,
    init_from: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Unpack[EverydaySettings],
) -> Model:
    """Fit a numeric metadata column, or several together.

    Parameters
    ----------
    study : Study
        Distances on its phylogeny, or its given ones, are learned together with the target if
        ``loss.distance`` is above 0 and the encoder is not frozen. No preset of a fit sets it.
        Otherwise tree and distances are ignored, which is logged.
    target : str, Series or list of str
        Metadata column, or values by sample id; or several columns, which one network learns. A
        blank value of one of them counts in nothing. The model is that of the first, which has
        those of the others (`Model.more`).
    encoder : Model or path, optional
        Pretrained encoder to fine-tune; its sizes replace those of ``config``, which is logged.
    init_from : Model or path, optional
        Fitted model that goes on training, as a whole, on these samples: its networks, and its
        target head where that has the same outputs; the forest is a new one. Its sizes and its
        number of members replace those of ``config``, which is logged.
    freeze_encoder : bool
        Keep the encoder of bases as it is: ASV vectors are computed once, and an epoch takes
        seconds. The layers over samples still learn, from the target alone: distances are not
        learned.
    group_by : str or Series, optional
        Metadata column (or values by sample id): samples of a group stay on one side of each split.
    split : tuple of (train_ids, val_ids) or Split, optional
        A fixed split instead; of a tuple every member holds out ``val_ids``.
    covariates : sequence of str, optional
        Metadata columns (or the name of one) that are inputs besides the counts, and will be needed
        when predicting.
    config : Config, str, path or mapping, optional
        A whole `Config`, or the name of a preset; or what changes the preset: a YAML file, or a
        mapping of ``section.field`` to value.
    preset : {'tiny', 'small', 'base', 'large'}, optional
        What to start from; 'small' by default, and of a run that is resumed its own configuration.
    output : path, optional
        Folder for the model, its metrics, predictions, logs and plot.
    label : str, optional
        Start of every line of the log.
    resume, accept_changed_inputs, on_epoch
        As in `pretrain`.
    **settings
        Everyday settings, over all else, by the names of the command line's flags: ``epochs``,
        ``batch_size``, ``lr``, ``seed``, ``device`` ... (`aam_core.config.everyday`).

    Returns
    -------
    Model
        Of kind 'regressor'. By default with the last weights; where ``train.best_metric`` names a
        metric, with those of the epoch that is best on the held-out samples.

    Raises
    ------
    InputError
        If targets are unusable, or there are too few samples or groups.
    """
    assert isinstance(config, Config)
    options = FitOptions(
        encoder=encoder,
        init_from=init_from,
        freeze_encoder=freeze_encoder,
        group_by=group_by,
        split=split,
        covariates=covariates,
        config=config,
        output=output,
        label=label,
        resume=resume,
        accept_changed_inputs=accept_changed_inputs,
        on_epoch=on_epoch,
    )
    return _fit("regression", study, target, options)


@configured("fitting", saved_config)
@on_devices(load_model)
def fit_classifier(
    study: Study,
    target: str | pd.Series,
    *,
    encoder: Model | str | Path | None = None,
    init_from: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Unpack[EverydaySettings],
) -> Model:
    """Fit a categorical metadata column; parameters as in `fit_regressor`.

    Classes are text, letter for letter ('01' is not '1'); numbers of a data frame are as Python
    writes them, whole ones without '.0'.

    Returns
    -------
    Model
        Of kind 'classifier'.
    """
    assert isinstance(config, Config)
    options = FitOptions(
        encoder=encoder,
        init_from=init_from,
        freeze_encoder=freeze_encoder,
        group_by=group_by,
        split=split,
        covariates=covariates,
        config=config,
        output=output,
        label=label,
        resume=resume,
        accept_changed_inputs=accept_changed_inputs,
        on_epoch=on_epoch,
    )
    return _fit("classification", study, target, options)


FITS: dict[str, Callable[..., Model]] = {
    "regression": fit_regressor,
    "classification": fit_classifier,
}
"""By the name of the task."""


def _fit(
    task_name: str, study: Study, target: str | pd.Series | Sequence[str], options: FitOptions
) -> Model:
    """Plan, train, assemble the ensemble, score held-out samples, and save."""
    clock = [time.perf_counter()]
    with recording() as notes:
        plan, group, task, values = plan_fit(task_name, study, target, options)
        with cpu_threads(plan.config.train.threads):
            run = Run(plan, group)
            job = run.job(*training_batches(run, task, values), options.on_epoch)
            follows = None
            if run.config.forest.trees:
                follows = functools.partial(_forest_seconds, run, values)
            clock.append(time.perf_counter())
            result = run.train(job, follows)
            clock.append(time.perf_counter())
            each: list[Model] = []
            for number, model in enumerate(of_each_target(run.model, task), start=1):
                if len(task.each) > 1:
                    run.log.info("target %d of %d: %s", number, len(task.each), model.task.column)
                each.append(_finish(run, group, model, values, result.epoch))
            model = dataclasses.replace(each[0], more=each[1:])
            model.metrics = {**(model.metrics or {}), **_beside(run, result)}
            if model.more:
                scores = {it.task.column: {**(it.metrics or {})} for it in each}
                model.metrics = {**(model.metrics or {}), "targets": scores}
            run.noted(model, notes)
            run.took(model, networks=clock[2] - clock[1], total=time.perf_counter() - clock[0])
            run.save(model, {})
    clock.append(time.perf_counter())
    run.log.info(_took(clock, model.forest))
    return model


def _finish(
    run: Run,
    group: ProcessGroup,
    model: Model,
    values: pd.Series | pd.DataFrame,
    epoch: int,
) -> Model:
    """The model of one target with all that follows its training: forest, weights, scores."""
    trained = _trained(run, model, values)
    split = trained.split
    ensemble = assemble(trained, group, run.log, ForestProgress(run.reporter()))
    scores = _score(trained, ensemble, run.plan.groups_of(split.val))
    _log_scores(run.log, trained, ensemble, scores)
    return dataclasses.replace(
        model,
        forest=ensemble.forest,
        network_weight=ensemble.network_weight,
        metrics={"epoch": epoch, **scores.metrics},
        train_samples=split.train,
        val_samples=split.val,
        val_folds=split.folds,
        val_predictions=scores.predictions,
        intervals=scores.calibration.intervals,
        sets=scores.calibration.sets,
        calibrator=scores.calibration.calibrator,
        novelty=ensemble.novelty,
    )


def _trained(run: Run, model: Model, values: pd.Series | pd.DataFrame) -> Trained:
    """The network of one target, and the samples that have a value of it."""
    plan, task, split = run.plan, model.task, run.plan.split
    if isinstance(values, pd.DataFrame):
        values = values[task.column].dropna()
        split = split.of(values.index)
    # run.config, as the batch size of the plan may still be "auto".
    return Trained(model.network, plan.study, split, values, run.config, task, plan.covariates)


def _forest_seconds(run: Run, values: pd.Series | pd.DataFrame) -> float:
    """About how long the forests of all targets will take."""
    assert run.plan.task is not None
    # Not `of_each_target`: it takes the network apart, which FSDP has sharded over the processes.
    models = [dataclasses.replace(run.model, target=one) for one in run.plan.task.each]
    return sum(forest_seconds(_trained(run, model, values)) for model in models)


def _took(clock: list[float], forest: Forest | None) -> str:
    """A line on how long a fit took; ``clock`` has its start, and the ends of its parts."""
    _, networks, rest = np.diff(clock)
    forest_name = "" if forest is None else f"{forest_in_words(forest.linear_share)}, "
    what = f"{forest_name}held-out samples"
    parts = f"networks {duration(networks)}, {what} {duration(rest)}"
    return f"took {duration(clock[-1] - clock[0])}: {parts}"


def training_batches(
    run: Run, task: Task | Targets, values: pd.Series | pd.DataFrame
) -> tuple[Batcher, torch.Tensor | None]:
    """The `Batcher` of a fit to ``values`` by sample id, and the class weights."""
    plan, model = run.plan, run.model
    study, config = plan.study, run.config
    places = plan.positions(list(values.index))
    encoded = task.encode(values, study.rows(places))
    # By position in the study: samples on neither side keep 0, which is never read.
    truth = np.zeros((len(study.sample_ids), *encoded.shape[1:]), encoded.dtype)
    truth[places] = encoded
    weights = sample_weights(study, values.index, config.loss)
    if isinstance(task, Targets):
        known = task.known(truth)
        weights = known if weights is None else known * weights
    frozen = plan.freeze_encoder or model.network.bases is None
    batcher = Batcher(
        study,
        config.data,
        config.train.seed,
        distances=plan.parts.distance,
        target=truth,
        covariates=plan.covariates.encode(study.metadata) if plan.covariates else None,
        asv_vectors=fixed_vectors(run) if frozen else None,
        held_out=plan.held_out,
        sample_weight=weights,
    )
    # Held-out labels must not reach the loss, which class weights are part of.
    trained_on = truth[plan.positions(plan.split.train)]
    if _goes_on(plan):
        _warn_of_range(run, trained_on)
    elif plan.checkpoint is None and isinstance(task, Task):  # else restored with the weights
        _set_range(model.network, task, trained_on)
    return batcher, task.class_weights(trained_on, config.loss)


def _goes_on(plan: Plan) -> bool:
    """Whether the target head is that of a fitted model, with its scale."""
    if plan.init_from is None or not isinstance(plan.task, Task):
        return False
    before, task = plan.init_from.task, plan.task
    return task.continues(before) and task.scaled_alike(before)


def _warn_of_range(run: Run, encoded: np.ndarray) -> None:
    """Warn of training samples that a bounded head of a fitted model cannot reach."""
    head = run.model.network.members[0].target
    if head.range is None or head.output.from_zero:
        return
    low, span = head.range.cpu().numpy()
    beyond = int(((encoded < low - 1e-6) | (encoded > low + span + 1e-6)).sum())
    if beyond:
        run.log.warning(
            f"{beyond} of {len(encoded)} training samples are outside the range that the model "
            "was fitted with, which its predictions keep to (model.head.output)"
        )


def _set_range(network: Network, task: Task, encoded: np.ndarray) -> None:
    """Set the range of the target heads, where their output has one.

    Parameters
    ----------
    network : Network
    task : Task
    encoded : ndarray
        ``[n]`` or ``[n, T]``, the training samples' values.
    """
    for member in network.members:
        if member.target.range is None:
            continue
        if member.target.output.from_zero:
            # No metadata: where a task needs some, `check_output` has refused the output.
            zero = task.encode(pd.Series(np.zeros(1), name=task.column))
            # A little more: where rounding takes a prediction below it, it is still not negative.
            low = zero + 1e-6 * np.maximum(1, np.abs(zero))
            high = encoded.mean(0)
        else:
            low, high = encoded.min(0), encoded.max(0)
        low, high = (torch.as_tensor(end, dtype=torch.float32).view(-1) for end in (low, high))
        member.target.set_range(low, high - low)


def _beside(run: Run, result: TrainingResult) -> dict[str, Any]:
    """Metrics of the auxiliary losses, by the validation of the weights kept."""
    parts = run.plan.parts
    if not (parts.nucleotide or parts.distance or parts.count):
        return {}
    values = {name.removeprefix("val/"): value for name, value in result.values.items()}
    metrics = auxiliary_metrics(values) if run.plan.split.val else {}
    if "distance_r2" in values:
        metrics["distances"] = {"r2": values["distance_r2"], "mae": values["distance_mae"]}
    return metrics


@dataclasses.dataclass(frozen=True, eq=False)
class _Scores:
    """How an ensemble does on its held-out samples.

    Attributes
    ----------
    metrics : dict
        What ``metrics.json`` says of them; empty where no sample was held out.
    predictions : DataFrame or None
        ``actual`` and the out-of-fold predictions of the ensemble.
    calibration : Calibration
    """

    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    predictions: pd.DataFrame | None = None
    calibration: Calibration = dataclasses.field(default_factory=Calibration)


def _score(trained: Trained, ensemble: Ensemble, groups: int | None) -> _Scores:
    """Metrics of the out-of-fold predictions; ``groups`` is how many groups they are of."""
    split, task = trained.split, trained.task
    if not split.val:
        return _Scores()
    truth = trained.values.loc[split.val]
    metrics: dict[str, Any] = {
        "held_out": count_held_out(len(split.val), groups) | {"folds": len(set(split.folds))}
    }
    calibration, frames = calibrate(trained, ensemble), {}
    assert calibration.predictions is not None
    for name, predictions in {**ensemble.out_of_fold, "model": calibration.predictions}.items():
        # No bounds: an interval of these very residuals covers them by construction.
        frames[name] = task.frame(list(truth.index), predictions)
        table, metrics[name] = task.compare(frames[name], truth)
        # As a list: pandas then gives text the type that a table from a file has.
        frames[name].insert(0, "actual", table["actual"].tolist())
    if ensemble.trees:
        metrics["trees"] = ensemble.trees
    if ensemble.forest is not None and ensemble.forest.linear_share:
        metrics["linear_share"] = ensemble.forest.linear_share
    metrics["weights"] = weights(trained.network, ensemble.forest, ensemble.network_weight)
    if task.classes and calibration.calibrator is not None:
        metrics["calibration"] = calibration.calibrator.name
    if calibration.report:
        metrics["sets"] = calibration.report
    for interval in calibration.intervals[:1]:
        metrics["interval"] = {"nominal_coverage": COVERAGE, "half_width": interval.half_width}
    if calibration.bounds is not None:
        bounded = task.frame(list(truth.index), calibration.predictions, calibration.bounds)
        metrics["model"] = task.compare(bounded, truth)[1]
        if np.isfinite(calibration.bounds).all():
            frames["model"] = frames["model"].join(bounded[list(BOUNDS)])
        actual = task.forest_target(truth)
        metrics["interval"] |= coverage_report(actual, bounded, calibration.groups)
    if ensemble.passes is not None:
        by_forest = ensemble.out_of_fold.get("forest")
        given = calibration.predictions, ensemble.network_weight, by_forest, calibration.calibrator
        frames["model"][PREDICTION_SD] = spread_of_passes(ensemble.passes, *given)
    return _Scores(metrics, frames["model"], calibration)


def _log_scores(
    log: logging.LoggerAdapter, trained: Trained, ensemble: Ensemble, scores: _Scores
) -> None:
    """Log the metrics of a fit, and the samples that they were computed on."""
    metrics = scores.metrics
    linear = metrics.get("linear_share", 0.0)
    if scores.predictions is None:
        shares = weights(trained.network, ensemble.forest, ensemble.network_weight)
        lines = ["no sample was held out, and nothing is scored", *weights_in_words(shares, 0)]
        log.info("; ".join(lines))
        return
    log.info("metrics on %s:", held_out_in_words(metrics["held_out"]))
    for name, label in _SCORED.items():
        if name in metrics:
            words = label.format(forest=forest_in_words(linear))
            log.info("  %s: %s", words, metrics_in_words(metrics[name]))
    for sentence in weights_in_words(metrics["weights"], metrics["held_out"]["samples"], linear):
        log.info(sentence)
    settings, calibration = trained.config.ensemble, scores.calibration
    if calibration.intervals:
        log.info(interval_in_words(metrics, settings.interval))
    if trained.task.classes:
        held_out = len(trained.split.val), metrics["held_out"]["folds"]
        line = calibration_in_words(calibration.calibrator, settings.calibration, *held_out)
        if line:
            log.info(line)
    if calibration.groups is not None:
        pooled = pooled_groups(calibration.groups, names_in(settings.interval_by))
        if pooled:
            log.info(pooled)
