"""How a table becomes batches."""

from __future__ import annotations

from dataclasses import dataclass

from aam_core.config.fields import Checked, option

__all__ = ["DataConfig"]


@dataclass(frozen=True)
class DataConfig(Checked):
    """How a table becomes batches."""

    rarefaction: str = option(
        "redraw",
        "Rarefaction of the reads: drawn again in each epoch ('redraw', as augmentation), once "
        "('fixed'), or 'none'.",
        choices=("redraw", "fixed", "none"),
    )
    sampling_depth: int = option(
        1000,
        "Reads that are drawn from each sample (unless data.rarefaction is 'none').",
        minimum=1,
    )
    sampling_depth_max: int = option(
        0,
        "With 'redraw', draw the depth of each sample log-uniformly between sampling_depth and "
        "this (0: always sampling_depth).",
        minimum=0,
    )
    full_depth: float = option(
        0.0,
        "With 'redraw', share of the training samples that keep all their reads.",
        minimum=0.0,
        maximum=1.0,
    )
    shallow_samples: str = option(
        "drop",
        "Samples with fewer reads than sampling_depth: 'drop' them, or 'keep' all their reads.",
        choices=("drop", "keep"),
    )
    min_reads: int = option(1, "Samples with fewer reads than this are dropped.", minimum=1)
    max_asvs: int = option(
        1024, "Largest number of ASVs of a sample that the networks read.", minimum=1
    )
    asv_selection: str = option(
        "abundance",
        "Which ASVs are kept of a sample with more than max_asvs: the most abundant, a random "
        "draw, or the first of the table.",
        choices=("abundance", "random", "first"),
    )
    max_bp: int = option(600, "Longest sequence accepted, in bases.", minimum=1)
    long_sequences: str = option(
        "error",
        "Whether sequences longer than max_bp are an error or are truncated.",
        choices=("error", "truncate"),
    )
