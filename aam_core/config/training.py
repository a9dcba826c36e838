"""How it is learned: optimizer and schedule, the loop and devices, forest and ensemble of a fit."""

from __future__ import annotations

from dataclasses import dataclass

from aam_core.config.fields import Checked, option

__all__ = ["AUTO", "EnsembleConfig", "ForestConfig", "OptimConfig", "TrainConfig"]

AUTO = 0
"""The number that the word 'auto' stands for; it lies outside the bounds of the setting."""


@dataclass(frozen=True)
class OptimConfig(Checked):
    """Optimizer and schedule, stepped once per optimizer step."""

    optimizer: str = option("adamw", "Optimizer.", choices=("adamw", "adam", "sgd", "lion"))
    lr: float = option(1e-3, "Peak learning rate.", minimum=0.0)
    encoder_lr_ratio: float = option(
        1.0, "Learning rate of a pretrained encoder, as a multiple of optim.lr.", minimum=0.0
    )
    head_lr_ratio: float = option(
        1.0, "Learning rate of the heads, as a multiple of optim.lr.", minimum=0.0
    )
    metadata_lr_ratio: float = option(
        1.0,
        "Learning rate of the layers that read covariates, as a multiple of optim.lr.",
        minimum=0.0,
    )
    weight_decay: float = option(
        0.05,
        "Weight decay of the weight matrices: decoupled with adamw and lion, an L2 penalty with "
        "adam and sgd.",
        minimum=0.0,
    )
    beta1: float = option(
        0.9, "First beta of adamw, adam and lion; momentum of sgd.", minimum=0.0, maximum=0.9999
    )
    beta2: float = option(
        0.99, "Second beta of adamw, adam and lion.", minimum=0.0, maximum=0.999999
    )
    schedule: str = option(
        "cosine",
        "Learning rate after the warm-up: one cosine, several cosines ('restarts'), reduced when "
        "validation stops improving ('plateau'), up and down ('one-cycle'), 'polynomial', or "
        "'constant'.",
        choices=("cosine", "restarts", "plateau", "one-cycle", "polynomial", "constant"),
    )
    warmup: float = option(
        0.1,
        "Share of all steps in which the learning rate rises to its peak.",
        minimum=0.0,
        maximum=0.9,
    )
    cycles: int = option(3, "Number of cosines with 'restarts'.", minimum=1)
    power: float = option(1.0, "Exponent with 'polynomial' (1: linear).", minimum=0.0)
    plateau_factor: float = option(
        0.5, "Factor by which 'plateau' reduces the learning rate.", minimum=0.01, maximum=0.99
    )
    plateau_patience: int = option(
        3,
        "Epochs without a better validation after which 'plateau' reduces the learning rate.",
        minimum=0,
    )
    clip: float = option(1.0, "Largest gradient norm (0: no clipping).", minimum=0.0)
    ema: float = option(
        0.0,
        "Decay of a moving average of the weights, which is then validated and saved (0: none).",
        minimum=0.0,
        maximum=0.99999,
    )


