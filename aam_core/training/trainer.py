"""The loop: steps, epochs, the best weights, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import torch

from aam_core.config import Config, TrainConfig
from aam_core.data.sampler import Sampler, make_sampler
from aam_core.errors import AAMError, InputError, Preempted
from aam_core.tasks.auxiliary import metric_names
from aam_core.tasks.metrics import greater_is_better
from aam_core.training.checkpoint import Checkpoint, check_fields, save
from aam_core.training.job import TrainingJob, TrainingResult
from aam_core.training.launch.signals import Stopper
from aam_core.training.memory import peak_gb
from aam_core.training.parallel import ProcessGroup
from aam_core.training.reporter import Reporter
from aam_core.training.step import Stepper
from aam_core.training.validation import LossSums

__all__ = ["Progress", "Trainer", "best_metric", "check_job", "plan_steps"]

_LAST = "none"
"""``train.best_metric`` of runs that keep the last weights."""

_VALIDATIONS = 12
"""About how often a run validates whose validation chooses nothing."""

_PLOTS = 10
"""About how often a run plots its validation samples for the trackers."""


@dataclass
class Progress:
    """How far a run is; JSON, the same on every rank.

    Attributes
    ----------
    epoch, batch, step : int
        Completed epochs, batches of the current epoch, and optimizer steps.
    best : float
        Least value so far of the best metric (of one to be maximized, its negative).
    best_epoch, best_step : int
        Where it was reached.
    best_values : dict
        All losses and metrics there.
    waited : int
        Epochs since then.
    history : list of dict
        Losses and metrics of each epoch.
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
    """Trains one job: `fit` is the loop.

    Parameters
    ----------
    job : TrainingJob
    reporter : Reporter
        Shows and logs the run.
    group : ProcessGroup, optional
        The processes that train it; this one alone by default.
    """

    def __init__(self, job: TrainingJob, reporter: Reporter, group: ProcessGroup | None = None):
        self.job, self.reporter = job, reporter
        self.group = group or ProcessGroup.single(job.config.train)
        self.config = job.config.train
        self.sign, self.metric = check_job(job), best_metric(job.config)
        richness = job.batcher.richness
        self.sampler = make_sampler(job.train, richness, self.config, job.source)
        # A batch that is trained in micro-steps may fit the memory only in parts of their size.
        micro = max(2, -(-self.config.batch_size // self.config.accumulate))
        self.val = Sampler(job.val, richness, replace(self.config, batch_size=micro)).in_order()
        self.progress = Progress()
        self.losses = LossSums(job.config.loss)
        self.best: dict[str, torch.Tensor] | None = None
        self.best_saved = False
        self.since = (time.perf_counter(), 0)
        if job.resume is not None:
            self._restore(job.resume)
        start = self.progress.step - self.progress.batch  # of the current epoch
        self.epochs, self.steps = plan_steps(self.sampler, self.config, self.progress.epoch, start)
        self.stepper = Stepper(job, self.group, self.steps)
        if job.resume is not None:
            self.stepper.restore(job.resume)

    def fit(self) -> TrainingResult:
        """Train; return the best weights, their metrics and the history."""
        now = self.progress
        if self._done():
            why = f"{now.step} steps are done of {self.steps} (train.epochs, train.max_steps)"
            if self._out_of_patience():
                why = f"{now.waited} epochs since the best (train.patience)"
            self.reporter.log.info("nothing is left to train: %s", why)
        self.reporter.begin(self.steps, now.step)
        if self.job.resume is not None:  # perhaps in another folder
            self._keep_best()
            self._save()
        with Stopper() as stopper:
            while not self._done():
                self._epoch(stopper)
                self._close_epoch()
                if self._out_of_patience():
                    self.reporter.log.info(
                        "no better %s of the validation samples for %s epochs; the weights of "
                        "epoch %s are kept",
                        *(self.metric, now.waited, now.best_epoch),
                    )
        assert self.best is not None
        return TrainingResult(
            self.best, now.best_epoch, now.best_step, now.best_values, now.history
        )

    @property
    def chooses(self) -> bool:
        """Whether the validation samples choose the best epoch."""
        return bool(self.val) and self.metric != _LAST

    def evaluate(self) -> dict[str, float]:
        """Losses and metrics of the validation samples with the present weights."""
        return {f"val/{k}": v for k, v in self.stepper.evaluate(self.val).values().items()}

    def _epoch(self, stopper: Stopper) -> None:
        """Train the rest of the current epoch."""
        now = self.progress
        self.stepper.frozen = (
            bool(self.job.pretrained) and now.epoch + 1 < self.config.unfreeze_from
        )
        batches = self.sampler.epoch(now.epoch)
        for samples in batches[now.batch :]:
            if now.step >= self.steps:
                return
            # The step exchanges it: all ranks stop after the same one.
            self.stepper.signal = stopper.signal or 0
            sums, counts = self.stepper.gradients(samples, now.epoch, now.step)
            # Before the update, which sets the rates of the next step.
            rates = self.stepper.rates
            norm = self.stepper.update()
            self.losses.add(sums, counts)
            now.step += 1
            now.batch += 1
            self._log_step(sums, counts, rates | {"gradient_norm": norm}, len(samples))
            if self.stepper.signal:
                self._save_within_epoch()
                # A rank that ended earlier would have torchrun end the one that is writing.
                self.group.barrier()
                raise self._stopped()
            # The one at the end of an epoch follows its validation.
            if now.step % self.config.checkpoint_every == 0 and now.batch < len(batches):
                self._save_within_epoch()

    def _log_step(self, sums, counts, more, samples: int) -> None:
        now, shown = self.progress, None
        if now.step % self.config.log_every == 0 or now.step == self.steps:
            step = LossSums(self.job.config.loss)
            step.add(sums, counts)
            # The host waits for the device here: hence not at every step.
            shown = step.values() | {name: float(value) for name, value in more.items()}
            began, seen = self.since
            seconds = time.perf_counter() - began
            more = {
                "samples_per_second": (seen + samples) / max(seconds, 1e-9),
                "memory_gb": peak_gb(self.group.device),
            }
            self.reporter.record(now.step, {f"train/{k}": v for k, v in {**shown, **more}.items()})
            self.since = (time.perf_counter(), 0)
        else:
            self.since = (self.since[0], self.since[1] + samples)
        self.reporter.advance(shown)

    def _close_epoch(self) -> None:
        """Validate, keep the best weights, log, and write a checkpoint."""
        now = self.progress
        values = {f"train/{name}": value for name, value in self.losses.values().items()}
        metrics = None
        with self.stepper.averaged():
            if self._validates(now.epoch + 1):
                self.reporter.set_stage("validating")
                metrics = self.stepper.evaluate(self.val)
                values |= {f"val/{name}": value for name, value in metrics.values().items()}
            # Rank 0 alone has the merged metrics; all must choose alike, or collectives would hang.
            values = self.group.broadcast(values)
            # First: weights whose loss is not finite must not become the best.
            self._check(values)
            better = self._is_better(values)
            if better:
                # Within `averaged`: the weights that are kept are those that were validated.
                self.best = self.stepper.weights()
        epoch = now.epoch + 1
        if now.batch == self.sampler.batches(now.epoch):  # else max_steps ended it early
            now.epoch, now.batch, self.losses = epoch, 0, LossSums(self.job.config.loss)
        self.stepper.schedule.end_epoch(better)
        now.history.append({"epoch": epoch, "step": now.step, **values})
        now.waited = 0 if better else now.waited + 1
        if better:
            now.best_epoch, now.best_step, now.best_values = epoch, now.step, values
            # The file in the checkpoint is of the best before, and must not be linked again.
            self.best_saved = False
        self._report(epoch, values, {} if metrics is None else metrics.drawings())
        if metrics is not None:  # not every epoch: a small study has hundreds, of a few steps
            if better:
                self._keep_best()
            self._save()
            self.reporter.set_stage("training")
        if self.job.on_epoch is not None:
            self.job.on_epoch(epoch, values)
        self.since = (time.perf_counter(), 0)

    def _keep_best(self) -> None:
        if self.best is not None and self.job.keep is not None and self.group.is_first:
            self.job.keep(self.progress.best_epoch, self.best)

    def _report(self, epoch: int, values: dict[str, float], drawings: dict[str, Callable]) -> None:
        now = self.progress
        scored = {name: value for name, value in values.items() if name.startswith("val/")}
        self.reporter.record(now.step, scored)
        if epoch % -(-self.epochs // _PLOTS) == 0 or now.step >= self.steps:
            for name, draw in drawings.items():
                self.reporter.figure(now.step, name, draw)
        if self.config.histograms:
            self.reporter.histograms(now.step, self.stepper.distributions())
        self.reporter.epoch(epoch, self.epochs, values | {"train/lr": self.stepper.rates["lr"]})

    def _validates(self, epoch: int) -> bool:
        """Whether an epoch ends with a validation: the last does, and any that may be the best."""
        every = 1 if self.chooses else -(-self.epochs // _VALIDATIONS)
        return epoch % every == 0 or self.progress.step >= self.steps

    def _is_better(self, values: dict[str, float]) -> bool:
        """Whether this epoch is the best so far; without a best metric, the last always is."""
        name = f"val/{self.metric}"
        score = self.sign * values.get(name, math.nan) if self.chooses else -self.progress.step
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
        # A run that was stopped right after its last step has that epoch still to validate.
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
        text = f"Stopped by a signal after step {self.progress.step}"
        if self.job.folder is not None:
            # The output folder: `checkpoint.LAST` is two levels below it.
            text += f"; continue with --resume {self.job.folder.parent.parent}"
        return Preempted(f"{text}.", self.stepper.signal)

    def _save_within_epoch(self) -> None:
        """As `_save`, but raise if the loss is not finite: the last good checkpoint stays."""
        self._check({"train/total_loss": self.losses.values()["total_loss"]})
        self._save()

    def _save(self) -> None:
        """Write the checkpoint; collective."""
        if self.job.folder is None:
            return
        # On every rank, as gathering shards is collective; rank 0 writes.
        checkpoint = Checkpoint(
            run=self.job.run,
            progress=asdict(self.progress) | self.stepper.progress() | {"cut": self._cut()},
            best=self.best,
            sums=self.losses.state_dict(),
            inputs=self.job.inputs,
            **self.stepper.state(),
        )
        if self.group.is_first:
            save(checkpoint, self.job.folder, reuse_best=self.best_saved)
        self.best_saved = self.best is not None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restore the progress; the stepper restores weights and optimizer."""
        names = Progress.__dataclass_fields__
        state = checkpoint.progress
        check_fields(checkpoint.folder, "progress", state, [*names, "cut"])
        self.progress = now = Progress(**{name: state[name] for name in names})
        self.losses.load_state_dict(checkpoint.sums, self.group.device)
        self.best = checkpoint.best
        name = f"val/{self.metric}"
        if self.chooses and now.best_values:  # the metric, or its direction, may have changed
            now.best = self.sign * now.best_values.get(name, self.sign * math.inf)
        if now.batch and state["cut"] != self._cut():
            now.batch, self.losses = 0, LossSums(self.job.config.loss)
            self.reporter.log.info("the batches changed: the epoch begins again")

    def _cut(self) -> list[int]:
        """What the batches of an epoch depend on, beside its number."""
        return [self.config.batch_size, self.config.max_asvs_per_batch, self.config.seed]


def plan_steps(
    sampler: Sampler, config: TrainConfig, epoch: int = 0, step: int = 0
) -> tuple[int, int]:
    """Numbers of epochs and optimizer steps of a run that begins ``epoch`` at ``step``."""
    while epoch < config.epochs or step < config.min_steps:
        if 0 < config.max_steps <= step:
            break
        step += sampler.batches(epoch)
        epoch += 1
    return epoch, min(step, config.max_steps or step)


def check_job(job: TrainingJob) -> int:
    """Refuse what cannot be trained.

    Returns
    -------
    int
        1 if the best metric is to be minimized (or there is none), -1 if maximized.

    Raises
    ------
    InputError
        If the run will not have the best metric; or if distances are to be learned and no
        micro-step has two samples.
    """
    sign, config = _direction(job), job.config.train
    sampler = Sampler(job.train, job.batcher.richness, config)
    if job.network.distance is None or any(len(b) > config.accumulate for b in sampler.epoch(0)):
        return sign
    raise InputError(
        "No micro-step has two samples, and distances are between samples: lower train.accumulate, "
        "raise train.batch_size or train.max_asvs_per_batch, or set loss.distance to 0."
    )


def best_metric(config: Config) -> str:
    """The metric that chooses the best epoch; "none" if none is asked for, nor needed."""
    if config.train.best_metric == _LAST:
        needed = config.train.patience > 0 or config.optim.schedule == "plateau"
        return "total_loss" if needed else _LAST
    return config.train.best_metric


def _direction(job: TrainingJob) -> int:
    """As `check_job`."""
    name, config = best_metric(job.config), job.config.train
    if name == _LAST:
        return 1
    legal = {
        "total_loss",
        *metric_names(job.network.parts, job.batcher.taxa.ranks if job.batcher.taxa else ()),
    }
    if job.target is not None:
        legal |= set(job.target.metrics)
    if name not in legal:
        raise InputError(f"train.best_metric is {name!r}; this run has {', '.join(sorted(legal))}.")
    maximize = greater_is_better(name)
    if config.best_direction != "auto":
        maximize = config.best_direction == "max"
    return -1 if maximize else 1
