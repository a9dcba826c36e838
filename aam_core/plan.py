"""From a study and options to the plan of a run: what is trained on what, checked beforehand."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from aam_core.config import Config
from aam_core.config.fields import names_in
from aam_core.config.unused import (
    RunContext,
    learns_counts,
    learns_distances,
    learns_nucleotides,
    learns_taxonomy,
)
from aam_core.data.columns import missing_words
from aam_core.data.covariates import Covariates, covariate_names, fit_covariates
from aam_core.data.fingerprint import fingerprint
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.data.taxonomy import Taxa
from aam_core.ensemble.forward import check_passes
from aam_core.errors import InputError
from aam_core.log import labelled, note
from aam_core.model import Model, as_model
from aam_core.models.network import Parts
from aam_core.prediction import trained_on
from aam_core.preparation import (
    bounded,
    check_columns,
    check_distances,
    check_diversity,
    check_interval_groups,
    check_output,
    check_several,
    chosen_split,
    column_notes,
    columns_of,
    count_groups,
    describe_run,
    given_split,
    share_note,
    split_note,
    split_samples,
    splitter,
    strata_of,
    targets_by_sample,
    unused,
    usable_samples,
    values_by_sample,
)
from aam_core.pretrained import (
    model_to_go_on_from,
    sizes_in_words,
    with_sizes_of,
    with_sizes_of_model,
)
from aam_core.resuming import Inputs, check_accepted, moved_samples, open_checkpoint, split_of
from aam_core.tasks import Targets, Task, task_from_dict, task_named
from aam_core.tasks.losses import sample_weights
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
    task : Task, Targets or None
        None for a pretraining.
    covariates : Covariates or None
    encoder : Model or None
        Pretrained encoder to start from.
    init_from : Model or None
        Fitted model that goes on training as a whole.
    freeze_encoder : bool
    checkpoint : Checkpoint or None
        What the run continues from.
    inputs : dict of Tensor or None
        Fingerprint of the inputs, for checkpoints.
    groups : Series or None
        Group of each sample, where samples are grouped.
    val_groups : int or None
        Number of groups of the validation samples; a resumed run knows it without ``groups``.
    taxa : Taxa or None
        Classes of the taxonomy, where a pretraining learns one.
    group_by : str or None
        What the samples are grouped by.
    given_split : bool
        Whether the split was given, not drawn.
    held_out_studies : tuple of str
        Of a pretraining on many studies.
    """

    study: Study
    config: Config
    split: Split
    parts: Parts
    label: str
    output: Path | None = None
    task: Task | Targets | None = None
    covariates: Covariates | None = None
    encoder: Model | None = None
    init_from: Model | None = None
    freeze_encoder: bool = False
    checkpoint: Checkpoint | None = None
    inputs: dict[str, torch.Tensor] | None = None
    groups: pd.Series | None = None
    val_groups: int | None = None
    taxa: Taxa | None = None
    group_by: str | None = None
    given_split: bool = False
    held_out_studies: tuple[str, ...] = ()

    @property
    def held_out(self) -> np.ndarray:
        """``[K, N]`` bool: the samples of the study that each member holds out."""
        return self.split.held_out(self.study.sample_ids, self.config.model.members)

    def groups_of(self, held_out: list[str]) -> int | None:
        """Number of groups of validation samples: all, or those that have a value of a target."""
        if self.groups is not None:
            return count_groups(self.groups, held_out)
        return self.val_groups if len(held_out) == len(self.split.val) else None

    def positions(self, sample_ids: list[str]) -> np.ndarray:
        """Positions of samples in the study, int64."""
        place = {name: i for i, name in enumerate(self.study.sample_ids)}
        return np.array([place[name] for name in sample_ids], np.int64)


