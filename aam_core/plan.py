"""From a study and options to the plan of a run: what is trained on what, checked beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from aam_core.config import Config
from aam_core.config.presets import fitting, pretraining
from aam_core.config.unused import learns_distances
from aam_core.data.columns import missing_words
from aam_core.data.covariates import Covariates, covariate_names, fit_covariates
from aam_core.data.fingerprint import fingerprint
from aam_core.data.fixed_splits import fixed_folds, fixed_split
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.log import labelled
from aam_core.model import Model, as_model
from aam_core.models.network import Parts
from aam_core.preparation import (
    check_columns,
    check_distances,
    column_notes,
    count_groups,
    describe_run,
    split_samples,
    splitter,
    unused,
    usable_samples,
    values_by_sample,
)
from aam_core.pretrained import sizes_in_words, with_sizes_of
from aam_core.resuming import Inputs, check_accepted, moved_samples, open_checkpoint, split_of
from aam_core.tasks import Task, task_from_dict, task_named
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.parallel import ProcessGroup, join_process_group

__all__ = ["FitOptions", "FitPlan", "OnEpoch", "Plan", "plan_fit", "plan_pretraining"]

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run trains on what, and where it writes: all that is decided before it starts.

    Attributes
    ----------
    study : Study
    config : Config
    split : Split
    parts : Parts
        Heads of the network.
    label : str
        What is being done: every line of the run starts with it.
    output : Path or None
        Nothing is written without one.
    task : Task or None
        None for a pretraining.
    covariates : Covariates or None
    encoder : Model or None
        Pretrained encoder to start from.
    freeze_encoder : bool
    checkpoint : Checkpoint or None
        What the run continues from.
    inputs : dict of Tensor or None
        Fingerprint of the inputs, for checkpoints.
    val_groups : int or None
        Number of groups of the validation samples, where samples are grouped.
    """

    study: Study
    config: Config
    split: Split
    parts: Parts
    label: str
    output: Path | None = None
    task: Task | None = None
    covariates: Covariates | None = None
    encoder: Model | None = None
    freeze_encoder: bool = False
    checkpoint: Checkpoint | None = None
    inputs: dict[str, torch.Tensor] | None = None
    val_groups: int | None = None

    @property
    def held_out(self) -> np.ndarray:
        """``[K, N]`` bool: the samples of the study that each member holds out."""
        return self.split.held_out(self.study.sample_ids, self.config.model.members)

    def positions(self, sample_ids: list[str]) -> np.ndarray:
        """Positions of samples in the study, int64."""
        place = {name: i for i, name in enumerate(self.study.sample_ids)}
        return np.array([place[name] for name in sample_ids], np.int64)


@dataclass(frozen=True)
class FitOptions:
    """What a fit takes beside its data; see `fitting.fit_regressor`."""

    encoder: Model | str | Path | None = None
    freeze_encoder: bool = False
    group_by: str | pd.Series | None = None
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None
    covariates: Sequence[str] = ()
    config: Config | str | None = None
    output: str | Path | None = None
    label: str | None = None
    resume: str | Path | None = None
    accept_changed_inputs: bool = False
    on_epoch: OnEpoch | None = None
    job: str = "train"
    """As in `config.unused.Setup`."""


class FitPlan(NamedTuple):
    """The plan of a fit, its processes, and its target's values by sample id."""

    plan: Plan
    group: ProcessGroup
    values: pd.Series


