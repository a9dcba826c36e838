"""The loop: step, evaluate, keep the best, stop early.

Letters: B samples of a batch.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aam_core import losses
from aam_core.config import Config
from aam_core.data.batch import EVALUATION, Batcher
from aam_core.errors import AAMError, InputError
from aam_core.models.model import Network
from aam_core.train.optim import make_optimizer, schedule
from aam_core.train.report import Reporter


@dataclass
class Job:
    """What is trained on what.

    Attributes
    ----------
    network : Network
        On ``device``; trained in place.
    config : Config
        Everything else.
    batcher : Batcher
        Makes batches of the study.
    train, val : ndarray
        Positions of the samples in the study; ``val`` may be empty.
    device : torch.device
        Where the network is.
    class_weight : Tensor, optional
        Weights of the classes.
    pretrained : collection of str
        Names of the parameters that came from a pretrained encoder.
    keep : callable, optional
        Called with the epoch whenever the network is the best so far.
    """

    network: Network
    config: Config
    batcher: Batcher
    train: np.ndarray
    val: np.ndarray
    device: torch.device
    class_weight: Tensor | None = None
    pretrained: Collection[str] = ()
    keep: Callable[[int], None] | None = None


@dataclass
class Result:
    """How it went.

    Attributes
    ----------
    epoch, step : int
        Where the best weights were reached; the network has them.
    values : dict
        Losses there, under ``train/`` and ``val/`` names.
    history : list of dict
        The same for every epoch.
    """

    epoch: int = 0
    step: int = 0
    values: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains one job.

    Parameters
    ----------
    job : Job
        What to train.
    reporter : Reporter
        Where it shows.
    """

    def __init__(self, job: Job, reporter: Reporter):
        self.job = job
        self.reporter = reporter
        train = job.config.train
        self.batches = max(1, math.ceil(len(job.train) / train.batch_size))
        epochs = max(train.epochs, math.ceil(train.min_steps / self.batches))
        self.steps = epochs * self.batches
        if train.max_steps:
            self.steps = min(self.steps, train.max_steps)
        self.epochs = math.ceil(self.steps / self.batches)
        self.optimizer = make_optimizer(job.network, job.config.optim, job.pretrained)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, schedule(job.config.optim, self.steps)
        )
        self.step = 0
        self.generator = torch.Generator(device=job.device)

    def fit(self) -> Result:
        """Train; leave the network with its best weights and return how it went."""
        result = Result()
        best, weights, waited = math.inf, None, 0
        self.reporter.begin(self.steps)
        for epoch in range(self.epochs):
            values = self._epoch(epoch) | self.evaluate()
            if not all(math.isfinite(values.get(f"{side}/loss", 0.0)) for side in ("train", "val")):
                raise AAMError(
                    f"The loss is not a number in epoch {epoch + 1}: lower the learning rate "
                    "(optim.lr), or set the precision (train.precision) to fp32."
                )
            self.reporter.record(self.step, {k: v for k, v in values.items() if "val/" in k})
            self.reporter.epoch(epoch + 1, self.epochs, values)
            result.history.append({"epoch": epoch + 1, "step": self.step, **values})
            score = values.get("val/loss", -epoch)
            if score < best:
                best, waited = score, 0
                weights = copy.deepcopy(self.job.network.state_dict())
                result.epoch, result.step, result.values = epoch + 1, self.step, values
                if self.job.keep is not None:
                    self.job.keep(epoch + 1)
            else:
                waited += 1
            if 0 < self.job.config.train.patience <= waited:
                self.reporter.say(
                    f"{self.reporter.label}: no better validation loss for {waited} epochs; "
                    f"the weights of epoch {result.epoch} are kept"
                )
                break
        self.job.network.load_state_dict(weights)
        return result

    def _epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training samples; means of the losses."""
        job, train = self.job, self.job.config.train
        order = np.random.default_rng((train.seed, epoch)).permutation(job.train)
        means: dict[str, list] = {}
        job.network.train()
        for samples in np.array_split(order, self.batches):
            if self.step >= self.steps:
                break
            terms, norm = self._step(samples, epoch)
            _add(means, terms)
            self.step += 1
            shown = None
            if self.step % train.log_every == 0 or self.step == self.steps:
                shown = _read(terms, job.config)
                values = {f"train/{name}": value for name, value in shown.items()}
                values["train/lr"] = self.scheduler.get_last_lr()[0]
                values["train/gradient_norm"] = float(norm)
                self.reporter.record(self.step, values)
            self.reporter.advance(shown)
        return _close(means, job.config, "train/")

    def _step(self, samples: np.ndarray, epoch: int):
        job = self.job
        batch = job.batcher.batch(samples, epoch).to(job.device)
        self.generator.manual_seed(job.config.train.seed * 1_000_003 + self.step)
        terms = self._terms(batch)
        loss = losses.weighted(terms, job.config.loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = job.config.optim.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(job.network.parameters(), limit)
        self.optimizer.step()
        self.scheduler.step()
        return {k: losses.Term(t.total.detach(), t.count.detach()) for k, t in terms.items()}, norm

    def _terms(self, batch):
        job = self.job
        with autocast(job.device, job.config.train.precision):
            output = job.network(batch, job.config.masking, self.generator)
        return losses.compute(
            job.network,
            output,
            batch,
            job.config.loss,
            job.batcher.study.phylogeny,
            job.class_weight,
        )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Losses on the validation samples, each scored once, on draws that never change."""
        job = self.job
        if not len(job.val):
            return {}
        job.network.eval()
        means: dict[str, list] = {}
        parts = math.ceil(len(job.val) / job.config.train.batch_size)
        self.generator.manual_seed(job.config.train.seed)
        for samples in np.array_split(job.val, parts):
            batch = job.batcher.batch(samples, EVALUATION).to(job.device)
            _add(means, self._terms(batch))
        return _close(means, job.config, "val/")


def autocast(device: torch.device, precision: str):
    """Context of the forward pass: bf16 where asked for, or 'auto' on a GPU that has it."""
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if able else "fp32"
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def find_device(name: str) -> torch.device:
    """The device of a configuration; 'auto' is a GPU where there is one.

    Raises
    ------
    InputError
        If the device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The device {name!r} is not there: {reason}") from None
    return device


def _add(means, terms):
    """Accumulate on the device: nothing waits for it here."""
    for name, term in terms.items():
        held = means.setdefault(name, [0.0, 0.0])
        held[0] = held[0] + term.total.detach()
        held[1] = held[1] + term.count.detach()


def _close(means, config, prefix):
    terms = {
        name: losses.Term(torch.as_tensor(total), torch.as_tensor(count))
        for name, (total, count) in means.items()
    }
    return {prefix + name: value for name, value in _read(terms, config).items()}


def _read(terms, config) -> dict[str, float]:
    """The total loss first, then each term that exists."""
    values = {"loss": float(losses.weighted(terms, config.loss))}
    return values | {name: float(term.mean()) for name, term in terms.items()}
