"""The everyday settings: those with a short name besides their path.

They are flags of the command line and keyword arguments in Python; those of `EVERYDAY` are
parameters in QIIME 2, too. A new one is an entry of `FLAGS` and of `EverydaySettings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from aam_core.config.config import Config

__all__ = ["EVERYDAY", "FLAGS", "EverydaySettings", "default_in_words"]

FLAGS = {
    "epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "lr": "optim.lr",
    "sampling_depth": "data.sampling_depth",
    "max_asvs": "data.max_asvs",
    "patience": "train.patience",
    "val_fraction": "train.val_fraction",
    "seed": "train.seed",
    "device": "train.device",
    "devices": "train.devices",
    "precision": "train.precision",
    "threads": "train.threads",
    "strategy": "train.strategy",
    "max_restarts": "train.max_restarts",
    "max_asvs_per_batch": "train.max_asvs_per_batch",
    "max_memory_gb": "train.max_memory_gb",
    "accumulate": "train.accumulate",
    "normalize_by": "loss.normalize_by",
    "passes": "ensemble.passes",
    "interval_by": "ensemble.interval_by",
    "unfreeze_from": "train.unfreeze_from",
    "units": "figure.units",
    "title": "figure.title",
    "figure_format": "figure.format",
}
"""Name -> ``section.field``."""

EVERYDAY = {
    name: FLAGS[name]
    for name in ("epochs", "sampling_depth", "seed", "device", "devices", "threads")
}
"""Those that QIIME 2 has parameters for; the others are among its ``settings``."""


class EverydaySettings(TypedDict, total=False):
    """`FLAGS` for editors and type checkers; None stands for a setting that is not given."""

    epochs: int | None
    max_steps: int | None
    batch_size: int | str | None
    lr: float | None
    sampling_depth: int | None
    max_asvs: int | None
    patience: int | None
    val_fraction: float | None
    seed: int | None
    device: str | None
    devices: int | None
    precision: str | None
    threads: int | None
    strategy: str | None
    max_restarts: int | None
    max_asvs_per_batch: int | None
    max_memory_gb: float | None
    accumulate: int | None
    normalize_by: str | None
    passes: int | None
    interval_by: str | None
    unfreeze_from: int | None
    units: str | None
    title: str | None
    figure_format: str | None


def default_in_words(config: Config, path: str) -> str:
    """A sentence on the default of ``section.field``, where it is not the value in ``config``.

    Empty where it is.
    """
    if path == "data.sampling_depth" and config.data.rarefaction == "none":
        return "Where not given, all reads are read."
    if path == "train.epochs" and config.train.min_steps:
        return (
            f"Where not given, {config.train.epochs}, or as many as make {config.train.min_steps} "
            "steps (train.min_steps): more on a small study."
        )
    return ""
