"""What is learned: masked nucleotides, distances between samples, a target."""

from __future__ import annotations

from dataclasses import dataclass

from aam_core.config.fields import Checked, option

__all__ = ["METRICS", "WITHOUT_TREE", "LossConfig", "MaskingConfig"]

METRICS = ("unweighted", "weighted", "weighted_normalized", "generalized", "braycurtis", "jaccard")
"""Distances between samples, as `aam_core.phylogeny.distances` computes them."""

WITHOUT_TREE = ("braycurtis", "jaccard")
"""Those that need no phylogeny."""


@dataclass(frozen=True)
class MaskingConfig(Checked):
    """Masked nucleotides: which bases are hidden and predicted (by BERT's 80/10/10)."""

    mask_ratio: float = option(
        0.15, "Share of the bases that are hidden and predicted.", minimum=0.0, maximum=0.9
    )
    strategy: str = option(
        "random", "Hide single bases, or runs of them.", choices=("random", "span")
    )
    span_length: int = option(6, "Bases of a hidden run under 'span'.", minimum=1)
    asv_fraction: float = option(
        0.25,
        "Share of a batch's distinct ASVs that masked training reads each step.",
        minimum=0.01,
        maximum=1.0,
    )


@dataclass(frozen=True)
class LossConfig(Checked):
    """The loss: a sum of terms. A term of weight 0 is not computed, and its head is not built."""

    nucleotide: float = option(
        1.0, "Weight of the masked-nucleotide loss, which pretraining alone has.", minimum=0.0
    )
    distance: float = option(
        50.0,
        "Weight of the distance loss (squared differences are small). A fit learns distances as "
        "well as its target where this is above 0 and there is a tree, given distances, or a "
        "metric that needs neither.",
        minimum=0.0,
    )
    metric: str = option(
        "unweighted",
        "Distance between samples that pretraining learns; the last two need no tree.",
        choices=tuple(name for name in METRICS if name != "weighted"),  # it has no upper bound
    )
    alpha: float = option(0.5, "Exponent of generalized UniFrac.", minimum=0.0, maximum=1.0)
    zero_pair_weight: float = option(
        1.0, "Weight of sample pairs whose true distance is zero.", minimum=0.0
    )
    target: str = option("huber", "Loss of a regression.", choices=("huber", "mse", "mae"))
    transform: str = option(
        "none",
        "What a numeric target is learned as: itself ('none'), or a power of it that makes the "
        "training samples most nearly normal ('power': Yeo-Johnson). Predictions keep its units.",
        choices=("none", "power"),
    )
    huber_delta: float = option(
        1.0, "Where huber turns linear, in standard deviations of the target.", minimum=1e-6
    )
    label_smoothing: float = option(
        0.0, "Label smoothing of a classification.", minimum=0.0, maximum=0.9
    )
    class_weight: str = option(
        "none",
        "Weight of the classes: equal ('none'), or by inverse frequency ('balanced').",
        choices=("none", "balanced"),
    )
