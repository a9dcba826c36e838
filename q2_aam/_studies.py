"""From what QIIME 2 hands to an action to the core's `Study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aam_core.data.ids import nothing_in_common
from aam_core.errors import InputError, first_five
from aam_core.log import note

__all__ = [
    "add_covariates",
    "add_group",
    "column_values",
    "columns_read",
    "covariates_to_predict",
    "plain_names",
    "read_inputs",
    "read_study",
    "target_metadata",
    "targets_metadata",
    "with_covariates",
]


def read_study(
    table,
    sequences=None,
    phylogeny=None,
    distances=None,
    taxonomy=None,
    *,
    metadata: pd.DataFrame | None = None,
    max_lost_reads: float,
    keep_unplaced: bool = True,
    require_sequences: bool = True,
):
    """Read a study, and say what was dropped from it.

    Sequences and phylogeny come as files: the core reads them faster than QIIME 2 builds its
    objects, and says what is wrong in them.

    Parameters
    ----------
    table : biom.Table
    sequences : DNAFASTAFormat, optional
    phylogeny : NewickFormat, optional
    distances : skbio.DistanceMatrix, optional
    taxonomy : DataFrame, optional
    metadata, max_lost_reads, keep_unplaced, require_sequences
        As in `aam_core.load_study`.

    Returns
    -------
    aam_core.Study
    """
    import aam_core

    study = aam_core.load_study(
        table,
        sequences=None if sequences is None else str(sequences),
        tree=None if phylogeny is None else str(phylogeny),
        distances=distances,
        taxonomy=taxonomy,
        metadata=metadata,
        max_lost_reads=max_lost_reads,
        keep_unplaced=keep_unplaced,
        require_sequences=require_sequences,
    )
    for line in study.report:
        note(line)
    return study


def read_inputs(table, fitting: Mapping[str, Any], metadata: pd.DataFrame):
    """`read_study` of what a fit is given: ``fitting`` as `shares_fitting` names it."""
    names = ("sequences", "phylogeny", "distances", "max_lost_reads")
    return read_study(table, metadata=metadata, **{name: fitting[name] for name in names})


def target_metadata(target, table, missing_samples: str) -> pd.DataFrame:
    """Metadata with the one column ``target``, without the samples that lack a value.

    Parameters
    ----------
    target : qiime2.MetadataColumn
    table : biom.Table
    missing_samples : {"error", "ignore"}
        Whether samples of ``table`` may lack a value.

    Raises
    ------
    InputError
        As `column_values`.
    """
    values = column_values(table.ids(), target, missing_samples, "the table")
    return _frame({target.name: values})


def targets_metadata(
    target, names: Sequence[str], metadata, table, missing_samples: str
) -> pd.DataFrame:
    """Metadata with the column ``target`` and further targets; a value of some may be blank.

    Parameters
    ----------
    target : qiime2.MetadataColumn
    names : sequence of str
        Further columns, of ``metadata``.
    metadata : qiime2.Metadata or None
    table : biom.Table
    missing_samples : {"error", "ignore"}
        Whether samples of ``table`` may lack all of them.

    Raises
    ------
    InputError
        If there are no metadata, a column does not exist, or samples are missing that must not be.
    """
    from aam_core.data.metadata import column

    if metadata is None:
        raise InputError(
            "more_targets are columns of the metadata that are given as covariates: give these."
        )
    frame = metadata.to_dataframe()
    columns = {name: column(frame, name) for name in names}
    values = _frame({target.name: target.to_series(), **columns})
    if missing_samples == "error":
        _require_samples(table.ids(), values.index, "metadata")
        return values
    return values[values.notna().any(axis=1)]


def add_group(metadata: pd.DataFrame | None, group_by) -> tuple[pd.DataFrame | None, str | None]:
    """Add the column ``group_by`` (a MetadataColumn or None) to ``metadata``.

    Returns
    -------
    metadata : DataFrame or None
    name : str or None
        The column's name there.

    Raises
    ------
    InputError
        If the column has none of the samples.
    """
    if group_by is None:
        return metadata, None
    values, name = group_by.to_series(), group_by.name
    if metadata is None:
        return _frame({name: values}), name
    if set(values.index).isdisjoint(metadata.index):
        where = ("the table", "the metadata of group_by")
        raise nothing_in_common("sample", metadata.index, values.index, *where)
    values = values.reindex(metadata.index)
    if name in metadata:
        if metadata[name].astype(str).equals(values.astype(str)):
            return metadata, name
        name = f"{name} (group_by)"  # of the target's or a covariate's name, from another file
    return metadata.assign(**{name: values}), name


def plain_names(names: pd.Series) -> pd.Series:
    """Names of groups as they were written: QIIME 2 takes 7 for a number, 7.0.

    >>> list(plain_names(pd.Series([7.0, 12.0])))
    ['7', '12']
    """
    if pd.api.types.is_numeric_dtype(names.dtype):
        return names.map(lambda value: f"{value:.15g}", na_action="ignore").astype(object)
    if names.dropna().astype(str).str.fullmatch(r"-?[0-9]+[.]0").all():
        return names.str.removesuffix(".0")
    return names


def add_covariates(
    metadata: pd.DataFrame,
    covariates,
    columns: Sequence[str],
    table,
    missing_samples: str,
    others: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Add ``columns`` of the metadata ``covariates`` to ``metadata``, and ``others`` that it has.

    Samples that ``covariates`` lacks are treated as ``missing_samples`` says; blank values are
    allowed.

    Parameters
    ----------
    metadata : DataFrame
    covariates : qiime2.Metadata or None
    columns : sequence of str
    table : biom.Table
    missing_samples : {"error", "ignore"}
    others : sequence of str
        Columns that the settings name.

    Returns
    -------
    metadata : DataFrame
    columns : list of str

    Raises
    ------
    InputError
        If one of ``covariates`` and ``columns`` was given without the other, a column does not
        exist, or samples are missing that must not be.
    """
    from aam_core.data.metadata import column

    if (covariates is None) != (not columns and not others):
        raise InputError(
            "covariates (metadata) and covariate_columns (which of its columns to read), or "
            "settings that name columns, go together: give both, or neither."
        )
    if covariates is None:
        return metadata, []
    frame = covariates.to_dataframe()
    if missing_samples == "error":
        _require_samples(table.ids(), frame.index, "covariates metadata")
    # A column named as the target is left to the core, which refuses it.
    wanted = dict.fromkeys([*columns, *others])
    added = {name: _as_typed(column(frame, name)) for name in wanted if name not in metadata}
    return metadata.join(pd.DataFrame(added, index=frame.index), how="inner"), list(columns)


