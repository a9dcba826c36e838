"""The network: what a saved model is rebuilt from."""

from __future__ import annotations

from dataclasses import dataclass, field

from aam_core.config.fields import Checked, option
from aam_core.errors import InputError, short

__all__ = [
    "COVARIATE_HELP",
    "FUSION_KINDS",
    "SAVED_FUSIONS",
    "EncoderConfig",
    "FusionConfig",
    "HeadConfig",
    "ModelConfig",
    "SampleConfig",
]

_WIDEST, _DEEPEST = 65536, 64
"""Most units of a hidden layer of the target head, and most of these layers."""


@dataclass(frozen=True)
class EncoderConfig(Checked):
    """The encoder: bases -> ASV vector."""

    features: str = option(
        "bases",
        "What ASV vectors are computed from: the bases ('bases': learned), the principal "
        "components of the k-mer profile ('profile': fixed), or 'both'.",
        choices=("bases", "profile", "both"),
    )
    components: int = option(
        64,
        "Number of principal components of the 6-mer profile (with features 'profile' or 'both').",
        minimum=1,
        maximum=4096,
    )
    profile_bases: int = option(
        0,
        "Compute the 6-mer profile from this many first bases of a sequence (0: all), so that "
        "studies trimmed to different lengths have the same profiles.",
        minimum=0,
    )
    codes: int = option(
        0,
        "Number of random Fourier features of the whole sequence. The second half of the members "
        "reads them in addition to the k-mer profile, to tell similar ASVs apart (0: none).",
        minimum=0,
        maximum=4096,
    )

    width: int = option(64, "Width of ASV and sample vectors.", minimum=8, maximum=8192)
    heads: int = option(4, "Attention heads.", minimum=1, maximum=1024)
    depth: int = option(2, "Transformer blocks over the bases.", minimum=0, maximum=256)
    stride: int = option(
        4,
        "Bases per position of the transformer: a convolution joins this many neighbouring bases "
        "(1: none).",
        minimum=1,
        maximum=256,
    )
    kernel: int = option(
        9,
        "Kernel size, in bases, of the convolution before the transformer blocks (odd; 1: none).",
        minimum=1,
        maximum=255,
    )
    kmer: int = option(
        6,
        "Length of k-mers, whose learned vectors are added to the ASV vector (0: none).",
        minimum=0,
        maximum=8,
    )
    mlp_ratio: float = option(
        2.0, "Hidden width of the feed-forward layers, over D.", minimum=0.25, maximum=64.0
    )
    dropout: float = option(0.0, "Dropout in the blocks.", minimum=0.0, maximum=0.9)


@dataclass(frozen=True)
class SampleConfig(Checked):
    """The layers over the ASVs of a sample: ASV vectors -> sample vector."""

    heads: int = option(4, "Attention heads.", minimum=1, maximum=1024)
    depth: int = option(2, "Transformer blocks over the ASVs of a sample.", minimum=0, maximum=256)
    mlp_ratio: float = option(
        2.0, "Hidden width of the feed-forward layers, over D.", minimum=0.25, maximum=64.0
    )
    dropout: float = option(0.1, "Dropout in the blocks.", minimum=0.0, maximum=0.9)
    pool_queries: int = option(
        4, "Learned queries of the pooling attention.", minimum=1, maximum=1024
    )
    pool_prior: float = option(
        0.5,
        "Initial weight of the log abundance in the pooling attention, learned for each query: 0 "
        "pools by presence, 1 by reads.",
        minimum=-1.0,
        maximum=1.0,
    )
    asv_dropout: float = option(
        0.0,
        "Share of a sample's ASVs that are hidden at random during training.",
        minimum=0.0,
        maximum=0.9,
    )


