"""Pages of what a model has learned and where it fails, and of samples at distance 0.

QIIME 2 reads the annotations as objects, so this file does without postponed annotations.
"""

import biom
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.data.ids import nothing_in_common
from aam_core.errors import InputError, first_five
from aam_core.explanation.result import Explanation
from aam_core.log import logger, note, recording
from aam_core.model import Model
from q2_aam._details import Details
from q2_aam._predictions import ImportanceFormat, read_importances
from q2_aam._studies import add_group, column_values, plain_names, read_study
from q2_aam._wording import speaking
from q2_aam.pages.heatmap import abundances_by_group, write_heatmap
from q2_aam.pages.importance import write_importance
from q2_aam.pages.sections import render_page

__all__ = ["find_zero_distances", "heatmap", "importance", "report"]


def importance(
    output_dir: str,
    explanation: Explanation,
    table: biom.Table = None,
    metadata: qiime2.MetadataColumn = None,
    missing_samples: str = "error",
    feature_count: int = 25,
    units: str = "",
    title: str = "",
) -> None:
    """Write a page of importances into ``output_dir``."""
    if (table is None) != (metadata is None):
        raise InputError(
            "The table and a metadata column go together: they show where the most important "
            "features are. Give both, or neither."
        )
    abundances = None
    if table is not None:
        explained = set(explanation.importance.index)
        if explained.isdisjoint(table.ids(axis="observation")):
            raise nothing_in_common(
                *("feature", list(explained), table.ids(axis="observation")),
                *("the explanation", "the table"),
            )
        values = column_values(table.ids(), metadata, missing_samples, "the table")
        abundances = abundances_by_group(table, values)
    with speaking():
        write_importance(
            output_dir,
            explanation,
            abundances,
            column="" if metadata is None else metadata.name,
            count=feature_count,
            units=units,
            title=title,
        )


def heatmap(
    output_dir: str,
    table: biom.Table,
    importance: ImportanceFormat,
    sample_metadata: qiime2.MetadataColumn,
    feature_metadata: qiime2.CategoricalMetadataColumn = None,
    feature_count: int = 50,
    missing_samples: str = "ignore",
) -> None:
    """Write a page with the abundances of the most important features into ``output_dir``."""
    values = column_values(table.ids(), sample_metadata, missing_samples, "the table")
    with speaking():
        write_heatmap(
            output_dir,
            table,
            read_importances(importance).iloc[:, 0],
            values,
            taxa=None if feature_metadata is None else feature_metadata.to_series(),
            count=feature_count,
        )


def report(
    output_dir: str,
    model: Model = None,
    details: Details = None,
    table: biom.Table = None,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    target: str = None,
    group_by: qiime2.MetadataColumn = None,
    columns: list = None,
    units: str = "",
    title: str = "",
    learning_curve: bool = False,
    curve_members: int = 2,
    curve_folds: int = 3,
    n_jobs: int = 1,
    device: str = "auto",
    max_lost_reads: float = 0.5,
) -> None:
    """Write a page of where a model fails into ``output_dir``."""
    import aam_core

    if model is None and details is None:
        raise InputError("A report is of a model or of the details of predictions: give one.")
    if details is not None and metadata is None:
        raise InputError(
            "The details have no true values: give metadata with the column "
            f"{details.about['column']!r}."
        )
    if table is None and sequences is not None:
        raise InputError("The sequences are of the features of a table: give the table, too.")
    with speaking(), recording() as notes:
        frame = None if metadata is None else metadata.to_dataframe()
        frame, group = _with_group(frame, group_by)
        named = group or _grouped_by(model, details)
        if frame is not None and named in frame:
            frame = frame.assign(**{str(named): plain_names(frame[named])})
        study = None
        predictions = None if details is None else _of_details(details)
        if table is not None:
            study = read_study(
                table,
                sequences,
                metadata=frame,
                max_lost_reads=max_lost_reads,
                require_sequences=False,
            )
            if predictions is None and model is not None:
                predictions = _of_new_samples(model, study, target, device)
        page = aam_core.report(
            model,
            predictions,
            study=study,
            metadata=frame if study is None else None,
            target=target if details is None else target or details.about["column"],
            group_by=group,
            columns=columns or (),
            units=units or (details.about["units"] or "" if details is not None else ""),
            title=title,
            device=device,
            learning_curve=learning_curve,
            curve_members=curve_members,
            curve_folds=curve_folds,
            jobs=n_jobs,
        )
        render_page(page, output_dir, notes=notes, warnings=_said_of(details))


