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

    optimizer: str = option(
        "adamw", "How weights are updated.", choices=("adamw", "adam", "sgd", "lion")
    )
    lr: float = option(1e-3, "Peak learning rate.", minimum=0.0)
    encoder_lr_ratio: float = option(
        1.0, "Learning rate of a pretrained encoder over lr.", minimum=0.0
    )
    head_lr_ratio: float = option(1.0, "Learning rate of the heads over lr.", minimum=0.0)
    metadata_lr_ratio: float = option(
        1.0, "Learning rate of the layers that read covariates over lr.", minimum=0.0
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


@dataclass(frozen=True)
class TrainConfig(Checked):
    """The training loop, and what it runs on."""

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
    studies_per_batch: int = option(
        4, "Studies that a batch is drawn from, in a pretraining on many.", minimum=1
    )
    study_power: float = option(
        0.5,
        "How often a pretraining draws each of many studies: its number of samples to this power "
        "(1: each sample equally often, 0: each study).",
        minimum=0.0,
        maximum=1.0,
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
        "Memory of a device that batch_size 'auto' may use (0: four fifths of what is free).",
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
    unfreeze_from: int = option(
        0,
        "Epoch, counted from 1, from which a pretrained encoder of bases is trained, too; until "
        "then its weights stay (0: from the beginning, or not at all where it is frozen).",
        minimum=0,
    )
    best_metric: str = option(
        "total_loss",
        "Metric of the validation samples that selects the best epoch, stops early and steers "
        "'plateau': total_loss, or any other name under val/ in the logs; 'none' keeps the last "
        "weights (and is total_loss where patience or 'plateau' needs a metric).",
    )
    best_direction: str = option(
        "auto",
        "Whether the best value is the least or the greatest ('auto': by the metric's name).",
        choices=("auto", "min", "max"),
    )
    val_fraction: float = option(
        0.2,
        "Share of the samples held out for validation. Each member holds out another fold (all the "
        "same fold, where they train the ASV vectors).",
        minimum=0.0,
        maximum=0.9,
    )
    val_where: str = option(
        "",
        "COLUMN=VALUE: validate on these samples instead, and train on all others; several joined "
        "by commas: on those with any of them.",
    )
    strata: int = option(
        0,
        "Quantiles of a numeric target that folds and validation samples have in equal shares, as "
        "far as groups allow (0: numbers are not stratified; classes always are).",
        minimum=0,
        maximum=100,
    )
    seed: int = option(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1)
    device: str = option("auto", "'auto' (a GPU if there is one), 'cpu', 'cuda', 'cuda:1', 'mps'.")
    devices: int = option(
        1,
        "Processes that train together, each on a GPU of its own (or a part of the CPU).",
        minimum=1,
        maximum=4096,
    )
    strategy: str = option(
        "ddp",
        "On several devices, each has the whole model ('ddp') or a shard of it ('fsdp').",
        choices=("ddp", "fsdp"),
    )
    max_restarts: int = option(
        0, "Times that training resumes from the last checkpoint after a process died.", minimum=0
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
        "Attention kernel, where it is available; 'auto' leaves the choice to torch.",
        choices=("auto", "flash", "efficient", "cudnn", "math"),
    )
    threads: int = option(0, "CPU threads of each process (0: all cores).", minimum=0, maximum=4096)
    log_every: int = option(10, "Steps between lines of the training log.", minimum=1)
    trackers: str = option(
        "tensorboard",
        "Trackers that get the logs, as metrics.jsonl does: tensorboard, wandb, mlflow, joined by "
        "commas, or none.",
    )
    histograms: bool = option(False, "Log histograms of weights and gradients each epoch.")


@dataclass(frozen=True)
class ForestConfig(Checked):
    """The random forest of a fit: see `aam_core.ensemble.forest_training`."""

    trees: int = option(
        0,
        "Trees of the forest that is blended with the networks. The blend weight is chosen on "
        "out-of-fold predictions (0: networks alone).",
        minimum=0,
        maximum=100000,
    )


@dataclass(frozen=True)
class EnsembleConfig(Checked):
    """How sure predictions are: see `aam_core.ensemble.intervals`."""

    interval: str = option(
        "normalized",
        "Width of prediction intervals: by how hard a sample is to predict ('normalized', of 60 "
        "held-out samples at least), or alike for all ('constant').",
        choices=("normalized", "constant"),
    )
    passes: int = option(
        1,
        "Times that samples are predicted, with other random ASVs (data.asv_selection=random) or "
        "other reads (data.rarefaction=redraw): their mean counts, and a column has the spread.",
        minimum=1,
    )
    calibration: str = option(
        "auto",
        "Calibration of the probabilities of classes by those of held-out samples: 'temperature', "
        "'isotonic', 'none', or the one with the least log loss of folds that it was not fitted to "
        "('auto': none unless that is lower, and 'isotonic' from 1,000 samples on).",
        choices=("auto", "temperature", "isotonic", "none"),
    )
    interval_by: str = option(
        "",
        "Metadata columns (joined by commas) within whose groups intervals, or prediction sets, "
        "hold at their confidence; a group needs 30 held-out samples.",
        columns=True,
    )
