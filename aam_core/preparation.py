"""From a study and options to a run that is ready to train: see `fitting` for the job itself."""

from __future__ import annotations

import functools
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
from aam_core.data.batches import Batcher
from aam_core.data.columns import as_classes, class_sizes, missing_words, to_floats
from aam_core.data.covariates import Covariates, covariate_names, fit_covariates, infer_types
from aam_core.data.fingerprint import fingerprint
from aam_core.data.fixed_splits import fixed_folds, fixed_split
from aam_core.data.ids import check_ids, nothing_in_common
from aam_core.data.metadata import column
from aam_core.data.splits import Split, cross_fitting_split
from aam_core.data.study import Study
from aam_core.effects import check_columns, setup_of, without_effect
from aam_core.errors import InputError, first_five
from aam_core.model import Model
from aam_core.models.network import Parts
from aam_core.phylogeny.distances import find_distance
from aam_core.prediction import as_model, encode_asvs
from aam_core.resuming import Inputs, check_accepted, moved, resumed, split_of
from aam_core.runs import KINDS, Run
from aam_core.scoring import count_groups
from aam_core.tasks import Classification, task_from_dict, task_named
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.parallel import join_process_group
from aam_core.transfer import adopt, replaced

OnEpoch = Callable[[int, dict[str, float]], None]


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
    on_epoch: OnEpoch | None = None
    accept_changed_inputs: bool = False
    job: str = "train"
    """As in `idle.Setup`."""


def prepare_pretraining(
    study,
    config=None,
    output=None,
    encoder=None,
    group_by=None,
    resume=None,
    accept_changed_inputs=False,
    job="train",
) -> tuple[Run, Batcher]:
    """The run, with its network, and what makes its batches; see `fitting.pretrain`."""
    check_accepted(accept_changed_inputs, resume)
    held, asked = resumed(KINDS[None], resume, config, pretraining)
    encoder = None if encoder is None else as_model(encoder)
    alone = asked.decide({"model.members": 1})  # the others would have nothing to learn
    config = adopt(alone, encoder)
    parts = Parts(nucleotide=config.loss.nucleotide > 0, distance=config.loss.distance > 0)
    if not (parts.nucleotide or parts.distance):
        raise InputError("Both penalties are 0: there is nothing to pretrain.")
    if held is None and parts.nucleotide and config.model.encoder.features == "profile":
        raise InputError(
            "model.encoder.features is 'profile', which has nothing that nucleotides could teach: "
            "set it to 'bases' or 'both', or loss.nucleotide to 0."
        )
    if parts.nucleotide and config.masking.mask_ratio == 0:
        raise InputError("masking.mask_ratio is 0: there are no nucleotides to learn.")
    if parts.distance:
        _check_distances(study, config)
    groups = by_sample(study, group_by, "group_by")
    samples, left_out = usable_samples(study, config)
    now = fingerprint(study, distances=parts.distance, groups=groups, encoder=_weights(encoder))
    inputs = Inputs(now, held, accept_changed_inputs)
    changed = inputs.check(join_process_group(config.train))
    if held is None:
        split = split_samples(samples, config, groups, together=True)
    else:
        split = split_of(held, samples, accept_changed_inputs)
    run = Run(study, config, output, "pretrain", split, held)
    if groups is not None:  # a resumed run knows it from its beginning
        run.groups = count_groups(groups, split.val)
    run.inputs = inputs.tensors()
    setup = setup_of(
        "pretraining", study, config, job=job, encoder=bool(encoder), output=output is not None
    )
    setup = replace(setup, **_of_split(split, held, None))
    run.say(left_out)
    run.say("" if groups is None else missing_words(groups, "a group"))
    run.say(changed)
    run.say(replaced(alone, config))
    for line in without_effect(study, replace(config, given=asked.given), setup, groups):
        run.say(line)
    run.build(parts, encoder)
    return run, Batcher(study, config.data, config.train.seed, distances=parts.distance)


class Fit(NamedTuple):
    """A fit that is ready to train: its network, target's values, batches and class weights."""

    run: Run
    values: pd.Series
    batcher: Batcher
    class_weight: torch.Tensor | None


