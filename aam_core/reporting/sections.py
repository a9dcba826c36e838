"""The sections of a report: which tables and plots there are, and what they say in words."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.columns import as_name, to_floats
from aam_core.ensemble.intervals import COVERAGE
from aam_core.plots.reliability import MOST_CLASSES
from aam_core.reporting import scores
from aam_core.reporting.association import column_tests, is_missing, is_numeric
from aam_core.reporting.inputs import UNNAMED, Predicted
from aam_core.reporting.neighbours import SampleSpace
from aam_core.reporting.page import Picture, Section, Table, cell
from aam_core.reporting.samples import FAMILIARITY
from aam_core.reporting.summary import metric_names

__all__ = ["Subject", "sections_of"]

_WORST = 50
"""Samples of the table of the worst; the first ten are on the page."""

_NEIGHBOURS = 3

_DRAWN_COLUMNS = 6
"""Metadata columns that are drawn where none are named: those of the least p."""

_SIGNIFICANT = 0.1
"""Adjusted p up to which a column is said to be associated with the error."""

_METRICS = ("metric", "value", "low", "high", "difference", "p")
"""Columns of the metrics that the page shows: the others are in the boxes at its top."""

_LOG = ("depth", "richness")


@dataclass(frozen=True, eq=False)
class Subject:
    """All that a report is made from.

    Attributes
    ----------
    given : Predicted
    samples : DataFrame
        As of `samples.sample_table`.
    metadata : DataFrame or None
        Rows of the same samples, in the same order.
    space : SampleSpace or None
    columns : sequence of str
        Metadata columns to draw; those associated with the error where none is named.
    units : str
    truth : mapping
        Actual value of each sample whose value is known, predicted here or not.
    """

    given: Predicted
    samples: pd.DataFrame
    metadata: pd.DataFrame | None
    space: SampleSpace | None
    columns: Sequence[str]
    units: str
    truth: Mapping[str, object]

    @property
    def deviation(self) -> str:
        """Column that is drawn: signed of numbers."""
        return "error" if self.given.classes else "residual"

    @property
    def in_units(self) -> str:
        """The unit in brackets, behind what is in it."""
        return f" ({self.units})" if self.units else ""

    @property
    def label(self) -> str:
        """What it is, with its unit."""
        if self.given.classes:
            return "1 - p(actual class)"
        return f"Predicted - actual{self.in_units}"

    @property
    def error_label(self) -> str:
        """What the error without its sign is."""
        if self.given.classes:
            return "Mean of 1 - p(actual class)"
        return f"Mean absolute error{self.in_units}"


def sections_of(subject: Subject, metrics: pd.DataFrame) -> list[Section]:
    """The sections, in the order of the page; ``metrics`` are those of `summary.metrics_table`."""
    names = metric_names(subject.units)
    first = _predictions(
        subject, Table("metrics", metrics, "Metrics of all samples.", 12, _METRICS, names)
    )
    makers = (_intervals, _known, _columns, _groups, _worst, _samples)
    made = (make(subject) for make in makers)
    return [first, *(section for section in made if section is not None)]


# --- predictions ----------------------------------------------------------------------------------


def _predictions(subject: Subject, metrics: Table) -> Section:
    given = subject.given
    if not given.classes:
        drawn = given.table[["actual", "prediction"]].astype(float)
        draw = functools.partial(
            plots.scatter, drawn, label=given.target, units=subject.units or None
        )
        picture = Picture("predictions", draw, "Predicted against actual values.")
        against = _against(
            subject,
            "actual",
            given.table["actual"].astype(float),
            f"Actual {given.target}{subject.in_units}",
            False,
        )
        return Section("Predictions", (), [picture, against], [metrics])
    counts = scores.confusion_counts(given.table, given.classes)
    draw = functools.partial(
        plots.confusion, given.table, classes=given.classes, label=given.target
    )
    pictures = [Picture("confusion", draw, "Actual and predicted classes.")]
    steps = scores.calibration(given.table, given.classes)
    if len(steps):
        draw = functools.partial(plots.reliability, steps)
        caption = (
            "How often a class was the actual one, against its predicted probability (calibrated: "
            "the dashed line). The area of a point is in proportion to its samples."
        )
        if steps["class"].nunique() > MOST_CLASSES:
            caption += f" The {MOST_CLASSES} most frequent classes; calibration.tsv has all."
        pictures.append(Picture("calibration", draw, caption))
    tables = [
        metrics,
        Table("classes", scores.by_class(given.table, given.classes), "Each class.", 20),
        Table(
            "confusion_examples",
            scores.cell_examples(given.table, subject.samples),
            "Cells of the confusion matrix, wrong ones first, with samples of the greatest error.",
            12,
        ),
        Table("confusion", counts, "Samples of each cell of the confusion matrix.", 0),
        Table("calibration", steps.set_index("class"), "Steps of the calibration plot.", 0),
    ]
    return Section("Predictions", (), pictures, tables)


def _intervals(subject: Subject) -> Section | None:
    given = subject.given
    if given.classes:
        return None
    table = scores.coverage_by(given.table, given.groups)
    if not len(table) and given.metrics:
        table = scores.saved_coverage(given.metrics)
    if not len(table):
        return None
    interval = given.metrics.get("interval", {})
    # Of given predictions nothing tells which confidence their bounds are of.
    nominal = float(interval.get("nominal_coverage", COVERAGE)) if given.metrics else None
    interval_named = f"their {nominal:.0%} interval" if nominal is not None else "their interval"
    fifths = table[table["by"] == "fifth"]
    draw = functools.partial(
        plots.coverage, fifths, nominal, xlabel=f"Fifth of the prediction{subject.in_units}"
    )
    caption = f"Share of samples within {interval_named}, by fifth of the prediction." + (
        " Bars: where 95% of such shares lie if the coverage is right." if nominal else ""
    )
    text = []
    whole = table[table["by"] == "all"]
    if len(whole):
        row = whole.iloc[0]
        text.append(
            f"{row['coverage']:.1%} of {int(row['samples']):,} samples are within "
            f"{interval_named}, whose mean width is {cell(float(row['width']))} "
            f"{subject.units}".rstrip()
            + "."
        )
    groups = table[(table["by"] == "group") & (table["samples"] >= 5)]
    if len(groups):
        low = groups.sort_values("coverage").iloc[0]
        text.append(
            f"Of groups with five samples or more the lowest coverage is {low['coverage']:.0%} "
            f"(group {low.name}, n = {int(low['samples'])})."
        )
    return Section(
        "Intervals",
        text,
        [Picture("coverage", draw, caption)],
        [
            Table(
                "coverage",
                table,
                f"Coverage and mean width{subject.in_units}.",
                8,
                words={"fifth": "fifth of the predictions"},
            )
        ],
    )


# --- errors against what is known of a sample -----------------------------------------------------


def _known(subject: Subject) -> Section | None:
    pictures, rows = [], []
    for name, what in FAMILIARITY.items():
        if name not in subject.samples:
            continue
        values = subject.samples[name].astype(float)
        if values.nunique() < 2:
            continue
        rho = values.corr(subject.samples["error"], method="spearman")
        rows.append((name, what, int(values.notna().sum()), float(rho)))
        log = name in _LOG and values.min() > 0
        pictures.append(_against(subject, name, values, what[0].upper() + what[1:], log))
    if not pictures:
        return None
    names = ["of a sample", "what", "samples", "correlation"]
    table = pd.DataFrame(rows, columns=names).set_index("of a sample")
    caption = "Spearman's correlation with the error: above 0 errors grow with it."
    return Section(
        "Errors by reads, richness and novelty", (), pictures, [Table("known", table, caption)]
    )


def _against(subject: Subject, name: str, values: pd.Series, label: str, log: bool) -> Picture:
    draw = functools.partial(
        plots.errors_against,
        values.to_numpy(),
        subject.samples[subject.deviation].to_numpy(),
        xlabel=label,
        ylabel=subject.label,
        log=log,
    )
    caption = f"Errors against: {label}. Orange: running median and quartiles."
    return Picture(f"by-{_file_name(name)}", draw, caption)


def _file_name(text: str) -> str:
    """A column's name as part of the name of a file."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in text)
    return letters.strip("-")[:40] or "column"


