"""The job as functions: `Study` + `Config` -> `Model`, and a folder where one is named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core import plots, scoring
from aam_core.artifact import Model
from aam_core.config import Config
from aam_core.data.batch import Batcher
from aam_core.data.corpus import load_corpus
from aam_core.data.covariates import fit_covariates
from aam_core.data.distances import check_metric
from aam_core.data.inputs import Study
from aam_core.data.metadata import column
from aam_core.data.splits import fixed_split, train_val_split
from aam_core.data.targets import ClassTarget, fit_target
from aam_core.devices import on_devices
from aam_core.errors import InputError, first_five
from aam_core.files import replacing_in
from aam_core.models.model import Parts
from aam_core.prediction import as_model, encode_asvs
from aam_core.presets import fitting, pretraining
from aam_core.runs import Run, resumed, split_of
from aam_core.train import parallel, tune
from aam_core.train.tune import RangeTest
from aam_core.transfer import adopt, replaced

OnEpoch = Callable[[int, dict[str, float]], None]

COVERAGE = 0.9
"""Share of new samples that a prediction interval is meant to hold."""


@on_devices(pretraining)
def pretrain(
    study: Study,
    *,
    config: Config | None = None,
    output: str | Path | None = None,
    encoder: Model | str | Path | None = None,
    group_by: str | pd.Series | None = None,
    resume: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Pretrain an encoder without labels: masked nucleotides and distances between samples.

    Parameters
    ----------
    study : Study
        With a phylogeny or given distances, unless the penalty of the distances is 0 or the metric
        needs neither.
    config : Config, optional
        ``presets.pretraining()`` by default.
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
    run, batcher = _pretraining(study, config, output, encoder, group_by, resume)
    result = run.train(run.job(batcher, on_epoch=on_epoch))
    model, drawings = run.model, {}
    model.metrics = {"epoch": result.epoch, **result.values}
    if model.network.parts.distance and len(model.val_samples) > 2:
        pairs = scoring.distances(model, study)
        scores = scoring.regression_metrics(pairs["actual"], pairs["prediction"])
        model.metrics |= {f"distance_{name}": value for name, value in scores.items()}
        drawings["val_distances.png"] = functools.partial(plots.distances, pairs)
        run.say(f"distances of validation pairs: R2 {scores['r2']:.4f}, MAE {scores['mae']:.4f}")
    run.finish(drawings)
    return model


def _pretraining(study, config, output, encoder, group_by, resume) -> tuple[Run, Batcher]:
    """The run, with its network, and what makes its batches; see `pretrain`."""
    held, asked = resumed(resume, config, pretraining)
    encoder = None if encoder is None else as_model(encoder)
    config = adopt(asked, encoder)
    parts = Parts(nucleotide=config.loss.nucleotide > 0, distance=config.loss.distance > 0)
    if not (parts.nucleotide or parts.distance):
        raise InputError("Both penalties are 0: there is nothing to pretrain.")
    if parts.nucleotide and config.masking.mask_ratio == 0:
        raise InputError("masking.mask_ratio is 0: there are no nucleotides to learn.")
    if parts.distance:
        _check_distances(study, config)
    samples, left_out = usable_samples(study, config)
    if held is None:
        split = split_samples(samples, config, by_sample(study, group_by))
    else:
        split = split_of(held, samples)
    run = Run(study, config, output, "pretrain", split, held)
    run.say(left_out)
    run.say(replaced(asked, config))
    run.build(parts, encoder)
    return run, Batcher(study, config.data, config.train.seed, distances=parts.distance)


def pretrain_nucleotides(
    sequences,
    *,
    config: Config | None = None,
    output: str | Path | None = None,
    resume: str | Path | None = None,
) -> Model:
    """Pretrain the nucleotide level alone, on sequences without samples.

    Parameters
    ----------
    sequences : path or sequence of str
        As `aam_core.data.corpus.load_corpus` takes them.
    config, output, resume
        As in `pretrain`. A "sample" of the batch size is 16 sequences.

    Returns
    -------
    Model
        Encoder without a distance head, for ``encoder=`` of `pretrain` or of a fit.
    """
    _, config = resumed(resume, config, pretraining)
    config = config.replace(
        {
            "loss.distance": 0.0,
            "masking.asv_fraction": 1.0,
            "data.rarefaction": "none",
            "data.shallow_samples": "keep",
        }
    )
    return pretrain(load_corpus(sequences), config=config, output=output, resume=resume)


@on_devices(fitting)
def fit_regressor(
    study: Study,
    target: str | pd.Series,
    *,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | None = None,
    covariates: Sequence[str] = (),
    config: Config | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Fit a numeric metadata column.

    Parameters
    ----------
    study : Study
        Its phylogeny or distances, if any, are learned beside the target (see freeze_encoder).
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
        Metadata column (or values by sample id): samples of a group stay on one side of the split.
    split : tuple of (train_ids, val_ids), optional
        A fixed split instead.
    covariates : sequence of str, optional
        Metadata columns that the model reads beside the reads (and will need when predicting).
    config : Config, optional
        ``presets.fitting()`` by default.
    output : path, optional
        Folder for the model, its metrics, predictions, logs and plot.
    label : str, optional
        What the lines of progress start with.
    resume, on_epoch
        As in `pretrain`.

    Returns
    -------
    Model
        Of kind 'regressor', with the best weights on the validation samples.

    Raises
    ------
    InputError
        If targets are unusable, or there are too few samples or groups.
    """
    options = _Options(
        encoder=encoder,
        freeze_encoder=freeze_encoder,
        group_by=group_by,
        split=split,
        covariates=tuple(covariates),
        config=config,
        output=output,
        label=label,
        resume=resume,
        on_epoch=on_epoch,
    )
    return _fit("regression", study, target, options)