@dataclass(frozen=True)
class FitOptions:
    """What a fit takes besides its data; see `fitting.fit_regressor`."""

    config: Config
    encoder: Model | str | Path | None = None
    init_from: Model | str | Path | None = None
    freeze_encoder: bool = False
    group_by: str | pd.Series | None = None
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None
    covariates: Sequence[str] = ()
    output: str | Path | None = None
    label: str | None = None
    resume: str | Path | None = None
    accept_changed_inputs: bool = False
    on_epoch: OnEpoch | None = None
    job: str = "train"
    """As in `config.unused.RunContext`."""


class FitPlan(NamedTuple):
    """The plan of a fit, its processes, its task, and the target's values by sample id.

    Of several targets the values are a data frame, NaN where one is missing.
    """

    plan: Plan
    group: ProcessGroup
    task: Task | Targets
    values: pd.Series | pd.DataFrame


def plan_pretraining(
    study: Study,
    config: Config,
    output: str | Path | None = None,
    encoder: Model | str | Path | None = None,
    group_by: str | pd.Series | None = None,
    resume: str | Path | None = None,
    accept_changed_inputs: bool = False,
    job: str = "train",
) -> tuple[Plan, ProcessGroup]:
    """The plan of a pretraining and its processes; see `pretraining.pretrain`."""
    check_accepted(accept_changed_inputs, resume)
    resumed, config = open_checkpoint("encoder", resume, config)
    # Its losses are not those of one study: what follows would say that there are none.
    if resumed is not None and any(
        map(resumed.run["parts"].get, ("columns", "presence", "halves"))
    ):
        raise InputError(
            "The run that is resumed learns from many studies, and here is one: give its studies."
        )
    encoder = None if encoder is None else as_model(encoder)
    chosen = config.explicit
    alone = config.adjust({"model.members": 1})  # others would have nothing to learn
    config = with_sizes_of(alone, encoder)
    context = describe_run(
        "pretraining", study, config, job=job, encoder=bool(encoder), output=output is not None
    )
    parts = Parts(
        nucleotide=config.loss.nucleotide > 0,
        distance=config.loss.distance > 0,
        count=config.loss.count > 0,
        faith_pd=config.loss.faith_pd > 0,
        unbounded=config.loss.distance > 0 and not bounded(config),
    )
    taxonomy = learns_taxonomy(config, context)
    _check_losses(config, parts, taxonomy, resumed, encoder is not None)
    if parts.distance:
        check_distances(study, config)
    if parts.faith_pd:
        check_diversity(study)
    groups = values_by_sample(study, group_by, "group_by")
    samples, dropped = usable_samples(study, config)
    now = fingerprint(
        study,
        distances=parts.distance,
        tree=parts.faith_pd,
        taxonomy=taxonomy,
        groups=groups,
        encoder=_weights(encoder),
    )
    inputs = Inputs(now, resumed, accept_changed_inputs)
    group = join_process_group(config.train)
    changed = inputs.check(group)
    if resumed is None:
        split = split_samples(samples, config, groups, shared=True)
    else:
        split = split_of(resumed, samples, accept_changed_inputs)
    taxa = _taxa(study, config, split, resumed) if taxonomy else None
    plan = Plan(
        study=study,
        config=config,
        split=split,
        parts=replace(parts, ranks=() if taxa is None else taxa.sizes),
        label="pretrain",
        output=None if output is None else Path(output),
        encoder=encoder,
        checkpoint=resumed,
        inputs=inputs.tensors(),
        val_groups=_val_groups(groups, split, resumed),
        taxa=taxa,
        group_by=inputs.now.group_by,
    )
    context = replace(context, **_of_split(split, resumed, None))
    _say(
        plan.label,
        dropped,
        "" if groups is None else missing_words(groups, "a group"),
        changed,
        "" if taxa is None else str(taxa),
        sizes_in_words(alone, config),
        # The groups of a resumed run made its split.
        # As chosen: `adjust` removed model.members from what is reported, which has no effect here.
        *unused(study, replace(config, explicit=chosen), context, None if resumed else groups),
    )
    return plan, group


