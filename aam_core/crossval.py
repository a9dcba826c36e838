"""Cross-validation: every sample predicted by a model that never saw it, beside baselines."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam_core import preparation
from aam_core.baseline import BASELINES
from aam_core.comparison import (
    check_class_names,
    comparison_table,
    labels_of,
    long_table,
    metrics_of,
    predictions_table,
    together_by_method,
)
from aam_core.config import Config
from aam_core.config.fields import names_in
from aam_core.config.resolve import ConfigLike, configured
from aam_core.data.columns import as_classes, infer_task
from aam_core.data.covariates import covariate_names, fit_covariates, infer_types
from aam_core.data.folds import Division, folds_table
from aam_core.data.ids import short
from aam_core.data.metadata import unmatched
from aam_core.data.study import Study
from aam_core.ensemble.blending import forest_in_words
from aam_core.errors import InputError, first_five, lookup
from aam_core.evaluation import write_scores
from aam_core.explanation.explain import mean_importance
from aam_core.files.own_output import check_output
from aam_core.fold_fits import (
    FoldFit,
    FoldInputs,
    FoldPredictions,
    TargetInputs,
    of_repeat,
    predict_folds,
)
from aam_core.log import duration, logger, note
from aam_core.model import MORE, Model, as_model
from aam_core.pretrained import model_to_go_on_from, with_sizes_of, with_sizes_of_model
from aam_core.summary import Summarized
from aam_core.tasks import Targets, Task, task_named
from aam_core.tasks.losses import sample_weights
from aam_core.training.launch.devices import writes_alone
from aam_core.training.launch.environment import is_launched

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from aam_core.config.everyday import EverydaySettings

__all__ = ["CrossValidation", "cross_validate"]

_WRITTEN = ("comparison.tsv", "folds.tsv")
"""Tables beside those of an evaluation."""

_IMPORTANCE = "importance.tsv"
"""The table of importances, where they are asked for."""


@dataclass(repr=False)
class CrossValidation(Summarized):
    """Out-of-fold predictions of every sample, and their metrics.

    Attributes
    ----------
    predictions : DataFrame
        Index ``sample-id``; ``fold``, ``actual``, ``prediction`` and what else `predict` gives; the
        same of the other methods, in columns that start with their names. Of several repeats one
        below the other, with a column ``repeat``.
    metrics : dict
        ``{"held_out": {...}, "aam": {...}, ..., "per_fold": [...]}``: how many samples, groups and
        folds there are; metrics of the model, of its ``network`` alone, where it is blended with a
        forest, and of the baselines; the same of each fold. Of several repeats these are means, and
        ``per_repeat`` and ``spread`` (standard deviations) tell more. ``comparison`` has the
        intervals, and the differences from the random forest (`statistics.compare_methods`). Of a
        regression also the ``interval`` that ``coverage`` is of.
    folds : DataFrame
        Index ``sample-id``; ``repeat`` and ``fold`` in which each sample was tested.
    task : str
        Its name.
    target : str
        The metadata column that is predicted.
    more : list of CrossValidation
        Of further targets, by the same fits and folds; ``metrics["targets"]`` has those of all.
    classes : list of str
        Of a classification, those that have a column of probabilities, in their order.
    groups : Series or None
        Group of each sample, by its id.
    importance : Series or None
        By how much the mean error rises where an ASV is permuted among the test samples of a fold:
        the mean over the folds, most important first, where asked for.
    """

    predictions: pd.DataFrame
    metrics: dict
    folds: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    task: str = "regression"
    target: str = ""
    more: list[CrossValidation] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)
    groups: pd.Series | None = None
    importance: pd.Series | None = None

    @property
    def each(self) -> list[CrossValidation]:
        """One of each target: itself, and `more`."""
        return [dataclasses.replace(self, more=[]), *self.more]

    @property
    def comparison(self) -> pd.DataFrame:
        """Metrics of all methods, as ``comparison.tsv`` has them (`comparison_table`)."""
        return comparison_table(self.metrics)

    @property
    def by_method(self) -> pd.DataFrame:
        """Predictions of all methods, one below the other (`long_table`)."""
        return long_table(self.predictions, list(labels_of(self.task)), self.classes, self.groups)

    def _summary(self) -> tuple[str, dict[str, str]]:
        labels = list(labels_of(self.task).items())
        lines = {
            f"{one.target}: {label}" if self.more else label: ", ".join(
                f"{name} {value:.4g}" for name, value in one.metrics[key].items()
            )
            for one in self.each
            for key, label in labels
            if key in one.metrics
        }
        samples = preparation.held_out_in_words(self.metrics["held_out"])
        return f"Cross-validation: {samples}", lines


@configured("fitting")
@writes_alone
def cross_validate(
    study: Study,
    target: str | pd.Series | Sequence[str],
    *,
    task: str | None = None,
    group_by: str | pd.Series | None = None,
    folds: int | None = None,
    fold_by: str | pd.Series | None = None,
    test_where: str | Sequence[str] = (),
    folds_file: str | Path | None = None,
    repeat: int = 1,
    only: int | None = None,
    jobs: int = 1,
    baseline: bool | Sequence[str] = True,
    importance_repeats: int = 0,
    encoder: Model | str | Path | None = None,
    init_from: Model | str | Path | None = None,
    freeze_encoder: bool = False,
    covariates: Sequence[str] = (),
    config: ConfigLike = None,
    preset: str | None = None,
    output: str | Path | None = None,
    **settings: Unpack[EverydaySettings],
) -> CrossValidation:
    """Score every sample by a model that never saw it, beside baselines on the same folds.

    In each fold the validation samples of early stopping come from the training side.

    Parameters
    ----------
    study : Study
    target : str, Series or list of str
        Metadata column, or values by sample id; or several columns of numbers, as in
        `fit_regressor`: one fit a fold learns all, and each is scored by itself, on the samples
        that have a value of it, beside baselines of its own.
    task : {'regression', 'classification'}, optional
        Inferred from the target where not given: text means classes.
    group_by : str or Series, optional
        Samples of a group are never on both sides, of a fold or of its validation split; intervals
        and tests are over groups.
    folds : int, optional
        Number of folds; 5 where neither this nor one of the following is given.
    fold_by : str or Series, optional
        A fold for each value of this metadata column instead: leave one group out.
    test_where : str or sequence of str
        ``"column=value"``: one fold, which tests these samples (with several, those with any of
        them) and trains on all others.
    folds_file : path, optional
        A table with the fold of each sample, as ``folds.tsv`` is written. Samples that are not in
        it are trained on in every fold.
    repeat : int
        How often all is done, each time with the next seed, of folds and fits.
    only : int, optional
        Fit this fold alone, of all folds of all repeats from 1, exactly as all together would: the
        result has its predictions and no comparison. `comparison.metrics_of_table` compares folds
        that were fitted apart.
    jobs : int
        Folds at a time, each in a process of its own, with a share of the cores.
    baseline : bool or sequence of str
        Which baselines to score too, by their names in `baseline.BASELINES`; all or none. Where the
        number of reads alone predicts the target there is a warning.
    importance_repeats : int
        How often each ASV is permuted among the test samples of each fold, to tell its importance
        by the rise of the error; 0 for no importances.
    encoder, init_from, freeze_encoder, covariates, config, preset, **settings
        As in `fit_regressor`. If the encoder was trained on tested samples there is a warning.
    output : path, optional
        Folder for ``predictions.tsv``, ``metrics.json``, ``comparison.tsv``, ``folds.tsv``,
        ``predictions.png`` and, where asked for, ``importance.tsv``; of each further target the
        same in a folder of its own, in ``targets``.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        If the target is unusable, or there are fewer samples or groups than folds; or the samples
        are divided in two ways; or the output folder holds something else, such as a model.
    """
    began = time.perf_counter()
    kind = None if task is None else task_named(task)
    if output is not None:
        if only is not None:
            raise InputError("only one fold is no cross-validation to write: give no output.")
        check_output(output, "a cross-validation")
    assert isinstance(config, Config)
    _check_jobs(jobs, config)
    if importance_repeats < 0:
        raise InputError(f"importance_repeats is {importance_repeats}; it must be at least 0.")
    encoder = None if encoder is None else as_model(encoder)
    options: dict[str, Any] = {
        "encoder": encoder,
        "init_from": model_to_go_on_from(init_from, encoder),
        "freeze_encoder": freeze_encoder,
        "covariates": covariate_names(covariates),
    }
    division = Division(
        folds=folds,
        fold_by=preparation.values_by_sample(study, fold_by, "fold_by"),
        test_where=(test_where,) if isinstance(test_where, str) else tuple(test_where),
        folds_file=folds_file,
        repeat=repeat,
    )
    division.check()
    names = _baseline_names(baseline)
    inputs = _prepare(study, target, kind, group_by, division, config, options, names)
    inputs = dataclasses.replace(inputs, importance_repeats=importance_repeats)
    inputs = inputs if only is None else _one_fold(inputs, only)
    predicted = predict_folds(inputs, jobs)
    first, *more = (
        _scored(*pair, compare=only is None) for pair in zip(inputs.each, predicted, strict=True)
    )
    if more:
        first.metrics["targets"] = {one.target: {**one.metrics} for one in (first, *more)}
    result = dataclasses.replace(first, more=more)
    # Under torchrun every rank comes here; one of them writes.
    if output is not None and os.environ.get("RANK", "0") == "0":
        _write(result, inputs, Path(output))
    if only is None:  # a fold has said how long it took
        logger.info("the cross-validation took %s", duration(time.perf_counter() - began))
    return result


def _one_fold(inputs: FoldInputs, number: int) -> FoldInputs:
    """One fold of all, counted from 1."""
    if not 1 <= number <= len(inputs.folds):
        raise InputError(f"There are {len(inputs.folds)} folds to fit, and no fold {number}.")
    return dataclasses.replace(inputs, folds=inputs.folds[number - 1 : number])


def _scored(
    inputs: TargetInputs, predicted: Sequence[FoldPredictions], *, compare: bool = True
) -> CrossValidation:
    """The predictions of all folds of one target, and how good they are."""
    repeats = list(dict.fromkeys(fold.repeat for fold, *_ in inputs.folds))
    together = [together_by_method(inputs, predicted, repeat) for repeat in repeats]
    tables = [
        predictions_table(frames, inputs, repeat)
        for repeat, frames in zip(repeats, together, strict=True)
    ]
    metrics, task = metrics_of(inputs, predicted, together, tables, compare), inputs.task
    _warn_of_depth(metrics, task)
    _say_weight(metrics)
    table = tables[0]
    if repeats != [1]:
        for number, each in zip(repeats, tables, strict=True):
            each.insert(0, "repeat", number)
        table = pd.concat(tables)
    folds = folds_table(fold for fold, *_ in inputs.folds)
    groups = None if inputs.groups is None else inputs.groups.loc[table.index.unique()]
    return CrossValidation(
        table,
        metrics,
        folds,
        task.name,
        task.column,
        classes=list(task.classes),
        groups=groups,
        importance=_mean_importance(inputs, predicted),
    )


def _mean_importance(
    inputs: TargetInputs, predicted: Sequence[FoldPredictions]
) -> pd.Series | None:
    """The importance of each ASV in the mean of the folds, by their numbers of test samples."""
    each = [one.importance for one in predicted if one.importance is not None]
    if not each:
        return None
    return mean_importance(each, [len(fit.fold.test) for fit in inputs.folds])


def _write(result: CrossValidation, inputs: FoldInputs, output: Path) -> None:
    """Write the first target to the folder, and the others to folders below it."""
    names = [""]
    for number, one in enumerate(result.more, start=2):
        column = re.sub("[^A-Za-z0-9_-]", "_", one.target)[:40]
        names.append(f"{number}-{column}")
    figure = inputs.config.figure
    units = figure.units_of([one.target for one in result.each])
    each = list(zip(result.each, inputs.each, names, units, strict=True))
    for one, part, name, unit in reversed(each):  # the first, which tells of all, is the last
        repeats = one.predictions.get("repeat")
        drawn = one.predictions if repeats is None else one.predictions[repeats == 1]
        tables = dict(zip(_WRITTEN, (one.comparison, one.folds), strict=True))
        tables[_IMPORTANCE] = None if one.importance is None else one.importance.to_frame()
        place = output / MORE / name if name else output
        drawing = dataclasses.replace(figure, units=unit)
        given = part.task, one.target, place, tables, drawn, drawing
        write_scores(one.predictions, one.metrics, *given)
    _remove_others(output / MORE, names)


def _remove_others(folder: Path, names: list[str]) -> None:
    """Remove the further targets of an earlier output; what a user keeps there stays."""
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    old = [
        place
        for place in places
        if place.name not in names
        and re.fullmatch(r"[0-9]+-[A-Za-z0-9_-]{1,40}", place.name)
        and all((place / name).is_file() for name in _WRITTEN)
    ]
    for place in old:
        shutil.rmtree(place, ignore_errors=True)
    if old and not any(folder.iterdir()):
        folder.rmdir()


def _check_jobs(jobs: int, config: Config) -> None:
    """Refuse processes within processes."""
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}.")
    if jobs > 1 and (is_launched() or config.train.devices > 1):
        raise InputError(
            f"jobs={jobs} beside several processes a fit (train.devices, torchrun): choose one."
        )


def _baseline_names(baseline: bool | Sequence[str]) -> tuple[str, ...]:
    """The baselines to score, in the order of `BASELINES`."""
    if isinstance(baseline, bool):
        return tuple(BASELINES) if baseline else ()
    names = [baseline] if isinstance(baseline, str) else list(baseline)
    for name in names:
        lookup(BASELINES, name, "baseline")
    return tuple(name for name in BASELINES if name in names)


def _prepare(
    study: Study,
    target: str | pd.Series | Sequence[str],
    kind: type[Task] | type[Targets] | None,
    group_by: str | pd.Series | None,
    division: Division,
    config: Config,
    options: dict[str, Any],
    baselines: tuple[str, ...],
) -> FoldInputs:
    """Everything that can be wrong, and every line to say, before the first fit."""
    encoder, covariates = options["encoder"] or options["init_from"], options["covariates"]
    samples, dropped = preparation.usable_samples(study, config)
    study = study.select(samples)
    values = preparation.targets_by_sample(study, target).reindex(samples)
    notes = []
    if isinstance(values, pd.DataFrame):
        name = Targets.name if kind is None else kind.name
        preparation.check_several(values, name, options["init_from"])
        kind = Targets
    elif kind is None:
        kind = task_named(infer_task(values))
        notes.append(kind.inference_note(values))
    study, config, unused = _without_unused(study, values, kind, group_by, config, options)
    notes += preparation.column_notes(study, values, group_by, covariates, kind, config)
    # Decided by all samples: what a column is must not differ between folds.
    study = dataclasses.replace(study, metadata=infer_types(study.metadata, covariates)[0])
    groups = preparation.values_by_sample(study, group_by, "group_by")
    adopted = _with_sizes(config, kind, options)
    task = kind.fit(values)
    check_class_names(task.column, task.classes)
    preparation.check_output(adopted, task, values)
    each = preparation.columns_of(values)
    for one in each:
        preparation.check_interval_groups(study, one, config)
    config.figure.units_of([str(one.name) for one in each])  # only for its error
    made = _folds(study, values, kind, groups, division, config, options)
    if division.test_where and study.metadata is not None:
        notes.append(unmatched(study.metadata, division.test_where))
    for line in (dropped, *notes, *unused, _untrained_classes(kind.strata(values), made)):
        if line:
            note(line)
    _warn_of_encoder(encoder, samples)
    # As read: of several targets numbers, which metadata may have as text.
    inputs = FoldInputs(study, values, task, groups, made, config, options, baselines)
    assert inputs.each, "made here for its errors, before the first fit"
    return inputs


def _without_unused(study, values, kind, group_by, config, options):
    """The study without what no fold learns, the configuration, and lines on what is not used."""
    groups = preparation.values_by_sample(study, group_by, "group_by")
    read = [*options["covariates"], *config.columns()]
    for one in preparation.columns_of(values):
        preparation.check_columns(one, groups, read, study.sample_ids)
    adopted = _with_sizes(config, kind, options)
    context = preparation.describe_run(
        kind.name,
        study,
        adopted,
        job="folds",
        encoder=bool(options["encoder"] or options["init_from"]),
        frozen=options["freeze_encoder"],
        covariates=bool(options["covariates"]),
        targets=len(preparation.columns_of(values)),
        validates=config.train.val_fraction > 0,
        output=False,
    )
    unused = preparation.unused(study, adopted, context, groups)
    # Reported here once: the fit of each fold would name the same settings again.
    return preparation.without_unused(study, adopted, context), config.reported(), unused


def _with_sizes(
    config: Config, kind: type[Task] | type[Targets], options: dict[str, Any]
) -> Config:
    """The configuration with the sizes of the model that the fits start from."""
    config = with_sizes_of(config, options["encoder"])
    return with_sizes_of_model(config, options["init_from"], kind.model_kind)


def _folds(study, values, kind, groups, division, config, options) -> list[FoldFit]:
    """The folds; what cannot be split or fitted is refused before anything is trained."""
    folds = division.make(
        study.sample_ids,
        study.metadata,
        config.train.seed,
        groups,
        preparation.strata_of(kind, values, config, groups, division.stratified),
        classes=kind.strata(values) is not None,
    )
    made = []
    count = max(fold.number for fold in folds)
    repeats = max(fold.repeat for fold in folds)
    for fold in folds:
        label = f"fold {fold.number}/{count}"
        label = label if repeats == 1 else f"repeat {fold.repeat}/{repeats}, {label}"
        try:
            strata = preparation.strata_of(kind, values.loc[fold.train], config, groups)
            adopted = _with_sizes(of_repeat(config, fold.repeat), kind, options)
            split = preparation.splitter(adopted, freeze_encoder=options["freeze_encoder"])
            inner = split(fold.train, groups=groups, strata=strata)
            # Only for their errors, which would else come when the folds before are trained.
            used = values.loc[fold.train]
            rows = None if study.metadata is None else study.metadata.loc[fold.train]
            numbers = dict(zip(inner.val, inner.folds, strict=True))
            kind.fit(used, inner.train, config.loss, rows, numbers)
            sample_weights(study, fold.train, config.loss)
            scaled = names_in(config.model.head.scale_by)
            fit_covariates(study.metadata, options["covariates"], inner.train, scaled)
        except InputError as error:
            where = f"In the {len(fold.train)} training samples of {label.partition('/')[0]}"
            raise InputError(f"{where}: {error}") from None
        made.append(FoldFit(fold, inner, label))
    return made


def _untrained_classes(classes: pd.Series | None, folds: Sequence[FoldFit]) -> str:
    """A line on classes that a fold tests and does not train on; empty without any."""
    if classes is None:
        return ""
    names, unknown = as_classes(classes), []
    for fold, split, _ in folds:
        if fold.repeat == 1:
            lacking = sorted(set(names.loc[fold.test]) - set(names.loc[split.train]))
            unknown += [f"{short(name)} (fold {fold.number})" for name in lacking]
    if not unknown:
        return ""
    return (
        "No training sample of a fold is of a class that it tests, and that is never predicted "
        f"there: {first_five(unknown)}."
    )


def _say_weight(metrics: dict) -> None:
    """Say where the networks have no part in the predictions."""
    zero, folds = metrics["network_weight"]["zero"], len(metrics["per_fold"])
    if zero and "network" in metrics:
        forest_name = forest_in_words(metrics["network_weight"].get("linear_share", 0.0))
        logger.info(
            f"The networks' blend weight is 0 in {zero} of {folds} folds, where AAM is its "
            f"{forest_name}."
        )


def _warn_of_depth(metrics: dict, task: Task) -> None:
    """Warn where the number of reads of a sample alone predicts the target."""
    name, least = task.informative
    value = metrics.get("reads", {}).get(name)
    if value is not None and value >= least:
        logger.warning(
            f"The number of reads of a sample alone predicts {task.column!r} with {name} "
            f"{value:.3f}: the samples were sequenced to different depths, and every method can "
            "tell them apart by it. Rarefy the table to one depth beforehand to see what the "
            "microbes themselves tell."
        )


def _warn_of_encoder(encoder: Model | None, samples: list[str]) -> None:
    """Warn of samples that the encoder was trained on."""
    if encoder is None:
        return
    trained = encoder.trained_samples
    both = [name for name in samples if name in trained]
    if not both:
        return
    logger.warning(
        f"The encoder was {encoder.how_trained} on {len(both)} of the {len(samples)} samples: "
        f"{first_five(both)}. Of samples that it never saw the metrics may be worse."
    )
