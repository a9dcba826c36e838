"""What the trainer gets (`TrainingJob`), and what it returns (`TrainingResult`)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from aam_core.config import Config
from aam_core.data.batches import Batcher
from aam_core.data.covariates import Covariates
from aam_core.models.network import Network
from aam_core.tasks import Targets, Task
from aam_core.training.checkpoint import Checkpoint

__all__ = ["TrainingJob", "TrainingResult"]


@dataclass
class TrainingJob:
    """A network, the samples that it is trained on, and where checkpoints go.

    Attributes
    ----------
    network : Network
        On the device of the process group; trained in place.
    config : Config
    batcher : Batcher
        Makes batches of the study.
    train, val : ndarray
        Positions of the samples in the study; ``val`` may be empty.
    source : ndarray, optional
        ``[N]`` which of many studies each sample of the study is of.
    target : Task or Targets, optional
        What the network's output for the target means.
    class_weight : Tensor, optional
        Weights of the classes.
    covariates : Covariates, optional
        What the network reads beside the reads: for names in the logs.
    pretrained : collection of str
        Names of the parameters that came from a pretrained encoder.
    folder : Path, optional
        Where checkpoints go; none are written without one.
    run : dict
        Description of the run in its checkpoints; JSON.
    keep : callable, optional
        Called on rank 0 with the epoch and the weights whenever they are the best so far.
    on_epoch : callable, optional
        Called with each epoch and its losses and metrics. An error in it ends the run.
    resume : Checkpoint, optional
        What to resume from.
    inputs : dict of Tensor, optional
        Fingerprint of the inputs for the checkpoints; see `aam_core.data.fingerprint`.
    """

    network: Network
    config: Config
    batcher: Batcher
    train: np.ndarray
    val: np.ndarray
    target: Task | Targets | None = None
    class_weight: Tensor | None = None
    covariates: Covariates | None = None
    pretrained: Collection[str] = ()
    folder: Path | None = None
    run: dict = field(default_factory=dict)
    keep: Callable[[int, dict[str, Tensor]], None] | None = None
    on_epoch: Callable[[int, dict[str, float]], None] | None = None
    resume: Checkpoint | None = None
    inputs: dict[str, Tensor] | None = None
    source: np.ndarray | None = None


@dataclass
class TrainingResult:
    """Result of a training.

    Attributes
    ----------
    weights : dict of Tensor
        The best weights, on the CPU.
    epoch, step : int
        When they were reached.
    values : dict
        Losses and metrics there, under ``train/`` and ``val/`` names.
    history : list of dict
        The same for every epoch.
    """

    weights: dict[str, Tensor]
    epoch: int = 0
    step: int = 0
    values: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
