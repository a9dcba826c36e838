"""Losses and metrics of the validation samples, in memory that does not grow with them.

Letters: B samples of this rank, G samples of all ranks.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core import plots
from aam_core.config import LossConfig
from aam_core.data.batches import Batch
from aam_core.models.network import ModelOutput
from aam_core.tasks import Task, losses
from aam_core.tasks.auxiliary import AUXILIARY
from aam_core.tasks.metrics import Accumulator, RegressionMetrics, Reservoir, merged
from aam_core.training.job import TrainingJob
from aam_core.training.parallel import ProcessGroup

__all__ = ["FusionShares", "LossSums", "Spread", "TargetScores", "ValidationMetrics"]

_EXACT = 10_000
"""Most validation samples whose probabilities are kept, for an exact area under the curve."""


class LossSums:
    """Sums of losses and of the elements that they count, on the device until `values` is called.

    Parameters
    ----------
    config : LossConfig
        Weights of the losses.
    """

    def __init__(self, config: LossConfig):
        self.config = config
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, sums: dict[str, Tensor], counts: dict[str, Tensor]) -> None:
        """Add those of a batch: 0-d tensors, by name."""
        for totals, more in ((self.sums, sums), (self.counts, counts)):
            for name, value in more.items():
                value = _double(value)
                totals[name] = totals[name] + value if name in totals else value

    def values(self) -> dict[str, float]:
        """Mean losses by their names in the logs, without side; the host waits for the device."""
        if not self.sums:
            return {}
        weighted = losses.weighted(self.sums, self.counts, self.config)
        values = {"total_loss": float(sum(weighted.values()))}
        for name, loss in weighted.items():
            mean = self.sums[name] / self.counts[name].clamp_min(1e-12)
            values[f"{name}_loss"] = float(mean)
            values[f"{name}_loss_weighted"] = float(loss)
        values |= self._of_targets()
        for name in self.sums:
            if name in self.counts:
                continue
            # Of the elements of a loss: as its accuracy.
            count = self.counts[name.rpartition("_")[0]]
            if float(count):
                values[name] = float(self.sums[name] / count)
        return values

    def _of_targets(self) -> dict[str, float]:
        """Losses of each of several targets, and what each adds to that of all."""
        start, given = losses.OF_TARGET, self.config.given_target_weights
        weights = {
            name: given.get(name.removeprefix(start), 1.0)
            for name in self.counts
            if name.startswith(start)
        }
        values = {}
        for name, weight in weights.items():
            share = self.config.target_weight * weight / sum(weights.values())
            total, column = self.sums[name], name.removeprefix(start)
            values[f"{column}/loss"] = float(total / self.counts[name].clamp_min(1e-12))
            part = total / self.counts["target"].clamp_min(1e-12)
            values[f"{column}/loss_weighted"] = float(part * share)
        return values

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint, ``sum.NAME`` and ``count.NAME``, on the CPU."""
        kinds = {"sum": self.sums, "count": self.counts}
        return {f"{k}.{n}": v.cpu() for k, totals in kinds.items() for n, v in totals.items()}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Restore a state."""
        for name, value in state.items():
            kind, _, name = name.partition(".")
            (self.sums if kind == "sum" else self.counts)[name] = value.to(device)


@dataclass
class Spread:
    """Where predicted numbers lie: least, greatest, mean and standard deviation.

    A network that predicts one value for all, or ever greater ones, shows here first.
    """

    least: float = math.inf
    greatest: float = -math.inf
    # Of predictions beside themselves: their mean and squared deviations, merged exactly.
    moments: RegressionMetrics = field(default_factory=RegressionMetrics)

    def update(self, predicted: np.ndarray) -> None:
        """Add ``[N]`` predictions, N above 0."""
        self.least = min(self.least, float(predicted.min()))
        self.greatest = max(self.greatest, float(predicted.max()))
        self.moments.update(predicted, predicted)

    def merge(self, other: Spread) -> None:
        """Take in what another one has seen."""
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)
        self.moments.merge(other.moments)

    def compute(self) -> dict[str, float]:
        """By their names in the logs; empty without predictions."""
        seen = self.moments
        if not seen.count:
            return {}
        return {
            "prediction_min": self.least,
            "prediction_max": self.greatest,
            "prediction_mean": seen.mean,
            "prediction_std": math.sqrt(seen.spread / seen.count),
        }


@dataclass
class TargetScores:
    """Metrics of one target, the spread of its predictions, and some points for its plot.

    Attributes
    ----------
    task : Task
    scores : Accumulator
    """

    task: Task
    scores: Accumulator
    some: Reservoir = field(default_factory=Reservoir)
    spread: Spread = field(default_factory=Spread)

    def update(
        self,
        index: np.ndarray,
        actual: np.ndarray,
        output: Tensor,
        metadata: pd.DataFrame | None,
    ) -> None:
        """Add samples: positions, encoded values ``[B]``, averaged outputs ``[B, T]``, rows."""
        known = np.isfinite(actual)  # of several targets a sample may lack some
        if not known.all():
            index, actual, output = index[known], actual[known], output[torch.from_numpy(known)]
            metadata = None if metadata is None else metadata[known]
        if not len(index):
            return
        predictions = self.task.predictions(output, metadata)
        pairs = self.task.accumulate(self.scores, actual, predictions, metadata)
        self.some.update(index, *pairs)
        if not self.task.classes:
            self.spread.update(pairs[1])

    def merge(self, other: TargetScores) -> None:
        """Take in what another process has seen."""
        for name in ("scores", "some", "spread"):
            getattr(self, name).merge(getattr(other, name))

    def values(self) -> dict[str, float]:
        """Metrics by name, and the spread."""
        return self.scores.compute(self.task.metrics) | self.spread.compute()


class FusionShares:
    """Mean and spread of what a fusion attends to or lets through, by their names in the logs.

    Parameters
    ----------
    covariates : sequence of str
        Columns in the order of the network's covariates M.
    """

    def __init__(self, covariates: Sequence[str]):
        names: list[str] = []
        for column in covariates:
            # MLflow refuses other characters in the name of a metric.
            name = re.sub(r"[^\w.\- ]", "_", column)[:100]
            names.append(f"{name}_{len(names) + 1}" if name in names else name)
        self.names = [f"attention_{name}" for name in names]
        self.seen: dict[str, RegressionMetrics] = {}

    def update(self, output: ModelOutput, mask_BA: Tensor) -> None:
        """Add those of a batch, over samples, members and (by ASV) ASVs."""
        if output.gate is not None:
            self._add("gate", output.gate)
        if output.attention is None:
            return
        shares = output.attention  # [K, B, A, M], or [K, B, 1, M] where latent vectors attend
        by_asv = shares.shape[2] == mask_BA.shape[1]
        shares = shares[:, mask_BA] if by_asv else shares
        for name, values in zip(self.names, shares.unbind(-1), strict=True):
            self._add(name, values)

    def merge(self, other: FusionShares) -> None:
        """Take in what another one has seen."""
        for name, seen in other.seen.items():
            self.seen.setdefault(name, RegressionMetrics()).merge(seen)

    def compute(self) -> dict[str, float]:
        """``gate_mean``, ``gate_std``, ``attention_COLUMN_mean``, ``attention_COLUMN_std``."""
        values = {}
        for name, seen in self.seen.items():
            values[f"{name}_mean"] = seen.mean
            values[f"{name}_std"] = math.sqrt(seen.spread / seen.count)
        return values

    def _add(self, name: str, values: Tensor) -> None:
        flat = values.flatten().float().cpu().numpy()
        # Of the values beside themselves: their mean and squared deviations, merged exactly.
        self.seen.setdefault(name, RegressionMetrics()).update(flat, flat)


class ValidationMetrics(LossSums):
    """Losses and metrics of an evaluation, and some points for its plots.

    Parameters
    ----------
    job : TrainingJob
    """

    def __init__(self, job: TrainingJob):
        super().__init__(job.config.loss)
        self.target = job.target
        self.average = job.network.average
        self.study = job.batcher.study
        self.pairs = RegressionMetrics()
        self.some_pairs = Reservoir()
        self.shares = FusionShares([] if job.covariates is None else job.covariates.fused)
        self.points = {
            name: RegressionMetrics()
            for name, part in AUXILIARY.items()
            if part.points is not None and part.built(job.network.parts)
        }
        exact = len(job.val) <= _EXACT
        tasks = () if self.target is None else self.target.each
        self.targets = [TargetScores(task, task.accumulator(exact=exact)) for task in tasks]

    def score(
        self,
        batch: Batch,
        output: ModelOutput,
        predicted: Tensor | None,
        truth: Tensor | None,
        weights: Tensor | None,
    ) -> None:
        """Score the predictions of a batch, in the target's units, and its distances.

        Parameters
        ----------
        predicted, truth, weights : Tensor or None
            Predicted and true distances ``[B, G]``, and the weight of each pair.
        """
        if predicted is not None and truth is not None and weights is not None:
            self._score_pairs(batch, predicted, truth, weights)
        for name, scores in self.points.items():
            points = AUXILIARY[name].points
            if points is not None and getattr(output, name) is not None and not batch.placeholder:
                actual, values = points(output, batch)
                scores.update(actual.cpu().numpy(), values.float().cpu().numpy())
        # The sample of a placeholder is scored by the rank that has it.
        if output.target is None or self.target is None or batch.placeholder:
            return
        assert batch.target is not None
        actual = batch.target.cpu().numpy()
        index = batch.sample_index.cpu().numpy()
        rows = self.study.rows(index)
        outputs = self.target.split(self.average(output.target, batch.weight).cpu())
        columns = actual.reshape(len(actual), -1).T
        for one, own, values in zip(self.targets, outputs, columns, strict=True):
            one.update(index, values, own, rows)
        self.shares.update(output, batch.asv_mask)

    def merge(self, group: ProcessGroup) -> None:
        """Merge what all ranks have scored into rank 0; collective."""
        learned = tuple(self.points.values())
        known = (self.pairs, self.some_pairs, self.shares)
        of_ranks = group.gather((*known, *learned, *self.targets))
        if of_ranks is None:
            return
        pairs, some_pairs, shares, *others = map(merged, zip(*of_ranks, strict=True))
        self.pairs, self.some_pairs, self.shares = pairs, some_pairs, shares
        self.points = dict(zip(self.points, others[: len(learned)], strict=True))
        self.targets = others[len(learned) :]

    def values(self) -> dict[str, float]:
        """Losses first, then metrics."""
        values = super().values()
        if values and self.target is not None:
            each = {one.task.column: one.values() for one in self.targets}
            if len(each) == 1:
                values |= self.targets[0].values()
            else:
                # The mean over the targets is what chooses an epoch.
                for name in self.target.metrics:
                    values[name] = float(np.mean([scores[name] for scores in each.values()]))
                values |= {f"{column}/{k}": v for column, it in each.items() for k, v in it.items()}
        values |= self.shares.compute()
        for name, points in {"distance": self.pairs, **self.points}.items():
            if points.count:
                scores = points.compute(("r2", "mae"))
                values |= {f"{name}_r2": scores["r2"], f"{name}_mae": scores["mae"]}
        return values

    def drawings(self) -> dict[str, Callable]:
        """Functions that make a figure of at most 1,000 points, by the name of the plot."""
        drawings: dict[str, Callable] = {}
        for one in self.targets:
            if one.some.rows():
                name = one.task.column if len(self.targets) > 1 else "predictions"
                frame = one.task.points(*one.some.rows())
                draw = functools.partial(one.task.plot, frame, label=one.task.column)
                drawings[f"val/{name}"] = draw
        if self.pairs.count:
            drawings["val/distances"] = functools.partial(plots.distances, _points(self.some_pairs))
        return drawings

    def _score_pairs(self, batch: Batch, predicted: Tensor, truth: Tensor, weights: Tensor) -> None:
        row, column = np.nonzero(weights.cpu().numpy())
        actual = truth.cpu().numpy()[row, column]
        values = predicted.float().cpu().numpy()[row, column]
        self.pairs.update(actual, values)
        assert batch.global_index is not None
        index = batch.global_index.cpu().numpy()
        left, right = index[row + batch.offset], index[column]
        # The same pair has the same key on every rank: the plot does not depend on their number.
        key = np.minimum(left, right) * len(self.study.sample_ids) + np.maximum(left, right)
        self.some_pairs.update(key, actual, values)


def _points(reservoir: Reservoir) -> pd.DataFrame:
    actual, prediction = reservoir.rows()
    return pd.DataFrame({"actual": actual, "prediction": prediction})


def _double(value: Tensor) -> Tensor:
    """In float64, which a long sum needs; MPS has none."""
    return value if value.device.type == "mps" else value.double()
