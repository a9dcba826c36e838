"""One training run: its plan, its network, and what it writes while it trains.

Shared by fits and pretraining. While it trains, ``checkpoint/best`` in its folder is a model that
can be used, and ``checkpoint/last`` is what ``--resume`` continues from.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import torch

from aam_core import __version__, plots
from aam_core.config import AUTO, Config
from aam_core.data.batches import Batcher
from aam_core.data.known_asvs import KnownASVs
from aam_core.ensemble.forward import encode_asvs
from aam_core.errors import InputError
from aam_core.files.reading import describe_file
from aam_core.files.writing import check_folder, check_space
from aam_core.log import COMMAND, labelled
from aam_core.model import Model, folders_of_more
from aam_core.model_card import without_folders
from aam_core.models.network import Network, of_target, part_of
from aam_core.plan import Plan
from aam_core.pretrained import (
    ENCODER_PARTS,
    load_encoder,
    load_fitted,
    log_known_asvs,
    pretrained_tensors,
)
from aam_core.resuming import check_same_run
from aam_core.tasks import Targets, Task
from aam_core.training import checkpoint, memory
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.job import TrainingJob, TrainingResult
from aam_core.training.launch.environment import launch_id
from aam_core.training.loggers import carry_over, check_trackers
from aam_core.training.parallel import ProcessGroup
from aam_core.training.reporter import Reporter
from aam_core.training.trainer import Trainer, check_job

__all__ = ["ForestProgress", "Run", "fixed_vectors", "of_each_target"]

_COPIES = 3
"""Copies of the weights that are on the disk at least: the best model, and the best and the last
weights of the checkpoint. The optimizer's state and the checkpoint before come to that."""


