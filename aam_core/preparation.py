"""From a study to what a job works on: usable samples, values by sample, splits, unused inputs.

Shared by fits, pretraining, cross-validation and the search for hyperparameters.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import pandas as pd

from aam_core.config import WITHOUT_TREE, Config
from aam_core.config.fields import names_in
from aam_core.config.unused import (
    RunContext,
    learns_distances,
    learns_diversity,
    unused_settings,
    why_no_distances,
    why_no_taxonomy,
)
from aam_core.data.columns import as_classes, as_name, missing_ids, missing_words
from aam_core.data.covariates import infer_types, redundant_covariates
from aam_core.data.fixed_splits import fixed_folds, fixed_split
from aam_core.data.folds import quantile_strata, where_split
from aam_core.data.ids import check_ids, nothing_in_common
from aam_core.data.metadata import column, require_columns, unmatched
from aam_core.data.splits import Split, cross_fitting_split
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.model import Model
from aam_core.models.heads import OUTPUTS
from aam_core.phylogeny.distances import DISTANCES, find_distance
from aam_core.pretrained import with_sizes_of
from aam_core.tasks import Targets, Task
from aam_core.training.launch.environment import launched_by_torchrun, world_size

__all__ = [
    "bounded",
    "check_columns",
    "chosen_split",
    "check_distances",
    "check_diversity",
    "check_output",
    "check_interval_groups",
    "check_several",
    "column_notes",
    "columns_of",
    "count_groups",
    "count_held_out",
    "describe_run",
    "given_split",
    "held_out_in_words",
    "metrics_in_words",
    "processes",
    "share_note",
    "split_note",
    "split_samples",
    "splitter",
    "strata_of",
    "targets_by_sample",
    "unused",
    "usable_samples",
    "values_by_sample",
    "without_unused",
]


# --- samples -------------------------------------------------------------------------------------


def usable_samples(study: Study, config: Config) -> tuple[list[str], str]:
    """Samples with enough reads, and a sentence on the dropped ones (empty if there are none).

    Raises
    ------
    InputError
        If no sample has enough reads.
    """
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
    if not shallow:
        return study.sample_ids, ""
    dropped = set(shallow)
    kept = [name for name in study.sample_ids if name not in dropped]
    return kept, f"{len(shallow)} samples with fewer than {least} reads dropped: " + first_five(
        shallow
    )


@overload
def values_by_sample(study: Study, values: str | pd.Series, what: str = "target") -> pd.Series: ...


@overload
def values_by_sample(
    study: Study, values: str | pd.Series | None, what: str = "target"
) -> pd.Series | None: ...


def values_by_sample(
    study: Study, values: str | pd.Series | None, what: str = "target"
) -> pd.Series | None:
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


def targets_by_sample(
    study: Study, names: str | pd.Series | Sequence[str]
) -> pd.Series | pd.DataFrame:
    """Metadata columns to predict: one, or the numbers of several, NaN where they are blank.

    Raises
    ------
    InputError
        If a column does not exist, is named twice, or is one of several and holds no numbers.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return values_by_sample(study, names)  # which says what is legal
    if not names:
        raise InputError("No target is named: give the name of a metadata column, or several.")
    columns = [values_by_sample(study, name) for name in names]
    if len(columns) == 1:
        return columns[0]
    if len(set(names)) < len(names):
        raise InputError(f"A target is named twice: {first_five(names)}.")
    return Targets.numbers(pd.concat(columns, axis=1))


def columns_of(values: pd.Series | pd.DataFrame) -> list[pd.Series]:
    """The target, or each of several, where it has a value."""
    if isinstance(values, pd.Series):
        return [values]
    return [values[name].dropna() for name in values.columns]


def check_several(values: pd.Series | pd.DataFrame, task: str, init_from: object) -> None:
    """Refuse several targets of classes, or to go on with a fitted model.

    Raises
    ------
    InputError
    """
    if isinstance(values, pd.Series):
        return
    if task != Targets.name:
        raise InputError(
            f"A {task} has one target, and {len(values.columns)} are given: several are numbers "
            "that a regressor learns together (aam fit-regressor)."
        )
    if init_from is not None:
        raise InputError(
            f"init_from goes on with one target, and {len(values.columns)} are given: name one, or "
            "start from an encoder (encoder takes a fitted model, too)."
        )


