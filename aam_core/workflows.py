"""The job as functions: `Study` + `Config` -> `Model`, and a folder where one is named."""

from __future__ import annotations

import functools

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
from aam_core.data.tokens import tokenize
from aam_core.errors import InputError, first_five
from aam_core.models.model import Parts
from aam_core.prediction import as_model, encode_asvs
from aam_core.presets import fitting, pretraining
from aam_core.runs import Run
from aam_core.transfer import adopt

COVERAGE = 0.9
"""Share of new samples that a prediction interval is meant to hold."""


def pretrain(
    study: Study,
    *,
    config: Config | None = None,
    output=None,
    encoder=None,
    group_by: str | pd.Series | None = None,
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
        Encoder to go on from.
    group_by : str or Series, optional
        Metadata column (or values by sample id): samples of a group stay on one side of the
        validation split.

    Returns
    -------
    Model
        Of kind 'encoder', with the best weights on the validation samples.

    Raises
    ------
    InputError
        If the study lacks what the losses need, or has too few samples.
    """
    encoder = None if encoder is None else as_model(encoder)
    config = adopt(config or pretraining(), encoder)
    parts = Parts(nucleotide=config.loss.nucleotide > 0, distance=config.loss.distance > 0)
    if not (parts.nucleotide or parts.distance):
        raise InputError("Both penalties are 0: there is nothing to pretrain.")
    if parts.distance and study.distances is None:
        check_metric(config.loss.metric, study.phylogeny)
    samples, left_out = usable_samples(study, config)
    split = split_samples(samples, config, by_sample(study, group_by))
    run = Run(study, config, output, "pretrain", split)
    run.say(left_out)
    run.build(parts, encoder)
    batcher = Batcher(study, config.data, config.train.seed, distances=parts.distance)
    result = run.train(batcher)
    model, drawings = run.model, {}
    model.metrics = {"epoch": result.epoch, **result.values}
    if parts.distance and len(model.val_samples) > 2:
        pairs = scoring.distances(model, study)
        scores = scoring.regression_metrics(pairs["actual"], pairs["prediction"])
        model.metrics |= {f"distance_{name}": value for name, value in scores.items()}
        drawings["val_distances.png"] = functools.partial(plots.distances, pairs)
        run.say(f"distances of validation pairs: R2 {scores['r2']:.4f}, MAE {scores['mae']:.4f}")
    run.finish(drawings)
    return model


def pretrain_nucleotides(sequences, *, config: Config | None = None, output=None) -> Model:
    """Pretrain the nucleotide level alone, on sequences without samples.

    Parameters
    ----------
    sequences : path or sequence of str
        As `aam_core.data.corpus.load_corpus` takes them.
    config, output
        As in `pretrain`. A "sample" of the batch size is 16 sequences.

    Returns
    -------
    Model
        Encoder without a distance head, for ``encoder=`` of `pretrain` or of a fit.
    """
    config = (config or pretraining()).replace(
        {
            "loss.distance": 0.0,
            "masking.asv_fraction": 1.0,
            "data.rarefaction": "none",
            "data.shallow_samples": "keep",
        }
    )
    return pretrain(load_corpus(sequences), config=config, output=output)


def fit_regressor(study: Study, target: str | pd.Series, **options) -> Model:
    """Fit a numeric metadata column.

    Parameters
    ----------
    study : Study
        Its phylogeny or distances, if any, are learned beside the target.
    target : str or Series
        Metadata column, or values by sample id.
    encoder : Model or path, optional
        Pretrained encoder to start from; its sizes replace those of ``config``.
    freeze_encoder : bool
        Keep the encoder of bases as it is: ASV vectors are computed once, and an epoch takes
        seconds. The layers over samples still learn.
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

    Returns
    -------
    Model
        Of kind 'regressor', with the best weights on the validation samples.

    Raises
    ------
    InputError
        If targets are unusable, or there are too few samples or groups.
    """
    return _fit("regression", study, target, **options)


def fit_classifier(study: Study, target: str | pd.Series, **options) -> Model:
    """Fit a categorical metadata column; parameters as in `fit_regressor`.

    Returns
    -------
    Model
        Of kind 'classifier'.
    """
    return _fit("classification", study, target, **options)


def _fit(
    task,
    study,
    target,
    *,
    encoder=None,
    freeze_encoder=False,
    group_by=None,
    split=None,
    covariates=(),
    config=None,
    output=None,
    label=None,
):
    if freeze_encoder and encoder is None:
        raise InputError("A frozen encoder must be a pretrained one: name it (encoder).")
    encoder = None if encoder is None else as_model(encoder)
    config = adopt(config or fitting(), encoder)
    values = by_sample(study, target)
    if values.name in covariates:
        raise InputError(
            f"The target {values.name!r} cannot be a covariate: the answer would be given away."
        )
    samples, left_out = usable_samples(study, config)
    values = values.reindex(samples)
    if split is not None:
        split = fixed_split(samples, *split)
    else:
        strata = values if task == "classification" else None
        fit_target(values, task)  # says what is wrong with the target before the split does
        split = split_samples(samples, config, by_sample(study, group_by), strata)
    fitted = fit_target(values, task, split[0])
    known = fit_covariates(study.metadata, covariates, split[0])
    parts = Parts(
        distance=_learns_distances(study, config) and not freeze_encoder,
        outputs=len(fitted.classes) if isinstance(fitted, ClassTarget) else 1,
        sizes=known.sizes if known else (),
        numbers=len(known.numeric) if known else 0,
    )
    run = Run(study, config, output, label or task, split)
    run.say(left_out)
    run.build(parts, encoder, fitted, freeze_encoder)
    run.model.covariates = known
    encoded = fitted.encode(values)
    truth = np.zeros(len(study.sample_ids), encoded.dtype)
    truth[run.positions(samples)] = encoded
    batcher = Batcher(
        study,
        config.data,
        config.train.seed,
        distances=parts.distance,
        target=truth,
        covariates=known.encode(study.metadata) if known else None,
        asv_vectors=_frozen_vectors(run) if freeze_encoder else None,
    )
    result = run.train(batcher, _class_weight(fitted, truth[run.positions(split[0])], config))
    model, drawings = run.model, {}
    model.metrics = {"epoch": result.epoch, **result.values}
    if model.val_samples:
        frame, scores = scoring.target(model, study, values)
        model.val_predictions, model.metrics = frame, scores | model.metrics
        if task == "regression":
            half = scoring.half_width(frame, COVERAGE)
            model.interval = {"coverage": COVERAGE, "half_width": half}
        draw = plots.scatter if task == "regression" else plots.confusion
        drawings["val_predictions.png"] = functools.partial(draw, frame, label=fitted.name)
        run.say("validation: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items()))
    run.finish(drawings)
    return model


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
            f"{int(reads.max())}): lower --sampling-depth or data.min_reads."
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


def _frozen_vectors(run: Run) -> torch.Tensor:
    study, data = run.study, run.config.data
    tokens = tokenize(study.sequences, study.feature_ids, data.max_bp, data.long_sequences)
    network = run.model.network.to(run.device)
    return encode_asvs(network, tokens, run.device, run.config.train.precision)


def _class_weight(target, encoded: np.ndarray, config: Config) -> torch.Tensor | None:
    """Inverse class frequencies among the training samples, of mean 1 over samples."""
    if config.loss.class_weight == "none" or not isinstance(target, ClassTarget):
        return None
    sizes = np.bincount(encoded, minlength=len(target.classes))
    return torch.tensor(len(encoded) / (len(sizes) * np.maximum(sizes, 1)), dtype=torch.float32)
