"""Configuration: one frozen dataclass per component.

A field carries its default, its bounds or choices and its one-line help. The command line, the
QIIME 2 parameters and the documentation take them from here. ``Config.to_dict`` and
``Config.from_dict`` round-trip through JSON; an unknown key is an error that names it.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field

from aam_core.config import fields
from aam_core.config.fields import Checked, option, unknown
from aam_core.errors import InputError

METRICS = ("unweighted", "weighted", "weighted_normalized", "generalized", "braycurtis", "jaccard")
"""Distances between samples, as `aam_core.phylogeny.distances` computes them."""

WITHOUT_TREE = ("braycurtis", "jaccard")
"""Those that need no phylogeny."""


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
        "With 'redraw', share of the samples of training that are read with all their reads.",
        minimum=0.0,
        maximum=1.0,
    )
    shallow_samples: str = option(
        "drop",
        "Samples with fewer reads than sampling_depth: 'drop' them, or 'keep' all their reads.",
        choices=("drop", "keep"),
    )
    min_reads: int = option(
        1, "Samples with fewer reads than this are left out of training and evaluation.", minimum=1
    )
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


@dataclass(frozen=True)
class EncoderConfig(Checked):
    """Bases -> ASV vector."""

    features: str = option(
        "bases",
        "What an ASV's vector is made of: its bases (learned), the principal components of its "
        "k-mer profile ('profile': fixed), or 'both'.",
        choices=("bases", "profile", "both"),
    )
    components: int = option(
        64,
        "Principal components of the profile of 6-mers, where features has it.",
        minimum=1,
        maximum=4096,
    )
    codes: int = option(
        0,
        "Random features of the whole sequence that the latter half of several members reads "
        "beside the profile, to tell similar ASVs apart (0: none).",
        minimum=0,
        maximum=4096,
    )

    width: int = option(64, "Width D of ASV and sample vectors.", minimum=8, maximum=8192)
    heads: int = option(4, "Attention heads.", minimum=1, maximum=1024)
    depth: int = option(2, "Transformer blocks over the bases.", minimum=0, maximum=256)
    stride: int = option(
        4,
        "Bases per position: a convolution joins this many neighbours (1: none).",
        minimum=1,
        maximum=256,
    )
    kernel: int = option(
        9,
        "Bases that the convolution before the blocks sees (odd; 1: none).",
        minimum=1,
        maximum=255,
    )
    kmer: int = option(
        6,
        "Length of the k-mers whose learned vectors are added to an ASV's (0: none).",
        minimum=0,
        maximum=8,
    )
    mlp_ratio: float = option(
        2.0, "Hidden width of the feed-forward part, over D.", minimum=0.25, maximum=64.0
    )
    dropout: float = option(0.0, "Dropout in the blocks.", minimum=0.0, maximum=0.9)


@dataclass(frozen=True)
class SampleConfig(Checked):
    """ASV vectors -> sample vector."""

    heads: int = option(4, "Attention heads.", minimum=1, maximum=1024)
    depth: int = option(2, "Transformer blocks over the ASVs of a sample.", minimum=0, maximum=256)
    mlp_ratio: float = option(
        2.0, "Hidden width of the feed-forward part, over D.", minimum=0.25, maximum=64.0
    )
    dropout: float = option(0.1, "Dropout in the blocks.", minimum=0.0, maximum=0.9)
    pool_queries: int = option(
        4, "Learned queries of the pooling attention.", minimum=1, maximum=1024
    )
    pool_prior: float = option(
        0.5,
        "Where each query's weight of the log abundance starts: 0 pools by presence, 1 by reads.",
        minimum=-1.0,
        maximum=1.0,
    )
    asv_dropout: float = option(
        0.0, "Share of a sample's ASVs hidden at random while training.", minimum=0.0, maximum=0.9
    )


@dataclass(frozen=True)
class HeadConfig(Checked):
    """Heads on the encoder."""

    distance: str = option(
        "union",
        "Form of the predicted distance: soft branches joined as UniFrac joins them, "
        "Ruzicka of a non-negative sample vector, or tanh of a Euclidean distance.",
        choices=("union", "ruzicka", "euclidean"),
    )
    distance_width: int = option(
        256, "Soft branches, or width of the distance vector.", minimum=1, maximum=65536
    )
    target_hidden: int = option(128, "Hidden width of the target head.", minimum=1, maximum=65536)
    target_dropout: float = option(
        0.3, "Dropout before and inside the target head.", minimum=0.0, maximum=0.9
    )


@dataclass(frozen=True)
class FusionConfig(Checked):
    """Sample vector + metadata covariates."""

    kind: str = option(
        "concat",
        "How metadata covariates join the sample vector.",
        choices=("concat", "add", "gmu", "cross-attention", "perceiver"),
    )
    heads: int = option(4, "Heads of the attention kinds.", minimum=1, maximum=1024)
    latents: int = option(4, "Latent vectors of the Perceiver kind.", minimum=1, maximum=4096)


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The whole network."""

    members: int = option(
        1,
        "Networks over the same ASV vectors, which predict together; each leaves out "
        "train.val_fraction of the samples, which validate it (all the same ones, where they learn "
        "the vectors). From a pretrained encoder, 3 at most.",
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


@dataclass(frozen=True)
class MaskingConfig(Checked):
    """Masked-nucleotide corruption (BERT's 80/10/10)."""

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
    """What is minimized; a weight ('penalty') of 0 leaves that part out, head and all."""

    nucleotide: float = option(
        1.0, "Penalty of the masked-nucleotide loss, which pretraining alone has.", minimum=0.0
    )
    distance: float = option(
        50.0,
        "Penalty of the distance loss (squared differences are small). A fit learns distances "
        "beside its target where this is above 0 and there is a tree, given distances, or a metric "
        "that needs neither.",
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
        "Weight classes alike ('none'), or by inverse frequency.",
        choices=("none", "balanced"),
    )


@dataclass(frozen=True)
class OptimConfig(Checked):
    """Optimizer and schedule, stepped once per optimizer step."""

    optimizer: str = option(
        "adamw", "How weights are updated.", choices=("adamw", "adam", "sgd", "lion")
    )
    lr: float = option(1e-3, "Peak learning rate.", minimum=0.0)
    encoder_lr_ratio: float = option(
        1.0, "Learning rate of a pretrained encoder over lr.", minimum=0.0
    )
    head_lr_ratio: float = option(1.0, "Learning rate of the heads over lr.", minimum=0.0)
    metadata_lr_ratio: float = option(
        1.0, "Learning rate of what reads the metadata covariates over lr.", minimum=0.0
    )
    weight_decay: float = option(
        0.05, "Decoupled weight decay (matrices only; an L2 penalty of adam and sgd).", minimum=0.0
    )
    beta1: float = option(
        0.9, "First beta of adamw, adam and lion; momentum of sgd.", minimum=0.0, maximum=0.9999
    )
    beta2: float = option(
        0.99, "Second beta of adamw, adam and lion.", minimum=0.0, maximum=0.999999
    )
    schedule: str = option(
        "cosine",
        "Learning rate after the warm-up: one cosine, several ('restarts'), lower where validation "
        "stalls ('plateau'), up and down ('one-cycle'), 'polynomial', or 'constant'.",
        choices=("cosine", "restarts", "plateau", "one-cycle", "polynomial", "constant"),
    )
    warmup: float = option(
        0.1, "Share of all steps in which the rate rises.", minimum=0.0, maximum=0.9
    )
    cycles: int = option(3, "Cosines under 'restarts'.", minimum=1)
    power: float = option(1.0, "Exponent under 'polynomial' (1: linear).", minimum=0.0)
    plateau_factor: float = option(
        0.5, "What the rate is multiplied by under 'plateau'.", minimum=0.01, maximum=0.99
    )
    plateau_patience: int = option(
        3, "Epochs without a better validation that 'plateau' waits.", minimum=0
    )
    clip: float = option(1.0, "Largest gradient norm (0: no clipping).", minimum=0.0)
    ema: float = option(
        0.0,
        "Decay of a moving average of the weights, which is then validated and saved (0: none).",
        minimum=0.0,
        maximum=0.99999,
    )


AUTO = 0
"""What 'auto' stands for in a setting that is a number."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """The loop, and what it runs on."""

    epochs: int = option(
        20,
        "Passes over the training samples; setting them sets min_steps to 0, unless it is set too.",
        minimum=1,
    )
    min_steps: int = option(
        0,
        "Train at least this many steps, adding epochs on a small study; 0 where epochs is set and "
        "this is not.",
        minimum=0,
    )
    max_steps: int = option(0, "Stop after this many optimizer steps (0: no limit).", minimum=0)
    batch_size: int = option(
        32,
        "Samples per optimizer step, over all devices; 'auto': the most that max_memory_gb holds.",
        minimum=2,
        words={"auto": AUTO},
    )
    max_asvs_per_batch: int = option(
        0,
        "Most ASVs, over its samples, that a batch is filled to; batch_size still holds (0: off).",
        minimum=0,
    )
    max_memory_gb: float = option(
        0.0,
        "Memory of a device that batch_size 'auto' may fill (0: four fifths of what is free).",
        minimum=0.0,
    )
    accumulate: int = option(
        1,
        "Micro-steps that a batch is split into: less memory, and distances between the samples of "
        "one micro-step only.",
        minimum=1,
    )
    patience: int = option(
        10, "Epochs without a better validation before stopping (0: never stop).", minimum=0
    )
    best_metric: str = option(
        "total_loss",
        "Figure of the validation samples that chooses the best epoch, stops early and steers "
        "'plateau': total_loss, or any other name under val/ in the logs; 'none' keeps the last "
        "(and is total_loss where patience or 'plateau' needs a figure).",
    )
    best_direction: str = option(
        "auto",
        "Whether the best is the least or the greatest ('auto': as the figure's name has it).",
        choices=("auto", "min", "max"),
    )
    val_fraction: float = option(
        0.2,
        "Share of the samples held out for validation; several members hold out one after another "
        "(all the same one, where they learn the ASVs' vectors).",
        minimum=0.0,
        maximum=0.9,
    )
    seed: int = option(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1)
    device: str = option("auto", "'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:1', 'mps'.")
    devices: int = option(
        1,
        "Processes that share the work, one to a GPU (or a part of the CPU).",
        minimum=1,
        maximum=4096,
    )
    strategy: str = option(
        "ddp",
        "Over several devices: every one holds the whole model ('ddp'), or a part ('fsdp').",
        choices=("ddp", "fsdp"),
    )
    max_restarts: int = option(
        0, "Times that the devices go on from the last checkpoint after one dies.", minimum=0
    )
    checkpoint_every: int = option(
        500, "Steps between checkpoints, beside those at the end of each epoch.", minimum=1
    )
    precision: str = option(
        "fp32",
        "Arithmetic of the forward pass ('auto': bf16 on a GPU that has it, else fp32).",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool = option(False, "Compile the transformer blocks (torch.compile).")
    gradient_checkpointing: bool = option(
        False, "Compute each block twice rather than keep what is inside: less memory, slower."
    )
    attention: str = option(
        "auto",
        "Attention kernel, wherever it can serve; 'auto' leaves the choice to torch.",
        choices=("auto", "flash", "efficient", "cudnn", "math"),
    )
    threads: int = option(0, "CPU threads of each process (0: all cores).", minimum=0, maximum=4096)
    log_every: int = option(10, "Steps between lines of the training log.", minimum=1)
    trackers: str = option(
        "tensorboard",
        "Where the logs go beside metrics.jsonl: of tensorboard, wandb, mlflow, joined by commas, "
        "or none.",
    )
    histograms: bool = option(False, "Log histograms of weights and gradients each epoch.")


@dataclass(frozen=True)
class ForestConfig(Checked):
    """Trees beside the networks: see `aam_core.ensemble.forest_training`."""

    trees: int = option(
        0,
        "Trees that are blended with the networks, by a weight chosen on samples that both left "
        "out (0: the networks alone).",
        minimum=0,
        maximum=100000,
    )


DRAWN = {"data.rarefaction": "redraw", "data.full_depth": 0.0, "data.sampling_depth_max": 0}
"""What a sampling depth means."""


@dataclass(frozen=True)
class Config(Checked):
    """Everything that a run is made of, passed whole and saved inside every artifact.

    Attributes
    ----------
    given : frozenset of str
        The ``section.field`` that `replace` gave another value: `aam_core.config.unused` names
        those that cannot act.
        Neither compared nor saved.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    forest: ForestConfig = field(default_factory=ForestConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def to_dict(self) -> dict:
        """Nested plain dictionary, ready for JSON or YAML."""
        values = dataclasses.asdict(self)
        del values["given"]
        return values

    @classmethod
    def from_dict(cls, values: dict, where: str = "configuration") -> Config:
        """Build from a nested dictionary; absent keys take their defaults.

        Raises
        ------
        InputError
            For an unknown key (the nearest legal one is suggested) or an illegal value.
        """
        return fields.build(cls, values, where)

    def differences(self, other: Config) -> dict[str, tuple]:
        """``{"section.field": (value here, value there)}`` of what is not the same.

        >>> Config().differences(Config().replace({"optim.lr": 0.1}))
        {'optim.lr': (0.001, 0.1)}
        """
        found = {}
        for path in paths():
            ours, theirs = self.at(path), other.at(path)
            if ours != theirs:
                found[path] = (ours, theirs)
        return found

    def at(self, path: str):
        """The value at ``section.field``."""
        return functools.reduce(getattr, path.split("."), self)

    def replace(self, changes: dict) -> Config:
        """Copy with changes, given as ``{"section.field": value}``.

        Whoever sets ``train.epochs`` gets that many: ``train.min_steps`` is then 0, unless set too.
        Whoever sets ``data.sampling_depth``, but not ``data.rarefaction``, where all reads are
        read, gets so many, drawn anew each epoch.

        >>> Config().replace({"model.encoder.depth": 6}).model.encoder.depth
        6
        >>> Config().replace({"train.min_steps": 500}).replace({"train.epochs": 3}).train.min_steps
        0
        """
        found = self._replaced(changes)
        now = {path for path in changes if found.at(path) != self.at(path)}
        return dataclasses.replace(found, given=self.given | now)

    def decide(self, changes: dict) -> Config:
        """As `replace`, of what nobody asked for: a preset's values, or what a command needs."""
        return dataclasses.replace(self._replaced(changes), given=self.given - set(changes))

    def said(self) -> Config:
        """The same, nothing of which is ``given``: what there is to say of it was said."""
        return dataclasses.replace(self, given=frozenset())

    def _replaced(self, changes: dict) -> Config:
        implied = {}
        if "train.epochs" in changes:
            implied["train.min_steps"] = 0
        depth_alone = "data.sampling_depth" in changes and "data.rarefaction" not in changes
        if depth_alone and self.data.rarefaction == "none":
            implied |= DRAWN
        nested = self.to_dict()
        for path, value in {**implied, **changes}.items():
            *parents, leaf = path.split(".")
            node = nested
            for name in parents:
                if not isinstance(node.get(name), dict):
                    raise unknown(path, paths(), "setting")
                node = node[name]
            if leaf not in node or isinstance(node[leaf], dict):
                raise unknown(path, paths(), "setting")
            node[leaf] = value
        return type(self).from_dict(nested)


def find(path: str) -> dataclasses.Field:
    """The field at ``section.field``; `InputError` with a suggestion where there is none."""
    return fields.find(Config, path)


def paths() -> list[str]:
    """Every ``section.field`` there is, in order."""
    return fields.paths(Config)