class Run:
    """A network on its way to becoming a saved `Model`.

    Parameters
    ----------
    plan : Plan
    group : ProcessGroup
        The processes that train it.

    Attributes
    ----------
    config : Config
        That of the plan; its batch size is a number once there is a `job`.
    model : Model
        With the new network, or that of the checkpoint.
    pretrained : list of str
        Names of the parameters that come from an encoder.

    Raises
    ------
    InputError
        If a tracker is unknown, the output cannot be written, the network does not fit the memory,
        or the checkpoint or encoder does not fit the network.
    """

    def __init__(self, plan: Plan, group: ProcessGroup):
        self.plan, self.group, self.config = plan, group, plan.config
        self.log = labelled(plan.label)
        check_trackers(plan.config.train.trackers)
        if plan.output is not None:
            check_folder(plan.output)
        memory.check_size(plan.config.model, plan.parts)
        network = self._network()
        if plan.freeze_encoder and network.bases is not None:
            network.bases.requires_grad_(False)
        self.model = Model(
            kind="encoder" if plan.task is None else plan.task.model_kind,
            config=plan.config,
            network=network.eval(),
            target=None if plan.task is None else plan.task.each[0],
            covariates=plan.covariates,
            known=KnownASVs.of_samples(plan.study, plan.split.train),
            run=self._record(),
            train_samples=plan.split.train,
            val_samples=plan.split.val,
            val_folds=plan.split.folds,
        )
        self.pretrained: list[str] = []
        if plan.checkpoint is not None:
            # The weights of the checkpoint include those of k-mer profile and encoder.
            self._resume(plan.checkpoint)
            return
        if network.profile is not None:
            # Before the encoder is loaded: its own principal components replace these.
            present = plan.study.counts.getnnz(axis=0) > 0
            tokens = plan.study.tokens(plan.config.data)[present]
            network.profile.fit(torch.from_numpy(tokens))
        if plan.encoder is not None:
            for line in load_encoder(network, plan.encoder):
                self.log.info(line)
            log_known_asvs(plan.encoder, plan.study, self.log)
            tensors = pretrained_tensors(network, plan.encoder)
            self.pretrained = [
                name
                for name, parameter in network.named_parameters()
                if name in tensors and tensors[name].shape == parameter.shape
            ]
        if plan.init_from is not None:
            assert isinstance(plan.task, Task)  # of several it was refused
            lines = load_fitted(network, plan.init_from, plan.task, plan.covariates)
            for line in lines:
                self.log.info(line)
            log_known_asvs(plan.init_from, plan.study, self.log, "the model")
            theirs = plan.init_from.network.state_dict()
            self.pretrained = [
                name
                for name, parameter in network.named_parameters()
                if part_of(name) in ENCODER_PARTS
                and name in theirs
                and theirs[name].shape == parameter.shape
            ]

    def job(
        self,
        batcher: Batcher,
        class_weight: torch.Tensor | None = None,
        on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    ) -> TrainingJob:
        """What is to be trained; its batch size is a number.

        Parameters
        ----------
        batcher : Batcher
        class_weight : Tensor, optional
            ``[T]`` weights of the classes.
        on_epoch : callable, optional
            Called with the epoch and its metrics after each.
        """
        plan = self.plan
        job = TrainingJob(
            network=self.model.network.to(self.group.device),
            config=self.config,
            batcher=batcher,
            train=plan.positions(plan.split.train),
            val=plan.positions(plan.split.val),
            target=plan.task,
            class_weight=None if class_weight is None else class_weight.to(self.group.device),
            covariates=plan.covariates,
            pretrained=self.pretrained,
            folder=None if plan.output is None else plan.output / "checkpoint" / "last",
            keep=None if plan.output is None else self._save_best,
            on_epoch=on_epoch,
            resume=plan.checkpoint,
            inputs=plan.inputs,
        )
        if self.config.train.batch_size == AUTO:
            self._set_batch_size(memory.largest_batch(job, self.group), job)
        # Last, as it holds the configuration: the batch size is a number by now.
        job.run = self._description()
        return job

    def train(self, job: TrainingJob, follows: Callable[[], float] | None = None) -> TrainingResult:
        """Train the network, log into ``output/logs``, and leave its best weights in the model.

        ``follows`` is that of the `Reporter`.
        """
        result = self._fit(job, follows)
        # Under FSDP the trained network is sharded over the processes: a whole one replaces it.
        network = self._network()
        network.load_state_dict(result.weights)
        self.model.network = network.eval()
        self.model.history = result.history
        return result

    @staticmethod
    def took(model: Model, **seconds: float) -> None:
        """Record how long the parts of the run took; of one that was resumed, since then."""
        for one in model.each:
            one.run["seconds"] = {name: round(value, 1) for name, value in seconds.items()}

    @staticmethod
    def noted(model: Model, notes: Sequence[str]) -> None:
        """Record what was dropped from the study, and ``notes`` of the log."""
        for one in model.each:
            one.run["notes"] = list(dict.fromkeys([*one.run["left_out"], *notes]))

    def save(self, model: Model, drawings: dict[str, Callable]) -> None:
        """Write the model, then the plots ``{name: callable(path)}`` that can be drawn."""
        output = self.plan.output
        if output is not None and self.group.is_first:
            # Before any plot: one that cannot be drawn must not cost the model.
            model.save(output)
            history = plots.drawn_columns(pd.DataFrame(model.history))
            figure = self.config.figure
            targets = [one.task.column for one in model.each if one.target is not None]
            units = dict(zip(targets, figure.units_of(targets), strict=True))
            unit = units[targets[0]] if len(targets) == 1 else None
            curves = functools.partial(plots.curves, history, x="epoch", units=unit)
            every: dict[str, Callable] = {"losses": curves, **drawings}
            places = (output, *folders_of_more(output, output))
            for one, place in zip(model.each, places, strict=True):
                if one.val_predictions is not None:
                    name = one.task.column
                    named = {"label": name, "units": units[name], "title": figure.title}
                    picture = str(place.relative_to(output) / "val_predictions")
                    every[picture] = functools.partial(one.task.plot, one.val_predictions, **named)
            for name, draw in every.items():
                plots.attempt(output / f"{name}.{figure.format}", draw, self.log.warning)
        self.group.barrier()  # the others wait until it is there

    def reporter(self) -> Reporter:
        """One that shows progress and writes no logs."""
        return Reporter(None, self.plan.label, silent=not self.group.is_first)

    def untrained(self) -> Network:
        """The network before its training, with the k-mer profile of the model."""
        network = self._network()
        fitted = self.model.network.profile
        if network.profile is not None and fitted is not None:
            network.profile.load_state_dict(fitted.state_dict())
        return network.eval()

    def _network(self) -> Network:
        """With random weights that depend on the seed alone."""
        # The caller's generator stays as it is; no devices, as the weights are made on the CPU.
        with torch.random.fork_rng([]):
            torch.manual_seed(self.config.train.seed)
            return Network(self.config.model, self.plan.parts)

    def _fit(self, job: TrainingJob, follows: Callable[[], float] | None) -> TrainingResult:
        plan = self.plan
        check_job(job)
        self._check_space(job)
        self._clear()
        reporter = Reporter(
            None if plan.output is None else plan.output / "logs",
            plan.label,
            trackers=self.config.train.trackers,
            config=self.config.to_dict(),
            resume_step=None if plan.checkpoint is None else plan.checkpoint.progress["step"],
            silent=not self.group.is_first,
            follows=follows,
        )
        device = self.group.device
        try:
            needed = memory.step_gb(job, self.group)
            if device.type == "cuda":  # the peak that is logged is the training's own
                torch.cuda.reset_peak_memory_stats(device)
            trainer = Trainer(job, reporter, self.group)
            self._say_what_is_trained(trainer, needed)
            return trainer.fit()
        except KeyboardInterrupt:
            if plan.output is not None and job.folder is not None and job.folder.exists():
                best = plan.output / "checkpoint" / "best"
                kept = f"the best model so far is in {best}; " if best.exists() else ""
                self.log.info("interrupted; %scontinue with --resume %s", kept, plan.output)
            raise
        finally:
            reporter.close()

    def _check_space(self, job: TrainingJob) -> None:
        """Refuse, in every process, a disk that has no room for the least that a run writes."""
        problem = None
        if self.plan.output is not None and self.group.is_first:
            weights = job.network.state_dict().values()
            size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
            try:
                check_space(self.plan.output, _COPIES * size)
            except InputError as error:
                problem = error
        # All ranks raise: if rank 0 did alone, the others would wait for it.
        problem = self.group.broadcast(problem)
        if problem is not None:
            raise problem

    def _clear(self) -> None:
        """Remove the checkpoint of an earlier run, which nobody is to resume by mistake.

        Where a run continues in another folder, what it has logged is copied there.
        """
        output, resumed = self.plan.output, self.plan.checkpoint
        if output is None or not self.group.is_first:
            return
        if resumed is None:
            shutil.rmtree(output / "checkpoint", ignore_errors=True)
            return
        assert resumed.folder is not None  # it was read from there
        before = resumed.folder.parent.parent
        if before.resolve() != output.resolve():
            shutil.rmtree(output / "checkpoint", ignore_errors=True)
            carry_over(before / "logs", output / "logs", resumed.progress["step"])

    def _say_what_is_trained(self, trainer: Trainer, needed: float) -> None:
        """A few lines on the network, the samples and the steps."""
        group, train = self.group, self.config.train
        for line in memory.describe(self.model.network, self.config):
            self.log.info(line)
        begins = train.unfreeze_from
        trained = self.pretrained and not self.plan.freeze_encoder
        if begins > 1 and trained and self.model.network.bases is not None:
            never = f": not in these {trainer.epochs} epochs" if begins > trainer.epochs else ""
            self.log.info(f"the encoder's bases are trained from epoch {begins} on{never}")
        devices = (
            f"{group.device}"
            if group.world_size == 1
            else f"{group.world_size} x {group.device.type}"
        )
        if group.world_size > 1:
            devices += f" ({train.strategy})"
        # NaN where the trial step did not fit.
        fits = needed == needed
        self.log.info(
            f"{self._samples()}; "
            f"{trainer.steps} steps of up to {train.batch_size} samples in {trainer.epochs} "
            f"epoch{'s' * (trainer.epochs != 1)} "
            f"on {devices}; "
            + (f"about {needed:.2g} GB a device" if fits else "a trial step did not fit its memory")
        )

    def _samples(self) -> str:
        """Numbers of training and validation samples, as a clause."""
        split = self.plan.split
        train, val, folds = len(split.train), len(split.val), len(set(split.folds))
        if folds < 2:
            return f"{train} training samples, {val} validation samples"
        one = f"each member holds out one of {folds} folds"
        if split.train == split.val:
            return f"{train} training samples, of which {one}"
        return f"{train} training samples; of {val} validation samples {one}"

    def _save_best(self, epoch: int, weights) -> None:
        # The forest is trained last: until then the networks alone are the model.
        assert self.plan.output is not None
        # Not durable: a killed process leaves it whole all the same, and training need not wait.
        place = self.plan.output / "checkpoint" / "best"
        if self.plan.task is None or len(self.plan.task.each) == 1:
            self.model.save(place, weights, durable=False)
            return
        network = self._network()
        network.load_state_dict(weights)
        model, *others = of_each_target(replace(self.model, network=network.eval()), self.plan.task)
        replace(model, more=others).save(place, durable=False)

    def _set_batch_size(self, size: int, job: TrainingJob) -> None:
        self.log.info("batch size %d: the largest that fits", size)
        self.config = replace(self.config, train=replace(self.config.train, batch_size=size))
        self.model.config = job.config = self.config

    def _resume(self, resumed: Checkpoint) -> None:
        """Take the weights of the checkpoint, if it is of this very run."""
        # As read from JSON, like the checkpoint: tuples are lists there, and would differ.
        ours = json.loads(json.dumps(self._description()))
        names = ("kind", "frozen", "covariates", "target", "parts")
        check_same_run({name: ours[name] for name in names}, resumed.run)
        checkpoint.check_weights(resumed, self.model.network.state_dict())
        self.model.network.load_state_dict(resumed.weights)
        self.pretrained = resumed.run["pretrained"]
        self.model.run |= {"encoder": resumed.run["encoder"]}
        before = Config.from_saved(resumed.run["config"], "the checkpoint's configuration")
        changed = [
            f"{path} {now} (was {was})"
            for path, (was, now) in before.differences(self.config).items()
            if path != "train.val_fraction"  # the split stays
        ]
        done = resumed.progress
        self.log.info(
            "resuming after step %s, in epoch %s, with the weights and the split of that run",
            done["step"],
            done["epoch"] + 1,
        )
        if changed:
            self.log.info("changed: %s", ", ".join(changed))

    def _description(self) -> dict:
        """The values of `resuming.DESCRIBED`, and the number of validation groups."""
        model, split = self.model, self.plan.split
        return {
            "kind": model.kind,
            "config": self.config.to_dict(),
            "parts": model.network.parts.to_dict(),
            "target": None if self.plan.task is None else self.plan.task.to_dict(),
            "covariates": None if model.covariates is None else model.covariates.to_dict(),
            "frozen": model.run["frozen_encoder"],
            "encoder": model.run["encoder"],
            "pretrained": self.pretrained,
            "train_samples": split.train,
            "val_samples": split.val,
            "val_folds": split.folds,
            "val_groups": self.plan.val_groups,
            "taxa": None if self.plan.taxa is None else self.plan.taxa.to_dict(),
            "launch": launch_id(),
            "held_out_studies": list(self.plan.held_out_studies),
        }

    def _record(self) -> dict:
        """Where the model comes from: ``run.json``."""
        plan = self.plan
        start = plan.encoder or plan.init_from
        return {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": without_folders(os.environ[COMMAND]) if COMMAND in os.environ else None,
            "versions": versions(),
            "device": str(self.group.device),
            "processes": self.group.world_size,
            "seed": plan.config.train.seed,
            "samples": len(plan.study.sample_ids),
            "features": len(plan.study.feature_ids),
            "left_out": plan.study.report,
            # The first process writes the record.
            "inputs": {
                name: describe_file(path) if self.group.is_first else {}
                for name, path in plan.study.files.items()
            },
            "group_by": plan.group_by,
            "given_split": plan.given_split,
            "resumed": plan.checkpoint is not None,
            "frozen_encoder": plan.freeze_encoder,
            "encoder": None if start is None else start.run,
            **({} if plan.taxa is None else {"taxonomy": plan.taxa.to_dict()}),
        }


