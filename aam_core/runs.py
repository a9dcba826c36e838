"""One training run: its device, network, folder and messages.

Shared by the workflows; whatever ends a run early leaves the best model so far in ``checkpoint/``.
"""

from __future__ import annotations

import datetime
import platform
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core import __version__, plots
from aam_core.artifact import FILES, Model
from aam_core.config import Config
from aam_core.data.batch import Batcher
from aam_core.data.inputs import Study
from aam_core.files import check_folder, replacing_in
from aam_core.models.model import Network, Parts
from aam_core.train.report import Reporter
from aam_core.train.trainer import Job, Result, Trainer, find_device
from aam_core.transfer import common_tensors, load_encoder


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
    split : tuple of (train_ids, val_ids)
    """

    def __init__(self, study: Study, config: Config, output, label: str, split):
        self.study = study
        self.config = config
        self.output = None if output is None else Path(output)
        self.label = label
        self.train_ids, self.val_ids = split
        self.device = find_device(config.train.device)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.reporter = Reporter(None, label)
        self.model: Model | None = None
        self.pretrained: list[str] = []
        self.kept = False
        if self.output is not None:
            check_folder(self.output)

    def build(self, parts: Parts, encoder: Model | None, target=None, freeze: bool = False) -> None:
        """Make the network, from ``encoder`` where there is one."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.config.train.seed)
            network = Network(self.config.model, parts)
        if encoder is not None:
            self.reporter.say(f"{self.label}: {load_encoder(network, encoder)}")
            held = common_tensors(network, encoder)
            self.pretrained = [name for name, _ in network.named_parameters() if name in held]
        if freeze:
            network.bases.requires_grad_(False)
        kinds = {None: "encoder", "regression": "regressor", "classification": "classifier"}
        self.model = Model(
            kind=kinds[None if target is None else target.kind],
            config=self.config,
            network=network.eval(),
            target=target,
            run=self._record(encoder, freeze),
            train_samples=self.train_ids,
            val_samples=self.val_ids,
        )
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
        self.reporter.say(
            f"{self.label}: {len(self.train_ids)} samples to train on, {len(self.val_ids)} to "
            f"validate on; {trained:,} parameters ({frozen:,} frozen) on {self.device}"
        )

    def train(self, batcher: Batcher, class_weight=None) -> Result:
        """Train the network in place, logging into ``output/logs``."""
        reporter = Reporter(None if self.output is None else self.output / "logs", self.label)
        network = self.model.network.to(self.device)
        job = Job(
            network=network,
            config=self.config,
            batcher=batcher,
            train=self.positions(self.train_ids),
            val=self.positions(self.val_ids),
            device=self.device,
            class_weight=None if class_weight is None else class_weight.to(self.device),
            pretrained=self.pretrained,
            keep=None if self.output is None else self._keep,
        )
        try:
            with torch.random.fork_rng(_devices(self.device)):
                torch.manual_seed(self.config.train.seed)
                result = Trainer(job, reporter).fit()
        except KeyboardInterrupt:
            if self.kept:
                place = self.output / "checkpoint"
                reporter.say(f"{self.label}: interrupted; the best model so far is in {place}")
            raise
        finally:
            reporter.close()
            network.to("cpu").eval()
        self.model.history = result.history
        return result

    def finish(self, drawings: dict) -> None:
        """Write the folder: the model, and the plots ``{file name: callable(path)}``."""
        if self.output is None:
            return
        with replacing_in(self.output, FILES) as folder:
            self.model.write(folder)
            log = pd.DataFrame(self.model.history)
            plots.curves(log.drop(columns="step"), folder / "losses.png", x="epoch")
            for name, draw in drawings.items():
                draw(folder / name)
        shutil.rmtree(self.output / "checkpoint", ignore_errors=True)

    def positions(self, ids: list[str]) -> np.ndarray:
        """Places of samples in the study, int64."""
        place = {name: i for i, name in enumerate(self.study.sample_ids)}
        return np.array([place[name] for name in ids], np.int64)

    def say(self, text: str) -> None:
        """One line on stderr; nothing for an empty text."""
        if text:
            self.reporter.say(f"{self.label}: {text}")

    def _keep(self, epoch: int) -> None:
        self.model.save(self.output / "checkpoint")
        self.kept = True

    def _record(self, encoder: Model | None, freeze: bool) -> dict:
        return {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "versions": {
                "aam": __version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "device": str(self.device),
            "seed": self.config.train.seed,
            "samples": len(self.study.sample_ids),
            "features": len(self.study.feature_ids),
            "left_out": self.study.report,
            "frozen_encoder": freeze,
            "encoder": None if encoder is None else encoder.run,
        }


def _devices(device):
    return [device] if device.type == "cuda" else []