def plan_pretraining(
    study: Study,
    config: Config | str | None = None,
    output: str | Path | None = None,
    encoder: Model | str | Path | None = None,
    group_by: str | pd.Series | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    job: str = "train",
) -> tuple[Plan, ProcessGroup]:
    """The plan of a pretraining and its processes; see `pretraining.pretrain`."""
    check_accepted(accept_changed_inputs, resume)
    resumed, config = open_checkpoint("encoder", resume, config, pretraining)
    encoder = None if encoder is None else as_model(encoder)
    chosen = config.given
    alone = config.decide({"model.members": 1})  # others would have nothing to learn
    config = with_sizes_of(alone, encoder)
    parts = Parts(nucleotide=config.loss.nucleotide > 0, distance=config.loss.distance > 0)
    _check_losses(config, parts, resumed)
    if parts.distance:
        check_distances(study, config)
    groups = values_by_sample(study, group_by, "group_by")
    samples, dropped = usable_samples(study, config)
    now = fingerprint(study, distances=parts.distance, groups=groups, encoder=_weights(encoder))
    inputs = Inputs(now, resumed, accept_changed_inputs)
    group = join_process_group(config.train)
    changed = inputs.check(group)
    if resumed is None:
        split = split_samples(samples, config, groups, shared=True)
    else:
        split = split_of(resumed, samples, accept_changed_inputs)
    plan = Plan(
        study=study,
        config=config,
        split=split,
        parts=parts,
        label="pretrain",
        output=None if output is None else Path(output),
        encoder=encoder,
        checkpoint=resumed,
        inputs=inputs.tensors(),
        val_groups=_val_groups(groups, split, resumed),
    )
    setup = describe_run(
        "pretraining", study, config, job=job, encoder=bool(encoder), output=output is not None
    )
    setup = replace(setup, **_of_split(split, resumed, None))
    _say(
        plan.label,
        dropped,
        "" if groups is None else missing_words(groups, "a group"),
        changed,
        sizes_in_words(alone, config),
        *unused(study, replace(config, given=chosen), setup, groups),
    )
    return plan, group


def plan_fit(task_name: str, study: Study, target: str | pd.Series, options: FitOptions) -> FitPlan:
    """Split the samples, fit the target to them, and check all that is known before training."""
    check_accepted(options.accept_changed_inputs, options.resume)
    kind = task_named(task_name)
    resumed, asked = open_checkpoint(kind.model_kind, options.resume, options.config, fitting)
    encoder = None if options.encoder is None else as_model(options.encoder)
    options = replace(options, encoder=encoder)
    if options.freeze_encoder and encoder is None and resumed is None:
        raise InputError("A frozen encoder must be a pretrained one: name it (encoder).")
    config = with_sizes_of(asked, encoder)
    values, covariates = values_by_sample(study, target), covariate_names(options.covariates)
    groups = values_by_sample(study, options.group_by, "group_by")
    check_columns(values, groups, covariates, study.sample_ids)
    setup = describe_run(
        task_name,
        study,
        config,
        job=options.job,
        encoder=bool(encoder or (resumed and resumed.run["pretrained"])),
        frozen=options.freeze_encoder,
        covariates=bool(covariates),
        output=options.output is not None,
    )
    distances = learns_distances(config, setup)
    if distances:
        check_distances(study, config)
    samples, dropped = usable_samples(study, config)
    group = join_process_group(config.train)
    every_value, values = values, values.reindex(samples)
    changed, inputs = "", None
    if resumed is None:
        split = _new_split(kind, study, values, options, config)
    else:
        inputs = _inputs(study, every_value, groups, kind, options, distances, resumed)
        changed = inputs.check(group, _moved(resumed, samples, options.split))
        split = split_of(resumed, samples, options.accept_changed_inputs)
    values = values.loc[list(dict.fromkeys([*split.train, *split.val]))]
    task = kind.fit(values, split.train, config.loss)
    encoded = fit_covariates(study.metadata, covariates, split.train)
    if resumed is None:
        inputs = _inputs(study, every_value, groups, kind, options, distances, None, encoded)
    elif options.accept_changed_inputs or inputs.before is not None:
        # They are the same, or accepted: what is a standard deviation, and which class is which,
        # is as the network learned it.
        task, encoded = _as_before(resumed, task, encoded)
    plan = Plan(
        study=study,
        config=config,
        split=split,
        parts=Parts(
            distance=distances,
            outputs=task.outputs,
            sizes=encoded.sizes if encoded else (),
            numbers=len(encoded.numeric) if encoded else 0,
        ),
        label=options.label or task_name,
        output=None if options.output is None else Path(options.output),
        task=task,
        covariates=encoded,
        encoder=encoder,
        freeze_encoder=options.freeze_encoder,
        checkpoint=resumed,
        inputs=inputs.tensors(),
        val_groups=_val_groups(groups, split, resumed),
    )
    notes = []
    if options.label is None:  # else whoever made the folds has said it
        notes = column_notes(study, values, options.group_by, covariates, kind)
        notes.append(f"covariates: {encoded}" if encoded else "")
    setup = replace(setup, **_of_split(split, resumed, options.split))
    _say(
        plan.label,
        dropped,
        task.summary(values),
        *notes,
        changed,
        sizes_in_words(asked, config),
        *unused(study, config, setup, groups),
    )
    return FitPlan(plan, group, values)


