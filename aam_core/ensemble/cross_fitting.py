"""Predictions of held-out samples by the members that did not train on them.

Each member holds out one fold, so that together they predict every sample of ``split.val`` without
having seen it. One forward pass gives the outputs of all members; any weighting of them is then a
mean of numbers that are there already. Letters: K members, N held-out samples, T outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.config import Config
from aam_core.data.covariates import Covariates
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.ensemble.forward import forward
from aam_core.models.network import Network
from aam_core.tasks import Task

__all__ = ["HeldOut", "predict_held_out"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What each member's network gives for the held-out samples.

    Attributes
    ----------
    task : Task
        What the outputs stand for.
    outputs : Tensor
        ``[K, N, T]`` float32, as the network gives them.
    masks : ndarray
        ``[K, N]`` bool: whether a member held out a sample.
    metadata : DataFrame or None
        N rows of the samples.
    samples : ndarray or None
        ``[K, N, D]`` sample vectors.
    composition : ndarray or None
        ``[N, C]`` mean ASV vectors.
    passes : Tensor or None
        ``[P, K, N, T]`` outputs of each draw, whose means ``outputs`` are, where there are several.
    """

    task: Task
    outputs: Tensor
    masks: np.ndarray
    metadata: pd.DataFrame | None = None
    samples: np.ndarray | None = None
    composition: np.ndarray | None = None
    passes: Tensor | None = None

    def each_pass(self, network: Network) -> np.ndarray | None:
        """``[P, N, T]`` as `out_of_fold`, of each draw; None of a single one."""
        if self.passes is None:
            return None
        draws = [replace(self, outputs=outputs) for outputs in self.passes]
        return np.stack([draw.out_of_fold(network) for draw in draws])

    def quantiles(self, network: Network) -> np.ndarray | None:
        """``[N, Q]`` as `Task.quantile_predictions` gives them, of `out_of_fold`; None without."""
        if not self.task.quantiles:
            return None
        weights = torch.from_numpy(self.masks.astype(np.float32))
        output = network.average(self.outputs, weights)
        return self.task.quantile_predictions(output, self.metadata)

    def out_of_fold(self, network: Network, members: np.ndarray | None = None) -> np.ndarray:
        """Predictions of each sample by the members that did not train on it.

        Parameters
        ----------
        network : Network
            Has the weights of its members.
        members : ndarray, optional
            ``[K]`` bool: these members alone.

        Returns
        -------
        ndarray
            ``[N, T]`` float64, as `Task.predictions` gives it; NaN where no such member held a
            sample out.
        """
        masks = self.masks if members is None else self.masks & members[:, None]
        weights = torch.from_numpy(masks.astype(np.float32))
        predictions = self.task.predictions(network.average(self.outputs, weights), self.metadata)
        # An average of no members decodes to what looks like a prediction.
        predictions[~masks.any(axis=0)] = np.nan
        return predictions


def predict_held_out(
    network: Network,
    study: Study,
    split: Split,
    config: Config,
    task: Task,
    covariates: Covariates | None = None,
) -> HeldOut:
    """Outputs of all members for the validation samples of a split, in one forward pass.

    Parameters
    ----------
    network : Network
        Trained on this split.
    study : Study
        Has the samples of ``split.val``, in whose order the outputs are.
    """
    held_out = study.select(split.val)
    names = ("members", "samples", "composition")
    outputs = forward(network, held_out, config, names, covariates)
    masks = split.held_out(split.val, config.model.members)
    # Contiguous: a sum over members in memory order would differ in the last digit.
    members = outputs["members"].transpose(0, 1).contiguous()
    samples = outputs["samples"].transpose(0, 1).numpy()
    passes = outputs["passes"].transpose(1, 2).contiguous() if "passes" in outputs else None
    composition = outputs["composition"].numpy()
    return HeldOut(task, members, masks, held_out.metadata, samples, composition, passes)
