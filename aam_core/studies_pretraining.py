"""Pretrain the network of a fit on many studies at once: their metadata columns.

Each column is learned in its own study by a head of its own, from sample vectors that all share.
Studies that are held out whole tell what the vectors are worth elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aam_core.config import Config
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.batches import Batcher
from aam_core.data.fingerprint import fingerprint
from aam_core.data.splits import Split
from aam_core.data.studies import Studies, split_studies
from aam_core.ensemble.forward import forward_chunks
from aam_core.errors import InputError, first_five
from aam_core.log import duration, labelled, note, recording
from aam_core.model import Model, load_model
from aam_core.models.network import Network, Parts
from aam_core.plan import OnEpoch, Plan
from aam_core.preparation import bounded, check_distances, describe_run, unused, usable_samples
from aam_core.resuming import Inputs, check_accepted, open_checkpoint, saved_config, split_of
from aam_core.run import Run, fixed_vectors
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.launch.devices import on_devices
from aam_core.training.parallel import ProcessGroup, join_process_group
from aam_core.training.precision import cpu_threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["pretrain_studies"]

_LEAST_KNOWN = 20
"""Samples with a value, of a held-out study, from which a column is predicted from the vectors."""

_FOLDS = 5
"""Folds of that prediction."""


@configured("studies", saved_config)
@on_devices(load_model)
def pretrain_studies(
    studies: Studies,
    *,
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    held_out: Sequence[str] | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    on_epoch: OnEpoch | None = None,
    **settings: Unpack[EverydaySettings],
) -> Model:
    """Pretrain an encoder on many studies: what their metadata columns have to do with the reads.

    Parameters
    ----------
    studies : Studies
        Of `load_studies`, with metadata columns of at least one study.
    config, preset, resume, accept_changed_inputs, on_epoch, **settings
        As in `pretrain`. The network is that of a fit; its members are for those of a fit that read
        no random Fourier features.
    output : path, optional
        Folder for the encoder, ``metrics.json``, ``logs/`` and plots.
    held_out : list of str, optional
        Studies (or one of each cohort) that are not trained on, but tell what the encoder is worth;
        by default the share ``train.val_fraction`` of the studies, by chance. Of a run that is
        resumed its own.

    Returns
    -------
    Model
        Of kind 'encoder', for ``encoder=`` of a fit, with the weights of the last epoch.
        ``metrics["columns"]`` says how well columns of held-out studies are predicted from the
        vectors, and from those of the network before it was trained.

    Raises
    ------
    InputError
        If no study that is trained on has a column to learn, or a held-out name is no study.
    """
    assert isinstance(config, Config)
    with recording() as notes:
        plan, group, probed = _plan(
            studies, config, output, held_out, resume, accept_changed_inputs
        )
        trained_on = studies.without(probed) if probed else studies
        with cpu_threads(plan.config.train.threads):
            run = Run(plan, group)
            run.model.run["studies"] = trained_on.to_dict()
            run.model.run["held_out_studies"] = probed
            # Not that of a run that is resumed, which is trained already.
            untrained = run.untrained()
            before = _probe(untrained, studies.only(probed), plan.config) if probed else {}
            began = time.perf_counter()
            job = run.job(_batches(run, trained_on), on_epoch=on_epoch)
            result = run.train(replace(job, source=trained_on.source))
            trained = time.perf_counter() - began
            run.log.info(f"trained in {duration(trained)}")
            run.model.metrics = {"epoch": result.epoch}
            if probed:
                after = _probe(run.model.network, studies.only(probed), plan.config)
                run.model.metrics["columns"] = _compared(before, after, run)
            run.noted(run.model, notes)
            run.took(run.model, networks=trained, total=time.perf_counter() - began)
            run.save(run.model, {})
    return run.model


def _plan(
    studies: Studies,
    config: Config,
    output: str | Path | None,
    held_out: Sequence[str] | None,
    resume: str | Path | None,
    accept: bool,
) -> tuple[Plan, ProcessGroup, list[str]]:
    """The plan, the processes, and the names of the studies that are held out."""
    check_accepted(accept, resume)
    resumed, config = open_checkpoint("encoder", resume, config)
    probed = _held_out(studies, config, held_out, resumed)
    trained_on = studies.without(probed) if probed else studies
    study = trained_on.study
    context = describe_run(
        "pretraining",
        study,
        config,
        studies=True,
        validates=False,
        split=_why_not_drawn(held_out, resume),
        output=output is not None,
    )
    parts = _parts(trained_on, config)
    samples, dropped = usable_samples(study, config)
    columns = _values(trained_on)
    labels = pd.Series([row.tobytes().hex() for row in columns], index=study.sample_ids)
    now = fingerprint(study, distances=parts.distance, target=labels)
    inputs = Inputs(now, resumed, accept)
    group = join_process_group(config.train)
    changed = inputs.check(group)
    split = Split(samples, [], []) if resumed is None else split_of(resumed, samples, accept)
    plan = Plan(
        study=study,
        config=config,
        split=split,
        parts=parts,
        label="pretrain",
        output=None if output is None else Path(output),
        checkpoint=resumed,
        inputs=inputs.tensors(),
        held_out_studies=tuple(probed),
    )
    log = labelled(plan.label)
    without = f"held out: {_counted(len(probed))}, {first_five(probed)}"
    if not probed:
        why = "" if len(set(studies.cohorts)) > 1 else ": all are of one cohort"
        without = f"no study is held out{why}; nothing tells what the encoder is worth elsewhere"
    lines = [str(trained_on).splitlines()[0], without, dropped, changed]
    for line in (*lines, *unused(study, config, context)):
        if line:
            note(line, log)
    return plan, group, probed


def _held_out(
    studies: Studies,
    config: Config,
    held_out: Sequence[str] | None,
    resumed: Checkpoint | None,
) -> list[str]:
    """Names of the studies that are not trained on: given, of the run that is resumed, or drawn."""
    given = None if held_out is None else studies.with_siblings(held_out)
    if resumed is not None:
        before = list(resumed.run.get("held_out_studies", []))
        if given is not None and set(given) != set(before):
            raise InputError(
                f"The run that is resumed holds out {first_five(before) or 'no study'}, and here "
                f"{first_five(given)} are to be held out: leave them out, or start a new run."
            )
        return studies.with_siblings(before) if before else []
    if given is not None:
        return given
    if len(set(studies.cohorts)) < 2:
        return []
    return split_studies(studies, config.train.val_fraction, config.train.seed)


def _why_not_drawn(held_out: Sequence[str] | None, resume: str | Path | None) -> str:
    """Why ``train.val_fraction`` draws no studies; empty where it does."""
    if resume is not None:
        return "the studies that the run holds out stay"
    return "" if held_out is None else "the studies that are held out are given"


def _parts(studies: Studies, config: Config) -> Parts:
    """The heads of the network: what is learned of many studies, and of any samples.

    Raises
    ------
    InputError
        If there is none, or the studies lack what one needs.
    """
    loss = config.loss
    columns = () if loss.columns == 0 else _sizes(studies)
    parts = Parts(
        columns=columns,
        presence=loss.presence > 0,
        halves=loss.halves > 0,
        nucleotide=loss.nucleotide > 0,
        distance=loss.distance > 0,
        count=loss.count > 0,
        unbounded=loss.distance > 0 and not bounded(config),
    )
    if parts == Parts():
        raise InputError(
            "All losses have weight 0 (loss.columns, loss.presence, loss.halves, loss.count, "
            "loss.distance, loss.nucleotide): nothing is pretrained."
        )
    if parts.presence and (parts.distance or parts.count):
        raise InputError(
            "loss.presence hides ASVs from all that is read of a sample: learn distances and "
            "abundances (loss.distance, loss.count) in a pretraining without it."
        )
    if parts.halves and (parts.presence or parts.distance or parts.count):
        raise InputError(
            "loss.halves reads halves of samples, not these: learn hidden ASVs, distances and "
            "abundances (loss.presence, loss.distance, loss.count) in a pretraining without it."
        )
    if config.model.encoder.codes:
        raise InputError(
            f"model.encoder.codes is {config.model.encoder.codes}: members with random Fourier "
            "features do not start from an encoder of many studies. Set it to 0."
        )
    if parts.nucleotide and config.model.encoder.features == "profile":
        raise InputError(
            "model.encoder.features is 'profile', which has no weights that masked nucleotides "
            "could train: set it to 'bases' or 'both', or loss.nucleotide to 0."
        )
    if parts.distance:
        check_distances(studies.study, config)
    return parts


def _sizes(studies: Studies) -> tuple[int, ...]:
    """Outputs of each column that is learned.

    Raises
    ------
    InputError
        If there is none.
    """
    if not studies.columns:
        raise InputError(
            f"None of {len(studies)} studies that are trained on has a metadata column to learn: "
            "give metadata with numbers or classes of 20 samples at least, or hold out others."
        )
    return tuple(max(1, len(column.classes)) for column in studies.columns)


def _values(studies: Studies) -> np.ndarray:
    """``[N, M]`` float32 values of all columns, NaN where unknown."""
    values = np.full((len(studies.study.sample_ids), len(studies.columns)), np.nan, np.float32)
    for place, column in enumerate(studies.columns):
        known = column.known
        rows = studies.rows(column.study)[known]
        values[rows, place] = column.values[known]
    return values


def _batches(run: Run, studies: Studies) -> Batcher:
    config = run.config
    sizes = run.plan.parts.columns
    fixed = fixed_vectors(run) if run.model.network.bases is None else None
    return Batcher(
        run.plan.study,
        config.data,
        config.train.seed,
        distances=run.plan.parts.distance,
        asv_vectors=fixed,
        columns=(_values(studies), sizes) if sizes else None,
        source=studies.source,
    )


def _probe(network: Network, studies: Studies, config: Config) -> dict[tuple[str, str], float]:
    """R2 of each column of these studies, predicted from the sample vectors by ridge regression.

    Out of fold, of `_FOLDS` random folds; of classes the mean of the R2 of each class's indicator.

    Returns
    -------
    dict
        By the names of study and column.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    scores = {}
    for place, name in enumerate(studies.names):
        rows = studies.rows(place)
        study = studies.study.select([studies.study.sample_ids[row] for row in rows])
        vectors = _vectors(network, study, config)
        for column in studies.columns_of(place):
            known = column.known
            if known.sum() < _LEAST_KNOWN:
                continue
            truth = column.values[known]
            if column.classes:
                truth = (truth[:, None] == np.unique(truth)).astype(float)
            folds = KFold(_FOLDS, shuffle=True, random_state=config.train.seed)
            ridge = RidgeCV(np.logspace(-2, 4, 13))
            predicted = cross_val_predict(ridge, vectors[known], truth, cv=folds)
            error = np.square(predicted - truth).mean(axis=0)
            scores[name, column.name] = float(np.mean(1 - error / truth.var(axis=0)))
    return scores


