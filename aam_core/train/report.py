"""What a run shows: a progress bar on a terminal, one line an epoch otherwise, and logs.

Names are ``train/...`` and ``val/...``; where the logs go is in `sinks`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aam_core.train.sinks import JsonLines, Sink, TensorBoard, make_sinks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = {
    "total_loss": "loss",
    "distance_loss": "distance",
    "nucleotide_loss": "nucleotide",
    "target_loss": "target",
    "nucleotide_accuracy": "accuracy",
    "lr": "lr",
}
"""What stands behind the progress bar, and how it is called there."""

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
        self.validated: dict[str, str] = {}
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

    def begin(self, steps: int, start: int = 0) -> None:
        """Start the progress bar, on a terminal."""
        if sys.stderr.isatty() and not self.silent:
            from tqdm import tqdm

            self.bar = tqdm(
                total=steps, initial=start, desc=self.label, file=sys.stderr, dynamic_ncols=True
            )

    def advance(self, shown: dict[str, float] | None = None, steps: int = 1) -> None:
        """Steps done; of ``shown``, what `BAR` names goes behind the bar."""
        if self.bar is not None:
            if shown:
                found = {BAR[name]: f"{shown[name]:.4g}" for name in BAR if name in shown}
                self.bar.set_postfix(found | self.validated, refresh=False)
            self.bar.update(steps)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Write values under their names to the logs."""
        for sink in self.sinks:
            sink.record(step, values)

    def figure(self, step: int, name: str, draw: Callable[[], Figure]) -> None:
        """Write a plot to the trackers; it is drawn only where there are any."""
        takers = [sink for sink in self.sinks if not isinstance(sink, JsonLines)]
        if takers:
            from matplotlib import pyplot

            figure = draw()
            for sink in takers:
                sink.figure(step, name, figure)
            pyplot.close(figure)

    def histograms(self, step: int, tensors: dict) -> None:
        """Write distributions of tensors, by name, to TensorBoard where it is kept."""
        if self.board is not None:
            self.board.histograms(step, tensors)

    def epoch(self, number: int, epochs: int, values: dict[str, float]) -> None:
        """One line an epoch, where there is no bar; there, the validation's loss behind it."""
        if "val/total_loss" in values:
            self.validated = {"val": f"{values['val/total_loss']:.4g}"}
        if self.bar is None:
            line = f"{self.label}: epoch {number}/{epochs}"
            shown = _readable(values, WIDTH - len(line))
            self.say("  ".join([line, *(f"{name} {values[name]:.4g}" for name in shown)]))

    def close(self) -> None:
        """Close the bar and the logs."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        while self.sinks:
            self.sinks.pop().close()


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
