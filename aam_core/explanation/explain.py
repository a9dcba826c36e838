"""A model + samples with known values -> which ASVs, clades and taxa told it, and by how much."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.columns import missing_ids
from aam_core.data.ids import listing
from aam_core.data.metadata import column
from aam_core.data.splits import Split
from aam_core.data.study import Study
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
from aam_core.explanation.significance import flipped_together, least_p
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output
from aam_core.files.writing import write_json
from aam_core.log import logger
from aam_core.model import Model
from aam_core.prediction import as_predictor, as_study, override
from aam_core.preparation import values_by_sample
from aam_core.tasks import Classification

__all__ = ["FILES", "Explanation", "explain", "one_target"]

FILES = (
    *("importance.tsv", "groups.tsv", "deletion.tsv", "contributions.tsv", "samples.tsv"),
    "explanation.json",
    *plots.figure_names("importance", "groups", "deletion"),
)
"""Names of all that `Explanation.save` and `Explanation.draw` write."""

_LEAST = 10
"""Samples without which nothing can be said of an ASV."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What told a model's predictions of some samples.

    Attributes
    ----------
    importance : DataFrame
        Index ``feature-id``, most important first. ``importance``: by how much the mean error
        rises (in units of the target; of classes, the log loss) where the ASV's relative abundance
        is permuted among samples; ``importance_sd``, its standard deviation over the repeats;
        ``p`` by sign flips of whole groups of samples, and ``q``, the false discovery rate over
        the table; ``effect``: by how much having the ASV raises the prediction, the mean over the
        samples that have it (of classes one column each, ``effect_<class>``); ``direction``:
        'raises', 'lowers' or 'none', or the class that it makes likelier; ``prevalence``, the share
        of samples that have it, and mean relative ``abundance``; ``dropped`` samples, which have
        nothing else and do not count; ``taxon`` where there is a taxonomy.
    groups : DataFrame
        The same of taxa, clades or clusters, all of whose ASVs are permuted together: index
        ``group-id``, and ``kind``; ``asvs``, their number, and ``members``, their ids.
    deletion : DataFrame
        As of `importance.deletion_curve`.
    contributions, samples : DataFrame or None
        As of `contributions.contributions`; None where there are no references.
    target : str
    error : str
        Name of the error: 'mean absolute error' or 'log loss'.
    counts : dict
        Samples, groups of samples, repeats, the least p that there can be, whether predictions are
        ``out_of_fold``, and whether the model tells its training samples
        (``training_samples_known``).
    """

    importance: pd.DataFrame
    groups: pd.DataFrame
    deletion: pd.DataFrame
    contributions: pd.DataFrame | None
    samples: pd.DataFrame | None
    target: str
    error: str
    counts: dict

    def save(self, directory) -> Path:
        """Write the tables as TSV, all or nothing, and before `draw`.

        What an earlier run wrote of `FILES` goes; others in the folder stay.

        Raises
        ------
        InputError
            If the folder holds another kind of output, such as a model.
        """
        check_output(directory, "an explanation")
        with replacing_in(directory, FILES) as folder:
            for name in ("importance", "groups", "deletion"):
                getattr(self, name).to_csv(folder / f"{name}.tsv", sep="\t")
            if self.contributions is not None and self.samples is not None:
                self.contributions.to_csv(folder / "contributions.tsv", sep="\t", index=False)
                self.samples.to_csv(folder / "samples.tsv", sep="\t")
            about = {"target": self.target, "error": self.error, **self.counts}
            write_json(folder / "explanation.json", about)
        return Path(directory)

    def draw(self, directory, *, units: str | None = None, title: str | None = None) -> None:
        """Draw importances and the deletion curve, each as SVG and PDF.

        What cannot be drawn costs a warning. The log loss of classes has no ``units``.
        """
        if units is not None and self.error == Classification.error_name:
            logger.info("units have no effect: the log loss of classes has none.")
            units = None
        drawn = {"importance": self.importance, "groups": self.groups}
        for suffix in (".svg", ".pdf"):
            for name, table in drawn.items():
                if (table["importance"] > 0).any():
                    draw = functools.partial(
                        plots.importance, table, error=self.error, units=units, title=title
                    )
                    plots.attempt(Path(directory, f"{name}{suffix}"), draw)
            curve = functools.partial(
                plots.deletion_curve, self.deletion, error=self.error, units=units, title=title
            )
            plots.attempt(Path(directory, f"deletion{suffix}"), curve)


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
    study = _with_values(as_study(table, **files), model)
    values = column(study.metadata, model.task.column)
    truth = model.task.forest_target(values)
    codes = _codes(study, group_by)
    levels = [each_asv(study), *levels_of(study, clades)]
    held_out = _held_out(model, study)
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
    line = few_groups(flipped, {"ASVs": len(asvs), "groups": len(groups)})
    if line:
        logger.info(line)
    return Explanation(
        asvs,
        groups,
        deletion,
        contributions=moved[0],
        samples=moved[1],
        target=model.task.column,
        error=model.task.error_name,
        counts=counts,
    )


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


def _with_values(study: Study, model: Model) -> Study:
    """The samples that have a value of the target."""
    name = model.task.column
    if study.metadata is None:
        raise InputError(
            f"Explaining needs the actual values of {name!r}: give metadata that has them."
        )
    blank = set(missing_ids(column(study.metadata, name)))
    kept = [it for it in study.sample_ids if it not in blank]
    if blank:
        logger.info(f"{len(study.sample_ids) - len(kept)} samples without {name!r} are not used")
    if len(kept) < _LEAST:
        raise InputError(
            f"{len(kept)} samples have a value of {name!r}: an explanation needs {_LEAST} or more."
        )
    study = study.select(kept)
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    if len(present) == len(study.feature_ids):
        return study
    return _some_features(study, present)


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


def _held_out(model: Model, study: Study) -> np.ndarray | None:
    """``[K, N]`` members that did not train on each sample; None where none was trained on."""
    names = study.sample_ids
    validated = set(model.val_samples)
    trained = {*model.train_samples, *validated}
    seen = [name for name in names if name in trained]
    if not model.train_samples:
        logger.warning(
            "the model does not tell which samples it was trained on (train_samples.txt): whether "
            f"these {len(names):,} are new to it is unknown, and importances of training samples "
            "mean nothing"
        )
    if not seen:
        return None
    unknown = [name for name in seen if name not in validated]
    if unknown:
        raise InputError(
            f"{len(unknown):,} of {len(names):,} samples were trained on by all networks "
            f"({listing(unknown)}): importances of training samples mean nothing. Leave these "
            "out (--where, or metadata of other samples)."
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
    if model.forest is not None and model.network_weight < 1:
        logger.warning(
            "all samples are of the fit: each is explained by the networks that did not train on "
            f"it, without the forest (blend weight {1 - model.network_weight:.2f})"
        )
    return split.held_out(names, model.config.model.members)


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
