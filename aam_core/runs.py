"""One training run: its processes, network, folder and messages.

Shared by the workflows. While it trains, ``checkpoint/best`` in its folder is a model that can be
used, and ``checkpoint/last`` is where it can be gone on from.
"""

from __future__ import annotations

import datetime
import functools
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core import __version__, plots
from aam_core.config import AUTO, Config
from aam_core.data.batches import Batcher
from aam_core.data.covariates import Covariates
from aam_core.data.known_asvs import KnownASVs
from aam_core.data.splits import Split
from aam_core.data.study import Study
from aam_core.errors import InputError, first_five
from aam_core.familiarity import known_to_encoder
from aam_core.files.writing import check_folder, check_space
from aam_core.model import Model
from aam_core.models.network import Network, Parts
from aam_core.training import checkpoint, memory
from aam_core.training.checkpoint import Checkpoint
from aam_core.training.job import Job, Result
from aam_core.training.launch import spawn
from aam_core.training.loggers import carry_over, check_trackers
from aam_core.training.parallel import join_process_group
from aam_core.training.reporter import Reporter
from aam_core.training.rng import own_generators
from aam_core.training.trainer import Trainer, check
from aam_core.transfer import common_tensors, load_encoder

KINDS = {None: "encoder", "regression": "regressor", "classification": "classifier"}
"""Kind of a target -> kind of the model."""

COPIES = 3
"""Of the weights, that are on the disk at least: the best model, and the best and the last weights
of the checkpoint. The optimizer's state and the checkpoint before come to that."""

DESCRIBED = (
    *("kind", "config", "parts", "target", "covariates", "frozen", "encoder", "pretrained"),
    *("train_samples", "val_samples", "val_folds", "launch"),
)
"""What a checkpoint says of the run, beside its progress."""