def plan_fit(
    task_name: str, study: Study, target: str | pd.Series | Sequence[str], options: FitOptions
) -> FitPlan:
    """Split the samples, fit the target to them, and check all that is known before training."""
    task_class: type[Task] | type[Targets] = task_named(task_name)
    encoder, init_from, resumed, chosen, config = _configure(task_class, options)
    values = targets_by_sample(study, target)
    check_several(values, task_name, init_from)
    if isinstance(values, pd.DataFrame):
        task_class = Targets
    elif init_from is not None:
        init_from = _of_target(init_from, values.name)
    groups = values_by_sample(study, options.group_by, "group_by")
    covariates = covariate_names(options.covariates)
    for one in columns_of(values):
        check_columns(one, groups, [*covariates, *config.columns()], study.sample_ids)
    context = describe_run(
        task_name,
        study,
        config,
        job=options.job,
        encoder=bool(encoder or init_from or (resumed and resumed.run["pretrained"])),
        frozen=options.freeze_encoder,
        covariates=bool(covariates),
        targets=len(columns_of(values)),
        output=options.output is not None,
    )
    distances = learns_distances(config, context)
    if distances:
        check_distances(study, config)
    if learns_nucleotides(config, context):
        _check_masking(config)
    samples, dropped = usable_samples(study, config)
    check_passes(study.select(samples), config)
    group = join_process_group(config.train)
    sized = replace(options, config=config)
    columns = _Columns(study, values, groups, distances, encoder or init_from, sized)
    fit = _new_run if resumed is None else functools.partial(_resumed_run, resumed, group)
    fitted = fit(task_class, columns, samples, config)
    used = values.reindex(fitted.samples)
    for one in columns_of(used):
        check_interval_groups(study.select(fitted.samples), one, config)
    check_output(config, fitted.task, used)
    config.figure.units_of([str(one.name) for one in columns_of(used)])
    sample_weights(study, used.index, config.loss)  # only for its errors, before anything is made
    plan = Plan(
        study=study,
        config=config,
        split=fitted.split,
        parts=_parts(fitted, config, context),
        label=options.label or task_name,
        output=None if options.output is None else Path(options.output),
        task=fitted.task,
        covariates=fitted.covariates,
        encoder=encoder,
        init_from=init_from,
        freeze_encoder=options.freeze_encoder,
        checkpoint=resumed,
        inputs=fitted.inputs.tensors(),
        groups=groups,
        val_groups=_val_groups(groups, fitted.split, resumed),
        group_by=fitted.inputs.now.group_by,
        given_split=options.split is not None,
    )
    notes = []
    if options.label is None:  # with one, a cross-validation has logged these already
        notes = column_notes(study, used, options.group_by, covariates, task_class, config)
        read = "covariates: " if covariates else ""
        notes.append(f"{read}{fitted.covariates}" if fitted.covariates else "")
    if fitted.covariates and study.metadata is not None and (init_from or options.label is None):
        notes += fitted.covariates.unseen(study.metadata.loc[used.index])
    context = replace(context, **_of_split(fitted.split, resumed, options.split))
    stratified = not context.split and context.task == "regression"
    share = share_note(fitted.split, len(fitted.samples), config) if stratified else ""
    given = options.split is not None
    line = "" if resumed else split_note(study, samples, config, fitted.split, given)
    _say(plan.label, dropped, line)
    summary = fitted.task.summary(used)
    if summary:
        labelled(plan.label).info(summary)
    _say(
        plan.label,
        *fitted.task.unseen(None if study.metadata is None else study.metadata.loc[used.index]),
        *notes,
        share,
        fitted.changed,
        sizes_in_words(chosen, config, "the encoder's" if init_from is None else "the model's"),
        *([] if init_from is None or resumed else _how_it_goes_on(fitted, init_from, config)),
        *unused(study, config, context, None if resumed else groups),
    )
    if init_from is not None and options.label is None:  # with one, as the notes above
        _warn_of_trained(init_from, fitted.samples, labelled(plan.label))
    return FitPlan(plan, group, fitted.task, used)


