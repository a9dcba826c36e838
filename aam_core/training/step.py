"""One optimizer step, and one evaluation, on any number of ranks.

A batch is global: it is cut into micro-batches, each is split over the ranks, and every loss is
divided by the number of elements of the whole batch. So the step is the same on one rank or many,
with or without micro-steps; only pairs of samples are formed within a micro-batch.

Letters: B samples of this rank, G samples of all ranks, K numbers of a distance vector.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aam_core.data.batches import EVALUATION, Batch, Draw, SharedDraw
from aam_core.data.sampler import split_by_rank
from aam_core.models import draws, masking
from aam_core.models.network import ModelOutput
from aam_core.tasks import losses
from aam_core.training.average import Average
from aam_core.training.checkpoint import Checkpoint, check_fields, check_weights
from aam_core.training.job import TrainingJob
from aam_core.training.optimizers import make_optimizer
from aam_core.training.parallel import ProcessGroup, full_tensor, shard_like
from aam_core.training.precision import attention, autocast, grad_scaler, prepare_blocks
from aam_core.training.schedules import Schedule
from aam_core.training.validation import ValidationMetrics

__all__ = ["MicroBatch", "Stepper"]


@dataclass
class MicroBatch:
    """This rank's share of one micro-step, on its device.

    Attributes
    ----------
    batch : Batch
    truth, pairs : Tensor or None
        True distances ``[B, G]`` and the weight of each pair.
    """

    batch: Batch
    truth: Tensor | None
    pairs: Tensor | None


class Stepper:
    """The network, its optimizer, schedule, scaler and average: all that a step changes.

    Parameters
    ----------
    job : TrainingJob
        Its network is trained in place (and sharded, under FSDP2).
    group : ProcessGroup
    steps : int
        Optimizer steps of the whole run, for the schedule.
    """

    def __init__(self, job: TrainingJob, group: ProcessGroup, steps: int):
        self.job, self.group, self.config = job, group, job.config
        self.network = job.network
        # DDP waits for a gradient of every parameter that could have one.
        for part in self.network.untrained_parts():
            part.requires_grad_(False)
        prepare_blocks(self.network, self.config.train, group.device)
        # Before the optimizer and the average, which need the parameters as FSDP2 shards them.
        self.wrapped = group.wrap(self.network)
        optim = self.config.optim
        self.optimizer = make_optimizer(self.network, optim, job.pretrained, group.device)
        self.schedule = Schedule(self.optimizer, optim, steps)
        self.scaler = grad_scaler(group.device, self.config.train.precision)
        self.average = Average(self.network, optim.ema) if optim.ema else None
        self.frozen = False
        """Whether the encoder of bases keeps its weights, though it has gradients."""
        self.signal = 0
        """Number of a signal that asks this rank to stop; after a step, the same on all ranks."""
        self.scored: np.ndarray | None = None
        """``[F]`` bool, in an evaluation: features whose taxa were scored already."""

    def gradients(
        self, samples: np.ndarray, epoch: int, step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the gradients of the mean losses of a batch; they are left in the network.

        Parameters
        ----------
        samples : ndarray
            The global batch: positions in the study.
        epoch, step : int
            Keys of every random number, with the seed.

        Returns
        -------
        tuple of dict
            Sums of the losses over all ranks, and the numbers of their elements, on the device.
        """
        parts = np.array_split(samples, min(self.config.train.accumulate, len(samples)))
        key = draws.key(self.config.train.seed, step)
        micros = self._micros(parts, epoch, key)
        # Before the backward pass: a loss is a share of all elements, on whichever ranks they are.
        counts = self.group.all_reduce(_added(self._counts(micro) for micro in micros))
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums_of_micros = []
        for number, micro in enumerate(micros):
            with self.group.sync_gradients(self.wrapped, number == len(micros) - 1):
                sums, _, _ = self._forward(self.wrapped, micro)
                weighted = losses.weighted(sums, counts, self.config.loss)
                # DDP and FSDP2 average the gradients of the ranks, whose losses are to be summed.
                loss = sum(weighted.values()) * self.group.world_size
                # Blocks that are recomputed run their attention again here.
                with attention(self.config.train.attention):
                    self.scaler.scale(loss).backward()
            sums_of_micros.append({name: total.detach() for name, total in sums.items()})
        return self.group.all_reduce(_added(sums_of_micros)), counts

    def update(self) -> Tensor:
        """Update the weights; return the norm of the gradients before clipping."""
        if self.frozen and self.network.bases is not None:
            # Not by requires_grad: DDP and FSDP2 were told which gradients there are. Without one
            # the optimizer neither updates nor decays a weight, nor makes a state for it.
            for parameter in self.network.bases.parameters():
                parameter.grad = None
        # The limit of clipping and the logged norm are of gradients without the scale of fp16.
        self.scaler.unscale_(self.optimizer)
        # Without clipping the norm is logged all the same.
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
        """Losses and metrics of samples, each once, with the same random numbers every time."""
        self.network.eval()
        # Taxa are of ASVs, each of which is scored once, whatever samples it is in.
        self.scored = np.zeros(len(self.job.batcher.study.feature_ids), bool)
        metrics = ValidationMetrics(self.job)
        for number, samples in enumerate(batches):
            # Three parts, which no key of a training step has.
            key = draws.key(self.config.train.seed, number, 0)
            (micro,) = self._micros([samples], EVALUATION, key)
            sums, output, predicted = self._forward(self.network, micro)
            counts = self.group.all_reduce(self._counts(micro))
            metrics.add(self.group.all_reduce(sums), counts)
            metrics.score(micro.batch, output, predicted, micro.truth, micro.pairs)
        self.scored = None
        metrics.merge(self.group)
        self.group.reshard(self.network)
        return metrics

    def averaged(self):
        """Context in which the network has its average weights, if there are any."""
        return contextlib.nullcontext() if self.average is None else self.average.swapped()

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates by their names in the logs."""
        return self.schedule.rates()

    def weights(self) -> dict[str, Tensor]:
        """Unsharded copies of all weights on the CPU; collective."""
        return self._copies(self.network.state_dict())

    def distributions(self) -> dict[str, Tensor]:
        """Weights, and gradients of the last step, for histograms; collective."""
        tensors = {f"weights/{name}": value for name, value in self.weights().items()}
        for name, parameter in self.network.named_parameters():
            if parameter.grad is not None:
                tensors[f"gradients/{name}"] = _copy(parameter.grad)
        return tensors

    def state(self) -> dict:
        """Tensors of a `Checkpoint`, complete on rank 0; collective."""
        keep = self.group.is_first
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        return {
            "weights": self._copies(self.network.state_dict(), keep),
            "optimizer": {
                names[parameter]: {key: _copy(value, keep) for key, value in state.items()}
                for parameter, state in self.optimizer.state.items()
            },
            "average": None if self.average is None else self._copies(self.average.weights, keep),
        }

    def progress(self) -> dict:
        """State that is not tensors; JSON."""
        count = 0 if self.average is None else self.average.count
        return {
            "optimizer": self.config.optim.optimizer,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average_count": count,
        }

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint of the same network.

        Raises
        ------
        InputError
            If it is damaged or of another network.
        """
        folder, progress = checkpoint.folder, checkpoint.progress
        weights = self.network.state_dict()
        check_weights(checkpoint, weights)
        if checkpoint.best is not None:
            check_weights(replace(checkpoint, weights=checkpoint.best), weights)
        check_fields(folder, "progress", progress, self.progress())
        check_fields(folder, "schedule", progress["schedule"], self.schedule.state_dict())
        for name, value in weights.items():
            value.copy_(shard_like(checkpoint.weights[name], value))
        # The states of another optimizer mean something else: it starts without them.
        if progress["optimizer"] == self.config.optim.optimizer:
            self._restore_optimizer(checkpoint)
        self.schedule.load_state_dict(progress["schedule"])
        if progress["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(progress["scaler"])
        if self.average is not None:  # without one in the checkpoint, it starts at its weights
            self.average.count = progress["average_count"]
            average = checkpoint.average or checkpoint.weights
            for name, value in self.average.weights.items():
                value.copy_(shard_like(average[name], value))

    def _restore_optimizer(self, checkpoint: Checkpoint) -> None:
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        keys = {key for state in checkpoint.optimizer.values() for key in state}
        for param_group in self.optimizer.param_groups:
            for parameter in param_group["params"]:
                name = names[parameter]
                state = checkpoint.optimizer.get(name, {})
                if not state and name.startswith("bases.") and self.config.train.unfreeze_from > 1:
                    continue  # it was frozen, and begins without a state
                check_fields(checkpoint.folder, f"optimizer of {name}", state, keys)
                for key, value in state.items():
                    if value.shape == parameter.shape:
                        value = shard_like(value, parameter)
                    elif param_group.get("fused"):  # its count of steps is on the device
                        value = value.to(parameter.device)
                    self.optimizer.state[parameter][key] = value

    def _copies(self, values: dict[str, Tensor], keep: bool = True) -> dict[str, Tensor]:
        return {name: _copy(value, keep) for name, value in values.items()}

    def _micros(self, parts: list[np.ndarray], epoch: int, key: int) -> list[MicroBatch]:
        """This rank's share of each micro-step."""
        batcher, group = self.job.batcher, self.group
        halves = self.network.parts.halves
        drawn = [batcher.draw(own, epoch, empty, halves) for own, empty in map(self._share, parts)]
        masked = self.network.nucleotide is not None
        taxa = batcher.taxa if self.network.taxonomy is not None else None
        shared = [batcher.share(draw, masked or taxa is not None) for draw in drawn]
        hidden, asked_for = self._hidden(drawn, parts, key)
        # The signal goes along, and needs no exchange of its own in each step.
        of_ranks = group.all_gather((self.signal, shared, asked_for))
        self.signal = max(signal for signal, _, _ in of_ranks)
        everyone = [shared for _, shared, _ in of_ranks]
        fraction = self.config.masking.asv_fraction
        rows = self._rows(everyone, key, fraction) if masked else None
        labelled = None if taxa is None else self._rows(everyone, key, 1.0)
        micros = []
        for number, draw in enumerate(drawn):
            shared = [of_rank[number] for of_rank in everyone]
            queries = None
            if hidden:
                queries = masking.Queries.joined(of_rank[number] for _, _, of_rank in of_ranks)
                queries = queries.of([] if draw.placeholder else draw.samples)
                draw = draw.with_features(queries.feature)
            batch = batcher.assemble(draw, shared, group.rank)
            batch.key = torch.tensor(key)
            if halves:
                assert batcher.source is not None and batch.global_index is not None
                batch.global_study = torch.from_numpy(batcher.source)[batch.global_index]
                batch.temperature = self.config.loss.halves_temperature
            if rows is not None:
                masking.mask(batch, rows[number], self.config.masking, key)
            if self.network.parts.count:
                masking.mask_counts(batch, self.config.masking, key)
            if queries is not None:
                masking.hide(batch, hidden[number], queries)
            if taxa is not None and labelled is not None:
                masking.label(batch, taxa, labelled[number], self.scored)
            batch = batch.to(group.device)
            micros.append(MicroBatch(batch, *self._truth(batch, epoch)))
            if self.network.faith_pd is not None:
                phylogeny = batcher.study.phylogeny
                batch.faith_pd = losses.true_diversity(batch, phylogeny)
                batch.faith_unit = self.network.faith_pd.scale
            batch.table = batch.table_features = None  # large, and not read after this
        if self.scored is not None:
            for part in itertools.chain.from_iterable(everyone):
                self.scored[part.features] = True
        return micros

    def _hidden(
        self, drawn: list[Draw], parts: list[np.ndarray], key: int
    ) -> tuple[list[list[np.ndarray]], list[masking.Queries]]:
        """ASVs to hide from this rank's samples, and queries, in each micro-step; else empty."""
        if not self.network.parts.presence:
            return [], []
        batcher, config = self.job.batcher, self.config.masking
        of_micros = [
            masking.choose_hidden(draw, part, batcher, config, key)
            for draw, part in zip(drawn, parts, strict=True)
        ]
        return [hidden for hidden, _ in of_micros], [queries for _, queries in of_micros]

    def _share(self, part: np.ndarray) -> tuple[np.ndarray, bool]:
        """This rank's samples of a micro-step; a placeholder where there are none."""
        own = split_by_rank(part, self.job.batcher.richness, self.group.world_size)[self.group.rank]
        # A rank without samples joins all collective calls, with a sample that does not count.
        return (own, False) if len(own) else (part[:1], True)

    def _rows(
        self, of_ranks: list[list[SharedDraw]], key: int, fraction: float
    ) -> list[np.ndarray]:
        """Rows of its distinct ASVs that this rank reads, in each micro-step, of a share of all.

        An ASV of several ranks or micro-steps is read by one of them.
        """
        features = [shared.features for of_rank in of_ranks for shared in of_rank]
        rows = masking.divide(features, fraction, key)
        micros = len(of_ranks[0])
        return rows[self.group.rank * micros : (self.group.rank + 1) * micros]

    def _truth(self, batch: Batch, epoch: int) -> tuple[Tensor | None, Tensor | None]:
        if self.network.distance is None:
            return None, None
        phylogeny, config = self.job.batcher.study.phylogeny, self.config.loss
        truth = losses.true_distance(batch, phylogeny, config)
        pairs = losses.pair_weights(truth, batch.offset, config)
        if self.job.batcher.held_out is not None:
            # The first member, which predicts them, learns none with a sample that it holds out.
            assert batch.global_index is not None
            held_out_N = torch.from_numpy(self.job.batcher.held_out[0])
            held_out_G = held_out_N.to(pairs.device)[batch.global_index]
            counted_G = held_out_G if epoch == EVALUATION else ~held_out_G
            own = slice(batch.offset, batch.offset + batch.num_samples)
            pairs = pairs * (counted_G[own, None] & counted_G)
        return truth, pairs

    def _counts(self, micro: MicroBatch) -> dict[str, Tensor]:
        job = self.job
        return losses.counts(micro.batch, micro.pairs, job.class_weight, job.target)

    def _forward(
        self, network: torch.nn.Module, micro: MicroBatch
    ) -> tuple[dict[str, Tensor], ModelOutput, Tensor | None]:
        """Sums of the losses (0-d), the network's output, and predicted distances ``[B, G]``."""
        batch, train = micro.batch, self.config.train
        with autocast(self.group.device, train.precision), attention(train.attention):
            output = network(batch)
        job = self.job
        if batch.global_study is not None:
            assert output.samples is not None
            own = output.samples[:, : batch.num_samples].transpose(0, 1).flatten(1)
            everyone = self.group.all_gather_rows(own, batch.rank_sizes)
            output.halves = everyone.unflatten(1, (len(output.samples), -1)).transpose(0, 1)
        sums = losses.totals(output, batch, self.config.loss, job.target, job.class_weight)
        predicted = None
        if output.distance is not None:
            assert self.network.distance is not None
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


def _copy(value: Tensor, keep: bool = True) -> Tensor:
    """A full copy on the CPU; a rank that does not keep it takes part in the gathering only."""
    value = full_tensor(value.detach())
    # Without `copy` it would be the weight itself on a CPU, which is trained further.
    return value.to("cpu", copy=True) if keep else value