def find_zero_distances(
    output_dir: str,
    table: biom.Table,
    phylogeny: NewickFormat = None,
    distances: skbio.DistanceMatrix = None,
    metadata: qiime2.Metadata = None,
    columns: list = None,
    metric: str = "unweighted",
    alpha: float = 0.5,
    bound: float = 0.0,
    depths: list = None,
    random_state: int = 0,
    max_lost_reads: float = 0.5,
) -> None:
    """Write a page of pairs of samples at distance 0 into ``output_dir``."""
    from aam_core.config import DISTANCE_NAMES, WITHOUT_TREE
    from aam_core.zero_distances import find_zero_distances
    from aam_core.zero_distances.words import page_of

    given = distances is not None
    if not given and phylogeny is None and metric not in WITHOUT_TREE:
        raise InputError(
            f"{metric} UniFrac is computed on a phylogeny: give one, or distances, or another "
            f"metric ({first_five(WITHOUT_TREE)})."
        )
    with speaking(), recording() as notes:
        if phylogeny is not None and (given or metric in WITHOUT_TREE):
            why = "the distances are given" if given else f"{metric} needs no tree"
            note(f"The phylogeny only decides which features are read: {why}.")
        if alpha != 0.5 and metric != "generalized":
            note(f"alpha has no effect: only generalized UniFrac has it, not {metric}.")
        study = read_study(
            table,
            phylogeny=phylogeny,
            distances=distances,
            metadata=None if metadata is None else metadata.to_dataframe(),
            max_lost_reads=max_lost_reads,
            require_sequences=False,
        )
        result = find_zero_distances(
            study,
            metric=metric,
            alpha=alpha,
            bound=bound,
            columns=columns or (),
            depths=depths or (),
            seed=random_state,
        )
        for line in result.advice:
            logger.info(line)
        what = "the given distances" if given else DISTANCE_NAMES[metric]
        render_page(page_of(result, what, bound), output_dir, notes=notes)


def _of_details(details: Details):
    """Predictions of details, with those of the other methods of a cross-validation's first repeat.

    Where it is known how samples were held out, the page says it.
    """
    from aam_core.reporting.inputs import Given

    about, table = details.about, details.table
    metrics: dict = {}
    if about["source"] != "new samples":
        counts = {name: about[name] for name in ("folds", "groups") if about[name] is not None}
        metrics["held_out"] = {"samples": len(table), **counts}
        metrics["comparison"] = {"group_by": about["group_by"]}
        blend = about["blend"]
        if blend is not None:
            metrics["weights"] = {"network": blend["networks"], "forest": blend["forest"]}
            metrics["linear_share"] = blend.get("linear_share", 0.0)
    if details.methods is not None:
        first = details.methods[details.methods["repeat"] == details.methods["repeat"].min()]
        classes = list(about["classes"] or ())
        for method, part in first.groupby("method", sort=False):
            if method == "aam":
                continue
            own = part.set_index("sample-id").reindex(table.index)
            named = {method: own["prediction"]}
            named |= {f"{method}_{name}": own[name] for name in classes if name in own}
            table = table.assign(**named)
    return Given(table, _ORIGINS[about["source"]], metrics)


_ORIGINS = {
    "out-of-fold": "Out-of-fold predictions of a fit",
    "cross-validation": "Out-of-fold predictions of a cross-validation",
    "test split": "Predictions of the test samples of a split",
    "new samples": "Predictions of new samples",
}
"""Source of details -> what the page calls them."""


def _grouped_by(model: Model | None, details: Details | None) -> str | None:
    """The column that samples were grouped by in the fit."""
    if model is not None:
        return model.run.get("group_by")
    return None if details is None else details.about["group_by"]


def _said_of(details: Details | None) -> list[str]:
    """What the details say that came about before."""
    return [] if details is None else list(details.about["notes"] or ())


def _of_new_samples(model: Model, study, target: str | None, device: str):
    """Predictions of a study none of whose samples is of the fit; None for those of the fit."""
    import aam_core
    from aam_core.reporting.inputs import Given

    trained = {*model.train_samples, *model.val_samples}
    new = [name for name in study.sample_ids if name not in trained]
    if not trained:
        logger.warning("The model does not tell which samples it was trained on.")
        return None
    if len(new) < len(study.sample_ids):
        if new:
            logger.warning(
                f"{len(new):,} of {len(study.sample_ids):,} samples of the table are new to the "
                "model: the page is of its out-of-fold predictions of the others. Give a table "
                f"of the new ones alone for a page of these ({first_five(new)})."
            )
        return None
    each = {it.task.column: it for it in model.each}
    one = each.get(target or next(iter(each)))
    if one is None:
        return None  # the core names the targets
    table = aam_core.predict(one, study, device=device)
    return Given(table, "Predictions of samples that are new to the model", {})


def _with_group(
    frame: pd.DataFrame | None, group_by: qiime2.MetadataColumn | None
) -> tuple[pd.DataFrame | None, str | None]:
    """The metadata with the column that samples are grouped by, and its name there."""
    if frame is not None and group_by is not None and group_by.name in frame:
        values = group_by.to_series().reindex(frame.index)
        if values.equals(frame[group_by.name]):
            return frame, group_by.name
    return add_group(frame, group_by)