class _Columns(NamedTuple):
    """What a fit reads: a study, and columns of it by sample id."""

    study: Study
    values: pd.Series | pd.DataFrame
    groups: pd.Series | None
    distances: bool
    start: Model | None
    options: FitOptions


class _Fitted(NamedTuple):
    """A split, and what was fitted to its training samples."""

    split: Split
    task: Task | Targets
    covariates: Covariates | None
    inputs: Inputs
    changed: str = ""

    @property
    def samples(self) -> list[str]:
        """Training and held-out samples, each once."""
        return list(dict.fromkeys([*self.split.train, *self.split.val]))


def _configure(
    task_class: type[Task] | type[Targets], options: FitOptions
) -> tuple[Model | None, Model | None, Checkpoint | None, Config, Config]:
    """Encoder, model to go on from, checkpoint; the configuration as chosen, and with their sizes.

    Raises
    ------
    InputError
    """
    check_accepted(options.accept_changed_inputs, options.resume)
    resumed, chosen = open_checkpoint(task_class.model_kind, options.resume, options.config)
    encoder = None if options.encoder is None else as_model(options.encoder)
    init_from = model_to_go_on_from(options.init_from, encoder)
    # A resumed run needs no encoder: its weights are in the checkpoint.
    if options.freeze_encoder and encoder is None and init_from is None and resumed is None:
        raise InputError(
            "freeze_encoder needs a pretrained encoder: give one (encoder=, --encoder)."
        )
    config = with_sizes_of_model(with_sizes_of(chosen, encoder), init_from, task_class.model_kind)
    return encoder, init_from, resumed, chosen, config


def _of_target(model: Model, column: object) -> Model:
    """A model of several targets, with the network of the one of this column; else of the first."""
    each = {it.task.column: it for it in model.each}
    chosen = each.get(str(column), model)
    return replace(model, network=chosen.network, target=chosen.target)


def _new_run(
    task_class: type[Task] | type[Targets], columns: _Columns, samples: list[str], config: Config
) -> _Fitted:
    """Split the samples and fit target and covariates to the training side."""
    values, options = columns.values.reindex(samples), columns.options
    if options.split is not None:
        ids, members = columns.study.sample_ids, config.model.members
        split = given_split(options.split, ids, samples, members)
    else:  # an unusable target is reported before an impossible split
        task_class.check(values, splits=config.train.val_fraction > 0)
        chosen = chosen_split(columns.study, samples, config, columns.groups)
        if chosen is None:
            make = splitter(config, freeze_encoder=options.freeze_encoder)
            strata = strata_of(task_class, values, config, columns.groups)
            chosen = make(samples, groups=columns.groups, strata=strata)
        split = chosen
    task, covariates = _fit_columns(task_class, columns, split, config)
    if options.init_from is not None:
        assert columns.start is not None
        train = columns.study.select(split.train).metadata
        task = task.scaled_as(columns.start.task, values.loc[split.train], train)
        covariates = _as_trained(columns.start, covariates)
    return _Fitted(split, task, covariates, _inputs(columns, task_class, None, covariates))


def _resumed_run(
    resumed: Checkpoint,
    group: ProcessGroup,
    task_class: type[Task] | type[Targets],
    columns: _Columns,
    samples: list[str],
    config: Config,
) -> _Fitted:
    """As `_new_run`, with the split of the run that is resumed; its inputs are compared."""
    options = columns.options
    inputs = _inputs(columns, task_class, resumed)
    changed = inputs.check(group, _moved(resumed, samples, options.split))
    split = split_of(resumed, samples, options.accept_changed_inputs)
    task, covariates = _fit_columns(task_class, columns, split, config)
    # Where no fingerprint tells, the new target stays: Run refuses one that is not that of before.
    if options.accept_changed_inputs or inputs.before is not None:
        # The weights were trained with the target scaling and class order of the checkpoint.
        task, covariates = _as_before(resumed, task, covariates)
    return _Fitted(split, task, covariates, inputs, changed)


