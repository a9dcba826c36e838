"""What near pairs of samples mean, in sentences and on a page."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pandas as pd

from aam_core import plots
from aam_core.reporting.page import Page, Picture, Section, Table
from aam_core.zero_distances.counting import KINDS, Counter

if TYPE_CHECKING:
    from aam_core.zero_distances.search import ZeroDistances

__all__ = ["advice_of", "page_of"]

_MANY = 0.001
"""Share of all pairs from which those that few reads make at a depth matter to a training."""

_FEW_READS = 0.2
"""Share of pairs at 0 at a depth from which the depth is too low to tell samples apart."""


def advice_of(
    values: pd.Series, rarefied: pd.DataFrame, duplicates: pd.DataFrame, counter: Counter
) -> list[str]:
    """What to do, in sentences."""
    lines = []
    if len(duplicates):
        lines.append(
            f"{len(duplicates):,} samples have exactly the counts of another one "
            f"({duplicates['set'].nunique():,} sets, duplicates.tsv): look whether each is one "
            "sample under several ids, and keep one of a set. Where that cannot be told, give the "
            "set one value of the column that samples are grouped by (--group-by), so that no "
            "split trains on a copy of what it tests."
        )
    others = counter.total - counter.kinds["same counts"]
    if others and "median_reads_in_such_pairs" in values:
        own, every = values["median_reads_in_such_pairs"], values["median_reads"]
        if own < every / 2:
            lines.append(
                f"Samples in such pairs have {own:,.0f} reads in the median, all samples "
                f"{every:,.0f}: reads are lacking. Drop the shallowest (by_depth.tsv), or sequence "
                "them deeper."
            )
    if len(rarefied):
        deep = rarefied[rarefied["share_near"] > _FEW_READS]
        many = rarefied["near_for_lack_of_reads"] > _MANY * rarefied["pairs"]
        artefacts = rarefied[many]
        if len(deep):
            lines.append(
                f"At a sampling depth of {deep.index.max():,} or less more than {_FEW_READS:.0%} "
                "of pairs are that near: too few reads to tell samples apart. Choose a greater "
                "one (data.sampling_depth)."
            )
        if len(artefacts):
            depth = artefacts.index.max()
            row = artefacts.loc[depth]
            lines.append(
                f"At {depth:,} reads {row['near_for_lack_of_reads']:,.0f} of {row['near']:,.0f} "
                "near pairs are apart by all of their reads. A pretraining that draws so "
                "few learns that they are alike: give pairs at 0 less weight "
                "(--set loss.zero_pair_weight=0.1, or 0), or draw more reads."
            )
    near = "at distance 0" if values["bound"] == 0 else f"within {values['bound']:g}"
    if not counter.total:
        rest = "" if lines else ": there is nothing to do"
        # Of given distances it is not known which reads they are of.
        none = "By all reads no" if len(rarefied) else "No"
        lines.insert(0, f"{none} pair of samples is {near}{rest}.")
    if counter.total and not lines:
        lines.append(
            "These pairs are neither copies nor short of reads: the samples are alike. Look at "
            "them (pairs.tsv): mock communities and blanks are alike, and tell nothing of a host."
        )
    return lines


def page_of(result: ZeroDistances, what: str, bound: float) -> Page:
    values = result.summary["value"]
    near = "at distance 0" if bound == 0 else f"within {bound:g}"
    total = int(values["pairs_at_zero" if bound == 0 else "pairs_within_bound"])
    facts = [
        (f"Pairs {near}", f"{total:,}", f"of {int(values['pairs']):,}; {what}"),
        (
            "Samples in them",
            f"{int(values['samples_in_such_pairs']):,}",
            f"of {int(values['samples']):,}",
        ),
        ("Samples with the counts of another", f"{len(result.duplicates):,}", ""),
    ]
    kinds = ", ".join(
        f"{int(values[f'pairs_of_{name.replace(chr(32), chr(95))}']):,} of {name}" for name in KINDS
    )
    sections = [
        Section("What to do", result.advice),
        Section(
            "Which pairs",
            [f"Of the pairs, {kinds}." if total else "There are none."],
            (),
            [
                Table("summary", result.summary, "All numbers.", 0),
                Table("pairs", result.pairs, "Pairs, nearest first.", 10),
                Table("duplicates", result.duplicates, "Samples with the counts of another.", 10),
            ],
        ),
    ]
    if len(result.rarefied):
        curve = result.rarefied.reset_index().rename(columns={"depth": "size"})
        pairs = curve["same_samples"] * (curve["same_samples"] - 1) / 2
        curves = {
            "All pairs": curve.assign(value=curve["share_near"]),
            "Of samples that have all depths": curve.assign(
                value=curve["near_of_same_samples"] / pairs.clip(lower=1)
            ),
        }
        draw = functools.partial(
            plots.over_sizes,
            curves,
            xlabel="Reads drawn of a sample",
            ylabel=f"Share of pairs {near}",
        )
        text = (
            "So many reads (depth) were drawn of each sample that has them. A pair is near if it "
            f"is {near}. One that is near at a depth, and not by all reads, is near for lack of "
            "reads: an artefact of that depth. The same samples are those that have all depths."
        )
        caption = f"Pairs {near} by sampling depth."
        sections.append(
            Section(
                "By sampling depth",
                [text],
                [Picture("depths", draw, caption)],
                [
                    Table("by_sampling_depth", result.rarefied, caption),
                ],
            )
        )
    sections.append(
        Section(
            "By reads of the samples",
            ("Each pair counts for the fifth that its sample of fewer reads is in.",),
            (),
            [Table("by_depth", result.by_depth, "Fifths of the samples by their reads.")],
        )
    )
    if len(result.by_metadata):
        columns = result.by_metadata[result.by_metadata["value"] == ""].drop(columns="value")
        text = (
            "Share of near pairs that have the same value, beside that of all pairs. Where it is "
            "much greater, the pairs belong together: a subject, a batch, a body site."
        )
        text = text if total else f"No pair of samples is {near}, whatever the metadata."
        sections.append(
            Section(
                "By metadata",
                [text],
                (),
                [
                    Table("by_column", columns.set_index("column"), "Columns.", 15 if total else 0),
                    Table("by_metadata", result.by_metadata.set_index("column"), "Values.", 0),
                ],
            )
        )
    title = "Samples at distance zero" if bound == 0 else f"Samples within {bound:g} of one another"
    return Page(title, "", facts, (), sections)