def check_columns(values: pd.Series, groups: pd.Series | None, covariates, samples) -> None:
    """Refuse a target that is a covariate, or that samples are grouped by.

    Raises
    ------
    InputError
    """
    if values.name in covariates:
        raise InputError(
            f"The target {values.name!r} cannot be a covariate, nor a column that a setting reads: "
            "the answer would be given away."
        )
    if groups is None:
        return
    both = [values_.reindex(samples) for values_ in (values, groups)]
    known = [values_[~values_.index.isin(missing_ids(values_))] for values_ in both]
    same = known[0].index.equals(known[1].index) and len(known[0]) > 0
    if same and (as_classes(known[0]) == as_classes(known[1])).all():
        raise InputError(
            f"Samples are grouped by {groups.name!r}, which is the target {values.name!r}: no "
            "value would be both trained on and held out. Group by what is shared by samples of "
            "one origin (a subject, a site), or by nothing."
        )


def check_output(config: Config, task: Task | Targets, values: pd.Series | pd.DataFrame) -> None:
    """Refuse an output function of the target head that cannot give the values of a fit.

    Raises
    ------
    InputError
    """
    name = config.model.head.output
    if name == "identity":
        return
    if task.classes:
        raise InputError(
            f"model.head.output is {name!r}, and {task.column!r} has classes, whose probabilities "
            "need no bounds: leave it at 'identity'."
        )
    if task.parts.get("link") == "values":
        raise InputError(
            f"model.head.output is {name!r}, which is for one target, and there are "
            f"{len(task.each)}: leave it at 'identity'."
        )
    if task.parts.get("link"):
        raise InputError(
            f"model.head.output is {name!r}, and loss.target is {config.loss.target!r}, whose "
            "outputs are added up to quantiles: leave it at 'identity' (loss.target_range keeps "
            "predictions within bounds)."
        )
    if not OUTPUTS[name].from_zero:
        return
    if task.needs:
        raise InputError(
            f"model.head.output is {name!r}, which begins at 0, and what 0 is learned as depends "
            f"on {first_five(task.needs)} here: set it to 'identity' or 'sigmoid'."
        )
    numbers = task.read(values)
    negative = [as_name(number) for number in numbers[numbers < 0]]
    if negative:
        raise InputError(
            f"model.head.output is {name!r}, whose predictions are never negative, and "
            f"{len(negative)} of {len(numbers)} values of {task.column!r} are: "
            f"{first_five(negative)}. Set it to 'identity' or 'sigmoid'."
        )


def check_interval_groups(study: Study, values: pd.Series, config: Config) -> None:
    """Refuse ``ensemble.interval_by`` where it is the target, or blank for a sample.

    Raises
    ------
    InputError
    """
    names = names_in(config.ensemble.interval_by)
    if values.name in names:
        raise InputError(
            f"Intervals by the target {values.name!r} are not possible: it is not known of a "
            "sample that is predicted (ensemble.interval_by, --interval-by)."
        )
    require_columns(study.metadata, names)


def check_distances(study: Study, config: Config) -> None:
    """Refuse distances that cannot be learned: predicted ones lie in [0, 1], if not 'weighted'."""
    if study.distances is None:
        find_distance(config.loss.metric, study.phylogeny)
    # Rounding may take a distance of 1 slightly beyond.
    elif bounded(config) and study.distances.max() > 1 + 1e-6:
        raise InputError(
            f"The given distances reach {study.distances.max():.4g}; those that are learned lie "
            "in [0, 1], as UniFrac, Bray-Curtis and Jaccard do. Give one of these, or set "
            "loss.metric to 'weighted', which has no upper bound."
        )


def bounded(config: Config) -> bool:
    """Whether the distances that are learned lie in [0, 1]."""
    return DISTANCES[config.loss.metric].bounded


def check_diversity(study: Study) -> None:
    """Refuse to learn Faith's phylogenetic diversity without a tree."""
    if study.phylogeny is None:
        raise InputError(
            "Faith's phylogenetic diversity needs a tree, and none is given: give one, or set "
            "loss.faith_pd to 0."
        )


