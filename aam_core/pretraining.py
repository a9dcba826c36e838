"""Pretrain an encoder without labels: masked nucleotides, and distances between samples."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from aam_core import plots
from aam_core.config import DISTANCE_NAMES, Config
from aam_core.config.resolve import ConfigLike, configured
from aam_core.config.unused import RunContext, unused_settings
from aam_core.data.batches import Batcher
from aam_core.data.corpus import load_corpus
from aam_core.data.study import Study
from aam_core.data.taxonomy import with_taxonomy
from aam_core.ensemble.forward import sample_distances
from aam_core.log import duration, labelled, recording
from aam_core.model import Model, load_model
from aam_core.plan import OnEpoch, plan_pretraining
from aam_core.preparation import (
    count_held_out,
    held_out_in_words,
    metrics_in_words,
    processes,
)
from aam_core.resuming import saved_config
from aam_core.run import Run
from aam_core.tasks.auxiliary import auxiliary_metrics
from aam_core.tasks.losses import true_distance, true_diversity
from aam_core.tasks.metrics import regression_metrics
from aam_core.training.job import TrainingResult
from aam_core.training.launch.devices import on_devices
from aam_core.training.precision import cpu_threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["distances_of", "held_out_distances", "pretrain", "pretrain_nucleotides"]
__all__ += ["pretraining_batches"]

_CORPUS = {
    "loss.distance": 0.0,
    "loss.count": 0.0,
    "loss.faith_pd": 0.0,
    "masking.asv_fraction": 1.0,
    "data.rarefaction": "none",
    "data.shallow_samples": "keep",
}
"""Settings of a pretraining on sequences without samples."""

_MOST_SAMPLES = 500
"""Validation samples whose pairs are scored: 124,750 pairs give R2 to the third digit."""

_MOST_FITTED = 1000
"""Training samples that mean and deviation of Faith's diversity are taken from."""

_GOALS = {
    "faith_pd": "Faith's diversity (in units of branch length)",
    "counts": "masked abundances (in powers of ten)",
    "taxonomy": "taxa of ASVs that no training sample has",
}
"""Key of ``metrics.json`` -> what a line says of it."""


@configured("pretraining", saved_config)
@on_devices(load_model)
def pretrain(
    study: Study,
    *,
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    encoder: Model | str | Path | None = None,
    group_by: str | pd.Series | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Unpack[EverydaySettings],
) -> Model:
    """Pretrain an encoder without labels: masked nucleotides and distances between samples.

    Parameters
    ----------
    study : Study
        With a phylogeny or given distances, unless ``loss.distance`` is 0 or the metric
        needs neither. A taxonomy (``taxonomy=`` of `load_study`) is learned, too.
    config : Config, str, path or mapping, optional
        A whole `Config`, or the name of a preset; or what changes the preset: a YAML file, or a
        mapping of ``section.field`` to value.
    preset : {'tiny', 'small', 'base', 'large'}, optional
        What to start from; 'small' by default, and of a run that is resumed its own configuration.
    output : path, optional
        Folder for the encoder, ``metrics.json``, ``logs/`` and plots.
    encoder : Model or path, optional
        Encoder to start from; its sizes replace those of ``config``.
    group_by : str or Series, optional
        Metadata column (or values by sample id): samples of a group stay on one side of the
        validation split.
    resume : path, optional
        Output folder of an earlier run to resume: its split holds, and its configuration where
        neither ``preset`` nor ``config`` names another. What is written goes to ``output``.
    accept_changed_inputs : bool
        Resume though reads, sequences, samples or other inputs of the run changed, which one line
        says; else that is refused. The split stays: new samples are not read.
    on_epoch : callable, optional
        Called with the epoch and its losses and metrics after each. What it raises ends the run.
    **settings
        Everyday settings, over all else, by the names of the command line's flags: ``epochs``,
        ``batch_size``, ``lr``, ``seed``, ``device`` ... (`aam_core.config.everyday`).

    Returns
    -------
    Model
        Of kind 'encoder', with the weights that are best on the validation samples.

    Raises
    ------
    InputError
        If the study lacks what the losses need, or has too few samples.
    """
    assert isinstance(config, Config)
    with recording() as notes:
        plan, group = plan_pretraining(
            study, config, output, encoder, group_by, resume, accept_changed_inputs
        )
        with cpu_threads(plan.config.train.threads):
            run = Run(plan, group)
            began = time.perf_counter()
            result = run.train(run.job(pretraining_batches(run), on_epoch=on_epoch))
            trained = time.perf_counter() - began
            run.log.info(f"trained in {duration(trained)}")
            drawings = _score(run, result)
            run.noted(run.model, notes)
            run.took(run.model, networks=trained, total=time.perf_counter() - began)
            run.save(run.model, drawings)
    return run.model


