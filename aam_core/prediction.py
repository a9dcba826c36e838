"""Model + table -> predictions in the target's units, and how much of the table the model knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.data.ids import listing
from aam_core.data.known_asvs import Comparison, KnownASVs
from aam_core.data.study import Study, load_study
from aam_core.ensemble.forward import CHUNK, check_passes, sample_distances
from aam_core.ensemble.novelty import warning as warn_of_far
from aam_core.errors import InputError
from aam_core.log import logger, note
from aam_core.model import Model, as_model
from aam_core.target_frames import target_frames
from aam_core.tasks.prediction_columns import IN_TRAINING, NOVELTY

__all__ = [
    "as_predictor",
    "as_study",
    "override",
    "predict",
    "predict_batches",
    "predicted_distances",
    "trained_on",
]

_LARGE = 1e9
"""Bytes of a distance matrix from which a line says how many they are."""


def predict(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
    confidence: float | None = None,
    passes: int | None = None,
) -> pd.DataFrame:
    """Predict a metadata column.

    Lines on how much of the table the model knows go to the logger ``aam_core``.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier.
    table : Study, path, biom.Table, DataFrame or AnnData
        Samples; their ASVs need not have been trained on.
    sequences : path, dict or Series, optional
        Sequences of the features, where their ids are not.
    metadata : path or DataFrame, optional
        For a model that reads columns of it: covariates, and those of `Model.columns`. A warning
        counts the samples whose category did not occur in training.
    batch_size : int, optional
        Samples at a time; the numbers do not depend on it.
    device, precision, long_sequences : str, optional
        As in the configuration, which they replace.
    confidence : float, optional
        In (0, 1): with which probability the interval of a regressor holds the value (0.9 where not
        given); of a classifier, the set of classes, which is predicted where it is given.
    passes : int, optional
        Times that each sample is predicted, with other random ASVs or reads, where the model draws
        them: the mean is predicted, and ``prediction_sd`` is the standard deviation (of a
        classifier, of the predicted class's probability). As in the fit where not given.

    Returns
    -------
    DataFrame
        Index ``sample-id``, every sample with reads, in the table's order. Of a regressor:
        ``prediction`` in the target's units, and ``lower`` and ``upper``, the prediction interval
        (absent where no samples were held out); of several targets, each of these begins with the
        target's name (``age_prediction``). Of a classifier: ``prediction``, a column of
        probabilities per class and, where a confidence is given, ``prediction_set``: the classes
        that the sample may be of, joined by '|'. Then ``known_reads``, the share
        of the sample's reads in ASVs that the model was fitted on, ``known_kmers``, the mean share
        of a read's 12-mers that occur in those; ``novelty``, the share of held-out samples that are
        no farther from the training samples, as the networks see them or by their ASVs; and
        ``in_training``, whether the model was trained or validated on a sample of this id; each
        absent where the model does not tell it.

    Raises
    ------
    InputError
        If the model is an encoder, or the table or model cannot be used.
    """
    model = as_predictor(model)
    study = as_study(table, sequences=sequences, metadata=metadata)
    frames = predict_batches(
        model,
        study,
        batch_size=batch_size,
        device=device,
        precision=precision,
        long_sequences=long_sequences,
        confidence=confidence,
        passes=passes,
    )
    return pd.concat(frames)


def predict_batches(
    model,
    study: Study,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
    confidence: float | None = None,
    passes: int | None = None,
    chunk: int = CHUNK,
) -> Iterator[pd.DataFrame]:
    """Predict a metadata column, some samples at a time, however many there are.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier; not to be used otherwise until the last sample is predicted.
    study : Study
        Samples; their ASVs need not have been trained on.
    batch_size, device, precision, long_sequences, confidence, passes
        As in `predict`.
    chunk : int
        Samples in each part; the numbers do not depend on it.

    Returns
    -------
    iterator of DataFrame
        Parts of what `predict` returns, in the table's order.

    Raises
    ------
    InputError
        As `predict`; at the call, before the first part is asked for.
    """
    model = as_predictor(model)
    config = override(model.config, device, precision, long_sequences)
    if passes is not None:
        config = config.replace({"ensemble.passes": passes})
        check_passes(study, config)
        alike = all(it.forest is not None and it.network_weight == 0 for it in model.each)
        if passes > 1 and alike:
            raise InputError(
                f"{passes} passes would all predict the same: the blend weight of the networks is "
                "0, and the forest reads all of a sample. Leave passes out (--passes)."
            )
    # First, as it checks the inputs at the call; the forward passes wait for the first part.
    options = (study, config, batch_size, chunk)
    # One tells it of all: the targets share the networks.
    each = {
        it.task.column: target_frames(it, *options, confidence=confidence, novelty=number == 0)
        for number, it in enumerate(model.each)
    }
    frames = _side_by_side(each) if model.more else each[model.task.column]
    for line in dict.fromkeys(line for it in model.each for line in _shortages(it, confidence)):
        logger.warning(line)
    familiarity = _Familiarity.of(model, study)
    for line in familiarity.notes:
        note(line)
    for line in dict.fromkeys(familiarity.warnings):  # several targets may share one
        logger.warning(line)
    return familiarity.joined(frames)


def _shortages(model: Model, confidence: float | None) -> list[str]:
    """Sentences where too few samples were held out for a confidence."""
    lines = [
        one.scores.shortage(one.coverage if confidence is None else confidence)
        for one in model.intervals
        if one.scores is not None
    ]
    if model.sets is not None and confidence is not None:
        lines.append(model.sets.scores.shortage(confidence))
    return [line for line in lines if line]


def _side_by_side(targets: dict[str, Iterator[pd.DataFrame]]) -> Iterator[pd.DataFrame]:
    """Tables of several targets as one, whose columns start with the targets' names."""
    for frames in zip(*targets.values(), strict=True):
        named = zip(targets, frames, strict=True)
        parts = [
            frame.add_prefix(f"{name}_").rename(columns={f"{name}_{NOVELTY}": NOVELTY})
            for name, frame in named
        ]
        yield pd.concat(parts, axis=1)


def predicted_distances(
    model,
    table,
    *,
    sequences=None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
) -> pd.DataFrame:
    """Distances between samples, such as UniFrac, as a model predicts them: without a tree.

    They are those of ``loss.metric`` of the pretraining, of reads that are drawn as in it (1,000 of
    each sample by default), by seed: the same at each call.

    Parameters
    ----------
    model : Model or path
        Encoder pretrained with distances, or a fit that learned them with its target.
    table, sequences, batch_size, device, precision, long_sequences
        As in `predict`.

    Returns
    -------
    DataFrame
        ``[N, N]`` float32, zero on the diagonal, symmetric; in [0, 1] but for distances without an
        upper bound, such as weighted UniFrac. For ``skbio.DistanceMatrix`` and
        ``aam_core.embedding.ordinate``. Beside these 4 N^2 bytes some hundred MB are taken,
        whatever N; a line says so where they come to more than 1 GB.

    Raises
    ------
    InputError
        If the model learned no distances, or the table cannot be used.
    """
    model = as_model(model)
    if model.network.distance is None:
        raise InputError(
            f"This {model.kind} has no distance head: it was trained without distances. Pretrain "
            "an encoder with a tree or distances (aam pretrain), or fit with loss.distance above 0."
        )
    study = as_study(table, sequences=sequences)
    config = override(model.config, device, precision, long_sequences)
    samples = len(study.sample_ids)
    if 4 * samples**2 > _LARGE:
        logger.info(
            f"distances between {samples:,} samples take {4 * samples**2 / 1e9:.1f} GB of memory"
        )
    distances = sample_distances(model.network, study, config, batch_size)
    return pd.DataFrame(distances, index=study.sample_ids, columns=study.sample_ids)


def as_study(table, **files) -> Study:
    """A `Study`, read if it is not one yet.

    Raises
    ------
    InputError
        If a study comes with files that it should have been read with.
    """
    if not isinstance(table, Study):
        return load_study(table, **files)
    names = [name for name, value in files.items() if value is not None]
    if names:
        raise InputError(f"Give the {' and '.join(names)} to load_study: a study is complete.")
    return table


def override(
    config: Config,
    device: str | None = None,
    precision: str | None = None,
    long_sequences: str | None = None,
) -> Config:
    """The configuration with what is not None.

    The device of the training is not that of the prediction, which is often on another machine.
    """
    changes = {
        "train.device": device or "auto",
        "train.precision": precision,
        "data.long_sequences": long_sequences,
    }
    return config.replace({k: v for k, v in changes.items() if v is not None})


def trained_on(samples: list[str], seen: np.ndarray) -> str:
    """A warning on samples of which the model has ``seen`` [N] some."""
    both = [samples[i] for i in np.flatnonzero(seen)]
    return (
        f"{len(both):,} of these {len(samples):,} samples (by id) are ones that the model "
        f"was trained or validated on ({listing(both)}): their metrics are too good"
    )


@dataclass(frozen=True, eq=False)
class _Familiarity:
    """How much of the samples of a study a model knows.

    Attributes
    ----------
    comparison : Comparison or None
        Of its ASVs; None where the model does not tell.
    in_training : ndarray or None
        [N] bool, as `IN_TRAINING`; None where the model does not tell.
    classes : tuple of str
        Columns of probabilities.
    notes, warnings : list of str
        Lines to log.
    """

    comparison: Comparison | None
    in_training: np.ndarray | None
    classes: tuple[str, ...]
    notes: list[str]
    warnings: list[str]

    @classmethod
    def of(cls, model: Model, study: Study) -> _Familiarity:
        """Compare a study with what a regressor or classifier was fitted on."""
        known = model.known
        notes: list[str] = []
        warnings: list[str] = []
        if known is None:
            saved = "an earlier AAM saved this model"
            if model.forest is None or not model.forest.sequences:
                notes.append(f"{saved}: which ASVs it was fitted on is not known")
            else:
                notes.append(
                    f"{saved}: of the ASVs that it was fitted on those of its forest are known"
                )
                known = KnownASVs.of(model.forest.sequences)
        comparison = None if known is None else known.compare(study)
        if comparison is not None:
            notes.append(comparison.note())
            warnings += filter(None, [comparison.warning()])
        if model.covariates is not None and study.metadata is not None:
            warnings += model.covariates.unseen(study.metadata)
        for one in model.each:
            warnings += one.task.unseen(study.metadata)
            if one.scores is not None and one.scores.by and study.metadata is not None:
                warnings += filter(None, [one.scores.pooled(study.metadata)])
        trained = model.trained_samples
        seen = np.array([name in trained for name in study.sample_ids]) if trained else None
        if seen is not None and seen.any():
            warnings.append(trained_on(study.sample_ids, seen))
        return cls(comparison, seen, model.task.classes, notes, warnings)

    def joined(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Predictions of the samples, in their order, with columns of what is known of each."""
        start, novelty = 0, []
        for frame in frames:
            if NOVELTY in frame and NOVELTY not in self.classes:
                novelty.append(frame[NOVELTY].to_numpy())
            rows = slice(start, start + len(frame))
            columns = {} if self.comparison is None else self.comparison.columns(rows)
            if self.in_training is not None:
                columns[IN_TRAINING] = self.in_training[rows]
            # A class of a model that an earlier AAM saved may have such a name.
            yield frame.assign(**{k: v for k, v in columns.items() if k not in self.classes})
            start = rows.stop
        line = warn_of_far(np.concatenate(novelty)) if novelty else ""
        if line:
            logger.warning(line)


def as_predictor(model) -> Model:
    """A `Model` that has a target, opened if a folder was given.

    Raises
    ------
    InputError
        For an encoder.
    """
    model = as_model(model)
    if model.target is None:
        raise InputError(
            "This model is an encoder, which predicts no metadata: fit it first "
            "(aam fit-regressor or fit-classifier with --encoder)."
        )
    return model