def column_notes(
    study: Study,
    values: pd.Series | pd.DataFrame,
    group_by,
    covariates,
    task: type[Task] | type[Targets],
    config: Config,
) -> list[str]:
    """Lines on how the columns of a fit are read, where a reader may not expect it."""
    _, lines = infer_types(study.metadata, covariates)
    lines += task.notes(values)
    groups = values_by_sample(study, group_by, "group_by")
    if groups is not None:
        lines.append(missing_words(groups, "a group"))
    adds = config.model.fusion.kind == "add"
    shifted = names_in(config.model.head.scale_by) if adds else []
    for each in [values] if isinstance(values, pd.Series) else [values[name] for name in values]:
        lines += redundant_covariates(study.metadata, covariates, each, groups, shifted)
    lines = list(dict.fromkeys(lines))  # of several targets, what they share once
    return [line for line in lines if line]


# --- splits --------------------------------------------------------------------------------------


def splitter(
    config: Config, encoder: Model | None = None, freeze_encoder: bool = False
) -> functools.partial:
    """A function that splits the samples of a fit: `split_samples` with its settings filled in."""
    config = with_sizes_of(config, encoder)
    shared = config.model.encoder.features != "profile" and not freeze_encoder
    return functools.partial(split_samples, config=config, shared=shared)


def strata_of(
    task: type[Task] | type[Targets],
    values: pd.Series | pd.DataFrame,
    config: Config,
    groups: pd.Series | None = None,
    folds: int = 2,
) -> pd.Series | None:
    """What each side of a split shall have in equal shares: classes, or quantiles of a number.

    Raises
    ------
    InputError
        As `quantile_strata`, and for quantiles of several targets.
    """
    if isinstance(values, pd.DataFrame):
        if config.train.strata:
            raise InputError("train.strata is for one numeric target, and there are several.")
        return None
    classes = task.strata(values)
    if classes is not None:
        return classes
    return quantile_strata(values, config.train.strata, groups, folds)


def share_note(split: Split, samples: int, config: Config) -> str:
    """A line where strata of a number take far more or fewer samples than are to be held out."""
    train, share = config.train, len(split.val) / samples
    near = abs(share - train.val_fraction) <= train.val_fraction / 2
    if not train.strata or train.val_where or len(set(split.folds)) != 1 or near:
        return ""
    return (
        f"{share:.0%} of the samples are held out, not {train.val_fraction:.0%} "
        f"(train.val_fraction): each of the quantiles (train.strata={train.strata}) has some on "
        "both sides; fewer come nearer"
    )


def split_samples(samples, config, groups=None, strata=None, shared: bool = False) -> Split:
    """Training and validation samples, as the configuration has it.

    Members that train ``shared`` layers hold out the same samples: what one of them has seen, the
    others have seen through these layers.
    """
    train = config.train
    return cross_fitting_split(
        samples,
        1 if shared else config.model.members,
        fraction=train.val_fraction,
        seed=train.seed,
        groups=groups,
        strata=strata,
    )


def given_split(given, samples: list[str], usable: list[str], members: int) -> Split:
    """The usable samples of a split that the user gave; another line names the dropped ones.

    Raises
    ------
    InputError
        If it is no split of these samples among so many members, or a side is empty.
    """
    if not isinstance(given, Split):
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise InputError("A split must be a Split, or the pair (train_ids, val_ids).")
        given = Split.holdout(*fixed_split(samples, *given))
    # Among all samples first: to name one that has too few reads is no mistake.
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


def split_note(
    study: Study, samples: Sequence[str], config: Config, split: Split, given: bool
) -> str:
    """A line on samples that a ``given`` split does not name, or ``train.val_where`` not tell of.

    Empty without any.
    """
    conditions = names_in(config.train.val_where)
    if not given and conditions and study.metadata is not None:
        return unmatched(study.metadata.loc[list(samples)], conditions)
    listed = {*split.train, *split.val}
    idle = [name for name in samples if name not in listed]
    if not idle:
        return ""
    return (
        f"{len(idle)} of {len(samples)} samples are on neither side of the split, and are not "
        f"used: {first_five(idle)}"
    )