@configured("pretraining", saved_config)
def pretrain_nucleotides(
    sequences,
    *,
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    taxonomy=None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    **settings: Unpack[EverydaySettings],
) -> Model:
    """Pretrain the nucleotide level alone, on sequences without samples.

    Parameters
    ----------
    sequences : path or sequence of str
        As `aam_core.data.corpus.load_corpus` takes them.
    taxonomy : path, mapping, Series or DataFrame, optional
        Taxa of the sequences, as of `aam_core.data.taxonomy.read_taxonomy`, to learn as well.
    config, preset, output, resume, accept_changed_inputs, **settings
        As in `pretrain`. A "sample" of the batch size is 16 sequences.

    Returns
    -------
    Model
        Encoder without a distance head, for ``encoder=`` of `pretrain` or of a fit.
    """
    assert isinstance(config, Config)
    decided = config.adjust(_CORPUS)
    study = load_corpus(sequences)
    if taxonomy is not None:
        study = with_taxonomy(study, taxonomy)
        for line in study.report:
            labelled("pretrain").info(line)
    corpus = RunContext(
        "pretraining",
        corpus=True,
        taxonomy=taxonomy is not None,
        output=output is not None,
        split="" if resume is None else "the split of the run stays",
        **processes(decided),
    )
    for line in unused_settings(replace(decided, explicit=config.explicit), corpus):
        labelled("pretrain").info(line)
    return pretrain(
        study,
        # Reported above, as of a corpus: `pretrain` would name the settings a second time.
        config=decided.reported(),
        output=output,
        resume=resume,
        accept_changed_inputs=accept_changed_inputs,
    )


def pretraining_batches(run: Run) -> Batcher:
    """What makes the batches of a pretraining."""
    plan, config, head = run.plan, run.config, run.model.network.faith_pd
    batcher = Batcher(
        plan.study,
        config.data,
        config.train.seed,
        distances=plan.parts.distance,
        diversity=plan.parts.faith_pd,
        taxa=plan.taxa,
    )
    if head is not None and plan.checkpoint is None:  # a checkpoint has the values of its beginning
        head.fit(_diversity(batcher, plan.positions(plan.split.train)))
    return batcher


def _diversity(batcher: Batcher, samples: np.ndarray) -> torch.Tensor:
    """Faith's diversity of these samples, or of a random choice of them."""
    if len(samples) > _MOST_FITTED:
        samples = np.random.default_rng(batcher.seed).choice(samples, _MOST_FITTED, replace=False)
    # A batch is dense over the features of its samples.
    parts = np.array_split(samples, -(-len(samples) // 64))
    phylogeny = batcher.study.phylogeny
    return torch.cat([true_diversity(batcher.batch(part), phylogeny) for part in parts])


def _score(run: Run, result: TrainingResult) -> dict[str, Callable]:
    """Score the held-out samples, if any, by the weights that are saved.

    Returns
    -------
    dict
        The plots, for `Run.save`.
    """
    model, split = run.model, run.plan.split
    model.metrics = {"epoch": result.epoch}
    if not split.val:
        return {}
    counts = count_held_out(len(split.val), run.plan.val_groups)
    counts["folds"] = len(set(split.folds))
    model.metrics["held_out"] = counts
    values = {name.removeprefix("val/"): value for name, value in result.values.items()}
    model.metrics |= auxiliary_metrics(values)
    for name, text in _GOALS.items():
        if name in model.metrics:
            run.log.info("%s: %s", text, metrics_in_words(model.metrics[name]))
    # Two samples are a single pair, of which R2 is not defined.
    if not run.plan.parts.distance or len(split.val) < 3:
        return {}
    run.log.info("predicting the distances of held-out samples")
    pairs = held_out_distances(model, run.plan.study)
    metrics = regression_metrics(pairs["actual"], pairs["prediction"])
    model.metrics["distances"] = {"pairs": len(pairs), **metrics}
    run.log.info(
        "distances of %d pairs of %s: %s",
        len(pairs),
        held_out_in_words(counts),
        metrics_in_words(metrics),
    )
    title = run.config.figure.title or None
    given = run.plan.study.distances is not None
    label = "distance" if given else DISTANCE_NAMES[run.config.loss.metric]
    return {"val_distances": functools.partial(plots.distances, pairs, label=label, title=title)}


def held_out_distances(model: Model, study: Study) -> pd.DataFrame:
    """``actual`` and ``prediction`` of the distances between validation samples, a row a pair.

    Both are of the same draw of reads of the same, uncorrupted samples.
    """
    config, ids = model.config, model.val_samples
    if len(ids) > _MOST_SAMPLES:
        rng = np.random.default_rng(config.train.seed)
        ids = [ids[i] for i in np.sort(rng.choice(len(ids), _MOST_SAMPLES, replace=False))]
    actual, predicted = distances_of(model, study.select(ids))
    row, column = np.triu_indices(len(ids), 1)
    return pd.DataFrame({"actual": actual[row, column], "prediction": predicted[row, column]})


def distances_of(model: Model, study: Study) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted distances between all samples, both ``[N, N]``, of the same reads.

    The true ones are those of ``loss.metric``, or those that the study was given.
    """
    config = model.config
    predicted = sample_distances(model.network, study, config)
    no_vectors = torch.empty(len(study.feature_ids), 0)  # the distances need counts alone
    batcher = Batcher(study, config.data, config.train.seed, distances=True, asv_vectors=no_vectors)
    batch = batcher.batch(np.arange(len(study.sample_ids)))
    return true_distance(batch, study.phylogeny, config.loss).numpy(), predicted