# --- metadata -------------------------------------------------------------------------------------


def _columns(subject: Subject) -> Section | None:
    metadata, given = subject.metadata, subject.given
    if metadata is None:
        return None
    rest = metadata[[name for name in metadata.columns if not _is_truth(subject, name)]]
    if given.groups is not None and given.groups.name in rest:
        rest = rest.drop(columns=[given.groups.name])  # it has a section of its own
    if not len(rest.columns):
        return None
    tests = column_tests(subject.samples["error"], rest, given.groups)
    telling = tests[tests["q"] <= _SIGNIFICANT]
    drawn = list(subject.columns) or list(telling.index[:_DRAWN_COLUMNS])
    used: dict[str, int] = {}
    pictures = []
    for name in drawn:
        file_name = f"column-{_file_name(name)}"
        used[file_name] = used.get(file_name, 0) + 1
        if used[file_name] > 1:
            file_name += f"-{used[file_name]}"  # two columns may differ in signs alone
        pictures.append(_column_picture(subject, name, metadata[name], file_name))
    tested = int(tests["p"].notna().sum())
    names = ", ".join(f"{name} (q {row['q']:.2g})" for name, row in telling.iterrows())
    text = [
        f"Of {tested} column{'s' * (tested != 1)} tested, {len(telling)} "
        f"{'is' if len(telling) == 1 else 'are'} associated with the error at a false discovery "
        f"rate of {_SIGNIFICANT:.0%}" + (f": {names}." if len(telling) else "."),
        "Each column has a rank test whether errors differ between its values (Cochran, Mantel and "
        "Haenszel), q is adjusted for the number of columns (Benjamini and Hochberg). "
        + (
            "A column with one value a group is tested on the groups' mean errors, another one "
            "within groups."
            if given.groups is not None
            else "Samples count as independent."
        ),
    ]
    return Section(
        "Metadata columns associated with the error",
        text,
        pictures,
        [Table("columns", tests, "Tests of columns, by rising p.", 12)],
    )