@on_devices(fitting)
def fit_classifier(
    study: Study,
    target: str | pd.Series,
    *,
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | None = None,
    covariates: Sequence[str] = (),
    config: Config | None = None,
    output: str | Path | None = None,
    label: str | None = None,
    resume: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Model:
    """Fit a categorical metadata column; parameters as in `fit_regressor`.

    Returns
    -------
    Model
        Of kind 'classifier'.
    """
    options = _Options(
        encoder=encoder,
        freeze_encoder=freeze_encoder,
        group_by=group_by,
        split=split,
        covariates=tuple(covariates),
        config=config,
        output=output,
        label=label,
        resume=resume,
        on_epoch=on_epoch,
    )
    return _fit("classification", study, target, options)


def find_lr(
    study: Study,
    target: str | pd.Series | None = None,
    *,
    task: str = "pretrain",
    encoder: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    group_by: str | pd.Series | None = None,
    covariates: Sequence[str] = (),
    config: Config | None = None,
    output: str | Path | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> RangeTest:
    """Look for the learning rate of a pretraining or a fit, by a range test; see `tune.find_lr`.

    Parameters
    ----------
    study, target, encoder, freeze_encoder, group_by, covariates, config
        As of the run that the rate is for; a pretraining has no target.
    task : {'pretrain', 'regression', 'classification'}
        What run that is.
    output : path, optional
        Folder for ``lr.tsv``, a row a step, and ``lr.png``.
    low, high, steps
        First and last rate, and the steps from one to the other.

    Raises
    ------
    InputError
        If the inputs are unusable, or the loss falls at no rate.
    """
    with parallel.session():
        if task == "pretrain":
            run, batcher = _pretraining(study, config, output, encoder, group_by, None)
            job = run.job(batcher)
        else:
            options = _Options(
                encoder=encoder,
                freeze_encoder=freeze_encoder,
                group_by=group_by,
                split=None,
                covariates=tuple(covariates),
                config=config,
                output=output,
                label=None,
                resume=None,
                on_epoch=None,
            )
            run, _, batcher, weight = _fitting(task, study, target, options)
            job = run.job(batcher, weight)
        found = tune.find_lr(job, run.team, low, high, steps, run.reporter)
        if output is not None and run.team.first:
            with replacing_in(output) as folder:
                found.table.to_csv(folder / "lr.tsv", sep="\t", index=False)
                plots.learning_rates(found.table, found.suggestion, folder / "lr.png")
        return found


@dataclass(frozen=True)
class _Options:
    """What a fit takes beside its data; see `fit_regressor`."""

    encoder: Model | str | Path | None
    freeze_encoder: bool
    group_by: str | pd.Series | None
    split: tuple[Sequence[str], Sequence[str]] | None
    covariates: tuple[str, ...]
    config: Config | None
    output: str | Path | None
    label: str | None
    resume: str | Path | None
    on_epoch: OnEpoch | None


def _fit(task: str, study: Study, target: str | pd.Series, options: _Options) -> Model:
    """Split, train on one side, score on the other, and save; see `fit_regressor`."""
    run, values, batcher, weight = _fitting(task, study, target, options)
    result = run.train(run.job(batcher, weight, options.on_epoch))
    run.model.metrics = {"epoch": result.epoch, **result.values}
    run.finish(_score(run, values))
    return run.model


def _fitting(task: str, study: Study, target: str | pd.Series, options: _Options):
    """The run, with its network, its target's values, its batches and class weights."""
    held, asked = resumed(options.resume, options.config, fitting)
    encoder = None if options.encoder is None else as_model(options.encoder)
    if options.freeze_encoder and encoder is None and held is None:
        raise InputError("A frozen encoder must be a pretrained one: name it (encoder).")
    config = adopt(asked, encoder)
    values = by_sample(study, target)
    if values.name in options.covariates:
        raise InputError(
            f"The target {values.name!r} cannot be a covariate: the answer would be given away."
        )
    samples, left_out = usable_samples(study, config)
    values = values.reindex(samples)
    split = _split_of(task, study, values, options, config) if not held else split_of(held, samples)
    values = values.loc[[*split[0], *split[1]]]
    fitted = fit_target(values, task, split[0])
    known = fit_covariates(study.metadata, options.covariates, split[0])
    distances = _learns_distances(study, config)
    if distances:
        _check_distances(study, config)
    run = Run(study, config, options.output, options.label or task, split, held)
    run.say(left_out)
    run.say(replaced(asked, config))
    if distances and options.freeze_encoder:
        run.say("the encoder is frozen: distances are not learned")
    parts = Parts(
        distance=distances and not options.freeze_encoder,
        outputs=len(fitted.classes) if isinstance(fitted, ClassTarget) else 1,
        sizes=known.sizes if known else (),
        numbers=len(known.numeric) if known else 0,
    )
    run.build(parts, encoder, fitted, known, options.freeze_encoder)
    return run, values, *_batches(run, values, options.freeze_encoder)


def _split_of(task, study, values, options, config) -> tuple[list[str], list[str]]:
    """The given split, or one that honours groups and classes."""
    if options.split is not None:
        sides = fixed_split(study.sample_ids, *options.split)
        usable = set(values.index)  # the others have too few reads, which is said elsewhere
        kept = ([name for name in side if name in usable] for side in sides)
        return fixed_split(list(values.index), *kept)
    fit_target(values, task)  # says what is wrong with the target before the split does
    strata = values if task == "classification" else None
    groups = by_sample(study, options.group_by)
    return split_samples(list(values.index), config, groups, strata)


def _batches(run: Run, values: pd.Series, frozen: bool) -> tuple[Batcher, torch.Tensor | None]:
    """What makes the batches of a fit to ``values`` of its target, and the classes' weights."""
    study, config, model = run.study, run.config, run.model
    encoded = model.target.encode(values)
    truth = np.zeros(len(study.sample_ids), encoded.dtype)
    truth[run.positions(list(values.index))] = encoded
    batcher = Batcher(
        study,
        config.data,
        config.train.seed,
        distances=model.network.parts.distance,
        target=truth,
        covariates=model.covariates.encode(study.metadata) if model.covariates else None,
        asv_vectors=_frozen_vectors(run) if frozen else None,
    )
    return batcher, _class_weight(model.target, truth[run.positions(run.train_ids)], config)


def _score(run: Run, values: pd.Series) -> dict[str, Callable]:
    """Predict the validation samples, if any; what there is to draw, for `Run.finish`."""
    model = run.model
    if not model.val_samples:
        return {}
    frame, scores = scoring.target(model, run.study, values)
    model.val_predictions, model.metrics = frame, scores | model.metrics
    numeric = not isinstance(model.target, ClassTarget)
    if numeric:
        half = scoring.half_width(frame, COVERAGE)
        model.interval = {"coverage": COVERAGE, "half_width": half}
    run.say("validation: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))
    draw = plots.scatter if numeric else plots.confusion
    return {"val_predictions.png": functools.partial(draw, frame, label=model.target.name)}


def usable_samples(study: Study, config: Config) -> tuple[list[str], str]:
    """Samples with enough reads, and a sentence on those without (empty if there are none)."""
    data = config.data
    least = data.min_reads
    if data.rarefaction != "none" and data.shallow_samples == "drop":
        least = max(least, data.sampling_depth)
    reads = np.asarray(study.counts.sum(1)).ravel()
    shallow = [name for name, n in zip(study.sample_ids, reads, strict=True) if n < least]
    if len(shallow) == len(study.sample_ids):
        raise InputError(
            f"All {len(shallow)} samples have fewer than {least} reads (the deepest has "
            f"{int(reads.max())}): lower the sampling depth or data.min_reads."
        )
    gone = set(shallow)
    kept = [name for name in study.sample_ids if name not in gone]
    if not shallow:
        return kept, ""
    text = f"{len(shallow)} samples with fewer than {least} reads left out: {first_five(shallow)}"
    return kept, text


def split_samples(samples, config, groups=None, strata=None) -> tuple[list[str], list[str]]:
    """Training and validation samples as the configuration has them; the latter may be none."""
    fraction = config.train.val_fraction
    if fraction == 0:
        return samples, []
    return train_val_split(
        samples, fraction=fraction, seed=config.train.seed, groups=groups, strata=strata
    )


def by_sample(study: Study, values) -> pd.Series | None:
    """A metadata column by its name, or values by sample id as they were given."""
    if values is None or isinstance(values, pd.Series):
        return values
    if study.metadata is None:
        raise InputError(f"The study has no metadata to take the column {values!r} from.")
    return column(study.metadata, values)


def _learns_distances(study, config):
    if config.loss.distance == 0:
        return False
    return study.distances is not None or study.phylogeny is not None


def _check_distances(study, config):
    """What is learned lies in [0, 1], as the predicted distances do."""
    if study.distances is None:
        check_metric(config.loss.metric, study.phylogeny)
    elif study.distances.max() > 1 + 1e-6:
        raise InputError(
            f"The given distances reach {study.distances.max():.4g}; those that are learned lie "
            "in [0, 1], as UniFrac, Bray-Curtis and Jaccard do. Give one of these."
        )


def _frozen_vectors(run: Run) -> torch.Tensor:
    tokens = run.study.tokens(run.config.data)
    network = run.model.network.to(run.team.device)
    return encode_asvs(network, tokens, run.team.device, run.config.train.precision)


def _class_weight(target, encoded: np.ndarray, config: Config) -> torch.Tensor | None:
    """Inverse class frequencies among the training samples, of mean 1 over samples."""
    if config.loss.class_weight == "none" or not isinstance(target, ClassTarget):
        return None
    sizes = np.bincount(encoded, minlength=len(target.classes))
    return torch.tensor(len(encoded) / (len(sizes) * np.maximum(sizes, 1)), dtype=torch.float32)