def _say(label: str, *lines: str) -> None:
    log = labelled(label)
    for line in lines:
        if line:
            log.info(line)


def _check_losses(config: Config, parts: Parts, resumed: Checkpoint | None) -> None:
    """Refuse a pretraining that has nothing to learn."""
    if not (parts.nucleotide or parts.distance):
        raise InputError("Both penalties are 0: there is nothing to pretrain.")
    if resumed is None and parts.nucleotide and config.model.encoder.features == "profile":
        raise InputError(
            "model.encoder.features is 'profile', which has no weights that masked nucleotides "
            "could train: set it to 'bases' or 'both', or loss.nucleotide to 0."
        )
    if parts.nucleotide and config.masking.mask_ratio == 0:
        raise InputError("masking.mask_ratio is 0: there are no nucleotides to learn.")


def _inputs(study, values, groups, kind, options, distances, resumed, covariates=None) -> Inputs:
    """The inputs of a fit; covariates are compared as the types that they had in the first run."""
    if resumed is not None and resumed.run["covariates"] is not None:
        covariates = Covariates.from_dict(resumed.run["covariates"])
    numeric = {item[0] for item in covariates.numeric} if covariates else set()
    now = fingerprint(
        study,
        distances=distances,
        target=kind.comparable(values),
        groups=groups,
        covariates={name: name in numeric for name in covariate_names(options.covariates)},
        encoder=_weights(options.encoder),
    )
    return Inputs(now, resumed, options.accept_changed_inputs)


def _weights(encoder: Model | None) -> dict[str, np.ndarray] | None:
    if encoder is None:
        return None
    return {name: value.cpu().numpy() for name, value in encoder.network.state_dict().items()}


def _val_groups(groups, split: Split, resumed: Checkpoint | None) -> int | None:
    """Number of groups of the validation samples; a resumed run knows it from its beginning."""
    if groups is not None:
        return count_groups(groups, split.val)
    return None if resumed is None else resumed.run.get("val_groups")


def _moved(resumed: Checkpoint, samples, split) -> str:
    """A clause on samples that a given split has elsewhere than that of the run."""
    if split is None:
        return ""
    split = split if isinstance(split, Split) else Split.holdout(*split)
    return moved_samples(resumed, split, samples)


def _as_before(resumed: Checkpoint, task: Task, covariates):
    """Target and covariates as the first run encodes them, where they are the same columns."""
    before = task_from_dict(resumed.run["target"]) if resumed.run["target"] else task
    if (type(before), before.column) == (type(task), task.column):
        task = before
    if covariates is not None and resumed.run["covariates"] is not None:
        theirs = Covariates.from_dict(resumed.run["covariates"])
        if sorted(theirs.names) == sorted(covariates.names):
            covariates = theirs
    return task, covariates


def _of_split(split: Split, resumed: Checkpoint | None, given) -> dict:
    """Fields of a `Setup`: whether there are validation samples, and who decided on them."""
    why = "the split is given" if given is not None else ""
    if resumed is not None:
        why = "the split of the run stays"
    return {"validates": bool(split.val), "split": why}


def _new_split(kind: type[Task], study, values, options: FitOptions, config: Config) -> Split:
    """The given split, or one that honours groups and classes."""
    if options.split is not None:
        members = config.model.members
        return _given_split(options.split, study.sample_ids, list(values.index), members)
    kind.check(values, splits=config.train.val_fraction > 0)
    strata = kind.strata(values)
    groups = values_by_sample(study, options.group_by, "group_by")
    split = splitter(config, freeze_encoder=options.freeze_encoder)  # sizes are resolved already
    return split(list(values.index), groups=groups, strata=strata)


def _given_split(given, samples, usable, members) -> Split:
    """The usable samples of a split; the others have too few reads, which is said elsewhere."""
    if not isinstance(given, Split):
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise InputError("A split must be a Split, or the pair (train_ids, val_ids).")
        given = Split.holdout(*fixed_split(samples, *given))
    split = fixed_folds(samples, given, members)
    deep = set(usable)
    train = [name for name in split.train if name in deep]
    fold = {name: n for name, n in zip(split.val, split.folds, strict=True) if name in deep}
    if split.val and not fold:
        raise InputError(
            f"The validation side of the split is empty: none of its {len(split.val)} samples has "
            "enough reads."
        )
    return fixed_folds(usable, Split(train, list(fold), list(fold.values())), members)
