"""From what QIIME 2 hands to an action to the core's `Study`."""

from __future__ import annotations

import pandas as pd

from aam_core.data.ids import nothing_in_common
from aam_core.errors import InputError, first_five


def read_study(arguments: dict, metadata: pd.DataFrame | None = None, **options):
    """The study among the arguments of an action; says what was left out of it.

    Sequences and phylogeny come as files: the core reads them faster than QIIME 2's objects are
    built, and says what is wrong in them. ``options`` are further ones of ``load_study``.
    """
    from aam_core.data.study import load_study

    sequences, phylogeny = arguments.get("sequences"), arguments.get("phylogeny")
    study = load_study(
        arguments["table"],
        sequences=None if sequences is None else str(sequences),
        tree=None if phylogeny is None else str(phylogeny),
        distances=arguments.get("distances"),
        metadata=metadata,
        max_lost_reads=arguments["max_lost_reads"],
        **options,
    )
    for line in study.report:
        print(line, flush=True)
    return study


def targeted(target, table, missing_samples: str) -> pd.DataFrame:
    """Metadata of the one column ``target``, without the samples that lack a value.

    Parameters
    ----------
    target : qiime2.MetadataColumn
    table : biom.Table
    missing_samples : {"error", "ignore"}
        Whether samples of ``table`` may lack a value.

    Raises
    ------
    InputError
        As `known_values`.
    """
    values = known_values(table.ids(), target, missing_samples, "the table")
    return _frame({target.name: values})


def grouped(
    group_by, metadata: pd.DataFrame | None = None
) -> tuple[pd.DataFrame | None, str | None]:
    """Add the column ``group_by`` (a MetadataColumn or None) to ``metadata``.

    Returns
    -------
    metadata : DataFrame or None
    name : str or None
        The column's name there.
    """
    if group_by is None:
        return metadata, None
    values, name = group_by.to_series(), group_by.name
    if metadata is None:
        return _frame({name: values}), name
    if name in metadata:  # the target's namesake, from another file perhaps
        name = f"{name} (group_by)"
    return metadata.assign(**{name: values.reindex(metadata.index)}), name


def with_covariates(metadata: pd.DataFrame, arguments: dict) -> tuple[pd.DataFrame, list[str]]:
    """Add the columns that ``covariate_columns`` names to ``metadata``.

    Samples that ``covariates`` lacks are treated as ``missing_samples`` says; a blank value does
    no harm.

    Returns
    -------
    metadata : DataFrame
    names : list of str

    Raises
    ------
    InputError
        If one of the two arguments was given without the other, a column does not exist, or
        samples are missing that must not be.
    """
    from aam_core.data.metadata import column

    given, names = arguments["covariates"], arguments["covariate_columns"] or []
    if (given is None) != (not names):
        raise InputError(
            "covariates (metadata) and covariate_columns (which of its columns to read) go "
            "together: give both, or neither."
        )
    if given is None:
        return metadata, []
    frame = given.to_dataframe()
    if arguments["missing_samples"] == "error":
        _require_samples(arguments["table"].ids(), frame.index, "covariates metadata")
    # A column named as the target is left to the core, which refuses it.
    chosen = {name: _typed(column(frame, name)) for name in names if name not in metadata}
    return metadata.join(pd.DataFrame(chosen, index=frame.index), how="inner"), names


def _typed(values: pd.Series) -> pd.Series:
    """A column with QIIME 2's own decision on it: what is not numeric is categorical."""
    return values if pd.api.types.is_numeric_dtype(values) else values.astype("category")


def described(model, arguments: dict) -> pd.DataFrame | None:
    """Metadata of the samples to predict, for a model that reads some; None for any other.

    Raises
    ------
    InputError
        If it lacks samples of the table.
    """
    if arguments["metadata"] is None:
        return None
    if model.covariates is None:
        print("The metadata have no effect: this model reads no covariates.", flush=True)
        return None
    frame = arguments["metadata"].to_dataframe()
    _require_samples(arguments["table"].ids(), frame.index, "metadata")
    return frame


def _require_samples(samples, known, where: str) -> None:
    held = set(known)
    if held.isdisjoint(samples):
        raise nothing_in_common("sample", samples, known, "the table", f"the {where}")
    missing = [sample for sample in samples if sample not in held]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} samples are not in the {where}: "
            f"{first_five(missing)}. Add them (their values may be blank), or leave them out of "
            "the table."
        )


def known_values(samples, column, missing_samples: str, where: str) -> pd.Series:
    """Values of a metadata column, without the blank ones.

    Parameters
    ----------
    samples : sequence of str
        Those that are to have a value.
    column : qiime2.MetadataColumn
        It may hold more samples.
    missing_samples : {"error", "ignore"}
        Whether some of ``samples`` may lack a value.
    where : str
        What the samples were found in, for the message.

    Raises
    ------
    InputError
        If the metadata has none of ``samples``, none of them has a value, or some that must have
        one lack it.
    """
    values = column.to_series()
    if set(values.index).isdisjoint(samples):
        raise nothing_in_common("sample", samples, values.index, where, "the metadata")
    values = values.dropna()
    known = set(values.index)
    missing = [sample for sample in samples if sample not in known]
    if len(missing) == len(samples) or (missing and missing_samples == "error"):
        some = "" if len(missing) == len(samples) else ", or set missing_samples to 'ignore'"
        raise InputError(
            f"{len(missing)} of {len(samples)} samples have no value in the metadata column "
            f"{column.name!r}: {first_five(missing)}. Give them one, leave them out{some}."
        )
    return values


def _frame(columns: dict) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    frame.index.name = "sample-id"
    return frame
