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
        "Subsampling of reads: 'redraw' anew each epoch (augmentation), 'fixed' once, or 'none'.",
        choices=("redraw", "fixed", "none"),
    )
    sampling_depth: int = option(
        1000, "Reads drawn from each sample where rarefaction is on.", minimum=1
    )
    sampling_depth_max: int = option(
        0,
        "With 'redraw', draw each depth log-uniformly from sampling_depth to this (0: one depth).",
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
    max_asvs: int = option(1024, "Most ASVs of a sample that the model reads.", minimum=1)
    asv_selection: str = option(
        "abundance",
        "ASVs kept above max_asvs: the most abundant, a random draw, or the table's first.",
        choices=("abundance", "random", "first"),
    )
    max_bp: int = option(600, "Longest sequence accepted, in bases.", minimum=1)
    long_sequences: str = option(
        "error",
        "What to do with a sequence longer than max_bp.",
        choices=("error", "truncate"),
    )
