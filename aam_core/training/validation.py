"""Losses and figures of the validation samples, in memory that does not grow with them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
from torch import Tensor

from aam_core import plots
from aam_core.config import LossConfig
from aam_core.data.batches import Batch
from aam_core.models.network import ModelOutput
from aam_core.tasks import losses
from aam_core.tasks.metrics import Accumulator, RegressionMetrics, Reservoir, merged
from aam_core.training.job import Job
from aam_core.training.parallel import ProcessGroup

EXACT = 10_000
"""Most validation samples whose probabilities are kept, for an exact area under the curve."""


class Losses:
    """Sums of losses and of what they count, kept on the device until they are read."""

    def __init__(self, config: LossConfig):
        self.config = config
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, sums: dict[str, Tensor], counts: dict[str, Tensor]) -> None:
        """Take in those of a batch: 0-d tensors, by name."""
        for held, more in ((self.sums, sums), (self.counts, counts)):
            for name, value in more.items():
                held[name] = held[name] + _wide(value) if name in held else _wide(value)

    def values(self) -> dict[str, float]:
        """Names of the logs, without their prefix: this waits for the device."""
        if not self.sums:
            return {}
        parts = losses.weighted(self.sums, self.counts, self.config)
        found = {"total_loss": float(sum(parts.values()))}
        for name, part in parts.items():
            mean = self.sums[name] / self.counts[name].clamp_min(1e-12)
            found[f"{name}_loss"] = float(mean)
            found[f"{name}_loss_weighted"] = float(part)
        if "nucleotide_accuracy" in self.sums:
            count = self.counts["nucleotide"].clamp_min(1)
            found["nucleotide_accuracy"] = float(self.sums["nucleotide_accuracy"] / count)
        return found

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        kinds = {"sum": self.sums, "count": self.counts}
        return {f"{k}.{n}": v.cpu() for k, held in kinds.items() for n, v in held.items()}

    def restore(self, state: dict[str, Tensor], device) -> None:
        """Go on from what a checkpoint kept."""
        for name, value in state.items():
            kind, _, name = name.partition(".")
            (self.sums if kind == "sum" else self.counts)[name] = value.to(device)


class Validation(Losses):
    """Losses, figures and some points for plots of an evaluation.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job):
        super().__init__(job.config.loss)
        self.target = job.target
        self.average = job.network.average
        self.samples = len(job.batcher.study.sample_ids)
        self.pairs = RegressionMetrics()
        self.some_pairs = Reservoir()
        self.some_values = Reservoir()
        self.scores: Accumulator | None = None
        if self.target is not None:
            self.scores = self.target.accumulator(exact=len(job.val) <= EXACT)

    def score(self, batch: Batch, output: ModelOutput, predicted, truth, pairs) -> None:
        """Take in the predictions of a batch, in the target's units, and of its pairs.

        Parameters
        ----------
        predicted, truth, pairs : Tensor or None
            Distances ``[B, G]`` as predicted and as they are, and what each pair counts.
        """
        if predicted is not None:
            self._score_pairs(batch, predicted, truth, pairs)
        if output.target is None or self.target is None or batch.placeholder:
            return
        actual = batch.target.cpu().numpy()
        places = batch.sample_index.cpu().numpy()
        together = self.average(output.target, batch.weight).cpu()
        predictions = self.target.predictions(together)
        self.some_values.update(places, *self.target.accumulate(self.scores, actual, predictions))

    def merge(self, group: ProcessGroup) -> None:
        """Let the first process take in what the others have scored."""
        of_ranks = group.gather((self.scores, self.pairs, self.some_values, self.some_pairs))
        if of_ranks is not None:
            self.scores, self.pairs, self.some_values, self.some_pairs = (
                # A pretraining has no target to score.
                None if values[0] is None else merged(values)
                for values in zip(*of_ranks, strict=True)
            )

    def values(self) -> dict[str, float]:
        """Losses first, then figures."""
        found = super().values()
        if found and self.target is not None:
            found |= self.scores.compute()
        if self.pairs.count:
            scores = self.pairs.compute()
            found |= {"distance_r2": scores["r2"], "distance_mae": scores["mae"]}
        return found

    def drawings(self) -> dict[str, Callable]:
        """Plots by name: functions that make a figure of at most 1,000 points."""
        found = {}
        if self.target is not None and self.some_values.rows():
            frame = self.target.points(*self.some_values.rows())
            found["val/predictions"] = functools.partial(
                self.target.plot, frame, label=self.target.column
            )
        if self.pairs.count:
            found["val/distances"] = functools.partial(plots.distances, _points(self.some_pairs))
        return found

    def _score_pairs(self, batch, predicted, truth, pairs):
        row, column = np.nonzero(pairs.cpu().numpy())
        actual = truth.cpu().numpy()[row, column]
        values = predicted.float().cpu().numpy()[row, column]
        self.pairs.update(actual, values)
        places = batch.global_index.cpu().numpy()
        left, right = places[row + batch.offset], places[column]
        key = np.minimum(left, right) * self.samples + np.maximum(left, right)
        self.some_pairs.update(key, actual, values)


def _points(held: Reservoir) -> pd.DataFrame:
    actual, prediction = held.rows()
    return pd.DataFrame({"actual": actual, "prediction": prediction})


def _wide(value: Tensor) -> Tensor:
    """In the precision that a long sum needs, where the device has it."""
    return value if value.device.type == "mps" else value.double()