def chosen_split(
    study: Study, samples: list[str], config: Config, groups: pd.Series | None
) -> Split | None:
    """The split by ``train.val_where``; None where it is not set.

    Raises
    ------
    InputError
        As `where_split`.
    """
    conditions = names_in(config.train.val_where)
    if not conditions:
        return None
    return Split.holdout(*where_split(samples, study.metadata, conditions, groups))


def count_groups(groups: pd.Series | None, samples) -> int | None:
    """Number of groups (by sample id) that these samples are of; None without groups."""
    return None if groups is None else int(groups.reindex(samples).nunique())


def count_held_out(samples: int, groups: int | None) -> dict[str, int]:
    """Numbers of held-out samples and of their groups, as ``metrics.json`` has them."""
    return {"samples": samples, **({} if groups is None else {"groups": groups})}


def held_out_in_words(counts: dict[str, int]) -> str:
    """As ``120 held-out samples of 30 groups, in 5 folds``."""
    text = f"{counts['samples']} held-out samples"
    if "groups" in counts:
        text += f" of {counts['groups']} groups"
    return text if counts.get("folds", 1) < 2 else f"{text}, in {counts['folds']} folds"


def metrics_in_words(metrics: dict[str, float]) -> str:
    """``r2 0.7936, mae 5.283``; coverage and width have a line of their own."""
    shown = (item for item in metrics.items() if item[0] not in ("coverage", "width"))
    return ", ".join(f"{name} {value:.4g}" for name, value in shown)


# --- settings and inputs that cannot act ---------------------------------------------------------


def describe_run(task: str, study: Study, config: Config, **more) -> RunContext:
    """What a run of this study is beside its configuration; ``more`` are fields of `RunContext`."""
    asvs = study.counts.getnnz(axis=1)
    return RunContext(
        task,
        tree=study.phylogeny is not None,
        distances=study.distances is not None,
        taxonomy=study.taxonomy is not None,
        richest=int(asvs.max()) if len(asvs) else None,
        **processes(config),
        **more,
    )


def processes(config: Config) -> dict:
    """Fields of a `RunContext`: how many processes train, and whether torchrun started them."""
    outside = launched_by_torchrun()
    count = world_size() if outside else config.train.devices
    return {"processes": count, "torchrun": outside}


def without_unused(study: Study, config: Config, context: RunContext, searched=()) -> Study:
    """The study without tree and distances, where fits of it do not read them."""
    if "loss.distance" in searched or learns_distances(config, context):
        return study
    return replace(study, phylogeny=None, distances=None)


def unused(study: Study, config: Config, context: RunContext, groups=None) -> list[str]:
    """A sentence for each setting and input that was given and cannot act."""
    lines = unused_settings(config, context)
    inputs = [
        name
        for name, there in (("tree", context.tree), ("given distances", context.distances))
        if there
    ]
    why = why_no_distances(config, context)
    if not why and context.tree and context.distances:
        inputs, why = ["tree"], "the given distances are learned in its place"
    elif not why and context.tree and config.loss.metric in WITHOUT_TREE:
        inputs, why = ["tree"], f"{config.loss.metric} distances need none"
    if "tree" in inputs and learns_diversity(config, context):
        inputs.remove("tree")
    if inputs and why:
        # A pretraining on one study drops features that are not in the tree, learned or not.
        less = (
            "" if context.predicts or "tree" not in inputs else " (but on which features are read)"
        )
        verb = "has" if len(inputs) == 1 and inputs[0] == "tree" else "have"
        lines.append(f"The {' and the '.join(inputs)} {verb} no effect{less}: {why}.")
    if context.taxonomy and (why := why_no_taxonomy(config, context)):
        lines.append(f"The taxonomy has no effect: {why}.")
    if context.frozen and config.model.encoder.features == "profile":
        lines.append("freeze_encoder has no effect: k-mer profiles are not trained anyway.")
    if groups is not None:
        why = ""
        if context.job in ("train", "range test"):  # the others divide the samples themselves
            why = context.split or ("" if context.validates else "no samples are held out")
        if not why and not groups.reindex(study.sample_ids).dropna().duplicated().any():
            why = "no two samples are of one group"
        if why:
            lines.append(f"group_by ({groups.name!r}) has no effect: {why}.")
    return lines