class Run:
    """A network on its way to becoming a saved `Model`.

    Parameters
    ----------
    study : Study
    config : Config
    output : path or None
        Nothing is written without one.
    label : str
        What is being done, at the head of every line.
    split : Split
    resume : Checkpoint, optional
        Where to go on.
    """

    def __init__(
        self,
        study: Study,
        config: Config,
        output,
        label: str,
        split: Split,
        resume: Checkpoint | None,
    ):
        self.study = study
        self.config = config
        self.output = None if output is None else Path(output)
        self.label = label
        self.split = split
        self.train_ids, self.val_ids = split.train, split.val
        self.resume = resume
        self.process_group = join_process_group(config.train)
        check_trackers(config.train.trackers)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.reporter = Reporter(None, label, silent=not self.process_group.is_first)
        # Of how many groups the validation samples are, where that is known.
        self.groups: int | None = None if resume is None else resume.run.get("val_groups")
        self.model: Model | None = None
        self.inputs: dict[str, torch.Tensor] | None = None
        self.pretrained: list[str] = []
        if self.output is not None:
            check_folder(self.output)

    def build(
        self,
        parts: Parts,
        encoder: Model | None,
        target=None,
        covariates: Covariates | None = None,
        freeze: bool = False,
    ) -> None:
        """Make the network, from ``encoder`` or the checkpoint where there is one."""
        memory.check_size(self.config.model, parts)
        with torch.random.fork_rng([]):
            torch.manual_seed(self.config.train.seed)
            network = Network(self.config.model, parts)
        if freeze and network.bases is not None:
            network.bases.requires_grad_(False)
        self.model = Model(
            kind=KINDS[None if target is None else target.name],
            config=self.config,
            network=network.eval(),
            target=target,
            covariates=covariates,
            known=KnownASVs.of_samples(self.study, self.train_ids),
            run=self._record(encoder, freeze),
            train_samples=self.train_ids,
            val_samples=self.val_ids,
        )
        if self.resume is not None:
            self._go_on(self.resume)
            return
        if network.profile is not None:
            network.profile.find(torch.from_numpy(self._present_tokens()))
        if encoder is not None:
            for line in [*load_encoder(network, encoder), *known_to_encoder(encoder, self.study)]:
                self.say(line)
            held = common_tensors(network, encoder)
            self.pretrained = [
                name
                for name, parameter in network.named_parameters()
                if name in held and held[name].shape == parameter.shape
            ]

    def _present_tokens(self) -> np.ndarray:
        """Tokens ``[F', L + 1]`` of the ASVs that some sample has."""
        present = self.study.counts.getnnz(axis=0) > 0
        return self.study.tokens(self.config.data)[present]

    def job(self, batcher: Batcher, class_weight=None, on_epoch=None) -> Job:
        """What is to be trained; its batch size is a number."""
        job = Job(
            network=self.model.network.to(self.process_group.device),
            config=self.config,
            batcher=batcher,
            train=self.positions(self.train_ids),
            val=self.positions(self.val_ids),
            target=self.model.target,
            class_weight=None
            if class_weight is None
            else class_weight.to(self.process_group.device),
            pretrained=self.pretrained,
            folder=None if self.output is None else self.output / "checkpoint" / "last",
            keep=None if self.output is None else self._keep,
            on_epoch=on_epoch,
            resume=self.resume,
            inputs=self.inputs,
        )
        if self.config.train.batch_size == AUTO:
            self._set_batch_size(memory.largest_batch(job, self.process_group), job)
        job.run = self._description()
        return job

    def train(self, job: Job) -> Result:
        """Train the network, logging into ``output/logs``; leave its best weights in it."""
        parts = job.network.parts
        result = self._fit(job)
        # Under FSDP the parts of the network are spread over the processes: it is made anew.
        with torch.random.fork_rng([]):
            fresh = Network(self.config.model, parts)
        fresh.load_state_dict(result.weights)
        self.model.network = fresh.eval()
        self.model.history = result.history
        return result

    def finish(self, drawings: dict) -> None:
        """Write the model, then the plots ``{file name: callable(path)}`` that can be drawn."""
        if self.output is not None and self.process_group.is_first:
            self.model.save(self.output)
            log = pd.DataFrame(self.model.history)
            shown = [c for c in log if c != "step" and not c.endswith("_weighted")]
            curves = functools.partial(plots.curves, log[shown], x="epoch")
            for name, draw in {"losses.png": curves, **drawings}.items():
                plots.attempt(self.output / name, draw, self.say)
        self.process_group.barrier()  # the others wait until it is there

    @property
    def left_out(self) -> np.ndarray:
        """``[K, N]`` bool: the samples of the study that each member leaves out."""
        return self.split.held_out(self.study.sample_ids, self.config.model.members)

    def positions(self, ids: list[str]) -> np.ndarray:
        """Places of samples in the study, int64."""
        place = {name: i for i, name in enumerate(self.study.sample_ids)}
        return np.array([place[name] for name in ids], np.int64)

    def say(self, text: str) -> None:
        """One line on stderr; nothing for an empty text."""
        if text:
            self.reporter.say(f"{self.label}: {text}")

    def _fit(self, job: Job) -> Result:
        check(job)
        self._check_space(job)
        self._clear()
        reporter = Reporter(
            None if self.output is None else self.output / "logs",
            self.label,
            trackers=self.config.train.trackers,
            config=self.config.to_dict(),
            resume_step=None if self.resume is None else self.resume.progress["step"],
            silent=not self.process_group.is_first,
        )
        try:
            with own_generators(self.process_group.device):
                torch.manual_seed(self.config.train.seed)
                needed = memory.memory(job, self.process_group)
                # The peak that is logged is the training's own.
                if self.process_group.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(self.process_group.device)
                trainer = Trainer(job, reporter, self.process_group)
                self._summary(job, trainer, needed)
                return trainer.fit()
        except KeyboardInterrupt:
            if self.output is not None and job.folder.exists():
                best = self.output / "checkpoint" / "best"
                kept = f"the best model so far is in {best}; " if best.exists() else ""
                reporter.say(f"{self.label}: interrupted; {kept}go on with --resume {self.output}")
            raise
        finally:
            reporter.close()

    def _check_space(self, job: Job) -> None:
        """Refuse, in every process, a disk that has no room for the least that a run writes."""
        problem = None
        if self.output is not None and self.process_group.is_first:
            weights = job.network.state_dict().values()
            size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
            try:
                check_space(self.output, COPIES * size)
            except InputError as error:
                problem = error
        problem = self.process_group.broadcast(problem)
        if problem is not None:
            raise problem

    def _clear(self) -> None:
        """Leave no checkpoint of an earlier run, which nobody is to go on from by mistake.

        Where a run goes on in another folder, what it has logged is taken along.
        """
        if self.output is None or not self.process_group.is_first:
            return
        held = self.resume
        before = None if held is None else held.folder.parent.parent
        if before is None or before.resolve() != self.output.resolve():
            shutil.rmtree(self.output / "checkpoint", ignore_errors=True)
            if held is not None:
                carry_over(before / "logs", self.output / "logs", held.progress["step"])

    def _summary(self, job: Job, trainer: Trainer, needed: float) -> None:
        """What is trained on what, in a few lines, before it starts."""
        process_group, train = self.process_group, self.config.train
        for line in memory.describe(self.model.network, self.config):
            self.say(line)
        devices = (
            f"{process_group.device}"
            if process_group.world_size == 1
            else f"{process_group.world_size} x {process_group.device.type}"
        )
        if process_group.world_size > 1:
            devices += f" ({train.strategy})"
        fits = needed == needed
        self.say(
            f"{self._samples()}; "
            f"{trainer.steps} steps of up to {train.batch_size} samples in {trainer.epochs} epochs "
            f"on {devices}; "
            + (f"about {needed:.2g} GB a device" if fits else "a trial step did not fit its memory")
        )

    def _samples(self) -> str:
        """Who is trained on, and who validates, as a clause."""
        train, val, folds = len(self.train_ids), len(self.val_ids), len(set(self.split.folds))
        if folds < 2:
            return f"{train} samples to train on, {val} to validate on"
        one = f"each member leaves out one of {folds} parts"
        if self.train_ids == self.val_ids:
            return f"{train} samples to train on, of which {one}"
        return f"{train} samples to train on; of {val} to validate on {one}"

    def _keep(self, epoch: int, weights) -> None:
        # The forest is fitted last: until then the networks alone are the model.
        self.model.save(self.output / "checkpoint" / "best", weights, durable=False)

    def _set_batch_size(self, size: int, job: Job) -> None:
        self.say(f"batch size {size}: the largest that fits")
        self.config = replace(self.config, train=replace(self.config.train, batch_size=size))
        self.model.config = job.config = self.config

    def _go_on(self, held: Checkpoint) -> None:
        """Take what the checkpoint has, if it is of this very run."""
        ours = json.loads(json.dumps(self._description()))
        names = ("kind", "frozen", "covariates", "target", "parts")
        check_same_run({name: ours[name] for name in names}, held.run)
        checkpoint.check_weights(held, self.model.network.state_dict())
        self.model.network.load_state_dict(held.weights)
        self.pretrained = held.run["pretrained"]
        self.model.run |= {"encoder": held.run["encoder"]}
        before = Config.from_dict(held.run["config"], "the checkpoint's configuration")
        changed = [
            f"{path} {now} (was {was})"
            for path, (was, now) in before.differences(self.config).items()
            if path != "train.val_fraction"  # the split stays
        ]
        now = held.progress
        self.say(
            f"going on after step {now['step']}, in epoch {now['epoch'] + 1}, with the weights and "
            "the split of that run"
        )
        if changed:
            self.say(f"changed: {', '.join(changed)}")

    def _description(self) -> dict:
        """The values of `DESCRIBED`."""
        model = self.model
        return {
            "kind": model.kind,
            "config": self.config.to_dict(),
            "parts": model.network.parts.to_dict(),
            "target": None if model.target is None else model.target.to_dict(),
            "covariates": None if model.covariates is None else model.covariates.to_dict(),
            "frozen": model.run["frozen_encoder"],
            "encoder": model.run["encoder"],
            "pretrained": self.pretrained,
            "train_samples": self.train_ids,
            "val_samples": self.val_ids,
            "val_folds": self.split.folds,
            "val_groups": self.groups,
            "launch": spawn.identity(),
        }

    def _record(self, encoder: Model | None, freeze: bool) -> dict:
        return {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "versions": {
                "aam": __version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "device": str(self.process_group.device),
            "processes": self.process_group.world_size,
            "seed": self.config.train.seed,
            "samples": len(self.study.sample_ids),
            "features": len(self.study.feature_ids),
            "left_out": self.study.report,
            "frozen_encoder": freeze,
            "encoder": None if encoder is None else encoder.run,
        }


def check_same_run(ours: dict, theirs: dict) -> None:
    """Refuse to go on where the value of one of ``ours``, of `DESCRIBED`, is another of theirs."""
    for name, value in ours.items():
        if theirs[name] != value:
            was, now = _in_words(name, theirs[name]), _in_words(name, value)
            raise InputError(
                f"The checkpoint is of another run: {was}, and here {now}. Give the inputs and "
                "options that it was started with."
            )


def _in_words(name: str, value) -> str:
    """What a run is, as a clause; ``name`` of `DESCRIBED`."""
    if name == "kind":
        return f"it trains {'an encoder' if value == 'encoder' else f'a {value}'}"
    if name == "frozen":
        return f"the encoder is {'frozen' if value else 'not frozen'} (--freeze-encoder)"
    if name == "covariates":
        columns = [item[0] for items in (value or {}).values() for item in items]
        return f"it reads {f'the covariates {first_five(columns)}' if columns else 'no covariates'}"
    if name == "target":
        return f"the target is {value!r}"
    parts = [part for part, there in value.items() if there]
    return f"the network has {first_five(parts)}"
