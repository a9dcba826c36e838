"""Where the logs of a run go: ``metrics.jsonl``, TensorBoard, Weights & Biases, MLflow.

Names are ``train/...`` and ``val/...`` everywhere but in TensorBoard, where they are two runs,
``train`` and ``val``, with the same tags. A resumed run continues in the same files; a tracker that
has nothing of the steps before gets them from ``metrics.jsonl``.

One more tracker: a class as `RunLogger`, and an entry of `TRACKERS`; `config.training` names them
in the help of ``train.trackers``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import posixpath
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aam_core.errors import InputError
from aam_core.files.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TRACKERS", "JsonLines", "MLflow", "RunLogger", "TensorBoard", "Tracker", "WandB"]
__all__ += ["carry_over", "check_trackers", "make_loggers", "write_events"]

_LOG = "metrics.jsonl"
_EVENTS = "events.out.tfevents*"
_SIDES = ("train", "val")
"""Runs of TensorBoard, each a folder in that of the logs."""

_GROUPS = {
    "loss": ("loss", "loss_weighted"),
    "networks": ("accuracy", "auc", "f1", "mae", "r2", "rmse"),
}
"""Groups of TensorBoard's scalars and how names in them end; all others are in ``training``. In
training, the networks are scored without the forest: hence the name of that group."""


class RunLogger(Protocol):
    """Writes the logs of a run."""

    def record(self, step: int, values: dict[str, float]) -> None:
        """Values at a step, by name."""

    def figure(self, step: int, name: str, figure: Figure) -> None:
        """A plot at a step."""

    def close(self) -> None:
        """End the logs."""


class Tracker(RunLogger, Protocol):
    """A logger by a name of ``train.trackers``.

    Attributes
    ----------
    fresh : bool
        Whether it has nothing of the steps before.
    """

    fresh: bool

    def __init__(self, folder: Path, config: dict, name: str, resume_step: int | None): ...


class JsonLines:
    """A line per record, written at once; it ignores plots.

    Parameters
    ----------
    path : path
        File to write, anew.
    lines : list of dict
        What it begins with.
    """

    def __init__(self, path, lines: list[dict]):
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.file = open(path, "a", encoding="utf-8")

    def record(self, step: int, values: dict[str, float]) -> None:
        # NaN and Infinity are not JSON: strict readers would refuse the line.
        finite = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
        self.file.write(json.dumps({"step": step, **finite}) + "\n")
        self.file.flush()

    def figure(self, step: int, name: str, figure: Figure) -> None:
        pass

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """Event files in ``train/`` and ``val/`` in the folder of the logs.

    The tag is the name without its side, so that TensorBoard draws training and validation, which
    are runs to it, as two lines of one chart. What has no side belongs to the training. Scalars are
    in groups (`_GROUPS`): TensorBoard opens two, the first by the alphabet, and a tag without a
    group would be one of its own.
    """

    def __init__(self, folder: Path, config: dict, name: str, resume_step: int | None):
        self.folder = folder
        self.fresh = not _events(folder / _SIDES[0])
        # Readers then drop what an earlier process logged from this step on.
        self.purge = None if resume_step is None else resume_step + 1
        self.writers: dict[str, SummaryWriter] = {}
        if self.fresh:  # files of an earlier layout would be a third run
            _drop_events(folder)
        else:
            # At once: later steps are dropped when a writer is made, and a side may get no more.
            for side in _SIDES:
                if (folder / side).is_dir():
                    self._writer(side)

    def record(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            side, tag = _side_and_tag(name)
            self._writer(side).add_scalar(f"{_group(tag)}/{tag}", value, step)
        for writer in self.writers.values():
            writer.flush()

    def figure(self, step: int, name: str, figure: Figure) -> None:
        side, tag = _side_and_tag(name)
        # Not closed: the other trackers take the same one, and `Reporter` closes it.
        self._writer(side).add_figure(f"networks/{tag}", figure, step, close=False)

    def histograms(self, step: int, tensors: dict) -> None:
        """Distributions of tensors, by name; values that are not finite are dropped."""
        for name, tensor in tensors.items():
            values = tensor.detach().float()
            values = values[values.isfinite()]
            if values.numel():
                side, tag = _side_and_tag(name)
                self._writer(side).add_histogram(tag, values.cpu(), step)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def _writer(self, side: str) -> SummaryWriter:
        """The writer of a side, made when there is something to write: no empty run is shown."""
        if side not in self.writers:
            from torch.utils.tensorboard import SummaryWriter

            self.writers[side] = SummaryWriter(str(self.folder / side), purge_step=self.purge)
        return self.writers[side]


class WandB:
    """A run of Weights & Biases; its own files are under ``wandb/`` in the folder of the logs.

    ``WANDB_MODE=offline`` needs no account; ``WANDB_PROJECT`` names the project.
    """

    def __init__(self, folder: Path, config: dict, name: str, resume_step: int | None):
        import wandb

        id_file = folder / "wandb.run"
        earlier = id_file.read_text() if id_file.exists() else None
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "aam"),
                name=name,
                config=config,
                dir=str(folder),
                id=earlier,
                resume="allow" if earlier else None,
            )
        except wandb.Error as error:
            raise InputError(f"W&B cannot log: {_line(error)} Or WANDB_MODE=offline.") from error
        self.fresh = earlier is None
        self.image = wandb.Image
        id_file.write_text(self.run.id)
        # Not the step of W&B, which cannot go back to where a run resumes.
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
        id_file = folder / "mlflow.run"
        try:
            self.client = mlflow.MlflowClient(store)
            earlier = self._earlier_run(id_file, mlflow.MlflowException)
            self.fresh = earlier is None
            self.run: str = earlier or self._begin(artifacts, config, name)
        except mlflow.MlflowException as error:
            raise InputError(f"MLflow cannot log: {_line(error)}") from error
        id_file.write_text(self.run)

    def _earlier_run(self, id_file: Path, mlflow_error: type[Exception]) -> str | None:
        """Id of the run of the steps before, if this store has it."""
        if not id_file.exists():
            return None
        try:
            return self.client.get_run(id_file.read_text()).info.run_id
        except mlflow_error as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _begin(self, artifacts: str | None, config: dict, name: str) -> str:
        from mlflow.entities import Param

        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "aam")
        experiment = self.client.get_experiment_by_name(title)
        if experiment is None:
            number = self.client.create_experiment(title, artifacts)
        else:
            number = experiment.experiment_id
        run = self.client.create_run(number, run_name=name).info.run_id
        params = [Param(key, str(value)[:500]) for key, value in _flat(config)]
        for start in range(0, len(params), 100):  # the most that MLflow takes at once
            self.client.log_batch(run, params=params[start : start + 100])
        return run

    def record(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(_mlflow(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def figure(self, step: int, name: str, figure: Figure) -> None:
        self.client.log_figure(self.run, figure, f"{_mlflow(name)}/{step:08d}.png")

    def close(self) -> None:
        self.client.set_terminated(self.run)


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check_trackers(text: str) -> list[str]:
    """Names in ``train.trackers``: of `TRACKERS`, joined by commas; or 'none'.

    Raises
    ------
    InputError
        If one is unknown, or not installed.
    """
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if names == ["none"]:
        return []
    unknown = [name for name in names if name not in TRACKERS]
    if unknown or not names:
        raise InputError(
            f"train.trackers is {text!r}: write one or more of {', '.join(TRACKERS)}, joined by "
            "commas, or 'none'."
        )
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # no origin: only a folder of that name
            raise InputError(f"The tracker {name} is not installed: pip install {name}.")
    return names


def make_loggers(
    trackers: str, folder, config: dict, name: str, resume_step: int | None = None
) -> list[RunLogger]:
    """`JsonLines` and the trackers of a run.

    Parameters
    ----------
    trackers : str
        As in `check_trackers`.
    folder : path
        Of the logs; made where it is not there.
    config : dict
        Settings that W&B and MLflow show beside the run.
    name : str
        What they call it.
    resume_step : int, optional
        The last step that stays, where a run resumes; else the logs begin anew.
    """
    names = check_trackers(trackers)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if resume_step is None:
        _forget(folder)
    log = folder / _LOG
    earlier = [] if resume_step is None else _read(log, resume_step)
    loggers: list[RunLogger] = []
    for tracker in names:
        logger = TRACKERS[tracker](folder, config, name, resume_step)
        for line in earlier if logger.fresh else ():
            values = {k: math.nan if v is None else v for k, v in line.items() if k != "step"}
            logger.record(line["step"], values)
        loggers.append(logger)
    return [JsonLines(log, earlier), *loggers]


def write_events(folder, history: list[dict]) -> None:
    """Write the history of a model as event files of TensorBoard, ``train/`` and ``val/``.

    Parameters
    ----------
    folder : path
        Of the event files.
    history : list of dict
        As `Model.history`: ``epoch``, ``step``, and losses and metrics by their names in the logs.
    """
    board = TensorBoard(Path(folder), {}, "", None)
    for row in history:
        values = {name: value for name, value in row.items() if name not in ("epoch", "step")}
        board.record(row["step"], values)
    board.close()


def carry_over(old_logs, new_logs, step: int) -> None:
    """Copy the logs up to ``step`` for a run that is resumed in another folder.

    The new folder has runs of W&B and MLflow of its own, which begin with the same values.
    """
    old, new = Path(old_logs), Path(new_logs)
    if old.resolve() == new.resolve():
        return
    new.mkdir(parents=True, exist_ok=True)
    _forget(new)
    JsonLines(new / _LOG, _read(old / _LOG, step)).close()
    for side in _SIDES:
        for events in _events(old / side):
            (new / side).mkdir(exist_ok=True)
            shutil.copy2(events, new / side)


def _read(log: Path, step: int) -> list[dict]:
    """Lines up to a step; one that was cut short when its process died is dropped."""
    lines = []
    for text in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line["step"] <= step:
            lines.append(line)
    return lines


def _forget(folder: Path) -> None:
    """Remove what would let a new run continue the logs of an old one."""
    _drop_events(folder)
    for old in (folder / "wandb.run", folder / "mlflow.run"):
        old.unlink(missing_ok=True)


def _drop_events(folder: Path) -> None:
    """Remove TensorBoard's files of both sides, and those of the layout that had no sides."""
    for events in (*_events(folder), *(path for side in _SIDES for path in _events(folder / side))):
        events.unlink()
    for side in _SIDES:
        if (folder / side).is_dir() and not any((folder / side).iterdir()):
            (folder / side).rmdir()


def _events(folder: Path) -> list[Path]:
    return sorted(folder.glob(_EVENTS))


def _group(tag: str) -> str:
    return next((group for group, ends in _GROUPS.items() if tag.endswith(ends)), "training")


def _side_and_tag(name: str) -> tuple[str, str]:
    """``train/lr`` -> train, lr; ``weights/a`` -> train, weights/a."""
    side, _, tag = name.partition("/")
    return (side, tag) if side in _SIDES else (_SIDES[0], name)


def _flat(config: dict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _mlflow(name: str) -> str:
    """The name of a metric or plot without what MLflow refuses; a column may have any name."""
    return posixpath.normpath(re.sub(r"[^\w.\-/ ]", "_", name))[:250]


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
