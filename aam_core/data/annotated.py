"""AnnData: a table with the metadata of its samples (``obs``) and features (``var``) beside it.

anndata is optional: what is read has been imported by whoever made it, and only `to_anndata`
imports it. Letters: N samples, F features.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from aam_core.data import tokens
from aam_core.data.ids import listing, short
from aam_core.errors import InputError

if TYPE_CHECKING:
    from aam_core.data.study import Study

__all__ = ["beside_counts", "counts_of", "is_anndata", "to_anndata"]

_SEQUENCE, _TAXONOMY = "sequence", "taxonomy"
"""Columns of ``var`` that `to_anndata` writes."""


def is_anndata(source: Any) -> bool:
    """Whether it is an AnnData, or of a class made from it; without importing anndata."""
    return any(kind.__name__ == "AnnData" for kind in type(source).__mro__)


def counts_of(adata: Any) -> tuple[list[str], list[str], csr_matrix]:
    """Sample ids, feature ids and ``X`` [N, F] of an AnnData.

    Raises
    ------
    InputError
        If there is no ``X``.
    """
    if adata.X is None:
        raise InputError("The AnnData has no X, which must hold the reads of each sample.")
    counts = csr_matrix(adata.X if issparse(adata.X) else np.asarray(adata.X))
    return list(adata.obs_names), list(adata.var_names), counts


def beside_counts(adata: Any, sequences: Any = None, metadata: Any = None) -> tuple[Any, Any]:
    """Sequences and metadata of an AnnData, as `load_study` takes them.

    Parameters
    ----------
    adata : anndata.AnnData
    sequences : str, path, dict or Series, optional
        Column of ``var``; or the sequences, where it does not have them. Where not given: the index
        of ``var``, if it is DNA, else the one column that is.
    metadata : path or DataFrame, optional
        Where ``obs`` has no columns.

    Raises
    ------
    InputError
        If there is no such column, several are DNA and none is named, or there is metadata twice.
    """
    if len(adata.obs.columns):
        if metadata is not None:
            raise InputError(
                "Metadata are given beside an AnnData that has some of its own (obs): join them "
                "there, or leave one of them away."
            )
        metadata = adata.obs
    if sequences is None:
        sequences = _column_of_dna(adata.var)
    elif isinstance(sequences, str) and sequences in adata.var.columns:
        sequences = adata.var[sequences].astype(str)
    elif isinstance(sequences, str) and not os.path.exists(sequences):
        raise InputError(
            f"{short(sequences)!r} is neither a column of var of the AnnData (there are: "
            f"{listing(adata.var.columns) or 'none'}) nor a file."
        )
    return sequences, metadata


def _column_of_dna(var: pd.DataFrame) -> pd.Series | None:
    """The column of sequences; None where the ids are sequences themselves, or no column is DNA."""
    if all(map(_is_dna, var.index)):
        return None
    columns = [column for column in var.columns if all(map(_is_dna, var[column]))]
    if len(columns) > 1:
        raise InputError(
            f"{len(columns)} columns of var of the AnnData are DNA ({listing(columns)}): name the "
            "one that has the sequences, as sequences='column'."
        )
    return var[columns[0]].astype(str) if columns else None


def _is_dna(value: Any) -> bool:
    return isinstance(value, str) and tokens.is_dna(value)


def to_anndata(study: Study) -> Any:
    """A study as an AnnData; see `Study.to_anndata`."""
    try:
        from anndata import AnnData
    except ImportError:
        raise InputError(
            "to_anndata needs the package anndata, which is not installed: pip install anndata."
        ) from None
    var = pd.DataFrame(index=pd.Index(study.feature_ids, dtype=object))
    if study.sequences is not None:
        var[_SEQUENCE] = study.sequences
    if study.taxonomy is not None:
        var[_TAXONOMY] = study.taxonomy
    if study.metadata is None:
        obs = pd.DataFrame(index=pd.Index(study.sample_ids, dtype=object))
    else:
        obs = study.metadata.copy()
    return AnnData(X=study.counts.copy(), obs=obs, var=var)