def _fit_columns(
    task_class: type[Task] | type[Targets], columns: _Columns, split: Split, config: Config
):
    """The target and the covariates, fitted to the training side of a split."""
    used = columns.values.reindex(list(dict.fromkeys([*split.train, *split.val])))
    metadata = columns.study.metadata
    rows = None if metadata is None else metadata.loc[used.index]
    # What is fitted to the samples of all folds must not tell a member of those it holds out.
    folds = dict(zip(split.val, split.folds, strict=True))
    task = task_class.fit(used, split.train, config.loss, rows, folds)
    names = covariate_names(columns.options.covariates)
    scale_by = list(dict.fromkeys(names_in(config.model.head.scale_by)))
    return task, fit_covariates(columns.study.metadata, names, split.train, scale_by)


def _parts(fitted: _Fitted, config: Config, context: RunContext) -> Parts:
    """The heads of a fit's network, and the covariates that it reads."""
    covariates = fitted.covariates
    return Parts(
        nucleotide=learns_nucleotides(config, context),
        distance=learns_distances(config, context),
        count=learns_counts(config, context),
        unbounded=learns_distances(config, context) and not bounded(config),
        sizes=covariates.sizes if covariates else (),
        numbers=len(covariates.numeric) if covariates else 0,
        scale_sizes=covariates.scale_sizes if covariates else (),
        **fitted.task.parts,
    )


def _say(label: str, *lines: str) -> None:
    log = labelled(label)
    for line in lines:
        if line:
            note(line, log)


def _taxa(study: Study, config: Config, split: Split, resumed: Checkpoint | None) -> Taxa:
    """The classes that the training samples' features have; those of the run that is resumed."""
    place = {name: i for i, name in enumerate(study.sample_ids)}
    train = np.array([place[name] for name in split.train], np.int64)
    known = None if resumed is None else resumed.run.get("taxa")
    return Taxa.fit(study, train, config.loss.taxonomy_min_asvs, known)


def _check_losses(
    config: Config, parts: Parts, taxonomy: bool, resumed: Checkpoint | None, encoder: bool
) -> None:
    """Refuse a pretraining that has nothing to learn."""
    samples = parts.distance or parts.count or parts.faith_pd
    if not (parts.nucleotide or samples or taxonomy):
        raise InputError(
            "All losses have weight 0 (loss.nucleotide, loss.distance, loss.count, loss.faith_pd; "
            "loss.taxonomy needs a taxonomy): nothing is pretrained."
        )
    if taxonomy and not samples and config.model.encoder.features == "profile":
        raise InputError(
            "model.encoder.features is 'profile', which has no weights that a taxonomy could "
            "train: set it to 'bases' or 'both'."
        )
    if resumed is None and parts.nucleotide and config.model.encoder.features == "profile":
        advice = "set it to 'bases' or 'both', or loss.nucleotide to 0"
        if encoder:  # which determines the features
            advice = "with this encoder, set loss.nucleotide to 0"
        raise InputError(
            "model.encoder.features is 'profile', which has no weights that masked nucleotides "
            f"could train: {advice}."
        )
    if parts.nucleotide:
        _check_masking(config)


def _check_masking(config: Config) -> None:
    if config.masking.mask_ratio == 0:
        raise InputError("masking.mask_ratio is 0: there are no nucleotides to learn.")


