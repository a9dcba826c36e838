"""The loop: steps, epochs, the best weights, early stopping, checkpoints."""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from aam_core.config import Config, TrainConfig
from aam_core.data.sampler import Sampler
from aam_core.errors import AAMError, InputError, Preempted
from aam_core.tasks.metrics import greater_is_better
from aam_core.training.checkpoint import Checkpoint, check_fields, rng_state, save, set_rng_state
from aam_core.training.job import Job, Result
from aam_core.training.launch.signals import Stopper
from aam_core.training.parallel import ProcessGroup, join_process_group
from aam_core.training.reporter import Reporter
from aam_core.training.step import Learner
from aam_core.training.validation import Losses

LAST = "none"
"""The figure that chooses no epoch: the last weights are kept."""

VALIDATIONS = 25
"""How often, about, a run validates where that chooses nothing."""

PLOTS = 10
"""How often, about, a run draws its validation samples for the trackers."""


@dataclass
class Progress:
    """Where a run is; JSON, the same on every process.

    Attributes
    ----------
    epoch, batch, step : int
        Epochs, batches of the running epoch, and optimizer steps that are done.
    best : float
        Least value so far of the figure that chooses (of one that rises, its negative).
    best_epoch, best_step : int
        Where it was.
    best_values : dict
        All values there.
    waited : int
        Epochs since.
    history : list of dict
        Values of each epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = math.inf
    best_epoch: int = 0
    best_step: int = 0
    best_values: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains one job.

    Parameters
    ----------
    job : Job
        What to train.
    reporter : Reporter
        Where it shows.
    group : ProcessGroup, optional
        The processes that train it; this one alone, by default.
    """

    def __init__(self, job: Job, reporter: Reporter, group: ProcessGroup | None = None):
        self.job, self.reporter = job, reporter
        self.group = group or join_process_group(job.config.train)
        self.config = job.config.train
        self.sign, self.metric = check(job), chosen_by(job.config)
        rich = job.batcher.richness
        self.sampler = Sampler(job.train, rich, self.config)
        # What fits in micro-steps alone is evaluated in pieces of their size.
        micro = max(2, -(-self.config.batch_size // self.config.accumulate))
        self.val = Sampler(job.val, rich, replace(self.config, batch_size=micro)).in_order()
        self.progress = Progress()
        self.losses = Losses(job.config.loss)
        self.best: dict[str, torch.Tensor] | None = None
        self.best_saved = False
        self.since = (time.perf_counter(), 0)
        if job.resume is not None:
            self._restore(job.resume)
        now = self.progress
        self.epochs, self.steps = plan(self.sampler, self.config, now.epoch, now.step - now.batch)
        self.learner = Learner(job, self.group, self.steps)
        if job.resume is not None:
            self.learner.restore(job.resume)

    def fit(self) -> Result:
        """Train; return the best weights and how it went."""
        now = self.progress
        if self._done():
            why = f"{now.step} steps are done of {self.steps} (train.epochs, train.max_steps)"
            if self._out_of_patience():
                why = f"{now.waited} epochs since the best (train.patience)"
            self.reporter.say(f"{self.reporter.label}: nothing is left to train: {why}")
        self.reporter.begin(self.steps, now.step)
        if self.job.resume is not None:  # it may go on in another folder
            self._keep_best()
            self._save()
        with Stopper() as stopper:
            while not self._done():
                self._epoch(stopper)
                self._close_epoch()
                if self._out_of_patience():
                    self.reporter.say(
                        f"{self.reporter.label}: no better {self.metric} of the "
                        f"validation samples for {now.waited} epochs; the weights of epoch "
                        f"{now.best_epoch} are kept"
                    )
        return Result(self.best, now.best_epoch, now.best_step, now.best_values, now.history)

    @property
    def chooses(self) -> bool:
        """Whether the validation samples choose the best epoch."""
        return bool(self.val) and self.metric != LAST

    def evaluate(self) -> dict[str, float]:
        """Losses and figures of the validation samples now."""
        return {f"val/{k}": v for k, v in self.learner.evaluate(self.val).values().items()}

    def _epoch(self, stopper: Stopper) -> None:
        """What is left of an epoch."""
        now = self.progress
        batches = self.sampler.epoch(now.epoch)
        for samples in batches[now.batch :]:
            if now.step >= self.steps:
                return
            self.learner.signal = stopper.signal or 0
            sums, counts = self.learner.gradients(samples, now.epoch, now.step)
            rates = self.learner.rates
            norm = self.learner.update()
            self.losses.add(sums, counts)
            now.step += 1
            now.batch += 1
            self._show(sums, counts, rates | {"gradient_norm": norm}, len(samples))
            if self.learner.signal:
                self._save_within_epoch()
                self.group.barrier()  # who ends earlier has torchrun end the one that writes
                raise self._stopped()
            # At an epoch's end another follows at once, when its validation is logged.
            if now.step % self.config.checkpoint_every == 0 and now.batch < len(batches):
                self._save_within_epoch()

    def _show(self, sums, counts, more, samples: int) -> None:
        now, shown = self.progress, None
        if now.step % self.config.log_every == 0 or now.step == self.steps:
            step = Losses(self.job.config.loss)
            step.add(sums, counts)
            shown = step.values() | {name: float(value) for name, value in more.items()}
            began, seen = self.since
            seconds = time.perf_counter() - began
            more = {
                "samples_per_second": (seen + samples) / max(seconds, 1e-9),
                "memory_gb": memory_gb(self.group.device),
            }
            self.reporter.record(now.step, {f"train/{k}": v for k, v in {**shown, **more}.items()})
            self.since = (time.perf_counter(), 0)
        else:
            self.since = (self.since[0], self.since[1] + samples)
        self.reporter.advance(shown)

    def _close_epoch(self) -> None:
        """Evaluate, keep the best, note where the run is."""
        now = self.progress
        values = {f"train/{name}": value for name, value in self.losses.values().items()}
        found = None
        with self.learner.averaged():
            if self._validates(now.epoch + 1):
                self.reporter.doing("validating")
                found = self.learner.evaluate(self.val)
                values |= {f"val/{name}": value for name, value in found.values().items()}
            values = self.group.broadcast(values)
            self._check(values)
            better = self._is_better(values)
            if better:
                self.best = self.learner.weights()
        epoch = now.epoch + 1
        if now.batch == self.sampler.batches(now.epoch):  # else max_steps ended it early
            now.epoch, now.batch, self.losses = epoch, 0, Losses(self.job.config.loss)
        self.learner.schedule.observe(better)
        now.history.append({"epoch": epoch, "step": now.step, **values})
        now.waited = 0 if better else now.waited + 1
        if better:
            now.best_epoch, now.best_step, now.best_values = epoch, now.step, values
            self.best_saved = False
        self._report(epoch, values, {} if found is None else found.drawings())
        if found is not None:  # a small study has hundreds of epochs of a few steps
            if better:
                self._keep_best()
            self._save()
            self.reporter.doing("training")
        if self.job.on_epoch is not None:
            self.job.on_epoch(epoch, values)
        self.since = (time.perf_counter(), 0)

    def _keep_best(self) -> None:
        if self.best is not None and self.job.keep is not None and self.group.is_first:
            self.job.keep(self.progress.best_epoch, self.best)

    def _report(self, epoch: int, values, drawings) -> None:
        now = self.progress
        scored = {name: value for name, value in values.items() if name.startswith("val/")}
        self.reporter.record(now.step, scored)
        if epoch % -(-self.epochs // PLOTS) == 0 or now.step >= self.steps:
            for name, draw in drawings.items():
                self.reporter.figure(now.step, name, draw)
        if self.config.histograms:
            self.reporter.histograms(now.step, self.learner.distributions())
        self.reporter.epoch(epoch, self.epochs, values | {"train/lr": self.learner.rates["lr"]})

    def _validates(self, epoch: int) -> bool:
        """Whether an epoch ends with a validation: the last, and all whose figures matter, do."""
        every = 1 if self.chooses else -(-self.epochs // VALIDATIONS)
        return epoch % every == 0 or self.progress.step >= self.steps

    def _is_better(self, values: dict[str, float]) -> bool:
        """Whether this epoch is the best so far; where nothing chooses, the last always is."""
        name = f"val/{self.metric}"
        score = self.sign * values[name] if self.chooses else -self.progress.step
        if not math.isfinite(score):
            raise InputError(
                f"{self.metric} of the validation samples is not a number, and cannot "
                "choose the best epoch: take another train.best_metric, or more of these samples."
            )
        if score >= self.progress.best:
            return False
        self.progress.best = score
        return True

    def _done(self) -> bool:
        now = self.progress
        closed = bool(now.history) and now.history[-1]["step"] == now.step
        return self._out_of_patience() or (now.step >= self.steps and closed)

    def _out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.progress.waited

    def _check(self, values: dict[str, float]) -> None:
        sides = (values.get(f"{side}/total_loss", 0.0) for side in ("train", "val"))
        if not all(map(math.isfinite, sides)):
            raise AAMError(
                f"The loss is not a number in epoch {self.progress.epoch + 1}: lower the learning "
                "rate (optim.lr), or set the precision (train.precision) to fp32."
            )

    def _stopped(self) -> Preempted:
        text = f"Stopped, as it was told to, after step {self.progress.step}"
        if self.job.folder is not None:
            text += f"; continue with --resume {self.job.folder.parent.parent}"
        return Preempted(f"{text}.", self.learner.signal)

    def _save_within_epoch(self) -> None:
        """As `_save`, unless the loss went astray: the last sound checkpoint is worth more."""
        self._check({"train/total_loss": self.losses.values()["total_loss"]})
        self._save()

    def _save(self) -> None:
        """Write the checkpoint ``last``; every process takes part."""
        if self.job.folder is None:
            return
        held = Checkpoint(
            run=self.job.run,
            progress=asdict(self.progress) | self.learner.progress() | {"cut": self._cut()},
            best=self.best,
            sums=self.losses.state(),
            rng=self.group.all_gather(rng_state(self.group.device)),
            inputs=self.job.inputs,
            **self.learner.state(),
        )
        if self.group.is_first:
            save(held, self.job.folder, reuse_best=self.best_saved)
        self.best_saved = self.best is not None

    def _restore(self, held: Checkpoint) -> None:
        """Take up where the run was; the learner takes up its part by itself."""
        names = Progress.__dataclass_fields__
        check_fields(held.folder, "progress", held.progress, [*names, "cut"])
        if self.group.rank < len(held.rng):
            own = held.rng[self.group.rank]
            check_fields(held.folder, "rng", own, rng_state(self.group.device))
            set_rng_state(own, self.group.device)
        self.progress = now = Progress(**{name: held.progress[name] for name in names})
        self.losses.restore(held.sums, self.group.device)
        self.best = held.best
        name = f"val/{self.metric}"
        if self.chooses and now.best_values:  # the figure, or its direction, may be another one now
            now.best = self.sign * now.best_values.get(name, self.sign * math.inf)
        if now.batch and held.progress["cut"] != self._cut():
            now.batch, self.losses = 0, Losses(self.job.config.loss)
            self.reporter.say(f"{self.reporter.label}: batches are cut anew, and so is the epoch")

    def _cut(self) -> list[int]:
        """What the batches of an epoch depend on, beside its number."""
        return [self.config.batch_size, self.config.max_asvs_per_batch, self.config.seed]


def plan(sampler: Sampler, config: TrainConfig, epoch: int = 0, step: int = 0) -> tuple[int, int]:
    """Epochs and optimizer steps of a run that begins ``epoch`` at ``step``."""
    while epoch < config.epochs or step < config.min_steps:
        if 0 < config.max_steps <= step:
            break
        step += sampler.batches(epoch)
        epoch += 1
    return epoch, min(step, config.max_steps or step)


def check(job: Job) -> int:
    """Say before the work what cannot be trained; return as `check_metric`.

    Raises
    ------
    InputError
        As `check_metric`; or if distances are to be learned and no micro-step has two samples.
    """
    sign, config = check_metric(job), job.config.train
    sampler = Sampler(job.train, job.batcher.richness, config)
    if job.network.distance is None or any(len(b) > config.accumulate for b in sampler.epoch(0)):
        return sign
    raise InputError(
        "No micro-step has two samples, and distances are between samples: lower train.accumulate, "
        "raise train.batch_size or train.max_asvs_per_batch, or set loss.distance to 0."
    )


def chosen_by(config: Config) -> str:
    """The figure that chooses the best epoch; `LAST` where none is asked for, nor needed."""
    if config.train.best_metric == LAST:
        needed = config.train.patience > 0 or config.optim.schedule == "plateau"
        return "total_loss" if needed else LAST
    return config.train.best_metric


def check_metric(job: Job) -> int:
    """1 where less is better of the figure that chooses the best epoch (or none), else -1.

    Raises
    ------
    InputError
        If the run will have no such figure.
    """
    name, config = chosen_by(job.config), job.config.train
    parts = job.network.parts
    if name == LAST:
        return 1
    legal = {"total_loss"}
    for part, there in (
        ("nucleotide", parts.nucleotide),
        ("distance", parts.distance),
        ("target", parts.outputs),
    ):
        legal |= {f"{part}_loss", f"{part}_loss_weighted"} if there else set()
    legal |= {"nucleotide_accuracy"} if parts.nucleotide else set()
    legal |= {"distance_r2", "distance_mae"} if parts.distance else set()
    if job.target is not None:
        legal |= set(job.target.metrics)
    if name not in legal:
        raise InputError(f"train.best_metric is {name!r}; this run has {', '.join(sorted(legal))}.")
    rises = greater_is_better(name)
    if config.best_direction != "auto":
        rises = config.best_direction == "max"
    return -1 if rises else 1


def memory_gb(device: torch.device) -> float:
    """Most memory that this process has held: on its GPU, or in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would tell the peak of the process that started this one
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e9
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo / 1e9
