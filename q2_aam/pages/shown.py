"""Predictions beside the truth, and what is known of how they came about: what pages show.

The facts that a reader must see first are made here, for every page of predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from aam_core.comparison import labels_of
from aam_core.ensemble.blending import parts_in_words
from aam_core.errors import InputError, first_five, lookup
from aam_core.tasks.prediction_columns import (
    BOUNDS,
    COLUMNS,
    IN_TRAINING,
    NOVELTY,
    PREDICTION_SD,
    PREDICTION_SET,
)
from q2_aam._studies import column_values, plain_names

__all__ = [
    "WORDS",
    "Shown",
    "Writer",
    "baseline_facts",
    "blend_facts",
    "chart",
    "held_out_fact",
    "interval_fact",
    "metric_fact",
    "shown",
    "worded",
    "written_metrics",
]

Writer = Callable[..., str]
"""Writes a number, with its units unless others are given."""

_REFERENCE = "random_forest"
"""The baseline that is named first."""

WORDS = {
    "actual": "Actual",
    "prediction": "Predicted",
    "residual": "Residual (predicted - actual)",
    "right": "Right",
    "probability": "Probability of the predicted class",
    "actual_probability": "Probability of the actual class",
    BOUNDS[0]: "Interval from",
    BOUNDS[1]: "Interval to",
    PREDICTION_SET: "May be",
    PREDICTION_SD: "Standard deviation",
    "known_reads": "Known reads",
    "known_kmers": "Known k-mers",
    NOVELTY: "Novelty",
    IN_TRAINING: "In the training",
    "fold": "Fold",
    "repeat": "Repeat",
    "group": "Group",
}
"""Columns of a table of predictions, as pages name them."""


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class Shown:
    """Predictions of samples whose true value is known.

    Attributes
    ----------
    table : DataFrame
        By ``sample-id``: ``actual``, ``prediction``, and what else the details tell of a sample.
    truth : str
        Name of the column of true values.
    about : dict
        What the details tell of the predictions; empty without details. Of a model of another
        column without its units and baselines.
    groups : Series or None
        Group of each sample, where it is known.
    metadata : DataFrame
        Columns of the same samples, for the colours of a chart.
    probabilities : DataFrame or None
        Of the same samples, a column a class.
    dropped : int
        Predicted samples without a true value.
    warnings, notes : list of str
    """

    table: pd.DataFrame
    truth: str
    about: Mapping[str, Any]
    groups: pd.Series | None
    metadata: pd.DataFrame
    probabilities: pd.DataFrame | None = None
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def codes(self) -> np.ndarray:
        """[N] group of each sample, for the bootstrap; its own where it has none."""
        if self.groups is None:
            return np.arange(len(self.table))
        own = self.groups.isna()
        return np.where(own, [f"\0{i}" for i in range(len(own))], self.groups.astype(str))

    @property
    def over(self) -> str:
        """What the bootstrap draws, in words."""
        if self.groups is None:
            return _counted(len(self.table), "sample")
        return f"{_counted(len(np.unique(self.codes)), 'group')} of {self.groups.name}"


def shown(
    predictions: pd.Series,
    truth,
    missing_samples: str,
    *,
    details=None,
    metadata=None,
    group_by=None,
    probabilities: pd.DataFrame | None = None,
) -> Shown:
    """Put predictions, truth, details and metadata together, by sample.

    Parameters
    ----------
    predictions : Series
        Numbers or classes by sample id.
    truth : qiime2.MetadataColumn
    missing_samples : {"error", "ignore"}
        Whether predicted samples may lack a true value.
    details : q2_aam._details.Details, optional
        Of the same prediction.
    metadata : qiime2.Metadata, optional
    group_by : qiime2.MetadataColumn, optional
    probabilities : DataFrame, optional
        A column a class.

    Raises
    ------
    InputError
        If samples lack what they need, or the details are of other predictions.
    """
    values = column_values(predictions.index, truth, missing_samples, "the predictions")
    samples = [sample for sample in predictions.index if sample in values.index]
    table = pd.DataFrame({"actual": values[samples], "prediction": predictions[samples]})
    table = table.rename_axis("sample-id")
    warnings: list[str] = []
    notes: list[str] = []
    dropped = len(predictions) - len(samples)
    if dropped:
        notes.append(
            f"{dropped:,} of {len(predictions):,} predicted samples have no value in "
            f"{truth.name!r}, and are not on this page."
        )
    about: Mapping[str, Any] = {}
    if details is not None:
        _check(predictions, details.table)
        about = details.about
        # A class may be called as a column with a fixed name.
        own = {*table, *(about.get("classes") or ())}
        more = [name for name in details.table if name in COLUMNS and name not in own]
        table = table.join(details.table.loc[samples, more])
        if about.get("column") not in (None, truth.name):
            warnings.append(
                f"The predictions are of a model that was fitted to {about['column']!r}, and are "
                f"compared here with {truth.name!r}: errors are those of another question."
            )
            # Units and errors of other methods are of the fitted column.
            about = {**about, "units": None, "baselines": None}
        notes += [str(note) for note in about.get("notes") or ()]
    frame = pd.DataFrame(index=table.index)
    if metadata is not None:
        frame = metadata.to_dataframe().reindex(samples)
        absent = len(set(samples) - set(metadata.ids))
        if absent == len(samples):
            raise InputError(
                "The metadata have none of the predicted samples: "
                f"{first_five(samples)}. Give those of the same study."
            )
        if absent:
            notes.append(f"{absent:,} of {len(samples):,} samples are not in the metadata.")
        frame = frame.dropna(axis=1, how="all").rename_axis("sample-id")
    where = None if metadata is None else frame
    groups, more_notes = _groups(samples, about, where, group_by, _tested_groups(details))
    if groups is not None:
        table["group"] = groups
    return Shown(
        table=table,
        truth=truth.name,
        about=about,
        groups=groups,
        metadata=frame,
        probabilities=None if probabilities is None else _rows_of(probabilities, samples),
        dropped=dropped,
        warnings=warnings,
        notes=list(dict.fromkeys(notes + more_notes)),
    )


def _check(predictions: pd.Series, detailed: pd.DataFrame) -> None:
    """Details must be of these very predictions."""
    missing = [sample for sample in predictions.index if sample not in detailed.index]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(predictions)} predicted samples are not in the details: "
            f"{first_five(missing)}. Give the details of the same prediction."
        )
    theirs = detailed.loc[predictions.index, "prediction"]
    if pd.api.types.is_numeric_dtype(predictions.dtype):
        other = ~np.isclose(predictions, pd.to_numeric(theirs), rtol=1e-5, equal_nan=True)
    else:
        other = (predictions.astype(str) != theirs.astype(str)).to_numpy()
    if other.any():
        raise InputError(
            f"{other.sum()} of {len(predictions)} predictions differ from those of the details: "
            f"{first_five(list(predictions.index[other]))}. Give the details of the same "
            "prediction."
        )


def _rows_of(probabilities: pd.DataFrame, samples: Sequence[str]) -> pd.DataFrame:
    missing = [sample for sample in samples if sample not in probabilities.index]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} predicted samples have no probabilities: "
            f"{first_five(missing)}. Give those of the same prediction."
        )
    return probabilities.loc[samples]


def _tested_groups(details) -> pd.Series | None:
    """Group of each sample, where details of a cross-validation or a test have it."""
    if details is None or details.methods is None or "group" not in details.methods:
        return None
    groups = details.methods.drop_duplicates("sample-id").set_index("sample-id")["group"]
    return groups.where(groups != "")


def _groups(
    samples, about, frame, group_by, tested: pd.Series | None
) -> tuple[pd.Series | None, list[str]]:
    """Group of each sample, and what is to be said of it."""
    fitted = about.get("group_by")
    new = about.get("source") == "new samples"
    what = "the model was fitted" if new else "samples were held out"
    if group_by is not None:
        groups, notes = group_by.to_series().reindex(samples).rename(group_by.name), []
        if fitted not in (None, group_by.name):
            notes.append(f"Intervals are over groups of {group_by.name!r}; {what} by {fitted!r}.")
    elif fitted is not None and frame is not None and fitted in frame:
        groups, notes = frame[fitted], []
    elif fitted is not None and tested is not None and tested.notna().any():
        groups, notes = tested.reindex(samples).rename(fitted), []
    elif fitted is not None:
        where, wanted = "whose values are not here", "Give the metadata (--m-metadata-file)."
        if frame is not None:
            where = "of which the metadata have no value of these samples"
            wanted = "Give metadata that have it, or name a column (--m-group-by-column)."
        return None, [
            f"{what[0].upper()}{what[1:]} by {fitted!r}, {where}: intervals are over samples, and "
            f"too narrow where several are of one group. {wanted}"
        ]
    else:
        return None, [
            "Intervals are over samples. Where several are of one subject, name its column "
            "(--m-group-by-column): they are too narrow else."
        ]
    if groups.isna().all():
        raise InputError(
            f"None of the predicted samples has a group in {groups.name!r}: "
            f"{first_five(list(samples))}. Give another column."
        )
    blank = int(groups.isna().sum())
    if blank:
        notes.append(f"{blank:,} samples have no value in {groups.name!r}: each is its own group.")
    return plain_names(groups).astype(object), notes


# What stands at the top -----------------------------------------------------------------------


def held_out_fact(it: Shown) -> tuple[str, str, str]:
    """Whether the samples were held out, and by which group."""
    if not it.about:
        return "Held out", "not known", "The details of the predictions tell it (--i-details)."
    return lookup(_HELD_OUT, it.about["source"], "source of predictions")(it)


def _by_groups(it: Shown) -> str:
    about = it.about
    parts = []
    if about.get("group_by"):
        count = f": {_counted(about['groups'], 'group')}" if about.get("groups") else ""
        parts.append(f"by {about['group_by']}{count}")
    else:
        parts.append("without groups")
    if about.get("folds") and about["source"] != "test split":
        parts.append(_counted(about["folds"], "fold"))
    if (about.get("repeats") or 1) > 1:
        parts.append(f"{about['repeats']:,} repeats")
    return ", ".join(parts)


def _out_of_fold(it: Shown) -> tuple[str, str, str]:
    how = "out of fold: each was predicted by models that were not trained on it"
    chosen = ", but the blend was chosen on them" if it.about.get("blend") else ""
    return "Held out", "yes", f"{_by_groups(it)}; {how}{chosen}"


def _cross_validated(it: Shown) -> tuple[str, str, str]:
    return "Held out", "yes", f"{_by_groups(it)}; each by a model that was fitted without its fold"


def _tested(it: Shown) -> tuple[str, str, str]:
    how = "test samples of a split: predicted by a model that was fitted without them"
    return "Held out", "yes", f"{_by_groups(it)}; {how}"


def _new_samples(it: Shown) -> tuple[str, str, str]:
    if IN_TRAINING not in it.table:
        return "Held out", "not known", "predicted by a model that does not record its training"
    seen = int(it.table[IN_TRAINING].astype(str).str.lower().isin(("true", "1", "1.0")).sum())
    if not seen:
        said = "new samples: none of these ids was in the training; their subjects may have been"
        return "Held out", "yes", said
    said = f"{seen:,} of {len(it.table):,} samples were in the training: errors are too small"
    return "Held out", "no" if seen == len(it.table) else "not all", said


_HELD_OUT = {
    "out-of-fold": _out_of_fold,
    "cross-validation": _cross_validated,
    "test split": _tested,
    "new samples": _new_samples,
}
"""By the source that the details tell."""


def metric_fact(it: Shown, name: str, row: pd.Series, text: Writer) -> tuple[str, str, str]:
    """A metric with its interval."""
    if not np.isfinite(row["value"]):
        return name, "not defined", "it needs samples of different true values"
    value = text(row["value"])
    if not np.isfinite(row["low"]):
        one = "there is one sample" if len(it.table) == 1 else "all samples are of one group"
        return name, value, f"no interval: {one}"
    span = f"{text(row['low'], '')} to {text(row['high'])}"
    return name, value, f"95% interval {span}, bootstrap of {it.over}"


def baseline_facts(
    it: Shown, metric: str, task: str, text: Writer, named: str
) -> list[tuple[str, str, str]]:
    """Other methods on the same folds, where the details have the metric, ``named`` in words.

    The random forest, or the first of them, is the fact; the others are in its remark.
    """
    labels = labels_of(task)
    scores = {
        name: text(values[metric])
        for name, values in (it.about.get("baselines") or {}).items()
        if values.get(metric) is not None
    }
    if not scores:
        return []
    first = _REFERENCE if _REFERENCE in scores else next(iter(scores))
    others = [
        f"{labels.get(name, name)} {value}" for name, value in scores.items() if name != first
    ]
    count = len(it.table) + it.dropped
    if it.about.get("source") == "test split":
        where = f"of all {count:,} test samples" if it.dropped else "on the same samples"
    else:
        where = f"of all {count:,} samples on the same folds" if it.dropped else "on the same folds"
    remark = "; ".join([f"{named} {where}", *others])
    return [(f"Baseline: {labels.get(first, first)}", scores[first], remark)]


def blend_facts(it: Shown) -> list[tuple[str, str, str]]:
    """The blend weights in words."""
    blend = it.about.get("blend")
    if not blend:
        return []
    remark = "shares of the prediction, chosen on held-out samples"
    if blend["networks"] in (0, 1):
        other = "the networks" if blend["networks"] == 0 else "more"
        remark = f"held-out samples were not predicted better with {other}"
    return [("Blend", parts_in_words(blend["networks"], blend.get("linear_share", 0.0)), remark)]


def interval_fact(it: Shown, text: Writer) -> list[tuple[str, str, str]]:
    """How many true values the prediction intervals hold."""
    if not set(BOUNDS) <= set(it.table):
        return []
    table = it.table.dropna(subset=list(BOUNDS))
    if not len(table):
        return []
    inside = table["actual"].between(table[BOUNDS[0]], table[BOUNDS[1]]).mean()
    width = text((table[BOUNDS[1]] - table[BOUNDS[0]]).mean())
    confidence = it.about.get("confidence")
    name = f"{confidence:.0%} prediction interval" if confidence else "Prediction interval"
    which = "these samples"
    if len(table) < len(it.table):
        have = "has" if len(table) == 1 else "have"
        which = f"the {_counted(len(table), 'sample')} that {have} one"
    return [(name, f"holds {inside:.1%}", f"of {which}; mean width {width}")]


def worded(table: pd.DataFrame, names: Sequence[str], **words: str) -> pd.DataFrame:
    """Some columns of a table of samples, named in words."""
    table = table[[name for name in names if name in table]]
    return table.rename(columns=WORDS | words).rename_axis("Sample")


def written_metrics(it: Shown, metrics: pd.DataFrame) -> pd.DataFrame:
    """Metrics as the TSV has them: with the number of samples."""
    first = pd.DataFrame({"value": [float(len(it.table))]}, index=["samples"])
    return pd.concat([first, metrics]).rename_axis("metric")


def chart(it: Shown, **usermeta: Any) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables and specification of a chart that a page's own script draws of the samples."""
    data, meta = {"predictions": it.table}, {"words": WORDS, **usermeta}
    if it.metadata.shape[1]:
        data["metadata"] = it.metadata
        meta["metadata"] = {"data": {"name": "metadata"}}
    return data, {"data": {"name": "predictions"}, "usermeta": meta}