def _inputs(
    columns: _Columns,
    task_class: type[Task] | type[Targets],
    resumed: Checkpoint | None,
    covariates: Covariates | None = None,
) -> Inputs:
    """The inputs of a fit; covariates are compared as the types that they had in the first run."""
    if resumed is not None and resumed.run["covariates"] is not None:
        covariates = Covariates.from_dict(resumed.run["covariates"])
    numeric = {item[0] for item in covariates.numeric} if covariates else set()
    options = columns.options
    # Of several targets the first is compared as the target, the others beside it.
    others = [column.name for column in columns_of(columns.values)[1:]]
    names = [*covariate_names(options.covariates), *options.config.columns(), *others]
    numeric |= set(others)
    now = fingerprint(
        columns.study,
        distances=columns.distances,
        target=task_class.comparable(columns.values),
        groups=columns.groups,
        covariates={name: name in numeric for name in names},
        encoder=_weights(columns.start),
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
    # Not in DESCRIBED: checkpoints of earlier versions lack it.
    return None if resumed is None else resumed.run.get("val_groups")


def _moved(resumed: Checkpoint, samples, split) -> str:
    """Samples that the given split puts on another side or fold than the checkpoint's, in words."""
    if split is None:
        return ""
    split = split if isinstance(split, Split) else Split.holdout(*split)
    return moved_samples(resumed, split, samples)


def _as_before(resumed: Checkpoint, task: Task | Targets, covariates):
    """Target and covariates as the first run encodes them, where they are the same columns."""
    saved = resumed.run["target"]
    before = (Targets.from_dict(saved) or task_from_dict(saved)) if saved else task
    if (type(before), before.column) == (type(task), task.column):
        task = before
    if covariates is not None and resumed.run["covariates"] is not None:
        theirs = Covariates.from_dict(resumed.run["covariates"])
        if sorted(theirs.names) == sorted(covariates.names):
            covariates = theirs
    return task, covariates


def _as_trained(model: Model, covariates: Covariates | None) -> Covariates | None:
    """Covariates as a fitted model encodes them, where they are the same columns."""
    theirs = model.covariates
    if theirs is not None and covariates is not None:
        # By kind too: of a category there is no number.
        kinds = [
            [
                sorted(item[0] for item in items)
                for items in (it.categorical, it.numeric, it.scaling)
            ]
            for it in (theirs, covariates)
        ]
        if kinds[0] == kinds[1]:
            return theirs
    return covariates


def _how_it_goes_on(fitted: _Fitted, model: Model, config: Config) -> list[str]:
    """Lines on what a fit keeps of the model that it starts from."""
    task, before = fitted.task, model.task
    assert isinstance(task, Task)  # of several it was refused
    if not task.continues(before):
        return [f"the target head is new: the model predicts {before.column!r} by other outputs"]
    head = "the target head of the model goes on"
    if task.classes:
        return [head]
    if task.scaled_alike(before):
        other = [
            f"{path} {theirs or 'none'} (not {config.at(path) or 'none'})"
            for path, theirs in task.learned_as.items()
            if theirs != config.at(path)
        ]
        kept = f", and what is learned is the model's: {', '.join(other)}" if other else ""
        column = task.column
        return [f"{head}, with the scale of {column!r} in the samples it was fitted on{kept}"]
    scaled = f"{head}; {task.column!r} is scaled by the new samples, as"
    if task.column == before.column:
        return [f"{scaled} another number of it was learned (loss.residual_on)"]
    return [f"{scaled} it was fitted on another column, {before.column!r}"]


def _warn_of_trained(model: Model, samples: list[str], log: logging.LoggerAdapter) -> None:
    """Warn of samples whose labels the model to start from has seen."""
    trained = model.trained_samples
    seen = np.array([name in trained for name in samples])
    if seen.any():
        log.warning(trained_on(samples, seen))


def _of_split(split: Split, resumed: Checkpoint | None, given) -> dict:
    """Fields of a `RunContext`: whether there are validation samples, and who decided on them."""
    why = "the split is given" if given is not None else ""
    if resumed is not None:
        why = "the split of the run stays"
    return {"validates": bool(split.val), "split": why}
