"""What is learned: a target; masked bases and abundances, distances, diversity, taxonomy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aam_core.config.fields import Checked, names_in, option, parse
from aam_core.errors import InputError, short

__all__ = ["DISTANCE_NAMES", "METRICS", "WITHOUT_TREE", "LossConfig", "MaskingConfig"]

DISTANCE_NAMES = {
    "unweighted": "unweighted UniFrac",
    "weighted": "weighted UniFrac",
    "weighted_normalized": "normalized weighted UniFrac",
    "generalized": "generalized UniFrac",
    "braycurtis": "Bray-Curtis distance",
    "jaccard": "Jaccard distance",
}
"""Distances between samples, as `aam_core.phylogeny.distances` computes them -> what readers call
them."""

METRICS = tuple(DISTANCE_NAMES)

WITHOUT_TREE = ("braycurtis", "jaccard")
"""Those that need no phylogeny."""


@dataclass(frozen=True)
class MaskingConfig(Checked):
    """What is hidden and predicted: bases (by BERT's 80/10/10), and abundances."""

    mask_ratio: float = option(
        0.15, "Share of the bases that are hidden and predicted.", minimum=0.0, maximum=0.9
    )
    strategy: str = option(
        "random",
        "Whether single bases ('random') or runs of bases ('span') are hidden.",
        choices=("random", "span"),
    )
    span_length: int = option(6, "Length of a hidden run, in bases, with 'span'.", minimum=1)
    asv_fraction: float = option(
        0.25,
        "Share of the distinct ASVs of a batch that are read with masked bases in each step.",
        minimum=0.01,
        maximum=1.0,
    )
    count_ratio: float = option(
        0.3,
        "Share of a sample's ASVs whose abundance is hidden and predicted, with loss.count.",
        minimum=0.01,
        maximum=0.9,
    )
    presence_ratio: float = option(
        0.4,
        "Share of a sample's ASVs that are hidden from its vector, with loss.presence.",
        minimum=0.01,
        maximum=0.9,
    )


@dataclass(frozen=True)
class LossConfig(Checked):
    """The loss: a sum of terms. A term of weight 0 is not computed, and its head is not built."""

    nucleotide: float = option(
        1.0,
        "Weight of the masked-nucleotide loss. Above 0, a fit whose encoder of bases is trained "
        "learns masked nucleotides in addition to its target.",
        minimum=0.0,
    )
    distance: float = option(
        50.0,
        "Weight of the distance loss (its squared differences are small, hence a large weight). "
        "Above 0, a fit learns distances in addition to its target, if there is a tree, given "
        "distances, or a metric that needs neither.",
        minimum=0.0,
    )
    metric: str = option(
        "unweighted",
        "Distance between samples that is learned; the last two need no tree. All but 'weighted' "
        "lie in [0, 1]; with 'weighted', the output of the distance head has no upper bound.",
        choices=METRICS,
    )
    count: float = option(
        0.0,
        "Weight of the loss of masked abundances: the logarithm of an ASV's relative abundance is "
        "predicted from the other ASVs of its sample.",
        minimum=0.0,
    )
    faith_pd: float = option(
        0.0,
        "Weight of the loss of Faith's phylogenetic diversity of each sample, in standard "
        "deviations of the training samples; for a pretraining with a tree.",
        minimum=0.0,
    )
    taxonomy: float = option(
        1.0,
        "Weight of the loss of the taxonomy, rank by rank; for a pretraining with a taxonomy.",
        minimum=0.0,
    )
    taxonomy_min_asvs: int = option(
        5,
        "Taxa with fewer ASVs than this in the training samples are masked.",
        minimum=1,
    )
    columns: float = option(
        1.0,
        "Weight of the loss of the metadata columns, in a pretraining on many studies: each is "
        "learned in its own study, numbers as normal scores, classes by cross-entropy.",
        minimum=0.0,
    )
    presence: float = option(
        0.0,
        "Weight of the loss of hidden ASVs, in a pretraining on many studies: from the vector of "
        "the rest of a sample, the hidden ASVs are told from ASVs of other samples of its study, "
        "and their abundance is predicted.",
        minimum=0.0,
    )
    halves: float = option(
        0.0,
        "Weight of the loss of halves, in a pretraining on many studies: each sample is read as "
        "two rarefied halves of its reads, and each half must be matched with the other among "
        "the halves of its study.",
        minimum=0.0,
    )
    halves_temperature: float = option(
        0.1,
        "Temperature: cosines of sample vectors are divided by it, with loss.halves. With a "
        "lower value, the most similar samples weigh more.",
        minimum=0.001,
    )
    alpha: float = option(0.5, "Exponent of generalized UniFrac.", minimum=0.0, maximum=1.0)
    zero_pair_weight: float = option(
        1.0, "Weight of pairs of samples at true distance 0, in the distance loss.", minimum=0.0
    )
    target: str = option(
        "huber",
        "Loss of a regression; 'quantile' learns several quantiles, and the median is the "
        "prediction; 'asymmetric' is mae with different penalties for over- and underestimates "
        "(loss.over, loss.under).",
        choices=("huber", "mse", "mae", "quantile", "asymmetric"),
    )
    target_weight: float = option(
        1.0, "Weight of the loss of the target in the sum of all losses.", minimum=1e-6
    )
    target_weights: str = option(
        "",
        "Weights of several targets among themselves, as TARGET=WEIGHT,...; a target that is not "
        "named weighs 1.",
    )
    transform: str = option(
        "none",
        "Transform of a numeric target: standardized ('none' or 'zscore'), scaled to [0, 1] "
        "('minmax'), the logarithm of 1 + the value, standardized or scaled ('log-zscore', "
        "'log-minmax'), standardized in each category of loss.normalize_by "
        "('zscore-by-category'), or the Yeo-Johnson power transform ('power'), which brings the "
        "training samples closest to a normal distribution. Predictions are in the original "
        "units.",
        choices=(
            *("none", "zscore", "minmax", "log-zscore", "log-minmax"),
            *("zscore-by-category", "power"),
        ),
    )
    normalize_by: str = option(
        "",
        "Metadata columns, joined by commas, for the transform 'zscore-by-category': the target "
        "is standardized in each of their categories. The columns are needed to predict, too.",
        columns=True,
    )
    residual_on: str = option(
        "",
        "Numeric metadata column, such as the prediction of another model: networks and forest "
        "learn the target minus this column, and predictions add it. The column is needed to "
        "predict, too.",
        columns=True,
    )
    target_range: str = option(
        "auto",
        "Limits of predicted numbers and of their intervals: 'auto' (never negative if no "
        "training sample is), 'none', or LOW,HIGH, where one of the two may be empty.",
    )
    quantiles: str = option(
        "0.05,0.5,0.95",
        "Quantiles that the loss 'quantile' learns, joined by commas; the median is always added.",
    )
    over: float = option(
        1.0, "Penalty of an overestimate with the loss 'asymmetric'.", minimum=1e-6
    )
    under: float = option(
        1.0, "Penalty of an underestimate with the loss 'asymmetric'.", minimum=1e-6
    )
    sample_weight: str = option(
        "",
        "Numeric metadata column with values above 0: the weight of each sample in the losses of "
        "the target and in the forest. Metrics weigh all samples alike.",
        columns=True,
    )
    huber_delta: float = option(
        1.0,
        "Error, in standard deviations of the target, above which the loss 'huber' is linear.",
        minimum=1e-6,
    )
    label_smoothing: float = option(
        0.0, "Label smoothing of a classification.", minimum=0.0, maximum=0.9
    )
    class_weight: str = option(
        "none",
        "Weight of the classes: equal ('none'), by inverse frequency ('balanced'), or given as "
        "CLASS=WEIGHT,...; a class that is not named weighs 1.",
    )
    classes: str = option(
        "cross_entropy",
        "Loss of a classification; 'ordinal' is for ordered classes (loss.class_order).",
        choices=("cross_entropy", "ordinal"),
    )
    class_order: str = option(
        "", "All classes in their order, joined by commas, for the loss 'ordinal'."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Parsed when it is made, so that a typing error is refused where it is made.
        _ = self.levels, self.limits, self.given_class_weights, self.given_target_weights

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantiles that are learned, ascending, with the median."""
        levels = [_number(text, "quantiles") for text in names_in(self.quantiles)]
        if not levels or not all(0 < level < 1 for level in levels):
            raise InputError(
                "quantiles must be numbers between 0 and 1, joined by commas (0.05,0.5,0.95), not "
                f"{short(repr(self.quantiles))}."
            )
        return tuple(sorted({*levels, 0.5}))

    @property
    def limits(self) -> tuple[float | None, float | None] | None:
        """A given range of the target, None at an open end; None under 'auto' and 'none'."""
        if self.target_range in ("auto", "none"):
            return None
        texts = [text.strip() for text in self.target_range.split(",")]
        if len(texts) != 2 or not any(texts):
            raise InputError(
                "target_range must be auto, none or LOW,HIGH, of which one may be empty (0,14 or "
                f"0,), not {short(repr(self.target_range))}."
            )
        low, high = (_number(text, "target_range") if text else None for text in texts)
        if low is not None and high is not None and low >= high:
            raise InputError(f"target_range has no room between {low:g} and {high:g}.")
        return low, high

    @property
    def given_class_weights(self) -> dict[str, float]:
        """Class -> weight, of those that are given by name."""
        if self.class_weight in ("none", "balanced"):
            return {}
        what = "class_weight must be none, balanced or CLASS=WEIGHT,... with each class once"
        return _weights(self.class_weight, "class_weight", what)

    @property
    def given_target_weights(self) -> dict[str, float]:
        """Target -> weight, of those that are given."""
        what = "target_weights must be TARGET=WEIGHT,... with each target once"
        return _weights(self.target_weights, "target_weights", what)


def _weights(text: str, name: str, what: str) -> dict[str, float]:
    """Weights above 0 by name."""
    weights: dict[str, float] = {}
    for pair in names_in(text):
        key, equals, value = (part.strip() for part in pair.rpartition("="))
        weight = _number(value, name) if equals and key else 0.0
        if weight <= 0 or key in weights:
            raise InputError(f"{what} and weights above 0, not {short(repr(text))}.")
        weights[key] = weight
    return weights


def _number(text: str, name: str) -> float:
    """A finite number of a setting."""
    value = parse(text, float, name)
    if not math.isfinite(value):
        raise InputError(f"{name} must be of finite numbers, not {text}.")
    return value