def prepare_fit(task: str, study: Study, target: str | pd.Series, options: FitOptions) -> Fit:
    """Split, encode the target and build the network; see `fitting.fit_regressor`."""
    check_accepted(options.accept_changed_inputs, options.resume)
    held, asked = resumed(KINDS[task], options.resume, options.config, fitting)
    encoder = None if options.encoder is None else as_model(options.encoder)
    if options.freeze_encoder and encoder is None and held is None:
        raise InputError("A frozen encoder must be a pretrained one: name it (encoder).")
    config = adopt(asked, encoder)
    values, covariates = by_sample(study, target), covariate_names(options.covariates)
    groups = by_sample(study, options.group_by, "group_by")
    check_columns(values, groups, covariates, study.sample_ids)
    setup = setup_of(
        task,
        study,
        config,
        job=options.job,
        encoder=bool(encoder or (held and held.run["pretrained"])),
        frozen=options.freeze_encoder,
        covariates=bool(covariates),
        output=options.output is not None,
    )
    distances = learns_distances(config, setup)
    if distances:
        _check_distances(study, config)
    samples, left_out = usable_samples(study, config)
    everyone, values = values, values.reindex(samples)
    changed, inputs = "", None
    if held is None:
        split = _split_of(task, study, values, options, config)
    else:
        inputs = _inputs(study, everyone, groups, task, options, distances, held)
        changed = inputs.check(
            join_process_group(config.train), _moved(held, samples, options.split)
        )
        split = split_of(held, samples, options.accept_changed_inputs)
    values = values.loc[list(dict.fromkeys([*split.train, *split.val]))]
    fitted = task_named(task).fit(values, split.train, config.loss)
    known = fit_covariates(study.metadata, covariates, split.train)
    if held is None:
        inputs = _inputs(study, everyone, groups, task, options, distances, None, known)
    elif options.accept_changed_inputs or inputs.before is not None:
        # They are the same, or accepted: what is a standard deviation, and which class is which,
        # is as the network learned it.
        fitted, known = _as_before(held, fitted, known)
    run = Run(study, config, options.output, options.label or task, split, held)
    if groups is not None:
        run.groups = count_groups(groups, split.val)
    run.inputs = inputs.tensors()
    setup = replace(setup, **_of_split(split, held, options.split))
    run.say(left_out)
    if isinstance(fitted, Classification):
        run.say(f"classes: {class_sizes(values)}")
    if options.label is None:  # else whoever made the folds has said it
        for line in told_of_columns(study, values, options.group_by, covariates, task):
            run.say(line)
        run.say(f"covariates: {known}" if known else "")
    run.say(changed)
    run.say(replaced(asked, config))
    for line in without_effect(study, config, setup, groups):
        run.say(line)
    parts = Parts(
        distance=distances,
        outputs=fitted.outputs,
        sizes=known.sizes if known else (),
        numbers=len(known.numeric) if known else 0,
    )
    run.build(parts, encoder, fitted, known, options.freeze_encoder)
    return Fit(run, values, *_batches(run, values, options.freeze_encoder))


def _inputs(study, values, groups, task, options, distances, held, known=None) -> Inputs:
    """The inputs of a fit; covariates are compared as what they were in the run of before."""
    if held is not None and held.run["covariates"] is not None:
        known = Covariates.from_dict(held.run["covariates"])
    numeric = {item[0] for item in known.numeric} if known else set()
    if task == "regression":
        values = pd.Series(to_floats(values), values.index, name=values.name)
    now = fingerprint(
        study,
        distances=distances,
        target=values,
        groups=groups,
        covariates={name: name in numeric for name in covariate_names(options.covariates)},
        encoder=_weights(None if options.encoder is None else as_model(options.encoder)),
    )
    return Inputs(now, held, options.accept_changed_inputs)


def _weights(encoder: Model | None) -> dict[str, np.ndarray] | None:
    if encoder is None:
        return None
    return {name: value.cpu().numpy() for name, value in encoder.network.state_dict().items()}


def _moved(held, samples, given) -> str:
    """What a given split has elsewhere than that of the run, as a clause."""
    if given is None:
        return ""
    return moved(held, given if isinstance(given, Split) else Split.holdout(*given), samples)


def _as_before(held, fitted, known):
    """The target and the covariates as the run of before encodes them, where they are the same."""
    before = task_from_dict(held.run["target"]) if held.run["target"] else fitted
    if (before.name, before.column) == (fitted.name, fitted.column):
        fitted = before
    if known is not None and held.run["covariates"] is not None:
        covariates = Covariates.from_dict(held.run["covariates"])
        if sorted(covariates.names) == sorted(known.names):
            known = covariates
    return fitted, known


