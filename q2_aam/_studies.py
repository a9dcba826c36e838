"""From what QIIME 2 hands to an action to the core's `Study`."""

from __future__ import annotations

import pandas as pd

from aam_core.errors import InputError, first_five


def read_study(arguments: dict, metadata: pd.DataFrame | None = None):
    """The study among the arguments of an action; says what was left out of it.

    Sequences and phylogeny come as files: the core reads them faster than QIIME 2's objects are
    built, and says what is wrong in them.
    """
    from aam_core.data.inputs import load_study

    sequences, phylogeny = arguments.get("sequences"), arguments.get("phylogeny")
    study = load_study(
        arguments["table"],
        sequences=None if sequences is None else str(sequences),
        tree=None if phylogeny is None else str(phylogeny),
        distances=arguments.get("distances"),
        metadata=metadata,
        max_lost_reads=arguments["max_lost_reads"],
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
        If they may not, and do.
    """
    values = target.to_series().dropna()
    if missing_samples == "error":
        require_values(table.ids(), values, target.name)
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


def require_values(samples, values: pd.Series, column: str) -> None:
    """Raise `InputError` unless each of ``samples`` is in ``values``, the column without blanks."""
    known = set(values.index)
    missing = [sample for sample in samples if sample not in known]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} samples have no value in the metadata column "
            f"{column!r}: {first_five(missing)}. Give them one, leave them out, or set "
            "missing_samples to 'ignore'."
        )


def _frame(columns: dict) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    frame.index.name = "sample-id"
    return frame