def versions() -> dict[str, str]:
    """Versions of AAM, of what its numbers depend on, and of Python."""
    names = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "scikit-bio", "biom-format")
    there = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            there[name] = importlib.metadata.version(name)
    # As it says itself: with the "+cpu" that some packages of it lack.
    return {
        "aam": __version__,
        **there,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def fixed_vectors(run: Run) -> torch.Tensor:
    """``[F, E]`` vectors of all ASVs, where training does not change them."""
    tokens = run.plan.study.tokens(run.config.data)
    network = run.model.network.to(run.group.device)
    return encode_asvs(network, tokens, run.group.device, run.config.train.precision)


def of_each_target(model: Model, task: Task | Targets | None) -> list[Model]:
    """A model of each target, with the weights of the network that was trained on all."""
    if task is None or len(task.each) == 1:
        return [model]
    shared = model.network.parts
    models = []
    for place, one in enumerate(task.each):
        parts = replace(shared, **{"link": "", **one.parts})
        network = of_target(model.network, parts, place)
        models.append(replace(model, network=network, target=one))
    return models


class ForestProgress:
    """Shows the training of the trees where that of the networks was shown."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter

    def begin(self, trees: int) -> None:
        self._reporter.begin(trees, stage="fitting forests", unit="trees")

    def advance(self, trees: int) -> None:
        self._reporter.advance(steps=trees)

    def end(self) -> None:
        self._reporter.end()
