"""What a run shows: a progress bar a stage on a terminal, plain lines otherwise, and logs.

Names are ``train/...`` and ``val/...``; where the logs go is in `sinks`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aam_core import plots
from aam_core.training.loggers import JsonLines, Sink, TensorBoard, make_sinks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = {
    "total_loss": "loss",
    "val/total_loss": "val",
    "nucleotide_accuracy": "accuracy",
    "distance_loss": "distance",
    "nucleotide_loss": "nucleotide",
    "target_loss": "target",
    "lr": "lr",
}
"""What stands behind the progress bar, and how it is called there: what tells most comes first, and
what the terminal has no room for is not shown."""

METER = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}{postfix}]"
)
BAR_WIDTH = 6
"""Characters of the bar itself, at least."""

STAGE_WIDTH = len("validating")
"""So that the bar stays where it is between that and ``training``."""

PARTS = ("target_loss", "nucleotide_loss", "distance_loss")
METRICS = ("val/r2", "val/mae", "val/accuracy", "val/auc", "val/distance_r2")
WIDTH = 165
"""Characters of a line an epoch, about."""


class Reporter:
    """Shows and records a run.

    Parameters
    ----------
    logs : path, optional
        Folder for ``metrics.jsonl`` and the trackers' files; nothing is written without one.
    label : str
        What is being done, at the head of every line.
    trackers : str
        Where else the logs go: of tensorboard, wandb, mlflow, joined by commas, or none.
    config : dict, optional
        Settings that W&B and MLflow show beside the run.
    resume_step : int, optional
        The last step that stays in the logs, where a run resumes; else they begin anew.
    silent : bool
        Show and write nothing: the run has another process that does.

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
    ):
        self.label = label
        self.silent = silent
        self.bar = None
        self.shown: dict[str, float] = {}
        self.undrawn: set[str] = set()
        self.sinks: list[Sink] = []
        if logs is not None and not silent:
            name = f"{Path(logs).absolute().parent.name}: {label}"
            self.sinks = make_sinks(trackers, logs, config or {}, name, resume_step)
        self.board = next((sink for sink in self.sinks if isinstance(sink, TensorBoard)), None)

    def say(self, text: str) -> None:
        """One line on stderr, at once."""
        if self.silent:
            return
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def begin(self, steps: int, start: int = 0, stage: str = "training", unit: str = "") -> None:
        """Start a stage: a bar of so many steps on a terminal, a line of its name otherwise.

        Parameters
        ----------
        steps, start : int
            How many there are in all, and how many are done.
        stage : str
            What is being done. Of ``training`` there is no line: its epochs have theirs.
        unit : str
            What the steps are, where they are not steps.
        """
        if self.silent:
            return
        if not sys.stderr.isatty():
            if stage != "training":
                self.say(f"{self.label}: {stage}")
            return
        from tqdm import tqdm

        # The time left goes by the mean rate so far: of the latest steps alone, it would jump at
        # each validation and checkpoint.
        self.bar = tqdm(
            total=steps,
            initial=start,
            desc=self._described(stage),
            file=sys.stderr,
            ncols=_columns(),
            smoothing=0,
            miniters=1,
            unit=unit and f" {unit}",
            bar_format=METER,
            leave=stage == "training",
        )
        self.shown = {}

    def doing(self, stage: str) -> None:
        """Say before the bar what is being done for now; nothing where there is none."""
        if self.bar is not None:
            self.bar.set_description_str(self._described(stage), refresh=False)
            self._fit()
            self.bar.refresh()

    def advance(self, shown: dict[str, float] | None = None, steps: int = 1) -> None:
        """Steps done; of ``shown``, what `BAR` names goes behind the bar, as far as it fits."""
        if self.bar is not None:
            self.shown |= shown or {}
            self._fit()
            self.bar.update(steps)

    def end(self) -> None:
        """End the stage: close its bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _described(self, stage: str) -> str:
        return f"{self.label}: {stage:<{STAGE_WIDTH}}"

    def _fit(self) -> None:
        """Put as many values behind the bar as the terminal, be it resized, has room for."""
        bar, values = self.bar, {BAR[name]: self.shown[name] for name in BAR if name in self.shown}
        if values.get("target") == values.get("loss"):  # the total says it
            values.pop("target", None)
        bare = {"bar_format": METER.replace("{bar}", ""), "postfix": "", "n": bar.n + 1}
        bare = bar.format_dict | bare
        bar.ncols = _columns()
        room = bar.ncols - len(bar.format_meter(**bare)) - BAR_WIDTH
        chosen = []
        for name, value in values.items():
            text = f"{name} {value:.3g}"
            room -= len(text) + 2
            if room < 0:
                break
            chosen.append(text)
        bar.set_postfix_str(", ".join(chosen), refresh=False)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Write values under their names to the logs."""
        for sink in self.sinks:
            sink.record(step, values)

    def figure(self, step: int, name: str, draw: Callable[[], Figure]) -> None:
        """Write a plot to the trackers; it is drawn only where there are any."""
        takers = [sink for sink in self.sinks if not isinstance(sink, JsonLines)]
        if takers and name not in self.undrawn:
            drawn = functools.partial(self._figure, takers, step, draw)
            if not plots.attempt(name, drawn, self.say):
                self.undrawn.add(name)

    @staticmethod
    def _figure(takers: list[Sink], step: int, draw: Callable[[], Figure], name: str) -> None:
        from matplotlib import pyplot

        figure = draw()
        try:
            for sink in takers:
                sink.figure(step, name, figure)
        finally:
            pyplot.close(figure)

    def histograms(self, step: int, tensors: dict) -> None:
        """Write distributions of tensors, by name, to TensorBoard where it is kept."""
        if self.board is not None:
            self.board.histograms(step, tensors)

    def epoch(self, number: int, epochs: int, values: dict[str, float]) -> None:
        """One line an epoch, where there is no bar; there, the validation's loss behind it."""
        if "val/total_loss" in values:
            self.shown["val/total_loss"] = values["val/total_loss"]
        if self.bar is None:
            line = f"{self.label}: epoch {number}/{epochs}"
            shown = _readable(values, WIDTH - len(line))
            self.say("  ".join([line, *(f"{name} {values[name]:.4g}" for name in shown)]))

    def close(self) -> None:
        """Close the bar and the logs."""
        self.end()
        while self.sinks:
            self.sinks.pop().close()


def _columns() -> int:
    """Width of the terminal that stderr is."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _readable(values: dict[str, float], room: int) -> list[str]:
    """Names of the values that tell most, as many as a line holds."""
    side = "val" if "val/total_loss" in values else "train"
    parts = [name for part in PARTS if (name := f"{side}/{part}") in values]
    if len(parts) == 1:  # the total says it
        parts = []
    chosen = []
    for name in ("train/total_loss", "val/total_loss", *METRICS, *parts, "train/lr"):
        if name in values:
            room -= len(name) + 8  # with a number and spaces: the same choice in every epoch
            if room < 0:
                break
            chosen.append(name)
    return chosen
