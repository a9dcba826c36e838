"""`report`: a page of where a model fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core.data.columns import to_floats
from aam_core.data.metadata import column
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.files.own_output import check_output
from aam_core.log import logger
from aam_core.model import as_model
from aam_core.reporting.curve_section import curve_section
from aam_core.reporting.inputs import UNNAMED, Given, Predicted, read_predicted
from aam_core.reporting.learning_curve import plan_curve, run_curve
from aam_core.reporting.neighbours import SampleSpace
from aam_core.reporting.page import Page, write_page
from aam_core.reporting.samples import sample_table
from aam_core.reporting.sections import Subject, sections_of
from aam_core.reporting.summary import facts_of, metrics_table, notes_of

if TYPE_CHECKING:
    from aam_core.crossval import CrossValidation
    from aam_core.model import Model

__all__ = ["report"]


def report(
    model: Model | str | Path | None = None,
    predictions: CrossValidation | Given | pd.DataFrame | str | Path | None = None,
    *,
    study: Study | None = None,
    metadata: pd.DataFrame | str | Path | None = None,
    target: str | None = None,
    group_by: str | None = None,
    columns: Sequence[str] = (),
    units: str = "",
    title: str = "",
    output: str | Path | None = None,
    device: str | None = None,
    learning_curve: bool = False,
    curve_members: int = 2,
    curve_folds: int = 3,
    jobs: int = 1,
) -> Page:
    """Show where a model fails: one HTML page, its plots as SVG and PDF, its tables as TSV.

    Parameters
    ----------
    model : Model or path, optional
        Regressor or classifier, whose out-of-fold predictions are reported where no others are
        given. With a study, its networks tell the nearest training samples of those that are
        predicted worst, and how new each sample is to it.
    predictions : CrossValidation, Given, DataFrame or path, optional
        What `cross_validate` returns, or the folder that it wrote; or any table of predictions, as
        `evaluate` takes it, whose truth is its column ``actual`` or the target of the metadata.
    study : Study, optional
        Reads of the samples: depth, richness, known reads. Of a model the training samples, too.
    metadata : DataFrame or path, optional
        Those of the study where not given.
    target : str, optional
        Metadata column that is predicted; that of the model where not given.
    group_by : str, optional
        Metadata column whose samples belong together (a subject): intervals and tests are over its
        groups.
    columns : sequence of str
        Metadata columns to draw errors by. All are tested; where none is named, up to six that
        tell the error are drawn.
    units : str
        Of the target, such as 'days'; that of the model's settings where not given.
    title : str
    output : path, optional
        Folder for the page; its tables and plots are there, too.
    device : str, optional
        As in the configuration, for the networks.
    learning_curve : bool
        Refit the model's settings on parts of its training samples, to see how much more data would
        help. Takes some 20 fits; a line says beforehand how long.
    curve_members, curve_folds, jobs : int
        Networks of each refit, test folds, and fits at a time, of the learning curve.

    Returns
    -------
    Page
        Whose tables hold all numbers.

    Raises
    ------
    InputError
        If there are no predictions or no truth, or a column is absent.
    """
    if learning_curve and (model is None or study is None):
        raise InputError("A learning curve needs the model and the table (--model, --table).")
    model = None if model is None else as_model(model)
    given, frame = read_predicted(model, predictions, study, metadata, target, group_by)
    if units and given.classes:
        logger.info("units have no effect: classes have none.")
        units = ""
    if model is not None and not units and not given.classes:
        units = model.unit_of(given.target)
    for name in columns:
        if frame is None:
            raise InputError(f"There are no metadata to take the column {name!r} from.")
        column(frame, name)
    if output is not None:
        check_output(output, "a report")
    plan = None
    if learning_curve:
        assert model is not None and study is not None, "checked above"
        by = None if given.groups is None else str(given.groups.name)
        # Before the networks read anything: what cannot be refitted is refused at once.
        plan = plan_curve(model, study, by, curve_members, curve_folds, device)
    space = _space(given, study, device)
    samples = sample_table(given, study, space)
    subject = Subject(given, samples, frame, space, tuple(columns), units, _truth(given, study))
    metrics = metrics_table(given)
    facts = facts_of(given, metrics, units)
    parts = sections_of(subject, metrics)
    named = "" if given.target == UNNAMED else f": {given.target}"
    what = "predictions fail" if not named else f"the prediction of {given.target} fails"
    page = Page(
        title=title or f"Where {what}",
        lead=f"{given.origin}{named}" + (f", in {units}." if units else "."),
        facts=facts,
        notes=notes_of(given, units),
        sections=parts,
    )
    if output is not None:
        write_page(page, output)
    if plan is not None:
        # The page is written: a refit that fails, or is stopped, does not cost it.
        curve = run_curve(plan, jobs)
        more = curve_section(curve, plan.model, curve_members, units)
        page = dataclasses.replace(page, sections=[*parts, more])
        if output is not None:
            write_page(page, output)
    return page


def _truth(given: Predicted, study: Study | None) -> dict[str, object]:
    """Actual values by sample id: of training samples, too, where they are known."""
    values: dict[str, object] = {}
    if study is not None and study.metadata is not None and given.target in study.metadata:
        whole = study.metadata[given.target]
        read = whole if given.classes else pd.Series(to_floats(whole), index=whole.index)
        values = read.to_dict()
    elif given.model is not None and given.model.val_predictions is not None:
        values = given.model.val_predictions["actual"].to_dict()
    return {**values, **given.table["actual"].to_dict()}


def _space(given: Predicted, study: Study | None, device: str | None) -> SampleSpace | None:
    """Sample vectors of the study's samples; None, with a line that says why, where there are none.

    Raises
    ------
    InputError
        As `aam_core.predict`, for a study that the model cannot read.
    """
    model = given.model
    if model is None or study is None:
        return None
    if study.sequences is None:
        logger.info("The table has no sequences: nearest training samples are not sought.")
        return None
    logger.info(f"reading {len(study.sample_ids):,} samples by the networks")
    space = SampleSpace.of(model, study, device)
    if space is None:
        logger.info(
            "The model does not tell which samples are usual (fewer than 20 held-out ones, or an "
            "AAM of format 5 or earlier): nearest training samples are not sought."
        )
        return None
    trained = int(space.trained.any(axis=0).sum())
    if trained < len(model.train_samples):
        logger.warning(
            f"{len(model.train_samples) - trained:,} of {len(model.train_samples):,} training "
            "samples are not in the table: nearest ones are sought among the others"
        )
    return space if trained else None
