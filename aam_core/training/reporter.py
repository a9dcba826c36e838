"""What a run shows: in a terminal or notebook a progress bar for each stage, else lines; its logs.

Losses and metrics are named ``train/...`` and ``val/...``; `loggers` writes them.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aam_core import plots
from aam_core.log import duration, labelled
from aam_core.training.loggers import JsonLines, RunLogger, TensorBoard, make_loggers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tqdm import tqdm

__all__ = ["Reporter"]

_BAR = {
    "total_loss": "loss",
    "val/total_loss": "val",
    "nucleotide_accuracy": "accuracy",
    "distance_loss": "distance",
    "nucleotide_loss": "nucleotide",
    "count_loss": "count",
    "faith_pd_loss": "Faith's PD",
    "taxonomy_loss": "taxonomy",
    "target_loss": "target",
    "lr": "lr",
}
"""Values behind the progress bar and their names there, the most important first: what the terminal
has no room for is not shown."""

_METER = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}{postfix}]"
)
_BAR_WIDTH = 6
"""Least number of characters of the bar itself."""

_STAGE_WIDTH = len("validating")
"""The bar does not move when that takes the place of ``training``."""

_PARTS = (
    *("target_loss", "nucleotide_loss", "distance_loss", "count_loss"),
    *("faith_pd_loss", "taxonomy_loss"),
)
_METRICS = ("val/r2", "val/mae", "val/accuracy", "val/auc", "val/distance_r2")
_TELLING, _LATEST = 2.0, 30.0
"""Seconds of a training after which its duration is estimated: at least, and at most."""

_SOME_STEPS = 10
"""Steps at least that an estimate is made of; the first is slower than the others."""

_EVERY = 10.0
"""Seconds between the lines of a stage without a bar."""

_LINE_WIDTH = 165
"""Characters of the line of an epoch, about."""


class Reporter:
    """Shows a run and writes its logs.

    Parameters
    ----------
    logs : path, optional
        Folder for ``metrics.jsonl`` and the trackers' files; nothing is written without one.
    label : str
        What is being done: the start of every line.
    trackers : str
        Names of `loggers.TRACKERS`, joined by commas; or "none".
    config : dict, optional
        Configuration that W&B and MLflow show beside the run.
    resume_step : int, optional
        Last step that stays in the logs of a resumed run; by default they begin anew.
    silent : bool
        Show and write nothing: another rank does.
    follows : callable, optional
        Estimates the seconds of what follows the training, such as the forest; called once, while
        it trains.

    Attributes
    ----------
    log : LoggerAdapter
        The logger of the package, with the label.

    Raises
    ------
    InputError
        If a tracker is unknown or not installed.
    """

    def __init__(
        self,
        logs=None,
        label: str = "training",
        *,
        trackers: str = "tensorboard",
        config: dict | None = None,
        resume_step: int | None = None,
        silent: bool = False,
        follows: Callable[[], float] | None = None,
    ):
        self.label = label
        self.follows = follows
        self.stage, self.unit = "training", ""
        self.done = self.total = self.first = 0
        # When the stage began, its first steps were done, and something was said of it.
        self.began = self.warm = self.last_line = 0.0
        self.estimated = False
        self.silent = silent
        self.log = labelled(label)
        self.bar: tqdm | None = None
        self.shown: dict[str, float] = {}
        self.failed_plots: set[str] = set()
        self.loggers: list[RunLogger] = []
        if logs is not None and not silent:
            name = f"{Path(logs).absolute().parent.name}: {label}"
            self.loggers = make_loggers(trackers, logs, config or {}, name, resume_step)
        boards = (logger for logger in self.loggers if isinstance(logger, TensorBoard))
        self.board = next(boards, None)

    def begin(self, steps: int, start: int = 0, stage: str = "training", unit: str = "") -> None:
        """Start a stage: a bar on a terminal, otherwise a line.

        Parameters
        ----------
        steps, start : int
            Number of steps, and how many are done already.
        stage : str
            Name of the stage. ``training`` has no line: its epochs have theirs.
        unit : str
            What is counted, if not steps.
        """
        if self.silent:
            return
        self.stage, self.unit, self.done, self.total = stage, unit, start, steps
        self.began = self.warm = self.last_line = time.perf_counter()
        self.first = start
        from tqdm.auto import tqdm as auto_tqdm

        has_widgets = _has_widgets(auto_tqdm)
        if not sys.stderr.isatty() and not has_widgets:
            if stage != "training":
                self.log.info(f"{stage} ({steps:,} {unit})" if unit else stage)
            return
        options = {} if has_widgets else {"ncols": _columns(), "bar_format": _METER}
        # smoothing=0: the time left goes by the mean rate so far. By that of the latest steps it
        # would jump at each validation and checkpoint.
        self.bar = auto_tqdm(
            total=steps,
            initial=start,
            desc=self._description(stage),
            file=sys.stderr,
            smoothing=0,
            miniters=1,
            unit=unit and f" {unit}",
            leave=stage == "training",
            **options,
        )
        self.shown = {}

    def set_stage(self, stage: str) -> None:
        """Show another stage before the bar, if there is one."""
        if self.bar is not None:
            self.bar.set_description_str(self._description(stage), refresh=False)
            self._fit_width()
            self.bar.refresh()

    def advance(self, shown: dict[str, float] | None = None, steps: int = 1) -> None:
        """Count steps that were done, and show some values behind the bar."""
        if self.silent:
            return
        self.done += steps
        if self.stage == "training":
            self._estimate()
        elif self.bar is None:
            self._tell()
        if self.bar is not None:
            self.shown |= shown or {}
            self._fit_width()
            self.bar.update(steps)

    def _estimate(self) -> None:
        """Say once, after some steps, how long the training and what follows it will take."""
        now = time.perf_counter()
        if self.done == self.first + 1:
            self.warm = now
        steps = self.done - self.first - 1
        if self.estimated or steps < _SOME_STEPS or self.done >= self.total:
            return
        seconds = now - self.warm
        if seconds < _TELLING or (seconds < _LATEST and 20 * steps < self.total - self.first):
            return
        self.estimated = True
        left = seconds / steps * (self.total - self.done)
        text = f"about {duration(left)} left"
        if self.follows is not None:
            text += f" for the networks, and {duration(self.follows())} for the rest"
        self.log.info(text)

    def _tell(self) -> None:
        """Say how far a stage without a bar is, every now and then."""
        now = time.perf_counter()
        if now - self.last_line < _EVERY or self.done >= self.total:
            return
        self.last_line = now
        left = (now - self.began) / (self.done - self.first) * (self.total - self.done)
        unit = f" {self.unit}" if self.unit else ""
        self.log.info(
            f"{self.stage}: {self.done:,} of {self.total:,}{unit}, about {duration(left)} left"
        )

    def end(self) -> None:
        """End the stage: close its bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _description(self, stage: str) -> str:
        return f"{self.label}: {stage:<{_STAGE_WIDTH}}"

    def _fit_width(self) -> None:
        """Show as many values behind the bar as the (resizable) terminal has room for."""
        bar = self.bar
        assert bar is not None
        values = {_BAR[name]: self.shown[name] for name in _BAR if name in self.shown}
        if values.get("target") == values.get("loss"):  # the total loss is the same
            values.pop("target", None)
        texts = [f"{name} {value:.3g}" for name, value in values.items()]
        if bar.ncols is None:  # a notebook, which wraps what is long
            bar.set_postfix_str(", ".join(texts), refresh=False)
            return
        # One step on: `advance` fits the width before it counts the step.
        bare = {"bar_format": _METER.replace("{bar}", ""), "postfix": "", "n": bar.n + 1}
        bare = bar.format_dict | bare
        bar.ncols = _columns()
        room = bar.ncols - len(bar.format_meter(**bare)) - _BAR_WIDTH
        chosen = []
        for text in texts:
            room -= len(text) + 2
            if room < 0:
                break
            chosen.append(text)
        bar.set_postfix_str(", ".join(chosen), refresh=False)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Log values by name."""
        for logger in self.loggers:
            logger.record(step, values)

    def figure(self, step: int, name: str, draw: Callable[[], Figure]) -> None:
        """Log a plot to the trackers; without one it is not drawn."""
        trackers = [logger for logger in self.loggers if not isinstance(logger, JsonLines)]
        if trackers and name not in self.failed_plots:
            log_plot = functools.partial(self._log_plot, trackers, step, draw)
            if not plots.attempt(name, log_plot, self.log.warning):
                self.failed_plots.add(name)  # the next epoch's would fail too

    @staticmethod
    def _log_plot(
        trackers: list[RunLogger], step: int, draw: Callable[[], Figure], name: str
    ) -> None:
        from matplotlib import pyplot

        figure = draw()
        try:
            for tracker in trackers:
                tracker.figure(step, name, figure)
        finally:
            # pyplot keeps in memory whatever is not closed.
            pyplot.close(figure)

    def histograms(self, step: int, tensors: dict) -> None:
        """Log distributions of tensors, by name, to TensorBoard if it is a tracker."""
        if self.board is not None:
            self.board.histograms(step, tensors)

    def epoch(self, number: int, epochs: int, values: dict[str, float]) -> None:
        """Show an epoch: a line, or behind the bar its validation loss."""
        if "val/total_loss" in values:
            self.shown["val/total_loss"] = values["val/total_loss"]
        if self.bar is None and not self.silent:
            line = f"epoch {number}/{epochs}"
            shown = _most_important(values, _LINE_WIDTH - len(line) - len(f"{self.label}: "))
            self.log.info("  ".join([line, *(f"{name} {values[name]:.4g}" for name in shown)]))

    def close(self) -> None:
        """Close the bar and the logs."""
        self.end()
        while self.loggers:
            self.loggers.pop().close()


def _has_widgets(bar: type) -> bool:
    """Whether this is a notebook in which tqdm can draw its bars as widgets."""
    if bar.__module__ != "tqdm.auto":  # elsewhere it is the class of another module
        return False
    import ipywidgets

    # On ipywidgets 6, which Debian 12 has, tqdm raises an AttributeError.
    return int(ipywidgets.__version__.split(".")[0]) >= 7


def _columns() -> int:
    """Width of the terminal that stderr is."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _most_important(values: dict[str, float], room: int) -> list[str]:
    """Names of the most important values, as many as fit into a line."""
    side = "val" if "val/total_loss" in values else "train"
    parts = [name for part in _PARTS if (name := f"{side}/{part}") in values]
    if len(parts) == 1:  # the total loss is the same
        parts = []
    chosen = []
    for name in ("train/total_loss", "val/total_loss", *_METRICS, *parts, "train/lr"):
        if name in values:
            room -= len(name) + 8  # with a number and spaces: the same choice in every epoch
            if room < 0:
                break
            chosen.append(name)
    return chosen
