"""A row for each sample of a report: prediction, error, reads, how much was known of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core.data.study import Study
from aam_core.errors import first_five
from aam_core.log import logger
from aam_core.reporting.inputs import Predicted
from aam_core.reporting.neighbours import SampleSpace
from aam_core.reporting.scores import errors_of

__all__ = ["FAMILIARITY", "sample_table"]

FAMILIARITY = {
    "depth": "reads",
    "richness": "ASVs",
    "known_reads": "share of reads in ASVs of the training samples",
    "novelty": "novelty: share of held-out samples no farther from the training",
}
"""Columns of what is known of a sample -> what they are."""

_OF_A_SAMPLE = ("group", "residual", "error", "right")
"""Further columns that are made here: those of `errors_of`, and the group."""


def sample_table(given: Predicted, study: Study | None, space: SampleSpace | None) -> pd.DataFrame:
    """Predictions with errors, and the columns of `FAMILIARITY` that can be told.

    The probabilities of a class that is called as one of these columns are in ``p(class)``.
    ``known_reads`` are of the training samples of each sample's own fold; where the predictions
    have the columns already, these stay.
    """
    table = given.table
    errors = errors_of(table, given.classes)
    # A class may be called 'right' (a hand), and predictions may have columns of any name.
    classes = {it: f"p({it})" for it in given.classes if it in (*_OF_A_SAMPLE, *FAMILIARITY)}
    made = [*errors.columns, *([] if given.groups is None else ["group"])]
    others = table.columns.intersection(made).difference(list(classes))
    samples = pd.concat([table.drop(columns=others).rename(columns=classes), errors], axis=1)
    if given.groups is not None:
        samples.insert(0, "group", given.groups.astype(str).to_numpy())
    if study is None:
        return samples
    place = {name: row for row, name in enumerate(study.sample_ids)}
    rows = np.array([place.get(name, -1) for name in table.index])
    if (rows < 0).any():
        absent = list(table.index[rows < 0])
        logger.warning(
            f"{len(absent):,} of {len(table):,} predicted samples are not in the table, so that "
            f"their reads are not known: {first_five(absent)}"
        )
    there = rows >= 0
    own = study.counts[rows[there]]
    columns = {"depth": np.asarray(own.sum(axis=1)).ravel(), "richness": own.getnnz(axis=1)}
    for name, values in columns.items():
        samples[name] = _placed(values, there)
    if "known_reads" not in samples and given.out_of_fold:
        known = _known_reads(given, study, table.index[there], own)
        if known is not None:
            samples["known_reads"] = _placed(known, there)
    if "novelty" not in samples and space is not None:
        names = list(table.index[there])
        samples["novelty"] = space.novelty(names).reindex(table.index).to_numpy()
    return samples


def _placed(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    out = np.full(len(there), np.nan)
    out[there] = values
    return out


def _known_reads(given: Predicted, study: Study, names: pd.Index, own) -> np.ndarray | None:
    """Share of each sample's reads in ASVs of the samples that its prediction was trained on."""
    if "fold" not in given.table:
        return None
    fold = given.table["fold"].loc[names].to_numpy()
    if given.model is not None and not given.metrics.get("per_fold"):
        model = given.model
        of_sample = dict(zip(model.val_samples, np.asarray(model.val_folds) + 1, strict=False))
        trained = [name for name in study.sample_ids if name in set(model.train_samples)]
    else:
        of_sample = given.table["fold"].to_dict()
        trained = [name for name in study.sample_ids if name in of_sample]
    places = {name: row for row, name in enumerate(study.sample_ids)}
    rows = np.array([places[name] for name in trained], dtype=np.intp)
    folds = np.array([of_sample.get(name, 0) for name in trained])
    shares = np.full(len(names), np.nan)
    depth = np.asarray(own.sum(axis=1)).ravel()
    for number in np.unique(fold):
        used = rows[folds != number]
        if not len(used):
            continue
        known = (study.counts[used].getnnz(axis=0) > 0).astype(np.float64)
        part = np.flatnonzero(fold == number)
        shares[part] = (own[part] @ known) / np.maximum(depth[part], 1)
    return shares