def _of_split(split: Split, held: Checkpoint | None, given) -> dict:
    """Of a `Setup`: whether there are validation samples, and who decided on them."""
    why = "the split is given" if given is not None else ""
    if held is not None:
        why = "the split of the run stays"
    return {"validates": bool(split.val), "split": why}


def _split_of(task, study, values, options, config) -> Split:
    """The given split, or one that honours groups and classes."""
    if options.split is not None:
        members = config.model.members
        return _given_split(options.split, study.sample_ids, list(values.index), members)
    task_named(task).check(values)  # says what is wrong with the target before the split does
    strata = values if task == "classification" else None
    if strata is not None and config.train.val_fraction > 0:
        _check_two(strata)
    groups = by_sample(study, options.group_by, "group_by")
    split = splitter(config, freeze_encoder=options.freeze_encoder)  # an encoder is adopted already
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


def _check_two(classes: pd.Series) -> None:
    """Refuse classes of one sample: mostly it is a column of numbers or names."""
    sizes = as_classes(classes).value_counts()
    lone = sorted(sizes.index[sizes < 2])
    if lone:
        raise InputError(
            f"{len(lone)} classes are found in one sample only, and cannot be both trained on and "
            f"held out: {first_five(lone)}. Leave these samples out (where the column is a number, "
            "use a regressor)."
        )


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
        asv_vectors=_fixed_vectors(run) if frozen or model.network.bases is None else None,
        held_out=run.left_out,
    )
    return batcher, model.target.class_weights(truth[run.positions(run.train_ids)], config.loss)


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


def splitter(
    config: Config, encoder: Model | None = None, freeze_encoder: bool = False
) -> functools.partial:
    """What splits the samples of a fit: `split_samples` of the samples, groups and strata."""
    config = adopt(config, encoder)
    together = config.model.encoder.features != "profile" and not freeze_encoder
    return functools.partial(split_samples, config=config, together=together)


def split_samples(samples, config, groups=None, strata=None, together: bool = False) -> Split:
    """Who trains and who validates, as the configuration has it.

    Members that learn ``together`` leave out the same samples: what one of them has seen, all have.
    """
    train = config.train
    return cross_fitting_split(
        samples,
        1 if together else config.model.members,
        fraction=train.val_fraction,
        seed=train.seed,
        groups=groups,
        strata=strata,
    )


def by_sample(study: Study, values, what: str = "target") -> pd.Series | None:
    """A metadata column by its name, or values by sample id as they were given.

    Parameters
    ----------
    study : Study
    values : str, Series or None
    what : str
        Name of the argument, for the message.

    Raises
    ------
    InputError
        If the column does not exist, the values are not a Series by sample id, an id is no text or
        occurs twice, or none is of the study.
    """
    if values is None and what != "target":
        return None
    if isinstance(values, pd.Series):
        where = f"The Series given as {what}"
        ids = check_ids(values.index, "sample", where)
        if set(ids).isdisjoint(study.sample_ids):
            raise nothing_in_common("sample", study.sample_ids, ids, "the study", where.lower())
        return values.set_axis(pd.Index(ids, dtype=object))
    if not isinstance(values, str):
        raise InputError(
            f"{what} must be the name of a metadata column, or a pandas Series of values by sample "
            f"id, not {type(values).__name__}: pandas.Series(values, index=study.sample_ids)."
        )
    if study.metadata is None:
        raise InputError(f"The study has no metadata to take the column {values!r} from.")
    return column(study.metadata, values)


def told_of_columns(study, values: pd.Series, group_by, covariates, task: str) -> list[str]:
    """Lines on how the columns of a fit are read, where a reader may not expect it."""
    _, lines = infer_types(study.metadata, covariates)
    if task == "classification":
        lines.append(missing_words(values, "a class"))
    groups = by_sample(study, group_by, "group_by")
    if groups is not None:
        lines.append(missing_words(groups, "a group"))
    return [line for line in lines if line]


def _check_distances(study, config):
    """What is learned lies in [0, 1], as the predicted distances do."""
    if study.distances is None:
        find_distance(config.loss.metric, study.phylogeny)
    elif study.distances.max() > 1 + 1e-6:
        raise InputError(
            f"The given distances reach {study.distances.max():.4g}; those that are learned lie "
            "in [0, 1], as UniFrac, Bray-Curtis and Jaccard do. Give one of these."
        )


def _fixed_vectors(run: Run) -> torch.Tensor:
    tokens = run.study.tokens(run.config.data)
    network = run.model.network.to(run.process_group.device)
    return encode_asvs(network, tokens, run.process_group.device, run.config.train.precision)