def columns_read(config, start, target: str) -> list[str]:
    """Metadata columns that a fit reads beside its target, groups and covariates.

    Parameters
    ----------
    config : aam_core.config.Config
        Its settings name some; a cross-validation says that ``train.val_where`` has no effect.
    start : aam_core.Model or None
        The model that the fit goes on from. It has columns by which its target head scales, and
        those of its target, where the new fit has that, too.
    target : str
        Column of the new fit.
    """
    from aam_core.config.fields import names_in

    columns = config.columns()
    columns += [it.partition("=")[0].strip() for it in names_in(config.train.val_where)]
    if start is not None:
        same = start.target is not None and start.target.column == target
        columns += names_in(start.config.model.head.scale_by)
        columns += start.task.needs if same else ()
    return columns


def with_covariates(target, covariates, table, missing_samples: str):
    """The column ``target`` without the samples that the metadata ``covariates`` lack.

    Parameters
    ----------
    target : qiime2.MetadataColumn
    covariates : qiime2.Metadata or None
    table : biom.Table
    missing_samples : {"error", "ignore"}
        Whether ``covariates`` may lack samples of ``table``.

    Raises
    ------
    InputError
        If no sample is left, or one is missing that must not be.
    """
    if covariates is None:
        return target
    if missing_samples == "error":
        _require_samples(table.ids(), covariates.ids, "covariates metadata")
    both = set(covariates.ids) & set(target.ids)
    if both.isdisjoint(table.ids()):
        where = ("the table", "the metadata with the covariates")
        raise nothing_in_common("sample", list(table.ids()), covariates.ids, *where)
    return target.filter_ids(both)


def covariates_to_predict(model, metadata, table) -> pd.DataFrame | None:
    """Metadata of the samples to predict, for a model that reads some; None for any other.

    Parameters
    ----------
    model : aam_core.Model
    metadata : qiime2.Metadata or None
    table : biom.Table

    Raises
    ------
    InputError
        If ``metadata`` lacks samples of the table.
    """
    if metadata is None:
        return None
    if model.covariates is None and not model.columns():
        note("The metadata have no effect: this model reads no covariates.")
        return None
    frame = metadata.to_dataframe()
    _require_samples(table.ids(), frame.index, "metadata")
    return frame


def column_values(samples, column, missing_samples: str, where: str) -> pd.Series:
    """Values of a metadata column, without the blank ones.

    Parameters
    ----------
    samples : sequence of str
        Those that should have a value.
    column : qiime2.MetadataColumn
        It may have more samples.
    missing_samples : {"error", "ignore"}
        Whether some of ``samples`` may lack a value.
    where : str
        Where ``samples`` come from, for the message.

    Raises
    ------
    InputError
        If none of ``samples`` is in the metadata, none has a value, or some lack one that may not.
    """
    if not len(samples):
        raise InputError(f"There are no samples in {where}: it is empty.")
    values = column.to_series()
    if set(values.index).isdisjoint(samples):
        raise nothing_in_common("sample", samples, values.index, where, "the metadata")
    values = values.dropna()
    with_value = set(values.index)
    missing = [sample for sample in samples if sample not in with_value]
    if len(missing) == len(samples) or (missing and missing_samples == "error"):
        what = "Give them one, filter them out, or set missing_samples to 'ignore'."
        if len(missing) == len(samples):
            what = "Fill it in, or name another column."
        raise InputError(
            f"{len(missing)} of {len(samples)} samples have no value in the metadata column "
            f"{column.name!r}: {first_five(missing)}. {what}"
        )
    return values


def _as_typed(values: pd.Series) -> pd.Series:
    """A column with the type that QIIME 2 gave it: what is not numeric is categorical."""
    return values if pd.api.types.is_numeric_dtype(values) else values.astype("category")


def _require_samples(samples, metadata_ids, where: str) -> None:
    present = set(metadata_ids)
    if present.isdisjoint(samples):
        raise nothing_in_common("sample", samples, metadata_ids, "the table", f"the {where}")
    missing = [sample for sample in samples if sample not in present]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} samples are not in the {where}: "
            f"{first_five(missing)}. Add them (their values may be blank), or filter them out of "
            "the table."
        )


def _frame(columns: dict) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    frame.index.name = "sample-id"
    return frame