@dataclass(frozen=True)
class TrainConfig(Checked):
    """The training loop, and what it runs on."""

    epochs: int = option(
        20,
        "Passes over the training samples. Setting this sets train.min_steps to 0, unless that "
        "is set, too.",
        minimum=1,
    )
    min_steps: int = option(
        0,
        "Train at least this many steps, with more epochs on a small study (0 if train.epochs is "
        "set and this is not).",
        minimum=0,
    )
    studies_per_batch: int = option(
        4, "Number of studies in a batch, in a pretraining on many studies.", minimum=1
    )
    study_power: float = option(
        0.5,
        "In a pretraining on many studies, a study is drawn in proportion to its number of "
        "samples to this power (1: each sample equally often, 0: each study equally often).",
        minimum=0.0,
        maximum=1.0,
    )
    max_steps: int = option(0, "Stop after this many optimizer steps (0: no limit).", minimum=0)
    batch_size: int = option(
        32,
        "Samples per optimizer step, over all devices; 'auto': as many as fit into max_memory_gb.",
        minimum=2,
        words={"auto": AUTO},
    )
    max_asvs_per_batch: int = option(
        0,
        "Largest cost of a batch: its number of samples times the number of ASVs of the richest "
        "one. Batches may then be smaller than batch_size (0: no limit).",
        minimum=0,
    )
    max_memory_gb: float = option(
        0.0,
        "GB of memory per device that batch_size 'auto' may use (0: four fifths of the free "
        "memory).",
        minimum=0.0,
    )
    accumulate: int = option(
        1,
        "Number of micro-steps into which a batch is split: this saves memory, but distances are "
        "then learned between samples of one micro-step only.",
        minimum=1,
    )
    patience: int = option(
        10, "Epochs without a better validation before stopping (0: never stop).", minimum=0
    )
    unfreeze_from: int = option(
        0,
        "Epoch, counted from 1, from which a pretrained encoder of bases is trained; before, it "
        "is frozen (0: trained from the beginning, or not at all if it is frozen).",
        minimum=0,
    )
    best_metric: str = option(
        "total_loss",
        "Validation metric for the best epoch, early stopping and 'plateau': total_loss, or any "
        "other name under val/ in the logs. 'none' keeps the last weights (patience and "
        "'plateau' then use total_loss).",
    )
    best_direction: str = option(
        "auto",
        "Whether the lowest or the highest value is best ('auto': by the metric's name).",
        choices=("auto", "min", "max"),
    )
    val_fraction: float = option(
        0.2,
        "Share of the samples held out for validation. Each member holds out another fold; "
        "members that train the ASV vectors all hold out the same fold.",
        minimum=0.0,
        maximum=0.9,
    )
    val_where: str = option(
        "",
        "Validate on the samples with COLUMN=VALUE instead, and train on all others; several "
        "conditions, joined by commas: on samples that meet any of them.",
    )
    strata: int = option(
        0,
        "Stratify folds and validation samples by this many quantiles of a numeric target, as "
        "far as groups allow (0: no stratification of numbers; classes are always stratified).",
        minimum=0,
        maximum=100,
    )
    seed: int = option(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1)
    device: str = option("auto", "'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:1', 'mps'.")
    devices: int = option(
        1,
        "Number of processes that train together, each on its own GPU (or a part of the CPU).",
        minimum=1,
        maximum=4096,
    )
    strategy: str = option(
        "ddp",
        "With several devices, each has the whole model ('ddp') or a shard of it ('fsdp').",
        choices=("ddp", "fsdp"),
    )
    max_restarts: int = option(
        0, "How often training may resume from the last checkpoint after a process died.", minimum=0
    )
    checkpoint_every: int = option(
        500, "Steps between checkpoints; there is one at the end of each epoch, too.", minimum=1
    )
    precision: str = option(
        "fp32",
        "Arithmetic of the forward pass ('auto': bf16 on a GPU that has it, else fp32).",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool = option(False, "Compile the transformer blocks (torch.compile).")
    gradient_checkpointing: bool = option(
        False, "Recompute the activations of each block in the backward pass: less memory, slower."
    )
    attention: str = option(
        "auto",
        "Attention kernel, if it is available ('auto': PyTorch chooses).",
        choices=("auto", "flash", "efficient", "cudnn", "math"),
    )
    threads: int = option(0, "CPU threads of each process (0: all cores).", minimum=0, maximum=4096)
    log_every: int = option(10, "Steps between lines of the training log.", minimum=1)
    trackers: str = option(
        "tensorboard",
        "Trackers that get the logs in addition to metrics.jsonl: tensorboard, wandb, mlflow, "
        "joined by commas, or none.",
    )
    histograms: bool = option(False, "Log histograms of weights and gradients each epoch.")


@dataclass(frozen=True)
class ForestConfig(Checked):
    """The random forest of a fit: see `aam_core.ensemble.forest_training`."""

    trees: int = option(
        0,
        "Number of trees of the forest that is blended with the networks; the blend weight is "
        "chosen on out-of-fold predictions (0: networks alone).",
        minimum=0,
        maximum=100000,
    )


@dataclass(frozen=True)
class EnsembleConfig(Checked):
    """How sure predictions are: see `aam_core.ensemble.intervals`."""

    interval: str = option(
        "normalized",
        "Width of prediction intervals: depends on the expected error of each sample "
        "('normalized', from 60 held-out samples on), or is the same for all ('constant').",
        choices=("normalized", "constant"),
    )
    passes: int = option(
        1,
        "How often each sample is predicted, each time with other random ASVs "
        "(data.asv_selection=random) or reads (data.rarefaction=redraw). The prediction is the "
        "mean; the column prediction_sd has the standard deviation.",
        minimum=1,
    )
    calibration: str = option(
        "auto",
        "Calibration of class probabilities on held-out samples: 'temperature', 'isotonic', "
        "'none', or the one with the lowest cross-fitted log loss ('auto': none unless it lowers "
        "the log loss by 1 %; 'isotonic' is tried from 1,000 samples on).",
        choices=("auto", "temperature", "isotonic", "none"),
    )
    interval_by: str = option(
        "",
        "Metadata columns, joined by commas: intervals and prediction sets are calibrated within "
        "each of their groups that has at least 30 held-out samples. The columns are needed to "
        "predict, too.",
        columns=True,
    )
