"""One optimizer step, and one evaluation, on however many processes.

A batch is global: it is cut into micro-steps, each is dealt to the processes, and every loss is
divided by what they all count together. So one process or many, with or without micro-steps, make
the same step; only pairs of samples are compared within a micro-step.

Letters: B samples of this process, G of all processes, K numbers of a distance vector.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aam_core.data.batches import EVALUATION, Batch
from aam_core.data.sampler import split_by_rank
from aam_core.models import draws, masking
from aam_core.tasks import losses
from aam_core.training.average import Average
from aam_core.training.checkpoint import Checkpoint, check_fields, check_weights
from aam_core.training.job import TrainingJob
from aam_core.training.optimizers import make_optimizer
from aam_core.training.parallel import ProcessGroup, full_tensor, shard_like
from aam_core.training.precision import attention, autocast, grad_scaler, prepare_blocks
from aam_core.training.schedules import Schedule
from aam_core.training.validation import ValidationMetrics


@dataclass
class MicroBatch:
    """What this process computes of one micro-step, on its device.

    Attributes
    ----------
    batch : Batch
    truth, pairs : Tensor or None
        True distances ``[B, G]`` and what each pair counts.
    """

    batch: Batch
    truth: Tensor | None
    pairs: Tensor | None


class Stepper:
    """The network with all that changes it.

    Parameters
    ----------
    job : TrainingJob
        What to train; its network is trained in place (and sharded, under FSDP).
    group : ProcessGroup
    steps : int
        Optimizer steps of the whole run, for the schedule.
    """

    def __init__(self, job: TrainingJob, group: ProcessGroup, steps: int):
        self.job, self.group, self.config = job, group, job.config
        self.network = job.network
        for (
            part
        ) in self.network.untrained_parts():  # DDP waits for a gradient of all that could have one
            part.requires_grad_(False)
        prepare_blocks(self.network, self.config.train, group.device)
        self.wrapped = group.wrap(self.network)
        optim = self.config.optim
        self.optimizer = make_optimizer(self.network, optim, job.pretrained, group.device)
        self.schedule = Schedule(self.optimizer, optim, steps)
        self.scaler = grad_scaler(group.device, self.config.train.precision)
        self.average = Average(self.network, optim.ema) if optim.ema else None
        self.signal = 0
        """Set by whoever wants the run to stop; after a step, agreed by all processes."""

    def gradients(self, samples: np.ndarray, epoch: int, step: int):
        """Gradients of the mean losses of a batch, left in the network.

        Parameters
        ----------
        samples : ndarray
            The global batch, positions in the study.
        epoch, step : int
            What every random draw is keyed by, beside the seed.

        Returns
        -------
        tuple of dict
            Sums of the losses over all processes, and what they count, on the device.
        """
        parts = np.array_split(samples, min(self.config.train.accumulate, len(samples)))
        key = draws.key(self.config.train.seed, step)
        micros = self._micros(parts, epoch, key)
        counts = self.group.all_reduce(_added(self._counts(micro) for micro in micros))
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        found = []
        for place, micro in enumerate(micros):
            with self.group.sync_gradients(self.wrapped, place == len(micros) - 1):
                sums, _, _ = self._forward(self.wrapped, micro)
                parts = losses.weighted(sums, counts, self.config.loss)
                # The processes' gradients are averaged; the losses are shares of a sum.
                loss = sum(parts.values()) * self.group.world_size
                with attention(self.config.train.attention):
                    self.scaler.scale(loss).backward()
            found.append({name: total.detach() for name, total in sums.items()})
        return self.group.all_reduce(_added(found)), counts

    def update(self) -> Tensor:
        """Change the weights by the gradients; returns the gradients' norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optim.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.advance()
        if self.average is not None:
            self.average.update()
        return full_tensor(norm)

    @torch.no_grad()
    def evaluate(self, batches: list[np.ndarray]) -> ValidationMetrics:
        """Losses and figures of samples, each counted once, on draws that never change."""
        self.network.eval()
        found = ValidationMetrics(self.job)
        for place, samples in enumerate(batches):
            key = draws.key(self.config.train.seed, place, 0)  # no step has three parts
            (micro,) = self._micros([samples], EVALUATION, key)
            sums, output, predicted = self._forward(self.network, micro)
            found.add(
                self.group.all_reduce(sums),
                self.group.all_reduce(self._counts(micro)),
            )
            found.score(micro.batch, output, predicted, micro.truth, micro.pairs)
        found.merge(self.group)
        self.group.reshard(self.network)
        return found

    def averaged(self):
        """Context in which the network has the weights that are validated and saved."""
        return contextlib.nullcontext() if self.average is None else self.average.swapped()

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates, by the names of the logs."""
        return self.schedule.rates()

    def weights(self) -> dict[str, Tensor]:
        """Copies of all weights, whole, on the CPU; every process must ask."""
        return self._copies(self.network.state_dict())

    def distributions(self) -> dict[str, Tensor]:
        """Weights, and gradients of the last step, for histograms; every process must ask."""
        found = {f"weights/{name}": value for name, value in self.weights().items()}
        for name, parameter in self.network.named_parameters():
            if parameter.grad is not None:
                found[f"gradients/{name}"] = _copy(parameter.grad)
        return found

    def state(self) -> dict:
        """The fields of a `Checkpoint` that belong here; every process asks, the first has them."""
        kept = self.group.is_first
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        return {
            "weights": self._copies(self.network.state_dict(), kept),
            "optimizer": {
                names[parameter]: {key: _copy(value, kept) for key, value in held.items()}
                for parameter, held in self.optimizer.state.items()
            },
            "average": None if self.average is None else self._copies(self.average.weights, kept),
        }

    def progress(self) -> dict:
        """What of its state is numbers, ready for JSON."""
        count = 0 if self.average is None else self.average.count
        return {
            "optimizer": self.config.optim.optimizer,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average_count": count,
        }

    @torch.no_grad()
    def restore(self, held: Checkpoint) -> None:
        """Go on from a checkpoint of the same network."""
        own = self.network.state_dict()
        check_weights(held, own)
        if held.best is not None:
            check_weights(replace(held, weights=held.best), own)
        check_fields(held.folder, "progress", held.progress, self.progress())
        schedule = held.progress["schedule"]
        check_fields(held.folder, "schedule", schedule, self.schedule.state_dict())
        for name, value in own.items():
            value.copy_(shard_like(held.weights[name], value))
        if held.progress["optimizer"] == self.config.optim.optimizer:
            self._restore_optimizer(held)
        self.schedule.load_state_dict(schedule)
        if held.progress["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(held.progress["scaler"])
        if self.average is not None:  # one that only begins now begins at these weights
            self.average.count = held.progress["average_count"]
            for name, value in self.average.weights.items():
                value.copy_(shard_like((held.average or held.weights)[name], value))

    def _restore_optimizer(self, held: Checkpoint) -> None:
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        keys = {key for kept in held.optimizer.values() for key in kept}
        for param_group in self.optimizer.param_groups:
            for parameter in param_group["params"]:
                kept = held.optimizer.get(names[parameter], {})
                check_fields(held.folder, f"optimizer of {names[parameter]}", kept, keys)
                for key, value in kept.items():
                    if value.shape == parameter.shape:
                        value = shard_like(value, parameter)
                    elif param_group.get("fused"):  # whose count of steps is on the device
                        value = value.to(parameter.device)
                    self.optimizer.state[parameter][key] = value

    def _copies(self, values: dict[str, Tensor], kept: bool = True) -> dict[str, Tensor]:
        return {name: _copy(value, kept) for name, value in values.items()}

    def _micros(self, parts: list[np.ndarray], epoch: int, key: int) -> list[MicroBatch]:
        """This process's share of each micro-step."""
        batcher, group = self.job.batcher, self.group
        drawn = [batcher.draw(own, epoch, empty) for own, empty in map(self._share, parts)]
        masked = self.network.nucleotide is not None
        shared = [batcher.share(draw, masked) for draw in drawn]
        from_all = group.all_gather((self.signal, shared))
        self.signal = max(signal for signal, _ in from_all)
        rows = self._masked_rows([shared for _, shared in from_all], key) if masked else None
        micros = []
        for place, draw in enumerate(drawn):
            shared = [of_process[place] for _, of_process in from_all]
            batch = batcher.assemble(draw, shared, group.rank)
            batch.key = torch.tensor(key)
            if rows is not None:
                masking.mask(batch, rows[place], self.config.masking, key)
            batch = batch.to(group.device)
            micros.append(MicroBatch(batch, *self._truth(batch)))
            batch.table = batch.table_features = None  # large, and read no more
        return micros

    def _share(self, part: np.ndarray) -> tuple[np.ndarray, bool]:
        """This process's samples of a micro-step; one that stands in where there are none."""
        own = split_by_rank(part, self.job.batcher.richness, self.group.world_size)[self.group.rank]
        return (own, False) if len(own) else (part[:1], True)

    def _masked_rows(self, from_all, key: int) -> list[np.ndarray]:
        """Which of its distinct ASVs this process reads masked, in each micro-step.

        An ASV that several processes or micro-steps hold is read by one of them.
        """
        features = [shared.features for of_process in from_all for shared in of_process]
        rows = masking.divide(features, self.config.masking.asv_fraction, key)
        micros = len(from_all[0])
        return rows[self.group.rank * micros : (self.group.rank + 1) * micros]

    def _truth(self, batch: Batch):
        if self.network.distance is None:
            return None, None
        phylogeny, config = self.job.batcher.study.phylogeny, self.config.loss
        truth = losses.true_distance(batch, phylogeny, config)
        return truth, losses.pair_weights(truth, batch.offset, config)

    def _counts(self, micro: MicroBatch) -> dict[str, Tensor]:
        return losses.counts(micro.batch, micro.pairs, self.job.class_weight)

    def _forward(self, network, micro: MicroBatch):
        """Sums of the losses (0-d), the network's output, and predicted distances ``[B, G]``."""
        batch, train = micro.batch, self.config.train
        with autocast(self.group.device, train.precision), attention(train.attention):
            output = network(batch)
        job = self.job
        sums = losses.totals(output, batch, self.config.loss, job.target, job.class_weight)
        predicted = None
        if output.distance is not None:
            own = output.distance[: batch.num_samples]
            everyone = self.group.all_gather_rows(own, batch.rank_sizes)
            predicted = self.network.distance.compare(own, everyone)
            sums["distance"] = losses.distance_total(predicted, micro.truth, micro.pairs)
        return sums, output, predicted


def _added(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total


def _copy(value: Tensor, kept: bool = True) -> Tensor:
    """A whole copy on the CPU; where it is not kept, the others are only helped to theirs."""
    value = full_tensor(value.detach())
    return value.to("cpu", copy=True) if kept else value
