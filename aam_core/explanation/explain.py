"""A model + samples with known values -> which ASVs, clades and taxa told it, and by how much."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from aam_core.data.columns import missing_ids
from aam_core.data.ids import listing
from aam_core.data.metadata import column
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.blending import forest_in_words
from aam_core.ensemble.forward import check_lengths
from aam_core.errors import InputError, first_five
from aam_core.explanation.clades import SIZES, each_asv, levels_of
from aam_core.explanation.contributions import contributions
from aam_core.explanation.importance import (
    deletion_curve,
    few_groups,
    importances,
    permute_levels,
    shift_donors,
)
from aam_core.explanation.perturbed import Perturbed
from aam_core.explanation.result import Explanation
from aam_core.explanation.significance import flipped_together, least_p
from aam_core.log import logger
from aam_core.model import Model
from aam_core.prediction import as_predictor, as_study, override
from aam_core.preparation import values_by_sample

__all__ = ["explain", "mean_importance", "one_target", "permutation_importance"]

_LEAST = 10
"""Samples without which nothing can be said of an ASV."""


def explain(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    tree=None,
    taxonomy=None,
    target: str | None = None,
    group_by: str | pd.Series | None = None,
    repeats: int = 10,
    clades: Sequence[int] = SIZES,
    references: int = 10,
    seed: int | None = None,
    device: str | None = None,
    long_sequences: str | None = None,
    threads: int | None = None,
) -> Explanation:
    """Which ASVs and clades a model's predictions depend on, and what moved each prediction.

    It explains the whole prediction, of networks and forest as they are blended and calibrated,
    on samples with known values that the model was not trained on. Where all were held out when it
    was fitted, each is predicted by the networks that did not train on it, without the forest,
    whose cross-fitted trees are not saved.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier.
    table, sequences, metadata, tree, taxonomy
        A study, or what `aam_core.load_study` takes. The metadata has the target, and what the
        model reads of it.
    target : str, optional
        Of a model of several targets, which one.
    group_by : str or Series, optional
        Samples of one value (a subject) are not independent: no sample receives abundances from
        its own group, and p is by flips of whole groups.
    repeats : int
        Permutations of each ASV.
    clades : sequence of int
        Into how many clades a tree is cut, or how many clusters like sequences make where there is
        neither tree nor taxonomy; () for none.
    references : int
        Samples that each sample is compared with for its contributions; 0 for none. They are drawn
        among those of other groups.
    seed : int, optional
        Of all draws; 0 where not given.
    device, long_sequences : str, optional
        As in the configuration, which they replace.
    threads : int, optional
        As many as the process may use where not given.

    Raises
    ------
    InputError
        If samples were trained on by every network; some were held out and others are new; all
        were held out and the networks do not count; fewer than ten have a value; or as
        `aam_core.predict`.
    """
    _check_numbers(repeats, references)
    model = one_target(as_predictor(model), target)
    files = {"sequences": sequences, "metadata": metadata, "tree": tree, "taxonomy": taxonomy}
    whole = as_study(table, **files)
    study, blank = _with_values(whole, model)
    values = column(study.metadata, model.task.column)
    truth = model.task.forest_target(values)
    codes = _codes(study, group_by)
    levels = [each_asv(study), *levels_of(study, clades)]
    held_out, note = _held_out(model, study)
    rng = np.random.default_rng(seed or 0)
    size, workers = len(study.sample_ids), _workers(threads)
    donors = shift_donors(size, codes, repeats, rng)
    logger.info(
        f"explaining {model.task.column!r} by {len(study.feature_ids):,} ASVs in {size:,} samples"
    )
    with _one_thread_each():
        config = override(model.config, device, None, long_sequences)
        check_lengths(study, config)
        perturbed = Perturbed(model, study, config, held_out)
        try:
            if perturbed.device.type != "cpu":
                workers = 1
            flips = flipped_together(size, codes, rng)
            sums = permute_levels(perturbed, levels, donors, truth, flips, workers)
            asvs = importances(perturbed, levels[:1], sums[:1], rng)
            groups = importances(perturbed, levels[1:], sums[1:], rng)
            deletion = deletion_curve(perturbed, sums[0], truth, flips, rng)
            moved: tuple[pd.DataFrame | None, pd.DataFrame | None] = (None, None)
            if references:
                others = _references(np.diff(perturbed.read.indptr), codes, references, rng)
                logger.info("contributions by sample")
                moved = contributions(perturbed, others, rng, workers)
        finally:
            perturbed.close()
    flipped = int(flips.max()) + 1
    counts = {
        "samples": size,
        "groups": size if codes is None else int(codes.max()) + 1,
        "repeats": repeats,
        "least_p": least_p(flipped),
        "out_of_fold": held_out is not None,
        "training_samples_known": bool(model.train_samples),
        "mean_error": float(model.task.blend_losses(perturbed.base, truth).mean()),
    }
    few = few_groups(flipped, {"ASVs": len(asvs), "groups": len(groups)})
    if few:
        logger.info(few)
    return Explanation(
        asvs,
        groups,
        deletion,
        contributions=moved[0],
        samples=moved[1],
        target=model.task.column,
        error=model.task.error_name,
        counts=counts,
        notes=[it for it in (note, *whole.report, blank, few) if it],
    )


def permutation_importance(
    model: Model,
    study: Study,
    values: pd.Series,
    *,
    groups: pd.Series | None = None,
    repeats: int = 3,
    seed: int = 0,
    device: str | None = None,
    threads: int | None = None,
) -> pd.Series:
    """By how much the mean error rises where an ASV is permuted among samples, and no more.

    It is the importance of `explain`, without its p, clades and contributions: of the samples of
    one fold of many, which tell little alone.

    Parameters
    ----------
    model : Model
        Of one target.
    study : Study
        Samples that the model was not trained on.
    values : Series
        Actual value of each sample.
    groups : Series, optional
        Samples of a group receive no abundances from their own. Of a single group it is ignored.
    repeats, seed, device, threads
        As in `explain`.

    Returns
    -------
    Series
        Of all ASVs of the study: 0 of those that no sample has, NaN where there is one sample.
    """
    names = pd.Index(study.feature_ids, name="feature-id")
    nothing = pd.Series(np.nan, index=names, name="importance")
    size = len(study.sample_ids)
    if size < 2:
        return nothing
    codes = None if groups is None else pd.factorize(groups.loc[study.sample_ids])[0]
    codes = None if codes is None or codes.max() < 1 else codes
    study = _some_features(study, np.flatnonzero(study.counts.getnnz(axis=0)))
    truth = model.task.forest_target(values.loc[study.sample_ids])
    rng = np.random.default_rng(seed)
    donors = shift_donors(size, codes, repeats, rng)
    with _one_thread_each():
        config = override(model.config, device, None, None)
        perturbed = Perturbed(model, study, config, None)
        try:
            workers = 1 if perturbed.device.type != "cpu" else _workers(threads)
            one_group = np.zeros(size, np.int64)
            levels = [each_asv(study)]
            (sums,) = permute_levels(perturbed, levels, donors, truth, one_group, workers)
        finally:
            perturbed.close()
    rises = (sums.rise / np.maximum(size - sums.dropped, 1)).mean(axis=1)
    importance = pd.Series(rises, index=study.feature_ids)
    return importance.reindex(names, fill_value=0.0).rename("importance")


def mean_importance(parts: Sequence[pd.Series], samples: Sequence[int]) -> pd.Series:
    """The mean of importances on several sets of samples, most important first.

    Parameters
    ----------
    parts : sequence of Series
        As of `permutation_importance`; what is NaN does not count.
    samples : sequence of int
        How many samples each is of.
    """
    table = pd.concat([part.rename(number) for number, part in enumerate(parts)], axis=1)
    weights = table.notna() * np.asarray(samples, float)
    total = weights.sum(axis=1)
    mean = (table.fillna(0.0) * weights).sum(axis=1) / total.where(total > 0)
    if mean.isna().all():
        logger.warning(
            "Each fold tests a single sample, with which no other is permuted: there are no "
            "importances (NaN)"
        )
    mean = mean.sort_values(ascending=False, kind="stable")
    return mean.rename("importance").rename_axis("feature-id")


def _check_numbers(repeats: int, references: int) -> None:
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be at least 1.")
    if references < 0:
        raise InputError(f"references is {references}; it must be at least 0.")


def one_target(model: Model, target: str | None) -> Model:
    """The model of one target."""
    each = {it.task.column: it for it in model.each}
    if target is None:
        if len(each) > 1:
            raise InputError(
                f"This model predicts {len(each)} targets ({first_five(each)}): name the one to "
                "explain (target, --target)."
            )
        return next(iter(each.values()))
    if target not in each:
        raise InputError(f"This model predicts {first_five(each)}, not {target!r}.")
    return each[target]


def _with_values(study: Study, model: Model) -> tuple[Study, str]:
    """The samples that have a value of the target, and a line about the others, or none."""
    name = model.task.column
    if study.metadata is None:
        raise InputError(
            f"Explaining needs the actual values of {name!r}: give metadata that has them."
        )
    missing = set(missing_ids(column(study.metadata, name)))
    kept = [it for it in study.sample_ids if it not in missing]
    blank = len(study.sample_ids) - len(kept)
    line = f"{blank} samples without {name!r} are not used" if blank else ""
    if line:
        logger.info(line)
    if len(kept) < _LEAST:
        raise InputError(
            f"{len(kept)} samples have a value of {name!r}: an explanation needs {_LEAST} or more."
        )
    study = study.select(kept)
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    if len(present) == len(study.feature_ids):
        return study, line
    return _some_features(study, present), line


def _some_features(study: Study, present: np.ndarray) -> Study:
    """A study without the features that no sample has."""
    phylogeny = study.phylogeny
    if phylogeny is not None:
        names = {study.feature_ids[i] for i in present}
        phylogeny = phylogeny.take([i for i, it in enumerate(phylogeny.tip_ids) if it in names])
    return replace(
        study,
        feature_ids=[study.feature_ids[i] for i in present],
        counts=study.counts[:, present],
        sequences=None if study.sequences is None else [study.sequences[i] for i in present],
        phylogeny=phylogeny,
        taxonomy=None if study.taxonomy is None else [study.taxonomy[i] for i in present],
    )


def _codes(study: Study, group_by) -> np.ndarray | None:
    """``[N]`` codes of the groups of samples; None where each is by itself."""
    groups = values_by_sample(study, group_by, "group_by")
    if groups is None:
        return None
    groups = groups.reindex(study.sample_ids)
    blank = list(groups.index[groups.isna()])
    if blank:
        raise InputError(
            f"{len(blank)} of {len(groups)} samples have no value in the column that groups them "
            f"({listing(blank)})."
        )
    codes = pd.factorize(groups)[0]
    if codes.max() < 1:
        raise InputError(
            f"All samples are of one group ({groups.iloc[0]!r}): there is no other to permute with."
        )
    return codes


def _held_out(model: Model, study: Study) -> tuple[np.ndarray | None, str]:
    """``[K, N]`` members that did not train on each sample, and a line about it.

    None, where no sample was trained on; the line may be empty.
    """
    note = ""
    names = study.sample_ids
    validated = set(model.val_samples)
    trained = {*model.train_samples, *validated}
    seen = [name for name in names if name in trained]
    if not model.train_samples:
        note = (
            "the model does not tell which samples it was trained on (train_samples.txt): whether "
            f"these {len(names):,} are new to it is unknown, and importances of training samples "
            "mean nothing"
        )
        logger.warning(note)
    if not seen:
        return None, note
    unknown = [name for name in seen if name not in validated]
    if unknown:
        raise InputError(
            f"{len(unknown):,} of {len(names):,} samples were trained on by all networks "
            f"({listing(unknown)}): importances of training samples mean nothing. Leave these "
            "out: give metadata of other samples alone, or of those in the model's val_samples.txt."
        )
    if len(seen) < len(names):
        raise InputError(
            f"{len(seen):,} of {len(names):,} samples are of the fit ({listing(seen)}), the others "
            "are new: explain each by itself, for they are predicted by other parts of the model."
        )
    if len(model.val_folds) != len(model.val_samples):
        raise InputError(
            "All samples are of the fit, and an earlier AAM saved this model, which does not tell "
            "which network held out which: explain samples that are new to it."
        )
    if model.forest is not None and model.network_weight == 0:
        raise InputError(
            "All samples are of the fit, and of the networks, by which alone they could be "
            "explained, the model predicts nothing (blend weight 0): explain samples that are new "
            "to it."
        )
    fold = dict(zip(model.val_samples, model.val_folds, strict=True))
    count = max(model.val_folds) + 1
    split = Split(names, names, [fold[name] for name in names], count)
    note = "all samples are of the fit: each is explained by the networks that did not train on it"
    if model.forest is not None and model.network_weight < 1:
        forest_name = forest_in_words(model.forest.linear_share)
        note += f", without the {forest_name} (blend weight {1 - model.network_weight:.2f})"
        logger.warning(note)
    return split.held_out(names, model.config.model.members), note


def _references(
    richness: np.ndarray, codes: np.ndarray | None, references: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Positions of the references of each sample, of other groups.

    One of a single ASV, which could not be exchanged, is not drawn where there are others.
    """
    own = np.arange(len(richness)) if codes is None else codes
    drawn = []
    for sample in range(len(richness)):
        others = np.flatnonzero(own != own[sample])
        several = others[richness[others] > 1]
        others = several if len(several) else others
        drawn.append(rng.choice(others, min(references, len(others)), replace=False))
    return drawn


def _workers(threads: int | None) -> int:
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1.")
        return threads
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Torch in one thread: the samples are what is done in parallel."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
