"""A baseline, fitted and scored on the split of a fit: both can be compared file by file."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import plots, preparation
from aam_core.baseline import WITHOUT_COVARIATES, predict_baseline
from aam_core.config import Config, FigureConfig
from aam_core.config.resolve import ConfigLike, configured
from aam_core.config.unused import RunContext, unused_settings
from aam_core.data.columns import infer_task
from aam_core.data.covariates import covariate_names
from aam_core.data.folds import split_table
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output
from aam_core.files.writing import write_json
from aam_core.log import note
from aam_core.summary import Summarized
from aam_core.tasks import Task, task_named
from aam_core.training.launch.devices import writes_alone

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["FILES", "Baseline", "fit_baseline"]

FILES = (
    "metrics.json",
    "train_samples.txt",
    "val_samples.txt",
    "folds.tsv",
    "val_predictions.tsv",
    *plots.figure_names("val_predictions"),
)
"""What is written, as a fit writes it."""

_ACT = {
    *("data.rarefaction", "data.sampling_depth", "data.shallow_samples", "data.min_reads"),
    *("model.members", "model.encoder.features", "train.threads", "train.seed"),
    *("train.val_fraction", "train.val_where", "train.strata"),
}
"""Settings with an effect: on the samples, how they are split, and the time it takes."""

_SPLIT = {
    *("model.members", "model.encoder.features"),
    *("train.val_fraction", "train.val_where", "train.strata"),
}
"""Those of a split that is not given."""


@dataclass(repr=False)
class Baseline(Summarized):
    """What a baseline predicts of held-out samples.

    Attributes
    ----------
    metrics : dict
        ``method``, ``held_out`` and ``model``, as a fit has them.
    val_predictions : DataFrame
        Index ``sample-id``; ``actual``, ``prediction``, and of classes their probabilities.
    split : Split
    """

    metrics: dict
    val_predictions: pd.DataFrame
    split: Split

    def _summary(self) -> tuple[str, dict[str, str]]:
        scores = preparation.metrics_in_words(self.metrics["model"])
        samples = preparation.held_out_in_words(self.metrics["held_out"])
        return f"Baseline: {samples}", {self.metrics["method"]: scores}


@configured("fitting")
@writes_alone
def fit_baseline(
    study: Study,
    target: str | pd.Series,
    *,
    method: str = "random_forest",
    task: str | None = None,
    group_by: str | pd.Series | None = None,
    split: tuple[Sequence[str], Sequence[str]] | Split | None = None,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    **settings: Unpack[EverydaySettings],
) -> Baseline:
    """Fit a baseline to the training samples of a split, and score it on the others.

    The split is the one that a fit with the same settings has: where its members hold out folds,
    each fold is predicted by a baseline that is fitted to the others.

    Parameters
    ----------
    study : Study
    target : str or Series
        Metadata column, or values by sample id.
    method : str
        Key of `aam_core.baseline.BASELINES`.
    task : {'regression', 'classification'}, optional
        Inferred from the target where not given: text means classes.
    group_by, split, covariates, config, preset, **settings
        As in `fit_regressor`; settings of networks and training have no effect.
    output : path, optional
        Folder for `FILES`. Nothing that predicts is saved.

    Returns
    -------
    Baseline

    Raises
    ------
    InputError
        If the target is unusable, there are too few samples or groups, or none is held out; or the
        output folder holds something else, such as a model.
    """
    assert isinstance(config, Config)
    if output is not None:
        check_output(output, "a baseline")
    samples, dropped = preparation.usable_samples(study, config)
    values = preparation.values_by_sample(study, target)
    groups = preparation.values_by_sample(study, group_by, "group_by")
    names = covariate_names(covariates)
    preparation.check_columns(values, groups, names, study.sample_ids)
    values = values.reindex(samples)
    kind = task_named(infer_task(values) if task is None else task)
    made = _split(study, samples, values, kind, groups, split, config)
    notes = preparation.column_notes(study, values, group_by, names, kind, config)
    if names and method in WITHOUT_COVARIATES:
        notes.append(f"covariates have no effect: {method!r} reads none.")
    if task is None:
        notes.append(kind.inference_note(values))
    idle = preparation.split_note(study, samples, config, made, split is not None)
    for line in (dropped, idle, *notes, *_unused(config, kind, split is not None, output)):
        if line:
            note(line)
    frames = []
    for fold in sorted(set(made.folds)):
        test = [name for name, number in zip(made.val, made.folds, strict=True) if number == fold]
        out = set(test)
        frames.append(
            predict_baseline(
                method,
                study,
                [name for name in made.train if name not in out],
                test,
                values,
                task=kind.name,
                seed=config.train.seed,
                covariates=names,
                groups=groups,
                threads=config.train.threads,
            )
        )
    baseline = _scored(method, frames, made, values, kind, groups)
    if output is not None:
        _write(baseline, kind, str(values.name), output, config.figure)
    return baseline


def _split(study, samples, values, kind, groups, given, config: Config) -> Split:
    """The split that is given, or that of a fit."""
    members = config.model.members
    if given is not None:
        split = preparation.given_split(given, study.sample_ids, samples, members)
    else:
        kind.check(values, splits=config.train.val_fraction > 0)
        chosen = preparation.chosen_split(study, samples, config, groups)
        if chosen is None:
            strata = preparation.strata_of(kind, values, config, groups)
            make = preparation.splitter(config)
            chosen = make(samples, groups=groups, strata=strata)
        split = chosen
    if not split.val:
        raise InputError("No sample is held out to score: raise --val-fraction, or give a split.")
    return split


def _unused(config: Config, kind: type[Task], given: bool, output) -> list[str]:
    """Lines on settings that a person set and that have no effect."""
    acting = _ACT - _SPLIT if given else _ACT
    drawn = {name for name in config.explicit if name.startswith("figure.")}
    names = sorted(config.explicit - acting - drawn)
    lines = []
    if names:
        why = "no network is trained" + (", and the split is given" if given else "")
        lines.append(
            f"{first_five(names)} {'has' if len(names) == 1 else 'have'} no effect: {why}."
        )
    context = RunContext(kind.name, output=output is not None)
    return [*lines, *unused_settings(replace(config, explicit=frozenset(drawn)), context)]


def _scored(method, frames, split: Split, values, kind: type[Task], groups) -> Baseline:
    """The predictions of all folds, and their metrics."""
    table = pd.concat(frames).loc[split.val].rename_axis("sample-id")
    if kind.text_values:  # a class that is not among a fold's training samples has probability 0
        table = table.fillna(0.0)
    truth = values.loc[split.val]
    compared, scores = kind.compare(table, truth)
    table.insert(0, "actual", compared["actual"].tolist())
    count = preparation.count_groups(groups, split.val)
    counts = preparation.count_held_out(len(split.val), count)
    metrics: dict[str, Any] = {
        "method": method,
        "held_out": counts | {"folds": len(set(split.folds))},
        "model": scores,
    }
    return Baseline(metrics, table, split)


def _write(
    baseline: Baseline, kind: type[Task], target: str, output: str | Path, figure: FigureConfig
) -> None:
    """Write `FILES`: the plot once the others are safe."""
    with replacing_in(output, FILES) as folder:
        write_json(folder / "metrics.json", baseline.metrics)
        baseline.val_predictions.to_csv(folder / "val_predictions.tsv", sep="\t")
        split_table(baseline.split).to_csv(folder / "folds.tsv", sep="\t")
        for side, ids in (("train", baseline.split.train), ("val", baseline.split.val)):
            text = "".join(f"{name}\n" for name in ids)
            (folder / f"{side}_samples.txt").write_text(text, encoding="utf-8")
    words = {"label": target, "units": figure.units, "title": figure.title}
    draw = functools.partial(kind.plot, baseline.val_predictions, **words)
    plots.attempt(Path(output, f"val_predictions.{figure.format}"), draw)