def _is_truth(subject: Subject, name: str) -> bool:
    """Whether a column is the target, by its name or, where that is not known, its values."""
    if name == subject.given.target or subject.given.target != UNNAMED:
        return name == subject.given.target
    assert subject.metadata is not None
    values, actual = subject.metadata[name], subject.given.table["actual"]
    if subject.given.classes:
        return [as_name(value) for value in values] == actual.astype(str).tolist()
    return bool(np.array_equal(to_floats(values), actual.to_numpy(np.float64)))


def _column_picture(subject: Subject, name: str, values: pd.Series, file_name: str) -> Picture:
    deviations = subject.samples[subject.deviation].to_numpy()
    if is_numeric(values):
        draw = functools.partial(
            plots.errors_against, to_floats(values), deviations, xlabel=name, ylabel=subject.label
        )
        caption = f"Errors against {name}. Orange: running median, quartiles."
        return Picture(file_name, draw, caption)
    names = [None if is_missing(value) else as_name(value) for value in values]
    draw = functools.partial(
        plots.errors_by_category, names, deviations, label=name, ylabel=subject.label
    )
    more = len({it for it in names if it is not None})
    rest = " The 12 most frequent values." if more > 12 else ""
    return Picture(file_name, draw, f"Errors by {name}. Boxes: median and quartiles.{rest}")


# --- groups and samples ---------------------------------------------------------------------------


def _groups(subject: Subject) -> Section | None:
    groups = subject.given.groups
    if groups is None:
        return None
    table = scores.by_group(subject.samples, groups)
    if len(table) < 2:
        return None
    draw = functools.partial(
        plots.errors_by_group, table, label=str(groups.name), xlabel=subject.error_label
    )
    caption = f"Mean error by {groups.name}, the greatest on top. Dashed: all samples."
    quarter = table.head(max(1, len(table) // 4))
    share = float((quarter["error"] * quarter["samples"]).sum()) / max(
        float((table["error"] * table["samples"]).sum()), 1e-300
    )
    text = (
        f"The {len(quarter)} groups of the greatest mean errors have {share:.0%} of all error, and "
        f"{quarter['samples'].sum() / table['samples'].sum():.0%} of the samples."
    )
    return Section(
        "Errors by group",
        [text],
        [Picture("by-group", draw, caption)],
        [Table("groups", table, f"Errors of groups{subject.in_units}, the greatest first.", 12)],
    )


def _worst(subject: Subject) -> Section:
    given = subject.given
    order = subject.samples["error"].sort_values(ascending=False, kind="stable").index[:_WORST]
    names = ["group", "actual", "prediction", "residual", "error"]
    names += ["depth", "richness", "known_reads", "novelty"]
    if given.classes:
        names = [name for name in names if name != "residual"]
    worst = subject.samples.loc[order, [name for name in names if name in subject.samples]]
    worst = worst.rename_axis("sample-id")
    tables, text = [], []
    if subject.space is not None:
        there = [name for name in order if name in set(subject.space.sample_ids)]
        nearest = _nearest(subject, there)
        if len(nearest):
            first = nearest.groupby(level=0).apply(_in_words)
            worst["nearest training samples"] = first.reindex(worst.index).fillna("")
            tables.append(Table("nearest", nearest, "Nearest training samples of these.", 0))
            text.append(
                "Nearest training samples, as the networks see them, with their actual value and "
                "distance. Where these agree with the prediction and not with the actual value, "
                "look whether the sample, or its metadata, was mixed up."
            )
    caption = f"Samples of the greatest errors{subject.in_units}."
    tables.insert(0, Table("worst", worst, caption, 10))
    return Section("Worst samples", text, (), tables)


def _nearest(subject: Subject, samples: Sequence[str]) -> pd.DataFrame:
    assert subject.space is not None
    nearest = subject.space.nearest(samples, _NEIGHBOURS)
    nearest["nearest_actual"] = [subject.truth.get(name) for name in nearest["nearest"]]
    return nearest


def _in_words(rows: pd.DataFrame) -> str:
    def one(row) -> str:
        value = row.get("nearest_actual")
        known = "" if value is None or value != value else f"{cell(value)}; "
        return f"{row['nearest']} ({known}{row['distance']:.2f})"

    return ", ".join(one(row) for _, row in rows.iterrows())


def _samples(subject: Subject) -> Section:
    table = subject.samples.rename_axis("sample-id")
    bad = int((subject.samples["error"] > 2 * np.median(subject.samples["error"])).sum())
    text = (
        f"samples.tsv has all {len(table):,} samples; {bad:,} have an error of more than twice the "
        "median error."
    )
    return Section("All samples", [text], (), [Table("samples", table, "All samples.", 0)])
