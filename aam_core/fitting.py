"""The job as functions: `Study` + `Config` -> `Model`, and a folder where one is named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from aam_core import plots, scoring
from aam_core.blending import add_forest, in_words, weigh, weights
from aam_core.config import Config
from aam_core.config.presets import fitting, pretraining
from aam_core.config.unused import Setup, idle
from aam_core.data.corpus import load_corpus
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.devices import on_devices
from aam_core.effects import processes, say
from aam_core.model import Model
from aam_core.preparation import FitOptions, OnEpoch, prepare_fit, prepare_pretraining
from aam_core.resuming import asked
from aam_core.runs import Run
from aam_core.tasks.metrics import regression_metrics
from aam_core.training.job import Result

CORPUS = {
    "loss.distance": 0.0,
    "masking.asv_fraction": 1.0,
    "data.rarefaction": "none",
    "data.shallow_samples": "keep",
}
"""Settings of a pretraining on sequences without samples."""

COVERAGE = 0.9
"""Share of new samples that a prediction interval is meant to hold."""

SCORED = {
    "model": "the saved model",
    "network": "its networks alone",
    "forest": "its forest alone",
}
"""Metrics of a fit -> what is said of them."""


@on_devices(pretraining)
def pretrain(
    study: Study,
    *,
    config: Config | str | None = None,
    output: str | Path | None = None,
    encoder: Model | str | Path | None = None,
    group_by: str | pd.Series | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Pretrain an encoder without labels: masked nucleotides and distances between samples.

    Parameters
    ----------
    study : Study
        With a phylogeny or given distances, unless the penalty of the distances is 0 or the metric
        needs neither.
    config : Config or str, optional
        Or the name of a preset; ``presets.pretraining()`` by default.
    output : path, optional
        Folder for the encoder, ``metrics.json``, ``logs/`` and plots.
    encoder : Model or path, optional
        Encoder to go on from; its sizes replace those of ``config``.
    group_by : str or Series, optional
        Metadata column (or values by sample id): samples of a group stay on one side of the
        validation split.
    resume : path, optional
        Output folder of an earlier run to go on from: its split, and its configuration where none
        is given. What is written goes to ``output``.
    accept_changed_inputs : bool
        Go on though reads, sequences, samples or what else the run was started with changed, which
        one line says; else that is refused. The split stays: new samples are not read.
    on_epoch : callable, optional
        Called with the epoch and its losses and figures after each. What it raises ends the run.

    Returns
    -------
    Model
        Of kind 'encoder', with the best weights on the validation samples.

    Raises
    ------
    InputError
        If the study lacks what the losses need, or has too few samples.
    """
    run, batcher = prepare_pretraining(
        study, config, output, encoder, group_by, resume, accept_changed_inputs
    )
    result = run.train(run.job(batcher, on_epoch=on_epoch))
    run.finish(_score_pretraining(run, result))
    return run.model


def pretrain_nucleotides(
    sequences,
    *,
    config: Config | str | None = None,
    output: str | Path | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
) -> Model:
    """Pretrain the nucleotide level alone, on sequences without samples.

    Parameters
    ----------
    sequences : path or sequence of str
        As `aam_core.data.corpus.load_corpus` takes them.
    config, output, resume, accept_changed_inputs
        As in `pretrain`. A "sample" of the batch size is 16 sequences.

    Returns
    -------
    Model
        Encoder without a distance head, for ``encoder=`` of `pretrain` or of a fit.
    """
    given = asked(resume, config, pretraining)
    config = given.decide(CORPUS)
    corpus = Setup(
        "pretraining",
        corpus=True,
        output=output is not None,
        split="" if resume is None else "the split of the run stays",
        **processes(config),
    )
    for line in idle(replace(config, given=given.given), corpus):
        say(f"pretrain: {line}")
    accept = accept_changed_inputs
    return pretrain(
        load_corpus(sequences),
        config=config.said(),
        output=output,
        resume=resume,
        accept_changed_inputs=accept,
    )