def _vectors(network: Network, study: Any, config: Config) -> np.ndarray:
    """``[N, K D]`` sample vectors of all members, each standardized."""
    parts = forward_chunks(network, study, config, ("samples",))
    vectors = np.concatenate([part["samples"].numpy() for part in parts])
    vectors = vectors.reshape(len(vectors), -1).astype(np.float64)
    return (vectors - vectors.mean(axis=0)) / vectors.std(axis=0).clip(1e-6)


def _compared(
    before: dict[tuple[str, str], float], after: dict[tuple[str, str], float], run: Run
) -> dict[str, Any]:
    """What ``metrics.json`` has of the held-out studies; a line says it."""
    if not after:
        run.log.info("held-out studies have no column with enough values")
        return {"columns": 0}
    r2 = {"before": np.mean([*before.values()]), "after": np.mean([*after.values()])}
    better = sum(after[key] > before[key] for key in after)
    studies = len({study for study, _ in after})
    run.log.info(
        "%d columns of %s held out from the sample vectors: mean R2 %.3f, before the "
        "training %.3f; better for %d",
        *(len(after), _counted(studies), r2["after"], r2["before"], better),
    )
    return {
        "columns": len(after),
        "studies": studies,
        "r2": round(float(r2["after"]), 4),
        "r2_untrained": round(float(r2["before"]), 4),
        "better": better,
    }


def _counted(studies: int) -> str:
    return f"{studies} {'study' if studies == 1 else 'studies'}"
