"""Weights & Biases and MLflow, each imported only where it is named; see `sinks.Sink`.

Each leaves the id of its run beside the logs, and goes on in the run whose id is there; ``fresh``
says that it holds nothing of the steps before. `sinks.make_sinks` makes them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aam_core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WandB:
    """A run of Weights & Biases; its own files are under ``wandb/`` in the folder of the logs.

    ``WANDB_MODE=offline`` needs no account; ``WANDB_PROJECT`` names the project.
    """

    def __init__(self, folder: Path, config: dict, name: str, resume_step: int | None):
        import wandb

        kept = folder / "wandb.run"
        known = kept.read_text() if kept.exists() else None
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "aam"),
                name=name,
                config=config,
                dir=str(folder),
                id=known,
                resume="allow" if known else None,
            )
        except wandb.Error as error:
            raise InputError(f"W&B cannot log: {_line(error)} Or WANDB_MODE=offline.") from error
        self.fresh = known is None
        self.image = wandb.Image
        kept.write_text(self.run.id)
        # not wandb's own step, which cannot go back to where a run resumes
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def record(self, step: int, values: dict[str, float]) -> None:
        self.run.log({"step": step, **values})

    def figure(self, step: int, name: str, figure: Figure) -> None:
        import matplotlib.pyplot  # noqa: F401  (wandb.Image takes it for imported)

        self.run.log({"step": step, name: self.image(figure)})

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow: where ``MLFLOW_TRACKING_URI`` says, else ``mlflow.db`` beside the logs.

    ``MLFLOW_EXPERIMENT_NAME`` names the experiment.
    """

    def __init__(self, folder: Path, config: dict, name: str, resume_step: int | None):
        import mlflow
        from mlflow.entities import Metric

        self.metric = Metric
        store = artifacts = None
        if not mlflow.is_tracking_uri_set():
            store = f"sqlite:///{folder.absolute().as_posix()}/mlflow.db"
            artifacts = (folder.absolute() / "mlartifacts").as_uri()
        kept = folder / "mlflow.run"
        try:
            self.client = mlflow.MlflowClient(store)
            self.run = self._known(kept, mlflow.MlflowException)
            self.fresh = self.run is None
            if self.fresh:
                self.run = self._begin(artifacts, config, name)
        except mlflow.MlflowException as error:
            raise InputError(f"MLflow cannot log: {_line(error)}") from error
        kept.write_text(self.run)

    def _known(self, kept: Path, error: type[Exception]) -> str | None:
        """The run of the steps before, where this store has it."""
        if not kept.exists():
            return None
        try:
            return self.client.get_run(kept.read_text()).info.run_id
        except error as problem:
            if problem.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _begin(self, artifacts: str | None, config: dict, name: str) -> str:
        from mlflow.entities import Param

        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "aam")
        found = self.client.get_experiment_by_name(title)
        place = found.experiment_id if found else self.client.create_experiment(title, artifacts)
        run = self.client.create_run(place, run_name=name).info.run_id
        params = [Param(key, str(value)[:500]) for key, value in _flat(config)]
        for start in range(0, len(params), 100):  # the most that MLflow takes at once
            self.client.log_batch(run, params=params[start : start + 100])
        return run

    def record(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        self.client.log_figure(self.run, figure, f"{name}/{step:08d}.png")

    def close(self) -> None:
        self.client.set_terminated(self.run)


def _flat(config: dict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