@on_devices(fitting)
def fit_regressor(
    study: Study,
    target: str | pd.Series,
    *,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None,
    covariates: Sequence[str] = (),
    config: Config | str | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Fit a numeric metadata column.

    Parameters
    ----------
    study : Study
        Its phylogeny or distances, if any, are learned beside the target where ``loss.distance`` is
        above 0, which it is in no preset of a fit, and the encoder is not frozen; else they change
        nothing, which one line says.
    target : str or Series
        Metadata column, or values by sample id.
    encoder : Model or path, optional
        Pretrained encoder to start from; its sizes replace those of ``config``, which one line
        says.
    freeze_encoder : bool
        Keep the encoder of bases as it is: ASV vectors are computed once, and an epoch takes
        seconds. The layers over samples still learn, from the target alone: distances are not
        learned.
    group_by : str or Series, optional
        Metadata column (or values by sample id): samples of a group stay on one side of each split.
    split : tuple of (train_ids, val_ids) or Split, optional
        A fixed split instead; of a tuple every member leaves out ``val_ids``.
    covariates : sequence of str, optional
        Metadata columns (or the name of one) that the model reads beside the reads, and will need
        when predicting.
    config : Config or str, optional
        Or the name of a preset; ``presets.fitting()`` by default.
    output : path, optional
        Folder for the model, its metrics, predictions, logs and plot.
    label : str, optional
        What the lines of progress start with.
    resume, accept_changed_inputs, on_epoch
        As in `pretrain`.

    Returns
    -------
    Model
        Of kind 'regressor'. By default with the last weights; where ``train.best_metric`` names a
        figure, with the best on the samples that were left out.

    Raises
    ------
    InputError
        If targets are unusable, or there are too few samples or groups.
    """
    given = (encoder, freeze_encoder, group_by, split, covariates, config, output, label)
    options = FitOptions(*given, resume, on_epoch, accept_changed_inputs)
    return _fit("regression", study, target, options)


@on_devices(fitting)
def fit_classifier(
    study: Study,
    target: str | pd.Series,
    *,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None,
    covariates: Sequence[str] = (),
    config: Config | str | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Fit a categorical metadata column; parameters as in `fit_regressor`.

    Classes are text, letter for letter ('01' is not '1'); numbers of a data frame are as Python
    writes them, whole ones without '.0'.

    Returns
    -------
    Model
        Of kind 'classifier'.
    """
    given = (encoder, freeze_encoder, group_by, split, covariates, config, output, label)
    options = FitOptions(*given, resume, on_epoch, accept_changed_inputs)
    return _fit("classification", study, target, options)


def _score_pretraining(run: Run, result: Result) -> dict[str, Callable]:
    """Score the held-out samples, if any, by the weights that are kept; as `_score`."""
    model, study = run.model, run.study
    model.metrics = {"epoch": result.epoch}
    if not model.val_samples:
        return {}
    model.metrics["held_out"] = _held_out(run)
    kept = {name.removeprefix("val/"): value for name, value in result.values.items()}
    names = [name for name in ("total_loss", "nucleotide_loss", "distance_loss") if name in kept]
    model.metrics["losses"] = {name.removesuffix("_loss"): kept[name] for name in names}
    if "nucleotide_accuracy" in kept:
        model.metrics["nucleotides"] = {"accuracy": kept["nucleotide_accuracy"]}
    if not model.network.parts.distance or len(model.val_samples) < 3:
        return {}
    run.say("predicting the distances of held-out samples")
    pairs = scoring.distances(model, study)
    scores = regression_metrics(pairs["actual"], pairs["prediction"])
    model.metrics["distances"] = {"pairs": len(pairs), **scores}
    told = scoring.held_out_in_words(model.metrics["held_out"])
    run.say(f"distances of {len(pairs)} pairs of {told}: {_in_words(scores)}")
    return {"val_distances.png": functools.partial(plots.distances, pairs)}


def _fit(task: str, study: Study, target: str | pd.Series, options: FitOptions) -> Model:
    """Split, train, score the held-out samples, and save; see `fit_regressor`."""
    run, values, batcher, weight = prepare_fit(task, study, target, options)
    result = run.train(run.job(batcher, weight, options.on_epoch))
    run.model.metrics = {"epoch": result.epoch}
    run.finish(_score(run, values))
    return run.model


def _score(run: Run, values: pd.Series) -> dict[str, Callable]:
    """Add the forest, and score the held-out samples, if any.

    Returns
    -------
    dict
        What there is to draw, for `Run.finish`.
    """
    model, split = run.model, run.split
    held = None
    if split.val:
        run.say("predicting held-out samples")
        held = scoring.left_out(model, run.study, split)
    beside = add_forest(run, values) if run.config.forest.trees else None
    if held is None:
        run.say("; ".join(["no sample was held out, and nothing is scored", *in_words(model, 0)]))
        return {}
    alone, held = weigh(run, values, held, beside)
    truth = values.loc[split.val]
    model.val_predictions, scores = scoring.target(model, truth, held)
    rows = {"model": scores}
    if model.forest is not None:
        for name, predicted in (("network", alone), ("forest", beside)):
            rows[name] = scoring.target(model, truth, predicted)[1]
    model.metrics |= {"held_out": _held_out(run), **rows, "weights": weights(model)}
    numeric = model.target.has_interval
    if numeric:
        _add_interval(model, split)
    _tell(run)
    drawn = functools.partial(model.target.plot, model.val_predictions, label=model.target.column)
    return {"val_predictions.png": drawn}


def _held_out(run: Run) -> dict[str, int]:
    split = run.split
    return scoring.held_out(len(split.val), run.groups) | {"folds": len(set(split.folds))}


def _add_interval(model: Model, split: Split) -> None:
    """The interval of its predictions, and how many held-out samples such an interval holds."""
    frame = model.val_predictions
    half = scoring.half_width(frame, COVERAGE)
    model.interval = {"coverage": COVERAGE, "half_width": half}
    model.metrics["interval"] = {"nominal_coverage": COVERAGE, "half_width": half}
    share = scoring.coverage(frame, split.folds, COVERAGE)
    if share is not None:
        model.metrics["model"]["coverage"] = share


def _tell(run: Run) -> None:
    """Say the metrics of a fit, and what they are of."""
    model, metrics = run.model, run.model.metrics
    told = scoring.held_out_in_words(metrics["held_out"])
    run.say(f"metrics on {told}:")
    for name, label in SCORED.items():
        if name in metrics:
            run.say(f"  {label}: {_in_words(metrics[name])}")
    for sentence in in_words(model, metrics["held_out"]["samples"]):
        run.say(sentence)
    if model.interval is not None:
        text = f"{COVERAGE:.0%} interval: ± {model.interval['half_width']:.4g}"
        if "coverage" in metrics["model"]:
            share = metrics["model"]["coverage"]
            text += f" (coverage of held-out folds {share:.0%})"
        run.say(text)


def _in_words(scores: dict[str, float]) -> str:
    """``r2 0.7936, mae 5.283``; of the coverage another line tells."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name != "coverage")