@dataclass(frozen=True)
class HeadConfig(Checked):
    """The heads: sample vector -> distance, target."""

    distance: str = option(
        "union",
        "How the distance between two sample vectors is computed: from learned soft branches as "
        "in UniFrac ('union'), as the Ruzicka distance of non-negative vectors, or as tanh of "
        "the Euclidean distance.",
        choices=("union", "ruzicka", "euclidean"),
    )
    distance_width: int = option(
        256,
        "Number of soft branches ('union'), or width of the vector that is compared.",
        minimum=1,
        maximum=65536,
    )
    target_hidden: int = option(
        128, "Width of the hidden layer of the target head.", minimum=1, maximum=_WIDEST
    )
    hidden_layers: str = option(
        "one",
        "Widths of the hidden layers of the target head, joined by commas, as in '128,64'; 'none': "
        "a linear map alone; 'one': one layer of model.head.target_hidden.",
    )
    target_dropout: float = option(
        0.3, "Dropout before and inside the target head.", minimum=0.0, maximum=0.9
    )
    layer_norm: bool = option(False, "Layer normalization in the hidden layers of the target head.")
    residual: bool = option(
        False,
        "Residual connections around the hidden layers of the target head (where widths differ, by "
        "a linear map).",
    )
    initialization: str = option(
        "default",
        "Initial weights of the target head: those of PyTorch ('default'), or Xavier's.",
        choices=("default", "xavier"),
    )
    output: str = option(
        "identity",
        "Output of the target head of a regression: any number ('identity'), within the range of "
        "the training samples ('sigmoid'), or never negative ('softplus', 'exp').",
        choices=("identity", "sigmoid", "softplus", "exp"),
    )
    scale: bool = option(False, "A learned scale and shift of each output of the target head.")
    scale_by: str = option(
        "",
        "Metadata columns, joined by commas: the target head learns a scale and a shift for each "
        "of their categories. The columns are needed to predict, too ('': none).",
        columns=True,
    )

    def __post_init__(self):
        super().__post_init__()
        self.hidden_widths  # noqa: B018, raises where they are no widths

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers of the target head.

        >>> HeadConfig(hidden_layers="128, 64").hidden_widths
        (128, 64)
        >>> HeadConfig(target_hidden=96).hidden_widths
        (96,)
        """
        text = self.hidden_layers.strip().lower()
        if text == "one":
            return (self.target_hidden,)
        if text == "none":
            return ()
        parts = [part.strip() for part in text.split(",")]
        widths = tuple(int(part) for part in parts if part.isdecimal())
        if len(widths) < len(parts) or not all(1 <= width <= _WIDEST for width in widths):
            raise InputError(
                "model.head.hidden_layers must be widths from 1 to "
                f"{_WIDEST} joined by commas (128,64), 'one' or 'none', not "
                f"{short(repr(self.hidden_layers))}."
            )
        if len(widths) > _DEEPEST:
            raise InputError(
                f"model.head.hidden_layers has {len(widths)} layers; {_DEEPEST} is the most."
            )
        return widths


COVARIATE_HELP = """\
--covariate COLUMN (repeatable) names metadata columns that the model reads beside the reads.
--set model.fusion.kind=KIND chooses how they join the ASVs:

  simple metadata      concat           One linear map of sample vector and covariates (default).
  a shift by category  concat           With --set model.head.scale_by=COLUMN: the output gets a
                                        scale and a shift for each category, too.
  adaptive             gmu              A gate weighs the sample vector against the covariates, in
                                        each sample.
  by ASV               cross-attention  Each ASV attends to the covariates, or to none of them,
                                        before the ASVs are pooled: for ASVs that mean one thing
                                        in one category and another in the next.
  many columns         perceiver        A few latent vectors (model.fusion.latents) read ASVs and
                                        covariates together, model.fusion.layers times.

The kind 'add' adds the vectors, with the fewest weights. 'sample-attention' and 'sample-perceiver'
are what 'cross-attention' and 'perceiver' were up to format 5: they see the pooled sample alone.
The samples to predict need the same columns. A column that identifies the subject or the batch of a
sample does not help with new ones: a line names such columns, and redundant ones.
Start with concat, and compare by aam cross-validate with and without the covariates.
"""
"""What ``--covariate-help`` prints; docs/prediction.md has the same."""

FUSION_KINDS = (
    *("concat", "add", "gmu", "cross-attention", "perceiver"),
    *("sample-attention", "sample-perceiver"),
)
"""Kinds of fusion, as `COVARIATE_HELP` explains them."""

SAVED_FUSIONS = {"cross-attention": "sample-attention", "perceiver": "sample-perceiver"}
"""Kind of fusion as saved up to format 5 -> its name since."""


@dataclass(frozen=True)
class FusionConfig(Checked):
    """How covariates join the sample vector."""

    kind: str = option(
        "concat",
        "How covariates join the sample vector (--covariate-help tells which to choose).",
        choices=FUSION_KINDS,
    )
    heads: int = option(
        4, "Attention heads of 'cross-attention' and 'perceiver'.", minimum=1, maximum=1024
    )
    latents: int = option(4, "Latent vectors of 'perceiver'.", minimum=1, maximum=4096)
    layers: int = option(
        2,
        "How often the latent vectors of 'perceiver' read ASVs and covariates.",
        minimum=1,
        maximum=64,
    )


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The whole network."""

    members: int = option(
        1,
        "Number of networks in the ensemble, which read the same ASV vectors. Each holds out one "
        "fold (train.val_fraction of the samples) for validation; networks that train the ASV "
        "vectors all hold out the same fold. At most 3 with a pretrained encoder.",
        minimum=1,
        maximum=1000,
    )
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self):
        super().__post_init__()
        for name, heads in (
            ("encoder", self.encoder.heads),
            ("sample", self.sample.heads),
            ("fusion", self.fusion.heads),
        ):
            if self.encoder.width % (2 * heads):
                raise InputError(
                    f"model.encoder.width is {self.encoder.width} and model.{name}.heads is "
                    f"{heads}: the width must be a multiple of twice the heads."
                )
        if self.encoder.kernel % 2 == 0 and self.encoder.kernel > 1:
            raise InputError(
                f"model.encoder.kernel is {self.encoder.kernel}; it must be odd, to have a centre."
            )
